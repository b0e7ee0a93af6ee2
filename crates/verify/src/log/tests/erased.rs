//! What is erased, and what is only gone.

use super::*;
use crate::subject_keys::KeyFile;
use loggia_model::envelope::{KeyId, SubjectKey};
use loggia_model::id::{ActorId, PersonId};
use loggia_tlog::tile::{open_decode, open_encode};

/// The actor of all events of a test log.
fn somebody() -> ActorId {
    log_actor(7)
}

fn log_actor(byte: u8) -> ActorId {
    ActorId::Person(PersonId::from_parts(1_790_000_000_000, [byte; 10]))
}

fn sessions(log: &mut TestLog, count: usize) {
    for _ in 0..count {
        log.session(3);
    }
}

/// Takes the disclosure of every event below `end` away, as an erasure does.
fn blank(log: &TestLog, end: u64) {
    for number in 0..log.size().div_ceil(256) {
        let bundle = BundleId::in_tree(number, log.size()).unwrap();
        let path = log.folder().disclosures_path(&bundle);
        let bytes = std::fs::read(&path).unwrap();
        let open = open_decode(&bytes, bundle.width()).unwrap();
        let left: Vec<_> = open
            .into_iter()
            .zip(bundle.first_entry()..)
            .map(|(one, index)| one.filter(|_| index >= end))
            .collect();
        std::fs::write(path, open_encode(&left).unwrap()).unwrap();
    }
}

fn erase(log: &mut TestLog, subject: ActorId) -> u64 {
    let draft = log.draft(Kind::ErasureStarted).set("/detail/subject", subject.to_string());
    log.append(draft)
}

#[test]
fn what_an_erasure_covers_is_no_damage_and_what_none_covers_is() {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    sessions(&mut log, 50);
    log.publish();
    blank(&log, 100);
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 11, "{report}");
    assert_eq!(report.findings.kept()[0].place.entry, Some(1), "{report}");

    erase(&mut log, log_actor(8));
    log.publish();
    blank(&log, 100);
    assert_eq!(code(&verify(data.path(), &log)), 11, "somebody else's erasure");

    erase(&mut log, somebody());
    log.publish();
    blank(&log, 100);
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 0, "{report}");
    let erased = &report.epochs[0].erased[0];
    assert_eq!((erased.disclosures, erased.recordings), (50, 0), "{report}");
    assert_eq!(erased.subject.as_deref(), Some(&*somebody().to_string()));
    assert!(report.to_string().contains("50 disclosures of pe_"), "{report}");

    sessions(&mut log, 1);
    log.publish();
    blank(&log, log.size());
    assert_eq!(code(&verify(data.path(), &log)), 11, "what came after the erasure");
}

#[test]
fn retention_covers_what_is_older_than_its_time() {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    sessions(&mut log, 20);
    log.publish();
    let last = verify(data.path(), &log).epochs[0].last_time_us.unwrap();
    for (until_us, what, expected) in
        [(last, "recordings", 11), (last - 50_000, "disclosures", 11), (last, "disclosures", 0)]
    {
        let draft = log.draft(Kind::RetentionStarted).set("/detail/what", what);
        log.append(draft.set("/detail/until_us", loggia_model::Value::Int(until_us)));
        log.publish();
        blank(&log, 150);
        let report = verify(data.path(), &log);
        assert_eq!(code(&report), expected, "{what} until {until_us}: {report}");
    }
}

#[test]
fn a_later_epoch_may_say_what_was_erased_of_an_earlier_one() {
    let data = tempfile::tempdir().unwrap();
    let mut first = TestLog::new(data.path(), 1);
    first.begin_boot();
    sessions(&mut first, 3);
    first.publish();
    let mut second = TestLog::new(data.path(), 2);
    second.begin_boot();
    sessions(&mut second, 3);
    second.publish();
    blank(&first, first.size());
    let trust = Trust { keys: vec![first.vkey(), second.vkey()], ..Trust::default() };
    assert_eq!(code(&verify_with(data.path(), &trust)), 11);
    erase(&mut second, somebody());
    second.publish();
    let report = verify_with(data.path(), &trust);
    assert_eq!(code(&report), 0, "{report}");
    assert_eq!(report.epochs[0].erased.len(), 1, "{report}");
    assert!(report.epochs[1].erased.is_empty(), "{report}");
}

#[test]
fn under_a_key_disclosures_are_checked_where_it_is_and_closed_where_none_is() {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    let keys = data.path().join("keys/subjects");
    let put = |byte: u8| {
        let (id, key) = (KeyId([byte; 16]), SubjectKey::from_random([byte; 32]));
        let file = KeyFile { subject: Some(somebody()), created_us: 1, key: key.clone() };
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(keys.join(KeyFile::name(id)), file.encode()).unwrap();
        Some((id, key))
    };
    log.begin_boot();
    // An older part of the log, in clear.
    sessions(&mut log, 1);
    log.seal_under = put(1);
    sessions(&mut log, 2);
    log.publish();
    let report = verify(data.path(), &log);
    let disclosed = report.epochs[0].disclosed;
    assert_eq!((code(&report), disclosed.undisclosed), (0, 0), "{report}");

    // A flipped byte is caught.
    let bundle = BundleId::in_tree(0, log.size()).unwrap();
    let path = log.folder().disclosures_path(&bundle);
    let bytes = std::fs::read(&path).unwrap();
    let mut flipped = bytes.clone();
    *flipped.iter_mut().rfind(|byte| **byte != 0).unwrap() ^= 1;
    std::fs::write(&path, flipped).unwrap();
    assert_eq!(code(&verify(data.path(), &log)), 10);
    std::fs::write(&path, &bytes).unwrap();

    // A copy without keys is whole, and says what it cannot read.
    let aside = data.path().join("aside");
    std::fs::rename(&keys, &aside).unwrap();
    let report = verify(data.path(), &log);
    let closed = report.epochs[0].disclosed.closed;
    assert_eq!(code(&report), 0, "{report}");
    assert!(closed > 0 && report.to_string().contains("lie closed"), "{report}");
    assert_eq!(report.epochs[0].disclosed.open, disclosed.open - closed);
    std::fs::rename(&aside, &keys).unwrap();

    // A key that is gone is damage, until an erasure says that it was destroyed.
    std::fs::remove_file(keys.join(KeyFile::name(KeyId([1; 16])))).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10, "{report}");
    assert!(report.findings.kept()[0].place.file.as_ref().unwrap().contains("open/"), "{report}");
    log.seal_under = put(2);
    erase(&mut log, somebody());
    log.publish();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 0, "{report}");
    assert_eq!(report.epochs[0].erased[0].disclosures, 8, "{report}");
}
