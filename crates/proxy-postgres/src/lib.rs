//! PostgreSQL: codec (pure) and relay.
//!
//! Start reading at [`Postgres`], which brings this protocol to the spine: [`frontend`] opens the
//! door to a client, [`upstream`] dials the target, `relay` serves the session between both.
//!
//! What is known of the protocol is pure: [`codec`] turns bytes into messages, [`names`] follows
//! prepared statements and portals to the text they run, [`pending`] tells which answer belongs to
//! which action.

mod cancels;
pub mod codec;
pub mod frontend;
pub mod names;
pub mod pending;
mod postgres;
mod refusal;
mod relay;
pub mod upstream;

pub use postgres::{Postgres, PostgresLimits, PostgresParts};
