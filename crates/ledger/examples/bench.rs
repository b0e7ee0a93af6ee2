//! Measures the ledger: durable appends, appends to the page cache, verification, hashing.
//!
//! `cargo xtask bench ledger` runs it and prints a table; by itself it prints one JSON object a
//! line. With `--quick` each figure is measured once and for less time. Everything lies in a
//! folder of the system's temporary folder (`TMPDIR`), whose disk is what is measured.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a program for measuring"
)]

use loggia_ledger::{
    Answer, AskWitness, CosignLimits, Cosigning, Disk, Ledger, LedgerOptions, LogName, NotCosigned,
    Witness, WitnessOptions, WitnessPeer, init,
};
use loggia_model::catalogue::Kind;
use loggia_model::event::{Role, SessionSlot};
use loggia_model::id::{ActorId, EventId, NodeId, PersonId, SessionId};
use loggia_model::port::{Append, AppendError, Appended, ReadLog};
use loggia_model::{Clock, Draft, Entropy, LeafHash, Mint};
use loggia_tlog::hash::Hash;
use loggia_tlog::merkle::CompactRange;
use loggia_tlog::note::VerifierKey;
use loggia_tlog::witness::Refusal;
use loggia_verify::{Options, Trust, Verdict, verify_folder};
use serde_json::json;
use std::collections::VecDeque;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The machine's clock and randomness, as the server takes them.
struct Machine;

impl Clock for Machine {
    fn now_us(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
    }
}

impl Entropy for Machine {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).unwrap();
    }
}

fn mint() -> Mint {
    Mint::new(Arc::new(Machine), Arc::new(Machine))
}

/// What is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// The smallest event: no session, nothing sealed; about 256 bytes.
    Small,
    /// A statement in a session, with its sealed text and the disclosure; about 1 KiB.
    Statement,
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Self::Small => "256 B",
            Self::Statement => "1 KiB",
        }
    }
}

/// Where one writer's events come from.
struct Source {
    mint: Mint,
    size: Size,
    actor: ActorId,
    session: SessionId,
    start: EventId,
    text: String,
}

impl Source {
    /// For a statement, also opens the session that it belongs to.
    fn new(ledger: &Ledger, size: Size) -> Self {
        let mint = mint();
        let (ms, random) = mint.id_parts();
        let mut source = Self {
            actor: match size {
                Size::Small => ActorId::Node(NodeId::from_parts(ms, random)),
                Size::Statement => ActorId::Person(PersonId::from_parts(ms, random)),
            },
            session: SessionId::from_parts(ms, random),
            start: EventId::from_parts(ms, random),
            text: format!("update accounts set note = '{}' where id = 1", "x".repeat(200)),
            size,
            mint,
        };
        if size == Size::Statement {
            let slot = SessionSlot { id: source.session, context: None, role: Role::Start };
            let draft = source.mint.draft(Kind::SessionStart).actor(source.actor).session(slot);
            source.start = draft.id();
            append_waiting(ledger, &[draft.encode().unwrap()]);
        }
        source
    }

    fn next(&self) -> Draft {
        let draft = match self.size {
            Size::Small => self.mint.draft(Kind::NodeHeartbeat).actor(self.actor),
            Size::Statement => {
                let slot =
                    SessionSlot { id: self.session, context: Some(self.start), role: Role::Member };
                let draft = self.mint.draft(Kind::SqlStatement).actor(self.actor).session(slot);
                draft.set("/detail/text", self.text.as_str())
            }
        };
        draft.encode().unwrap()
    }
}

/// A ledger in a folder of its own.
struct World {
    // Before the folder: it is closed first.
    ledger: Arc<Ledger>,
    vkey: String,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let vkey = init(&data, &LogName::default(), &mint()).unwrap();
        let mut options = LedgerOptions::new(&data, mint());
        options.checkpoint_copy = Some(folder.path().join("copy/checkpoint"));
        let ledger = Arc::new(Ledger::open(options).unwrap());
        Self { ledger, vkey, folder }
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Mean bytes of an entry in the write-ahead log, over the newest ones.
    fn entry_bytes(&self) -> u64 {
        let size = self.ledger.size();
        let newest = self.ledger.read(size.saturating_sub(100), 100).unwrap();
        let bytes = newest.iter().map(|entry| entry.leaf.len() + entry.disclosure.len());
        (bytes.sum::<usize>() / newest.len().max(1)) as u64
    }
}

/// A figure and what is worth knowing about it.
#[derive(Debug, Clone)]
struct Figure {
    value: f64,
    note: String,
}

fn percentile_ms(sorted_us: &[u64], of_hundred: usize) -> f64 {
    let place = sorted_us.len() * of_hundred / 100;
    sorted_us.get(place.min(sorted_us.len() - 1)).map_or(0.0, |us| *us as f64 / 1e3)
}

/// Appends, waiting while the ledger is paused: room for the ends of many sessions takes a moment.
fn append_waiting(ledger: &Ledger, drafts: &[Draft]) {
    let started = Instant::now();
    while let Err(error) = ledger.append(drafts) {
        assert!(matches!(error, AppendError::Paused(_)), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30), "paused for 30 s: {error}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Appends one event, waiting while the ledger is paused.
async fn append(ledger: &Ledger, draft: Draft) -> Appended {
    let drafts = [draft];
    loop {
        match ledger.append(&drafts) {
            Ok(appended) => return appended,
            Err(AppendError::Paused(_)) => {
                assert!(ledger.resumed(Duration::from_secs(30)).await, "paused for 30 s");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Events a second that `outstanding` tasks append, each waiting for the disk before its next.
fn durable(size: Size, outstanding: usize, time: Duration) -> Figure {
    let world = World::new();
    let ledger = Arc::clone(&world.ledger);
    let sources: Vec<Source> = (0..outstanding).map(|_| Source::new(&ledger, size)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let syncs_before = ledger.metrics().syncs.get();
    let started = Instant::now();
    let mut waits_us: Vec<u64> = runtime.block_on(async {
        let task = |source: Source| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                let mut waits_us = Vec::new();
                while started.elapsed() < time {
                    let asked = Instant::now();
                    let appended = append(&ledger, source.next()).await;
                    ledger.on_disk(&appended).await.unwrap();
                    waits_us.push(asked.elapsed().as_micros() as u64);
                }
                waits_us
            })
        };
        let tasks: Vec<_> = sources.into_iter().map(task).collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all
    });
    let rate = waits_us.len() as f64 / started.elapsed().as_secs_f64();
    waits_us.sort_unstable();
    let note = format!(
        "p50 {:.1} ms, p99 {:.1} ms, {} syncs, {} pauses, {} B an entry",
        percentile_ms(&waits_us, 50),
        percentile_ms(&waits_us, 99),
        ledger.metrics().syncs.get() - syncs_before,
        ledger.metrics().paused.get(),
        world.entry_bytes(),
    );
    Figure { value: rate, note }
}

/// Events a second that threads append to the page cache, without waiting for the disk.
fn kernel(size: Size, threads: usize, time: Duration) -> Figure {
    let world = World::new();
    let ledger = Arc::clone(&world.ledger);
    let started = Instant::now();
    let count: u64 = std::thread::scope(|scope| {
        let append_all = |source: Source| {
            let mut count = 0;
            while started.elapsed() < time {
                let draft = source.next();
                while let Err(error) = ledger.append(std::slice::from_ref(&draft)) {
                    assert!(matches!(error, AppendError::Paused(_)), "{error}");
                    std::thread::sleep(Duration::from_millis(1));
                }
                count += 1;
            }
            count
        };
        let all: Vec<_> = (0..threads)
            .map(|_| {
                let source = Source::new(&ledger, size);
                scope.spawn(move || append_all(source))
            })
            .collect();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let rate = count as f64 / started.elapsed().as_secs_f64();
    let lag_ms = ledger.metrics().take_lag_us_max() as f64 / 1e3;
    let note = format!(
        "sync lag at most {lag_ms:.1} ms, {} syncs, {} pauses",
        ledger.metrics().syncs.get(),
        ledger.metrics().paused.get()
    );
    Figure { value: rate, note }
}

/// Writes of 4 KiB with fdatasync a second, without a ledger: what the disk itself gives.
fn disk_alone(time: Duration) -> Figure {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("probe")).unwrap();
    file.write_all_at(&vec![0; 16 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let block = [7; 4_096];
    let started = Instant::now();
    let mut waits_us = Vec::new();
    while started.elapsed() < time {
        let asked = Instant::now();
        let place = (waits_us.len() as u64 * 4_096) % (16 << 20);
        file.write_all_at(&block, place).unwrap();
        file.sync_data().unwrap();
        waits_us.push(asked.elapsed().as_micros() as u64);
    }
    let value = waits_us.len() as f64 / started.elapsed().as_secs_f64();
    waits_us.sort_unstable();
    let (p50, p99) = (percentile_ms(&waits_us, 50), percentile_ms(&waits_us, 99));
    Figure { value, note: format!("p50 {p50:.1} ms, p99 {p99:.1} ms") }
}

/// A closed log of `entries` statements, for verification.
fn written_log(entries: usize) -> World {
    let world = World::new();
    let source = Source::new(&world.ledger, Size::Statement);
    let mut left = entries;
    while left > 0 {
        let batch: Vec<Draft> = (0..left.min(512)).map(|_| source.next()).collect();
        match world.ledger.append(&batch) {
            Ok(_) => left -= batch.len(),
            Err(AppendError::Paused(_)) => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => panic!("{error}"),
        }
    }
    world.ledger.close("measured").unwrap();
    world
}

/// A witness in this process, with a folder of its own.
struct Neighbour(Arc<Witness>);

#[async_trait::async_trait]
impl AskWitness for Neighbour {
    async fn add_checkpoint(&self, body: String) -> Result<Answer, String> {
        let witness = Arc::clone(&self.0);
        let judged = tokio::task::spawn_blocking(move || witness.add_checkpoint(body.as_bytes()));
        let answer = |status, body: String| Answer {
            status,
            is_size: status == 409,
            body: body.into_bytes(),
        };
        Ok(match judged.await.unwrap() {
            Ok(lines) => answer(200, loggia_tlog::cosignature::format_lines(&lines)),
            Err(NotCosigned::Refused(Refusal::OldSize { seen })) => {
                answer(409, format!("{seen}\n"))
            }
            Err(error) => answer(error.status(), String::new()),
        })
    }

    async fn latest(&self, _origin: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

/// Milliseconds from an append until all of three witnesses have cosigned a checkpoint over it, at
/// p99. The witnesses sign with both their keys and store each checkpoint durably.
fn cosigned_lag(time: Duration) -> Figure {
    let world = World::new();
    let log = VerifierKey::parse(&world.vkey).unwrap();
    let mut peers = Vec::new();
    for number in 0..3 {
        let dir = world.folder.path().join(format!("witness-{number}"));
        Witness::create(&dir, &format!("witness.example/w{number}"), &mint()).unwrap();
        let witness = Witness::open(WitnessOptions {
            dir,
            logs: vec![log.clone()],
            mint: mint(),
            disk: Disk::default(),
            fatal: Arc::new(|why| panic!("{why}")),
        });
        let witness = Arc::new(witness.unwrap());
        let keys = witness.keys().cloned().collect();
        let ask = Arc::new(Neighbour(witness));
        peers.push(WitnessPeer { name: format!("w{number}"), keys, ask });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut waits_us = runtime.block_on(async {
        let ledger = Arc::clone(&world.ledger);
        let limits = CosignLimits::default();
        let cosigning = Cosigning::new(Arc::clone(&ledger), mint(), peers, None, limits).unwrap();
        let rounds = tokio::spawn(async move { cosigning.run().await });
        let source = Source::new(&ledger, Size::Statement);
        let (started, mut waiting, mut waits_us) = (Instant::now(), VecDeque::new(), Vec::new());
        // A hundred a second; nothing is asked for after the end, and what was is waited for.
        while started.elapsed() < time || !waiting.is_empty() {
            if started.elapsed() < time {
                let appended = append(&ledger, source.next()).await;
                let place = ledger.on_disk(&appended).await.unwrap();
                waiting.push_back((place.index, Instant::now()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            let cosigned = ledger.metrics().cosigned_size.get() as u64;
            while let Some((_, asked)) = waiting.pop_front_if(|(index, _)| *index < cosigned) {
                waits_us.push(asked.elapsed().as_micros() as u64);
            }
        }
        rounds.abort();
        waits_us
    });
    waits_us.sort_unstable();
    let (p50, p99) = (percentile_ms(&waits_us, 50), percentile_ms(&waits_us, 99));
    let syncs = world.ledger.metrics().syncs.get();
    let note = format!("p50 {p50:.0} ms, {} events, {syncs} syncs of the ledger", waits_us.len());
    Figure { value: p99, note }
}

/// Entries a second that one thread verifies.
fn verified(world: &World, events: bool) -> Figure {
    let trust = Trust { keys: vec![VerifierKey::parse(&world.vkey).unwrap()], ..Trust::default() };
    let started = Instant::now();
    let options = Options { events, recordings: false, threads: 1 };
    let report = verify_folder(&world.data(), &trust, options, &mut |_, _| {}).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    // The session of the measured log is open in its latest boot, which is no finding.
    assert_eq!(report.verdict(), Verdict::Intact, "{report}");
    let size = report.epochs.first().unwrap().size;
    let note = format!("{size} entries of {} B, one thread", world.entry_bytes());
    Figure { value: size as f64 / seconds, note }
}

/// Leaf hashes a second over 256 bytes, with and without the Merkle tree on top.
fn hashed(tree: bool, time: Duration) -> Figure {
    let mut entry = [7_u8; 256];
    let mut range = CompactRange::new();
    let mut count = 0_u64;
    let started = Instant::now();
    while started.elapsed() < time {
        for _ in 0..1_024 {
            entry[..8].copy_from_slice(&count.to_be_bytes());
            let hash = LeafHash::of(std::hint::black_box(&entry));
            if tree {
                range.append(Hash(hash.0));
            } else {
                std::hint::black_box(hash);
            }
            count += 1;
        }
    }
    std::hint::black_box(range.root());
    Figure { value: count as f64 / started.elapsed().as_secs_f64(), note: "one thread".into() }
}

/// One figure to be measured, and what it is held against.
struct Row {
    name: String,
    unit: &'static str,
    depth: Option<&'static str>,
    goal: Option<f64>,
    /// What the disk or the processor gives without a ledger.
    direct: Option<Box<dyn FnMut() -> Figure>>,
    ours: Box<dyn FnMut() -> Figure>,
    /// Whether the goal is a share of `direct` rather than a figure of its own.
    goal_is_ratio: bool,
    /// Whether less is better.
    at_most: bool,
}

impl Row {
    fn new(
        name: impl Into<String>,
        unit: &'static str,
        ours: impl FnMut() -> Figure + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            depth: None,
            goal: None,
            direct: None,
            ours: Box::new(ours),
            goal_is_ratio: false,
            at_most: false,
        }
    }

    /// Measures the sides in turn, `rounds` times, and prints the medians.
    fn measure(mut self, rounds: usize) {
        let (mut ours, mut direct) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            direct.extend(self.direct.as_mut().map(|measure| measure()));
            ours.push((self.ours)());
        }
        let ours = median(ours).unwrap();
        let direct = median(direct);
        let ratio = direct.as_ref().map(|direct| ours.value / direct.value);
        let held = if self.goal_is_ratio { ratio } else { Some(ours.value) };
        let holds = |(goal, held)| if self.at_most { held <= goal } else { held >= goal };
        let holds = self.goal.zip(held).map(holds);
        let line = json!({
            "name": self.name,
            "unit": self.unit,
            "ours": ours.value,
            "direct": direct.as_ref().map(|direct| direct.value),
            "peer": null,
            "peer_name": null,
            "depth": self.depth,
            "ratio": ratio,
            "goal": self.goal,
            "goal_is": match (self.goal_is_ratio, self.at_most) {
                (true, _) => "ratio",
                (false, true) => "at_most",
                (false, false) => "figure",
            },
            "holds": holds,
            "note": ours.note,
        });
        println!("{line}");
    }
}

/// The figure in the middle.
fn median(mut figures: Vec<Figure>) -> Option<Figure> {
    figures.sort_by(|one, other| one.value.total_cmp(&other.value));
    figures.get(figures.len() / 2).cloned()
}

fn rows(quick: bool) -> Vec<Row> {
    let time = Duration::from_millis(if quick { 1_000 } else { 4_000 });
    let entries = if quick { 100_000 } else { 500_000 };
    let mut rows = Vec::new();
    for size in [Size::Small, Size::Statement] {
        for outstanding in [1, 64, 1_024, 4_096] {
            let name = format!("durable appends, {}, {outstanding} outstanding", size.name());
            let mut row = Row::new(name, "events/s", move || durable(size, outstanding, time));
            row.depth = Some("disk");
            match (size, outstanding) {
                (_, 1) => row.direct = Some(Box::new(move || disk_alone(time))),
                (Size::Small, 4_096) => row.goal = Some(400_000.0),
                (Size::Statement, 4_096) => row.goal = Some(150_000.0),
                _ => {}
            }
            rows.push(row);
        }
    }
    for threads in [1, 2] {
        let name = format!("appends to the page cache, 1 KiB, {threads} threads");
        let mut row = Row::new(name, "events/s", move || kernel(Size::Statement, threads, time));
        row.depth = Some("kernel");
        rows.push(row);
    }
    let lag = move || cosigned_lag(time * 3);
    let mut row = Row::new("cosigned checkpoint, lag p99, 3 local witnesses", "ms", lag);
    row.depth = Some("disk");
    row.goal = Some(1_500.0);
    row.at_most = true;
    rows.push(row);
    let log = Arc::new(std::sync::OnceLock::new());
    for (name, events) in [("tree alone", false), ("tree, events, disclosures", true)] {
        let log = Arc::clone(&log);
        let ours = move || verified(log.get_or_init(|| written_log(entries)), events);
        let mut row = Row::new(format!("offline verification, {name}"), "entries/s", ours);
        row.goal = (!events).then_some(1_000_000.0);
        rows.push(row);
    }
    let mut row =
        Row::new("leaf hash and Merkle append, 256 B", "entries/s", move || hashed(true, time / 4));
    row.direct = Some(Box::new(move || hashed(false, time / 4)));
    // 2.57 of 3.78 million a second where the format was measured, within 10 %.
    row.goal = Some(0.61);
    row.goal_is_ratio = true;
    rows.push(row);
    rows
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds = if quick { 1 } else { 3 };
    for row in rows(quick) {
        eprintln!("measuring: {}", row.name);
        row.measure(rounds);
    }
}
