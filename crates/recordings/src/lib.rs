//! Recordings of sessions: one file each in `<data>/recordings`, in the format that
//! `loggia_verify::recording` defines.
//!
//! Start reading at [`RecordingFolder`]: it begins recordings. [`tape`](self) writes one,
//! [`lines`] seals and opens what was typed, [`take_up`] goes on where a crash left off.
#![forbid(unsafe_code)]

mod folder;
pub mod lines;
mod recover;
mod tape;

pub use folder::{FolderError, RecordingFolder, silent_key};
pub use recover::take_up;
