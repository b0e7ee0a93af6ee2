//! What goes through a channel, and how it is recorded.
//!
//! Everything that is said in a channel is on tape before it goes on, both ways, whatever program
//! runs: a name is not what a program does. The one exception is the content of files in the
//! subsystem `sftp`, which is hashed and counted. What is known of a program's protocol only adds
//! events.

use crate::codec::command::Command;
use crate::codec::echo::Echo;
use crate::codec::scp::{Direction, Scp};
use crate::codec::sftp::Sftp;
use bytes::Bytes;
use loggia_gate::ActionRef;
use parking_lot::Mutex;

/// What a channel carries.
pub(super) enum Content {
    /// A terminal: what is typed and what is shown goes into the recording, typed lines sealed
    /// until the terminal echoes them.
    Terminal(Box<Mutex<Echo>>),
    /// Standard input, output and error of a program.
    Piped,
    /// SFTP: each file operation is an event.
    Sftp(Box<Mutex<Option<Sftp<ActionRef>>>>, Kept),
    /// scp's own protocol: each file is an event.
    Scp(Box<Mutex<Option<Scp<ActionRef>>>>, Direction),
}

/// What the recording keeps of SFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// All of it: the client chose the program, which may be another than it looks like.
    All,
    /// All but the content of files: the target's configuration chose the program.
    AllButContent,
}

impl Content {
    /// Of a program whose protocol is not followed, or of a shell.
    pub(super) fn plain(terminal: bool) -> Self {
        if terminal { Self::Terminal(Box::default()) } else { Self::Piped }
    }

    /// Of a command without a terminal, and its name in `ssh.exec`.
    pub(super) fn of_command(command: &Command) -> (&'static str, Self) {
        match command {
            Command::Other => ("other", Self::Piped),
            Command::Rsync { .. } => ("rsync", Self::Piped),
            Command::Git { .. } => ("git", Self::Piped),
            Command::SftpServer => ("sftp", Self::sftp(Kept::All)),
            Command::Scp { direction, paths, into_directory, .. } => {
                ("scp", Self::scp(*direction, paths, *into_directory))
            }
        }
    }

    pub(super) fn sftp(kept: Kept) -> Self {
        Self::Sftp(Box::new(Mutex::new(Some(Sftp::new()))), kept)
    }

    fn scp(direction: Direction, paths: &[Bytes], into_directory: bool) -> Self {
        let scp = Scp::new(direction, paths, into_directory);
        Self::Scp(Box::new(Mutex::new(Some(scp))), direction)
    }

    /// Whether a protocol of file transfers is followed in it.
    pub(super) fn is_files(&self) -> bool {
        matches!(self, Self::Sftp(..) | Self::Scp(..))
    }

    /// What the recording holds of it, in the words of the events.
    pub(super) fn recorded(&self) -> &'static str {
        match self {
            Self::Sftp(_, Kept::AllButContent) => "all_but_content",
            _ => "all",
        }
    }
}
