//! Routes of [`crate::audit`].

#![expect(dead_code, reason = "the functions carry descriptions and are not called")]

use crate::audit as contract;

/// Search events
///
/// Action `events.read`. The query language has a page of its own in the reference. A query that
/// cannot be read answers 400 with code `bad_query` and points at the column.
#[utoipa::path(
    get,
    path = contract::EVENTS,
    tag = "audit",
    params(contract::EventQuery),
    responses((status = 200, description = "A page of events.", body = contract::EventPage))
)]
fn search_events() {}

/// Follow events from now on
///
/// Action `events.read`. One JSON object a line; an empty line now and then says that the
/// connection lives. The tail ends when the credential does.
#[utoipa::path(
    get,
    path = contract::EVENTS_TAIL,
    tag = "audit",
    params(contract::TailQuery),
    responses((
        status = 200,
        description = "One line per event, without end.",
        body = contract::TailLine,
        content_type = "application/x-ndjson"
    ))
)]
fn tail_events() {}

/// List sessions
///
/// Action `sessions.read`. The newest first.
#[utoipa::path(
    get,
    path = contract::SESSIONS,
    tag = "audit",
    params(contract::SessionQuery),
    responses((status = 200, description = "A page of sessions.", body = contract::SessionPage))
)]
fn list_sessions() {}

/// Show one session
///
/// Action `sessions.read`. Its events from the first one on; a result is shown with its action.
#[utoipa::path(
    get,
    path = contract::SESSION,
    tag = "audit",
    params(("id" = String, Path, description = "Id of the session."), contract::TimelineQuery),
    responses((status = 200, description = "A page of its timeline.", body = contract::Timeline))
)]
fn show_session() {}

/// Take the receipt of a session
///
/// One's own needs no action of policies; anybody else's `sessions.read`. The proof of its
/// beginning and, once it is over, of its end. `not_yet` until the log is under a checkpoint again,
/// mostly within a second.
#[utoipa::path(
    get,
    path = contract::SESSION_RECEIPT,
    tag = "audit",
    params(("id" = String, Path, description = "Id of the session.")),
    responses((status = 200, description = "The proofs.", body = contract::Receipt))
)]
fn session_receipt() {}

/// End a running session
///
/// Action `sessions.end`. Recorded before it takes effect; what runs on the target is cancelled
/// first, and the person is shown the reason.
#[utoipa::path(
    post,
    path = contract::SESSION_END,
    tag = "audit",
    params(("id" = String, Path, description = "Id of the session.")),
    request_body = contract::EndSession,
    responses((status = 200, description = "Its end is under way.", body = contract::SessionEnding))
)]
fn end_session() {}
