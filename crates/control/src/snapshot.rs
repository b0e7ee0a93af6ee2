//! What is in force, in memory: rebuilt from the database inside each change, swapped in after
//! its commit. Questions are answered from here and never wait.

use crate::error::{corrupt, state};
use crate::hold::{Hold, HoldScope};
use crate::keys::fingerprint;
use crate::lock::{Lock, LockTarget};
use loggia_model::id::{ActorId, ResourceId};
use loggia_model::port::StateError;
use loggia_model::resource::{Account, Depth, Resource, UpstreamTls};
use loggia_policy::{PolicyErrors, PolicySet};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;

/// A person or service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub id: ActorId,
    /// Its name.
    pub name: String,
    /// The groups it belongs to, sorted.
    pub groups: Vec<String>,
    /// Whether it administers this Loggia.
    pub admin: bool,
    /// Whether it may no longer come in.
    pub disabled: bool,
    /// Whether a person took up their account; a service account is ready at once.
    pub enrolled: bool,
    /// A service account's public key: SPKI in PEM.
    pub public_key: Option<String>,
    /// The SSH keys that are registered for it, by fingerprint.
    pub ssh_keys: Vec<SshKey>,
    /// When it was added, microseconds since 1970.
    pub created_us: i64,
}

/// A public SSH key that is registered for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey {
    /// `TYPE BASE64`.
    pub public_key: String,
    /// SHA-256 of its blob, lower-case hex.
    pub digest: String,
    /// `SHA256:…`, as OpenSSH writes it.
    pub fingerprint: String,
    /// What its owner calls it; may be empty.
    pub comment: String,
    /// When it was registered, microseconds since 1970.
    pub created_us: i64,
}

/// Control state at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Grows with each change.
    pub(crate) generation: u64,
    pub(crate) identities: HashMap<ActorId, Identity>,
    pub(crate) by_name: BTreeMap<String, ActorId>,
    /// Whose a registered SSH key is, by its digest.
    pub(crate) by_ssh_key: HashMap<String, ActorId>,
    pub(crate) groups: BTreeMap<String, BTreeSet<ActorId>>,
    pub(crate) resources: BTreeMap<String, Arc<Resource>>,
    pub(crate) locks: Vec<Lock>,
    pub(crate) holds: Vec<Hold>,
    pub(crate) policy_files: BTreeMap<String, String>,
    pub(crate) policies: Arc<PolicySet>,
    /// Why the stored policies are not in force; everything is denied then.
    pub(crate) policy_errors: Option<PolicyErrors>,
}

impl Snapshot {
    /// The identity of this name.
    pub(crate) fn identity(&self, name: &str) -> Option<&Identity> {
        self.identities.get(self.by_name.get(name)?)
    }

    /// Reads everything; compiled policies are taken over from `before` where no text changed.
    pub(crate) async fn load(
        db: &mut SqliteConnection,
        before: Option<&Self>,
    ) -> Result<Self, StateError> {
        let groups = load_groups(db).await?;
        let mut identities = load_identities(db, &groups).await?;
        let by_ssh_key = load_ssh_keys(db, &mut identities).await?;
        let resources = load_resources(db).await?;
        let locks = load_locks(db).await?;
        let holds = load_holds(db).await?;
        let policy_files = load_policies(db).await?;
        let (policies, policy_errors) = match before {
            Some(old) if old.policy_files == policy_files => {
                (Arc::clone(&old.policies), old.policy_errors.clone())
            }
            _ => compile(&policy_files),
        };
        let by_name = identities.values().map(|it| (it.name.clone(), it.id)).collect();
        let generation = before.map_or(1, |old| old.generation + 1);
        Ok(Self {
            generation,
            identities,
            by_name,
            by_ssh_key,
            groups,
            resources,
            locks,
            holds,
            policy_files,
            policies,
            policy_errors,
        })
    }
}

/// Policies were compiled before they were stored, so this fails only after an upgrade whose
/// schema is another, or an edit by hand. A part of a policy set is no policy set (a forbid may
/// be missing), so everything is denied then; a new declaration mends it.
fn compile(files: &BTreeMap<String, String>) -> (Arc<PolicySet>, Option<PolicyErrors>) {
    let all: Vec<(&String, &String)> = files.iter().collect();
    match PolicySet::compile(&all) {
        Ok(set) => (Arc::new(set), None),
        Err(errors) => {
            tracing::error!(%errors, "the stored policies do not compile: everything is denied");
            (Arc::new(PolicySet::empty()), Some(errors))
        }
    }
}

/// A column of a row.
pub(crate) fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, StateError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(state)
}

/// A column that holds an id or a word.
pub(crate) fn parsed<T: FromStr>(row: &SqliteRow, name: &str) -> Result<T, StateError> {
    let text: &str = column(row, name)?;
    text.parse().map_err(|_| corrupt(name, text))
}

async fn rows(
    db: &mut SqliteConnection,
    query: &'static str,
) -> Result<Vec<SqliteRow>, StateError> {
    sqlx::query(query).fetch_all(db).await.map_err(state)
}

async fn load_groups(
    db: &mut SqliteConnection,
) -> Result<BTreeMap<String, BTreeSet<ActorId>>, StateError> {
    let mut groups: BTreeMap<String, BTreeSet<ActorId>> = BTreeMap::new();
    for row in rows(db, "select name from groups").await? {
        groups.insert(column(&row, "name")?, BTreeSet::new());
    }
    for row in rows(db, "select group_name, identity from memberships").await? {
        let group: String = column(&row, "group_name")?;
        groups.entry(group).or_default().insert(parsed(&row, "identity")?);
    }
    Ok(groups)
}

async fn load_identities(
    db: &mut SqliteConnection,
    groups: &BTreeMap<String, BTreeSet<ActorId>>,
) -> Result<HashMap<ActorId, Identity>, StateError> {
    let mut all = HashMap::new();
    let people = "select id, name, admin, disabled, created_us, \
                  exists (select 1 from verifiers where person = id) as enrolled, \
                  null as public_key from people join names on identity = id";
    let services = "select id, name, 0 as admin, disabled, created_us, 1 as enrolled, public_key \
                    from services join names on identity = id";
    for row in rows(db, people).await?.into_iter().chain(rows(db, services).await?) {
        let id: ActorId = parsed(&row, "id")?;
        let identity = Identity {
            id,
            name: column(&row, "name")?,
            groups: Vec::new(),
            admin: column(&row, "admin")?,
            disabled: column(&row, "disabled")?,
            enrolled: column(&row, "enrolled")?,
            public_key: column(&row, "public_key")?,
            ssh_keys: Vec::new(),
            created_us: column(&row, "created_us")?,
        };
        all.insert(id, identity);
    }
    // In the order of the names, so that each list is sorted.
    for (group, members) in groups {
        for member in members {
            if let Some(identity) = all.get_mut(member) {
                identity.groups.push(group.clone());
            }
        }
    }
    Ok(all)
}

/// Gives every identity its registered keys, and whose each is.
async fn load_ssh_keys(
    db: &mut SqliteConnection,
    identities: &mut HashMap<ActorId, Identity>,
) -> Result<HashMap<String, ActorId>, StateError> {
    let mut owners = HashMap::new();
    let query = "select digest, identity, public_key, comment, created_us from ssh_keys";
    for row in rows(db, query).await? {
        let digest: String = column(&row, "digest")?;
        let owner: ActorId = parsed(&row, "identity")?;
        let key = SshKey {
            fingerprint: fingerprint(&digest).ok_or_else(|| corrupt("digest", &digest))?,
            digest: digest.clone(),
            public_key: column(&row, "public_key")?,
            comment: column(&row, "comment")?,
            created_us: column(&row, "created_us")?,
        };
        if let Some(identity) = identities.get_mut(&owner) {
            identity.ssh_keys.push(key);
        }
        owners.insert(digest, owner);
    }
    for identity in identities.values_mut() {
        identity.ssh_keys.sort_unstable_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    }
    Ok(owners)
}

/// The protection of the leg to a target, by its word in configuration.
pub(crate) fn tls_named(word: &str) -> Option<UpstreamTls> {
    let all = [UpstreamTls::VerifyFull, UpstreamTls::Unverified, UpstreamTls::Off];
    all.into_iter().find(|tls| tls.as_str() == word)
}

/// The depth, by its word in configuration.
pub(crate) fn depth_named(word: &str) -> Option<Depth> {
    [Depth::Disk, Depth::Kernel].into_iter().find(|depth| depth.as_str() == word)
}

async fn load_resources(
    db: &mut SqliteConnection,
) -> Result<BTreeMap<String, Arc<Resource>>, StateError> {
    let mut accounts: HashMap<ResourceId, Vec<Account>> = HashMap::new();
    let query = "select resource, name, password, private_key, certificate from accounts \
                 order by resource, place";
    for row in rows(db, query).await? {
        let secret = |name: &str| {
            let text: Option<&str> = column(&row, name)?;
            text.map(|text| text.parse().map_err(|_| corrupt("secret", "…"))).transpose()
        };
        let account = Account {
            name: column(&row, "name")?,
            password: secret("password")?,
            key: secret("private_key")?,
            certificate: column(&row, "certificate")?,
        };
        accounts.entry(parsed(&row, "resource")?).or_default().push(account);
    }
    let mut labels: HashMap<ResourceId, Vec<(String, String)>> = HashMap::new();
    for row in rows(db, "select resource, name, value from labels order by resource, name").await? {
        let label = (column(&row, "name")?, column(&row, "value")?);
        labels.entry(parsed(&row, "resource")?).or_default().push(label);
    }
    let mut host_keys: HashMap<ResourceId, Vec<String>> = HashMap::new();
    for row in rows(db, "select resource, host_key from host_keys order by resource, place").await?
    {
        host_keys.entry(parsed(&row, "resource")?).or_default().push(column(&row, "host_key")?);
    }
    let mut all = BTreeMap::new();
    let query = "select id, name, protocol, host, port, tls, ca_file, \"database\" as db, depth \
                 from resources";
    for row in rows(db, query).await? {
        let id: ResourceId = parsed(&row, "id")?;
        let tls: &str = column(&row, "tls")?;
        let depth: &str = column(&row, "depth")?;
        let resource = Resource {
            id,
            name: column(&row, "name")?,
            protocol: column(&row, "protocol")?,
            host: column(&row, "host")?,
            port: column(&row, "port")?,
            tls: tls_named(tls).ok_or_else(|| corrupt("tls", tls))?,
            ca_file: column(&row, "ca_file")?,
            host_keys: host_keys.remove(&id).unwrap_or_default(),
            accounts: accounts.remove(&id).unwrap_or_default(),
            database: column(&row, "db")?,
            depth: depth_named(depth).ok_or_else(|| corrupt("depth", depth))?,
            labels: labels.remove(&id).unwrap_or_default(),
        };
        all.insert(resource.name.clone(), Arc::new(resource));
    }
    Ok(all)
}

async fn load_locks(db: &mut SqliteConnection) -> Result<Vec<Lock>, StateError> {
    let query = "select id, target_type, target, reason, created_us, expires_us, created_by \
                 from locks order by id";
    let mut all = Vec::new();
    for row in rows(db, query).await? {
        let (kind, target): (&str, &str) = (column(&row, "target_type")?, column(&row, "target")?);
        all.push(Lock {
            id: parsed(&row, "id")?,
            target: LockTarget::from_stored(kind, target).ok_or_else(|| corrupt("lock", target))?,
            reason: column(&row, "reason")?,
            created_us: column(&row, "created_us")?,
            expires_us: column(&row, "expires_us")?,
            created_by: column(&row, "created_by")?,
        });
    }
    Ok(all)
}

async fn load_holds(db: &mut SqliteConnection) -> Result<Vec<Hold>, StateError> {
    let query = "select id, identity, session, resource, from_us, to_us, reason, created_us, \
                 created_by from holds order by id";
    let mut all = Vec::new();
    for row in rows(db, query).await? {
        let identity: Option<&str> = column(&row, "identity")?;
        let session: Option<&str> = column(&row, "session")?;
        let identity = identity.map(|id| id.parse().map_err(|_| corrupt("hold", id)));
        let session = session.map(|id| id.parse().map_err(|_| corrupt("hold", id)));
        let scope = HoldScope {
            identity: identity.transpose()?,
            session: session.transpose()?,
            resource: column(&row, "resource")?,
            from_us: column(&row, "from_us")?,
            to_us: column(&row, "to_us")?,
        };
        all.push(Hold {
            id: parsed(&row, "id")?,
            scope,
            reason: column(&row, "reason")?,
            created_us: column(&row, "created_us")?,
            created_by: column(&row, "created_by")?,
        });
    }
    Ok(all)
}

async fn load_policies(db: &mut SqliteConnection) -> Result<BTreeMap<String, String>, StateError> {
    let mut all = BTreeMap::new();
    for row in rows(db, "select name, text from policies").await? {
        all.insert(column(&row, "name")?, column(&row, "text")?);
    }
    Ok(all)
}
