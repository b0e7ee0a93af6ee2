//! Recordings of sessions: one file each in `<data>/recordings`, in the format that
//! `loggia_verify::recording` defines.
//!
//! Start reading at [`RecordingFolder`]: it begins recordings. [`tape`](self) writes one,
//! [`lines`] seals and opens what was typed, [`take_up`] goes on where a crash left off,
//! [`routes`] shows recordings to those who may see them.
#![forbid(unsafe_code)]

mod folder;
mod follow;
pub mod lines;
mod reading;
mod records;
mod recover;
mod routes;
mod tape;

pub use folder::{FolderError, RecordingFolder, silent_key};
pub use records::SessionRecords;
pub use recover::take_up;
pub use routes::{RecordingsApi, routes};
