//! The ledger and its witnesses: cosigned checkpoints, and witnesses that are silent, lie, or know
//! another history.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod hand;

use async_trait::async_trait;
use hand::Hand;
use loggia_ledger::{
    Answer, AskWitness, CosignLimits, Cosigning, Disk, Ledger, LedgerError, LedgerOptions, LogName,
    NotCosigned, PeerState, Witness, WitnessOptions, WitnessPeer, Witnessed, ask_witnesses, init,
    new_epoch, retire_key, rotate_key,
};
use loggia_model::catalogue::Kind;
use loggia_model::id::ActorId;
use loggia_model::port::{Append, ReadLog};
use loggia_model::{Event, Mint};
use loggia_tlog::policy::Quorum;
use loggia_tlog::witness::{Refusal, SIZE_CONTENT_TYPE, monitor_path};
use loggia_tlog::{Checkpoint, Policy, SignedNote, VerifierKey};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// No two worlds have the same keys.
static WORLDS: AtomicU64 = AtomicU64::new(1);

/// How a witness behaves.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Honest,
    Silent,
    Hanging,
    /// Answers with a line that is not valid.
    Lying,
    /// Answers with nothing.
    Mute,
    /// Shows no checkpoint to monitors.
    Shy,
}

struct Neighbour {
    witness: Witness,
    mood: Mutex<Mood>,
}

#[async_trait]
impl AskWitness for Neighbour {
    async fn add_checkpoint(&self, body: String) -> Result<Answer, String> {
        let mood = *self.mood.lock();
        let answer = |status, body: &[u8]| Answer { status, is_size: false, body: body.to_vec() };
        match mood {
            Mood::Silent => return Err("connection refused".to_owned()),
            Mood::Hanging => std::future::pending().await,
            Mood::Mute => return Ok(answer(200, b"")),
            Mood::Honest | Mood::Lying | Mood::Shy => {}
        }
        Ok(match self.witness.add_checkpoint(body.as_bytes()) {
            Ok(lines) => {
                let mut lines = loggia_tlog::cosignature::format_lines(&lines);
                if mood == Mood::Lying {
                    // The body of the signature, not its name: still a line, and not valid.
                    let at = lines.find("== ").unwrap_or(lines.len() - 40);
                    let other = if lines.as_bytes()[at] == b'A' { "B" } else { "A" };
                    lines.replace_range(at..=at, other);
                }
                answer(200, lines.as_bytes())
            }
            Err(NotCosigned::Refused(Refusal::OldSize { seen })) => {
                assert_eq!(SIZE_CONTENT_TYPE, "text/x.tlog.size");
                Answer { is_size: true, ..answer(409, format!("{seen}\n").as_bytes()) }
            }
            Err(error) => answer(error.status(), b""),
        })
    }

    async fn latest(&self, origin: &str) -> Result<Option<Vec<u8>>, String> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Silent => Err("connection refused".to_owned()),
            Mood::Hanging => std::future::pending().await,
            Mood::Shy => Ok(None),
            _ => {
                let path = monitor_path(origin);
                let place = path.trim_end_matches("/checkpoint");
                Ok(self.witness.latest(place).map(String::into_bytes))
            }
        }
    }
}

struct World {
    folder: tempfile::TempDir,
    hand: Arc<Hand>,
    mint: Mint,
    key: VerifierKey,
    neighbours: Vec<Arc<Neighbour>>,
}

impl World {
    fn new(witnesses: usize) -> Self {
        let (hand, mint) = Hand::new(WORLDS.fetch_add(1 << 32, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let vkey = init(&folder.path().join("data"), &LogName::default(), &mint).unwrap();
        let key = VerifierKey::parse(&vkey).unwrap();
        let mut world = Self { folder, hand, mint, key, neighbours: Vec::new() };
        for number in 0..witnesses {
            let neighbour = world.neighbour(&format!("w{number}"), &[world.key.clone()]);
            world.neighbours.push(neighbour);
        }
        world
    }

    fn neighbour(&self, name: &str, logs: &[VerifierKey]) -> Arc<Neighbour> {
        let dir = self.folder.path().join(name);
        if !dir.exists() {
            Witness::create(&dir, &format!("{name}.example"), &self.mint).unwrap();
        }
        let witness = Witness::open(WitnessOptions {
            dir,
            logs: logs.to_vec(),
            mint: self.mint.clone(),
            disk: Disk::default(),
            fatal: Arc::new(|why| panic!("fatal: {why}")),
        });
        Arc::new(Neighbour { witness: witness.unwrap(), mood: Mutex::new(Mood::Honest) })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn options(&self) -> LedgerOptions {
        let mut options = LedgerOptions::new(self.data(), self.mint.clone());
        options.segment_bytes = 256 << 10;
        options.checkpoint_interval = Duration::from_millis(10);
        options.fatal = Arc::new(|why| panic!("fatal: {why}"));
        options
    }

    fn options_with(&self, witnessed: Vec<Witnessed>) -> LedgerOptions {
        let mut options = self.options();
        options.witnessed = witnessed;
        options
    }

    fn open(&self) -> Arc<Ledger> {
        Arc::new(Ledger::open(self.options()).unwrap())
    }

    fn peers(&self) -> Vec<WitnessPeer> {
        let peer = |(number, neighbour): (usize, &Arc<Neighbour>)| WitnessPeer {
            name: format!("w{number}"),
            keys: neighbour.witness.keys().cloned().collect(),
            ask: Arc::clone(neighbour) as _,
        };
        self.neighbours.iter().enumerate().map(peer).collect()
    }

    fn witness_keys(&self) -> Vec<VerifierKey> {
        self.peers().into_iter().flat_map(|peer| peer.keys).collect()
    }

    /// A quorum of `threshold` of the Ed25519 keys.
    fn policy(&self, threshold: usize) -> Policy {
        let mut text = format!("log {}\n", self.key);
        let mut names = String::new();
        for (number, peer) in self.peers().iter().enumerate() {
            text += &format!("witness w{number} {}\n", peer.keys[0]);
            names += &format!(" w{number}");
        }
        text += &format!("group q {threshold}{names}\nquorum q\n");
        Policy::parse(text.as_bytes()).unwrap()
    }

    fn cosigning(&self, ledger: &Arc<Ledger>, policy: Option<Policy>) -> Cosigning {
        let limits = CosignLimits {
            answer_wait_max: Duration::from_millis(200),
            silence_wait_min: Duration::ZERO,
            wait_max: Duration::ZERO,
            ..CosignLimits::default()
        };
        let ledger = Arc::clone(ledger);
        Cosigning::new(ledger, self.mint.clone(), self.peers(), policy, limits).unwrap()
    }

    fn later(&self, seconds: i64) {
        self.hand.now_us.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }

    async fn append(&self, ledger: &Ledger) {
        let draft = self.mint.draft(Kind::NodeHeartbeat).actor(ActorId::Node(ledger.node()));
        let draft = draft.set("/detail/events", 1_u64).encode().unwrap();
        assert!(ledger.resumed(Duration::from_secs(10)).await);
        let appended = ledger.append(&[draft]).unwrap();
        ledger.on_disk(&appended).await.unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.data().join("ledger/e1/log").join(name)).unwrap_or_default()
    }

    fn cosigned(&self) -> (u64, Quorum, usize) {
        let note = SignedNote::parse(&self.read("cosigned")).unwrap();
        let (opened, quorum) = self.policy(self.neighbours.len()).open(&note).unwrap();
        (opened.checkpoint.size(), quorum, opened.cosignatures.len())
    }
}

/// Waits until everything that is written is under a checkpoint.
async fn published(ledger: &Ledger) -> u64 {
    for _ in 0..1_000 {
        let size = ledger.size();
        if *ledger.published().borrow() == size && size == ledger.size() {
            return size;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing is published");
}

async fn events(ledger: &Ledger, kind: Kind) -> Vec<String> {
    // What was written a moment ago is on disk within the time of a few checkpoints.
    tokio::time::sleep(Duration::from_millis(50)).await;
    published(ledger).await;
    let parsed = ledger.read(0, 1_000).unwrap();
    let events = parsed.iter().map(|entry| (Event::parse(&entry.leaf).unwrap(), entry));
    events
        .filter(|(event, _)| event.kind == kind.code())
        .map(|(_, entry)| String::from_utf8(entry.leaf.to_vec()).unwrap())
        .collect()
}

#[tokio::test]
async fn every_checkpoint_is_cosigned_by_all_witnesses() {
    let world = World::new(3);
    let ledger = world.open();
    let cosigning = world.cosigning(&ledger, None);
    for _ in 0..5 {
        world.append(&ledger).await;
        let size = published(&ledger).await;
        cosigning.round().await;
        assert_eq!(world.cosigned(), (size, Quorum::Met, 3));
        // Also beside the newest checkpoint, with both kinds of keys.
        let note = world.read("checkpoint");
        let opened = Checkpoint::open_cosigned(&note, &world.key, &world.witness_keys()).unwrap();
        assert_eq!((opened.checkpoint.size(), opened.cosignatures.len()), (size, 6));
    }
    for standing in ledger.witnesses() {
        assert_eq!(standing.state, PeerState::Cosigns);
        assert_eq!((standing.cosigned_size, standing.lag_s), (ledger.size(), 0));
    }
    assert_eq!(ledger.metrics().cosigned_size.get(), ledger.size() as i64);
    assert!(events(&ledger, Kind::WitnessRefused).await.is_empty());
}

#[tokio::test]
async fn after_a_restart_it_finds_out_where_the_witnesses_are() {
    let world = World::new(2);
    let ledger = world.open();
    published(&ledger).await;
    world.cosigning(&ledger, None).round().await;
    ledger.close("test").unwrap();
    let before = world.cosigned().0;
    drop(ledger);

    let ledger = world.open();
    // It knows of no size: the witnesses answer 409 with theirs, and are asked once more.
    let size = published(&ledger).await;
    let cosigning = world.cosigning(&ledger, None);
    cosigning.round().await;
    assert!(size > before);
    assert_eq!(world.cosigned(), (size, Quorum::Met, 2));
}

#[tokio::test]
async fn a_silent_witness_keeps_nobody_back_and_its_lag_is_told_once() {
    let world = World::new(3);
    let ledger = world.open();
    let cosigning = world.cosigning(&ledger, Some(world.policy(2)));
    for mood in [Mood::Silent, Mood::Hanging] {
        *world.neighbours[1].mood.lock() = mood;
        world.append(&ledger).await;
        let size = published(&ledger).await;
        cosigning.round().await;
        let (cosigned, _, lines) = world.cosigned();
        assert_eq!((cosigned, lines), (size, 2), "the quorum of two is met without it");
    }
    assert_eq!(ledger.witnesses()[1].state, PeerState::Unreachable);
    assert!(events(&ledger, Kind::WitnessLagging).await.is_empty());
    world.later(61);
    for _ in 0..3 {
        cosigning.round().await;
    }
    assert_eq!(events(&ledger, Kind::WitnessLagging).await.len(), 1);
    assert!(ledger.witnesses()[1].lag_s >= 61);

    *world.neighbours[1].mood.lock() = Mood::Honest;
    let size = published(&ledger).await;
    cosigning.round().await;
    assert_eq!(ledger.witnesses()[1].state, PeerState::Cosigns);
    assert_eq!(world.cosigned(), (size, Quorum::Met, 3));
    assert_eq!(events(&ledger, Kind::WitnessCosigns).await.len(), 1);
}

#[tokio::test]
async fn less_than_the_quorum_does_not_replace_what_met_it_until_it_is_old() {
    let world = World::new(2);
    let ledger = world.open();
    let cosigning = world.cosigning(&ledger, Some(world.policy(2)));
    let first = published(&ledger).await;
    cosigning.round().await;
    assert_eq!(world.cosigned(), (first, Quorum::Met, 2));
    *world.neighbours[0].mood.lock() = Mood::Silent;
    world.append(&ledger).await;
    let second = published(&ledger).await;
    cosigning.round().await;
    assert_eq!(world.cosigned(), (first, Quorum::Met, 2));
    let newest =
        Checkpoint::open_cosigned(&world.read("checkpoint"), &world.key, &world.witness_keys());
    assert_eq!(newest.unwrap().cosignatures.len(), 2, "both keys of the one that answered");
    world.later(61);
    world.append(&ledger).await;
    let third = published(&ledger).await;
    cosigning.round().await;
    assert!(second < third);
    assert_eq!(world.cosigned(), (third, Quorum::NotMet, 1));
}

#[tokio::test]
async fn a_lying_witness_is_told_and_nothing_of_it_is_published() {
    for mood in [Mood::Lying, Mood::Mute] {
        let world = World::new(2);
        *world.neighbours[0].mood.lock() = mood;
        let ledger = world.open();
        let cosigning = world.cosigning(&ledger, None);
        for _ in 0..4 {
            world.append(&ledger).await;
            published(&ledger).await;
            cosigning.round().await;
        }
        let (_, quorum, lines) = world.cosigned();
        assert_eq!((quorum, lines), (Quorum::NotMet, 1));
        let told = events(&ledger, Kind::WitnessRefused).await;
        assert_eq!(told.len(), 1, "an event for each would make the log grow for ever");
        assert!(told[0].contains("false_answer") && told[0].contains("\"w0\""), "{}", told[0]);
        assert_eq!(ledger.witnesses()[0].state, PeerState::Refuses);
        assert!(ledger.metrics().witness_refusals.get() >= 4);
    }
}

/// Two histories of one log: the folder is put back, and goes on otherwise.
async fn forked(world: &World) -> (PathBuf, u64) {
    let ledger = world.open();
    published(&ledger).await;
    ledger.close("before").unwrap();
    drop(ledger);
    let older = world.folder.path().join("older");
    copy_folder(&world.data(), &older);

    let ledger = world.open();
    let cosigning = world.cosigning(&ledger, None);
    world.append(&ledger).await;
    let size = published(&ledger).await;
    cosigning.round().await;
    ledger.close("seen by the witnesses").unwrap();
    (older, size)
}

fn put_back(world: &World, older: &Path) {
    std::fs::remove_dir_all(world.data()).unwrap();
    copy_folder(older, &world.data());
}

#[tokio::test]
async fn a_restored_folder_is_refused_because_of_a_witness() {
    for mood in [Mood::Honest, Mood::Shy] {
        let world = World::new(2);
        let (older, known) = forked(&world).await;
        put_back(&world, &older);
        *world.neighbours[0].mood.lock() = mood;
        *world.neighbours[1].mood.lock() = Mood::Silent;
        let wait = Duration::from_secs(5);
        let witnessed = ask_witnesses(&world.data(), &world.peers(), wait).await.unwrap();
        assert_eq!(witnessed.len(), 1);
        let options = world.options_with(witnessed);
        match Ledger::open(options).map(|_| ()) {
            Err(error @ LedgerError::Behind { known: at, .. }) if at == known => {
                let hint = error.hint().unwrap();
                assert!(hint.contains("new-epoch") && hint.contains("the witness w0"), "{hint}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_folder_with_another_history_is_refused_and_a_new_epoch_goes_on() {
    let world = World::new(1);
    let (older, known) = forked(&world).await;
    put_back(&world, &older);
    // Without a word from the witness the folder opens, and grows beyond what was seen.
    let ledger = world.open();
    while ledger.size() <= known + 2 {
        world.append(&ledger).await;
    }
    published(&ledger).await;
    let cosigning = world.cosigning(&ledger, None);
    cosigning.round().await;
    cosigning.round().await;
    // The witness refuses; nothing else stops; it is told once, and the evidence is kept.
    let told = events(&ledger, Kind::WitnessRefused).await;
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("\"fork\"") && told[0].contains("422"), "{}", told[0]);
    assert!(world.neighbours[0].witness.remembers()[0].evidence >= 1);
    world.append(&ledger).await;
    ledger.close("test").unwrap();
    drop((cosigning, ledger));

    let wait = Duration::from_secs(5);
    let witnessed = ask_witnesses(&world.data(), &world.peers(), wait).await.unwrap();
    let options = world.options_with(witnessed.clone());
    match Ledger::open(options).map(|_| ()) {
        Err(LedgerError::Forked { known: at, .. }) => assert_eq!(at, known),
        other => panic!("{other:?}"),
    }
    new_epoch(world.options(), None, "restored").await.unwrap();
    let options = world.options_with(witnessed);
    Ledger::open(options).unwrap().close("test").unwrap();
}

#[tokio::test]
async fn a_witness_follows_a_new_key_while_both_sign_and_is_told_it_before_the_old_one_goes() {
    let mut world = World::new(1);
    let ledger = world.open();
    published(&ledger).await;
    world.cosigning(&ledger, None).round().await;
    let before = world.cosigned().0;
    ledger.close("test").unwrap();
    drop(ledger);
    let new = rotate_key(world.options(), None, "yearly").await.unwrap();
    let new = VerifierKey::parse(&new).unwrap();

    // It still has the old key alone: what it is asked about at a start, and what it is sent.
    let wait = Duration::from_secs(5);
    let witnessed = ask_witnesses(&world.data(), &world.peers(), wait).await.unwrap();
    assert_eq!(witnessed.len(), 1);
    let ledger = Arc::new(Ledger::open(world.options_with(witnessed)).unwrap());
    let size = published(&ledger).await;
    world.cosigning(&ledger, None).round().await;
    let (cosigned, quorum, _) = world.cosigned();
    assert!(cosigned > before && cosigned == size && quorum == Quorum::Met);
    let note = world.read("cosigned");
    assert!([&world.key, &new].iter().all(|key| Checkpoint::open(&note, key).is_ok()));
    ledger.close("test").unwrap();
    drop(ledger);

    // Too early: it refuses, loudly, and its evidence is none.
    retire_key(&world.data()).unwrap();
    let ledger = world.open();
    published(&ledger).await;
    let cosigning = world.cosigning(&ledger, None);
    cosigning.round().await;
    let told = events(&ledger, Kind::WitnessRefused).await;
    assert!(told.len() == 1 && told[0].contains("\"signature\""), "{told:?}");
    drop(cosigning);
    // Once it has the new key it goes on from what it remembers.
    world.neighbours.clear();
    let both = [world.key.clone(), new.clone()];
    world.neighbours.push(world.neighbour("w0", &both));
    let size = published(&ledger).await;
    world.cosigning(&ledger, None).round().await;
    let note = SignedNote::parse(&world.read("cosigned")).unwrap();
    let opened = Checkpoint::verify_note(&note, &new, &world.witness_keys()).unwrap();
    assert_eq!((opened.checkpoint.size(), opened.cosignatures.len()), (size, 2));
    ledger.close("test").unwrap();
}

#[tokio::test]
async fn a_witness_that_shows_what_the_log_never_signed_binds_nobody() {
    let world = World::new(1);
    let other = World::new(0);
    let stranger = other.open();
    published(&stranger).await;
    // Another log's checkpoint, as if it were ours.
    struct Wrong(Vec<u8>);
    #[async_trait]
    impl AskWitness for Wrong {
        async fn add_checkpoint(&self, _body: String) -> Result<Answer, String> {
            Ok(Answer { status: 409, is_size: false, body: b"99999\n".to_vec() })
        }
        async fn latest(&self, _origin: &str) -> Result<Option<Vec<u8>>, String> {
            Ok(Some(self.0.clone()))
        }
    }
    let wrong = Wrong(other.read("checkpoint"));
    let peer = WitnessPeer { ask: Arc::new(wrong), ..world.peers().remove(0) };
    let wait = Duration::from_secs(5);
    assert!(ask_witnesses(&world.data(), &[peer], wait).await.unwrap().is_empty());
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
