//! People, services, resources, locks, declarations.
//!
//! Lists are paged: they are ordered by name (locks: by age), `after` continues behind a name (or
//! id), and `next` is what to send as `after` for the rest.

use loggia_model::Secret;
use serde::{Deserialize, Serialize};

/// Lists people: [`Page`] in, [`People`] out. Adds one: [`AddPerson`] in, [`PersonAdded`] out.
pub const PEOPLE: &str = "/v1/people";
/// Lets a person no longer in: [`Disable`] in, [`Disabled`] out.
pub const PERSON_DISABLE: &str = "/v1/people/{name}/disable";
/// Lists service accounts: [`Page`] in, [`Services`] out. Adds one: [`AddService`] in,
/// [`Service`] out.
pub const SERVICES: &str = "/v1/services";
/// Lets a service account no longer in: [`Disable`] in, [`Disabled`] out.
pub const SERVICE_DISABLE: &str = "/v1/services/{name}/disable";
/// Lists registered SSH keys: [`Page`] in, [`Keys`] out. Adds one: [`AddKey`] in, [`Key`] out.
pub const KEYS: &str = "/v1/keys";
/// Takes a registered SSH key away: [`Key`] out. The fingerprint is percent-encoded.
pub const KEY: &str = "/v1/keys/{fingerprint}";
/// Lists resources: [`Page`] in, [`Resources`] out.
pub const RESOURCES: &str = "/v1/resources";
/// Lists locks: [`Page`] in, [`Locks`] out. Adds one: [`AddLock`] in, [`Lock`] out.
pub const LOCKS: &str = "/v1/locks";
/// Takes a lock away: [`Lock`] out.
pub const LOCK: &str = "/v1/locks/{id}";
/// Says what a declaration would change: [`Declaration`] in, [`Plan`] out.
pub const PLAN: &str = "/v1/plan";
/// Applies a declaration: [`Apply`] in, [`Applied`] out.
pub const APPLY: &str = "/v1/apply";

/// Entries of a list in one answer, where the caller asks for no other number; also the most.
pub const PAGE_MAX: usize = 1000;

/// Which part of a list is wanted.
#[derive(
    Debug,
    Clone,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    utoipa::IntoParams,
)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only what stands behind this name (locks: this id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many entries; 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Person {
    /// Their id.
    pub id: String,
    /// Their name.
    pub name: String,
    /// Whether they administer this Loggia.
    pub admin: bool,
    /// The groups they belong to, sorted.
    pub groups: Vec<String>,
    /// Whether they took up their account.
    pub enrolled: bool,
    /// Whether they may no longer come in.
    pub disabled: bool,
    /// When they were added, microseconds since 1970.
    pub created_us: i64,
}

/// People.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct People {
    /// By name.
    pub people: Vec<Person>,
    /// Where the rest begins; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A person who is to be added. Adding somebody again who has not enrolled yet gives them a new
/// code; the old one ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPerson {
    /// Their name: `[a-z0-9._-]+`.
    pub name: String,
    /// Whether they administer this Loggia.
    #[serde(default)]
    pub admin: bool,
    /// The groups they are put into; each must exist.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A person who was added.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PersonAdded {
    /// The person.
    pub person: Person,
    /// The code by which they take up their account; one word to paste. It
    /// is told this once.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub enrolment_code: Secret,
    /// End of the code's validity, microseconds since 1970.
    pub expires_us: i64,
}

/// Why somebody is let no longer in. The body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// Why; recorded, and shown in the sessions that end by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Somebody is let no longer in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Disabled {
    /// Id of the identity.
    pub id: String,
    /// How many credentials were valid until now.
    pub credentials: u64,
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Service {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The groups it belongs to, sorted.
    pub groups: Vec<String>,
    /// Its public key: SPKI in PEM.
    pub public_key: String,
    /// Whether it may no longer come in.
    pub disabled: bool,
    /// When it was added, microseconds since 1970.
    pub created_us: i64,
}

/// Service accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Services {
    /// By name.
    pub services: Vec<Service>,
    /// Where the rest begins; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A service account that is to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddService {
    /// Its name: `[a-z0-9._-]+`.
    pub name: String,
    /// Its public key: SPKI in PEM (`openssl pkey -pubout`).
    pub public_key: String,
}

/// A public SSH key that is registered for a person or service account: its holder is let in over
/// SSH as them, until it is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Key {
    /// `SHA256:…`, as OpenSSH writes it.
    pub fingerprint: String,
    /// Name of the owner.
    pub owner: String,
    /// `human` or `service`.
    pub owner_type: String,
    /// The key: `TYPE BASE64`.
    pub public_key: String,
    /// What its owner calls it; may be empty.
    pub comment: String,
    /// When it was registered, microseconds since 1970.
    pub created_us: i64,
}

/// Registered SSH keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Keys {
    /// By the name of the owner, then by fingerprint.
    pub keys: Vec<Key>,
    /// Where the rest begins; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An SSH key that is to be registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddKey {
    /// Name of the person or service account that it lets in.
    pub name: String,
    /// The public key, as a `.pub` file has it: Ed25519, ECDSA, or RSA with at least 3072 bits.
    pub public_key: String,
}

/// What can be reached. Whoever may list all resources sees where they are; others see those that
/// they may connect to, and what they need for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Resource {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `postgres` or `ssh`.
    pub protocol: String,
    /// The accounts on the target that the caller may use; the first is the default.
    pub accounts: Vec<String>,
    /// The database when the client names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Labels for policies: name and value, sorted.
    pub labels: Vec<(String, String)>,
    /// Whether the caller may connect to it now, with one of the accounts.
    pub connect: bool,
    /// `disk` or `kernel`: how safe a record is before its action is forwarded.
    pub depth: String,
    /// `HOST:PORT`, for whoever may list all resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `verify-full`, `unverified` or `off`, for whoever may list all resources; absent for SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The host keys by which an SSH target is known, for whoever may list all resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
}

/// Resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Resources {
    /// By name.
    pub resources: Vec<Resource>,
    /// Where the rest begins; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Whom or what a lock meets, such as `{"type":"person","name":"alice"}` or `{"type":"all"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", content = "name", rename_all = "snake_case")]
pub enum LockTarget {
    /// The person of this name.
    Person(String),
    /// The service account of this name.
    Service(String),
    /// Everybody in the group of this name.
    Group(String),
    /// Everybody, at the resource of this name.
    Resource(String),
    /// Everybody, at every resource.
    All,
}

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Lock {
    /// Its id.
    pub id: String,
    /// Whom or what it meets.
    pub target: LockTarget,
    /// Why; shown to whoever it meets.
    pub reason: String,
    /// When it was added, microseconds since 1970.
    pub created_us: i64,
    /// When it ends, microseconds since 1970; absent: when it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_us: Option<i64>,
    /// Name of who added it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// Locks that are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Locks {
    /// In the order they were added.
    pub locks: Vec<Lock>,
    /// Where the rest begins; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A lock that is to be added. Sessions that it meets end within a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddLock {
    /// Whom or what it meets.
    pub target: LockTarget,
    /// Why; shown to whoever it meets.
    pub reason: String,
    /// How long, in seconds; absent: until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u64>,
}

/// One file of a declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredFile {
    /// Its name; ends with `.toml`, `.cedar` or `.pem`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What there shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The files; all together at most 1 MiB.
    pub files: Vec<DeclaredFile>,
}

/// One change that a declaration asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlannedChange {
    /// What: `resource.put`, `resource.remove`, `policy.put`, `policy.remove`, `group.put`,
    /// `group.remove`, `person.add` or `service.add`.
    pub change: String,
    /// The name of what changes.
    pub name: String,
    /// What is there now; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    /// What will be there; absent where nothing will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
}

/// What a declaration would change, if it were applied now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// The changes, in the order in which they are recorded; empty where all is as declared.
    pub changes: Vec<PlannedChange>,
    /// What a person should know beside them.
    pub notes: Vec<String>,
    /// What to send with the order to apply it.
    pub digest: String,
}

/// A declaration that is to be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The files that were planned.
    pub files: Vec<DeclaredFile>,
    /// The digest of the plan that was looked at; where it is another by now, nothing is changed.
    pub digest: String,
}

/// A new person and their code.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewEnrolment {
    /// Name of the person.
    pub name: String,
    /// The code by which they take up their account. It is told this once.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub enrolment_code: Secret,
    /// End of the code's validity, microseconds since 1970.
    pub expires_us: i64,
}

/// What was changed.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Applied {
    /// The plan that was carried out.
    pub plan: Plan,
    /// The people who are new by it.
    pub enrolments: Vec<NewEnrolment>,
}

/// A secret as a JSON string.
mod secret_text {
    use super::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(secret.reveal())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_locks_read_as_documented() {
        for (target, json) in [
            (LockTarget::Person("alice".into()), r#"{"type":"person","name":"alice"}"#),
            (LockTarget::All, r#"{"type":"all"}"#),
        ] {
            assert_eq!(serde_json::to_string(&target).unwrap(), json);
            assert_eq!(serde_json::from_str::<LockTarget>(json).unwrap(), target);
        }
    }

    #[test]
    fn a_misspelt_member_is_refused_and_a_code_is_not_printed() {
        assert!(serde_json::from_str::<AddPerson>(r#"{"name":"a","admn":true}"#).is_err());
        let new = NewEnrolment {
            name: "alice".into(),
            enrolment_code: Secret::new("lge1.secret".into()),
            expires_us: 1,
        };
        assert!(!format!("{new:?}").contains("lge1"));
        assert!(serde_json::to_string(&new).unwrap().contains("lge1.secret"));
    }
}
