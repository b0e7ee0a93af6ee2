//! Seeded runs of a ledger over a disk that fails: full for a while, a failed sync, a process that
//! is killed, a machine that loses its power with any subset of the unsynced sectors written.
//!
//! After each life everything that was acknowledged is there, no checkpoint that was ever seen is
//! contradicted, and the log verifies. `LOGGIA_SEEDS=5000` runs more of them; a failing seed is
//! named, and `LOGGIA_SEED=N` runs it alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

use loggia_ledger::{Disk, Ledger, LedgerOptions, LogName, Touch, init};
use loggia_model::catalogue::Kind;
use loggia_model::id::{ActorId, PersonId};
use loggia_model::port::{Append, AppendError, OnDisk, ReadLog};
use loggia_model::{Clock, Entropy, LeafHash, Mint};
use loggia_tlog::merkle::root_of;
use loggia_tlog::{Checkpoint, Hash, VerifierKey};
use loggia_verify::folder::LogFolder;
use loggia_verify::log::{Options, Trust, verify_folder};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Few by default, for time; each takes a seventh of a second.
const SEEDS: u64 = 60;
/// Lives of one ledger, each ended by a crash.
const LIVES: usize = 4;
const SECTOR_BYTES: usize = 512;

/// xorshift64* (Marsaglia 2003, Vigna 2014).
struct Random(AtomicU64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.load(Ordering::Relaxed);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.store(state, Ordering::Relaxed);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }
}

struct Hand {
    now_us: AtomicI64,
    random: Random,
}

impl Clock for Hand {
    fn now_us(&self) -> i64 {
        self.now_us.fetch_add(11, Ordering::Relaxed)
    }
}

impl Entropy for Hand {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.iter_mut().for_each(|byte| *byte = self.random.next() as u8);
    }
}

/// What a life ends with, and what troubles it before.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The process is killed: what was written stands.
    Kill,
    /// The machine loses its power: of what was not synced, any sectors.
    Power,
    /// A sync fails: the process must not go on.
    Sync,
    /// The disk is full for a while, then the process is killed.
    Full,
}

/// A disk with a fault at a certain touch.
struct Faulty {
    fault: Fault,
    at: u64,
    touches: AtomicU64,
    dead: std::sync::atomic::AtomicBool,
    /// Contents of the write-ahead log's files as they were last synced.
    synced: Mutex<HashMap<PathBuf, Vec<u8>>>,
}

impl Faulty {
    fn touch(&self, touch: Touch, path: &Path) -> io::Result<()> {
        let error = || Err(io::Error::other("the machine is gone"));
        if self.dead.load(Ordering::Relaxed) {
            return error();
        }
        let number = self.touches.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::Kill | Fault::Power if number >= self.at => {
                self.dead.store(true, Ordering::Relaxed);
                return error();
            }
            Fault::Sync if number >= self.at && touch == Touch::Sync => {
                self.dead.store(true, Ordering::Relaxed);
                return error();
            }
            Fault::Full
                if (self.at..self.at + 12).contains(&number)
                    && matches!(touch, Touch::Write | Touch::Rename) =>
            {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            Fault::Full if number > self.at + 60 => {
                self.dead.store(true, Ordering::Relaxed);
                return error();
            }
            _ => {}
        }
        if path.extension().is_some_and(|end| end == "wal") {
            self.remember(touch, path);
        }
        Ok(())
    }

    /// What is durable of a file of the write-ahead log: all of it when it is synced, and when it is
    /// first written to, because it was made or used before and synced then.
    fn remember(&self, touch: Touch, path: &Path) {
        let mut synced = self.synced.lock();
        match touch {
            Touch::Rename | Touch::Remove => drop(synced.remove(path)),
            Touch::WriteAt if synced.contains_key(path) => {}
            Touch::WriteAt | Touch::Sync => {
                if let Ok(bytes) = std::fs::read(path) {
                    synced.insert(path.to_owned(), bytes);
                }
            }
            Touch::Write => {}
        }
    }

    /// Any subset of the sectors that were written and not synced is lost.
    fn lose_power(&self, random: &Random) {
        for (path, synced) in self.synced.lock().iter() {
            let Ok(mut now) = std::fs::read(path) else { continue };
            let sectors = now.chunks_mut(SECTOR_BYTES).zip(synced.chunks(SECTOR_BYTES));
            for (now, synced) in sectors.filter(|(now, synced)| now != synced) {
                if now.len() == synced.len() && random.below(2) == 0 {
                    now.copy_from_slice(synced);
                }
            }
            std::fs::write(path, now).unwrap();
        }
    }
}

struct World {
    folder: tempfile::TempDir,
    mint: Mint,
    random: Arc<Hand>,
    key: VerifierKey,
    /// Entries whose durability was acknowledged.
    acknowledged: HashMap<u64, LeafHash>,
    /// Checkpoints that were seen.
    seen: Vec<Checkpoint>,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = Arc::new(Hand {
            now_us: AtomicI64::new(1_790_000_000_000_000),
            random: Random::new(seed),
        });
        let mint = Mint::new(Arc::clone(&random) as _, Arc::clone(&random) as _);
        let folder = tempfile::tempdir().unwrap();
        let vkey = init(&folder.path().join("data"), &LogName::default(), &mint).unwrap();
        let key = VerifierKey::parse(&vkey).unwrap();
        Self { folder, mint, random, key, acknowledged: HashMap::new(), seen: Vec::new() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn options(&self, disk: Disk) -> LedgerOptions {
        let mut options = LedgerOptions::new(self.data(), self.mint.clone());
        options.segment_bytes = 256 << 10;
        options.checkpoint_interval = Duration::from_millis(2);
        options.checkpoint_copy = Some(self.folder.path().join("copy/checkpoint"));
        options.fatal = Arc::new(|_| {});
        options.disk = disk;
        options
    }

    /// One life, until its fault.
    async fn live(&mut self) {
        let random = &self.random.random;
        let fault = [Fault::Kill, Fault::Power, Fault::Sync, Fault::Full][random.below(4) as usize];
        let disk = Arc::new(Faulty {
            fault,
            at: 5 + random.below(120),
            touches: AtomicU64::new(0),
            dead: std::sync::atomic::AtomicBool::new(false),
            synced: Mutex::default(),
        });
        let hook = Arc::clone(&disk);
        let disk_of_ledger = Disk::with_hook(Arc::new(move |touch, path| hook.touch(touch, path)));
        // A fault may come before it is open: then nothing is acknowledged.
        if let Ok(ledger) = Ledger::open(self.options(disk_of_ledger)) {
            self.write(&ledger, &disk).await;
        }
        disk.dead.store(true, Ordering::Relaxed);
        if fault == Fault::Power {
            disk.lose_power(&self.random.random);
        }
    }

    async fn write(&mut self, ledger: &Ledger, disk: &Faulty) {
        for number in 0..400_u64 {
            if disk.dead.load(Ordering::Relaxed) {
                break;
            }
            self.look();
            match self.append(ledger).await {
                Some(Ok(place)) => {
                    let known = self.acknowledged.insert(place.index, place.leaf_hash);
                    assert!(known.is_none(), "index {} was given twice", place.index);
                }
                Some(Err(AppendError::Paused(_))) => {
                    let wait = Duration::from_millis(20);
                    ledger.resumed(wait).await;
                }
                Some(Err(_)) => break,
                // No answer in time: unknown, as for a client that was cut off.
                None => {}
            }
            if number % 64 == 63 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        self.look();
    }

    async fn append(&self, ledger: &Ledger) -> Option<Result<OnDisk, AppendError>> {
        let (ms, random) = self.mint.id_parts();
        let actor = ActorId::Person(PersonId::from_parts(ms, random));
        let draft = self.mint.draft(Kind::AuditRead).actor(actor);
        let text = "q".repeat(self.random.random.below(700) as usize);
        let draft = draft.set("/detail/query", text.as_str()).encode().unwrap();
        let appended = match ledger.append(&[draft]) {
            Ok(appended) => appended,
            Err(error) => return Some(Err(error)),
        };
        let wait = Duration::from_millis(500);
        tokio::time::timeout(wait, ledger.on_disk(&appended)).await.ok()
    }

    /// Remembers the checkpoint that anybody could have read now.
    fn look(&mut self) {
        let path = self.data().join("ledger/e1/log/checkpoint");
        let Ok(bytes) = std::fs::read(path) else { return };
        let checkpoint = Checkpoint::open(&bytes, &self.key).unwrap();
        if self.seen.last() != Some(&checkpoint) {
            self.seen.push(checkpoint);
        }
    }

    /// A sound disk again: everything is held against what was promised.
    fn check(&self) {
        let ledger = Ledger::open(self.options(Disk::default())).unwrap();
        let size = ledger.size();
        for (index, hash) in &self.acknowledged {
            assert!(*index < size, "entry {index} of {size} was acknowledged and is gone");
            let entry = ledger.read(*index, 1).unwrap().remove(0);
            assert_eq!(entry.leaf_hash, *hash, "entry {index} is another");
        }
        ledger.close("checked").unwrap();
        drop(ledger);
        let folder = LogFolder::open(self.data().join("ledger/e1")).unwrap();
        let bytes = folder.checkpoint_bytes().unwrap().unwrap();
        let newest = Checkpoint::open(&bytes, &self.key).unwrap();
        for seen in &self.seen {
            assert!(seen.size() <= newest.size(), "a checkpoint was taken back");
            let root: Hash = root_of(seen.size(), &folder.hash_reader(newest.size())).unwrap();
            assert_eq!(root, seen.root(), "the checkpoint over {} is contradicted", seen.size());
        }
        let trust = Trust { keys: vec![self.key.clone()], ..Trust::default() };
        let options = Options { events: true, recordings: true, threads: 1 };
        let report = verify_folder(&self.data(), &trust, options, &mut |_, _| {}).unwrap();
        assert_eq!(report.verdict().exit_code(), 0, "{report}");
    }
}

/// Whether any checkpoint was seen.
fn run(seed: u64) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut world = World::new(seed);
    for _ in 0..LIVES {
        runtime.block_on(world.live());
    }
    world.check();
    !world.seen.is_empty()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_the_disk_does_nothing_acknowledged_is_lost_or_contradicted() {
    let seeds = match setting("LOGGIA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("LOGGIA_SEEDS").unwrap_or(SEEDS),
    };
    let (mut all, mut published) = (0, 0);
    for seed in seeds {
        let seen = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("LOGGIA_SEED={seed} fails");
            std::panic::resume_unwind(panic)
        });
        all += 1;
        published += u64::from(seen);
    }
    assert!(published * 2 >= all, "only {published} of {all} runs came as far as a checkpoint");
}
