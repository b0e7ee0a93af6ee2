//! A gateway with this front end alone: a real spine, everything behind its ports in memory.

use loggia_gate::{GateMetrics, Limits, Sessions, Spine, SpineParts, listen};
use loggia_model::decision::{Action, Ask, Decision, Effect, Obligations};
use loggia_model::event::{LeafHash, Stamp};
use loggia_model::id::{ActorId, PersonId, ResourceId, SessionId};
use loggia_model::port::{
    Append, AppendError, Appended, Decide, Identify, LockNotice, OnDisk, Recordings, Resolve,
    Secrets, Tape, TapeError,
};
use loggia_model::resource::{Account, Depth, Resource, SecretRef, UpstreamTls};
use loggia_model::seal::Disclosure;
use loggia_model::{
    Actor, Authn, Clock, Credential, Draft, Entropy, Event, Fault, Mint, PublicError, Secret,
    Source, Value,
};
use loggia_proxy_postgres::frontend::server_config;
use loggia_proxy_postgres::upstream::TargetTls;
use loggia_proxy_postgres::{Postgres, PostgresLimits, PostgresParts};
use loggia_testkit::{Authority, Workspace};
use parking_lot::Mutex;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashSet;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An event with what its disclosure says.
#[derive(Debug, Clone)]
pub struct Seen {
    pub event: Event,
    pub open: Vec<(String, Value)>,
}

impl Seen {
    pub fn kind(&self) -> &str {
        &self.event.kind
    }

    /// The value at a pointer, sealed or not.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        let open = self.open.iter().find(|(known, _)| known == pointer).map(|(_, value)| value);
        open.or_else(|| self.event.whole.at(pointer))
    }

    pub fn text(&self, pointer: &str) -> String {
        self.at(pointer).map(|value| value.display().into_owned()).unwrap_or_default()
    }
}

/// A ledger in memory.
#[derive(Default)]
pub struct Ledger {
    pub events: Mutex<Vec<Seen>>,
    pub appends: AtomicU64,
    pub closed: AtomicBool,
    /// For measurements: keep nothing.
    pub forgetful: AtomicBool,
}

impl Ledger {
    fn take(&self, draft: &Draft) -> Appended {
        let mut events = self.events.lock();
        let seq = events.len() as u64 + 1;
        let stamp = Stamp {
            time_us: now_us(),
            node: "nd_01h455vb4pex5vsknk084sn02q",
            boot: 1,
            seq,
            session: draft.session.map(|_| (seq, Some(LeafHash([0; 32])))),
        };
        let mut leaf = Vec::new();
        draft.stamp(&stamp, &mut leaf);
        if self.forgetful.load(Ordering::Relaxed) {
            return Appended { boot: 1, seq, leaf_hash: LeafHash([0; 32]), time_us: stamp.time_us };
        }
        let event = Event::parse(&leaf).unwrap();
        let open = match event.sealed() {
            Some(sealed) => Disclosure::open(&draft.disclosure, sealed).unwrap().values,
            None => Vec::new(),
        };
        events.push(Seen { event, open });
        Appended { boot: 1, seq, leaf_hash: LeafHash([0; 32]), time_us: stamp.time_us }
    }
}

#[async_trait::async_trait]
impl Append for Ledger {
    fn append(&self, drafts: &[Draft]) -> Result<Appended, AppendError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(AppendError::Closed("the test closed it".into()));
        }
        self.appends.fetch_add(1, Ordering::SeqCst);
        let places: Vec<Appended> = drafts.iter().map(|draft| self.take(draft)).collect();
        Ok(*places.last().unwrap())
    }

    fn append_soon(&self, draft: Draft) -> Result<(), AppendError> {
        self.take(&draft);
        Ok(())
    }

    async fn on_disk(&self, appended: &Appended) -> Result<OnDisk, AppendError> {
        Ok(OnDisk { index: appended.seq, leaf_hash: appended.leaf_hash })
    }

    async fn resumed(&self, _wait_max: Duration) -> bool {
        false
    }

    fn origin(&self) -> String {
        "test".into()
    }
}

/// Knows one person by token, one resource, and what is denied at the moment.
pub struct World {
    resource: Mutex<Arc<Resource>>,
    pub denied: Mutex<HashSet<Action>>,
    pub lock: Mutex<Option<LockNotice>>,
    generation: AtomicU64,
    password: String,
}

impl World {
    pub fn deny(&self, action: Action) {
        self.denied.lock().insert(action);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub fn allow(&self, action: Action) {
        self.denied.lock().remove(&action);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub fn change_resource(&self, change: impl FnOnce(&mut Resource)) {
        let mut resource = self.resource.lock();
        let mut changed = Resource::clone(&resource);
        change(&mut changed);
        *resource = Arc::new(changed);
    }
}

#[async_trait::async_trait]
impl Identify for World {
    async fn identify(
        &self,
        credential: &Credential,
        _source: &Source,
    ) -> Result<Actor, PublicError> {
        match credential {
            Credential::Token(token) if token.reveal() == "alices-token" => Ok(Actor {
                id: ActorId::Person(PersonId::from_parts(1, [1; 10])),
                name: "alice".into(),
                authn: Authn::Token,
                credential: None,
                expires_us: None,
                groups: Vec::new(),
                admin: false,
            }),
            _ => Err(PublicError::new("unknown", Fault::Client, "this credential is not known")
                .hint("`loggia login`")),
        }
    }
}

/// A database session has no recording.
impl Recordings for World {
    fn begin(&self, _: SessionId, _: &[u8; 32], _: i64) -> Result<Box<dyn Tape>, TapeError> {
        Err(TapeError::Broken("no recordings here".into()))
    }
}

impl Decide for World {
    fn decide(&self, ask: &Ask<'_>) -> Decision {
        let denied = self.denied.lock().contains(&ask.action);
        Decision {
            effect: if denied { Effect::Deny } else { Effect::Allow },
            policies: vec!["policy0".into()],
            policy_set: "00".into(),
            obligations: Obligations::default(),
            errors: Vec::new(),
            reuse_us_max: 1_000_000,
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

impl Resolve for World {
    fn resource(&self, name: &str) -> Option<Arc<Resource>> {
        Some(self.resource.lock().clone()).filter(|resource| resource.name == name)
    }

    fn lock(&self, _actor: &Actor, _resource: Option<&Resource>) -> Option<LockNotice> {
        self.lock.lock().clone()
    }
}

impl Secrets for World {
    fn resolve(&self, _reference: &SecretRef) -> Result<Secret, PublicError> {
        Ok(Secret::new(self.password.clone()))
    }
}

struct Sources;

#[expect(clippy::disallowed_methods, reason = "the test is the composition root")]
fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_micros()).unwrap()
}

impl Clock for Sources {
    fn now_us(&self) -> i64 {
        now_us()
    }
}

impl Entropy for Sources {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).unwrap();
    }
}

/// A gateway that runs until it is dropped.
pub struct Gateway {
    pub port: u16,
    name: &'static str,
    pub ledger: Arc<Ledger>,
    pub world: Arc<World>,
    pub sessions: Arc<Sessions>,
    pub folder: Workspace,
    stop: CancellationToken,
    _runtime: tokio::runtime::Runtime,
}

impl Gateway {
    /// In front of this target.
    pub fn start(target: &loggia_testkit::Postgres, depth: Depth, name: &'static str) -> Self {
        let resource = Resource {
            id: ResourceId::from_parts(1, [2; 10]),
            name: "shop".into(),
            protocol: "postgres".into(),
            host: "localhost".into(),
            port: target.port,
            tls: UpstreamTls::VerifyFull,
            ca_file: Some(target.ca_pem_path.display().to_string()),
            host_keys: Vec::new(),
            accounts: vec![Account {
                password: Some(SecretRef::Env("X".into())),
                ..Account::named("postgres")
            }],
            database: Some("postgres".into()),
            depth,
            labels: Vec::new(),
        };
        let ledger = Arc::new(Ledger::default());
        let world = Arc::new(World {
            resource: Mutex::new(Arc::new(resource)),
            denied: Mutex::default(),
            lock: Mutex::default(),
            generation: AtomicU64::new(0),
            password: target.password.clone(),
        });
        let sessions = Arc::new(Sessions::default());
        let mint = Mint::new(Arc::new(Sources), Arc::new(Sources));
        let spine = Arc::new(Spine::new(SpineParts {
            identify: world.clone(),
            decide: world.clone(),
            resolve: world.clone(),
            append: ledger.clone(),
            recordings: world.clone(),
            mint: mint.clone(),
            sessions: sessions.clone(),
            metrics: GateMetrics::default(),
            limits: Limits::default(),
        }));
        let folder = Workspace::new("gateway").unwrap();
        let protocol = Arc::new(front_end(&folder, &world, mint));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let sweeper = spine.clone();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                sweeper.sweep();
            }
        });
        runtime.spawn(listen(listener, protocol, spine, TaskTracker::new(), stop.clone()));
        Self { port, name, ledger, world, sessions, folder, stop, _runtime: runtime }
    }

    /// The environment of a libpq client.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", "localhost".into()),
            ("PGHOSTADDR", "127.0.0.1".into()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", "shop".into()),
            ("PGPASSWORD", "alices-token".into()),
            ("PGSSLMODE", "verify-full".into()),
            ("PGSSLROOTCERT", self.folder.join("gateway-ca.pem").display().to_string()),
            ("PGCONNECT_TIMEOUT", "10".into()),
            ("PGAPPNAME", self.name.into()),
        ]
    }

    pub fn psql(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("psql");
        command.args(["-X", "-A", "-t"]).args(arguments).envs(self.env());
        command.output().unwrap()
    }

    /// What is on record, once nothing more comes.
    pub fn events(&self) -> Vec<Seen> {
        let deadline = loggia_testkit::Deadline::after(Duration::from_secs(10));
        while !self.sessions.list().is_empty() && !deadline.passed() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.ledger.events.lock().clone()
    }

    pub fn of_kind(&self, kind: &str) -> Vec<Seen> {
        self.events().into_iter().filter(|seen| seen.kind() == kind).collect()
    }

    /// Waits until an event of this kind is on record.
    pub fn wait_for(&self, kind: &str) {
        let deadline = loggia_testkit::Deadline::after(Duration::from_secs(10));
        while !self.ledger.events.lock().iter().any(|seen| seen.kind() == kind) {
            assert!(!deadline.passed(), "no {kind} came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn forget(&self) {
        self.ledger.events.lock().clear();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn front_end(folder: &Workspace, world: &Arc<World>, mint: Mint) -> Postgres {
    let authority = Authority::new("Loggia test gateway").unwrap();
    authority.write(folder.path(), "gateway-ca.pem").unwrap();
    let issued = authority.issue(&["localhost"]).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Postgres::new(PostgresParts {
        tls: server_config(provider.clone(), chain, key).unwrap(),
        target_tls: Arc::new(TargetTls::new(provider).unwrap()),
        secrets: world.clone(),
        mint,
        notice: "this session goes through Loggia, and everything in it is recorded".into(),
        limits: PostgresLimits::default(),
    })
}
