//! Cuts the client's stream into frames.
//!
//! A frame is forwarded as the very bytes that came in, so it keeps them whole. Two things are
//! never collected: COPY data, which goes on in pieces of whatever has arrived, and an action
//! that is too large to be recorded, which is reported at its header and then thrown away.
//!
//! Whether a message that is not collected goes on is decided once, at its header, and the decoder
//! keeps that until the message ends: a piece of COPY data comes with what it was taken for, and
//! of a message that is not taken nothing ever comes. Otherwise a target could be sent a part of a
//! message, and would read other messages than those that are recorded.

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

    /// Bytes at the front that go on with a message which an earlier piece began.
    pub fn lead_bytes(&self) -> usize {
        self.lead
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

/// What a CopyData message is taken for, asked once, at its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking<A> {
    /// It is data for this: it goes on, all of it.
    For(A),
    /// It is for nothing: it is thrown away, all of it.
    Nothing,
    /// That is not known yet: it stays where it is.
    NotYet,
}

/// What the client's stream holds next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound<A> {
    /// A whole message.
    Frame(Frame),
    /// COPY data, as much as there is.
    Copy {
        /// What all messages in it were taken for when they began.
        of: A,
        /// The data.
        piece: CopyPiece,
    },
    /// COPY data of which it is not known yet what it is taken for. Nothing was taken off.
    CopyWaits,
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
enum Inside<A> {
    /// At the beginning of a message.
    Boundary,
    /// In a CopyData message that was taken for `of`, this many bytes before its end.
    Copy { of: A, left: usize },
    /// In a message that is thrown away, this many bytes before its end.
    Discard(usize),
}

/// Cuts a client's stream, after its start-up packet, into messages. `A` is what COPY data can be
/// taken for.
#[derive(Debug)]
pub struct Decoder<A> {
    inside: Inside<A>,
    limits: Limits,
}

impl<A: Copy + PartialEq> Decoder<A> {
    /// At the beginning of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { inside: Inside::Boundary, limits }
    }

    /// Takes the next message, or piece of COPY data, off the front of `buffer`; `None` when more
    /// bytes are needed. After an error the stream has no known boundaries any more.
    ///
    /// `taking` is asked at the head of each CopyData message.
    pub fn next(
        &mut self,
        buffer: &mut BytesMut,
        taking: impl Fn() -> Taking<A>,
    ) -> Result<Option<Inbound<A>>, CodecError> {
        loop {
            match self.inside {
                Inside::Boundary => {}
                Inside::Copy { of, left } => return self.copy(of, left, buffer, taking),
                Inside::Discard(left) => {
                    let thrown = left.min(buffer.len());
                    buffer.advance(thrown);
                    if thrown < left {
                        self.inside = Inside::Discard(left - thrown);
                        return Ok(None);
                    }
                    self.inside = Inside::Boundary;
                }
            }
            if buffer.first() != Some(&b'd') {
                return self.message(buffer);
            }
            let Some(whole) = whole_length(buffer)? else { return Ok(None) };
            match taking() {
                Taking::For(of) => return self.copy(of, 0, buffer, taking),
                Taking::Nothing => self.inside = Inside::Discard(whole),
                Taking::NotYet => return Ok(Some(Inbound::CopyWaits)),
            }
        }
    }

    /// Takes a message other than CopyData, at whose beginning `buffer` stands.
    fn message(&mut self, buffer: &mut BytesMut) -> Result<Option<Inbound<A>>, CodecError> {
        let Some(whole) = whole_length(buffer)? else { return Ok(None) };
        let tag = buffer.first().copied().unwrap_or_default();
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

    /// Takes the COPY data at the front that was taken for `of`; `lead` bytes of it end a message
    /// begun before.
    fn copy(
        &mut self,
        of: A,
        lead: usize,
        buffer: &mut BytesMut,
        taking: impl Fn() -> Taking<A>,
    ) -> Result<Option<Inbound<A>>, CodecError> {
        let mut end = lead.min(buffer.len());
        let mut left = lead - end;
        let mut messages = 0;
        while left == 0
            && let Some(header) = buffer.get(end..end + HEADER_BYTES)
            && header.first() == Some(&b'd')
            // The first was decided by the caller.
            && (end == 0 || taking() == Taking::For(of))
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
        self.inside = if left > 0 { Inside::Copy { of, left } } else { Inside::Boundary };
        if end == 0 {
            return Ok(None);
        }
        let lead = lead.min(end);
        let piece = CopyPiece { wire: buffer.split_to(end).freeze(), lead, messages };
        Ok(Some(Inbound::Copy { of, piece }))
    }
}

/// The length of the message at the front, header included; `None` where its header is not whole,
/// or is none.
pub fn frame_bytes(front: &[u8]) -> Option<usize> {
    whole_length(front).ok().flatten()
}

fn whole_length(front: &[u8]) -> Result<Option<usize>, CodecError> {
    let Some(header) = front.get(..HEADER_BYTES) else { return Ok(None) };
    let body = body_length(header).ok_or_else(|| length_error(header))?;
    Ok(Some(HEADER_BYTES + body))
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
