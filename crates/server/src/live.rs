//! Ending a running session: the one route that acts on the spine.

use crate::compose::Parts;
use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Extension, Json, Router};
use loggia_api::Problem;
use loggia_api::audit::{EndSession, REASON_BYTES_MAX, SESSION_END, SessionEnding};
use loggia_gate::EndNotice;
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::id::SessionId;
use loggia_model::port::Caller;
use loggia_model::{Fault, PublicError};
use std::sync::Arc;

/// `POST /v1/sessions/{id}/end`.
pub(crate) fn routes(parts: Arc<Parts>) -> Router {
    Router::new().route(SESSION_END, post(end)).with_state(parts)
}

async fn end(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(request): Json<EndSession>,
) -> Result<Json<SessionEnding>, Problem> {
    parts.authorize.authorize(&caller, Action::SessionsEnd, SESSION_END).await?;
    let session: SessionId = id.parse().map_err(|_| not_running(&id))?;
    if request.reason.trim().is_empty() || request.reason.len() > REASON_BYTES_MAX {
        let message = format!("a reason of 1 to {REASON_BYTES_MAX} bytes is needed");
        return Err(PublicError::new("invalid", Fault::Client, message)
            .hint("it is shown to the person and recorded")
            .into());
    }
    if !parts.sessions.list().iter().any(|view| view.id == session) {
        return Err(not_running(&id).into());
    }
    // On record before it takes effect. If we crash in between, the session ends all the same.
    let draft = crate::authorize::by(parts.mint.draft(Kind::SessionEndRequested), &caller)
        .set("/detail/session", session.to_string())
        .set("/detail/reason", request.reason.as_str());
    let event = draft.id().to_string();
    crate::authorize::record(&*parts.ledger, draft).await?;
    let by = Some(caller.actor.id.to_string());
    let reason = format!("{} ended this session: {}", caller.actor.name, request.reason);
    if !parts.sessions.end(session, EndNotice { code: "ended", reason, by }) {
        return Err(not_running(&id).into());
    }
    Ok(Json(SessionEnding { session: session.to_string(), event }))
}

fn not_running(id: &str) -> PublicError {
    PublicError::new("not_found", Fault::Client, format!("no session `{id}` is running"))
        .hint("`loggia session ls --live` lists those that run")
}
