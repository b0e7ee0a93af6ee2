//! The ledger against crashes, full disks and restored copies. Reads everything back after each
//! fault and holds the tree to the entries.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod hand;

use hand::Hand;
use loggia_ledger::{Disk, Ledger, LedgerError, LedgerOptions, LogName, Touch, init};
use loggia_model::catalogue::Kind;
use loggia_model::event::{Role, SessionSlot};
use loggia_model::id::{ActorId, PersonId, SessionId};
use loggia_model::port::{Append, AppendError, ReadLog};
use loggia_model::{Draft, Event, Mint};
use loggia_tlog::checkpoint::Checkpoint;
use loggia_tlog::hash::Hash;
use loggia_tlog::merkle::CompactRange;
use loggia_tlog::note::VerifierKey;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

struct World {
    folder: tempfile::TempDir,
    hand: Arc<Hand>,
    mint: Mint,
    vkey: String,
}

impl World {
    fn new() -> Self {
        let (hand, mint) = Hand::new(1);
        let folder = tempfile::tempdir().unwrap();
        let vkey = init(&folder.path().join("data"), &LogName::default(), &mint).unwrap();
        Self { folder, hand, mint, vkey }
    }

    fn options(&self) -> LedgerOptions {
        let mut options = LedgerOptions::new(self.folder.path().join("data"), self.mint.clone());
        options.segment_bytes = 256 << 10;
        options.checkpoint_interval = Duration::from_millis(20);
        options.checkpoint_copy = Some(self.folder.path().join("copy/checkpoint"));
        options.fatal = Arc::new(|why| panic!("fatal: {why}"));
        options
    }

    fn open(&self) -> Ledger {
        Ledger::open(self.options()).unwrap()
    }

    fn session(&self) -> (SessionId, ActorId) {
        let (ms, random) = self.mint.id_parts();
        (SessionId::from_parts(ms, random), ActorId::Person(PersonId::from_parts(ms, random)))
    }

    fn draft(&self, kind: Kind, session: (SessionId, ActorId), role: Role) -> Draft {
        let slot = SessionSlot { id: session.0, context: None, role };
        let draft = self.mint.draft(kind).actor(session.1).session(slot);
        let named = role == Role::Start;
        draft.set_some("/actor/name", named.then_some("somebody")).encode().unwrap()
    }

    fn statement(&self, session: (SessionId, ActorId), text: &str) -> Draft {
        let slot = SessionSlot { id: session.0, context: None, role: Role::Member };
        let draft = self.mint.draft(Kind::SqlStatement).actor(session.1).session(slot);
        draft.set("/detail/text", text).encode().unwrap()
    }
}

/// Everything in the log, parsed; the newest checkpoint holds for a prefix of it.
fn check(ledger: &Ledger, vkey: &str) -> Vec<Event> {
    let size = ledger.size();
    let mut events = Vec::new();
    let mut range = CompactRange::new();
    let note = std::fs::read(ledger.epoch_folder().join("log/checkpoint")).ok();
    let key = VerifierKey::parse(vkey).unwrap();
    let checkpoint = note.map(|note| Checkpoint::open(&note, &key).unwrap());
    while (events.len() as u64) < size {
        for entry in ledger.read(events.len() as u64, 1_000).unwrap() {
            assert_eq!(entry.index, events.len() as u64);
            range.append(Hash(entry.leaf_hash.0));
            events.push(Event::parse(&entry.leaf).unwrap());
            if let Some(checkpoint) = &checkpoint
                && checkpoint.size() == range.size()
            {
                assert_eq!(range.root(), checkpoint.root(), "at {}", range.size());
            }
        }
    }
    if let Some(checkpoint) = checkpoint {
        assert!(checkpoint.size() <= size);
    }
    events
}

/// Appends as callers do: a paused ledger is waited for.
async fn append(ledger: &Ledger, draft: Draft) -> loggia_model::port::Appended {
    let drafts = [draft];
    loop {
        match ledger.append(&drafts) {
            Ok(appended) => return appended,
            Err(AppendError::Paused(_)) => {
                assert!(ledger.resumed(Duration::from_secs(20)).await, "it goes on");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

async fn settle(ledger: &Ledger) {
    let size = ledger.size();
    let mut published = ledger.published();
    let reached = published.wait_for(|published| *published >= size);
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("published").unwrap();
}

#[tokio::test]
async fn what_is_appended_is_read_back_in_order_across_bundles_segments_and_boots() {
    let world = World::new();
    for boot in 1..=3u64 {
        let ledger = world.open();
        assert!(ledger.opening().clean, "boot {boot}");
        let session = world.session();
        append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
        for n in 0..700 {
            let draft = world.statement(session, &format!("select {n} /* {} */", "x".repeat(300)));
            let appended = append(&ledger, draft).await;
            if n % 100 == 0 {
                let place = ledger.on_disk(&appended).await.unwrap();
                let read = ledger.read(place.index, 1).unwrap();
                assert_eq!(read[0].leaf_hash, appended.leaf_hash);
            }
        }
        settle(&ledger).await;
        let events = check(&ledger, &world.vkey);
        let last = events.last().unwrap();
        assert_eq!((last.boot, last.session.unwrap().seq), (boot, 701));
        append(&ledger, world.draft(Kind::SessionEnd, session, Role::End)).await;
        ledger.close("test").unwrap();
    }
    let wal = world.folder.path().join("data/ledger/e1/wal");
    let segments = std::fs::read_dir(wal).unwrap().count();
    assert!(segments <= 6, "segments are retired: {segments}");
}

#[tokio::test]
async fn a_crash_ends_open_sessions_on_record_and_chains_hold() {
    let world = World::new();
    let session = world.session();
    {
        let ledger = world.open();
        append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
        append(&ledger, world.statement(session, "select 1")).await;
        settle(&ledger).await;
        append(&ledger, world.statement(session, "select 2")).await;
    }
    let ledger = world.open();
    assert!(!ledger.opening().clean);
    assert_eq!(ledger.opening().sessions_ended, 1);
    settle(&ledger).await;
    let events = check(&ledger, &world.vkey);
    let of_session: Vec<&Event> = events.iter().filter(|event| event.session.is_some()).collect();
    let seqs: Vec<u64> = of_session.iter().map(|event| event.session.unwrap().seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert_eq!(of_session[3].text("/detail/reason"), Some("gateway_died"));
    let boots: Vec<(u64, u64)> = events.iter().map(|event| (event.boot, event.seq)).collect();
    assert_eq!(boots, [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2)]);
}

#[tokio::test]
async fn what_is_to_be_said_of_a_session_left_open_stands_before_its_end() {
    let world = World::new();
    let (one, other) = (world.session(), world.session());
    let ledger = world.open();
    for session in [one, other] {
        append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
    }
    append(&ledger, world.statement(other, "select 1")).await;
    drop(ledger);
    let mut options = world.options();
    let (mint, of) = (world.mint.clone(), other.0);
    options.last_words = Some(Arc::new(move |sessions, log| {
        assert_eq!(sessions.len(), 2);
        let events = log.read(0, 100).unwrap();
        let events: Vec<Event> = events.iter().map(|e| Event::parse(&e.leaf).unwrap()).collect();
        assert_eq!(events.len(), 4, "the log as the last boot left it");
        let starts = events.iter().filter(|event| event.kind == "session.start");
        for start in starts {
            assert!(sessions.contains(&(start.session.unwrap().id, start.id)));
        }
        vec![(of, mint.draft(Kind::RecordingGrown).set("/detail/frames", 7u64))]
    }));
    let ledger = Ledger::open(options).unwrap();
    settle(&ledger).await;
    let events = check(&ledger, &world.vkey);
    let said: Vec<_> = events
        .iter()
        .filter(|event| event.boot == 2)
        .map(|event| (event.kind.as_str(), event.session.map(|place| (place.id, place.seq))))
        .collect();
    let mut expected = vec![("node.boot", None)];
    let mut sessions = [one.0, other.0];
    sessions.sort();
    for id in sessions {
        if id == other.0 {
            expected.push(("recording.grown", Some((id, 3))));
            expected.push(("session.end", Some((id, 4))));
        } else {
            expected.push(("session.end", Some((id, 2))));
        }
    }
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_torn_record_is_cut_off_and_everything_before_it_stays() {
    let world = World::new();
    let session = world.session();
    let ledger = world.open();
    append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
    settle(&ledger).await;
    drop(ledger);
    let wal = world.folder.path().join("data/ledger/e1/wal");
    let newest = newest_segment(&wal);
    let mut bytes = std::fs::read(&newest).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // Half of a record behind the last whole one.
    bytes[used..used + 40].copy_from_slice(&[0, 0, 1, 0, 9, 9, 9, 9].repeat(5));
    std::fs::write(&newest, bytes).unwrap();
    let ledger = world.open();
    settle(&ledger).await;
    assert_eq!(check(&ledger, &world.vkey).len(), 4);
}

fn newest_segment(wal: &Path) -> std::path::PathBuf {
    let mut paths: Vec<_> = std::fs::read_dir(wal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "wal"))
        .collect();
    paths.sort();
    paths.pop().unwrap()
}

#[tokio::test]
async fn a_full_disk_pauses_and_recovers_without_losing_what_was_taken() {
    let world = World::new();
    let full = Arc::new(AtomicBool::new(false));
    let mut options = world.options();
    let hook = Arc::clone(&full);
    options.disk = Disk::with_hook(Arc::new(move |touch, _| {
        let writes = matches!(touch, Touch::Write);
        if writes && hook.load(Ordering::SeqCst) {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        Ok(())
    }));
    let ledger = Ledger::open(options).unwrap();
    let session = world.session();
    append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
    full.store(true, Ordering::SeqCst);
    let mut taken = 0;
    let text = "x".repeat(2_000);
    loop {
        match ledger.append(&[world.statement(session, &text)]) {
            Ok(_) => taken += 1,
            Err(AppendError::Paused(why)) => {
                // The disk of a busy machine may be behind for a moment, and a round of publishing
                // that was under way may still give a segment back; full stays full.
                let resumed = ledger.resumed(Duration::from_millis(300)).await;
                if why == "no room on the disk" && !resumed {
                    break;
                }
            }
            Err(other) => panic!("{other}"),
        }
        assert!(taken < 10_000, "the disk is full, but everything is taken");
    }
    ledger
        .append(&[world.draft(Kind::SessionEnd, session, Role::End)])
        .expect("the end of a session has its room reserved");
    full.store(false, Ordering::SeqCst);
    assert!(ledger.resumed(Duration::from_secs(10)).await, "room came back");
    let next = world.session();
    append(&ledger, world.draft(Kind::SessionStart, next, Role::Start)).await;
    settle(&ledger).await;
    let statements = check(&ledger, &world.vkey)
        .iter()
        .filter(|event| event.known_kind() == Some(Kind::SqlStatement))
        .count();
    assert_eq!(statements, taken);
}

#[tokio::test]
async fn a_pause_for_tiles_that_are_behind_lifts_once_they_are_written() {
    let world = World::new();
    let mut options = world.options();
    options.backlog_bytes_max = 8 << 10;
    options.checkpoint_interval = Duration::from_millis(300);
    let ledger = Ledger::open(options).unwrap();
    let session = world.session();
    append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
    let text = "x".repeat(2_000);
    for round in 0..3 {
        let mut paused = false;
        for _ in 0..10_000 {
            match ledger.append(&[world.statement(session, &text)]) {
                Ok(appended) => drop(ledger.on_disk(&appended).await.unwrap()),
                Err(AppendError::Paused("the tiles are behind")) => {
                    paused = true;
                    break;
                }
                // The disk of a busy machine may be behind for a moment.
                Err(AppendError::Paused(_)) => {
                    assert!(ledger.resumed(Duration::from_secs(20)).await);
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(paused, "round {round}");
        assert!(ledger.resumed(Duration::from_secs(20)).await, "round {round}");
    }
}

#[tokio::test]
async fn what_counts_as_paused_is_what_a_paused_ledger_refused_and_nothing_else() {
    let world = World::new();
    let mut options = world.options();
    options.backlog_bytes_max = 0;
    options.checkpoint_interval = Duration::from_secs(600);
    let ledger = Ledger::open(options).unwrap();
    let session = world.session();
    let too_large: Vec<Draft> =
        (0..100).map(|_| world.statement(session, &"x".repeat(8_000))).collect();
    assert!(matches!(ledger.append(&too_large), Err(AppendError::Draft(_))));
    assert_eq!(ledger.metrics().paused.get(), 0, "what is too large is no pause");
    // The boot's own entry stands in no tile yet.
    let refused = ledger.append(&[world.statement(session, "select 1")]);
    assert!(matches!(refused, Err(AppendError::Paused(_))), "{refused:?}");
    assert_eq!(ledger.metrics().paused.get(), 1);
    let refused = ledger.append_soon(world.statement(session, "select 2"));
    assert!(matches!(refused, Err(AppendError::Paused(_))), "{refused:?}");
    assert_eq!(ledger.metrics().paused.get(), 2);
}

#[tokio::test]
async fn a_checkpoint_that_could_not_be_shown_is_shown_before_another_is_signed() {
    let world = World::new();
    let full = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicU64::new(0));
    let mut options = world.options();
    let (hook, count) = (Arc::clone(&full), Arc::clone(&refused));
    options.disk = Disk::with_hook(Arc::new(move |touch, path| {
        if touch == Touch::Rename && path.ends_with("log/checkpoint") && hook.load(Ordering::SeqCst)
        {
            count.fetch_add(1, Ordering::SeqCst);
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        Ok(())
    }));
    let ledger = Ledger::open(options).unwrap();
    let session = world.session();
    append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
    settle(&ledger).await;
    full.store(true, Ordering::SeqCst);
    for n in 0..400 {
        append(&ledger, world.statement(session, &n.to_string())).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(refused.load(Ordering::SeqCst) >= 2, "tried again while it was full");
    full.store(false, Ordering::SeqCst);
    settle(&ledger).await;
    append(&ledger, world.draft(Kind::SessionEnd, session, Role::End)).await;
    ledger.close("test").unwrap();
    let keys = vec![VerifierKey::parse(&world.vkey).unwrap()];
    let trust = loggia_verify::log::Trust { keys, ..Default::default() };
    let data = world.folder.path().join("data");
    let report =
        loggia_verify::log::verify_folder(&data, &trust, Default::default(), &mut |_, _| {});
    let report = report.unwrap();
    // The drafts of this file name no context, which is a gap to the verifier and not its concern.
    let tampered = report.findings.count(loggia_verify::report::Verdict::Tampered);
    assert_eq!(tampered, 0, "{report}");
}

/// A folder whose last checkpoint is in the write-ahead log alone, and that checkpoint's size.
async fn recorded_and_not_shown(world: &World) -> u64 {
    let full = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicU64::new(0));
    let mut options = world.options();
    let (hook, count) = (Arc::clone(&full), Arc::clone(&refused));
    options.disk = Disk::with_hook(Arc::new(move |touch, path| {
        let shows = touch == Touch::Rename && path.ends_with("log/checkpoint");
        if shows && hook.load(Ordering::SeqCst) {
            count.fetch_add(1, Ordering::SeqCst);
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        Ok(())
    }));
    let ledger = Ledger::open(options).unwrap();
    let session = world.session();
    append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
    settle(&ledger).await;
    full.store(true, Ordering::SeqCst);
    for n in 0..400 {
        append(&ledger, world.statement(session, &n.to_string())).await;
    }
    while refused.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let size = ledger.size();
    drop(ledger);
    size
}

fn shown(world: &World, path: &str) -> Checkpoint {
    let note = std::fs::read(world.folder.path().join(path)).unwrap();
    Checkpoint::open(&note, &VerifierKey::parse(&world.vkey).unwrap()).unwrap()
}

#[tokio::test]
async fn a_start_shows_the_recorded_checkpoint_in_both_places_before_another_is_signed() {
    let world = World::new();
    recorded_and_not_shown(&world).await;
    let before = shown(&world, "data/ledger/e1/log/checkpoint").size();
    let mut options = world.options();
    options.checkpoint_interval = Duration::from_secs(600);
    let ledger = Ledger::open(options).unwrap();
    let folder = shown(&world, "data/ledger/e1/log/checkpoint");
    assert!(folder.size() > before, "{} entries", folder.size());
    let copy = shown(&world, "copy/checkpoint");
    assert_eq!((copy.size(), copy.root()), (folder.size(), folder.root()));
    check(&ledger, &world.vkey);
}

#[tokio::test]
async fn tiles_of_a_recorded_checkpoint_that_are_gone_are_written_again_and_unread_ones_are_not() {
    let world = World::new();
    let size = recorded_and_not_shown(&world).await;
    let entries = world.folder.path().join("data/ledger/e1/log/tile/entries");
    let partial = std::fs::read_dir(entries.join("001.p")).unwrap().next().unwrap().unwrap();
    // Read as a file it gives an error that says nothing of what was written.
    std::fs::remove_file(partial.path()).unwrap();
    std::fs::create_dir(partial.path()).unwrap();
    let unread = Ledger::open(world.options()).map(|_| ()).unwrap_err();
    assert!(matches!(unread, LedgerError::Folder(_)), "{unread}");
    std::fs::remove_dir(partial.path()).unwrap();
    let ledger = world.open();
    settle(&ledger).await;
    assert!(check(&ledger, &world.vkey).len() as u64 > size);
}

#[tokio::test]
async fn a_sync_that_fails_for_another_reason_is_fatal_and_nobody_is_told_on_disk() {
    let world = World::new();
    let broken = Arc::new(AtomicBool::new(false));
    let fatal = Arc::new(AtomicBool::new(false));
    let mut options = world.options();
    let (hook, told) = (Arc::clone(&broken), Arc::clone(&fatal));
    options.fatal = Arc::new(move |_| told.store(true, Ordering::SeqCst));
    options.disk = Disk::with_hook(Arc::new(move |touch, _| {
        if touch == Touch::Sync && hook.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("the disk lies"));
        }
        Ok(())
    }));
    let ledger = Ledger::open(options).unwrap();
    broken.store(true, Ordering::SeqCst);
    let appended =
        append(&ledger, world.draft(Kind::SessionStart, world.session(), Role::Member)).await;
    assert!(matches!(ledger.on_disk(&appended).await, Err(AppendError::Closed(_))));
    for _ in 0..500 {
        if fatal.load(Ordering::SeqCst) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(fatal.load(Ordering::SeqCst));
    let again = ledger.append(&[world.draft(Kind::SessionStart, world.session(), Role::Start)]);
    assert!(matches!(again, Err(AppendError::Closed(_))));
}

#[tokio::test]
async fn an_older_copy_of_the_folder_is_refused_and_a_second_gateway_too() {
    let world = World::new();
    let data = world.folder.path().join("data");
    let older = world.folder.path().join("older");
    world.open().close("test").unwrap();
    copy_folder(&data, &older);
    let ledger = world.open();
    match Ledger::open(world.options()).map(|_| ()) {
        Err(LedgerError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("a second gateway was let in: {other:?}"),
    }
    ledger.close("test").unwrap();
    drop(ledger);
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(&older, &data);
    match Ledger::open(world.options()).map(|_| ()) {
        Err(error @ LedgerError::Behind { .. }) => {
            assert!(error.hint().unwrap().contains("new-epoch"));
        }
        other => panic!("an older copy was let in: {other:?}"),
    }
    let vkey =
        loggia_ledger::new_epoch(world.options(), None, "restored from backup").await.unwrap();
    assert!(vkey.contains("/e2+"), "{vkey}");
    let ledger = world.open();
    let events = check(&ledger, &vkey);
    assert_eq!(events[0].kind, "epoch.opened");
    assert!(events[0].text("/detail/previous_key").unwrap().contains("/e1+"));
}

#[tokio::test]
async fn a_clock_set_back_by_more_than_a_second_is_an_event() {
    let world = World::new();
    let ledger = world.open();
    let session = world.session();
    append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
    world.hand.now_us.fetch_sub(900_000, Ordering::Relaxed);
    append(&ledger, world.statement(session, "a little back")).await;
    world.hand.now_us.fetch_sub(5_000_000, Ordering::Relaxed);
    append(&ledger, world.statement(session, "far back")).await;
    settle(&ledger).await;
    let events = check(&ledger, &world.vkey);
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["node.boot", "session.start", "sql.statement", "clock.stepped", "sql.statement"]
    );
    assert!(events[2].time_us > events[1].time_us, "not backwards within a second");
    assert!(events[4].time_us < events[2].time_us, "time follows the clock after it is said");
}

#[tokio::test]
async fn a_deleted_resume_file_costs_time_and_nothing_else() {
    let world = World::new();
    let session = world.session();
    {
        let ledger = world.open();
        append(&ledger, world.draft(Kind::SessionStart, session, Role::Start)).await;
        for n in 0..600 {
            append(&ledger, world.statement(session, &n.to_string())).await;
        }
        settle(&ledger).await;
    }
    std::fs::remove_file(world.folder.path().join("data/ledger/e1/resume.json")).unwrap();
    let ledger = world.open();
    assert_eq!(ledger.opening().sessions_ended, 1);
    settle(&ledger).await;
    check(&ledger, &world.vkey);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
