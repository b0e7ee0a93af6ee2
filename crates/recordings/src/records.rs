//! What others know of sessions and recordings have to ask for.

use loggia_model::PublicError;
use loggia_model::id::SessionId;
use loggia_verify::recording::ledgered::Ledgered;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What the ledger and the gateway say of sessions. `server` connects it.
pub trait SessionRecords: Send + Sync {
    /// What the ledger says of the session's recording; `not_found` where there is no such
    /// session. Blocks while it reads the log; `gone` ends it sooner.
    fn ledgered(&self, session: SessionId, gone: &Arc<AtomicBool>)
    -> Result<Ledgered, PublicError>;

    /// Whether the session runs now.
    fn is_live(&self, session: SessionId) -> bool;
}
