//! The API's routes for reading what was recorded. Who reads is recorded too, before the answer
//! is given.

use crate::query::{self, Query, QueryError};
use crate::search::Request;
use crate::sessions::LiveSessions;
use crate::store::{CancelOnDrop, Store};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query as Params, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use loggia_api::Problem;
use loggia_api::audit::{
    EVENTS, EVENTS_TAIL, EventPage, EventQuery, LIMIT_DEFAULT, LIMIT_MAX, NDJSON, SESSION,
    SESSIONS, SessionPage, SessionQuery, TailLine, TailQuery, Timeline, TimelineQuery,
};
use loggia_model::decision::Action;
use loggia_model::id::SessionId;
use loggia_model::port::{Append, AppendError, Authorize, Caller};
use loggia_model::{EventDraft, Fault, Kind, Mint, PublicError};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Searches and timelines that are worked on at the same time.
const ANSWERS_MAX: usize = 4;
/// How long one waits for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);
/// Tails at the same time.
const TAILS_MAX: usize = 64;
/// How often a tail shows that it lives, and asks whether its reader may go on reading.
const TAIL_BEAT: Duration = Duration::from_secs(10);

/// What the routes need.
#[derive(Clone)]
pub struct Audit {
    store: Arc<Store>,
    append: Arc<dyn Append>,
    authorize: Arc<dyn Authorize>,
    live: Arc<dyn LiveSessions>,
    mint: Mint,
    turns: Arc<Semaphore>,
    tails: Arc<Semaphore>,
}

impl Audit {
    /// Reads from `store`, records reads with `append`, asks `authorize` for each.
    pub fn new(
        store: Arc<Store>,
        append: Arc<dyn Append>,
        authorize: Arc<dyn Authorize>,
        live: Arc<dyn LiveSessions>,
        mint: Mint,
    ) -> Self {
        Self {
            store,
            append,
            authorize,
            live,
            mint,
            turns: Arc::new(Semaphore::new(ANSWERS_MAX)),
            tails: Arc::new(Semaphore::new(TAILS_MAX)),
        }
    }
}

/// The routes of `loggia_api::audit`, but for the one that ends a session. They need an
/// `Extension<Caller>`.
pub fn routes(audit: Audit) -> Router {
    Router::new()
        .route(EVENTS, get(events))
        .route(EVENTS_TAIL, get(tail))
        .route(SESSIONS, get(sessions))
        .route(SESSION, get(session))
        .with_state(audit)
}

type Answer<T> = Result<T, Problem>;

async fn events(
    State(audit): State<Audit>,
    Extension(caller): Extension<Caller>,
    params: Result<Params<EventQuery>, QueryRejection>,
) -> Answer<Json<EventPage>> {
    let began = Instant::now();
    audit.authorize.authorize(&caller, Action::EventsRead, "GET /v1/events").await?;
    let Params(params) = params.map_err(bad_parameters)?;
    let request = Request {
        query: audit.query(&params.q)?,
        limit: limit(params.limit)?,
        from: from(params.cursor.as_deref())?,
        order: params.order,
    };
    let found = audit.answer(move |store, gone| store.search(&request, gone)).await?;
    let matched = found.items.len() as u64;
    let read = audit.read(&caller, "events");
    audit.record(read.set("/detail/query", params.q).set("/outcome/rows", matched))?;
    Ok(Json(EventPage {
        items: found.items,
        next: found.next.map(cursor),
        scanned: found.scanned,
        matched,
        took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        complete: found.complete,
        log_size: found.log_size,
    }))
}

async fn sessions(
    State(audit): State<Audit>,
    Extension(caller): Extension<Caller>,
    params: Result<Params<SessionQuery>, QueryRejection>,
) -> Answer<Json<SessionPage>> {
    audit.authorize.authorize(&caller, Action::SessionsRead, "GET /v1/sessions").await?;
    let Params(params) = params.map_err(bad_parameters)?;
    let limit = limit(params.limit)?;
    let below = from(params.cursor.as_deref())?;
    let live = audit.live.live();
    let page = if params.live {
        SessionPage { items: audit.store.live_sessions(&live), next: None }
    } else {
        let list = audit.answer(move |store, gone| store.sessions(below, limit, &live, gone)).await;
        let sessions = list?;
        SessionPage { items: sessions.items, next: sessions.next.map(cursor) }
    };
    let read = audit.read(&caller, "sessions");
    audit.record(read.set("/outcome/rows", page.items.len() as u64))?;
    Ok(Json(page))
}

async fn session(
    State(audit): State<Audit>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    params: Result<Params<TimelineQuery>, QueryRejection>,
) -> Answer<Json<Timeline>> {
    audit.authorize.authorize(&caller, Action::SessionsRead, "GET /v1/sessions/{id}").await?;
    let Params(params) = params.map_err(bad_parameters)?;
    let id: SessionId = id.parse().map_err(|error: loggia_model::id::IdError| {
        bad_request(error.to_string()).hint("loggia session ls lists sessions with their ids")
    })?;
    let (limit, from) = (limit(params.limit)?, from(params.cursor.as_deref())?);
    let live = audit.live.live();
    let timeline =
        audit.answer(move |store, gone| store.timeline(id, from, limit, &live, gone)).await?;
    let read = audit.read(&caller, "session").set("/detail/session", id.to_string());
    audit.record(read.set("/outcome/rows", timeline.items.len() as u64))?;
    Ok(Json(timeline))
}

async fn tail(
    State(audit): State<Audit>,
    Extension(caller): Extension<Caller>,
    params: Result<Params<TailQuery>, QueryRejection>,
) -> Answer<Response> {
    audit.authorize.authorize(&caller, Action::EventsRead, TAIL_ROUTE).await?;
    let Params(params) = params.map_err(bad_parameters)?;
    let query = audit.query(&params.q)?;
    let place = Arc::clone(&audit.tails).try_acquire_owned().map_err(|_| busy("tails"))?;
    audit.record(audit.read(&caller, "tail").set("/detail/query", params.q))?;
    let state = TailState {
        tail: audit.store.tail(&query),
        beat: tokio::time::interval(TAIL_BEAT),
        audit,
        caller,
        ended: false,
        _place: place,
    };
    let lines = futures::stream::unfold(state, |mut state| async move {
        let line = state.next().await?;
        Some((Ok::<Bytes, Infallible>(line), state))
    });
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

const TAIL_ROUTE: &str = "GET /v1/events/tail";

struct TailState {
    tail: crate::tail::Tail,
    beat: tokio::time::Interval,
    audit: Audit,
    caller: Caller,
    ended: bool,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl TailState {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        tokio::select! {
            // First, so that a busy log does not keep a reader who may no longer read.
            biased;
            _ = self.beat.tick() => match self.refused().await {
                Some(ended) => {
                    self.ended = true;
                    Some(ndjson(&TailLine::Ended { ended }))
                }
                None => Some(Bytes::from_static(b"\n")),
            },
            line = self.tail.next() => line.map(|line| ndjson(&line)),
        }
    }

    /// Why the reader may not go on.
    async fn refused(&self) -> Option<String> {
        let now_us = self.audit.mint.now_us();
        if self.caller.actor.expires_us.is_some_and(|expires| expires <= now_us) {
            return Some("your credential has expired; sign in again with loggia login".to_owned());
        }
        let asked =
            self.audit.authorize.authorize(&self.caller, Action::EventsRead, TAIL_ROUTE).await;
        asked.err().map(|error| error.message)
    }
}

fn ndjson(line: &TailLine) -> Bytes {
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

impl Audit {
    fn query(&self, text: &str) -> Result<Query, PublicError> {
        query::parse(text, self.mint.now_us()).map_err(|error| bad_query(text, &error))
    }

    /// Works on an answer away from the threads that serve connections.
    async fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &Arc<AtomicBool>) -> Result<T, PublicError> + Send + 'static,
    ) -> Result<T, PublicError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = match tokio::time::timeout(TURN_WAIT_MAX, turn).await {
            Ok(Ok(turn)) => turn,
            _ => return Err(busy("searches")),
        };
        let store = Arc::clone(&self.store);
        let gone = Arc::new(AtomicBool::new(false));
        // When the client goes away this future is dropped, and the work ends.
        let _cancel = CancelOnDrop(Arc::clone(&gone));
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&store, &gone)
        });
        work.await.unwrap_or_else(|error| {
            Err(PublicError::new("internal", Fault::Gateway, "the search failed").cause(error))
        })
    }

    fn read(&self, caller: &Caller, route: &'static str) -> EventDraft {
        self.mint
            .draft(Kind::AuditRead)
            .by(&caller.actor)
            .out_of(&caller.source)
            .set("/detail/route", route)
            .set("/outcome/status", "ok")
    }

    /// Records a read. Where that fails nothing is shown.
    fn record(&self, read: EventDraft) -> Result<(), PublicError> {
        let unrecordable = |error: &dyn std::fmt::Display| {
            PublicError::new("unrecordable", Fault::Gateway, "this read cannot be recorded now")
                .hint("reading goes on when the ledger does; see `loggia doctor` on its machine")
                .cause(error)
        };
        let draft = read.encode().map_err(|error| unrecordable(&error))?;
        match self.append.append(&[draft]) {
            Ok(_) => Ok(()),
            Err(error @ AppendError::Paused(_)) => Err(unrecordable(&error).retry()),
            Err(error) => Err(unrecordable(&error)),
        }
    }
}

fn busy(what: &str) -> PublicError {
    PublicError::new("throttled", Fault::Client, format!("too many {what} at the same time"))
        .hint("try again in a moment")
        .retry()
}

fn bad_request(message: impl Into<String>) -> PublicError {
    PublicError::new("bad_request", Fault::Client, message)
}

fn bad_parameters(rejection: QueryRejection) -> PublicError {
    bad_request(rejection.body_text())
}

fn bad_query(text: &str, error: &QueryError) -> PublicError {
    let public =
        PublicError::new("bad_query", Fault::Client, error.to_string()).detail(error.marked(text));
    match &error.hint {
        Some(hint) => public.hint(hint),
        None => public,
    }
}

fn limit(limit: Option<u32>) -> Result<usize, PublicError> {
    match limit.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit as usize),
        other => Err(bad_request(format!("a page has 1 to {LIMIT_MAX} items, not {other}"))),
    }
}

/// An index as a cursor. Readers must not look into it.
pub(crate) fn cursor(index: u64) -> String {
    format!("c{index:x}")
}

fn from(cursor: Option<&str>) -> Result<Option<u64>, PublicError> {
    let Some(cursor) = cursor else { return Ok(None) };
    let index = cursor.strip_prefix('c').and_then(|hex| u64::from_str_radix(hex, 16).ok());
    index.map(Some).ok_or_else(|| {
        bad_request("this cursor is none that Loggia gave")
            .hint("give back the `next` of the page before as it is")
    })
}

#[cfg(test)]
mod tests;
