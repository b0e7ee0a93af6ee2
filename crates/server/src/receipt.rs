//! The receipt of a session: the proof of its beginning and its end, for the person whose it is.
//!
//! The end names the number of the session's events and the hash of the one before, which names the
//! one before that: whoever holds it can ask for every event of the session, and tell whether it is
//! the one. So each person with a receipt is somebody before whom the log cannot be rewritten.

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
use loggia_model::port::{Append, Caller, ReadLog};
use loggia_model::{Event, Fault, PublicError};
use loggia_verify::proof::{ProofPart, ProveError, Wanted, prove};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Receipts that are made at a time: each reads back in the log.
const RECEIPTS_MAX: usize = 2;
/// Entries that are read at a time.
const ENTRIES_AT_ONCE: usize = 4_096;
/// Entries that are read for one receipt at most, from the newest backwards.
const ENTRIES_MAX: u64 = 20_000_000;

#[derive(Clone)]
struct Receipts {
    parts: Arc<Parts>,
    room: Arc<Semaphore>,
}

/// `GET /v1/sessions/{id}/receipt`.
pub(crate) fn routes(parts: Arc<Parts>) -> Router {
    let receipts = Receipts { parts, room: Arc::new(Semaphore::new(RECEIPTS_MAX)) };
    Router::new().route(SESSION_RECEIPT, get(receipt)).with_state(receipts)
}

/// Where a session begins and ends in the log.
struct Found {
    start: u64,
    end: Option<u64>,
    actor: Option<ActorId>,
}

async fn receipt(
    State(receipts): State<Receipts>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Receipt>, Problem> {
    let Receipts { parts, room } = receipts;
    let session: SessionId = id.parse().map_err(|_| not_found(&id))?;
    let _place = room.acquire().await.map_err(|_| busy())?;
    let ledger = Arc::clone(&parts.ledger);
    let found = tokio::task::spawn_blocking(move || find(&ledger, session)).await;
    let found = found.map_err(|error| failed(&error))??;
    // One's own needs no leave; and to others it is told only with leave whether it exists.
    let own = found.as_ref().is_some_and(|found| found.actor == Some(caller.actor.id));
    if !own {
        parts.authorize.authorize(&caller, Action::SessionsRead, SESSION_RECEIPT).await?;
    }
    let found = found.ok_or_else(|| not_found(&id))?;
    let ledger = Arc::clone(&parts.ledger);
    let proved = tokio::task::spawn_blocking(move || proofs(&ledger, &found)).await;
    let proved = proved.map_err(|error| failed(&error))??;
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

/// Looks for a session from the newest entry backwards.
fn find(ledger: &Ledger, session: SessionId) -> Result<Option<Found>, PublicError> {
    let name = session.to_string();
    let (mut end, mut before) = (None, ledger.size());
    let oldest = before.saturating_sub(ENTRIES_MAX);
    while before > oldest {
        let from = before.saturating_sub(ENTRIES_AT_ONCE as u64).max(oldest);
        let count = usize::try_from(before - from).unwrap_or(ENTRIES_AT_ONCE);
        for entry in ledger.read(from, count)?.iter().rev() {
            // Parsing costs far more than looking for the id.
            let mentions = entry.leaf.windows(name.len()).any(|at| at == name.as_bytes());
            let event = mentions.then(|| Event::parse(&entry.leaf).ok()).flatten();
            let Some(event) =
                event.filter(|event| event.session.is_some_and(|place| place.id == session))
            else {
                continue;
            };
            match event.known_kind() {
                Some(Kind::SessionEnd) => end = Some(entry.index),
                Some(Kind::SessionStart) => {
                    let actor = event.text("/actor/id").and_then(|id| id.parse().ok());
                    return Ok(Some(Found { start: entry.index, end, actor }));
                }
                _ => {}
            }
        }
        before = from;
    }
    Ok(None)
}

fn proofs(ledger: &Ledger, found: &Found) -> Result<Vec<ReceiptPart>, PublicError> {
    let folder = ledger.epoch_folder();
    let mut parts = Vec::new();
    for (name, index) in [("start", Some(found.start)), ("end", found.end)] {
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

fn busy() -> PublicError {
    PublicError::new("throttled", Fault::Client, "too many receipts at the same time").retry()
}

fn failed(error: &dyn std::fmt::Display) -> PublicError {
    PublicError::new("internal", Fault::Gateway, "the receipt could not be made")
        .hint("`loggia verify` on the gateway's machine says what is wrong with the log")
        .cause(error)
}
