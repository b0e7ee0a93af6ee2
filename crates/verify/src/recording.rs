//! The recording of a session: its format, defined here once for those who write, read and check.
//!
//! A recording is one file: a header, then frames. Numbers are big-endian.
//!
//! ```text
//! header  8 bytes "LOGGIARC" | u8 version 1 | u8 n | n bytes: id of the session
//!         | 32 bytes: HMAC-SHA-256(salt, "loggia.recording.v1") | i64 start, µs since 1970
//! frame   u32 n | u64 µs since the start | u8 direction | n bytes
//! ```
//!
//! `n` counts the bytes behind the direction, at most [`FRAME_BYTES_MAX`]. The header is leaf 0 of
//! a Merkle tree as in RFC 6962 section 2.1, frame 1 is leaf 1, and so on; the entry of a leaf is
//! HMAC-SHA-256(salt, all bytes of the header or frame). The salt stands sealed in the ledger's
//! `recording.begun`: once it is erased there, the roots say nothing of what was recorded.
//!
//! - [`ledgered`]: what the ledger claims of a recording.
//! - [`check`]: holds a recording to that, frame by frame.
//! - [`reader`]: reads one from its bytes and checks it on the way.

use hmac::{Hmac, KeyInit, Mac};
use loggia_model::id::{EventId, SessionId};
pub use loggia_model::recording::Direction;
use loggia_tlog::Hash;
use sha2::Sha256;

pub mod check;
pub mod ledgered;
pub mod reader;

#[cfg(test)]
mod tests;

/// What a recording begins with.
pub const MAGIC: [u8; 8] = *b"LOGGIARC";
/// The version of the format that this module defines.
pub const VERSION: u8 = 1;
/// What the salt is committed to with.
const COMMITTED: &[u8] = b"loggia.recording.v1";
/// Bytes of a frame before those that it carries.
pub const HEAD_BYTES: usize = 13;
/// A frame carries at most so many bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// A header is at most this long, in bytes.
pub const HEADER_BYTES_MAX: usize = 8 + 1 + 1 + 255 + 32 + 8;
/// What stands before and behind what was typed in a sealed frame: line and tag, in bytes.
pub const SEAL_BYTES: usize = 8 + 16;
/// Length of a frame that discloses a key: line and key, in bytes.
pub const KEY_BYTES: usize = 8 + 32;

/// Whether a frame of this direction may carry these bytes.
fn admits(direction: Direction, bytes: &[u8]) -> bool {
    match direction {
        Direction::Output | Direction::Error | Direction::Input => true,
        Direction::Action => action_of(bytes).is_some(),
        Direction::Sealed => bytes.len() >= SEAL_BYTES,
        Direction::Key => bytes.len() == KEY_BYTES,
        Direction::Resize => bytes.len() == 8,
        Direction::Exit => matches!(bytes.len(), 0 | 4),
    }
}

fn action_of(bytes: &[u8]) -> Option<EventId> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Why bytes are no recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The file does not begin as a recording does.
    #[error("this is no recording")]
    NotARecording,
    /// A version that this program does not know.
    #[error("a recording of version {0}, which this program does not know")]
    Version(u8),
    /// The header does not name a session.
    #[error("the header names no session")]
    Session,
    /// A letter that stands for nothing.
    #[error("a frame of the unknown kind {0:#04x}")]
    Direction(u8),
    /// A frame that says it is longer than one may be.
    #[error("a frame of {0} bytes; one has at most 1048576")]
    TooLong(u32),
    /// A frame whose bytes are not of the form that its kind has.
    #[error("a frame of kind {} that is not formed as such", char::from(.0.letter()))]
    Payload(Direction),
}

/// What a recording begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The session.
    pub session: SessionId,
    /// HMAC-SHA-256(salt, `loggia.recording.v1`).
    pub commitment: [u8; 32],
    /// Its beginning, microseconds since 1970.
    pub started_us: i64,
}

impl Header {
    /// The header of a new recording.
    pub fn new(session: SessionId, salt: &[u8; 32], started_us: i64) -> Self {
        Self { session, commitment: Leaves::new(salt).commitment(), started_us }
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let session = self.session.to_string();
        let mut bytes = Vec::with_capacity(HEADER_BYTES_MAX);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.push(u8::try_from(session.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(session.as_bytes());
        bytes.extend_from_slice(&self.commitment);
        bytes.extend_from_slice(&self.started_us.to_be_bytes());
        bytes
    }

    /// Reads a header from the beginning of a file, with its length; `None` where more bytes are
    /// needed.
    ///
    /// # Errors
    /// [`Malformed`]: it is none.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let known = bytes.len().min(MAGIC.len());
        if bytes.get(..known) != MAGIC.get(..known) {
            return Err(Malformed::NotARecording);
        }
        let mut rest = bytes.get(MAGIC.len()..).unwrap_or_default();
        let Some(version) = take::<1>(&mut rest) else { return Ok(None) };
        if version != [VERSION] {
            return Err(Malformed::Version(u8::from_be_bytes(version)));
        }
        let Some([length]) = take::<1>(&mut rest) else { return Ok(None) };
        let Some((session, mut rest)) = rest.split_at_checked(usize::from(length)) else {
            return Ok(None);
        };
        let session = std::str::from_utf8(session).map_err(|_| Malformed::Session)?;
        let session = session.parse().map_err(|_| Malformed::Session)?;
        let (Some(commitment), Some(started)) = (take::<32>(&mut rest), take::<8>(&mut rest))
        else {
            return Ok(None);
        };
        let header = Self { session, commitment, started_us: i64::from_be_bytes(started) };
        Ok(Some((header, bytes.len() - rest.len())))
    }
}

/// Takes `N` bytes off the front; `None`, and nothing taken, where there are fewer.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

/// What stands in a frame before the bytes that it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of bytes that it carries.
    pub length: u32,
    /// Microseconds since the recording began.
    pub at_us: u64,
    /// What they are.
    pub direction: Direction,
}

impl Head {
    /// The head of a frame that carries `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] where there is no such frame.
    pub fn of(at_us: u64, direction: Direction, bytes: &[u8]) -> Result<Self, Malformed> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(Malformed::TooLong(length));
        }
        if !admits(direction, bytes) {
            return Err(Malformed::Payload(direction));
        }
        Ok(Self { length, at_us, direction })
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let parts = self.length.to_be_bytes().into_iter().chain(self.at_us.to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(parts.chain([self.direction.letter()])) {
            *to = from;
        }
        bytes
    }

    /// Reads a head.
    ///
    /// # Errors
    /// [`Malformed`]: it is none.
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self, Malformed> {
        let [l0, l1, l2, l3, t0, t1, t2, t3, t4, t5, t6, t7, letter] = *bytes;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let at_us = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let direction = Direction::from_letter(letter).ok_or(Malformed::Direction(letter))?;
        if usize::try_from(length).unwrap_or(usize::MAX) > FRAME_BYTES_MAX {
            return Err(Malformed::TooLong(length));
        }
        Ok(Self { length, at_us, direction })
    }
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Microseconds since the recording began, by the gateway's clock; need not grow.
    pub at_us: u64,
    /// What it carries.
    pub direction: Direction,
    /// What it carries.
    pub bytes: &'a [u8],
    /// The whole frame as it stands in the file.
    pub raw: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads one frame from the beginning of `bytes`; `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`Malformed`]: what stands there is none.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let head = Head::decode(head)?;
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let Some(carried) = rest.get(..length) else { return Ok(None) };
        if !admits(head.direction, carried) {
            return Err(Malformed::Payload(head.direction));
        }
        let raw = bytes.get(..HEAD_BYTES + length).unwrap_or_default();
        Ok(Some(Self { at_us: head.at_us, direction: head.direction, bytes: carried, raw }))
    }

    /// What the frame says, by its direction.
    pub fn content(&self) -> Content<'a> {
        let mut rest = self.bytes;
        let mut number = || take::<4>(&mut rest).map_or(0, u32::from_be_bytes);
        match self.direction {
            Direction::Action => match action_of(self.bytes) {
                Some(action) => Content::Action(action),
                None => Content::Other,
            },
            Direction::Output => Content::Output(self.bytes),
            Direction::Error => Content::Error(self.bytes),
            Direction::Input => Content::Input(self.bytes),
            Direction::Resize => Content::Resize { columns: number(), rows: number() },
            Direction::Exit if self.bytes.is_empty() => Content::Exit(None),
            Direction::Exit => Content::Exit(Some(number())),
            Direction::Sealed => {
                let line = take::<8>(&mut rest).map_or(0, u64::from_be_bytes);
                Content::Sealed { line, sealed: rest }
            }
            Direction::Key => {
                let line = take::<8>(&mut rest).map_or(0, u64::from_be_bytes);
                take::<32>(&mut rest).map_or(Content::Other, |key| Content::Key { line, key })
            }
        }
    }
}

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// What follows belongs to this action.
    Action(EventId),
    /// Output of the target.
    Output(&'a [u8]),
    /// Standard error of the target.
    Error(&'a [u8]),
    /// Input in clear.
    Input(&'a [u8]),
    /// Typed in a terminal.
    Sealed {
        /// Number of the line in its action.
        line: u64,
        /// Ciphertext, then 16 bytes tag.
        sealed: &'a [u8],
    },
    /// The key of a line that was echoed.
    Key {
        /// Number of the line.
        line: u64,
        /// Its key.
        key: [u8; 32],
    },
    /// The terminal's new size.
    Resize {
        /// Columns.
        columns: u32,
        /// Rows.
        rows: u32,
    },
    /// The end of a program: its exit status, where no signal ended it.
    Exit(Option<u32>),
    /// Not formed as its direction asks for; a frame that was read is never this.
    Other,
}

/// Hashes headers and frames to leaves of the recording's tree.
#[derive(Clone)]
pub struct Leaves(Hmac<Sha256>);

impl Leaves {
    /// Keyed with the recording's salt.
    pub fn new(salt: &[u8; 32]) -> Self {
        // HMAC takes a key of any length (RFC 2104), so the second way is never gone; a key that
        // it would not take gives leaves that prove nothing, never a wrong "verified".
        let keyed = Hmac::new_from_slice(salt);
        Self(keyed.unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    /// The commitment to the salt that stands in the header.
    pub fn commitment(&self) -> [u8; 32] {
        self.entry(&[COMMITTED])
    }

    /// The leaf of a header.
    pub fn of_header(&self, header: &[u8]) -> Hash {
        loggia_tlog::leaf_hash(&self.entry(&[header]))
    }

    /// The leaf of a frame, given as its head and what it carries.
    pub fn of_frame(&self, head: &[u8; HEAD_BYTES], bytes: &[u8]) -> Hash {
        loggia_tlog::leaf_hash(&self.entry(&[head, bytes]))
    }

    fn entry(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaves(…)")
    }
}
