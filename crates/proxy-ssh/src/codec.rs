//! What goes through the channels of an SSH session: bytes in, what they do out. No I/O, no clock,
//! and no panic on any bytes.
//!
//! Start reading at [`operation`], the words in which the observers of file transfers speak; then
//! [`sftp`] and [`scp`], which cut a stream into what must be recorded before it goes on and what
//! is part of something recorded, and follow the answers; [`files`] is either of them. [`command`] tells what the text of an
//! exec request starts. [`echo`] tells which lines typed into a terminal were shown on it.

pub mod command;
pub mod echo;
pub mod files;
mod fuzz;
pub mod operation;
mod reader;
pub mod scp;
pub mod sftp;
mod tally;

pub use fuzz::{fuzz_echo, fuzz_scp, fuzz_sftp};

/// Why bytes are not the protocol that their channel speaks. After it, boundaries are lost: the
/// channel has to end. Always the fault of whoever sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A length that no SFTP packet has. Text that a login script of the target prints looks
    /// like this, too.
    #[error("an SFTP packet says it is {length} bytes long")]
    Length {
        /// The length field as sent.
        length: u32,
    },
    /// The fields of an SFTP packet do not fit its length.
    #[error("a malformed SFTP {0}")]
    Fields(&'static str),
    /// The target insists on another version of SFTP.
    #[error("the target speaks version {0} of SFTP, version 3 is understood")]
    Version(u32),
    /// A request has the id of one that is not answered yet.
    #[error("SFTP request id {0} was used again before its answer")]
    Reused(u32),
    /// More requests without an answer than [`sftp::OUTSTANDING_HARD_MAX`].
    #[error("more than {} SFTP requests wait for an answer", sftp::OUTSTANDING_HARD_MAX)]
    Outstanding,
    /// A line of the scp protocol that no scp sends.
    #[error("a malformed line of the scp protocol: {0}")]
    Line(&'static str),
    /// An answer of scp to nothing.
    #[error("scp answered where nothing was asked")]
    Unasked,
    /// More bytes than [`scp::HELD_BYTES_MAX`] came behind a line of scp that was not answered.
    #[error("more than {} bytes wait for an answer of scp", scp::HELD_BYTES_MAX)]
    Held,
}
