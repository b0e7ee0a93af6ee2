//! Routes of [`crate::recordings`].

#![expect(dead_code, reason = "the functions carry descriptions and are not called")]

use crate::recordings as contract;

/// Read the recording of a session
///
/// Action `recordings.read`. The recording's file as it is, with the salt and the roots that the
/// ledger has of it, so that the reader checks it too; the server has checked it before the first
/// byte. Parts one after the other: `u8` kind, `u32` big-endian length, content; `n` is a note in
/// JSON, `f` bytes of the file, `.` nothing. A recording that is not what the ledger says answers
/// 500 with code `tampered` and the place.
#[utoipa::path(
    get,
    path = contract::RECORDING,
    tag = "audit",
    params(("id" = String, Path, description = "Id of the session.")),
    responses((
        status = 200,
        description = "The recording, in parts.",
        body = contract::RecordingNote,
        content_type = "application/vnd.loggia.recording"
    ))
)]
fn read_recording() {}

/// Watch a running session
///
/// Action `recordings.read`. Its recording as it is written, in parts as above, until the session
/// ends or the credential expires.
#[utoipa::path(
    get,
    path = contract::WATCH,
    tag = "audit",
    params(("id" = String, Path, description = "Id of the session.")),
    responses((
        status = 200,
        description = "The recording as it grows, in parts.",
        body = contract::RecordingNote,
        content_type = "application/vnd.loggia.recording"
    ))
)]
fn watch_session() {}
