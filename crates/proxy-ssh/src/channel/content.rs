//! What goes through a channel, and how it is recorded.

use crate::codec::echo::Echo;
use crate::codec::scp::{Direction, Scp};
use crate::codec::sftp::Sftp;
use bytes::Bytes;
use loggia_gate::ActionRef;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// What a channel carries.
pub(super) enum Content {
    /// A terminal: what is typed and what is shown goes into the recording, typed lines sealed
    /// until the terminal echoes them.
    Terminal(Box<Mutex<Echo>>),
    /// Standard input, output and error of a program: all goes into the recording.
    Piped,
    /// A transfer in a form of its own, such as rsync's: counted and hashed.
    Counted(Box<Mutex<Hashes>>),
    /// SFTP: each file operation is an event.
    Sftp(Box<Mutex<Option<Sftp<ActionRef>>>>),
    /// scp's own protocol: each file is an event.
    Scp(Box<Mutex<Option<Scp<ActionRef>>>>, Direction),
}

/// Running hashes of both directions.
#[derive(Default)]
pub(super) struct Hashes {
    pub(super) input: Sha256,
    pub(super) output: Sha256,
}

impl Content {
    pub(super) fn interactive(terminal: bool) -> Self {
        if terminal { Self::Terminal(Box::default()) } else { Self::Piped }
    }

    pub(super) fn counted() -> Self {
        Self::Counted(Box::default())
    }

    pub(super) fn sftp() -> Self {
        Self::Sftp(Box::new(Mutex::new(Some(Sftp::new()))))
    }

    pub(super) fn scp(direction: Direction, paths: &[Bytes], into_directory: bool) -> Self {
        let scp = Scp::new(direction, paths, into_directory);
        Self::Scp(Box::new(Mutex::new(Some(scp))), direction)
    }

    /// Whether it goes into the session's recording.
    pub(super) fn is_taped(&self) -> bool {
        matches!(self, Self::Terminal(_) | Self::Piped)
    }

    /// The hashes at the end, where there are some: of input and of output.
    pub(super) fn hashes(&self) -> Option<(String, String)> {
        let Self::Counted(hashes) = self else { return None };
        let hashes = std::mem::take(&mut *hashes.lock());
        Some((hex::encode(hashes.input.finalize()), hex::encode(hashes.output.finalize())))
    }
}
