//! The log's key: behind a port that may fail or hang, and changed under a log that goes on. A
//! change of the key is broken off at every touch of the disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod files;
mod hand;

use files::holding;
use hand::Hand;
use loggia_ledger::{
    Disk, KeyElsewhere, KeyStore, Ledger, LedgerError, LedgerOptions, LogName, LogSigner,
    SignError, init, init_with_key, retire_key, rotate_key,
};
use loggia_model::catalogue::Kind;
use loggia_model::id::{ActorId, PersonId};
use loggia_model::port::{Append, ReadLog};
use loggia_model::{Event, Mint};
use loggia_tlog::note::Signature;
use loggia_tlog::{Checkpoint, SignedNote, SigningKey, VerifierKey};
use loggia_verify::log::{Options, Trust, verify_folder};
use loggia_verify::report::{Report, Verdict};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct World {
    folder: tempfile::TempDir,
    mint: Mint,
}

impl World {
    fn new() -> Self {
        let (_, mint) = Hand::new(1);
        Self { folder: tempfile::tempdir().unwrap(), mint }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn init(&self) -> VerifierKey {
        VerifierKey::parse(&init(&self.data(), &LogName::default(), &self.mint).unwrap()).unwrap()
    }

    fn options(&self) -> LedgerOptions {
        let mut options = LedgerOptions::new(self.data(), self.mint.clone());
        options.segment_bytes = 256 << 10;
        options.checkpoint_interval = Duration::from_millis(5);
        options.checkpoint_copy = Some(self.folder.path().join("copy/checkpoint"));
        options.fatal = Arc::new(|why| panic!("fatal: {why}"));
        options
    }

    fn append(&self, ledger: &Ledger) {
        let (ms, random) = self.mint.id_parts();
        let draft = self.mint.draft(Kind::NodeHeartbeat);
        let draft = draft.actor(ActorId::Person(PersonId::from_parts(ms, random)));
        ledger.append(&[draft.encode().unwrap()]).unwrap();
    }

    fn verify(&self, key: &VerifierKey) -> Report {
        let trust = Trust { keys: vec![key.clone()], ..Trust::default() };
        verify_folder(&self.data(), &trust, Options::default(), &mut |_, _| {}).unwrap()
    }

    fn signed_by(&self, keys: &[&VerifierKey]) -> Vec<bool> {
        let note = std::fs::read(self.data().join("ledger/e1/log/checkpoint")).unwrap();
        let signed = |key: &&VerifierKey| Checkpoint::open(&note, key).is_ok();
        keys.iter().map(signed).collect()
    }
}

async fn settle(ledger: &Ledger) {
    let size = ledger.size();
    let mut published = ledger.published();
    let reached = published.wait_for(|published| *published >= size);
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("published").unwrap();
}

/// Closed in good order, and its folder free again.
fn close(ledger: Ledger) {
    ledger.close("test").unwrap();
}

fn kinds(ledger: &Ledger) -> Vec<String> {
    let entries = ledger.read(0, 10_000).unwrap();
    entries.iter().map(|entry| Event::parse(&entry.leaf).unwrap().kind).collect()
}

/// A place for keys that can be out of order.
#[derive(Default)]
struct Vault {
    keys: Mutex<HashMap<String, String>>,
    out_of_order: Arc<Mutex<Option<SignError>>>,
}

struct VaultKey {
    key: SigningKey,
    out_of_order: Arc<Mutex<Option<SignError>>>,
}

impl LogSigner for VaultKey {
    fn verifier(&self) -> &VerifierKey {
        self.key.verifier()
    }

    fn sign(&self, text: &str) -> Result<Signature, SignError> {
        match &*self.out_of_order.lock() {
            Some(error) => Err(error.clone()),
            None => Ok(self.key.sign(text)?),
        }
    }
}

impl Vault {
    fn break_down(&self, how: Option<SignError>) {
        *self.out_of_order.lock() = how;
    }
}

impl KeyStore for Vault {
    fn open(&self, key: &VerifierKey, uri: &str) -> Result<Arc<dyn LogSigner>, SignError> {
        let text = self.keys.lock().get(uri).cloned();
        let text = text.ok_or_else(|| SignError::Refused(format!("{uri} holds no key")))?;
        let found = SigningKey::parse(&text)?;
        assert_eq!(found.verifier(), key);
        Ok(Arc::new(VaultKey { key: found, out_of_order: Arc::clone(&self.out_of_order) }))
    }

    fn open_or_make(&self, name: &str, uri: &str) -> Result<Arc<dyn LogSigner>, SignError> {
        let seed = [self.keys.lock().len() as u8 + 1; 32];
        let key = SigningKey::from_seed(name, &seed)?;
        self.keys.lock().insert(uri.to_owned(), key.private_text().to_string());
        let verifier = key.verifier().clone();
        self.open(&verifier, uri)
    }
}

#[tokio::test]
async fn a_key_that_does_not_sign_stops_checkpoints_and_nothing_else() {
    let world = World::new();
    let vault = Arc::new(Vault::default());
    let to = KeyElsewhere { store: &*vault, uri: "vault:log" };
    let vkey = init_with_key(&world.data(), &LogName::default(), &world.mint, Some(to)).unwrap();
    let key = VerifierKey::parse(&vkey).unwrap();
    let file = std::fs::read_to_string(world.data().join("keys/log-e1.key")).unwrap();
    assert_eq!(file, format!("{vkey}\nvault:log\n"), "no private key in the file");

    let mut options = world.options();
    options.keys = Some(Arc::clone(&vault) as _);
    let ledger = Ledger::open(options).unwrap();
    settle(&ledger).await;
    {
        let how = SignError::Refused("the token is gone".into());
        vault.break_down(Some(how.clone()));
        let before = *ledger.published().borrow();
        let failures = ledger.metrics().signer_failures.get();
        for _ in 0..50 {
            world.append(&ledger);
        }
        // Tried again and again.
        while ledger.metrics().signer_failures.get() < failures + 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(*ledger.published().borrow(), before);
        assert!(ledger.readiness().is_ok(), "events are taken");
        let (_, why) = ledger.unpublished().unwrap();
        assert!(why.contains(&how.to_string()), "{why}");
        assert_eq!(kinds(&ledger).iter().filter(|kind| *kind == "signer.failed").count(), 1);
        vault.break_down(None);
        settle(&ledger).await;
        while !kinds(&ledger).iter().any(|kind| kind == "signer.restored") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        settle(&ledger).await;
        assert!(ledger.unpublished().is_none());
    }
    close(ledger);
    let report = world.verify(&key);
    assert_eq!(report.verdict(), Verdict::Intact, "{report}");

    // At a start it is refused, with what to look at; nothing is written then.
    vault.break_down(Some(SignError::Refused("the token is gone".into())));
    let open = |store: Option<Arc<dyn KeyStore>>| {
        let mut options = world.options();
        options.keys = store;
        Ledger::open(options).map(drop).unwrap_err()
    };
    let boot = std::fs::read(world.data().join("ledger/boot")).unwrap();
    let error = open(Some(Arc::clone(&vault) as _));
    assert!(matches!(error, LedgerError::Signer { .. }), "{error}");
    assert!(error.hint().unwrap().contains("log-e1.key"), "{error}");
    let error = open(None);
    assert!(error.to_string().contains("built without the feature"), "{error}");
    assert_eq!(std::fs::read(world.data().join("ledger/boot")).unwrap(), boot);
}

#[tokio::test]
async fn a_log_goes_on_under_a_new_key_and_both_sign_until_the_old_is_retired() {
    let world = World::new();
    let first = world.init();
    let ledger = Ledger::open(world.options()).unwrap();
    world.append(&ledger);
    close(ledger);
    assert!(matches!(retire_key(&world.data()), Err(LedgerError::NothingToRetire)));

    let second = rotate_key(world.options(), None, "yearly").await.unwrap();
    // Who gives a reason wrote something: it is sealed under a key like all that people write.
    assert_eq!(holding(&world.data(), "yearly"), [] as [PathBuf; 0]);
    let second = VerifierKey::parse(&second).unwrap();
    assert_eq!((first.name(), first == second), (second.name(), false));
    assert_eq!(world.signed_by(&[&first, &second]), [true, true]);
    let again = rotate_key(world.options(), None, "too soon").await.unwrap_err();
    assert!(again.hint().unwrap().contains("retire-key"), "{again}");

    let ledger = Ledger::open(world.options()).unwrap();
    assert_eq!(ledger.verification_key(), second.to_string());
    world.append(&ledger);
    settle(&ledger).await;
    assert_eq!(world.signed_by(&[&first, &second]), [true, true]);
    assert!(matches!(retire_key(&world.data()), Err(LedgerError::Locked { .. })));
    close(ledger);

    assert_eq!(retire_key(&world.data()).unwrap(), first.to_string());
    // The write-ahead log still has checkpoints that only the retired key has signed.
    let ledger = Ledger::open(world.options()).unwrap();
    settle(&ledger).await;
    assert_eq!(world.signed_by(&[&first, &second]), [false, true]);
    close(ledger);
    let third = rotate_key(world.options(), None, "yearly").await.unwrap();
    let third = VerifierKey::parse(&third).unwrap();
    assert_eq!(world.signed_by(&[&first, &second, &third]), [false, true, true]);
    for key in [&first, &second, &third] {
        let report = world.verify(key);
        assert_eq!(report.verdict(), Verdict::Intact, "{report}");
        assert_eq!(report.epochs[0].key, third.to_string());
    }
    let own = loggia_ledger::own_log_keys(&world.data()).unwrap();
    assert_eq!(own.len(), 3, "all that its files are signed with");
}

#[tokio::test]
async fn a_log_that_is_older_than_its_keys_is_refused_and_so_is_one_without_its_key() {
    let world = World::new();
    world.init();
    let ledger = Ledger::open(world.options()).unwrap();
    close(ledger);
    let backup = world.folder.path().join("backup");
    copy(&world.data(), &backup);
    let mut options = world.options();
    options.checkpoint_copy = None;
    rotate_key(options, None, "yearly").await.unwrap();

    // An old ledger with the newest keys; the second place of the checkpoint is gone too.
    let mixed = world.folder.path().join("mixed");
    copy(&backup, &mixed);
    copy(&world.data().join("keys"), &mixed.join("keys"));
    let open = |data: &Path| {
        let mut options = world.options();
        options.data = data.to_owned();
        options.checkpoint_copy = None;
        Ledger::open(options).map(drop).unwrap_err()
    };
    let error = open(&mixed);
    assert!(matches!(error, LedgerError::KeyAhead { .. }), "{error}");

    // The newest ledger with the old keys: its checkpoints still bear the old signature as well.
    let other = world.folder.path().join("other");
    copy(&world.data(), &other);
    std::fs::remove_dir_all(other.join("keys")).unwrap();
    copy(&backup.join("keys"), &other.join("keys"));
    let error = open(&other);
    assert!(matches!(error, LedgerError::KeyMissing { .. }), "{error}");
    assert!(error.hint().unwrap().contains("folder of keys"));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

/// Where a change of the key was broken off.
async fn broken_off_at(world: &World, touch: u64) -> Result<String, LedgerError> {
    let touches = Arc::new(AtomicU64::new(0));
    let mut options = world.options();
    // Segments are made in a thread of their own; what is counted is what happens in turn.
    options.disk = Disk::with_hook(Arc::new(move |_, path: &Path| {
        let counted = path.starts_with(world_keys(path)) || path.ends_with("log/checkpoint");
        let number = touches.fetch_add(u64::from(counted), Ordering::SeqCst) + u64::from(counted);
        if number > touch || (counted && number == touch) {
            return Err(std::io::Error::other("the machine is gone"));
        }
        Ok(())
    }));
    options.fatal = Arc::new(|_| {});
    let done = rotate_key(options, None, "yearly");
    tokio::time::timeout(Duration::from_secs(30), done).await.expect("ends")
}

/// The folder of keys that a path lies in, or nowhere.
fn world_keys(path: &Path) -> PathBuf {
    let keys = path.ancestors().find(|above| above.ends_with("data/keys"));
    keys.map_or_else(|| PathBuf::from("/nowhere"), Path::to_owned)
}

#[tokio::test]
async fn a_change_of_key_that_is_broken_off_anywhere_happened_or_did_not() {
    let mut outcomes = (0, 0);
    for touch in 1.. {
        assert!(touch < 100, "every change is broken off");
        let world = World::new();
        let first = world.init();
        let ledger = Ledger::open(world.options()).unwrap();
        world.append(&ledger);
        close(ledger);
        let whole = broken_off_at(&world, touch).await.is_ok();

        // What a start finds holds for whoever has the first key, and whoever has the newest.
        let ledger =
            Ledger::open(world.options()).unwrap_or_else(|error| panic!("{touch}: {error}"));
        settle(&ledger).await;
        let newest = VerifierKey::parse(&ledger.verification_key()).unwrap();
        let rotated = kinds(&ledger).iter().any(|kind| kind == "key.rotated");
        assert_eq!(rotated, newest != first, "{touch}: the entry is what makes it so");
        close(ledger);
        for key in [&first, &newest] {
            let report = world.verify(key);
            assert_eq!(report.verdict(), Verdict::Intact, "{touch}: {report}");
        }
        assert_eq!(world.signed_by(&[&first, &newest]), [true, true], "{touch}");
        // It is done over, or finished.
        if rotated {
            outcomes.0 += 1;
            retire_key(&world.data()).unwrap_or_else(|error| panic!("{touch}: {error}"));
        } else {
            outcomes.1 += 1;
            rotate_key(world.options(), None, "again").await.unwrap();
            retire_key(&world.data()).unwrap();
        }
        let ledger = Ledger::open(world.options()).unwrap();
        settle(&ledger).await;
        assert!(!world.signed_by(&[&first])[0], "{touch}");
        close(ledger);
        assert_eq!(world.verify(&first).verdict(), Verdict::Intact, "{touch}");
        if whole {
            break;
        }
    }
    assert!(outcomes.0 > 2 && outcomes.1 > 2, "both happen: {outcomes:?}");
}

#[tokio::test]
async fn what_a_rotation_left_in_the_log_is_a_statement_that_others_can_check() {
    let world = World::new();
    let first = world.init();
    let vault = Vault::default();
    let to = KeyElsewhere { store: &vault, uri: "vault:log" };
    let second = rotate_key(world.options(), Some(to), "into a token").await.unwrap();
    let mut options = world.options();
    let vault: Arc<dyn KeyStore> = Arc::new(vault);
    options.keys = Some(vault);
    let ledger = Ledger::open(options).unwrap();
    let entries = ledger.read(0, 100).unwrap();
    let events = entries.iter().map(|entry| Event::parse(&entry.leaf).unwrap());
    let event = events.into_iter().find(|event| event.kind == "key.rotated").unwrap();
    let note = SignedNote::parse(event.text("/detail/statement").unwrap().as_bytes()).unwrap();
    let keys = [first, VerifierKey::parse(&second).unwrap()];
    assert_eq!(note.verify(&keys).unwrap().len(), 2);
    assert!(note.text().ends_with(&format!("\nto {second}\n")), "{note}");
    close(ledger);
}
