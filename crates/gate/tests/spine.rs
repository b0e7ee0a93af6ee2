//! The spine with a toy protocol: lines in, lines out. What must not happen is tried: forwarding
//! without a record, dialling without a permit, a panic that takes others along.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use async_trait::async_trait;
use bytes::Bytes;
use loggia_gate::*;
use loggia_model::catalogue::Kind;
use loggia_model::decision::{Action, Ask, Decision, Effect, Obligations};
use loggia_model::id::{ActorId, PersonId, ResourceId, SessionId};
use loggia_model::port::*;
use loggia_model::recording::Direction;
use loggia_model::resource::{Account, Depth, Resource, UpstreamTls};
use loggia_model::*;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything the spine meets, in memory.
struct World {
    kinds: Mutex<Vec<(Kind, Option<String>)>>,
    paused: AtomicBool,
    closed: AtomicBool,
    /// The ledger says that it goes on, and refuses all the same.
    flapping: AtomicBool,
    deny_connect: AtomicBool,
    deny_actions: AtomicBool,
    lock: Mutex<Option<String>>,
    idle_s: AtomicU64,
    now_us: AtomicI64,
    target: std::net::SocketAddr,
    dialled: AtomicU64,
    tape: Arc<TapeInMemory>,
}

impl Clock for World {
    fn now_us(&self) -> i64 {
        self.now_us.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entropy for World {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.now_us.fetch_add(1, Ordering::Relaxed) as u8;
        }
    }
}

#[async_trait]
impl Append for World {
    fn append(&self, drafts: &[Draft]) -> Result<Appended, AppendError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(AppendError::Closed("broken".into()));
        }
        let end = drafts.iter().all(|draft| draft.kind == Kind::SessionEnd);
        let refuses = self.paused.load(Ordering::SeqCst) || self.flapping.load(Ordering::SeqCst);
        if refuses && !end {
            return Err(AppendError::Paused("no room"));
        }
        for draft in drafts {
            let mut leaf = Vec::new();
            let node = "nd_00000000000000000000000000";
            draft.stamp(
                &event::Stamp { time_us: 1, node, boot: 1, seq: 1, session: Some((1, None)) },
                &mut leaf,
            );
            let reason = Event::parse(&leaf).unwrap().text("/detail/reason").map(str::to_owned);
            self.kinds.lock().unwrap().push((draft.kind, reason));
        }
        Ok(Appended { boot: 1, seq: 1, leaf_hash: LeafHash([0; 32]), time_us: 1 })
    }

    fn append_soon(&self, draft: Draft) -> Result<(), AppendError> {
        self.append(&[draft]).map(|_| ())
    }

    async fn on_disk(&self, appended: &Appended) -> Result<OnDisk, AppendError> {
        Ok(OnDisk { index: 0, leaf_hash: appended.leaf_hash })
    }

    async fn resumed(&self, wait_max: Duration) -> bool {
        if self.flapping.load(Ordering::SeqCst) {
            return true;
        }
        tokio::time::sleep(wait_max).await;
        !self.paused.load(Ordering::SeqCst)
    }

    fn origin(&self) -> String {
        "test".into()
    }
}

#[async_trait]
impl Identify for World {
    async fn identify(&self, credential: &Credential, _: &Source) -> Result<Actor, PublicError> {
        match credential {
            Credential::Token(token) if token.reveal() == "alice" => Ok(Actor {
                id: ActorId::Person(PersonId::from_parts(1, [1; 10])),
                name: "alice".into(),
                authn: Authn::Token,
                credential: None,
                expires_us: None,
                groups: Vec::new(),
                admin: false,
            }),
            _ => Err(PublicError::new("unknown_credential", Fault::Client, "who is there?")),
        }
    }
}

impl Recordings for World {
    fn begin(&self, _: SessionId, _: &[u8; 32], _: i64) -> Result<Box<dyn Tape>, TapeError> {
        self.tape.room()?;
        self.tape.begun.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Reel(Arc::clone(&self.tape))))
    }
}

/// A recording in memory, and how its disk is.
#[derive(Default)]
struct TapeInMemory {
    frames: Mutex<Vec<(Direction, Vec<u8>)>>,
    begun: AtomicU64,
    full: AtomicBool,
    /// So often there is no room.
    full_times: AtomicU64,
    broken: AtomicBool,
}

impl TapeInMemory {
    fn room(&self) -> Result<(), TapeError> {
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        let less = self.full_times.fetch_update(set, fetch, |times| times.checked_sub(1));
        if less.is_ok() || self.full.load(Ordering::SeqCst) {
            return Err(TapeError::Full("no room".into()));
        }
        Ok(())
    }
}

struct Reel(Arc<TapeInMemory>);

impl Tape for Reel {
    fn write(&mut self, _: u64, direction: Direction, bytes: &[u8]) -> Result<(), TapeError> {
        if self.0.broken.load(Ordering::SeqCst) {
            return Err(TapeError::Broken("scratched".into()));
        }
        self.0.room()?;
        self.0.frames.lock().unwrap().push((direction, bytes.to_vec()));
        Ok(())
    }

    fn write_sealed(&mut self, at_us: u64, _: u64, bytes: &[u8]) -> Result<(), TapeError> {
        self.write(at_us, Direction::Sealed, bytes)
    }

    fn disclose(&mut self, at_us: u64, line: u64) -> Result<(), TapeError> {
        self.write(at_us, Direction::Key, &line.to_be_bytes())
    }

    fn state(&self) -> TapeState {
        let frames = self.0.frames.lock().unwrap();
        let bytes = frames.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        TapeState { frames: frames.len() as u64, bytes, root: [frames.len() as u8; 32] }
    }

    fn syncer(&self) -> Box<dyn FnOnce() -> Result<(), TapeError> + Send> {
        Box::new(|| Ok(()))
    }
}

impl Decide for World {
    fn decide(&self, ask: &Ask<'_>) -> Decision {
        let deny = match ask.action {
            Action::Connect => self.deny_connect.load(Ordering::SeqCst),
            _ => self.deny_actions.load(Ordering::SeqCst),
        };
        let idle = self.idle_s.load(Ordering::SeqCst);
        Decision {
            effect: if deny { Effect::Deny } else { Effect::Allow },
            policies: vec!["p".into()],
            policy_set: "00".into(),
            obligations: Obligations {
                idle_s_max: (idle > 0).then_some(idle),
                ..Default::default()
            },
            errors: Vec::new(),
            reuse_us_max: 0,
        }
    }

    fn generation(&self) -> u64 {
        0
    }
}

impl Resolve for World {
    fn resource(&self, name: &str) -> Option<Arc<Resource>> {
        (name == "toy").then(|| {
            Arc::new(Resource {
                id: ResourceId::from_parts(1, [1; 10]),
                name: "toy".into(),
                protocol: "lines".into(),
                host: "127.0.0.1".into(),
                port: self.target.port(),
                tls: UpstreamTls::Off,
                ca_file: None,
                host_keys: Vec::new(),
                accounts: vec![Account::named("app")],
                database: None,
                depth: Depth::Kernel,
                labels: Vec::new(),
            })
        })
    }

    fn lock(&self, _: &Actor, _: Option<&Resource>) -> Option<LockNotice> {
        let lock = self.lock.lock().unwrap().clone();
        lock.map(|reason| LockNotice { lock: "lk_1".into(), reason })
    }
}

struct Line(Bytes, FrameClass);

impl WireFrame for Line {
    type Wire = Bytes;
    fn class(&self) -> FrameClass {
        self.1
    }

    fn into_wire(self) -> Bytes {
        self.0
    }
}

/// The first line is `TOKEN RESOURCE`; each further line is an action. `boom` panics, `ping` is
/// neutral; of `given up` the report is thrown away and the line sent as a part of it. After an action that begins with `tape`, `<TEXT` is its input and `>TEXT` its output, both on tape.
struct Lines(Arc<World>);

type Client = BufReader<TcpStream>;

/// Puts a line of the client into the batch, as what it asks to be taken for.
async fn add<'a>(
    watch: &'a Watch,
    batch: &mut Batch<'a>,
    line: &str,
    last: &mut Option<RecordedAction>,
    writer: &mut TargetWriter<OwnedWriteHalf>,
) -> Result<(), Unrecorded> {
    let bytes = Bytes::from(line.to_owned());
    let draft = watch.draft(Kind::SqlStatement).set("/detail/text", line);
    if line.starts_with("tape") {
        let frame = Line(bytes, FrameClass::Action);
        match watch.record(Action::SqlExecute, draft, frame).await {
            Ok((action, recorded)) => {
                *last = Some(action);
                writer.queue(recorded).unwrap();
                Ok(())
            }
            Err(error) => Err(error),
        }
    } else if line.trim() == "torn" {
        batch.neutral(Line(Bytes::from_static(b"to"), FrameClass::Neutral))
    } else if line.trim() == "ping" {
        batch.neutral(Line(bytes, FrameClass::Neutral))
    } else if line.trim() == "sneak" {
        batch.neutral(Line(bytes, FrameClass::Action))
    } else if line.trim() == "given up" {
        let mut given_up = watch.batch();
        let frame = Line(bytes.clone(), FrameClass::Action);
        let action = given_up.record(Action::SqlExecute, draft, frame).unwrap();
        drop(given_up);
        batch.part_of(&action, Line(bytes, FrameClass::Part))
    } else {
        let frame = Line(bytes, FrameClass::Action);
        batch.record(Action::SqlExecute, draft, frame).map(|_| ())
    }
}

#[async_trait]
impl Protocol for Lines {
    type Client = Client;
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;
    type Greeting = ();

    fn name(&self) -> &'static str {
        "lines"
    }

    fn frame_bytes(&self) -> Option<FrameBytes> {
        Some(|front| front.iter().position(|byte| *byte == b'\n').map(|end| end + 1))
    }

    async fn open(&self, socket: TcpStream, _: Source) -> Result<Opened<Client>, OpenFailure> {
        let mut client = BufReader::new(socket);
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        let (token, resource) = line
            .trim()
            .split_once(' ')
            .ok_or(OpenFailure { reason: "malformed", claimed: None })?;
        let opening = Opening {
            credential: Credential::Token(Secret::new(token.into())),
            address: resource
                .parse()
                .map_err(|_| OpenFailure { reason: "malformed", claimed: None })?,
            database: None,
            application: None,
            options: None,
            source: None,
        };
        Ok(Opened::Session { opening: Box::new(opening), client })
    }

    async fn refuse(&self, mut client: Client, error: &PublicError) {
        let _ = client.write_all(format!("refused {}\n", error.code).as_bytes()).await;
    }

    async fn dial(
        &self,
        _: &mut Client,
        dial: &Dial,
    ) -> Result<Dialled<OwnedReadHalf, OwnedWriteHalf, ()>, PublicError> {
        self.0.dialled.fetch_add(1, Ordering::SeqCst);
        let port = dial.permit().resource().port;
        let socket = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|e| PublicError::new("target_down", Fault::Target, "down").cause(e))?;
        let (reader, writer) = socket.into_split();
        Ok(Dialled { reader, writer, greeting: () })
    }

    async fn relay(
        &self,
        mut client: Client,
        mut target: Dialled<OwnedReadHalf, TargetWriter<OwnedWriteHalf>, ()>,
        watch: &mut Watch,
    ) -> Ended {
        let mut line = String::new();
        let mut last = None;
        let watch = &*watch;
        let mut end = watch.end_signal();
        let mut keeping = std::pin::pin!(watch.keep_recording());
        let reason = loop {
            line.clear();
            tokio::select! {
                read = client.read_line(&mut line) => match read {
                    Ok(0) | Err(_) => break EndReason::ClientClosed,
                    Ok(_) => {}
                },
                _ = &mut keeping => break EndReason::Unrecordable,
                notice = end.ended() => {
                    let _ = client.write_all(format!("ended {}\n", notice.reason).as_bytes()).await;
                    break EndReason::Ordered(notice);
                }
            }
            assert_ne!(line.trim(), "boom", "asked for");
            let bytes = Bytes::from(line.clone());
            if let (Some(action), Some(text)) = (&last, line.strip_prefix('>')) {
                match watch.said(action, Stream::Output, text.as_bytes()).await {
                    Ok(()) => client.write_all(b"heard\n").await.unwrap(),
                    Err(_) => break EndReason::Unrecordable,
                }
                continue;
            }
            if let (Some(action), Some(text)) = (&last, line.strip_prefix('<')) {
                let frame = Line(bytes.clone(), FrameClass::Part);
                let Ok(recorded) = watch.input(action, text.as_bytes(), frame).await else {
                    break EndReason::Unrecordable;
                };
                target.writer.queue(recorded).unwrap();
                target.writer.write_all().await.unwrap();
                client.write_all(b"sent\n").await.unwrap();
                continue;
            }
            if line.starts_with("tapes") {
                let both = tokio::join!(watch.begin_recording(), watch.begin_recording());
                both.0.and(both.1).unwrap();
            } else if line.starts_with("tape") {
                watch.begin_recording().await.unwrap();
            }
            let mut batch = watch.batch();
            let added = add(watch, &mut batch, &line, &mut last, &mut target.writer).await;
            let committed = match added {
                Ok(()) => batch.commit().await,
                Err(error) => Err(error),
            };
            match committed {
                Ok(recorded) => {
                    if target.writer.queue(recorded).is_err() {
                        break EndReason::Misframed;
                    }
                    target.writer.write_all().await.unwrap();
                    client.write_all(b"sent\n").await.unwrap();
                }
                Err(Unrecorded::Denied(..)) => client.write_all(b"denied\n").await.unwrap(),
                Err(Unrecorded::WrongClass(_) | Unrecorded::NoAction) => {
                    client.write_all(b"wrong\n").await.unwrap()
                }
                Err(_) => break EndReason::Unrecordable,
            }
        };
        Ended { reason, bytes_in: 0, bytes_out: 0 }
    }
}

struct Running {
    world: Arc<World>,
    metrics: GateMetrics,
    spine: Arc<Spine>,
    address: std::net::SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn run() -> Running {
    run_paused_at_most(Duration::from_millis(100)).await
}

async fn run_paused_at_most(pause_max: Duration) -> Running {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let received = Arc::new(Mutex::new(Vec::new()));
    let world = Arc::new(World {
        kinds: Mutex::default(),
        paused: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        flapping: AtomicBool::new(false),
        deny_connect: AtomicBool::new(false),
        deny_actions: AtomicBool::new(false),
        lock: Mutex::default(),
        idle_s: AtomicU64::new(0),
        now_us: AtomicI64::new(1_790_000_000_000_000),
        target: target.local_addr().unwrap(),
        dialled: AtomicU64::new(0),
        tape: Arc::default(),
    });
    let sink = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = target.accept().await {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                    sink.lock().unwrap().extend_from_slice(&buffer[..read]);
                }
            });
        }
    });
    let session = SessionLimits { recording_bytes_max: 64, ..SessionLimits::default() };
    let limits = Limits { pause_max, session, ..Limits::default() };
    let mint = Mint::new(Arc::clone(&world) as _, Arc::clone(&world) as _);
    let metrics = GateMetrics::default();
    let spine = Arc::new(Spine::new(SpineParts {
        identify: Arc::clone(&world) as _,
        decide: Arc::clone(&world) as _,
        resolve: Arc::clone(&world) as _,
        append: Arc::clone(&world) as _,
        recordings: Arc::clone(&world) as _,
        mint,
        sessions: Arc::default(),
        metrics: metrics.clone(),
        limits,
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let lines = Arc::new(Lines(Arc::clone(&world)));
    tokio::spawn(listen(listener, lines, Arc::clone(&spine), TaskTracker::new(), stop.clone()));
    Running { world, metrics, spine, address, received, stop }
}

impl Running {
    async fn connect(&self, first: &str) -> Client {
        let mut client = BufReader::new(TcpStream::connect(self.address).await.unwrap());
        client.write_all(format!("{first}\n").as_bytes()).await.unwrap();
        client
    }

    fn kinds(&self) -> Vec<(Kind, Option<String>)> {
        self.world.kinds.lock().unwrap().clone()
    }

    async fn until(&self, kind: Kind) -> Option<String> {
        for _ in 0..500 {
            if let Some((_, reason)) = self.kinds().iter().find(|(known, _)| *known == kind) {
                return reason.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {} in {:?}", kind.code(), self.kinds());
    }

    fn received(&self) -> String {
        String::from_utf8(self.received.lock().unwrap().clone()).unwrap()
    }
}

async fn say(client: &mut Client, line: &str) -> String {
    client.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    answer(client).await
}

async fn answer(client: &mut Client) -> String {
    let mut answer = String::new();
    let read = client.read_line(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await.expect("an answer");
    answer.trim().to_owned()
}

#[tokio::test]
async fn an_action_is_recorded_and_forwarded_and_the_session_ends_on_record() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "hello").await, "sent");
    assert_eq!(say(&mut client, "ping").await, "sent");
    drop(client);
    assert_eq!(running.until(Kind::SessionEnd).await.as_deref(), Some("client_closed"));
    let kinds: Vec<Kind> = running.kinds().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::SessionStart, Kind::SqlStatement, Kind::SessionEnd]);
    assert!(running.spine.sessions().is_empty());
}

#[tokio::test]
async fn a_stranger_a_denied_actor_and_a_locked_one_reach_no_target() {
    let running = run().await;
    assert_eq!(
        answer(&mut running.connect("mallory toy").await).await,
        "refused unknown_credential"
    );
    assert_eq!(running.until(Kind::StrangerRefused).await.as_deref(), Some("unknown_credential"));
    assert_eq!(answer(&mut running.connect("alice other").await).await, "refused unknown_resource");
    *running.world.lock.lock().unwrap() = Some("audit".into());
    assert_eq!(answer(&mut running.connect("alice toy").await).await, "refused locked");
    *running.world.lock.lock().unwrap() = None;
    running.world.deny_connect.store(true, Ordering::SeqCst);
    assert_eq!(answer(&mut running.connect("alice toy").await).await, "refused denied");
    assert_eq!(running.world.dialled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_dialled_and_not_forwarded() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "before").await, "sent");
    running.world.paused.store(true, Ordering::SeqCst);
    assert_eq!(answer(&mut running.connect("alice toy").await).await, "refused unrecordable");
    client.write_all(b"lost\n").await.unwrap();
    assert_eq!(running.until(Kind::SessionEnd).await.as_deref(), Some("unrecordable"));
    assert_eq!(running.received(), "before\n");
    assert_eq!(running.world.dialled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_ledger_that_only_says_that_it_goes_on_does_not_keep_a_session_for_ever() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "before").await, "sent");
    running.world.flapping.store(true, Ordering::SeqCst);
    client.write_all(b"lost\n").await.unwrap();
    assert_eq!(running.until(Kind::SessionEnd).await.as_deref(), Some("unrecordable"));
    assert_eq!(running.received(), "before\n");
}

#[tokio::test]
async fn a_denied_action_and_one_given_as_neutral_are_not_forwarded() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "sneak").await, "wrong");
    running.world.deny_actions.store(true, Ordering::SeqCst);
    assert_eq!(say(&mut client, "drop").await, "denied");
    running.world.deny_actions.store(false, Ordering::SeqCst);
    assert_eq!(say(&mut client, "fine").await, "sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(running.received(), "fine\n");
}

#[tokio::test]
async fn a_frame_that_is_not_whole_is_kept_from_the_target_and_ends_the_session_on_record() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "whole").await, "sent");
    client.write_all(b"torn\n").await.unwrap();
    assert_eq!(running.until(Kind::SessionEnd).await.as_deref(), Some("gateway_fault"));
    assert_eq!(running.received(), "whole\n");
}

#[tokio::test]
async fn a_panic_ends_one_session_on_record_and_no_other() {
    let running = run().await;
    let mut other = running.connect("alice toy").await;
    assert_eq!(say(&mut other, "here").await, "sent");
    let mut client = running.connect("alice toy").await;
    client.write_all(b"boom\n").await.unwrap();
    assert_eq!(running.until(Kind::SessionEnd).await.as_deref(), Some("panic"));
    assert_eq!(say(&mut other, "still here").await, "sent");
}

#[tokio::test]
async fn orders_limits_and_locks_end_a_running_session_with_the_reason_shown() {
    let running = run().await;
    running.world.idle_s.store(60, Ordering::SeqCst);
    for case in ["operator", "lock", "idle"] {
        running.world.kinds.lock().unwrap().clear();
        let mut client = running.connect("alice toy").await;
        assert_eq!(say(&mut client, "here").await, "sent");
        let (shown, code) = match case {
            "operator" => {
                let id = running.spine.sessions().list()[0].id;
                let reason = "maintenance".to_owned();
                running.spine.sessions().end(id, EndNotice { code: "ended", reason, by: None });
                ("ended maintenance", "ended")
            }
            "lock" => {
                *running.world.lock.lock().unwrap() = Some("audit".into());
                running.spine.sweep();
                *running.world.lock.lock().unwrap() = None;
                ("ended audit", "locked")
            }
            _ => {
                running.world.now_us.fetch_add(61_000_000, Ordering::SeqCst);
                running.spine.sweep();
                ("ended nothing was done for 60 s", "idle_limit")
            }
        };
        assert_eq!(answer(&mut client).await, shown);
        assert_eq!(running.until(Kind::SessionEnd).await.as_deref(), Some(code));
    }
}

#[tokio::test]
async fn input_and_output_are_on_tape_before_they_pass_and_the_tapes_root_is_in_the_ledger() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "tape").await, "sent");
    assert_eq!(say(&mut client, "<in").await, "sent");
    assert_eq!(say(&mut client, ">out").await, "heard");
    running.until(Kind::RecordingGrown).await;
    drop(client);
    running.until(Kind::SessionEnd).await;
    let frames = running.world.tape.frames.lock().unwrap().clone();
    assert_eq!(frames[0].0, Direction::Action, "frames name their action");
    assert_eq!(
        frames[1..],
        [(Direction::Input, b"in\n".to_vec()), (Direction::Output, b"out\n".to_vec())]
    );
    let kinds: Vec<Kind> = running.kinds().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds[..2], [Kind::SessionStart, Kind::RecordingBegun], "before the action");
    assert_eq!(running.received(), "tape\n<in\n");
}

#[tokio::test]
async fn two_channels_that_begin_to_record_at_once_begin_one_recording() {
    let running = run_paused_at_most(Duration::from_secs(20)).await;
    let mut client = running.connect("alice toy").await;
    // Both find no recording, and the first has to wait.
    running.world.tape.full_times.store(1, Ordering::SeqCst);
    assert_eq!(say(&mut client, "tapes").await, "sent");
    assert_eq!(running.world.tape.begun.load(Ordering::SeqCst), 1);
    let begun = running.kinds().iter().filter(|(kind, _)| *kind == Kind::RecordingBegun).count();
    assert_eq!(begun, 1, "one salt");
}

#[tokio::test]
async fn a_wait_for_room_counts_once_however_often_it_is_tried() {
    let running = run_paused_at_most(Duration::from_secs(20)).await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "tape").await, "sent");
    running.world.tape.full_times.store(3, Ordering::SeqCst);
    assert_eq!(say(&mut client, "<waits").await, "sent");
    assert_eq!(running.metrics.pauses.get(), 1);
}

#[tokio::test]
async fn nothing_goes_on_as_part_of_an_action_that_was_never_recorded() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "given up").await, "wrong");
    assert_eq!(say(&mut client, "fine").await, "sent");
    drop(client);
    running.until(Kind::SessionEnd).await;
    assert_eq!(running.received(), "fine\n");
}

#[tokio::test]
async fn what_the_tape_does_not_take_is_not_forwarded() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "tape").await, "sent");
    running.world.tape.broken.store(true, Ordering::SeqCst);
    client.write_all(b"<lost\n").await.unwrap();
    assert_eq!(running.until(Kind::SessionEnd).await.as_deref(), Some("unrecordable"));
    assert_eq!(running.received(), "tape\n");
}

#[tokio::test]
async fn a_full_disk_pauses_a_tape_and_then_ends_its_session() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "tape").await, "sent");
    running.world.tape.full.store(true, Ordering::SeqCst);
    let tape = Arc::clone(&running.world.tape);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        tape.full.store(false, Ordering::SeqCst);
    });
    assert_eq!(say(&mut client, "<waits").await, "sent");
    running.world.tape.full.store(true, Ordering::SeqCst);
    client.write_all(b"<lost\n").await.unwrap();
    assert_eq!(running.until(Kind::SessionEnd).await.as_deref(), Some("unrecordable"));
    assert_eq!(running.received(), "tape\n<waits\n");
}

#[tokio::test]
async fn beyond_its_limit_a_tape_keeps_nothing_and_the_end_says_how_much_that_was() {
    let running = run().await;
    let mut client = running.connect("alice toy").await;
    assert_eq!(say(&mut client, "tape").await, "sent");
    let long = "x".repeat(100);
    assert_eq!(say(&mut client, &format!("<{long}")).await, "sent");
    assert_eq!(say(&mut client, "<beyond").await, "sent");
    running.until(Kind::RecordingLimited).await;
    drop(client);
    running.until(Kind::SessionEnd).await;
    assert_eq!(running.world.tape.frames.lock().unwrap().len(), 2);
    assert!(running.received().ends_with("<beyond\n"), "it passes all the same");
}
