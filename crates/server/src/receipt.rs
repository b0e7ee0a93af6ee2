//! The receipt of a session: the proof of its beginning and its end, for the person whose it is.
//!
//! The end names the number of the session's events and the hash of the one before, which names the
//! one before that: whoever holds it can ask for every event of the session, and tell whether it is
//! the one. So each person with a receipt is somebody before whom the log cannot be rewritten.

mod search;

use crate::compose::Parts;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json, Router};
use loggia_api::Problem;
use loggia_api::audit::{Receipt, ReceiptPart, SESSION_RECEIPT};
use loggia_ledger::Ledger;
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::id::{ActorId, SessionId};
use loggia_model::port::{Append, Caller};
use loggia_model::{Fault, PublicError};
use loggia_verify::proof::{ProofPart, ProveError, Wanted, prove};
use parking_lot::Mutex;
use search::Search;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Receipts that are made at a time: each reads back in the log. Of one caller it is one.
const RECEIPTS_MAX: usize = 2;
/// How long one may wait for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Receipts {
    parts: Arc<Parts>,
    room: Room,
}

/// `GET /v1/sessions/{id}/receipt`.
pub(crate) fn routes(parts: Arc<Parts>) -> Router {
    let receipts = Receipts { parts, room: Room::new() };
    Router::new().route(SESSION_RECEIPT, get(receipt)).with_state(receipts)
}

/// Who is at it, and who waits: one of each caller, so that none is in the way of all others.
#[derive(Clone)]
struct Room {
    places: Arc<Semaphore>,
    callers: Arc<Mutex<HashSet<ActorId>>>,
}

/// A turn. Work holds it too, for reading goes on when the caller hangs up.
struct Turn {
    _place: OwnedSemaphorePermit,
    _asking: Asking,
}

struct Asking {
    caller: ActorId,
    callers: Arc<Mutex<HashSet<ActorId>>>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.callers.lock().remove(&self.caller);
    }
}

impl Room {
    fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(RECEIPTS_MAX)), callers: Arc::default() }
    }

    async fn enter(&self, caller: ActorId) -> Result<Arc<Turn>, PublicError> {
        if !self.callers.lock().insert(caller) {
            return Err(busy("you are taking a receipt already"));
        }
        let asking = Asking { caller, callers: Arc::clone(&self.callers) };
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(TURN_WAIT_MAX, place).await {
            Ok(Ok(place)) => Ok(Arc::new(Turn { _place: place, _asking: asking })),
            Ok(Err(_)) | Err(_) => Err(busy("too many receipts at the same time")),
        }
    }
}

/// Looks through the log away from the threads that serve connections, until nobody waits.
struct Looking {
    ledger: Arc<Ledger>,
    session: SessionId,
    turn: Arc<Turn>,
    gone: Arc<AtomicBool>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

impl Looking {
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Search<'_>) -> Result<T, PublicError> + Send + 'static,
    ) -> Result<T, PublicError> {
        let (ledger, gone, session) =
            (Arc::clone(&self.ledger), Arc::clone(&self.gone), self.session);
        self.work(move || look(&Search::new(&*ledger, session, &gone))).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PublicError> + Send + 'static,
    ) -> Result<T, PublicError> {
        let turn = Arc::clone(&self.turn);
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        work.await.map_err(|error| failed(&error))?
    }
}

async fn receipt(
    State(receipts): State<Receipts>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Receipt>, Problem> {
    let Receipts { parts, room } = receipts;
    let session: SessionId = id.parse().map_err(|_| not_found(&id))?;
    let turn = room.enter(caller.actor.id).await?;
    let ledger = Arc::clone(&parts.ledger);
    let looking = Looking { ledger, session, turn, gone: Arc::default() };
    let nearby = looking.look(|search| search.nearby()).await?;
    // One's own needs no leave; and to others it is told only with leave whether it exists. A long
    // look is only for who has it.
    if nearby.and_then(|start| start.actor) != Some(caller.actor.id) {
        parts.authorize.authorize(&caller, Action::SessionsRead, SESSION_RECEIPT).await?;
    }
    let start = match nearby {
        Some(start) => Some(start),
        None => looking.look(|search| search.anywhere()).await?,
    };
    let start = start.ok_or_else(|| not_found(&id))?.index;
    let end = match parts.sessions.is_open(session) {
        true => None,
        false => looking.look(move |search| search.end_behind(start)).await?,
    };
    let ledger = Arc::clone(&parts.ledger);
    let proved = looking.work(move || proofs(&ledger, start, end)).await?;
    let read = crate::authorize::by(parts.mint.draft(Kind::AuditRead), &caller)
        .set("/detail/route", "receipt")
        .set("/detail/session", session.to_string())
        .set("/outcome/rows", proved.len() as u64)
        .set("/outcome/status", "ok");
    crate::authorize::record(&*parts.ledger, read).await?;
    Ok(Json(Receipt {
        session: session.to_string(),
        origin: parts.ledger.origin(),
        key: parts.ledger.verification_key(),
        parts: proved,
    }))
}

fn proofs(ledger: &Ledger, start: u64, end: Option<u64>) -> Result<Vec<ReceiptPart>, PublicError> {
    let folder = ledger.epoch_folder();
    let mut parts = Vec::new();
    for (name, index) in [("start", Some(start)), ("end", end)] {
        let Some(index) = index else { continue };
        let proved = prove(&folder, Wanted::Index(index)).map_err(|error| match error {
            ProveError::NotYet(_) => {
                let message = "the session is not yet under a checkpoint";
                PublicError::new("not_yet", Fault::Gateway, message)
                    .hint("try again in a second")
                    .retry()
            }
            error => failed(&error),
        })?;
        parts.push(part(name, proved.event));
    }
    Ok(parts)
}

fn part(name: &str, proved: ProofPart) -> ReceiptPart {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    ReceiptPart {
        name: name.to_owned(),
        index: proved.index,
        entry: text(proved.leaf),
        open: proved.disclosure.map(text),
        proof: proved.proof,
    }
}

fn not_found(id: &str) -> PublicError {
    PublicError::new("not_found", Fault::Client, format!("there is no session `{id}` in this log"))
        .hint("the notice at the start of a session names it; `loggia session ls` lists them")
}

fn busy(message: &str) -> PublicError {
    PublicError::new("throttled", Fault::Client, message).hint("try again in a moment").retry()
}

fn failed(error: &dyn std::fmt::Display) -> PublicError {
    PublicError::new("internal", Fault::Gateway, "the receipt could not be made")
        .hint("`loggia verify` on the gateway's machine says what is wrong with the log")
        .cause(error)
}

#[cfg(test)]
mod tests;
