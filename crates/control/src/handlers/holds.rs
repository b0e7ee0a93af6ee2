//! Legal holds.

use super::{Answer, Body, ControlApi, Part, Who, malformed, problem};
use crate::hold::{Hold, HoldScope};
use crate::snapshot::Snapshot;
use axum::Json;
use axum::extract::{Path, State};
use loggia_api::{Problem, retention as api};
use loggia_model::decision::Action;
use loggia_model::id::HoldId;
use std::sync::Arc;

pub(super) async fn holds(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    part: Part,
) -> Answer<api::Holds> {
    state.may(&caller.0, Action::HoldsRead, api::HOLDS).await?;
    let now: Arc<Snapshot> = state.control.now();
    let (holds, next) = part.of(state.control.holds(), |hold| hold.id.to_string());
    let holds = holds.into_iter().map(|hold| converted(hold, &now)).collect();
    Ok(Json(api::Holds { holds, next }))
}

pub(super) async fn add(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Body(new): Body<api::AddHold>,
) -> Answer<api::Hold> {
    state.may(&caller.0, Action::HoldsManage, api::HOLDS).await?;
    let session = new.session.map(|id| id.parse()).transpose();
    let session = session.map_err(|error| -> Problem { malformed(format!("{error}")) })?;
    let identity = match new.person {
        Some(name) => Some(state.control.subject(&name).map_err(problem)?.0),
        None => None,
    };
    let (resource, from_us, to_us) = (new.resource, new.from_us, new.to_us);
    let scope = HoldScope { identity, session, resource, from_us, to_us };
    let hold = state.control.add_hold(scope, new.reason, caller.by()).await.map_err(problem)?;
    Ok(Json(converted(hold, &state.control.now())))
}

pub(super) async fn remove(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Path(id): Path<String>,
    Body(why): Body<api::RemoveHold>,
) -> Answer<api::Hold> {
    state.may(&caller.0, Action::HoldsManage, api::HOLD_REMOVE).await?;
    let id: HoldId = id.parse().map_err(|error| -> Problem { malformed(format!("{error}")) })?;
    let now = state.control.now();
    let hold = state.control.remove_hold(id, why.reason, caller.by()).await.map_err(problem)?;
    Ok(Json(converted(hold, &now)))
}

fn converted(hold: Hold, now: &Snapshot) -> api::Hold {
    let HoldScope { identity, session, resource, from_us, to_us } = hold.scope;
    let name = identity.map(|id| {
        now.identities.get(&id).map_or_else(|| id.to_string(), |known| known.name.clone())
    });
    api::Hold {
        id: hold.id.to_string(),
        person: name,
        session: session.map(|id| id.to_string()),
        resource,
        from_us,
        to_us,
        reason: hold.reason,
        created_us: hold.created_us,
        created_by: hold.created_by,
    }
}
