//! The API's routes for reading recordings. Who reads is recorded too, before the first byte is
//! given.

use crate::folder::RecordingFolder;
use crate::follow::Follow;
use crate::reading::{Checked, check};
use crate::records::SessionRecords;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{Bytes, BytesMut};
use loggia_api::Problem;
use loggia_api::recordings::{
    PARTS, PartHead, PartKind, RECORDING, RecordingEnd, RecordingHead, RecordingNote, WATCH,
};
use loggia_model::decision::Action;
use loggia_model::id::{IdError, SessionId};
use loggia_model::port::{Append, AppendError, Authorize, Caller};
use loggia_model::{Fault, Kind, Mint, PublicError};
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Recordings that are checked and read at the same time.
const READERS_MAX: usize = 8;
/// How long one waits for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);
/// Watchers at the same time.
const WATCHERS_MAX: usize = 64;
/// How often a recording that is watched is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// How often a watcher is shown that the connection lives, and asked about.
const WATCH_BEAT: Duration = Duration::from_secs(10);
/// Bytes of a file that are sent in one part.
const PART_BYTES: usize = 256 << 10;

/// What the routes need.
#[derive(Clone)]
pub struct RecordingsApi {
    folder: Arc<RecordingFolder>,
    records: Arc<dyn SessionRecords>,
    append: Arc<dyn Append>,
    authorize: Arc<dyn Authorize>,
    mint: Mint,
    turns: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    closing: Arc<watch::Sender<bool>>,
}

impl RecordingsApi {
    /// Reads from `folder`, asks `records` what the ledger says, records reads with `append`, asks
    /// `authorize` for each.
    pub fn new(
        folder: Arc<RecordingFolder>,
        records: Arc<dyn SessionRecords>,
        append: Arc<dyn Append>,
        authorize: Arc<dyn Authorize>,
        mint: Mint,
    ) -> Self {
        Self {
            folder,
            records,
            append,
            authorize,
            mint,
            turns: Arc::new(Semaphore::new(READERS_MAX)),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            closing: Arc::new(watch::channel(false).0),
        }
    }

    /// Ends every watching, now and from now on: the gateway is shutting down and would wait.
    pub fn end_watching(&self) {
        self.closing.send_replace(true);
    }

    /// Records a read. Where that fails nothing is shown.
    fn record(
        &self,
        caller: &Caller,
        route: &'static str,
        session: SessionId,
    ) -> Result<(), PublicError> {
        let unrecordable = |error: &dyn std::fmt::Display| {
            PublicError::new("unrecordable", Fault::Gateway, "this read cannot be recorded now")
                .hint("reading goes on when the ledger does; see `loggia doctor` on its machine")
                .cause(error)
        };
        let draft = self
            .mint
            .draft(Kind::AuditRead)
            .by(&caller.actor)
            .out_of(&caller.source)
            .set("/detail/route", route)
            .set("/detail/session", session.to_string())
            .set("/outcome/status", "ok");
        let draft = draft.encode().map_err(|error| unrecordable(&error))?;
        match self.append.append(&[draft]) {
            Ok(_) => Ok(()),
            Err(error @ AppendError::Paused(_)) => Err(unrecordable(&error).retry()),
            Err(error) => Err(unrecordable(&error)),
        }
    }
}

/// The routes of `loggia_api::recordings`. They need an `Extension<Caller>`.
pub fn routes(api: RecordingsApi) -> Router {
    Router::new().route(RECORDING, get(recording)).route(WATCH, get(watched)).with_state(api)
}

const RECORDING_ROUTE: &str = "GET /v1/sessions/{id}/recording";
const WATCH_ROUTE: &str = "GET /v1/sessions/{id}/watch";

async fn recording(
    State(api): State<RecordingsApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    api.authorize.authorize(&caller, Action::RecordingsRead, RECORDING_ROUTE).await?;
    let session = session_of(&id)?;
    let turn = Arc::clone(&api.turns).acquire_owned();
    let turn = match tokio::time::timeout(TURN_WAIT_MAX, turn).await {
        Ok(Ok(turn)) => turn,
        _ => return Err(busy("readers of recordings").into()),
    };
    let gone = Arc::new(AtomicBool::new(false));
    // When the client goes away this future is dropped, and the work ends.
    let _cancel = CancelOnDrop(Arc::clone(&gone));
    let (folder, records) = (Arc::clone(&api.folder), Arc::clone(&api.records));
    let work = move || {
        let ledgered = records.ledgered(session, &gone)?;
        check(&folder, session, &ledgered)
    };
    let Checked { head, file, length } = blocking(work).await?;
    api.record(&caller, "recording", session)?;
    let whole = Whole { note: Some(head), file: Some(file), left: length, _turn: turn };
    let parts = futures::stream::unfold(whole, |mut whole| async move {
        let part = whole.next().await?;
        Some((Ok::<Bytes, Infallible>(part), whole))
    });
    Ok(answer(Body::from_stream(parts)))
}

/// A whole recording being sent.
struct Whole {
    note: Option<RecordingHead>,
    file: Option<File>,
    left: u64,
    _turn: OwnedSemaphorePermit,
}

impl Whole {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(head) = self.note.take() {
            return Some(note(&RecordingNote::Head(head)));
        }
        let mut file = self.file.take()?;
        if self.left == 0 {
            return Some(end("complete", "this is all of the recording"));
        }
        let wanted = self.left.min(PART_BYTES as u64);
        let read = blocking(move || {
            let mut bytes = Vec::with_capacity(PART_BYTES);
            let read = (&mut file).take(wanted).read_to_end(&mut bytes);
            read.map(|_| (file, bytes)).map_err(|error| unreadable(&error))
        });
        match read.await {
            Ok((file, bytes)) if !bytes.is_empty() => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                self.file = Some(file);
                Some(part(PartKind::File, &bytes))
            }
            _ => Some(end("failed", "the recording could not be read to its end")),
        }
    }
}

async fn watched(
    State(api): State<RecordingsApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    api.authorize.authorize(&caller, Action::RecordingsRead, WATCH_ROUTE).await?;
    let session = session_of(&id)?;
    if !api.records.is_live(session) {
        let message = format!("no session {session} is running");
        let error = PublicError::new("not_found", Fault::Client, message)
            .hint("`loggia session ls --live` lists those that run; `loggia replay` shows others");
        return Err(error.into());
    }
    let place = Arc::clone(&api.watchers).try_acquire_owned().map_err(|_| busy("watchers"))?;
    api.record(&caller, "watch", session)?;
    let head = RecordingHead { session: session.to_string(), ..RecordingHead::default() };
    let watching = Watching {
        note: Some(head),
        follow: Some(Box::new(Follow::new(api.folder.path(session)))),
        beat: tokio::time::interval(WATCH_BEAT),
        closing: api.closing.subscribe(),
        session,
        api,
        caller,
        _place: place,
    };
    let parts = futures::stream::unfold(watching, |mut watching| async move {
        let part = watching.next().await?;
        Some((Ok::<Bytes, Infallible>(part), watching))
    });
    Ok(answer(Body::from_stream(parts)))
}

/// A session that is watched.
struct Watching {
    note: Option<RecordingHead>,
    /// None once the end was told.
    follow: Option<Box<Follow>>,
    beat: tokio::time::Interval,
    closing: watch::Receiver<bool>,
    session: SessionId,
    api: RecordingsApi,
    caller: Caller,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(head) = self.note.take() {
            self.beat.reset();
            return Some(note(&RecordingNote::Head(head)));
        }
        loop {
            let mut follow = self.follow.take()?;
            if *self.closing.borrow() {
                return Some(end("shutdown", "the gateway is being shut down"));
            }
            // Asked before the file is looked at: nothing is written once the session has ended.
            let live = self.api.records.is_live(self.session);
            let looked = blocking(move || {
                let bytes = follow.more().map_err(|error| unreadable(&error))?;
                Ok((follow, bytes))
            });
            let (follow, bytes) = match looked.await {
                Ok(looked) => looked,
                Err(_) => return Some(end("failed", "the recording cannot be read any more")),
            };
            if !bytes.is_empty() {
                self.follow = Some(follow);
                return Some(part(PartKind::File, &bytes));
            }
            if !live {
                return Some(end("session_ended", "the session has ended"));
            }
            self.follow = Some(follow);
            let beat = tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing) => false,
                _ = self.beat.tick() => true,
                () = tokio::time::sleep(WATCH_INTERVAL) => false,
            };
            if beat {
                let Some((reason, message)) = self.refused().await else {
                    return Some(part(PartKind::Beat, &[]));
                };
                self.follow = None;
                return Some(end(reason, &message));
            }
        }
    }

    /// Why the watcher may not go on.
    async fn refused(&self) -> Option<(&'static str, String)> {
        let now_us = self.api.mint.now_us();
        if self.caller.actor.expires_us.is_some_and(|expires| expires <= now_us) {
            let message = "your credential has expired; sign in again with loggia login";
            return Some(("expired", message.to_owned()));
        }
        let asked =
            self.api.authorize.authorize(&self.caller, Action::RecordingsRead, WATCH_ROUTE).await;
        asked.err().map(|error| ("denied", error.message))
    }
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Works away from the threads that serve connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublicError> + Send + 'static,
) -> Result<T, PublicError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(PublicError::new("internal", Fault::Gateway, "reading a recording failed").cause(error))
    })
}

fn unreadable(error: &std::io::Error) -> PublicError {
    PublicError::new("internal", Fault::Gateway, "the recording cannot be read").cause(error)
}

fn session_of(id: &str) -> Result<SessionId, PublicError> {
    id.parse().map_err(|error: IdError| {
        PublicError::new("bad_request", Fault::Client, error.to_string())
            .hint("loggia session ls lists sessions with their ids")
    })
}

fn busy(what: &str) -> PublicError {
    PublicError::new("throttled", Fault::Client, format!("too many {what} at the same time"))
        .hint("try again in a moment")
        .retry()
}

fn answer(body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PARTS));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn part(kind: PartKind, content: &[u8]) -> Bytes {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut bytes = BytesMut::with_capacity(5 + content.len());
    bytes.extend_from_slice(&PartHead { kind, length }.encode());
    bytes.extend_from_slice(content);
    bytes.freeze()
}

fn note(note: &RecordingNote) -> Bytes {
    part(PartKind::Note, &serde_json::to_vec(note).unwrap_or_default())
}

fn end(reason: &str, message: &str) -> Bytes {
    let (reason, message) = (reason.to_owned(), message.to_owned());
    note(&RecordingNote::End(RecordingEnd { reason, message }))
}

#[cfg(test)]
mod tests;
