//! Fakes of the ports for this room's tests: a clock that stands, a log and a directory in memory.

use crate::ca::{Ca, DEFAULT_NAMES};
use crate::identify::Identifier;
use crate::password::Passwords;
use crate::sign_in::{EndSessions, Settings, SignIn};
use crate::ssh::SshAuthorities;
use crate::totp::Authenticator;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use loggia_api::identity::{Challenge, Login, ServiceCertify, service_login_message};
use loggia_model::event::Stamp;
use loggia_model::id::{ActorId, CredentialId, EventId, PersonId, ServiceId};
use loggia_model::port::{
    Append, AppendError, Appended, CredentialRecord, Directory, IdentityRecord, OnDisk,
    PersonVerifier, StateError,
};
use loggia_model::{Clock, Draft, Entropy, Event, LeafHash, Mint, Secret, Source};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair, SigningKey};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A day in 2026.
pub(crate) const NOW_US: i64 = 1_790_000_000_000_000;

pub(crate) struct FakeClock(AtomicI64);

impl FakeClock {
    pub(crate) fn at(now_us: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now_us)))
    }

    pub(crate) fn advance_s(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for FakeClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).unwrap();
    }
}

pub(crate) fn mint(clock: &Arc<FakeClock>) -> Mint {
    Mint::new(Arc::clone(clock) as Arc<dyn Clock>, Arc::new(SystemEntropy))
}

pub(crate) fn source(ip: &str) -> Source {
    Source { peer: SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 40_000) }
}

/// A log in memory that begins at a given index and can be made to fail.
pub(crate) struct FakeLog {
    pub(crate) leaves: Mutex<Vec<(Vec<u8>, Draft)>>,
    pub(crate) refuse_append: Mutex<Option<AppendError>>,
    pub(crate) refuse_on_disk: Mutex<Option<AppendError>>,
}

/// Index of the first leaf: not zero, so that an index is not mistaken for a count.
pub(crate) const FIRST_INDEX: u64 = 1_000;

impl FakeLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            leaves: Mutex::default(),
            refuse_append: Mutex::default(),
            refuse_on_disk: Mutex::default(),
        })
    }

    /// Every event so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.leaves.lock().iter().map(|(leaf, _)| Event::parse(leaf).unwrap()).collect()
    }

    /// The codes of all events so far, in order.
    pub(crate) fn kinds(&self) -> Vec<String> {
        self.events().into_iter().map(|event| event.kind).collect()
    }

    /// What stands in the disclosure of the event at this place.
    pub(crate) fn disclosure(&self, place: usize) -> String {
        String::from_utf8(self.leaves.lock()[place].1.disclosure.to_vec()).unwrap()
    }
}

#[async_trait]
impl Append for FakeLog {
    fn append(&self, drafts: &[Draft]) -> Result<Appended, AppendError> {
        if let Some(error) = self.refuse_append.lock().clone() {
            return Err(error);
        }
        let mut leaves = self.leaves.lock();
        let mut last = None;
        for draft in drafts {
            let seq = leaves.len() as u64 + 1;
            let mut leaf = Vec::new();
            let node = "nd_01h455vb4pex5vsknk084sn02q";
            draft.stamp(&Stamp { time_us: NOW_US, node, boot: 1, seq, session: None }, &mut leaf);
            last = Some(Appended { boot: 1, seq, leaf_hash: LeafHash::of(&leaf), time_us: NOW_US });
            leaves.push((leaf, draft.clone()));
        }
        last.ok_or(AppendError::Closed("nothing to append".into()))
    }

    fn append_soon(&self, draft: Draft) -> Result<(), AppendError> {
        self.append(&[draft]).map(|_| ())
    }

    async fn on_disk(&self, appended: &Appended) -> Result<OnDisk, AppendError> {
        if let Some(error) = self.refuse_on_disk.lock().clone() {
            return Err(error);
        }
        Ok(OnDisk { index: FIRST_INDEX + appended.seq - 1, leaf_hash: appended.leaf_hash })
    }

    async fn resumed(&self, _wait_max: Duration) -> bool {
        false
    }

    fn origin(&self) -> String {
        "loggia.internal/main/nd_01h455vb4pex5vsknk084sn02q/e1".to_owned()
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) people: HashMap<String, PersonId>,
    pub(crate) services: HashMap<String, (ServiceId, String)>,
    pub(crate) identities: HashMap<ActorId, IdentityRecord>,
    pub(crate) verifiers: HashMap<PersonId, PersonVerifier>,
    pub(crate) steps: HashMap<PersonId, u64>,
    pub(crate) codes: HashMap<String, (PersonId, i64)>,
    pub(crate) spent_codes: HashSet<String>,
    pub(crate) credentials: HashMap<String, CredentialRecord>,
    pub(crate) ssh_keys: HashMap<String, ActorId>,
    pub(crate) changes: Vec<EventId>,
    /// Every call fails while this is set.
    pub(crate) down: bool,
}

/// A directory in memory.
#[derive(Default)]
pub(crate) struct FakeDirectory(pub(crate) Mutex<State>);

impl FakeDirectory {
    fn state(&self) -> Result<parking_lot::MutexGuard<'_, State>, StateError> {
        let state = self.0.lock();
        if state.down { Err(StateError("it is down".into())) } else { Ok(state) }
    }
}

#[async_trait]
impl Directory for FakeDirectory {
    async fn person_by_name(&self, name: &str) -> Result<Option<PersonId>, StateError> {
        Ok(self.state()?.people.get(name).copied())
    }

    async fn service_by_name(&self, name: &str) -> Result<Option<(ServiceId, String)>, StateError> {
        Ok(self.state()?.services.get(name).cloned())
    }

    async fn identity(&self, id: ActorId) -> Result<Option<IdentityRecord>, StateError> {
        Ok(self.state()?.identities.get(&id).cloned())
    }

    async fn verifier(&self, person: PersonId) -> Result<Option<PersonVerifier>, StateError> {
        Ok(self.state()?.verifiers.get(&person).cloned())
    }

    async fn spend_totp_step(&self, person: PersonId, step: u64) -> Result<bool, StateError> {
        let mut state = self.state()?;
        let last = state.steps.entry(person).or_insert(0);
        let fresh = step > *last;
        *last = step.max(*last);
        Ok(fresh)
    }

    async fn enrolment(
        &self,
        code_digest: &str,
        now_us: i64,
    ) -> Result<Option<PersonId>, StateError> {
        let state = self.state()?;
        let open = state.codes.get(code_digest).filter(|(_, expires_us)| now_us < *expires_us);
        Ok(open.filter(|_| !state.spent_codes.contains(code_digest)).map(|(person, _)| *person))
    }

    async fn enrol(
        &self,
        person: PersonId,
        code_digest: &str,
        verifier: PersonVerifier,
        change: EventId,
    ) -> Result<bool, StateError> {
        let mut state = self.state()?;
        if !state.spent_codes.insert(code_digest.to_owned()) {
            return Ok(false);
        }
        state.verifiers.insert(person, verifier);
        state.changes.push(change);
        Ok(true)
    }

    async fn add_credential(&self, record: CredentialRecord) -> Result<(), StateError> {
        let mut state = self.state()?;
        if state.credentials.contains_key(&record.digest) {
            return Err(StateError("the digest is there already".into()));
        }
        state.credentials.insert(record.digest.clone(), record);
        Ok(())
    }

    async fn credential(&self, digest: &str) -> Result<Option<CredentialRecord>, StateError> {
        Ok(self.state()?.credentials.get(digest).cloned())
    }

    async fn ssh_key(&self, digest: &str) -> Result<Option<ActorId>, StateError> {
        Ok(self.state()?.ssh_keys.get(digest).copied())
    }

    async fn revoke_credentials(&self, actor: ActorId) -> Result<Vec<CredentialId>, StateError> {
        let mut state = self.state()?;
        let mine = state.credentials.values_mut().filter(|c| c.actor == actor && !c.revoked);
        Ok(mine
            .map(|credential| {
                credential.revoked = true;
                credential.id
            })
            .collect())
    }
}

/// A Loggia of this room alone, with one person who is enrolled and one service account.
/// The credentials whose sessions were told to end.
#[derive(Default)]
pub(crate) struct FakeSessions(pub(crate) Mutex<Vec<CredentialId>>);

impl EndSessions for FakeSessions {
    fn logged_out(&self, credentials: &[CredentialId], _: ActorId) {
        self.0.lock().extend(credentials);
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) mint: Mint,
    pub(crate) log: Arc<FakeLog>,
    pub(crate) directory: Arc<FakeDirectory>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) ssh: Arc<SshAuthorities>,
    pub(crate) sign_in: Arc<SignIn>,
    pub(crate) ended: Arc<FakeSessions>,
    pub(crate) identifier: Identifier,
    pub(crate) alice: PersonId,
    pub(crate) authenticator: Authenticator,
    pub(crate) robot: ServiceId,
    pub(crate) robot_key: KeyPair,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) const PASSWORD: &str = "correct horse battery";

impl World {
    pub(crate) async fn new() -> Self {
        let clock = FakeClock::at(NOW_US);
        let mint = mint(&clock);
        let folder = tempfile::tempdir().unwrap();
        let names = DEFAULT_NAMES.map(str::to_owned);
        let ca = Arc::new(Ca::open_or_create(folder.path(), &mint, &names).unwrap());
        let log = FakeLog::new();
        let ssh = SshAuthorities::open_or_create(folder.path(), &mint, &log.origin()).unwrap();
        let ssh = Arc::new(ssh);
        let directory = Arc::new(FakeDirectory::default());
        let ended = Arc::new(FakeSessions::default());
        let sign_in = Arc::new(SignIn::new(
            Arc::clone(&log) as Arc<dyn Append>,
            Arc::clone(&directory) as Arc<dyn Directory>,
            Arc::clone(&ca),
            Arc::clone(&ssh),
            Arc::clone(&ended) as Arc<dyn EndSessions>,
            mint.clone(),
            Settings::default(),
        ));
        let identifier = Identifier::new(
            Arc::clone(&directory) as Arc<dyn Directory>,
            Arc::clone(&ca),
            Arc::clone(&ssh),
            Arc::clone(&sign_in),
            mint.clone(),
        );
        let world = Self {
            alice: PersonId::from_parts(1, [1; 10]),
            authenticator: Authenticator::generate(&mint),
            robot: ServiceId::from_parts(1, [2; 10]),
            robot_key: KeyPair::generate().unwrap(),
            clock,
            mint,
            log,
            directory,
            ca,
            ssh,
            sign_in,
            ended,
            identifier,
            folder,
        };
        world.fill().await;
        world
    }

    async fn fill(&self) {
        let hash = Passwords::default().hash(Secret::new(PASSWORD.into()), &self.mint).await;
        let verifier = PersonVerifier {
            password_hash: Some(hash.unwrap()),
            totp_seed: Some(self.authenticator.seed()),
        };
        self.add_identity(ActorId::Person(self.alice), "alice");
        self.add_identity(ActorId::Service(self.robot), "robot");
        let mut state = self.directory.0.lock();
        state.people.insert("alice".into(), self.alice);
        state.verifiers.insert(self.alice, verifier);
        state.services.insert("robot".into(), (self.robot, self.robot_key.public_key_pem()));
    }

    pub(crate) fn add_identity(&self, id: ActorId, name: &str) {
        let record = IdentityRecord {
            id,
            name: name.to_owned(),
            groups: vec!["dba".to_owned()],
            admin: false,
            disabled: false,
        };
        self.directory.0.lock().identities.insert(id, record);
    }

    pub(crate) fn log_origin(&self) -> String {
        self.log.origin()
    }

    pub(crate) fn disable(&self, id: ActorId) {
        self.directory.0.lock().identities.get_mut(&id).unwrap().disabled = true;
    }

    /// Alice's login with a fresh key, as it should be.
    pub(crate) fn login(&self) -> Login {
        Login {
            name: "alice".to_owned(),
            password: Secret::new(PASSWORD.into()),
            code: self.authenticator.code_at(self.mint.now_us()),
            csr: csr(),
            ssh_key: None,
            want_token: true,
        }
    }

    /// The robot's answer to a challenge, with a fresh key, as it should be.
    pub(crate) fn answer(&self, challenge: &Challenge) -> ServiceCertify {
        let message = service_login_message(&challenge.origin, &challenge.nonce);
        ServiceCertify {
            name: "robot".to_owned(),
            nonce: challenge.nonce.clone(),
            signature: STANDARD.encode(self.robot_key.sign(&message).unwrap()),
            csr: csr(),
            ssh_key: None,
            want_token: false,
        }
    }
}

/// A request for a certificate with a fresh key.
pub(crate) fn csr() -> String {
    let pair = KeyPair::generate().unwrap();
    CertificateParams::default().serialize_request(&pair).unwrap().pem().unwrap()
}

/// A fresh Ed25519 key: the private half in OpenSSH's format, the public one as `TYPE BASE64`.
pub(crate) fn ssh_key() -> (String, String) {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&seed);
    let key = ssh_key::PrivateKey::from(pair);
    let private = key.to_openssh(ssh_key::LineEnding::LF).unwrap().to_string();
    (private, key.public_key().to_openssh().unwrap())
}

/// Runs OpenSSH's `ssh-keygen`; what it says, or none where it is not installed.
pub(crate) fn keygen(arguments: &[&str]) -> Option<String> {
    let mut command = std::process::Command::new("ssh-keygen");
    match command.args(arguments).stdin(std::process::Stdio::null()).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ssh-keygen {arguments:?}: {said}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: ssh-keygen is not installed");
            None
        }
        Err(error) => panic!("ssh-keygen: {error}"),
    }
}
