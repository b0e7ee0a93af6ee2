//! The composition root: configuration becomes ports, ports become tasks, a signal ends them.
//!
//! Start reading at [`Gateway::start`]: it names every implementation. [`config`] is the file,
//! [`door`](self) the way into the API, [`init`] and [`trial`] what comes before the first start.

mod authorize;
mod compose;
pub mod config;
pub mod copies;
mod doctor;
mod door;
mod erasure;
mod health;
pub mod init;
mod live;
mod log_key;
mod openapi;
mod receipt;
mod recordings;
pub mod remote;
pub mod system;
mod tls;
pub mod trial;
pub mod web;
pub mod witness;
mod witnesses;

pub use compose::{
    Addresses, DRAIN_DEFAULT, Foundation, Gateway, PROTOCOLS, checkpoint_copy, ledger_options,
};
pub use config::{Config, ConfigError};
pub use doctor::{Finding, Severity, check, doctor};
pub use loggia_control::DeclaredFile;
pub use loggia_ledger::LogName;
pub use witnesses::{WitnessConfig, read_policy};

/// The verification keys of the log in a data folder, out of that folder itself.
///
/// # Errors
/// Where there is no ledger, or a key cannot be read.
pub fn own_log_keys(data: &std::path::Path) -> anyhow::Result<Vec<loggia_tlog::VerifierKey>> {
    loggia_ledger::own_log_keys(data).map_err(explain)
}

/// A ledger's error with its hint, for people.
fn explain(error: loggia_ledger::LedgerError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => anyhow::Error::new(Hinted { message: error.to_string(), hint }),
        None => error.into(),
    }
}

fn explain_public(error: loggia_model::PublicError) -> anyhow::Error {
    let message = match &error.cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    match error.hint {
        Some(hint) => anyhow::Error::new(Hinted { message, hint }),
        None => anyhow::anyhow!(message),
    }
}

/// An error that says what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Hinted {
    /// What went wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}
