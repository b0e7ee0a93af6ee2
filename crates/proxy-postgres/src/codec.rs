//! The PostgreSQL frontend/backend protocol, version 3: bytes in, messages out. No I/O, no clock,
//! and no panic on any bytes.
//!
//! Start reading at [`frame`], which cuts the client's stream into frames, and [`scan`], which
//! finds the boundaries in the server's without copying. [`class`] is the closed list of what a
//! frontend message may be: an action, part of one, neutral, or opaque.
//!
//! Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol", section "Message
//! Formats"; where the documentation is silent, `src/backend/tcop/postgres.c`.

pub mod backend;
pub mod class;
pub mod encode;
pub mod frame;
pub mod frontend;
mod fuzz;
mod reader;
pub mod scan;
pub mod startup;

#[cfg(test)]
mod tests;

pub use fuzz::fuzz_one;

/// The longest message before authentication, in bytes.
pub const PRE_AUTH_BYTES_MAX: usize = 10 * 1024;
/// The longest message that the protocol allows, in bytes (`MaxAllocSize` of the server).
pub const MESSAGE_BYTES_MAX: usize = 0x3fff_ffff;
/// The longest action message (Parse, Bind, Query, FunctionCall), in bytes: what can be recorded.
pub const ACTION_BYTES_MAX: usize = loggia_model::event::ACTION_BYTES_MAX;
/// The longest message that is neither an action nor bulk data (Describe, Close, Sync, …), in bytes.
pub const NEUTRAL_BYTES_MAX: usize = 64 * 1024;

/// Why bytes are not the PostgreSQL protocol. Always the fault of whoever sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A length that no message of this type has.
    #[error("a message of type {tag:?} says it is {length} bytes long", tag = char::from(*tag))]
    Length {
        /// The type byte; 0 for a start-up packet.
        tag: u8,
        /// The length field as sent.
        length: u32,
    },
    /// The fields of a message do not fit its length.
    #[error("a malformed {0} message")]
    Malformed(&'static str),
}
