//! Erasure and retention of disclosures: what is destroyed, what stays, what a crash leaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod files;
mod hand;

use files::{files, holding};
use hand::Hand;
use loggia_ledger::{Disk, Doomed, Keep, Ledger, LedgerOptions, LogName, Ordered, Touch, init};
use loggia_model::catalogue::Kind;
use loggia_model::event::{Role, SessionSlot};
use loggia_model::id::{ActorId, PersonId, SessionId};
use loggia_model::port::{Append, Appended, ReadLog};
use loggia_model::{Event, EventDraft, Mint};
use loggia_tlog::BundleId;
use loggia_tlog::VerifierKey;
use loggia_tlog::tile::{TILE_WIDTH, open_encode};
use loggia_verify::folder::LogFolder;
use loggia_verify::log::{Options, Trust};
use loggia_verify::subject_keys::Revealed;
use loggia_verify::{Report, verify_folder};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

const MARKER: &str = "the-secret-that-alice-typed";

struct World {
    folder: tempfile::TempDir,
    mint: Mint,
    vkey: String,
}

impl World {
    fn new() -> Self {
        let (_, mint) = Hand::new(1);
        let folder = tempfile::tempdir().unwrap();
        let vkey = init(&folder.path().join("data"), &LogName::default(), &mint).unwrap();
        Self { folder, mint, vkey }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn options(&self) -> LedgerOptions {
        let mut options = LedgerOptions::new(self.data(), self.mint.clone());
        options.segment_bytes = 256 << 10;
        options.checkpoint_interval = Duration::from_millis(5);
        options.fatal = Arc::new(|_| {});
        options
    }

    fn open(&self) -> Ledger {
        Ledger::open(self.options()).unwrap()
    }

    fn verify(&self) -> Report {
        let trust =
            Trust { keys: vec![VerifierKey::parse(&self.vkey).unwrap()], ..Trust::default() };
        let options = Options { threads: 1, ..Options::default() };
        verify_folder(&self.data(), &trust, options, &mut |_, _| {}).unwrap()
    }

    fn order(&self, doomed: Doomed) -> EventDraft {
        let by = ActorId::Person(person(99));
        match doomed {
            Doomed::Subject(subject) => {
                let draft = self.mint.draft(Kind::ErasureStarted).actor(by);
                draft.set("/detail/subject", subject.to_string()).set("/intent/reason", "asked to")
            }
            Doomed::DisclosuresUntil(until_us) | Doomed::RecordingsUntil(until_us) => {
                let draft = self.mint.draft(Kind::RetentionStarted).actor(by);
                draft
                    .set("/detail/what", doomed_word(doomed))
                    .set("/detail/until_us", loggia_model::Value::Int(until_us))
            }
        }
    }

    async fn begin(&self, ledger: &Ledger, doomed: Doomed) -> Ordered {
        ledger.begin_erasure(doomed, self.order(doomed)).await.unwrap()
    }

    fn done(&self, ledger: &Ledger, order: &Ordered) {
        let draft = self.mint.draft(Kind::ErasureDone).set("/detail/of", order.event.to_string());
        ledger.append(&[draft.encode().unwrap()]).unwrap();
    }

    /// A session of `statements` statements; one is too large for a disclosure.
    fn session(&self, ledger: &Ledger, actor: ActorId, statements: usize, text: &str) -> SessionId {
        let (ms, random) = self.mint.id_parts();
        let id = SessionId::from_parts(ms, random);
        let start = self.mint.draft(Kind::SessionStart).set("/actor/name", text);
        let begun = start.id();
        let append = |draft: EventDraft, role| {
            let context = (role != Role::Start).then_some(begun);
            let draft = draft.actor(actor).session(SessionSlot { id, context, role });
            ledger.append(&[draft.encode().unwrap()]).unwrap();
        };
        append(start.set("/resource/name", "shop"), Role::Start);
        append(self.mint.draft(Kind::RecordingBegun).set("/detail/salt", text), Role::Member);
        for number in 0..statements {
            let text = if number == 1 { text.repeat(4_000) } else { format!("{text} {number}") };
            let draft = self.mint.draft(Kind::SqlStatement).set("/detail/text", text);
            append(draft, Role::Member);
        }
        append(self.mint.draft(Kind::SessionEnd).set("/detail/reason", "ended"), Role::End);
        id
    }
}

fn doomed_word(doomed: Doomed) -> &'static str {
    if matches!(doomed, Doomed::RecordingsUntil(_)) { "recordings" } else { "disclosures" }
}

fn person(byte: u8) -> PersonId {
    PersonId::from_parts(1, [byte; 10])
}

fn alice() -> ActorId {
    ActorId::Person(person(1))
}

fn bob() -> ActorId {
    ActorId::Person(person(2))
}

async fn settle(ledger: &Ledger) {
    let size = ledger.size();
    let mut published = ledger.published();
    let reached = published.wait_for(|published| *published >= size);
    tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap().unwrap();
}

async fn on_disk(ledger: &Ledger) {
    let appended: Appended = {
        let draft = loggia_model::EventDraft::new(
            Kind::NodeHeartbeat,
            loggia_model::id::EventId::from_parts(1, [0; 10]),
            loggia_model::seal::Seed::from_random([0; 32]),
        );
        ledger.append(&[draft.set("/detail/events", 1_u64).encode().unwrap()]).unwrap()
    };
    ledger.on_disk(&appended).await.unwrap();
}

/// How many sealed events of an actor are open, and how many closed.
fn open_of(ledger: &Ledger, actor: ActorId) -> (usize, usize) {
    let (mut open, mut closed, mut at) = (0, 0, 0);
    loop {
        let entries = ledger.read(at, 1_000).unwrap();
        let Some(last) = entries.last() else { return (open, closed) };
        at = last.index + 1;
        for entry in entries {
            let event = Event::parse(&entry.leaf).unwrap();
            if event.actor == Some(actor) && event.sealed().is_some() {
                if entry.disclosure.is_empty() { closed += 1 } else { open += 1 }
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let place = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        // A running ledger may take one away meanwhile; what stands for it is there already.
        if let Ok(bytes) = std::fs::read(&path) {
            std::fs::write(place, bytes).unwrap();
        }
    }
}

/// Puts everything in clear, as an earlier program wrote it.
fn in_clear(data: &Path) {
    let folder = LogFolder::open(data.join("ledger/e1")).unwrap();
    let note = folder.checkpoint_bytes().unwrap().unwrap();
    let note = loggia_tlog::SignedNote::parse(&note).unwrap();
    let size = loggia_tlog::Checkpoint::parse(note.text()).unwrap().size();
    let clear = |stored: &[u8]| match folder.subject_keys().reveal(stored).unwrap() {
        Revealed::Clear(clear) => clear.into_owned(),
        other => panic!("{other:?}"),
    };
    for number in 0..size.div_ceil(u64::from(TILE_WIDTH)) {
        let bundle = BundleId::in_tree(number, size).unwrap();
        let open = folder.disclosures(&bundle).unwrap();
        let open: Vec<_> = open.iter().map(|one| (!one.is_empty()).then(|| clear(one))).collect();
        std::fs::write(folder.disclosures_path(&bundle), open_encode(&open).unwrap()).unwrap();
    }
    for blob in files(&data.join("blobs")) {
        let bytes = clear(&std::fs::read(&blob).unwrap());
        std::fs::write(&blob, bytes).unwrap();
    }
    std::fs::remove_dir_all(data.join("keys/subjects")).unwrap();
    for segment in files(&data.join("ledger/e1/wal")) {
        std::fs::remove_file(segment).unwrap();
    }
}

#[tokio::test]
async fn what_is_disclosed_of_one_is_destroyed_and_nothing_else() {
    let world = World::new();
    let ledger = world.open();
    let sessions: Vec<_> = (0..3).map(|_| world.session(&ledger, alice(), 100, MARKER)).collect();
    world.session(&ledger, bob(), 100, "bob was here");
    on_disk(&ledger).await;
    settle(&ledger).await;
    assert_eq!(holding(&world.data(), MARKER), [] as [PathBuf; 0], "nothing is in clear");
    let backup = world.folder.path().join("backup");
    copy(&world.data().join("ledger"), &backup.join("ledger"));

    let doomed = Doomed::Subject(alice());
    let survey = ledger.survey(doomed, &[]).unwrap();
    assert_eq!((survey.disclosures, survey.blobs, survey.sessions, survey.keys), (306, 3, 3, 1));
    assert_eq!(open_of(&ledger, alice()), (306, 0), "a survey destroys nothing");

    let order = world.begin(&ledger, doomed).await;
    // Somebody who goes on working meanwhile is recorded as before.
    world.session(&ledger, alice(), 5, "later");
    on_disk(&ledger).await;
    let met = ledger.destroy(&order, &[]).unwrap();
    assert_eq!((met.disclosures, met.blobs, met.sessions, met.keys), (306, 3, 3, 1));
    let mut recorded = sessions.clone();
    recorded.sort();
    assert_eq!(met.recordings, recorded);
    assert_eq!(open_of(&ledger, alice()), (7, 306));
    assert_eq!(open_of(&ledger, bob()), (102, 0));
    assert_eq!(ledger.destroy(&order, &[]).unwrap().disclosures, 0, "again: nothing is left");
    world.done(&ledger, &order);
    settle(&ledger).await;

    let report = world.verify();
    assert_eq!(report.verdict().exit_code(), 0, "{report}");
    assert_eq!(report.epochs[0].erased[0].disclosures, 306, "{report}");
    ledger.close("test").unwrap();
    drop(ledger);

    // Whoever puts the log back from a copy has no key for what lies in it.
    std::fs::remove_dir_all(world.data().join("ledger")).unwrap();
    copy(&backup.join("ledger"), &world.data().join("ledger"));
    let ledger = world.open();
    assert_eq!(open_of(&ledger, alice()), (0, 306));
    assert_eq!(open_of(&ledger, bob()), (102, 0));
}

#[tokio::test]
async fn what_an_earlier_program_wrote_in_clear_is_taken_away_too() {
    let world = World::new();
    let ledger = world.open();
    world.session(&ledger, alice(), 300, MARKER);
    world.session(&ledger, bob(), 3, "bob was here");
    ledger.close("test").unwrap();
    drop(ledger);
    in_clear(&world.data());
    assert!(holding(&world.data(), MARKER).len() > 2);

    let ledger = world.open();
    settle(&ledger).await;
    assert_eq!(open_of(&ledger, alice()), (302, 0));
    let order = world.begin(&ledger, Doomed::Subject(alice())).await;
    let met = ledger.destroy(&order, &[]).unwrap();
    assert_eq!((met.disclosures, met.blobs, met.keys), (302, 1, 0));
    assert_eq!(open_of(&ledger, alice()), (0, 302));
    assert_eq!(open_of(&ledger, bob()), (5, 0));
    assert_eq!(holding(&world.data(), MARKER), [] as [PathBuf; 0]);
    world.done(&ledger, &order);
    settle(&ledger).await;
    let report = world.verify();
    assert_eq!(report.verdict().exit_code(), 0, "{report}");
}

#[tokio::test]
async fn an_order_that_was_not_carried_out_is_there_at_the_next_start_until_it_is() {
    let world = World::new();
    let ledger = world.open();
    world.session(&ledger, alice(), 20, MARKER);
    let order = world.begin(&ledger, Doomed::Subject(alice())).await;
    // What a killed process leaves: the order alone.
    drop(ledger);
    for boot in 0..2 {
        let ledger = world.open();
        assert_eq!(ledger.opening().unfinished, [order], "boot {boot}");
        settle(&ledger).await;
        // Also from what makes a start quick, and that is written by the round that publishes.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ledger = world.open();
    let met = ledger.destroy(&order, &[]).unwrap();
    assert_eq!((met.disclosures, met.keys), (22, 1));
    world.done(&ledger, &order);
    on_disk(&ledger).await;
    drop(ledger);
    let ledger = world.open();
    assert_eq!(ledger.opening().unfinished, []);
    assert_eq!(open_of(&ledger, alice()), (0, 22));
}

#[tokio::test]
async fn wherever_it_breaks_off_the_next_start_finishes_it() {
    let mut broke = 0;
    for place in 0.. {
        let world = World::new();
        let ledger = world.open();
        world.session(&ledger, alice(), 600, MARKER);
        ledger.close("test").unwrap();
        drop(ledger);
        in_clear(&world.data());
        let ledger = world.open();
        world.session(&ledger, alice(), 10, MARKER);
        ledger.close("test").unwrap();
        drop(ledger);

        let (armed, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(place)));
        let mut options = world.options();
        let (hook, count) = (Arc::clone(&armed), Arc::clone(&left));
        options.disk = Disk::with_hook(Arc::new(move |touch, path| {
            let ours = ["open", "blobs", "subjects"];
            let ours = path.iter().any(|part| ours.iter().any(|name| part == *name));
            let counted = ours && touch != Touch::Sync && hook.load(Ordering::SeqCst);
            if counted && count.fetch_sub(1, Ordering::SeqCst) <= 0 {
                return Err(std::io::Error::other("broke off"));
            }
            Ok(())
        }));
        let ledger = Ledger::open(options).unwrap();
        settle(&ledger).await;
        let order = world.begin(&ledger, Doomed::Subject(alice())).await;
        settle(&ledger).await;
        armed.store(true, Ordering::SeqCst);
        let carried = tokio::time::timeout(
            Duration::from_secs(60),
            tokio::task::spawn_blocking({
                let ledger = Arc::new(ledger);
                let held = Arc::clone(&ledger);
                move || held.destroy(&order, &[]).map(drop)
            }),
        );
        let carried = carried.await.unwrap().unwrap();
        let ledger = world.open_again().await;
        assert_eq!(ledger.opening().unfinished, [order], "place {place}");
        ledger.destroy(&order, &[]).unwrap();
        world.done(&ledger, &order);
        settle(&ledger).await;
        assert_eq!(open_of(&ledger, alice()), (0, 614), "place {place}");
        assert_eq!(holding(&world.data(), MARKER), [] as [PathBuf; 0], "place {place}");
        let report = world.verify();
        assert_eq!(report.verdict().exit_code(), 0, "place {place}: {report}");
        broke += i32::from(carried.is_err());
        if left.load(Ordering::SeqCst) > 0 {
            break;
        }
    }
    assert!(broke > 5, "{broke}");
}

impl World {
    /// Opens it once the one before has let go.
    async fn open_again(&self) -> Ledger {
        for _ in 0..500 {
            match Ledger::open(self.options()) {
                Ok(ledger) => return ledger,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        self.open()
    }
}

#[tokio::test]
async fn retention_takes_what_is_old_and_leaves_what_a_hold_keeps() {
    let world = World::new();
    let ledger = world.open();
    world.session(&ledger, alice(), 10, "old");
    let kept = world.session(&ledger, bob(), 10, "old");
    on_disk(&ledger).await;
    let until_us = world.mint.now_us();
    world.session(&ledger, alice(), 10, "new");
    on_disk(&ledger).await;
    let keep = |id: &str| Keep { id: id.to_owned(), ..Keep::default() };
    let keeps = [
        Keep { session: Some(kept), ..keep("ho_session") },
        Keep { actor: Some(alice()), from_us: Some(until_us), ..keep("ho_later") },
        Keep { resource: Some("other".to_owned()), ..keep("ho_other") },
    ];
    let doomed = Doomed::DisclosuresUntil(until_us);
    let survey = ledger.survey(doomed, &keeps).unwrap();
    assert_eq!((survey.disclosures, survey.held), (12, 12));
    assert_eq!(Vec::from_iter(survey.holds), ["ho_session"]);
    let all = [Keep { resource: Some("shop".to_owned()), ..keep("ho_shop") }];
    let survey = ledger.survey(doomed, &all).unwrap();
    assert_eq!((survey.disclosures, survey.held), (0, 24));
    let subject = ledger.survey(Doomed::Subject(bob()), &keeps).unwrap();
    assert_eq!(Vec::from_iter(subject.holds), ["ho_session"]);

    let order = world.begin(&ledger, doomed).await;
    ledger.destroy(&order, &keeps).unwrap();
    assert_eq!(open_of(&ledger, alice()), (12, 12));
    assert_eq!(open_of(&ledger, bob()), (12, 0));

    let doomed = Doomed::RecordingsUntil(until_us);
    let survey = ledger.survey(doomed, &keeps).unwrap();
    assert_eq!((survey.recordings.len(), survey.held, survey.disclosures), (1, 1, 0));
    settle(&ledger).await;
    let report = world.verify();
    assert_eq!(report.epochs[0].erased[0].disclosures, 12, "{report}");
}
