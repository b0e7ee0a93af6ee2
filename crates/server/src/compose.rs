//! The one place that names implementations: configuration becomes ports, ports become tasks.

use crate::authorize::Policies;
use crate::config::Config;
use crate::erasure::{ErasureApi, Erasures};
use crate::recordings::Records;
use crate::system::{SystemSecrets, mint, raise_open_files};
use crate::{door, health, tls};
use anyhow::Context;
use loggia_api::identity::EnrolmentCode;
use loggia_control::{
    ChangeBy, Control, ControlApi, Cut, Declaration, DeclaredFile, EnrolmentCodes, Lock,
};
use loggia_gate::{EndNotice, GateMetrics, Limits, Protocol, Sessions, Spine, SpineParts, listen};
use loggia_identity::{Ca, EndSessions, Identifier, Settings, SignIn, SshAuthorities};
use loggia_ledger::{Cosigning, Ledger, LedgerOptions};
use loggia_model::catalogue::Kind;
use loggia_model::id::{ActorId, CredentialId, EventId};
use loggia_model::port::{Append, Authorize, Decide, Directory, Follow, Identify, Resolve};
use loggia_model::{Mint, Secret};
use loggia_proxy_postgres::upstream::TargetTls;
use loggia_proxy_postgres::{Postgres, PostgresLimits, PostgresParts};
use loggia_proxy_ssh::{Ssh, SshParts};
use loggia_recordings::{RecordingFolder, RecordingsApi};
use loggia_store::{Audit, LiveSession, LiveSessions, Store};
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The protocols that this gateway speaks.
pub const PROTOCOLS: [&str; 2] = ["postgres", "ssh"];
/// How often limits, expiry and locks are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_millis(200);
/// Between heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(60);
/// Open files that are not for connections to targets: ledger, control database, API, metrics.
const OWN_FILES: u64 = 512;
/// How long running sessions may finish what they do after a shutdown was asked for.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(10);
/// How long sessions may take to say goodbye once they are told to end.
const GOODBYE_MAX: Duration = Duration::from_secs(6);

/// For the witnesses' word on the very last checkpoint.
const LAST_ROUND_MAX: Duration = Duration::from_secs(3);

/// What the parts of a running gateway share.
pub(crate) struct Parts {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) control: Control,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) spine: Arc<Spine>,
    pub(crate) identify: Arc<dyn Identify>,
    pub(crate) authorize: Arc<dyn Authorize>,
    pub(crate) sign_in: Arc<SignIn>,
    pub(crate) control_api: Arc<ControlApi>,
    pub(crate) store_api: Audit,
    pub(crate) recordings_api: RecordingsApi,
    pub(crate) erasure_api: ErasureApi,
    pub(crate) api_tls: Arc<rustls::ServerConfig>,
    pub(crate) mint: Mint,
    pub(crate) registry: Registry,
}

/// A gateway that serves.
pub struct Gateway {
    parts: Arc<Parts>,
    ca: Arc<Ca>,
    store: Arc<Store>,
    cosigning: Option<Arc<Cosigning>>,
    addresses: Addresses,
    running: TaskTracker,
    stop: CancellationToken,
}

/// Where a running gateway listens; with port 0 in the configuration these are the real ones.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// API.
    pub api: SocketAddr,
    /// PostgreSQL.
    pub postgres: SocketAddr,
    /// SSH.
    pub ssh: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
}

/// Everything that is opened before a listener is.
pub struct Foundation {
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// Control state.
    pub control: Control,
    /// The authorities.
    pub ca: Arc<Ca>,
    /// The authorities for SSH, and this gateway's host key.
    pub ssh: Arc<SshAuthorities>,
    /// Recordings of sessions.
    pub recordings: Arc<RecordingFolder>,
    /// Time, randomness, ids.
    pub mint: Mint,
}

/// The options of the ledger under a configuration.
pub fn ledger_options(config: &Config) -> LedgerOptions {
    let mut options = LedgerOptions::new(&config.data, mint());
    options.segment_bytes = config.ledger.segment_mib << 20;
    let fatal = Arc::clone(&options.fatal);
    options.last_words = Some(crate::recordings::last_words(&config.data, &options.mint, fatal));
    options.checkpoint_copy = Some(checkpoint_copy(config));
    options.keys = crate::log_key::store();
    options.binary_hash = binary_hash();
    options.config_hash =
        toml::to_string(config).ok().map(|text| hex::encode(Sha256::digest(text.as_bytes())));
    options
}

/// The second place of the last checkpoint: configured, the service's state folder, the user's.
pub fn checkpoint_copy(config: &Config) -> PathBuf {
    if let Some(path) = &config.ledger.checkpoint_copy {
        return path.clone();
    }
    // The folder's own path names it, so that two gateways of one user do not meet.
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let name = hex::encode(Sha256::digest(data.as_os_str().as_encoded_bytes()));
    let short: String = name.chars().take(16).collect();
    state_folder().join(format!("checkpoint-{short}"))
}

#[expect(clippy::disallowed_methods, reason = "the composition root reads the environment")]
fn state_folder() -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    var("STATE_DIRECTORY")
        .or_else(|| var("XDG_STATE_HOME").map(|path| path.join("loggia")))
        .or_else(|| var("HOME").map(|path| path.join(".local/state/loggia")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/loggia-state"))
}

/// SHA-256 of the program, self-reported.
fn binary_hash() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    let file = std::fs::File::open(path).ok()?;
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let mut hash = Sha256::new();
    loop {
        let chunk = std::io::BufRead::fill_buf(&mut reader).ok()?;
        if chunk.is_empty() {
            return Some(hex::encode(hash.finalize()));
        }
        hash.update(chunk);
        let used = chunk.len();
        std::io::BufRead::consume(&mut reader, used);
    }
}

impl Foundation {
    /// Opens ledger, control state and keys, and says on record what the last boot left unsaid.
    ///
    /// # Errors
    /// With a hint in the chain where a person can act.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let mut options = ledger_options(config);
        let (mint, fatal) = (options.mint.clone(), Arc::clone(&options.fatal));
        let peers = crate::witnesses::peers(config)?;
        if !peers.is_empty() {
            let wait_max = crate::witnesses::START_WAIT_MAX;
            let asked = loggia_ledger::ask_witnesses(&config.data, &peers, wait_max).await;
            options.witnessed = asked.map_err(crate::explain)?;
        }
        let opened = tokio::task::spawn_blocking(move || Ledger::open(options)).await?;
        let ledger = Arc::new(opened.map_err(crate::explain)?);
        let append: Arc<dyn Append> = Arc::clone(&ledger) as _;
        let control = Control::open(&config.control_db(), mint.clone(), append)
            .await
            .with_context(|| format!("{} cannot be opened", config.control_db().display()))?;
        let ca = Ca::open_or_create(&config.keys(), &mint, &config.names)?;
        let ssh = SshAuthorities::open_or_create(&config.keys(), &mint, &ledger.origin())?;
        let recordings = RecordingFolder::open(&config.data, &config.keys(), &mint, fatal)?;
        let recordings = Arc::new(recordings);
        let (ca, ssh) = (Arc::new(ca), Arc::new(ssh));
        let foundation = Self { ledger, control, ca, ssh, recordings, mint };
        foundation.say_what_was_not_applied().await?;
        Ok(foundation)
    }

    /// A change that the last boot recorded but did not carry out: on record before anybody can
    /// rely on it.
    async fn say_what_was_not_applied(&self) -> anyhow::Result<()> {
        let opening = self.ledger.opening();
        if opening.changes.is_empty() {
            return Ok(());
        }
        let missing: Vec<EventId> = self.control.unapplied(&opening.changes).await?;
        for of in missing {
            let draft = self
                .mint
                .draft(Kind::ConfigNotApplied)
                .actor(ActorId::Node(self.ledger.node()))
                .set("/detail/of", of.to_string());
            crate::authorize::record(&*self.ledger, draft).await?;
        }
        Ok(())
    }
}

impl Gateway {
    /// Composes everything and begins to serve. On return every listener accepts.
    ///
    /// # Errors
    /// Where something cannot be opened or an address is taken.
    pub async fn start(config: &Config, foundation: Foundation) -> anyhow::Result<Self> {
        let api = bind("listen.api", config.listen.api).await?;
        let postgres = bind("listen.postgres", config.listen.postgres).await?;
        let ssh = bind("listen.ssh", config.listen.ssh).await?;
        let metrics = bind("listen.metrics", config.listen.metrics).await?;
        let addresses = Addresses {
            api: api.local_addr()?,
            postgres: postgres.local_addr()?,
            ssh: ssh.local_addr()?,
            metrics: metrics.local_addr()?,
        };
        let (ca, authorities) = (Arc::clone(&foundation.ca), Arc::clone(&foundation.ssh));
        let store = store(config, &foundation.ledger);
        let cosigning = crate::witnesses::cosigning(config, &foundation.ledger, &foundation.mint)?;
        let parts = parts(config, foundation, Arc::clone(&store), addresses.api)?;
        let gateway = Self {
            parts: Arc::new(parts),
            ca,
            store,
            cosigning,
            addresses,
            running: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        gateway.serve_postgres(config, postgres)?;
        gateway.serve_ssh(config, ssh, authorities)?;
        gateway.serve(&config.names, api, metrics);
        Ok(gateway)
    }

    fn serve_postgres(&self, config: &Config, listener: TcpListener) -> anyhow::Result<()> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let frontend = Postgres::new(PostgresParts {
            tls: tls::server_config(&self.ca, &["postgresql"])?,
            target_tls: Arc::new(TargetTls::new(provider)?),
            secrets: Arc::new(SystemSecrets::new(&config.data)),
            mint: self.parts.mint.clone(),
            notice: config.identity.notice.clone(),
            limits: PostgresLimits::default(),
        });
        self.listen(listener, frontend);
        Ok(())
    }

    fn serve_ssh(
        &self,
        config: &Config,
        listener: TcpListener,
        authorities: Arc<SshAuthorities>,
    ) -> anyhow::Result<()> {
        let frontend = Ssh::new(SshParts {
            identify: Arc::clone(&self.parts.identify),
            host_keys: Arc::clone(&authorities) as _,
            names: config.names.clone(),
            own: self.addresses.ssh,
            resolve: Arc::new(self.parts.control.clone()),
            session_keys: authorities,
            secrets: Arc::new(SystemSecrets::new(&config.data)),
            mint: self.parts.mint.clone(),
            notice: config.identity.notice.clone(),
        })
        .map_err(crate::explain_public)?;
        self.listen(listener, frontend);
        Ok(())
    }

    fn listen<P: Protocol>(&self, listener: TcpListener, frontend: P) {
        let spine = Arc::clone(&self.parts.spine);
        let (running, stop) = (self.running.clone(), self.stop.clone());
        self.running.spawn(listen(listener, Arc::new(frontend), spine, running, stop));
    }

    fn serve(&self, names: &[String], api: TcpListener, metrics: TcpListener) {
        let (running, stop) = (&self.running, &self.stop);
        let parts = Arc::clone(&self.parts);
        running.spawn(door::serve(api, parts, running.clone(), stop.clone()));
        let router = health::metrics_router(Arc::clone(&self.parts), names);
        running.spawn(door::serve_plain(metrics, router, running.clone(), stop.clone()));
        if let Some(cosigning) = self.cosigning.clone() {
            let stop = stop.clone();
            running.spawn(async move {
                tokio::select! { () = cosigning.run() => {}, () = stop.cancelled() => {} }
            });
        }
        let erasures = Arc::clone(&self.parts.erasure_api.erasures);
        running.spawn(erasures.run(stop.clone()));
        running.spawn(keep_house(Arc::clone(&self.parts), Arc::clone(&self.ca), stop.clone()));
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Control state, for what is applied at start.
    pub fn control(&self) -> &Control {
        &self.parts.control
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.parts.ledger
    }

    /// Sign-in, for a trial's own first person.
    pub fn sign_in(&self) -> &Arc<SignIn> {
        &self.parts.sign_in
    }

    /// Events made searchable, for a trial that shows them as they come.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The certificate of the servers' authority, PEM: what clients trust.
    pub fn ca_pem(&self) -> &str {
        self.ca.ca_pem()
    }

    /// Makes enrolment codes for this gateway's address.
    pub fn codes(&self) -> &Arc<dyn EnrolmentCodes> {
        &self.parts.control_api.codes
    }

    /// Ends in good order: no new connections, running sessions may finish within `drain`, then
    /// they are ended on record, then the ledger is closed with a last checkpoint.
    ///
    /// # Errors
    /// Where the last events could not be written; the next start recovers as after a crash.
    pub async fn shut_down(self, reason: &str, drain: Duration) -> anyhow::Result<()> {
        self.stop.cancel();
        self.running.close();
        let sessions = &self.parts.sessions;
        let deadline = tokio::time::Instant::now() + drain;
        while !sessions.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let reason_shown = "this gateway is being shut down".to_owned();
        sessions.end_all(&EndNotice { code: "shutdown", reason: reason_shown, by: None });
        self.store.end_tails();
        self.parts.recordings_api.end_watching();
        if tokio::time::timeout(GOODBYE_MAX, self.running.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        self.parts.spine.flush_strangers();
        if let Err(error) = self.parts.sign_in.write_counted_failures() {
            tracing::error!(%error, "counted failures could not be written");
        }
        let ledger = Arc::clone(&self.parts.ledger);
        let reason = reason.to_owned();
        let closed = tokio::task::spawn_blocking(move || ledger.close(&reason)).await?;
        if let Some(cosigning) = &self.cosigning {
            // The last checkpoint too; a witness that is down must not hold the end up.
            let _ = tokio::time::timeout(LAST_ROUND_MAX, cosigning.round()).await;
        }
        self.parts.control.close().await;
        closed.map_err(crate::explain)
    }
}

/// The spine's limits under the number of files that the process may have open: a session takes
/// two, and a flood at the door must not take those of the ledger.
fn limits(config: &Config) -> Limits {
    let open_files = raise_open_files();
    let limits = config.limits();
    let sessions = open_files.saturating_sub(OWN_FILES) / 3;
    let connections_max =
        usize::try_from(sessions).unwrap_or(usize::MAX).clamp(16, limits.connections_max);
    if connections_max < limits.connections_max {
        tracing::warn!(
            open_files,
            connections_max,
            "few open files are allowed to this process; raise LimitNOFILE or ulimit -n"
        );
    }
    Limits { connections_max, ..limits }
}

/// How somebody comes in: signing in, and what a credential is worth later.
fn doors(
    config: &Config,
    (append, directory, mint): (Arc<dyn Append>, Arc<dyn Directory>, Mint),
    ca: &Arc<Ca>,
    ssh: Arc<SshAuthorities>,
    sessions: Arc<Live>,
) -> (Arc<SignIn>, Arc<dyn Identify>) {
    let settings = Settings {
        credential_life_s: config.identity.credential_minutes * 60,
        notice: config.identity.notice.clone(),
    };
    let (directory_of_doors, authorities) = (Arc::clone(&directory), Arc::clone(&ssh));
    let sign_in = Arc::new(SignIn::new(
        append,
        directory_of_doors,
        Arc::clone(ca),
        authorities,
        sessions,
        mint.clone(),
        settings,
    ));
    let door = Arc::clone(&sign_in);
    let identify = Arc::new(Identifier::new(directory, Arc::clone(ca), ssh, door, mint));
    (sign_in, identify)
}

/// Names the implementation of every port.
fn parts(
    config: &Config,
    foundation: Foundation,
    store: Arc<Store>,
    api: SocketAddr,
) -> anyhow::Result<Parts> {
    let Foundation { ledger, control, ca, ssh, recordings, mint } = foundation;
    let append: Arc<dyn Append> = Arc::clone(&ledger) as _;
    let decide: Arc<dyn Decide> = Arc::new(control.clone());
    let resolve: Arc<dyn Resolve> = Arc::new(control.clone());
    let directory: Arc<dyn Directory> = Arc::new(control.clone());
    let ports = (Arc::clone(&append), directory, mint.clone());
    let sessions: Arc<Sessions> = Arc::default();
    let live = Arc::new(Live { sessions: Arc::clone(&sessions) });
    let (sign_in, identify) = doors(config, ports, &ca, ssh, Arc::clone(&live));
    let gate_metrics = GateMetrics::default();
    let spine = Arc::new(Spine::new(SpineParts {
        identify: Arc::clone(&identify),
        decide: Arc::clone(&decide),
        resolve: Arc::clone(&resolve),
        append: Arc::clone(&append),
        recordings: Arc::clone(&recordings) as _,
        mint: mint.clone(),
        sessions: Arc::clone(&sessions),
        metrics: gate_metrics.clone(),
        limits: limits(config),
    }));
    let authorize: Arc<dyn Authorize> = Arc::new(Policies {
        decide,
        resolve,
        sessions: Arc::clone(&sessions),
        append: Arc::clone(&append),
        mint: mint.clone(),
    });
    let registry = registry(&gate_metrics, &ledger, &store);
    let records = Arc::new(Records { store: Arc::clone(&store), sessions: Arc::clone(&sessions) });
    let erasure_api = ErasureApi {
        erasures: erasures(config, (&ledger, &control, &recordings, &sessions), &mint),
        authorize: Arc::clone(&authorize),
    };
    let recordings_api = RecordingsApi::new(
        recordings,
        records,
        Arc::clone(&append),
        Arc::clone(&authorize),
        mint.clone(),
    );
    let store_api = Audit::new(store, append, authorize.clone(), live, mint.clone());
    let ports = (control.clone(), Arc::clone(&authorize), Arc::clone(&spine));
    let control_api = control_api(ports, public_address(config, api), &ca, &mint);
    Ok(Parts {
        ledger,
        control,
        sessions,
        spine,
        identify,
        authorize,
        sign_in,
        control_api,
        store_api,
        recordings_api,
        erasure_api,
        api_tls: tls::server_config(&ca, &["h2", "http/1.1"])?,
        mint,
        registry,
    })
}

fn control_api(
    (control, authorize, spine): (Control, Arc<dyn Authorize>, Arc<Spine>),
    address: String,
    ca: &Arc<Ca>,
    mint: &Mint,
) -> Arc<ControlApi> {
    Arc::new(ControlApi {
        control,
        authorize,
        codes: Arc::new(Codes { address, ca: Arc::clone(ca), mint: mint.clone() }),
        cut: Arc::new(CutNow { spine }),
        protocols: PROTOCOLS.to_vec(),
    })
}

fn erasures(
    config: &Config,
    (ledger, control, recordings, sessions): (
        &Arc<Ledger>,
        &Control,
        &Arc<RecordingFolder>,
        &Arc<Sessions>,
    ),
    mint: &Mint,
) -> Arc<Erasures> {
    Arc::new(Erasures {
        ledger: Arc::clone(ledger),
        control: control.clone(),
        recordings: Arc::clone(recordings),
        sessions: Arc::clone(sessions),
        mint: mint.clone(),
        retention: config.retention.clone(),
        alone: tokio::sync::Mutex::default(),
    })
}

fn registry(gate: &GateMetrics, ledger: &Ledger, store: &Store) -> Registry {
    let mut registry = Registry::default();
    gate.register(&mut registry);
    ledger.metrics().register(&mut registry);
    store.metrics().register(&mut registry);
    registry
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; `{key}` in the configuration says where")
    })
}

fn store(config: &Config, ledger: &Arc<Ledger>) -> Arc<Store> {
    let settings = loggia_store::Config {
        memory_bytes_max: config.store.memory_mib << 20,
        ..loggia_store::Config::default()
    };
    let store = Arc::new(Store::new(Arc::clone(ledger) as _, settings));
    ledger.follow(Arc::clone(&store) as Arc<dyn Follow>);
    store
}

/// The address that stands in enrolment codes.
fn public_address(config: &Config, api: SocketAddr) -> String {
    let host = config.names.first().map_or("localhost", String::as_str);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{host}:{}", api.port())
}

/// What happens by the clock: limits and locks, counted strangers, heartbeats, the certificate.
async fn keep_house(parts: Arc<Parts>, ca: Arc<Ca>, stop: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    let mut minute = tokio::time::interval(HEARTBEAT_INTERVAL);
    minute.tick().await;
    loop {
        tokio::select! {
            _ = sweep.tick() => parts.spine.sweep(),
            _ = minute.tick() => {
                parts.spine.flush_strangers();
                if let Err(error) = parts.sign_in.write_counted_failures() {
                    tracing::error!(%error, "counted failures could not be written");
                }
                heartbeat(&parts);
                if let Err(error) = ca.renew_server_if_due() {
                    tracing::error!(%error, "the servers' certificate could not be renewed");
                }
            }
            () = stop.cancelled() => break,
        }
    }
    // Sessions that drain are still held to their limits.
    while !parts.sessions.is_empty() {
        sweep.tick().await;
        parts.spine.sweep();
    }
}

fn heartbeat(parts: &Parts) {
    let draft = parts
        .mint
        .draft(Kind::NodeHeartbeat)
        .actor(ActorId::Node(parts.ledger.node()))
        .set("/detail/sessions_open", parts.sessions.len() as u64)
        .set("/detail/events", parts.ledger.metrics().events.get())
        .set("/detail/clock", "system")
        .set("/detail/sync_lag_us", parts.ledger.metrics().take_lag_us_max());
    let written = match draft.encode() {
        Ok(draft) => parts.ledger.append_soon(draft),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = written {
        tracing::warn!(%error, "a heartbeat could not be written");
    }
}

/// The spine's open sessions as the store asks for them.
struct Live {
    sessions: Arc<Sessions>,
}

impl EndSessions for Live {
    fn logged_out(&self, credentials: &[CredentialId], holder: ActorId) {
        let by = Some(holder.to_string());
        let notice = EndNotice { code: "logged_out", reason: "you logged out".to_owned(), by };
        self.sessions.end_of_credentials(credentials, &notice);
    }
}

impl LiveSessions for Live {
    fn live(&self) -> Vec<LiveSession> {
        let views = self.sessions.list();
        views.iter().map(|view| LiveSession { id: view.id, actions: view.actions }).collect()
    }
}

/// A lock is in force as soon as it is in the snapshot; the sweep ends whom it meets.
struct CutNow {
    spine: Arc<Spine>,
}

#[async_trait::async_trait]
impl Cut for CutNow {
    async fn cut(&self, lock: &Lock) {
        for view in self.spine.sessions().list() {
            if lock.meets(view.actor.id, &view.actor.groups, Some(&view.resource.name)) {
                let by = Some(lock.id.to_string());
                let reason = lock.reason.clone();
                self.spine.sessions().end(view.id, EndNotice { code: "locked", reason, by });
            }
        }
    }
}

struct Codes {
    address: String,
    ca: Arc<Ca>,
    mint: Mint,
}

impl EnrolmentCodes for Codes {
    fn issue(&self) -> (Secret, String) {
        let secret: [u8; 32] = self.mint.random();
        match EnrolmentCode::new(&self.address, secret, self.ca.ca_sha256()) {
            Ok(code) => (code.encode(), code.digest()),
            // The address was checked with the configuration; without it the code is of no use,
            // and the digest of a random secret matches nothing.
            Err(_) => (Secret::new(String::new()), hex::encode(Sha256::digest(secret))),
        }
    }
}

impl Gateway {
    /// Root on this machine, as the one who changes something.
    pub fn local_root(&self) -> ChangeBy {
        ChangeBy::local_root(self.parts.ledger.node())
    }

    /// Applies declarations at start as root on this machine, marked unattested.
    ///
    /// # Errors
    /// What is wrong with them; nothing is applied then.
    pub async fn apply_as_local_root(&self, files: &[DeclaredFile]) -> anyhow::Result<()> {
        let declaration = Declaration::parse(files, &PROTOCOLS)?;
        let codes = Arc::clone(self.codes());
        let applied = self.control().apply(declaration, self.local_root(), None, codes).await?;
        for (name, code) in &applied.enrolments {
            // The only place where the code is ever told.
            eprintln!("Enrolment code for {name}, good once, for 24 hours:\n  {}", code.reveal());
        }
        Ok(())
    }
}
