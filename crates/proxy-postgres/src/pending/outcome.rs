//! What an action gave.

use crate::codec::backend::ErrorFields;
use sha2::{Digest, Sha256};

/// Commands of one action that are told one by one; the rest is counted.
pub const COMMANDS_MAX: usize = 128;

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The server did it.
    Ok,
    /// A portal gave some of its rows and waits.
    Partial,
    /// The server says error.
    Error,
    /// The server broke it off because it was asked to (SQLSTATE 57014).
    Cancelled,
    /// The server skipped it after an earlier error.
    NotExecuted,
}

/// One command that the server completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The tag, such as `INSERT 0 5`.
    pub tag: Vec<u8>,
    /// Rows returned or affected, where the tag says so.
    pub rows: Option<u64>,
}

/// COPY data that passed.
#[derive(Debug, Clone, Default)]
pub struct Copied {
    /// Bytes of data, without headers.
    pub bytes: u64,
    /// CopyData messages.
    pub messages: u64,
    hash: Sha256,
}

impl Copied {
    pub(super) fn add(&mut self, payload: &[u8]) {
        self.bytes += payload.len() as u64;
        self.hash.update(payload);
    }

    /// SHA-256 over the data so far.
    pub fn sha256(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

/// What the server said of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// SQLSTATE.
    pub sqlstate: Vec<u8>,
    /// The message.
    pub message: Vec<u8>,
}

impl From<&ErrorFields<'_>> for Failure {
    fn from(fields: &ErrorFields<'_>) -> Self {
        Self { sqlstate: fields.sqlstate.to_vec(), message: fields.message.to_vec() }
    }
}

/// What an action gave.
#[derive(Debug, Clone)]
pub struct Outcome<A> {
    /// The action.
    pub of: A,
    /// How it ended.
    pub status: Status,
    /// The commands that were completed, in order.
    pub commands: Vec<Command>,
    /// Commands completed beyond those.
    pub commands_more: u64,
    /// Length of the answer in bytes.
    pub bytes: u64,
    /// From forwarding to the end of the answer, in microseconds.
    pub duration_us: i64,
    /// What the server said of a failure.
    pub failure: Option<Failure>,
    /// COPY data that passed, in either direction.
    pub copied: Option<Box<Copied>>,
}

impl<A> Outcome<A> {
    pub(super) fn of(of: A, status: Status) -> Self {
        Self {
            of,
            status,
            commands: Vec::new(),
            commands_more: 0,
            bytes: 0,
            duration_us: 0,
            failure: None,
            copied: None,
        }
    }

    /// Rows returned or affected by all commands together, where any says so.
    pub fn rows(&self) -> Option<u64> {
        self.commands.iter().filter_map(|command| command.rows).reduce(u64::saturating_add)
    }
}

/// What has come of the answer that is coming in.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) commands: Vec<Command>,
    pub(super) commands_more: u64,
    pub(super) bytes: u64,
    pub(super) failure: Option<Failure>,
    /// Whether the server has said anything that it says only to a Query or FunctionCall that it
    /// runs.
    pub(super) begun: bool,
}

impl Progress {
    pub(super) fn completed(&mut self, tag: &[u8], rows: Option<u64>) {
        self.begun = true;
        if self.commands.len() < COMMANDS_MAX {
            self.commands.push(Command { tag: tag.to_vec(), rows });
        } else {
            self.commands_more += 1;
        }
    }

    /// The outcome, and an empty progress for the next answer.
    pub(super) fn finish<A>(
        &mut self,
        of: A,
        duration_us: i64,
        copied: Option<Box<Copied>>,
    ) -> Outcome<A> {
        let done = std::mem::take(self);
        let status = match &done.failure {
            None => Status::Ok,
            Some(failure) if failure.sqlstate == b"57014" => Status::Cancelled,
            Some(_) => Status::Error,
        };
        Outcome {
            of,
            status,
            commands: done.commands,
            commands_more: done.commands_more,
            bytes: done.bytes,
            duration_us,
            failure: done.failure,
            copied,
        }
    }
}
