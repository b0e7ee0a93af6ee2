//! Finds the message boundaries in the server's stream without copying or allocating: rows are
//! counted a run at a time and go on as the bytes that came in.
//!
//! Only messages that say something about the outcome of an action are waited for until they are
//! whole; of a very long one (an error can quote a value of megabytes) the first 64 KiB suffice.

use super::CodecError;
use super::frame::{HEADER_BYTES, body_length, length_error};
use std::ops::Range;

/// Of a message that is looked into, at most this much is waited for, in bytes.
pub const READ_BYTES_MAX: usize = 64 * 1024;

/// What lies next in the server's stream. `bytes` in each is what it takes of the buffer, from
/// its front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// DataRow messages; the last may be cut.
    Rows {
        /// Messages that begin here.
        messages: u64,
        /// Length in bytes.
        bytes: usize,
    },
    /// One CopyData message, perhaps cut.
    Copy {
        /// Where its data stands in the buffer.
        payload: Range<usize>,
        /// Length in bytes, header included.
        bytes: usize,
    },
    /// A message that is looked into.
    Message {
        /// The type byte.
        tag: u8,
        /// Where its body stands in the buffer: all of it, or its first 64 KiB.
        body: Range<usize>,
        /// Length in bytes, header included.
        bytes: usize,
    },
    /// A message of which only the type matters, perhaps cut.
    Other {
        /// The type byte.
        tag: u8,
        /// Length in bytes, header included.
        bytes: usize,
    },
    /// More of a message that was reported before.
    More {
        /// Its type byte; of CopyData all of this is data.
        tag: u8,
        /// Length in bytes.
        bytes: usize,
        /// Whether its head was passed on, and so this has to be.
        passes: bool,
    },
}

impl Piece {
    /// What it takes of the buffer, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Rows { bytes, .. }
            | Self::Copy { bytes, .. }
            | Self::Message { bytes, .. }
            | Self::Other { bytes, .. }
            | Self::More { bytes, .. } => *bytes,
        }
    }
}

/// Whether the body of a server's message says something about an action's outcome or the state
/// of the session.
const fn is_read(tag: u8) -> bool {
    // CommandComplete, ErrorResponse, ReadyForQuery.
    matches!(tag, b'C' | b'E' | b'Z')
}

/// Walks over a server's stream.
#[derive(Debug, Default)]
pub struct Scanner {
    inside: Option<Inside>,
}

/// The message we are in.
#[derive(Debug, Clone, Copy)]
struct Inside {
    tag: u8,
    /// Bytes before its end.
    left: usize,
    /// Whether its head was passed on.
    passes: bool,
}

impl Scanner {
    /// Whether what was passed on ends where a message ends: only there something can be put into
    /// the stream.
    pub fn is_at_boundary(&self) -> bool {
        self.inside.is_none_or(|inside| !inside.passes)
    }

    /// The message that the last piece began is not passed on; so what is missing of it will not
    /// be either.
    pub fn withhold(&mut self) {
        if let Some(inside) = &mut self.inside {
            inside.passes = false;
        }
    }

    /// What lies at the front of `buffer`; `None` when more bytes are needed. The caller takes
    /// the piece's `bytes` off before the next call. After an error the stream has no known
    /// boundaries any more.
    pub fn next(&mut self, buffer: &[u8]) -> Result<Option<Piece>, CodecError> {
        if let Some(Inside { tag, left, passes }) = self.inside {
            let bytes = left.min(buffer.len());
            if bytes == 0 {
                return Ok(None);
            }
            let left = left - bytes;
            self.inside = (left > 0).then_some(Inside { tag, left, passes });
            return Ok(Some(Piece::More { tag, bytes, passes }));
        }
        let Some((tag, whole)) = header(buffer)? else { return Ok(None) };
        match tag {
            b'D' => self.rows(buffer).map(Some),
            b'd' => {
                let bytes = self.enter(tag, whole, buffer.len());
                Ok(Some(Piece::Copy { payload: HEADER_BYTES..bytes, bytes }))
            }
            _ if is_read(tag) => {
                let wanted = whole.min(HEADER_BYTES + READ_BYTES_MAX);
                if buffer.len() < wanted {
                    return Ok(None);
                }
                let bytes = self.enter(tag, whole, wanted);
                Ok(Some(Piece::Message { tag, body: HEADER_BYTES..bytes, bytes }))
            }
            _ => {
                let bytes = self.enter(tag, whole, buffer.len());
                Ok(Some(Piece::Other { tag, bytes }))
            }
        }
    }

    /// Takes up to `there` bytes of a message of `whole` bytes; remembers what is missing.
    fn enter(&mut self, tag: u8, whole: usize, there: usize) -> usize {
        let bytes = whole.min(there);
        let left = whole - bytes;
        self.inside = (left > 0).then_some(Inside { tag, left, passes: true });
        bytes
    }

    /// All rows that lie next to each other.
    fn rows(&mut self, buffer: &[u8]) -> Result<Piece, CodecError> {
        let mut messages = 0;
        let mut bytes = 0;
        while self.inside.is_none()
            && let Some(rest) = buffer.get(bytes..)
            && rest.first() == Some(&b'D')
        {
            // A bad length behind good rows is met again at the next call, at the front.
            let Ok(Some((tag, whole))) = header(rest) else { break };
            messages += 1;
            bytes += self.enter(tag, whole, rest.len());
        }
        Ok(Piece::Rows { messages, bytes })
    }
}

/// Type byte and whole length of the message at the front.
fn header(buffer: &[u8]) -> Result<Option<(u8, usize)>, CodecError> {
    let Some(header) = buffer.get(..HEADER_BYTES) else { return Ok(None) };
    let body = body_length(header).ok_or_else(|| length_error(header))?;
    Ok(Some((header.first().copied().unwrap_or_default(), HEADER_BYTES + body)))
}
