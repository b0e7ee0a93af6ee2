//! One change of control state: what the log says of it, and what it does to the database.

use crate::error::state;
use crate::hold::Hold;
use crate::keys::SSH;
use crate::lock::{Lock, LockTarget};
use crate::snapshot::{Snapshot, SshKey};
use loggia_model::Value;
use loggia_model::id::{ActorId, PersonId, ServiceId};
use loggia_model::port::StateError;
use loggia_model::resource::Resource;
use sqlx::SqliteConnection;
use std::collections::BTreeSet;

/// A one-time code for a person who is to take up their account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Enrolment {
    /// SHA-256 of the code's secret, lower-case hex.
    pub(crate) code_digest: String,
    /// End of its validity, microseconds since 1970.
    pub(crate) expires_us: i64,
}

/// One change. It is made from a snapshot, recorded, and then written, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Adds or replaces a resource (same id where it exists).
    PutResource(Resource),
    /// Removes a resource.
    RemoveResource(Resource),
    /// Adds or replaces a policy file.
    PutPolicy { name: String, text: String },
    /// Removes a policy file.
    RemovePolicy { name: String },
    /// Adds a group, or replaces its members.
    PutGroup { name: String, members: BTreeSet<ActorId> },
    /// Removes a group.
    RemoveGroup { name: String },
    /// Adds a person; or, where they have not enrolled yet, gives them a new code.
    AddPerson { id: PersonId, name: String, admin: bool, enrolment: Option<Enrolment> },
    /// Lets a person no longer in.
    DisablePerson { id: PersonId, name: String },
    /// Adds a service account.
    AddService { id: ServiceId, name: String, public_key: String },
    /// Lets a service account no longer in.
    DisableService { id: ServiceId, name: String },
    /// Registers an SSH key for a person or service account.
    AddKey { id: ActorId, name: String, key: SshKey },
    /// Takes a registered SSH key away.
    RemoveKey { id: ActorId, name: String, key: SshKey },
    /// Adds a lock.
    AddLock(Lock),
    /// Removes a lock.
    RemoveLock(Lock),
    /// Adds a legal hold.
    AddHold(Hold),
    /// Removes a legal hold.
    RemoveHold(Hold),
}

impl Edit {
    /// The word for the change in the log; see the catalogue's `config.change`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::PutResource(_) => "resource.put",
            Self::RemoveResource(_) => "resource.remove",
            Self::PutPolicy { .. } => "policy.put",
            Self::RemovePolicy { .. } => "policy.remove",
            Self::PutGroup { .. } => "group.put",
            Self::RemoveGroup { .. } => "group.remove",
            Self::AddPerson { .. } => "person.add",
            Self::DisablePerson { .. } => "person.disable",
            Self::AddService { .. } => "service.add",
            Self::DisableService { .. } => "service.disable",
            Self::AddKey { .. } => "key.add",
            Self::RemoveKey { .. } => "key.remove",
            Self::AddLock(_) => "lock.add",
            Self::RemoveLock(_) => "lock.remove",
            Self::AddHold(_) => "hold.add",
            Self::RemoveHold(_) => "hold.remove",
        }
    }

    /// The name of what is changed. A lock and a hold have none; what they meet stands in the value.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::PutResource(resource) | Self::RemoveResource(resource) => Some(&resource.name),
            Self::PutPolicy { name, .. }
            | Self::RemovePolicy { name }
            | Self::PutGroup { name, .. }
            | Self::RemoveGroup { name }
            | Self::AddPerson { name, .. }
            | Self::DisablePerson { name, .. }
            | Self::AddService { name, .. }
            | Self::DisableService { name, .. }
            | Self::AddKey { name, .. }
            | Self::RemoveKey { name, .. } => Some(name),
            Self::AddLock(_) | Self::RemoveLock(_) | Self::AddHold(_) | Self::RemoveHold(_) => None,
        }
    }

    /// The id of what is changed. Groups and policies are known by name alone.
    pub(crate) fn object(&self) -> Option<String> {
        match self {
            Self::PutResource(resource) | Self::RemoveResource(resource) => {
                Some(resource.id.to_string())
            }
            Self::AddPerson { id, .. } | Self::DisablePerson { id, .. } => Some(id.to_string()),
            Self::AddService { id, .. } | Self::DisableService { id, .. } => Some(id.to_string()),
            Self::AddKey { id, .. } | Self::RemoveKey { id, .. } => Some(id.to_string()),
            Self::AddLock(lock) | Self::RemoveLock(lock) => Some(lock.id.to_string()),
            Self::AddHold(hold) | Self::RemoveHold(hold) => Some(hold.id.to_string()),
            _ => None,
        }
    }

    /// The person or service account that is let no longer in.
    pub(crate) fn disables(&self) -> Option<ActorId> {
        match self {
            Self::DisablePerson { id, .. } => Some(ActorId::Person(*id)),
            Self::DisableService { id, .. } => Some(ActorId::Service(*id)),
            _ => None,
        }
    }

    /// What was there before; no secrets.
    pub(crate) fn before(&self, now: &Snapshot) -> Option<Value> {
        match self {
            Self::PutResource(resource) | Self::RemoveResource(resource) => {
                now.resources.get(&resource.name).map(|resource| resource_value(resource))
            }
            Self::PutPolicy { name, .. } | Self::RemovePolicy { name } => {
                now.policy_files.get(name).map(|text| Value::from(text.as_str()))
            }
            Self::PutGroup { name, .. } | Self::RemoveGroup { name } => {
                now.groups.get(name).map(|members| members_value(members, now, &[]))
            }
            Self::DisablePerson { .. } | Self::DisableService { .. } => {
                Some(Value::object([("disabled", Value::Bool(false))]))
            }
            Self::RemoveKey { key, .. } => Some(key_value(key)),
            Self::RemoveLock(lock) => Some(lock_value(lock, now)),
            Self::RemoveHold(hold) => Some(hold.value()),
            Self::AddPerson { .. }
            | Self::AddService { .. }
            | Self::AddKey { .. }
            | Self::AddLock(_)
            | Self::AddHold(_) => None,
        }
    }

    /// What will be there; no secrets. `with` are the other changes of the same moment.
    pub(crate) fn after(&self, now: &Snapshot, with: &[Edit]) -> Option<Value> {
        match self {
            Self::PutResource(resource) => Some(resource_value(resource)),
            Self::PutPolicy { text, .. } => Some(Value::from(text.as_str())),
            Self::PutGroup { members, .. } => Some(members_value(members, now, with)),
            Self::AddPerson { admin, .. } => Some(Value::object([("admin", Value::Bool(*admin))])),
            Self::DisablePerson { .. } | Self::DisableService { .. } => {
                Some(Value::object([("disabled", Value::Bool(true))]))
            }
            Self::AddService { public_key, .. } => {
                Some(Value::object([("public_key", Value::from(public_key.as_str()))]))
            }
            Self::AddKey { key, .. } => Some(key_value(key)),
            Self::AddLock(lock) => Some(lock_value(lock, now)),
            Self::AddHold(hold) => Some(hold.value()),
            Self::RemoveResource(_)
            | Self::RemovePolicy { .. }
            | Self::RemoveGroup { .. }
            | Self::RemoveKey { .. }
            | Self::RemoveLock(_)
            | Self::RemoveHold(_) => None,
        }
    }

    /// Writes the change; part of a transaction that the caller ends.
    pub(crate) async fn write(
        &self,
        db: &mut SqliteConnection,
        now_us: i64,
    ) -> Result<(), StateError> {
        match self {
            Self::PutResource(resource) => put_resource(db, resource).await,
            Self::RemoveResource(resource) => {
                run(db, "delete from resources where name = ?", &[&resource.name]).await
            }
            Self::PutPolicy { name, text } => {
                let query = "insert into policies (name, text) values (?, ?) \
                             on conflict (name) do update set text = excluded.text";
                run(db, query, &[name, text]).await
            }
            Self::RemovePolicy { name } => {
                run(db, "delete from policies where name = ?", &[name]).await
            }
            Self::PutGroup { name, members } => put_group(db, name, members).await,
            Self::RemoveGroup { name } => {
                run(db, "delete from groups where name = ?", &[name]).await
            }
            Self::AddPerson { id, name, admin, enrolment } => {
                add_person(db, *id, name, *admin, enrolment.as_ref(), now_us).await
            }
            Self::DisablePerson { id, .. } => {
                run(db, "update people set disabled = 1 where id = ?", &[&id.to_string()]).await
            }
            Self::AddService { id, name, public_key } => {
                add_name(db, name, &id.to_string()).await?;
                let query = "insert into services (id, public_key, created_us) values (?, ?, ?)";
                let query = sqlx::query(query).bind(id.to_string()).bind(public_key).bind(now_us);
                query.execute(db).await.map_err(state).map(drop)
            }
            Self::DisableService { id, .. } => {
                run(db, "update services set disabled = 1 where id = ?", &[&id.to_string()]).await
            }
            Self::AddKey { id, key, .. } => add_key(db, *id, key, now_us).await,
            Self::RemoveKey { key, .. } => {
                run(db, "delete from ssh_keys where digest = ?", &[&key.digest]).await
            }
            Self::AddLock(lock) => add_lock(db, lock).await,
            Self::RemoveLock(lock) => {
                run(db, "delete from locks where id = ?", &[&lock.id.to_string()]).await
            }
            Self::AddHold(hold) => add_hold(db, hold).await,
            Self::RemoveHold(hold) => {
                run(db, "delete from holds where id = ?", &[&hold.id.to_string()]).await
            }
        }
    }
}

/// One statement whose parameters are all text.
async fn run(
    db: &mut SqliteConnection,
    query: &'static str,
    texts: &[&str],
) -> Result<(), StateError> {
    let mut query = sqlx::query(query);
    for text in texts {
        query = query.bind(*text);
    }
    query.execute(db).await.map_err(state).map(drop)
}

async fn put_resource(db: &mut SqliteConnection, resource: &Resource) -> Result<(), StateError> {
    let id = resource.id.to_string();
    // Accounts and labels go with the row.
    run(db, "delete from resources where name = ?", &[&resource.name]).await?;
    sqlx::query(
        "insert into resources (id, name, protocol, host, port, tls, ca_file, \"database\", depth) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(&resource.name)
    .bind(&resource.protocol)
    .bind(&resource.host)
    .bind(i64::from(resource.port))
    .bind(resource.tls.as_str())
    .bind(&resource.ca_file)
    .bind(&resource.database)
    .bind(resource.depth.as_str())
    .execute(&mut *db)
    .await
    .map_err(state)?;
    for (place, account) in (0_i64..).zip(&resource.accounts) {
        sqlx::query(
            "insert into accounts (resource, place, name, password, private_key, certificate) \
             values (?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(place)
        .bind(&account.name)
        .bind(account.password.as_ref().map(ToString::to_string))
        .bind(account.key.as_ref().map(ToString::to_string))
        .bind(account.certificate)
        .execute(&mut *db)
        .await
        .map_err(state)?;
    }
    for (place, host_key) in (0_i64..).zip(&resource.host_keys) {
        sqlx::query("insert into host_keys (resource, place, host_key) values (?, ?, ?)")
            .bind(&id)
            .bind(place)
            .bind(host_key)
            .execute(&mut *db)
            .await
            .map_err(state)?;
    }
    for (name, value) in &resource.labels {
        let query = "insert into labels (resource, name, value) values (?, ?, ?)";
        run(db, query, &[&id, name, value]).await?;
    }
    Ok(())
}

async fn put_group(
    db: &mut SqliteConnection,
    name: &str,
    members: &BTreeSet<ActorId>,
) -> Result<(), StateError> {
    run(db, "delete from groups where name = ?", &[name]).await?;
    run(db, "insert into groups (name) values (?)", &[name]).await?;
    for member in members {
        let query = "insert into memberships (group_name, identity) values (?, ?)";
        run(db, query, &[name, &member.to_string()]).await?;
    }
    Ok(())
}

async fn add_name(db: &mut SqliteConnection, name: &str, id: &str) -> Result<(), StateError> {
    // Of a person who is given a new code the name is there already, with the same id; a name
    // with another id is a breach of `unique (identity)` or of the primary key.
    let query = "insert into names (name, identity) select ?1, ?2 where not exists \
                 (select 1 from names where name = ?1 and identity = ?2)";
    run(db, query, &[name, id]).await
}

async fn add_person(
    db: &mut SqliteConnection,
    id: PersonId,
    name: &str,
    admin: bool,
    enrolment: Option<&Enrolment>,
    now_us: i64,
) -> Result<(), StateError> {
    let id = id.to_string();
    add_name(db, name, &id).await?;
    sqlx::query(
        "insert into people (id, admin, created_us) values (?, ?, ?) on conflict (id) do nothing",
    )
    .bind(&id)
    .bind(admin)
    .bind(now_us)
    .execute(&mut *db)
    .await
    .map_err(state)?;
    let Some(enrolment) = enrolment else {
        return Ok(());
    };
    // A new code makes the ones before it worthless.
    run(db, "update enrolments set used = 1 where person = ?", &[&id]).await?;
    sqlx::query("insert into enrolments (code_digest, person, expires_us) values (?, ?, ?)")
        .bind(&enrolment.code_digest)
        .bind(&id)
        .bind(enrolment.expires_us)
        .execute(db)
        .await
        .map_err(state)
        .map(drop)
}

async fn add_key(
    db: &mut SqliteConnection,
    id: ActorId,
    key: &SshKey,
    now_us: i64,
) -> Result<(), StateError> {
    sqlx::query(
        "insert into ssh_keys (digest, identity, public_key, comment, created_us) \
         values (?, ?, ?, ?, ?)",
    )
    .bind(&key.digest)
    .bind(id.to_string())
    .bind(&key.public_key)
    .bind(&key.comment)
    .bind(now_us)
    .execute(db)
    .await
    .map_err(state)
    .map(drop)
}

async fn add_lock(db: &mut SqliteConnection, lock: &Lock) -> Result<(), StateError> {
    let (kind, target) = lock.target.stored();
    sqlx::query(
        "insert into locks (id, target_type, target, reason, created_us, expires_us, created_by) \
         values (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(lock.id.to_string())
    .bind(kind)
    .bind(target)
    .bind(&lock.reason)
    .bind(lock.created_us)
    .bind(lock.expires_us)
    .bind(&lock.created_by)
    .execute(db)
    .await
    .map_err(state)
    .map(drop)
}

async fn add_hold(db: &mut SqliteConnection, hold: &Hold) -> Result<(), StateError> {
    let scope = &hold.scope;
    sqlx::query(
        "insert into holds (id, identity, session, resource, from_us, to_us, reason, created_us, \
         created_by) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(hold.id.to_string())
    .bind(scope.identity.map(|id| id.to_string()))
    .bind(scope.session.map(|id| id.to_string()))
    .bind(&scope.resource)
    .bind(scope.from_us)
    .bind(scope.to_us)
    .bind(&hold.reason)
    .bind(hold.created_us)
    .bind(&hold.created_by)
    .execute(db)
    .await
    .map_err(state)
    .map(drop)
}

/// A resource as it stands in the log and in plans. Names given by people are values, in pairs.
fn resource_value(resource: &Resource) -> Value {
    let accounts = resource.accounts.iter().map(|account| {
        let mut members = vec![Value::from(account.name.as_str())];
        members.extend(account.password.iter().map(|it| Value::Str(it.to_string())));
        members.extend(account.key.iter().map(|it| Value::Str(format!("key {it}"))));
        members.extend(account.certificate.then(|| Value::from("certificate")));
        Value::Array(members)
    });
    let labels = resource
        .labels
        .iter()
        .map(|(name, value)| Value::Array(vec![name.as_str().into(), value.as_str().into()]));
    let mut value = Value::object([
        ("accounts", Value::Array(accounts.collect())),
        ("address", Value::Str(address(resource))),
        ("depth", resource.depth.as_str().into()),
        ("labels", Value::Array(labels.collect())),
        ("protocol", resource.protocol.as_str().into()),
    ]);
    if let Value::Object(members) = &mut value {
        if resource.protocol == SSH {
            let keys = resource.host_keys.iter().map(|key| Value::from(key.as_str()));
            members.insert("host_keys".into(), Value::Array(keys.collect()));
        } else {
            members.insert("tls".into(), resource.tls.as_str().into());
        }
        for (key, some) in [("ca_file", &resource.ca_file), ("database", &resource.database)] {
            if let Some(text) = some {
                members.insert(key.into(), Value::from(text.as_str()));
            }
        }
    }
    value
}

fn key_value(key: &SshKey) -> Value {
    Value::object([
        ("comment", Value::from(key.comment.as_str())),
        ("fingerprint", Value::from(key.fingerprint.as_str())),
        ("public_key", Value::from(key.public_key.as_str())),
    ])
}

/// `HOST:PORT`, an IPv6 address in brackets.
pub(crate) fn address(resource: &Resource) -> String {
    if resource.host.contains(':') {
        format!("[{}]:{}", resource.host, resource.port)
    } else {
        format!("{}:{}", resource.host, resource.port)
    }
}

/// The names of a group's members; `with` adds those who come in the same moment.
fn members_value(members: &BTreeSet<ActorId>, now: &Snapshot, with: &[Edit]) -> Value {
    let coming = |id: &ActorId| {
        with.iter().find_map(|edit| match edit {
            Edit::AddPerson { id: person, name, .. } if ActorId::Person(*person) == *id => {
                Some(name.as_str())
            }
            Edit::AddService { id: service, name, .. } if ActorId::Service(*service) == *id => {
                Some(name.as_str())
            }
            _ => None,
        })
    };
    let mut names: Vec<String> = members
        .iter()
        .map(|id| {
            let known = now.identities.get(id).map(|identity| identity.name.as_str());
            known.or_else(|| coming(id)).map_or_else(|| id.to_string(), str::to_owned)
        })
        .collect();
    names.sort();
    Value::object([("members", Value::Array(names.into_iter().map(Value::Str).collect()))])
}

fn lock_value(lock: &Lock, now: &Snapshot) -> Value {
    let (kind, stored) = lock.target.stored();
    let target = match &lock.target {
        LockTarget::Identity(id) => {
            now.identities.get(id).map_or(stored, |identity| identity.name.clone())
        }
        _ => stored,
    };
    let mut value = Value::object([
        ("reason", Value::from(lock.reason.as_str())),
        ("target", Value::Str(target)),
        ("target_type", Value::from(kind)),
    ]);
    if let (Value::Object(members), Some(expires_us)) = (&mut value, lock.expires_us) {
        members.insert("expires_us".into(), Value::Int(expires_us));
    }
    value
}
