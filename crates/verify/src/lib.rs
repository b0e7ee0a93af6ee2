//! What an outsider imports: checks of a log folder, a proof, a session, completeness.
//! Needs nothing of a running server; depends on `tlog` and `model` alone.
//!
//! Start reading at [`folder`]: how a log lies on disk, read without trust. [`log`] checks all
//! of it, [`session`] what may not be missing, [`witnessed`] who else has signed for it, [`proof`]
//! one event by itself, [`recording`] what was typed and shown, [`monitor`] a log over time,
//! [`credentials`] what targets accepted, [`rotation`] how a log changes its key; [`report`] says
//! what was found.
#![forbid(unsafe_code)]

pub mod credentials;
mod erased;
pub mod folder;
mod fuzz;
pub mod log;
pub mod monitor;
pub mod proof;
pub mod recording;
pub mod report;
pub mod rotation;
pub mod session;
mod signed;
pub mod subject_keys;
pub mod wal;
pub mod witnessed;

#[cfg(test)]
mod testlog;

pub use folder::{FolderError, LogFolder};
pub use fuzz::{fuzz_one, fuzz_recording};
pub use log::{Options, Trust, VerifyError, verify_folder};
pub use proof::{prove, verify_proof};
pub use report::{Report, Verdict};
pub use subject_keys::SubjectKeys;
pub use witnessed::WitnessTrust;
