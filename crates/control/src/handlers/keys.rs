//! Registered SSH keys.

use super::{Answer, Body, ControlApi, Part, Who, convert, problem};
use axum::Json;
use axum::extract::{Path, State};
use loggia_api::control as api;
use loggia_model::ActorType;
use loggia_model::decision::Action;
use loggia_model::id::ActorId;
use std::sync::Arc;

/// The keys that the caller may see: that is an answer and no refusal, so no event is written.
pub(super) async fn list(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    part: Part,
) -> Answer<api::Keys> {
    let people = state.allows(&caller.0, Action::PeopleRead, None, None);
    let services = state.allows(&caller.0, Action::ServicesRead, None, None);
    let own = caller.0.actor.id;
    let keys = state.control.ssh_keys().into_iter().filter(|key| match key.owner.id {
        id if id == own => true,
        ActorId::Person(_) => people,
        _ => services,
    });
    let place = |key: &api::Key| format!("{} {}", key.owner, key.fingerprint);
    let (keys, next) = part.of(keys.map(convert::key).collect(), place);
    Ok(Json(api::Keys { keys, next }))
}

/// Whoever registers a key for somebody can become them, so it takes the right to change
/// everybody's rights too.
pub(super) async fn add(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Body(new): Body<api::AddKey>,
) -> Answer<api::Key> {
    let owner = state.control.now().by_name.get(&new.name).copied();
    // Of somebody who is not there, only who may manage people learns so.
    let action = owner.map_or(Action::PeopleManage, manages);
    state.may(&caller.0, action, api::KEYS).await?;
    state.may(&caller.0, Action::ConfigApply, api::KEYS).await?;
    let added = state.control.add_key(&new.name, &new.public_key, caller.by()).await;
    Ok(Json(convert::key(added.map_err(problem)?)))
}

pub(super) async fn remove(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Path(fingerprint): Path<String>,
) -> Answer<api::Key> {
    let found = state.control.ssh_keys().into_iter().find(|it| it.key.fingerprint == fingerprint);
    let action = found.map_or(Action::PeopleManage, |it| manages(it.owner.id));
    state.may(&caller.0, action, api::KEY).await?;
    let removed = state.control.remove_key(&fingerprint, caller.by()).await;
    Ok(Json(convert::key(removed.map_err(problem)?)))
}

fn manages(owner: ActorId) -> Action {
    match ActorType::of(owner) {
        ActorType::Human => Action::PeopleManage,
        _ => Action::ServicesManage,
    }
}
