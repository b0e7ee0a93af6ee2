//! The ports: what rooms need of each other, without knowing each other. `server` names the
//! implementations.

use crate::actor::{Actor, Credential, Source};
use crate::decision::{Action, Ask, Decision};
use crate::event::{Draft, DraftError, LeafHash};
use crate::fault::PublicError;
use crate::id::{ActorId, CredentialId, EventId, PersonId, ServiceId, SessionId};
use crate::recording::Direction;
use crate::resource::{Resource, SecretRef};
use crate::secret::Secret;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Where an event stands, once it is written to the write-ahead log. Says nothing of its index:
/// that leaves the process only once the entry is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Number of the boot.
    pub boot: u64,
    /// Number of the event in the boot.
    pub seq: u64,
    /// Hash of the leaf.
    pub leaf_hash: LeafHash,
    /// The stamped time, microseconds since 1970.
    pub time_us: i64,
}

/// Where an event stands in the log, once it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnDisk {
    /// The index of the leaf.
    pub index: u64,
    /// Hash of the leaf.
    pub leaf_hash: LeafHash,
}

/// Why nothing was written. The action that was to be recorded must not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room, or the disk is behind; wait for [`Append::resumed`] and try again.
    #[error("the ledger is paused: {0}")]
    Paused(&'static str),
    /// The report cannot become an event.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The ledger is shutting down or broken; there is no second try.
    #[error("the ledger is closed: {0}")]
    Closed(String),
}

/// The port that appends to the ledger.
#[async_trait]
pub trait Append: Send + Sync {
    /// Writes the drafts to the write-ahead log in this order, next to each other. On return they
    /// survive the death of every process of ours. Gives the place of the last one.
    ///
    /// The call blocks for the time of a write to the page cache (microseconds); with blobs, which
    /// are made durable first, for that of a few fsyncs. All of the drafts are written, or none.
    fn append(&self, drafts: &[Draft]) -> Result<Appended, AppendError>;

    /// Queues a draft to be written with whatever is written next, at the latest after 10 ms, in
    /// order with everything else. For results, whose loss means "outcome unknown".
    fn append_soon(&self, draft: Draft) -> Result<(), AppendError>;

    /// Waits until the event is on disk.
    async fn on_disk(&self, appended: &Appended) -> Result<OnDisk, AppendError>;

    /// Waits until a paused ledger takes events again, at most `wait_max`; `false` if it does not.
    async fn resumed(&self, wait_max: Duration) -> bool;

    /// The origin of the log, for bindings.
    fn origin(&self) -> String;
}

/// Called when going on would be a lie: the disk cannot be trusted any more. Aborts the process in
/// production.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

/// One entry as followers see it: on disk, in order.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The index of the leaf.
    pub index: u64,
    /// Hash of the leaf.
    pub leaf_hash: LeafHash,
    /// The bytes of the leaf.
    pub leaf: Bytes,
    /// The disclosure beside it; empty where there is none.
    pub disclosure: Bytes,
}

/// A view of the ledger: named, idempotent, can be deleted and rebuilt.
pub trait Follow: Send + Sync {
    /// The name, for metrics.
    fn name(&self) -> &'static str;
    /// The index of the entry it wants next.
    fn cursor(&self) -> u64;
    /// Takes the next entries. They begin at the cursor and have no gaps.
    fn apply(&self, batch: &[Committed]);
    /// What is disclosed of some entries was destroyed: forgets whatever it keeps of disclosures,
    /// and reads it from the log again where it needs it. To return is to acknowledge. Never
    /// called while entries are taken.
    fn forget(&self) {}
}

/// Reads committed entries back from the log.
pub trait ReadLog: Send + Sync {
    /// Number of entries on disk.
    fn size(&self) -> u64;
    /// Up to `max` entries from `from` on; fewer only at the end of the log.
    fn read(&self, from: u64, max: usize) -> Result<Vec<Committed>, PublicError>;
}

/// Turns a credential into an actor.
#[async_trait]
pub trait Identify: Send + Sync {
    /// The one identity that the credential names, or why not.
    async fn identify(
        &self,
        credential: &Credential,
        source: &Source,
    ) -> Result<Actor, PublicError>;
}

/// Answers questions by the policies in force.
pub trait Decide: Send + Sync {
    /// The decision. Never blocks.
    fn decide(&self, ask: &Ask<'_>) -> Decision;
    /// A number that grows with each change of policies, locks or identities: a remembered
    /// decision is good only while it stands.
    fn generation(&self) -> u64;
}

/// A lock as it meets an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockNotice {
    /// Id of the lock.
    pub lock: String,
    /// The reason, which is shown to the person.
    pub reason: String,
}

/// Knows resources and locks.
pub trait Resolve: Send + Sync {
    /// The resource of this name.
    fn resource(&self, name: &str) -> Option<Arc<Resource>>;
    /// The lock that keeps this actor from this resource, if there is one.
    fn lock(&self, actor: &Actor, resource: Option<&Resource>) -> Option<LockNotice>;
}

/// Why a recording could not be written. The bytes must then not be forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TapeError {
    /// There is no room; worth another try.
    #[error("there is no room for the recording: {0}")]
    Full(String),
    /// It cannot be written any more.
    #[error("the recording cannot be written: {0}")]
    Broken(String),
}

/// How far a recording has come. The root is over header and frames (RFC 6962 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapeState {
    /// Number of frames.
    pub frames: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Merkle root over header and frames.
    pub root: [u8; 32],
}

/// One recording that is being written. Frames are numbered in the order of the calls; on return
/// from a call they survive the death of every process of ours. Never blocks for the disk.
pub trait Tape: Send {
    /// Writes a frame. `at_us` is microseconds since the recording began.
    fn write(&mut self, at_us: u64, direction: Direction, bytes: &[u8]) -> Result<(), TapeError>;
    /// Writes what was typed in a terminal, sealed under the key of its line. Lines are numbered
    /// for each action by itself: the one whose `c` frame was written last.
    fn write_sealed(&mut self, at_us: u64, line: u64, bytes: &[u8]) -> Result<(), TapeError>;
    /// Discloses the key of a line that was echoed.
    fn disclose(&mut self, at_us: u64, line: u64) -> Result<(), TapeError>;
    /// Frames and root so far.
    fn state(&self) -> TapeState;
    /// What makes all that was written so far durable; to be called where blocking is allowed. A
    /// failure for another reason than room ends the process ([`Fatal`]): what was claimed of the
    /// recording may not be on disk, and no second try can tell.
    fn syncer(&self) -> Box<dyn FnOnce() -> Result<(), TapeError> + Send>;
}

/// Keeps recordings.
pub trait Recordings: Send + Sync {
    /// Begins the recording of a session; its salt is in the ledger already.
    fn begin(
        &self,
        session: SessionId,
        salt: &[u8; 32],
        started_us: i64,
    ) -> Result<Box<dyn Tape>, TapeError>;
}

/// What the gateway signs in with on a target over SSH.
pub struct SessionKey {
    /// Private key in OpenSSH's format.
    pub private_key: Secret,
    /// Certificate for it as `TYPE BASE64`.
    pub certificate: String,
}

/// Mints a key and certificate for one session.
pub trait SessionKeys: Send + Sync {
    /// A fresh key with a user certificate for `account`, good for minutes, whose key id names the
    /// actor and the session and whose binding is the log entry of `session.start` at `index`.
    fn session_key(
        &self,
        actor: &Actor,
        session: SessionId,
        account: &str,
        index: u64,
        leaf_hash: LeafHash,
    ) -> Result<SessionKey, PublicError>;
}

/// How this gateway shows itself to SSH clients.
pub trait HostKeys: Send + Sync {
    /// Its private host key in OpenSSH's format (Ed25519).
    fn host_key(&self) -> Secret;
    /// A host certificate for that key and these names, as `TYPE BASE64`.
    fn host_certificate(&self, names: &[String]) -> Result<String, PublicError>;
}

/// Looks secrets up where they are kept.
pub trait Secrets: Send + Sync {
    /// The secret, read now.
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, PublicError>;
}

/// What the control database knows of an identity.
#[derive(Debug, Clone)]
pub struct IdentityRecord {
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
}

/// What a person proves a login with.
#[derive(Debug, Clone)]
pub struct PersonVerifier {
    /// argon2id in PHC string format; absent before enrolment.
    pub password_hash: Option<Secret>,
    /// TOTP seed in base 32 (RFC 6238); absent before enrolment.
    pub totp_seed: Option<Secret>,
}

/// A credential as the control database keeps it.
#[derive(Debug, Clone)]
pub struct CredentialRecord {
    /// Its id.
    pub id: CredentialId,
    /// Whom it names.
    pub actor: ActorId,
    /// SHA-256 (hex) of an opaque token, of a certificate's public key info, or of the blob of an
    /// SSH certificate's key.
    pub digest: String,
    /// How its holder proved who they were.
    pub authn: &'static str,
    /// End of validity, microseconds since 1970.
    pub expires_us: i64,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Index of the log entry that minted it.
    pub log_index: u64,
}

/// The control database could not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the control database: {0}")]
pub struct StateError(pub String);

impl From<StateError> for PublicError {
    fn from(error: StateError) -> Self {
        Self::new("state", crate::fault::Fault::Gateway, "the control database does not answer")
            .hint("see the gateway's own log; `loggia doctor` on its machine")
            .cause(error)
            .retry()
    }
}

/// What `identity` keeps in the control database. A change of state takes the id of the event
/// that recorded it and is written together with that id, or not at all.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The person of this name.
    async fn person_by_name(&self, name: &str) -> Result<Option<PersonId>, StateError>;
    /// The service of this name, with its public key: SPKI in PEM.
    async fn service_by_name(&self, name: &str) -> Result<Option<(ServiceId, String)>, StateError>;
    /// Name, groups and standing of an identity.
    async fn identity(&self, id: ActorId) -> Result<Option<IdentityRecord>, StateError>;
    /// What a person's login is checked against.
    async fn verifier(&self, person: PersonId) -> Result<Option<PersonVerifier>, StateError>;
    /// Spends a TOTP time step; `false` where this or a later one was spent before.
    async fn spend_totp_step(&self, person: PersonId, step: u64) -> Result<bool, StateError>;
    /// The person whose enrolment code has this SHA-256 (hex), while it is unused and not expired.
    async fn enrolment(
        &self,
        code_digest: &str,
        now_us: i64,
    ) -> Result<Option<PersonId>, StateError>;
    /// Stores the verifier of a person and spends the enrolment code, in one transaction;
    /// `false` where the code was spent by somebody else meanwhile.
    async fn enrol(
        &self,
        person: PersonId,
        code_digest: &str,
        verifier: PersonVerifier,
        change: EventId,
    ) -> Result<bool, StateError>;
    /// Keeps a credential.
    async fn add_credential(&self, record: CredentialRecord) -> Result<(), StateError>;
    /// The credential with this digest.
    async fn credential(&self, digest: &str) -> Result<Option<CredentialRecord>, StateError>;
    /// Whose the registered SSH key is whose blob has this SHA-256 (hex).
    async fn ssh_key(&self, digest: &str) -> Result<Option<ActorId>, StateError>;
    /// Revokes all credentials of an actor and gives the ids of those that were valid.
    async fn revoke_credentials(&self, actor: ActorId) -> Result<Vec<CredentialId>, StateError>;
}

/// An identified caller of the API.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// From where.
    pub source: Source,
}

/// Asks the policies about a call of the API; a refusal is recorded.
#[async_trait]
pub trait Authorize: Send + Sync {
    /// Returns when the caller may do `action`; otherwise the refusal is an event already.
    async fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        route: &'static str,
    ) -> Result<(), PublicError>;
}
