//! Events made searchable: a follower of the ledger, the query language, sessions' timelines.
//!
//! The newest events are in memory ([`Config::memory_bytes_max`]), joined with what they refer to;
//! whatever is older is read from the log as it is asked for. Everything here can be dropped and
//! built again from the ledger.
//!
//! Start reading at [`Store`]: `apply` takes entries in, [`Store::search`] finds them; [`routes`]
//! serves both to the API.

mod hot;
mod joins;
mod log;
mod matching;
mod metrics;
mod outline;
pub mod query;
mod record;
mod render;
mod routes;
mod search;
mod sessions;
mod store;
mod tail;
#[cfg(test)]
mod testlog;

pub use metrics::StoreMetrics;
pub use routes::{Audit, routes};
pub use search::{Found, Request};
pub use sessions::{LiveSession, LiveSessions, Sessions};
pub use store::{Config, Store};
pub use tail::Tail;
