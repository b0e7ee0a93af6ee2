//! A second copy: resumed, verified on arrival, and enough to go on from.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod hand;

use hand::Hand;
use loggia_ledger::{
    Disk, FolderSource, Ledger, LedgerOptions, LogName, Mirror, MirrorEntry, MirrorError,
    MirrorSource, Pulled, Touch, init,
};
use loggia_model::Mint;
use loggia_model::catalogue::Kind;
use loggia_model::event::{Role, SessionSlot};
use loggia_model::id::{ActorId, PersonId, SessionId};
use loggia_model::port::{Append, ReadLog};
use loggia_tlog::{SigningKey, VerifierKey};
use loggia_verify::log::{Options, Trust, verify_folder};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

struct World {
    folder: tempfile::TempDir,
    mint: Mint,
    key: VerifierKey,
}

impl World {
    fn new() -> Self {
        let (_, mint) = Hand::new(1);
        let folder = tempfile::tempdir().unwrap();
        let vkey = init(&folder.path().join("data"), &LogName::default(), &mint).unwrap();
        Self { folder, mint, key: VerifierKey::parse(&vkey).unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, name: &str) -> Ledger {
        let mut options = LedgerOptions::new(self.at(name), self.mint.clone());
        options.segment_bytes = 1 << 20;
        options.checkpoint_interval = Duration::from_millis(10);
        options.fatal = Arc::new(|why| panic!("fatal: {why}"));
        Ledger::open(options).unwrap()
    }

    /// Statements in a session of their own, the first with a text too large for a disclosure.
    async fn write(&self, ledger: &Ledger, count: usize) {
        let (ms, random) = self.mint.id_parts();
        let id = SessionId::from_parts(ms, random);
        let actor = ActorId::Person(PersonId::from_parts(ms, random));
        let mut start = None;
        for number in 0..count {
            let role = if number == 0 { Role::Start } else { Role::Member };
            let kind = if number == 0 { Kind::SessionStart } else { Kind::SqlStatement };
            let slot = SessionSlot { id, context: start, role };
            let mut draft = self.mint.draft(kind).actor(actor).session(slot);
            start.get_or_insert(draft.id());
            if number > 0 {
                let text =
                    if number == 1 { "x".repeat(70_000) } else { format!("select {number}") };
                draft = draft.set("/detail/text", text.as_str());
            }
            assert!(ledger.resumed(Duration::from_secs(10)).await);
            let appended = ledger.append(&[draft.encode().unwrap()]).unwrap();
            if number + 1 == count {
                ledger.on_disk(&appended).await.unwrap();
            }
        }
        for _ in 0..2_000 {
            if *ledger.published().borrow() == ledger.size() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nothing is published");
    }

    fn pull(&self, disk: Disk) -> Result<Pulled, MirrorError> {
        let source = FolderSource::new(&self.at("data/ledger/e1")).unwrap();
        self.pull_from(&source, disk)
    }

    fn pull_from(&self, source: &dyn MirrorSource, disk: Disk) -> Result<Pulled, MirrorError> {
        let keys = [self.key.clone()];
        Mirror::open(&self.at("copy"), disk).unwrap().pull(source, &keys)
    }

    /// With the keys of the log, so that what is disclosed is held to it in a copy too.
    fn verify(&self, name: &str) -> (u8, u64, u64) {
        let keys = self.at("data/keys/subjects");
        if name == "copy" && keys.is_dir() {
            copy_folder(&keys, &self.at("copy/keys/subjects"));
        }
        let trust = Trust { keys: vec![self.key.clone()], ..Trust::default() };
        let options = Options { events: true, recordings: true, threads: 1 };
        let report = verify_folder(&self.at(name), &trust, options, &mut |_, _| {}).unwrap();
        // Open sessions and a boot that still runs are no gaps.
        (report.verdict().exit_code(), report.epochs[0].size, report.epochs[0].disclosed.open)
    }
}

/// A source whose entries are changed on the way.
struct Changed<F>(FolderSource, F);

impl<F: Fn(u64, &mut MirrorEntry)> MirrorSource for Changed<F> {
    fn checkpoint(&self) -> Result<Option<Vec<u8>>, String> {
        self.0.checkpoint()
    }
    fn cosigned(&self) -> Result<Option<Vec<u8>>, String> {
        self.0.cosigned()
    }
    fn entries(&self, from: u64, max: usize, size: u64) -> Result<Vec<MirrorEntry>, String> {
        let mut entries = self.0.entries(from, max, size)?;
        (from..).zip(&mut entries).for_each(|(index, entry)| (self.1)(index, entry));
        Ok(entries)
    }
    fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.blob(name)
    }
}

#[tokio::test]
async fn a_copy_follows_a_log_that_grows_and_is_whole_each_time() {
    let world = World::new();
    let ledger = world.open("data");
    let mut before = 0;
    for count in [3, 1, 300, 20, 600] {
        world.write(&ledger, count).await;
        let pulled = world.pull(Disk::default()).unwrap();
        assert_eq!((pulled.from, pulled.blobs_missing), (before, 0));
        assert_eq!(pulled.size, ledger.size());
        let (code, size, open) = world.verify("copy");
        assert_eq!((code, size), (0, pulled.size));
        assert!(open > 0);
        before = pulled.size;
    }
    let again = world.pull(Disk::default()).unwrap();
    assert_eq!((again.from, again.size), (before, before));
    let original = world.verify("data");
    assert_eq!(world.verify("copy"), original);
}

#[tokio::test]
async fn what_arrives_altered_is_refused_and_the_copy_stays_whole() {
    let world = World::new();
    let ledger = world.open("data");
    world.write(&ledger, 40).await;
    world.pull(Disk::default()).unwrap();
    world.write(&ledger, 300).await;
    let source = || FolderSource::new(&world.at("data/ledger/e1")).unwrap();
    let have = world.verify("copy").1;
    let refuse = |change: &dyn Fn(u64, &mut MirrorEntry)| {
        let changed = Changed(source(), |index: u64, entry: &mut MirrorEntry| {
            if index == have + 50 {
                change(index, entry);
            }
        });
        let error = world.pull_from(&changed, Disk::default()).unwrap_err();
        assert_eq!(world.verify("copy").1, have, "{error}");
        assert_eq!(world.verify("copy").0, 0);
        error
    };
    let error = refuse(&|_, (leaf, _)| {
        let at = leaf.len() - 3;
        leaf[at] ^= 1;
    });
    assert!(matches!(error, MirrorError::Forked { .. } | MirrorError::Altered { .. }), "{error}");
    let error = refuse(&|_, (_, disclosure)| {
        // Neither an envelope nor what the leaf commits to.
        *disclosure = Some(b"{\"seed\":\"00\",\"values\":{}}".to_vec());
    });
    assert!(matches!(error, MirrorError::Altered { .. }), "{error}");
    let error = refuse(&|_, (_, disclosure)| disclosure.as_mut().unwrap()[1] = 9);
    assert!(matches!(error, MirrorError::Altered { .. }), "{error}");
    // And a genuine source is taken after all of that.
    world.pull(Disk::default()).unwrap();
    assert_eq!(world.verify("copy"), world.verify("data"));
}

#[tokio::test]
async fn what_is_sealed_is_taken_as_it_comes_and_judged_where_the_keys_are() {
    let world = World::new();
    let ledger = world.open("data");
    world.write(&ledger, 40).await;
    let source = FolderSource::new(&world.at("data/ledger/e1")).unwrap();
    let changed = Changed(source, |index: u64, entry: &mut MirrorEntry| {
        if index == 20 {
            *entry.1.as_mut().unwrap().last_mut().unwrap() ^= 1;
        }
    });
    world.pull_from(&changed, Disk::default()).unwrap();
    assert_eq!(world.verify("copy").0, 10);
    assert_eq!(world.verify("data").0, 0);
}

/// A source that shows nothing of what is disclosed, as a log at an address.
struct Silent(FolderSource);

impl MirrorSource for Silent {
    fn checkpoint(&self) -> Result<Option<Vec<u8>>, String> {
        self.0.checkpoint()
    }
    fn cosigned(&self) -> Result<Option<Vec<u8>>, String> {
        self.0.cosigned()
    }
    fn entries(&self, from: u64, max: usize, size: u64) -> Result<Vec<MirrorEntry>, String> {
        let entries = self.0.entries(from, max, size)?;
        Ok(entries.into_iter().map(|(leaf, _)| (leaf, None)).collect())
    }
    fn discloses(&self) -> bool {
        false
    }
    fn blob(&self, _name: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

#[tokio::test]
async fn a_copy_of_the_log_alone_does_not_say_that_anything_was_taken_away() {
    let world = World::new();
    let ledger = world.open("data");
    for count in [40, 300] {
        world.write(&ledger, count).await;
        let source = Silent(FolderSource::new(&world.at("data/ledger/e1")).unwrap());
        world.pull_from(&source, Disk::default()).unwrap();
        let (code, size, open) = world.verify("copy");
        assert_eq!((code, size, open), (0, ledger.size(), 0));
    }
}

#[tokio::test]
async fn a_cut_a_forked_and_a_foreign_source_are_refused() {
    let world = World::new();
    let ledger = world.open("data");
    world.write(&ledger, 30).await;
    ledger.close("copied").unwrap();
    drop(ledger);
    copy_folder(&world.at("data"), &world.at("older"));
    let ledger = world.open("data");
    world.write(&ledger, 30).await;
    world.pull(Disk::default()).unwrap();
    ledger.close("test").unwrap();
    drop(ledger);

    let older = FolderSource::new(&world.at("older/ledger/e1")).unwrap();
    let cut = world.pull_from(&older, Disk::default()).unwrap_err();
    assert!(matches!(cut, MirrorError::Shrunk { .. }), "{cut}");
    // The older folder goes on otherwise, with the same key.
    let fork = world.open("older");
    world.write(&fork, 200).await;
    let source = FolderSource::new(&world.at("older/ledger/e1")).unwrap();
    let forked = world.pull_from(&source, Disk::default()).unwrap_err();
    assert!(matches!(forked, MirrorError::Forked { .. }), "{forked}");
    let keys = [SigningKey::from_seed("other.example", &[1; 32]).unwrap().verifier().clone()];
    let mirror = Mirror::open(&world.at("copy"), Disk::default()).unwrap();
    let foreign = mirror.pull(&source, &keys).unwrap_err();
    assert!(matches!(foreign, MirrorError::Foreign(_)), "{foreign}");
    assert!(Mirror::open(&world.at("copy"), Disk::default()).is_err(), "two at one copy");
}

#[tokio::test]
async fn a_pull_that_is_cut_off_anywhere_is_taken_up_again() {
    let world = World::new();
    let ledger = world.open("data");
    world.write(&ledger, 20).await;
    world.pull(Disk::default()).unwrap();
    world.write(&ledger, 300).await;
    for last in 0..40_u64 {
        let count = AtomicU64::new(0);
        let cut = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&cut);
        let hook = Arc::new(move |_: Touch, _: &Path| {
            if count.fetch_add(1, Ordering::Relaxed) < last {
                return Ok(());
            }
            told.store(true, Ordering::Relaxed);
            Err(std::io::Error::other("cut off"))
        });
        let keys = [world.key.clone()];
        let source = FolderSource::new(&world.at("data/ledger/e1")).unwrap();
        // Where even the folder cannot be opened, nothing has happened either.
        let pulled = Mirror::open(&world.at("copy"), Disk::with_hook(hook))
            .map_err(MirrorError::Ledger)
            .and_then(|mirror| mirror.pull(&source, &keys));
        assert_eq!(pulled.is_err(), cut.load(Ordering::Relaxed), "touch {last}");
        assert_eq!(world.verify("copy").0, 0, "touch {last}");
    }
    world.pull(Disk::default()).unwrap();
    assert_eq!(world.verify("copy"), world.verify("data"));
}

#[tokio::test]
async fn a_gateway_goes_on_from_a_copy_with_its_keys() {
    let world = World::new();
    let ledger = world.open("data");
    world.write(&ledger, 30).await;
    ledger.close("before the fire").unwrap();
    let size = ledger.size();
    drop(ledger);
    world.pull(Disk::default()).unwrap();
    copy_folder(&world.at("data/keys"), &world.at("copy/keys"));
    std::fs::remove_dir_all(world.at("data")).unwrap();

    let ledger = world.open("copy");
    assert!(ledger.opening().clean);
    world.write(&ledger, 30).await;
    assert!(ledger.size() > size);
    ledger.close("test").unwrap();
    drop(ledger);
    assert_eq!(world.verify("copy").0, 0);
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
