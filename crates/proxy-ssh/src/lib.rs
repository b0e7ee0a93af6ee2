//! SSH: codec (pure) and relay.
//!
//! Start reading at [`Ssh`], which brings this protocol to the spine: `door` lets a client in,
//! `upstream` reaches the target, `relay` serves the session, `channel` each program in it,
//! `forward` the connections through the target, `jump` those that come back to this gateway. The
//! transport is a library's, on both sides.
//!
//! What is known of the protocols inside a channel is pure: [`codec`] follows SFTP and scp, tells
//! commands apart, and finds out which typed lines a terminal echoed.

mod channel;
pub mod codec;
mod cord;
mod door;
mod due;
mod flow;
mod forward;
mod jump;
mod outgoing;
mod relay;
mod ssh;
mod upstream;

pub use ssh::{Ssh, SshParts};
