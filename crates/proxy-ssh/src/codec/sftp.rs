//! Follows one channel that speaks SFTP version 3, as OpenSSH speaks it.
//!
//! Sources: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4; where both are silent,
//! `sftp-server.c` and `sftp-client.c` of OpenSSH.
//!
//! The client's stream is cut into steps ([`Sftp::requests`]): what must be recorded comes as a
//! whole packet, the data of a WRITE in pieces of whatever has arrived. The target's stream goes
//! to the client as it is, and is shown to the observer first ([`Sftp::answers`]).
//!
//! What keeps a client from slipping past:
//! - only version 3 is spoken: a client that offers more is passed on as offering 3, so that both
//!   ends read the packets as they are read here;
//! - a request id stands for one request at a time, else an answer could be taken for another's;
//! - a handle stands for a file from the answer that tells it until its CLOSE is *sent*: a target
//!   gives the same handle to the next file, perhaps in the same moment. A request with a handle
//!   that stands for nothing, because it is over or was guessed, is not passed on;
//! - content of a file is what a WRITE to an open file carries, and what answers a READ of one, up
//!   to the length that was asked for. All else is told apart, byte for byte, for the recording.

mod answers;
mod files;
mod packet;
mod requests;
mod steps;

#[cfg(test)]
mod tests;

pub use packet::status_name;

use crate::codec::Malformed;
use crate::codec::operation::{Denial, Finding, Step, Ticket};
use bytes::Bytes;
use files::Files;

/// The longest packet, in bytes without its length field. OpenSSH ends at 256 KiB.
pub const PACKET_BYTES_MAX: usize = 1 << 20;
/// The longest request that is collected whole, in bytes with its length field: everything but
/// WRITE. OpenSSH takes no longer one.
pub const COLLECTED_BYTES_MAX: usize = (256 << 10) + 4;
/// Files and directories that are open at a time. OpenSSH's server is held by its limit of open
/// descriptors, 1,024 on most systems, and answers FAILURE beyond it; so does the observer.
pub const HANDLES_MAX: usize = 1024;
/// Requests without an answer from which on [`Sftp::is_full`] asks for a pause.
pub const OUTSTANDING_MAX: usize = 1 << 16;
/// Requests without an answer that end the channel.
pub const OUTSTANDING_HARD_MAX: usize = 1 << 18;
/// Data that came before its turn and is kept for the hashes of all files of a channel, in bytes.
pub const REORDER_BYTES_MAX: usize = 8 << 20;

/// What to do with what a client sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Requests<K> {
    /// In order.
    pub steps: Vec<Step<K>>,
    /// What the client sent, without the content of files.
    pub control: Bytes,
}

/// What is found in what a target sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Answers<K> {
    /// What became of actions.
    pub found: Vec<Finding<K>>,
    /// What the target sent, without the content of files.
    pub control: Bytes,
}

/// The observer of one SFTP channel.
#[derive(Debug)]
pub struct Sftp<K> {
    cutter: requests::Cutter,
    reader: answers::Reader,
    files: Files<K>,
}

impl<K> Default for Sftp<K> {
    fn default() -> Self {
        let (cutter, reader) = (requests::Cutter::default(), answers::Reader::default());
        Self { cutter, reader, files: Files::default() }
    }
}

impl<K: Clone> Sftp<K> {
    /// At the beginning of a channel.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts what the client sent into steps. All of `chunk` is taken; what is not in a step yet
    /// waits for the rest of its packet. The steps share the memory of `chunk`.
    pub fn requests(&mut self, chunk: Bytes) -> Result<Requests<K>, Malformed> {
        self.cutter.cut(chunk, &mut self.files)
    }

    /// Tells under which key an action was recorded. To be called before the next bytes of either
    /// side; what was not recorded is not followed.
    pub fn recorded(&mut self, ticket: Ticket, key: K) {
        self.files.recorded(ticket.0, key);
    }

    /// An action is not passed on. Yields what the client is to be told instead, with
    /// PERMISSION_DENIED and this text; to be put where [`Sftp::between_answers`] holds.
    pub fn denied(&mut self, ticket: Ticket, text: &str) -> Denial {
        let request = self.files.denied(ticket.0);
        let to_client = request.map(|id| packet::status(id, packet::PERMISSION_DENIED, text));
        Denial { to_client: to_client.unwrap_or_default(), to_target: Bytes::new() }
    }

    /// Looks at what the target sent, which is to be passed on unchanged, whatever is found.
    pub fn answers(&mut self, chunk: &[u8]) -> Result<Answers<K>, Malformed> {
        self.reader.read(chunk, &mut self.files)
    }

    /// Whether the target's stream stands between two packets, where a packet of ours may be put.
    pub fn between_answers(&self) -> bool {
        self.reader.between_packets()
    }

    /// Whether so many requests wait for their answer that the caller should pause to read from
    /// the client.
    pub fn is_full(&self) -> bool {
        self.files.outstanding() >= OUTSTANDING_MAX
    }

    /// The channel is over: what is to be said of actions that are not, in the order in which
    /// they began.
    pub fn finish(self) -> Vec<Finding<K>> {
        self.files.finish()
    }
}
