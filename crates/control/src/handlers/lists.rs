//! Resources and locks.

use super::{Answer, Body, ControlApi, Part, Who, convert, malformed, problem};
use crate::edit::address;
use crate::keys::SSH;
use crate::locks::NewLock;
use crate::snapshot::Snapshot;
use axum::Json;
use axum::extract::{Path, State};
use loggia_api::{Problem, control as api};
use loggia_model::decision::{Action, Ask, Effect};
use loggia_model::id::LockId;
use loggia_model::port::{Caller, Decide};
use loggia_model::resource::Resource;
use std::sync::Arc;

/// All resources for whoever may list them; for everybody else those they may connect to. That is
/// an answer and no refusal, so no event is written.
pub(super) async fn resources(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    part: Part,
) -> Answer<api::Resources> {
    let all = state.allows(&caller.0, Action::ResourcesRead, None, None);
    let now = state.control.now();
    let mut visible = Vec::new();
    for resource in now.resources.values() {
        let accounts = state.usable_accounts(&caller.0, resource);
        if all || !accounts.is_empty() {
            visible.push(converted(resource, accounts, all));
        }
    }
    let (resources, next) = part.of(visible, |resource| resource.name.clone());
    Ok(Json(api::Resources { resources, next }))
}

fn converted(resource: &Resource, usable: Vec<String>, all: bool) -> api::Resource {
    let connect = !usable.is_empty();
    let every = || resource.accounts.iter().map(|account| account.name.clone()).collect();
    api::Resource {
        id: resource.id.to_string(),
        name: resource.name.clone(),
        protocol: resource.protocol.clone(),
        accounts: if all { every() } else { usable },
        database: resource.database.clone(),
        labels: resource.labels.clone(),
        connect,
        depth: resource.depth.as_str().to_owned(),
        address: all.then(|| address(resource)),
        tls: (all && resource.protocol != SSH).then(|| resource.tls.as_str().to_owned()),
        host_keys: if all { resource.host_keys.clone() } else { Vec::new() },
    }
}

impl ControlApi {
    pub(super) fn allows(
        &self,
        caller: &Caller,
        action: Action,
        resource: Option<&Resource>,
        account: Option<&str>,
    ) -> bool {
        let ask = Ask {
            actor: &caller.actor,
            action,
            resource,
            account,
            database: resource.and_then(|it| it.database.as_deref()),
            source_ip: caller.source.peer.ip(),
            time_us: self.control.now_us(),
        };
        self.control.decide(&ask).effect == Effect::Allow
    }

    /// The accounts of the resource with which the caller may connect now.
    fn usable_accounts(&self, caller: &Caller, resource: &Resource) -> Vec<String> {
        let names = resource.accounts.iter().map(|account| &account.name);
        let usable =
            names.filter(|it| self.allows(caller, Action::Connect, Some(resource), Some(it)));
        usable.cloned().collect()
    }
}

pub(super) async fn locks(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    part: Part,
) -> Answer<api::Locks> {
    state.may(&caller.0, Action::LocksRead, api::LOCKS).await?;
    let now: Arc<Snapshot> = state.control.now();
    let (locks, next) = part.of(state.control.locks(), |lock| lock.id.to_string());
    let locks = locks.into_iter().map(|lock| convert::lock(lock, &now)).collect();
    Ok(Json(api::Locks { locks, next }))
}

/// Adds a lock and ends the sessions it meets, even when the caller hangs up in between.
pub(super) async fn add_lock(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Body(new): Body<api::AddLock>,
) -> Answer<api::Lock> {
    state.may(&caller.0, Action::LocksManage, api::LOCKS).await?;
    let target = state.target(new.target).map_err(problem)?;
    // As for disabling one: whoever may lock people out must not so take this Loggia over.
    let administrators = state.control.means_administrators(&target);
    if administrators {
        state.may(&caller.0, Action::ConfigApply, api::LOCKS).await?;
    }
    let new = NewLock { target, reason: new.reason, duration_s: new.duration_s, administrators };
    let (inner, by) = (Arc::clone(&state), caller.by());
    let added = state.control.to_the_end(async move {
        let lock = inner.control.add_lock(new, by).await?;
        inner.cut.cut(&lock).await;
        Ok(lock)
    });
    let lock = added.await.map_err(problem)?;
    Ok(Json(convert::lock(lock, &state.control.now())))
}

pub(super) async fn remove_lock(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Path(id): Path<String>,
) -> Answer<api::Lock> {
    state.may(&caller.0, Action::LocksManage, api::LOCK).await?;
    let id: LockId = id.parse().map_err(|error| -> Problem { malformed(format!("{error}")) })?;
    let now = state.control.now();
    let lock = state.control.remove_lock(id, caller.by()).await.map_err(problem)?;
    Ok(Json(convert::lock(lock, &now)))
}
