use super::*;
use crate::lines::SilentKey;
use crate::tape::{FileTape, no_fault};
use async_trait::async_trait;
use axum::http::{Request, StatusCode};
use loggia_model::actor::{Actor, Authn};
use loggia_model::id::{ActorId, PersonId};
use loggia_model::port::{Appended, OnDisk, Tape};
use loggia_model::recording::Direction;
use loggia_model::{Clock, Draft, Entropy, Event, LeafHash, Source};
use loggia_verify::recording::check::Claim;
use loggia_verify::recording::ledgered::Ledgered;
use parking_lot::Mutex;
use std::path::PathBuf;
use tower::ServiceExt;

const SALT: [u8; 32] = [4; 32];

struct Fixed;

impl Clock for Fixed {
    fn now_us(&self) -> i64 {
        1_790_000_000_000_000
    }
}

impl Entropy for Fixed {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(1);
    }
}

/// Everything that the routes ask for.
#[derive(Default)]
struct Others {
    denied: AtomicBool,
    broken: AtomicBool,
    live: AtomicBool,
    ledgered: Mutex<Ledgered>,
    written: Mutex<Vec<String>>,
}

impl SessionRecords for Others {
    fn ledgered(&self, _: SessionId, _: &Arc<AtomicBool>) -> Result<Ledgered, PublicError> {
        Ok(self.ledgered.lock().clone())
    }

    fn is_live(&self, _: SessionId) -> bool {
        self.live.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Authorize for Others {
    async fn authorize(
        &self,
        _: &Caller,
        action: Action,
        _: &'static str,
    ) -> Result<(), PublicError> {
        assert_eq!(action, Action::RecordingsRead);
        if self.denied.load(Ordering::Relaxed) {
            return Err(PublicError::new("denied", Fault::Policy, "you may not"));
        }
        Ok(())
    }
}

#[async_trait]
impl Append for Others {
    fn append(&self, drafts: &[Draft]) -> Result<Appended, AppendError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(AppendError::Paused("full"));
        }
        let stamp = loggia_model::event::Stamp {
            time_us: 1,
            node: "nd_01h455vb4pex5vsknk084sn02q",
            boot: 1,
            seq: 1,
            session: None,
        };
        for draft in drafts {
            let mut leaf = Vec::new();
            draft.stamp(&stamp, &mut leaf);
            let event = Event::parse(&leaf).unwrap();
            let route = event.text("/detail/route").unwrap_or_default();
            self.written.lock().push(format!("{} {route}", event.kind));
        }
        Ok(Appended { boot: 1, seq: 1, leaf_hash: LeafHash([0; 32]), time_us: 1 })
    }

    fn append_soon(&self, _: Draft) -> Result<(), AppendError> {
        Ok(())
    }

    async fn on_disk(&self, appended: &Appended) -> Result<OnDisk, AppendError> {
        Ok(OnDisk { index: 1, leaf_hash: appended.leaf_hash })
    }

    async fn resumed(&self, _: Duration) -> bool {
        true
    }

    fn origin(&self) -> String {
        "origin".into()
    }
}

struct World {
    _data: tempfile::TempDir,
    others: Arc<Others>,
    api: RecordingsApi,
    session: SessionId,
    path: PathBuf,
}

impl World {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let keys = data.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        let mint = Mint::new(Arc::new(Fixed), Arc::new(Fixed));
        let folder =
            Arc::new(RecordingFolder::open(data.path(), &keys, &mint, no_fault()).unwrap());
        let others: Arc<Others> = Arc::default();
        let session = SessionId::from_parts(1, [7; 10]);
        let path = folder.path(session);
        let api = RecordingsApi::new(
            folder,
            Arc::clone(&others) as _,
            Arc::clone(&others) as _,
            Arc::clone(&others) as _,
            mint,
        );
        Self { _data: data, others, api, session, path }
    }

    /// A recording of 50 lines, all of which the ledger claims.
    fn recorded(&self) -> FileTape {
        let key = SilentKey::new([1; 32]).session(&SALT);
        let dir = self.path.parent().unwrap();
        let mut tape =
            FileTape::create(dir.into(), no_fault(), self.session, &SALT, key, 0).unwrap();
        for number in 0..50u64 {
            tape.write(number, Direction::Output, format!("line {number}").as_bytes()).unwrap();
        }
        tape.syncer()().unwrap();
        let state = tape.state();
        let claim = Claim {
            frames: state.frames,
            bytes: Some(state.bytes),
            root: loggia_tlog::Hash(state.root),
        };
        *self.others.ledgered.lock() = Ledgered {
            begun: true,
            salt: Some(SALT),
            claims: vec![claim],
            ended: true,
            limited: false,
        };
        tape
    }

    async fn ask(&self, path: &str) -> (StatusCode, Body) {
        let caller = Caller {
            actor: Actor {
                id: ActorId::Person(PersonId::from_parts(1, [1; 10])),
                name: "alice".into(),
                authn: Authn::Token,
                credential: None,
                expires_us: None,
                groups: Vec::new(),
                admin: true,
            },
            source: Source { peer: "127.0.0.1:1".parse().unwrap() },
        };
        let request = Request::builder()
            .uri(format!("/v1/sessions/{}/{path}", self.session))
            .extension(caller)
            .body(Body::empty())
            .unwrap();
        let response = routes(self.api.clone()).oneshot(request).await.unwrap();
        (response.status(), response.into_body())
    }

    async fn problem(&self, path: &str) -> Problem {
        let (status, body) = self.ask(path).await;
        assert!(!status.is_success());
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// Notes as JSON, and all bytes of the file.
fn parts(mut bytes: &[u8]) -> (Vec<serde_json::Value>, Vec<u8>) {
    let (mut notes, mut file) = (Vec::new(), Vec::new());
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let head = PartHead::decode(*head).unwrap();
        let (content, rest) = rest.split_at(head.length as usize);
        match head.kind {
            PartKind::Note => notes.push(serde_json::from_slice(content).unwrap()),
            PartKind::File => file.extend_from_slice(content),
            PartKind::Beat => {}
        }
        bytes = rest;
    }
    (notes, file)
}

#[tokio::test]
async fn a_recording_comes_as_it_is_with_what_the_ledger_says_after_the_read_is_recorded() {
    let world = World::new();
    let tape = world.recorded();
    let (status, body) = world.ask("recording").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(*world.others.written.lock(), ["audit.read recording"]);
    let (notes, file) = parts(&axum::body::to_bytes(body, 1 << 20).await.unwrap());
    assert_eq!(file, std::fs::read(&world.path).unwrap());
    assert_eq!(notes.len(), 2);
    assert_eq!(notes[0]["head"]["salt"], "04".repeat(32));
    assert_eq!(notes[0]["head"]["claims"][0]["frames"], tape.state().frames);
    assert_eq!(notes[1]["end"]["reason"], "complete");
}

#[tokio::test]
async fn nobody_sees_what_they_may_not_or_what_cannot_be_recorded_as_seen() {
    let world = World::new();
    world.recorded();
    world.others.denied.store(true, Ordering::Relaxed);
    assert_eq!(world.problem("recording").await.code, "denied");
    assert_eq!(world.problem("watch").await.code, "denied");
    world.others.denied.store(false, Ordering::Relaxed);
    world.others.broken.store(true, Ordering::Relaxed);
    world.others.live.store(true, Ordering::Relaxed);
    assert_eq!(world.problem("recording").await.code, "unrecordable");
    assert_eq!(world.problem("watch").await.code, "unrecordable");
    assert!(world.others.written.lock().is_empty());
}

#[tokio::test]
async fn an_altered_recording_is_refused_with_its_place_and_a_shorter_one_is_shown_as_it_is() {
    let world = World::new();
    world.recorded();
    let genuine = std::fs::read(&world.path).unwrap();
    let mut altered = genuine.clone();
    let at = altered.windows(7).position(|bytes| bytes == b"line 33").unwrap();
    altered[at] ^= 1;
    std::fs::write(&world.path, &altered).unwrap();
    let problem = world.problem("recording").await;
    assert_eq!((problem.code.as_str(), problem.status), ("tampered", 500));
    let detail = problem.detail.unwrap();
    assert!(detail.starts_with(&format!("frame 34 (byte {}, ", at - 13)), "{detail}");
    assert!(world.others.written.lock().is_empty(), "nothing was read");

    std::fs::write(&world.path, &genuine[..at + 3]).unwrap();
    let (status, body) = world.ask("recording").await;
    assert_eq!(status, StatusCode::OK);
    let (_, file) = parts(&axum::body::to_bytes(body, 1 << 20).await.unwrap());
    assert_eq!(file, &genuine[..at - 13], "whole frames");

    std::fs::remove_file(&world.path).unwrap();
    assert_eq!(world.problem("recording").await.code, "missing");
    world.others.ledgered.lock().salt = None;
    assert_eq!(world.problem("recording").await.code, "erased");
    world.others.ledgered.lock().begun = false;
    assert_eq!(world.problem("recording").await.code, "not_found");
}

#[tokio::test]
async fn a_session_is_watched_until_it_ends() {
    let world = World::new();
    assert_eq!(world.problem("watch").await.code, "not_found");
    world.others.live.store(true, Ordering::Relaxed);
    let mut tape = world.recorded();
    let (status, body) = world.ask("watch").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(*world.others.written.lock(), ["audit.read watch"]);
    let mut body = body.into_data_stream();
    let mut seen = Vec::new();
    let size = std::fs::metadata(&world.path).unwrap().len() as usize;
    let wait = Duration::from_secs(20);
    while parts(&seen).1.len() < size {
        let next = futures::StreamExt::next(&mut body);
        seen.extend_from_slice(&tokio::time::timeout(wait, next).await.unwrap().unwrap().unwrap());
    }
    tape.write(60, Direction::Output, b"while it is watched").unwrap();
    world.others.live.store(false, Ordering::Relaxed);
    while let Some(more) =
        tokio::time::timeout(wait, futures::StreamExt::next(&mut body)).await.unwrap()
    {
        seen.extend_from_slice(&more.unwrap());
    }
    let (notes, file) = parts(&seen);
    assert_eq!(file, std::fs::read(&world.path).unwrap());
    assert_eq!(notes.last().unwrap()["end"]["reason"], "session_ended");
}

#[tokio::test]
async fn watching_ends_with_the_gateway_and_with_the_right_to_watch() {
    let world = World::new();
    world.others.live.store(true, Ordering::Relaxed);
    let (_, body) = world.ask("watch").await;
    world.api.end_watching();
    let (notes, _) = parts(&axum::body::to_bytes(body, 1 << 20).await.unwrap());
    assert_eq!(notes.last().unwrap()["end"]["reason"], "shutdown");

    tokio::time::pause();
    let world = World::new();
    world.others.live.store(true, Ordering::Relaxed);
    let (_, body) = world.ask("watch").await;
    world.others.denied.store(true, Ordering::Relaxed);
    let (notes, _) = parts(&axum::body::to_bytes(body, 1 << 20).await.unwrap());
    assert_eq!(notes.last().unwrap()["end"]["reason"], "denied");
}
