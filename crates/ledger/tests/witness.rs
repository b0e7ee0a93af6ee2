//! A witness against forks, rollbacks, races, crashes and full disks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use loggia_ledger::{Disk, NotCosigned, Touch, Witness, WitnessError, WitnessOptions};
use loggia_model::{Clock, Entropy, Mint};
use loggia_tlog::merkle::{CompactRange, HashReader, consistency_proof};
use loggia_tlog::witness::{AddCheckpoint, Refusal, monitor_path};
use loggia_tlog::{
    Checkpoint, Hash, Policy, SignedNote, SigningKey, VerifierKey, leaf_hash, policy::Quorum,
};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const START_S: i64 = 1_790_000_000;

struct Hand {
    now_us: AtomicI64,
    count: AtomicU64,
}

impl Clock for Hand {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::Relaxed)
    }
}

impl Entropy for Hand {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            let next = self.count.fetch_add(1, Ordering::Relaxed);
            *byte = (next.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        }
    }
}

struct World {
    folder: tempfile::TempDir,
    hand: Arc<Hand>,
    mint: Mint,
    keys: Vec<VerifierKey>,
}

impl World {
    fn new() -> Self {
        let hand = Arc::new(Hand {
            now_us: AtomicI64::new(START_S * 1_000_000),
            count: AtomicU64::new(1),
        });
        let mint = Mint::new(Arc::clone(&hand) as _, Arc::clone(&hand) as _);
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("w");
        let keys = Witness::create(&dir, "witness.example/w", &mint).unwrap();
        Self { folder, hand, mint, keys }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("w")
    }

    fn options(&self) -> WitnessOptions {
        WitnessOptions {
            dir: self.dir(),
            logs: vec![log().verifier().clone()],
            mint: self.mint.clone(),
            disk: Disk::default(),
            fatal: Arc::new(|why| panic!("fatal: {why}")),
        }
    }

    fn open(&self) -> Witness {
        Witness::open(self.options()).unwrap()
    }
}

fn log() -> SigningKey {
    SigningKey::from_seed("log.example", &[1; 32]).unwrap()
}

/// A small log; every perfect subtree is computed anew.
struct Tree(Vec<Hash>);

impl Tree {
    fn of(branch: &str, size: u64) -> Self {
        Self((0..size).map(|index| leaf_hash(format!("{branch}{index}").as_bytes())).collect())
    }

    fn note(&self, size: u64) -> SignedNote {
        let mut range = CompactRange::new();
        self.0[..size as usize].iter().for_each(|leaf| range.append(*leaf));
        Checkpoint::new("log.example", size, range.root()).unwrap().sign(&log()).unwrap()
    }

    fn request(&self, old_size: u64, size: u64) -> Vec<u8> {
        let proof = consistency_proof(old_size, size, self).unwrap();
        AddCheckpoint { old_size, proof, checkpoint: self.note(size) }.to_string().into_bytes()
    }
}

impl HashReader for Tree {
    type Error = ();

    fn read(&self, level: u8, index: u64) -> Result<Hash, ()> {
        let mut range = CompactRange::new();
        let (start, end) = ((index << level) as usize, ((index + 1) << level) as usize);
        self.0.get(start..end).ok_or(())?.iter().for_each(|leaf| range.append(*leaf));
        Ok(range.root())
    }
}

fn status(answer: Result<Vec<loggia_tlog::note::Signature>, NotCosigned>) -> u16 {
    match answer {
        Ok(lines) => {
            assert_eq!(lines.len(), 2);
            200
        }
        Err(refused) => refused.status(),
    }
}

fn place() -> String {
    monitor_path("log.example").trim_end_matches("/checkpoint").to_owned()
}

fn evidence(dir: &Path) -> Vec<PathBuf> {
    let folder = dir.join("evidence").join(place());
    std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn keys_are_their_owners_alone_and_never_overwritten() {
    let world = World::new();
    for file in ["ed25519.key", "ml-dsa-44.key"] {
        let path = world.dir().join("keys").join(file);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again = Witness::create(&world.dir(), "witness.example/w", &world.mint);
    assert!(matches!(again, Err(WitnessError::Present(_))));
    assert_eq!(Witness::public_keys(&world.dir()).unwrap(), world.keys);
    let path = world.dir().join("keys/ed25519.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Witness::open(world.options()), Err(WitnessError::KeyOpen(_))));
}

#[test]
fn it_cosigns_a_growing_log_with_both_keys_and_remembers_it() {
    let world = World::new();
    let tree = Tree::of("a", 40);
    let witness = world.open();
    let lines = witness.add_checkpoint(&tree.request(0, 5)).unwrap();
    let mut note = tree.note(5);
    lines.into_iter().for_each(|line| note.add(line).unwrap());
    let policy = format!(
        "log {}\nwitness e {}\nwitness m {}\ngroup both all e m\nquorum both\n",
        log().verifier(),
        world.keys[0],
        world.keys[1]
    );
    let (opened, quorum) = Policy::parse(policy.as_bytes()).unwrap().open(&note).unwrap();
    assert_eq!(quorum, Quorum::Met);
    assert!(opened.cosignatures.iter().all(|one| one.time_s == Some(START_S as u64)));
    assert_eq!(witness.latest(&place()), Some(note.to_string()));
    assert_eq!(witness.latest("0"), None);

    assert!(matches!(Witness::open(world.options()), Err(WitnessError::Locked(_))));
    drop(witness);
    let witness = world.open();
    assert_eq!(witness.latest(&place()), Some(note.to_string()));
    // Its clock went backwards meanwhile; its cosignatures do not.
    world.hand.now_us.store((START_S - 100) * 1_000_000, Ordering::Relaxed);
    let lines = witness.add_checkpoint(&tree.request(5, 40)).unwrap();
    assert_eq!(lines[0].bytes()[..8], (START_S as u64).to_be_bytes());
    assert_eq!(witness.remembers()[0].size, Some(40));
}

#[test]
fn a_log_that_is_behind_or_does_not_know_is_told_the_size() {
    let world = World::new();
    let tree = Tree::of("a", 40);
    let witness = world.open();
    witness.add_checkpoint(&tree.request(0, 20)).unwrap();
    for (old, size) in [(0, 40), (10, 40), (0, 10), (10, 10)] {
        match witness.add_checkpoint(&tree.request(old, size)) {
            Err(NotCosigned::Refused(Refusal::OldSize { seen: 20 })) => {}
            other => panic!("{old} to {size}: {other:?}"),
        }
    }
    assert_eq!(witness.remembers()[0].size, Some(20));
    assert!(evidence(&world.dir()).is_empty());
}

#[test]
fn a_fork_is_refused_and_the_evidence_kept() {
    let world = World::new();
    let (tree, fork) = (Tree::of("a", 40), Tree::of("b", 40));
    let witness = world.open();
    witness.add_checkpoint(&tree.request(0, 20)).unwrap();
    assert_eq!(status(witness.add_checkpoint(&fork.request(20, 40))), 422);
    assert_eq!(status(witness.add_checkpoint(&fork.request(20, 40))), 422);
    // Two trees of one size contradict each other whatever else the request claims.
    assert_eq!(status(witness.add_checkpoint(&fork.request(20, 20))), 422);
    assert_eq!(status(witness.add_checkpoint(&fork.request(0, 20))), 409);
    let kept = evidence(&world.dir());
    assert_eq!(kept.len(), 2, "one for each tree, however often it is sent");
    for folder in kept {
        // Whoever holds the log's key can check both halves.
        let refused = std::fs::read(folder.join("refused")).unwrap();
        let refused = AddCheckpoint::parse(&refused).unwrap();
        let refused = Checkpoint::verify_note(&refused.checkpoint, log().verifier(), &[]).unwrap();
        let seen = std::fs::read(folder.join("seen")).unwrap();
        let seen = Checkpoint::open_cosigned(&seen, log().verifier(), &world.keys).unwrap();
        assert_eq!((seen.checkpoint.size(), seen.cosignatures.len()), (20, 2));
        assert_ne!(seen.checkpoint.root(), refused.checkpoint.root());
    }
    assert_eq!(witness.remembers()[0].evidence, 2);
    // And the genuine log goes on.
    assert_eq!(status(witness.add_checkpoint(&tree.request(20, 40))), 200);
}

#[test]
fn strangers_get_the_codes_of_the_specification() {
    let world = World::new();
    let tree = Tree::of("a", 9);
    let witness = world.open();
    let text = |old: u64, size: u64| String::from_utf8(tree.request(old, size)).unwrap();
    let send = |text: String| status(witness.add_checkpoint(text.as_bytes()));
    assert_eq!(send("garbage".to_owned()), 400);
    assert_eq!(send(text(0, 5).replace("old 0", "old 6")), 400);
    assert_eq!(send(text(0, 5).replace("log.example", "other.example")), 404);
    assert_eq!(send(text(0, 5).replacen("\n5\n", "\n6\n", 1)), 403);
    assert_eq!(send("a".repeat(70_000)), 413);
    assert_eq!(send(text(3, 9).replace("old 3", "old 0")), 422);
    assert_eq!(witness.remembers()[0].size, None);
    assert!(evidence(&world.dir()).is_empty(), "nothing was cosigned that it could contradict");
}

#[test]
fn of_many_that_ask_at_once_each_size_is_cosigned_in_order() {
    let world = World::new();
    let tree = Arc::new(Tree::of("a", 60));
    let witness = Arc::new(world.open());
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (tree, witness) = (Arc::clone(&tree), Arc::clone(&witness));
            std::thread::spawn(move || {
                let (mut old, mut cosigned) = (0, Vec::new());
                for size in (1 + worker..=60).step_by(4) {
                    loop {
                        match witness.add_checkpoint(&tree.request(old, size)) {
                            Ok(_) => {
                                cosigned.push(size);
                                old = size;
                                break;
                            }
                            Err(NotCosigned::Refused(Refusal::OldSize { seen }))
                                if seen <= size =>
                            {
                                old = seen;
                            }
                            Err(NotCosigned::Refused(Refusal::OldSize { .. })) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                cosigned
            })
        })
        .collect();
    let all: Vec<Vec<u64>> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    assert!(all.iter().flatten().any(|size| *size == 60));
    assert_eq!(witness.remembers()[0].size, Some(60), "never rolled back");
}

#[test]
fn what_cannot_be_stored_is_not_cosigned() {
    let world = World::new();
    let tree = Tree::of("a", 40);
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hook = {
        let full = Arc::clone(&full);
        Arc::new(move |touch: Touch, _: &Path| {
            if touch == Touch::Write && full.load(Ordering::Relaxed) {
                return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
            }
            Ok(())
        })
    };
    let options = WitnessOptions { disk: Disk::with_hook(hook), ..world.options() };
    let witness = Witness::open(options).unwrap();
    witness.add_checkpoint(&tree.request(0, 5)).unwrap();
    full.store(true, Ordering::Relaxed);
    assert_eq!(status(witness.add_checkpoint(&tree.request(5, 40))), 503);
    assert_eq!(witness.remembers()[0].size, Some(5));
    full.store(false, Ordering::Relaxed);
    assert_eq!(status(witness.add_checkpoint(&tree.request(5, 40))), 200);
}

#[test]
fn a_failed_sync_is_fatal() {
    let world = World::new();
    let fatal = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&fatal);
    let hook = Arc::new(|touch: Touch, path: &Path| match touch {
        Touch::Sync if path.ends_with("checkpoint.new") => Err(std::io::Error::other("EIO")),
        _ => Ok(()),
    });
    let witness = Witness::open(WitnessOptions {
        disk: Disk::with_hook(hook),
        fatal: Arc::new(move |_| {
            told.fetch_add(1, Ordering::Relaxed);
        }),
        ..world.options()
    });
    let witness = witness.unwrap();
    assert_eq!(status(witness.add_checkpoint(&Tree::of("a", 5).request(0, 5))), 503);
    assert_eq!(fatal.load(Ordering::Relaxed), 1);
}

#[test]
fn a_memory_that_was_altered_or_exchanged_is_refused() {
    let world = World::new();
    let tree = Tree::of("a", 40);
    world.open().add_checkpoint(&tree.request(0, 20)).unwrap();
    let path = world.dir().join("logs").join(place()).join("checkpoint");
    let good = std::fs::read(&path).unwrap();
    // The log's own operator could write any of these: all are signed by the log.
    let own = tree.note(10).to_string().into_bytes();
    let cut = String::from_utf8(good.clone()).unwrap().replacen("\n20\n", "\n10\n", 1);
    for bad in [own, cut.into_bytes(), good[..good.len() - 1].to_vec(), Vec::new()] {
        std::fs::write(&path, &bad).unwrap();
        let opened = Witness::open(world.options());
        let Err(error @ WitnessError::Damaged { .. }) = opened else { panic!("it was let in") };
        assert!(error.hint().unwrap().contains("make a new one"));
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(world.open().remembers()[0].size, Some(20));
}
