//! Cuts the client's stream into frames.
//!
//! A frame is forwarded as the very bytes that came in, so it keeps them whole. Two things are
//! never collected: COPY data, which goes on in pieces of whatever has arrived, and an action
//! that is too large to be recorded, which is reported at its header and then thrown away.

use super::class::class_of;
use super::{ACTION_BYTES_MAX, CodecError, MESSAGE_BYTES_MAX, NEUTRAL_BYTES_MAX};
use bytes::{Buf, Bytes, BytesMut};
use loggia_gate::FrameClass;

/// Type byte and length field.
pub const HEADER_BYTES: usize = 5;

/// One whole message with its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    tag: u8,
    wire: Bytes,
}

impl Frame {
    /// The type byte.
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// What stands behind the header.
    pub fn body(&self) -> &[u8] {
        self.wire.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The bytes as they came in.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// Gives the bytes as they came in.
    pub fn into_wire(self) -> Bytes {
        self.wire
    }

    /// A frame of our own making: `tag` and `body`, framed. The body is shorter than 1 GiB.
    pub fn of(tag: u8, body: &[u8]) -> Self {
        let mut wire = BytesMut::with_capacity(HEADER_BYTES + body.len());
        super::encode::message(&mut wire, tag, |out| out.extend_from_slice(body));
        Self { tag, wire: wire.freeze() }
    }
}

/// COPY data: bytes of one or several CopyData messages that lie next to each other, as they came
/// in; the first and the last message may be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPiece {
    wire: Bytes,
    lead: usize,
    messages: u64,
}

impl CopyPiece {
    /// The bytes as they came in, headers included.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// Gives the bytes as they came in.
    pub fn into_wire(self) -> Bytes {
        self.wire
    }

    /// Number of CopyData messages that begin in this piece.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The data without the headers, in order.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let (lead, mut rest) = self.wire.split_at_checked(self.lead).unwrap_or((&self.wire, &[]));
        let messages = std::iter::from_fn(move || {
            let (header, behind) = rest.split_at_checked(HEADER_BYTES)?;
            let length = body_length(header).unwrap_or(0).min(behind.len());
            let (payload, next) = behind.split_at_checked(length)?;
            rest = next;
            Some(payload)
        });
        std::iter::once(lead).chain(messages).filter(|payload| !payload.is_empty())
    }
}

/// What the client's stream holds next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A whole message.
    Frame(Frame),
    /// COPY data, as much as there is.
    Copy(CopyPiece),
    /// A message that is too large to be recorded. Its bytes are thrown away as they come in.
    TooLarge {
        /// The type byte.
        tag: u8,
        /// Its whole length in bytes, header included.
        bytes: usize,
    },
}

/// Limits on the messages of a client.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest action message, in bytes with its header.
    pub action_bytes_max: usize,
    /// The longest other message that is collected whole, in bytes with its header.
    pub neutral_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { action_bytes_max: ACTION_BYTES_MAX, neutral_bytes_max: NEUTRAL_BYTES_MAX }
    }
}

#[derive(Debug, Clone, Copy)]
enum Inside {
    /// At the beginning of a message.
    Boundary,
    /// In a CopyData message, this many bytes before its end.
    Copy(usize),
    /// In a message that is thrown away, this many bytes before its end.
    Discard(usize),
}

/// Cuts a client's stream, after its start-up packet, into messages.
#[derive(Debug)]
pub struct Decoder {
    inside: Inside,
    limits: Limits,
}

impl Decoder {
    /// At the beginning of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { inside: Inside::Boundary, limits }
    }

    /// Takes the next message, or piece of COPY data, off the front of `buffer`; `None` when more
    /// bytes are needed. After an error the stream has no known boundaries any more.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Inbound>, CodecError> {
        if let Inside::Discard(left) = self.inside {
            let thrown = left.min(buffer.len());
            buffer.advance(thrown);
            if thrown < left {
                self.inside = Inside::Discard(left - thrown);
                return Ok(None);
            }
            self.inside = Inside::Boundary;
        }
        if let Inside::Copy(left) = self.inside {
            return self.copy(left, buffer);
        }
        let Some(header) = buffer.get(..HEADER_BYTES) else { return Ok(None) };
        let tag = header.first().copied().unwrap_or_default();
        let body = body_length(header).ok_or_else(|| length_error(header))?;
        let whole = HEADER_BYTES + body;
        if tag == b'd' {
            return self.copy(0, buffer);
        }
        let limit = match class_of(tag) {
            FrameClass::Action => self.limits.action_bytes_max,
            _ => self.limits.neutral_bytes_max,
        };
        if whole > limit {
            self.inside = Inside::Discard(whole);
            return Ok(Some(Inbound::TooLarge { tag, bytes: whole }));
        }
        if buffer.len() < whole {
            buffer.reserve(whole - buffer.len());
            return Ok(None);
        }
        Ok(Some(Inbound::Frame(Frame { tag, wire: buffer.split_to(whole).freeze() })))
    }

    /// Takes all COPY data that lies at the front; `lead` bytes of it end a message begun before.
    fn copy(&mut self, lead: usize, buffer: &mut BytesMut) -> Result<Option<Inbound>, CodecError> {
        let mut end = lead.min(buffer.len());
        let mut left = lead - end;
        let mut messages = 0;
        while left == 0
            && let Some(header) = buffer.get(end..end + HEADER_BYTES)
            && header.first() == Some(&b'd')
        {
            let Some(body) = body_length(header) else {
                // What lies before the bad header is good and goes first.
                if end > 0 {
                    break;
                }
                return Err(length_error(header));
            };
            let there = body.min(buffer.len() - end - HEADER_BYTES);
            end += HEADER_BYTES + there;
            left = body - there;
            messages += 1;
        }
        self.inside = if left > 0 { Inside::Copy(left) } else { Inside::Boundary };
        if end == 0 {
            return Ok(None);
        }
        let lead = lead.min(end);
        Ok(Some(Inbound::Copy(CopyPiece { wire: buffer.split_to(end).freeze(), lead, messages })))
    }
}

/// The length of the body that a header announces; `None` where no message has that length.
pub(crate) fn body_length(header: &[u8]) -> Option<usize> {
    let length = usize::try_from(length_field(header)).ok()?;
    let body = length.checked_sub(4)?;
    (length <= MESSAGE_BYTES_MAX).then_some(body)
}

pub(crate) fn length_error(header: &[u8]) -> CodecError {
    let tag = header.first().copied().unwrap_or_default();
    CodecError::Length { tag, length: length_field(header) }
}

fn length_field(header: &[u8]) -> u32 {
    header.get(1..).and_then(<[u8]>::first_chunk).map_or(0, |field| u32::from_be_bytes(*field))
}
