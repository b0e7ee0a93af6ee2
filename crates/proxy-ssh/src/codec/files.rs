//! The observer of a channel that carries files, whichever of the protocols it follows.

use super::operation::{Denial, Finding, Ticket};
use super::scp::Scp;
use super::sftp::Sftp;

/// An observer. What is the same for all protocols is here; the streams themselves are cut by
/// those of [`Sftp`] and [`Scp`], because each has its own two sides.
#[derive(Debug)]
pub enum Files<K> {
    /// SFTP.
    Sftp(Box<Sftp<K>>),
    /// scp's own protocol.
    Scp(Box<Scp<K>>),
}

impl<K: Clone> Files<K> {
    /// Tells under which key an action was recorded. To be called before the next bytes of either
    /// side; what was not recorded is not followed.
    pub fn recorded(&mut self, ticket: Ticket, key: K) {
        match self {
            Self::Sftp(sftp) => sftp.recorded(ticket, key),
            Self::Scp(scp) => scp.recorded(ticket, key),
        }
    }

    /// An action is not passed on. Yields what either side is to be told instead, the client where
    /// [`Files::between_answers`] holds.
    pub fn denied(&mut self, ticket: Ticket, text: &str) -> Denial {
        match self {
            Self::Sftp(sftp) => sftp.denied(ticket, text),
            Self::Scp(scp) => scp.denied(ticket, text),
        }
    }

    /// Whether something of ours may be put into the target's stream here. What scp is told in the
    /// other side's place comes where that side would have answered.
    pub fn between_answers(&self) -> bool {
        match self {
            Self::Sftp(sftp) => sftp.between_answers(),
            Self::Scp(_) => true,
        }
    }

    /// Whether so much waits that the caller should pause to read.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sftp(sftp) => sftp.is_full(),
            Self::Scp(scp) => scp.is_full(),
        }
    }

    /// The channel is over: what is to be said of actions that are not.
    pub fn finish(self) -> Vec<Finding<K>> {
        match self {
            Self::Sftp(sftp) => sftp.finish(),
            Self::Scp(scp) => scp.finish(),
        }
    }
}
