//! What may not be missing.

use super::*;
use loggia_model::LeafHash;

/// A log with a boot and a finished session, spoilt by `spoil`, published; and what is missing.
fn gaps(spoil: impl FnOnce(&mut TestLog)) -> Vec<(Option<u64>, String)> {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    log.session(2);
    spoil(&mut log);
    log.publish();
    let report = verify(data.path(), &log);
    let findings = report.findings.kept();
    let expected = if findings.is_empty() { 0 } else { 11 };
    assert_eq!(code(&report), expected, "{report}");
    findings.iter().map(|finding| (finding.place.entry, finding.what.clone())).collect()
}

#[track_caller]
fn one_gap(spoil: impl FnOnce(&mut TestLog), entry: u64, words: &str) {
    let gaps = gaps(spoil);
    let matches = gaps.len() == 1 && gaps[0].0 == Some(entry) && gaps[0].1.contains(words);
    assert!(matches, "{gaps:?}");
}

// The log that is spoilt has 7 entries: boot, start, two statements with results, end.

#[test]
fn a_finished_session_and_one_open_in_the_latest_boot_are_complete() {
    assert_eq!(gaps(|_| {}), []);
    assert_eq!(
        gaps(|log| {
            let open = log.start();
            log.statement(open, "select 1");
        }),
        []
    );
}

#[test]
fn a_session_without_end_before_the_latest_boot() {
    let spoil = |log: &mut TestLog| {
        log.start();
        log.begin_boot();
    };
    one_gap(spoil, 7, "has no end");
    // The next boot ends it, as the ledger does after a crash.
    let mended = |log: &mut TestLog| {
        let open = log.start();
        log.begin_boot();
        log.end(open);
    };
    assert_eq!(gaps(mended), []);
}

#[test]
fn an_end_that_is_not_under_the_checkpoint_yet_is_no_gap() {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    let open = log.start();
    log.begin_boot();
    log.publish();
    assert_eq!(code(&verify(data.path(), &log)), 11);
    log.end(open);
    log.write_wal();
    assert_eq!(code(&verify(data.path(), &log)), 0);
}

#[test]
fn numbers_of_a_boot() {
    one_gap(
        |log| {
            log.seq += 1;
            log.session(1);
        },
        7,
        "number 9 of boot 1 stands behind number 7",
    );
    let repeated = gaps(|log| {
        log.seq -= 1;
        log.session(1);
    });
    assert!(repeated[0].1.contains("number 7 of boot 1 stands behind number 7"), "{repeated:?}");
    one_gap(
        |log| {
            log.boot += 1;
            log.session(1);
        },
        7,
        "the first event of boot 2 is number 8",
    );
    let back = gaps(|log| {
        log.boot += 3;
        log.seq = 0;
        log.session(0);
        log.boot -= 1;
        log.seq = 0;
        log.session(0);
    });
    assert!(back[0].1.contains("boot 3 stands behind boot 4"), "{back:?}");
}

#[test]
fn time_within_a_boot() {
    one_gap(
        |log| {
            log.time_us -= 1_000;
            log.session(1);
        },
        7,
        "no step of the clock",
    );
    let stepped = |log: &mut TestLog| {
        log.time_us -= 10_000_000;
        let draft = log.draft(Kind::ClockStepped).set("/detail/to_us", 5_u64);
        log.append(draft);
        log.session(1);
    };
    assert_eq!(gaps(stepped), []);
}

#[test]
fn numbers_and_chain_of_a_session() {
    one_gap(
        |log| {
            let open = log.start();
            log.chains.get_mut(&open.id).unwrap().0 += 1;
            log.statement(open, "x");
            log.end(open);
        },
        8,
        "number 3 of session",
    );
    one_gap(
        |log| {
            let open = log.start();
            log.chains.get_mut(&open.id).unwrap().1 = LeafHash([0; 32]);
            log.statement(open, "x");
            log.end(open);
        },
        8,
        "does not continue",
    );
}

#[test]
fn starts_and_ends_of_a_session() {
    one_gap(
        |log| {
            let open = log.session(0);
            log.statement(open, "after the end");
        },
        9,
        "stands behind its end",
    );
    let again = gaps(|log| {
        let open = log.start();
        let slot = loggia_model::event::SessionSlot {
            id: open.id,
            context: None,
            role: loggia_model::event::Role::Start,
        };
        let draft = log.draft(Kind::SessionStart).session(slot);
        log.append(draft);
    });
    assert!(again[0].1.contains("starts a second time"), "{again:?}");
    one_gap(
        |log| {
            let mut open = log.start();
            open.id = loggia_model::id::SessionId::from_parts(1, [9; 10]);
            log.statement(open, "of no session");
            log.statement(open, "more of it");
            log.end(open);
        },
        8,
        "before its start",
    );
}

#[test]
fn what_an_event_refers_to() {
    one_gap(
        |log| {
            let other = log.start();
            let mut open = log.start();
            open.context = other.context;
            log.statement(open, "x");
        },
        9,
        "no earlier start or context",
    );
    let context = |log: &mut TestLog| {
        let mut open = log.start();
        let draft = log.in_session(open, Kind::SessionContext);
        open.context = draft.id();
        log.append(draft);
        log.statement(open, "x");
    };
    assert_eq!(gaps(context), []);
    one_gap(
        |log| {
            let other = log.start();
            let of = log.statement(other, "x");
            let open = log.start();
            log.result(open, of);
        },
        10,
        "the result of no earlier action",
    );
}

#[test]
fn an_entry_that_is_no_event_and_a_kind_that_is_not_known() {
    one_gap(
        |log| {
            log.append_raw(b"{\"v\":1}".to_vec(), Vec::new());
        },
        7,
        "not an event",
    );
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    let (leaf, _) = log.entries.pop().unwrap();
    let text = String::from_utf8(leaf).unwrap().replace("node.boot", "node.boat");
    log.entries.clear();
    log.begin_segment();
    log.append_raw(text.into_bytes(), Vec::new());
    log.publish();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 0, "{report}");
    assert!(report.epochs[0].notes.iter().any(|note| note.contains("1 events are of kinds")));
}

#[test]
fn a_time_without_heartbeats_is_found() {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    let minute_us = 60_000_000;
    for _ in 0..5 {
        log.time_us += minute_us;
        let draft = log.draft(Kind::NodeHeartbeat);
        log.append(draft);
    }
    log.publish();
    let report = super::verify(data.path(), &log);
    assert_eq!((report.epochs[0].silences, report.epochs[0].notes.len()), (0, 0), "{report}");
    // Ten minutes in which sessions went on and no heartbeat came, then one again.
    for _ in 0..10 {
        log.time_us += minute_us;
        log.session(1);
    }
    let draft = log.draft(Kind::NodeHeartbeat);
    log.append(draft);
    // Another boot an hour later is no silence: nobody lived.
    log.time_us += 60 * minute_us;
    log.begin_boot();
    log.publish();
    let report = super::verify(data.path(), &log);
    assert_eq!(code(&report), 0, "{report}");
    assert_eq!(report.epochs[0].silences, 1, "{report}");
    assert!(report.to_string().contains("the longest for 600 s"), "{report}");
    assert_eq!(report.to_json()["epochs"][0]["silences"], 1);
}
