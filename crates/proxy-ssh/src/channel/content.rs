//! What goes through a channel, and how it is recorded.
//!
//! Everything that is said in a channel is on tape before it goes on, both ways, whatever program
//! runs: a name is not what a program does. The one exception is the content of files in the
//! subsystem `sftp`, which is hashed and counted. What is known of a program's protocol only adds
//! events.

use crate::codec::command::Command;
use crate::codec::echo::Echo;
use crate::codec::files::Files;
use crate::codec::operation::{Denial, Ticket};
use crate::codec::scp::{Direction, Scp};
use crate::codec::sftp::Sftp;
use bytes::Bytes;
use loggia_gate::ActionRef;
use loggia_model::decision::Action;
use parking_lot::Mutex;

/// What a channel carries.
pub(super) enum Content {
    /// A terminal: what is typed and what is shown goes into the recording, typed lines sealed
    /// until the terminal echoes them.
    Terminal(Box<Mutex<Echo>>),
    /// Standard input, output and error of a program.
    Piped,
    /// Files: each operation is an event.
    Files(Box<Transfer>),
}

/// A transfer of files under way.
pub(super) struct Transfer {
    /// What follows it, until the channel is over.
    pub(super) observer: Mutex<Option<Files<ActionRef>>>,
    pub(super) speaks: Speaks,
    pub(super) kept: Kept,
}

impl Transfer {
    /// Asks the observer; `None` once the channel is over.
    pub(super) fn observe<T>(&self, ask: impl FnOnce(&mut Files<ActionRef>) -> T) -> Option<T> {
        self.observer.lock().as_mut().map(ask)
    }

    pub(super) fn sftp<T>(&self, ask: impl FnOnce(&mut Sftp<ActionRef>) -> T) -> Option<T> {
        match self.observer.lock().as_mut() {
            Some(Files::Sftp(sftp)) => Some(ask(sftp)),
            _ => None,
        }
    }

    pub(super) fn scp<T>(&self, ask: impl FnOnce(&mut Scp<ActionRef>) -> T) -> Option<T> {
        match self.observer.lock().as_mut() {
            Some(Files::Scp(scp)) => Some(ask(scp)),
            _ => None,
        }
    }

    pub(super) fn recorded(&self, ticket: Ticket, action: ActionRef) {
        let _ = self.observe(|observer| observer.recorded(ticket, action));
    }

    pub(super) fn denied(&self, ticket: Ticket, words: &str) -> Denial {
        let nothing = Denial { to_client: Bytes::new(), to_target: Bytes::new() };
        self.observe(|observer| observer.denied(ticket, words)).unwrap_or(nothing)
    }

    /// What policies are asked for a file: SFTP is an action of its own, scp is a command.
    pub(super) fn asks_for(&self) -> Action {
        match self.speaks {
            Speaks::Sftp => Action::SshSftp,
            Speaks::Scp(_) => Action::SshExec,
        }
    }
}

/// The protocol of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Sftp,
    /// scp's own, in which one side has the files.
    Scp(Direction),
}

/// What the recording keeps of a transfer.
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
        Self::files(Files::Sftp(Box::new(Sftp::new())), Speaks::Sftp, kept)
    }

    fn scp(direction: Direction, paths: &[Bytes], into_directory: bool) -> Self {
        let scp = Scp::new(direction, paths, into_directory);
        Self::files(Files::Scp(Box::new(scp)), Speaks::Scp(direction), Kept::All)
    }

    fn files(observer: Files<ActionRef>, speaks: Speaks, kept: Kept) -> Self {
        let observer = Mutex::new(Some(observer));
        Self::Files(Box::new(Transfer { observer, speaks, kept }))
    }

    /// Whether a protocol of file transfers is followed in it.
    pub(super) fn is_files(&self) -> bool {
        matches!(self, Self::Files(_))
    }

    /// What the recording holds of it, in the words of the events.
    pub(super) fn recorded(&self) -> &'static str {
        match self {
            Self::Files(transfer) if transfer.kept == Kept::AllButContent => "all_but_content",
            _ => "all",
        }
    }
}
