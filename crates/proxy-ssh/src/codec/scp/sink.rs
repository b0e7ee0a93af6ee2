//! The answers of a sink.

use super::{Direction, LINE_BYTES_MAX};
use crate::codec::Malformed;
use crate::codec::operation::Status;
use std::collections::VecDeque;

/// Answers that a client may send before they are asked for. Some scripts do.
const EARLY_MAX: usize = 1024;

/// Cuts a sink's stream into answers.
#[derive(Debug)]
pub(super) struct Answers {
    direction: Direction,
    /// The first byte and what was kept of an error line that has not come whole, and its length.
    line: Option<(u8, Vec<u8>, usize)>,
    ready: VecDeque<Status>,
}

impl Answers {
    pub(super) fn new(direction: Direction) -> Self {
        Self { direction, line: None, ready: VecDeque::new() }
    }

    /// Takes one answer, or a part of one, off the front of `chunk`.
    pub(super) fn take(&mut self, chunk: &mut &[u8]) -> Result<(), Malformed> {
        let Some((&first, rest)) = chunk.split_first() else { return Ok(()) };
        let Some((code, mut text, length)) = self.line.take() else {
            *chunk = rest;
            return match first {
                0 => self.answered(Status::ok()),
                // Anything else begins an error line; without a 1 it ends the source.
                1 | 2 => {
                    self.line = Some((first, Vec::new(), 1));
                    Ok(())
                }
                other => {
                    self.line = Some((2, vec![other], 1));
                    // A line feed by itself begins a line, too.
                    Ok(())
                }
            };
        };
        let end = memchr::memchr(b'\n', chunk);
        let (piece, rest) = chunk.split_at_checked(end.unwrap_or(chunk.len())).unwrap_or_default();
        let length = length + piece.len();
        // A client that sends more would be read by the target from there on as something else.
        if self.direction == Direction::Send && length >= LINE_BYTES_MAX {
            return Err(Malformed::Line("an error is too long"));
        }
        let room = Status::TEXT_BYTES_MAX.saturating_sub(text.len()).min(piece.len());
        text.extend_from_slice(piece.get(..room).unwrap_or_default());
        *chunk = rest.get(1..).unwrap_or_default();
        if end.is_some() {
            return self.answered(Status { code: code.into(), text: text.into() });
        }
        self.line = Some((code, text, length));
        Ok(())
    }

    fn answered(&mut self, status: Status) -> Result<(), Malformed> {
        if self.ready.len() >= EARLY_MAX {
            return Err(Malformed::Unasked);
        }
        self.ready.push_back(status);
        Ok(())
    }

    /// Whether no answer waits to be asked for, nor a part of one.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.line.is_none()
    }

    /// The next answer. Those of a client wait until something is asked.
    pub(super) fn next(&mut self, awaited: bool) -> Result<Option<Status>, Malformed> {
        if self.direction == Direction::Send && !awaited {
            return Ok(None);
        }
        Ok(self.ready.pop_front())
    }
}
