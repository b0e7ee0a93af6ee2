//! From what control state holds to the types of the API.

use crate::Declaration;
use crate::error::ControlError;
use crate::handlers::ControlApi;
use crate::keys::OwnedKey;
use crate::lock::{Lock, LockTarget};
use crate::plan::{Plan, PlannedChange};
use crate::snapshot::{Identity, Snapshot};
use loggia_api::control as api;
use loggia_model::id::ActorId;
use loggia_model::{ActorType, Value};

pub(super) fn person(identity: Identity) -> api::Person {
    api::Person {
        id: identity.id.to_string(),
        name: identity.name,
        admin: identity.admin,
        groups: identity.groups,
        enrolled: identity.enrolled,
        disabled: identity.disabled,
        created_us: identity.created_us,
    }
}

pub(super) fn service(identity: Identity) -> api::Service {
    api::Service {
        id: identity.id.to_string(),
        name: identity.name,
        groups: identity.groups,
        public_key: identity.public_key.unwrap_or_default(),
        disabled: identity.disabled,
        created_us: identity.created_us,
    }
}

pub(super) fn key(owned: OwnedKey) -> api::Key {
    let OwnedKey { owner, key } = owned;
    api::Key {
        fingerprint: key.fingerprint,
        owner_type: ActorType::of(owner.id).as_str().to_owned(),
        owner: owner.name,
        public_key: key.public_key,
        comment: key.comment,
        created_us: key.created_us,
    }
}

pub(super) fn lock(lock: Lock, now: &Snapshot) -> api::Lock {
    let name = |id: &ActorId| {
        now.identities.get(id).map_or_else(|| id.to_string(), |known| known.name.clone())
    };
    let target = match &lock.target {
        LockTarget::Identity(id @ ActorId::Person(_)) => api::LockTarget::Person(name(id)),
        LockTarget::Identity(id) => api::LockTarget::Service(name(id)),
        LockTarget::Group(group) => api::LockTarget::Group(group.clone()),
        LockTarget::Resource(resource) => api::LockTarget::Resource(resource.clone()),
        LockTarget::All => api::LockTarget::All,
    };
    api::Lock {
        id: lock.id.to_string(),
        target,
        reason: lock.reason,
        created_us: lock.created_us,
        expires_us: lock.expires_us,
        created_by: lock.created_by,
    }
}

pub(super) fn plan(plan: Plan) -> api::Plan {
    api::Plan {
        changes: plan.changes.into_iter().map(change).collect(),
        notes: plan.notes,
        digest: plan.digest,
    }
}

fn change(change: PlannedChange) -> api::PlannedChange {
    // A value of ours is JSON by construction.
    let json = |value: Value| serde_json::from_slice(&value.to_bytes()).ok();
    api::PlannedChange {
        change: change.change.to_owned(),
        name: change.name,
        before: change.before.and_then(json),
        after: change.after.and_then(json),
    }
}

impl ControlApi {
    /// The target of a lock, by name.
    pub(super) fn target(&self, target: api::LockTarget) -> Result<LockTarget, ControlError> {
        Ok(match target {
            api::LockTarget::Person(name) => {
                LockTarget::Identity(self.control.known(&name, "person")?.id)
            }
            api::LockTarget::Service(name) => {
                LockTarget::Identity(self.control.known(&name, "service")?.id)
            }
            api::LockTarget::Group(name) => LockTarget::Group(name),
            api::LockTarget::Resource(name) => LockTarget::Resource(name),
            api::LockTarget::All => LockTarget::All,
        })
    }

    /// A declaration, read.
    pub(super) fn declaration(
        &self,
        files: Vec<api::DeclaredFile>,
    ) -> Result<Declaration, ControlError> {
        let files: Vec<crate::DeclaredFile> = files
            .into_iter()
            .map(|file| crate::DeclaredFile { name: file.name, text: file.text })
            .collect();
        Ok(Declaration::parse(&files, &self.protocols)?)
    }
}
