//! From one epoch to the next, and back.

use super::*;

/// Two epochs; the first is closed in favour of the second where `closed`.
fn two(data: &Path, closed: bool) -> (TestLog, TestLog) {
    let mut first = TestLog::new(data, 1);
    let mut second = TestLog::new(data, 2);
    first.begin_boot();
    first.fill(40);
    if closed {
        first.close_for(&second);
    }
    first.publish();
    second.open_after(&first);
    second.fill(30);
    second.publish();
    (first, second)
}

#[test]
fn the_first_key_leads_to_the_second_epoch_and_the_second_back() {
    let data = tempfile::tempdir().unwrap();
    let (first, second) = two(data.path(), true);
    for log in [&first, &second] {
        let report = verify(data.path(), log);
        assert_eq!(code(&report), 0, "{report}");
        let folders: Vec<_> = report.epochs.iter().map(|epoch| epoch.folder.as_str()).collect();
        assert_eq!(folders, ["ledger/e1", "ledger/e2"]);
    }
    assert_eq!(verify(&second.dir(), &second).epochs.len(), 1);
    assert_eq!(code(&verify(&second.dir(), &first)), 12);
}

#[test]
fn an_epoch_that_nothing_leads_to_is_not_proven() {
    let data = tempfile::tempdir().unwrap();
    let (first, second) = two(data.path(), false);
    let report = verify(data.path(), &first);
    assert_eq!((code(&report), report.epochs.len()), (12, 1), "{report}");
    assert_eq!(report.findings.kept()[0].place.file.as_deref(), Some("ledger/e2/log/checkpoint"));
    let mut both = trust(&first);
    both.keys.push(second.vkey());
    assert_eq!(code(&verify_with(data.path(), &both)), 0);
}

#[test]
fn an_epoch_cannot_be_cut_written_anew_or_left_out_behind_the_next_ones_back() {
    let data = tempfile::tempdir().unwrap();
    let (first, second) = two(data.path(), true);
    let keep = |size: u64, shift: i64| {
        std::fs::remove_dir_all(first.dir()).unwrap();
        let mut anew = TestLog::new(data.path(), 1);
        anew.time_us += shift;
        anew.begin_boot();
        anew.fill(size);
        anew.publish();
    };
    keep(30, 0);
    let report = verify(data.path(), &second);
    assert_eq!(code(&report), 10);
    assert!(report.to_string().contains("its tail was cut"), "{report}");
    keep(60, 7);
    let report = verify(data.path(), &second);
    assert_eq!(code(&report), 10);
    assert!(report.to_string().contains("not those that it had"), "{report}");
    std::fs::remove_dir_all(first.dir()).unwrap();
    let report = verify(data.path(), &second);
    assert_eq!(code(&report), 11);
    assert!(report.to_string().contains("neighbouring epoch"), "{report}");
    let mut known = trust(&second);
    known.keys.push(first.vkey());
    known.known_checkpoints.push(first.checkpoint(20));
    assert_eq!(code(&verify_with(data.path(), &known)), 10);
}

#[test]
fn a_copy_of_an_epoch_under_another_name_is_named() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 40);
    let copy = data.path().join("ledger/e2");
    for file in crate::testlog::files(&log.dir()) {
        let target = copy.join(file.strip_prefix(log.dir()).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(file, target).unwrap();
    }
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10, "{report}");
    let first = &report.findings.kept()[0];
    assert_eq!(first.place.file.as_deref(), Some("ledger/e2/log/checkpoint"));
    assert!(first.what.contains("ledger/e1 is already"), "{report}");
}

#[test]
fn a_boot_that_left_no_entry_is_worth_a_note() {
    let data = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 40);
    log.boot += 2;
    log.begin_boot();
    log.publish();
    let report = verify(data.path(), &log);
    assert_eq!((code(&report), report.epochs[0].boots), (0, 2), "{report}");
    assert!(report.epochs[0].notes[0].contains("2 boots left no entry"), "{report}");
}
