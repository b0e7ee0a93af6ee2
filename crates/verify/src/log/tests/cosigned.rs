//! Witnesses: who vouches for what, and what an operator who holds the key cannot do any more.

use super::*;
use crate::witnessed::WitnessTrust;
use loggia_tlog::note::KeyKind;
use loggia_tlog::{CosignerKey, Policy, SignedNote};

const TIME_S: u64 = 1_790_000_000;

fn witness(number: u8) -> CosignerKey {
    let kind = KeyKind::CosignatureEd25519;
    let name = format!("w{number}.example");
    CosignerKey::from_seed(&name, kind, &[100 + number; 32]).unwrap()
}

/// The auditor's own witness, and one of two others.
fn policy(log: &TestLog) -> Policy {
    let [auditor, one, two] = [0, 1, 2].map(|number| witness(number).verifier().to_string());
    let text = format!(
        "log {}\nwitness auditor {auditor}\nwitness one {one}\nwitness two {two}\n\
         group others any one two\ngroup q all auditor others\nquorum q\n",
        log.vkey()
    );
    Policy::parse(text.as_bytes()).unwrap()
}

fn trusting(log: &TestLog) -> Trust {
    let witnesses = WitnessTrust { policy: policy(log), max_age_s: None, now_s: TIME_S };
    Trust { witnesses: Some(witnesses), ..trust(log) }
}

fn cosigned_by(log: &TestLog, size: u64, numbers: &[u8], time_s: u64) -> Vec<u8> {
    let plain = log.checkpoint(size);
    let checkpoint = Checkpoint::open(&plain, &log.vkey()).unwrap();
    let mut note = SignedNote::parse(&plain).unwrap();
    for number in numbers {
        note.add(witness(*number).cosign(&checkpoint, time_s).unwrap()).unwrap();
    }
    note.to_string().into_bytes()
}

fn put(log: &TestLog, note: Vec<u8>) {
    std::fs::write(log.folder().cosigned_path(), note).unwrap();
}

#[test]
fn the_verdict_says_who_vouches_for_what_and_since_when() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 700);
    put(&log, cosigned_by(&log, 600, &[0, 2], TIME_S));
    let report = verify_with(data.path(), &trusting(&log));
    assert_eq!((code(&report), report.trust()), (0, "cosigned"), "{report}");
    let text = report.to_string();
    assert!(text.contains("cosigned: entries 0 to 600 by auditor (2026-09-21T14:13:20Z), two ("));
    assert!(text.contains("not cosigned: entries 600 to 700, operator-trusted only"), "{text}");
    assert!(text.contains("not attested"), "{text}");
    let json = report.to_json();
    assert_eq!(json["policy"], "all of (auditor, any of (one, two))");
    assert_eq!(json["epochs"][0]["cosigned"]["size"], 600);
    assert_eq!(json["epochs"][0]["not_cosigned"], serde_json::json!([600, 700]));
    // Without a policy nobody says which witnesses count.
    let alone = verify(data.path(), &log);
    assert_eq!((code(&alone), alone.trust()), (0, "operator_trusted_only"));
    assert!(alone.to_string().contains("operator-trusted only"));
}

#[test]
fn less_than_the_quorum_is_exit_code_12() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    let expect = |numbers: &[u8], exit_code: u8| {
        put(&log, cosigned_by(&log, 300, numbers, TIME_S));
        let report = verify_with(data.path(), &trusting(&log));
        assert_eq!(code(&report), exit_code, "{numbers:?}: {report}");
        report.to_string()
    };
    expect(&[0, 1, 2], 0);
    assert!(
        expect(&[1, 2], 12).contains("the policy asks for all of (auditor, any of (one, two))")
    );
    assert!(expect(&[0], 12).contains("cosigned by auditor"));
    // A witness of which the policy knows nothing does not count.
    expect(&[0, 9], 12);
    std::fs::remove_file(log.folder().cosigned_path()).unwrap();
    let report = verify_with(data.path(), &trusting(&log));
    assert_eq!(code(&report), 12, "{report}");
    // A checkpoint that the verifier holds may be what is cosigned.
    let held = cosigned_by(&log, 200, &[0, 1], TIME_S);
    let trust = Trust { known_checkpoints: vec![held], ..trusting(&log) };
    let report = verify_with(data.path(), &trust);
    assert_eq!(code(&report), 0, "{report}");
    assert_eq!(report.epochs[0].not_cosigned(), Some(200..300));
}

#[test]
fn an_old_copy_does_not_pass_for_the_newest() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    put(&log, cosigned_by(&log, 300, &[0, 1], TIME_S));
    let aged = |now_s: u64| {
        let mut trust = trusting(&log);
        trust.witnesses.as_mut().unwrap().max_age_s = Some(600);
        trust.witnesses.as_mut().unwrap().now_s = now_s;
        verify_with(data.path(), &trust)
    };
    assert_eq!(code(&aged(TIME_S + 600)), 0);
    let stale = aged(TIME_S + 601);
    assert_eq!(code(&stale), 12, "{stale}");
    assert!(stale.to_string().contains("too old"), "{stale}");
}

#[test]
fn a_tail_cut_with_the_key_is_noticed_because_of_the_witnesses() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 700);
    let cosigned = cosigned_by(&log, 700, &[0, 1], TIME_S);
    // The thief has the key: everything is written anew, shorter, and signed.
    let cut_data = tempfile::tempdir().unwrap();
    let mut cut = TestLog::with_key(cut_data.path(), 1, signing(&log));
    for (leaf, disclosure) in log.entries.iter().take(400).cloned() {
        cut.append_raw(leaf, disclosure);
    }
    cut.publish();
    assert_eq!(code(&verify(cut_data.path(), &cut)), 0, "its own key alone shows nothing");
    // Without the cosignatures it fails the policy; with those of the whole log it is caught.
    assert_eq!(code(&verify_with(cut_data.path(), &trusting(&cut))), 12);
    put(&cut, cosigned);
    let report = verify_with(cut_data.path(), &trusting(&cut));
    assert_eq!(code(&report), 10, "{report}");
    assert!(report.to_string().contains("its tail was cut"), "{report}");
}

#[test]
fn a_history_written_anew_with_the_key_is_noticed_because_of_the_witnesses() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    let cosigned = cosigned_by(&log, 300, &[0, 1], TIME_S);
    let other_data = tempfile::tempdir().unwrap();
    let mut other = TestLog::with_key(other_data.path(), 1, signing(&log));
    other.begin_boot();
    other.session(1);
    other.fill(400);
    other.publish();
    assert_eq!(code(&verify(other_data.path(), &other)), 0);
    assert_eq!(code(&verify_with(other_data.path(), &trusting(&other))), 12);
    put(&other, cosigned);
    let report = verify_with(other_data.path(), &trusting(&other));
    assert_eq!(code(&report), 10, "{report}");
    assert!(report.to_string().contains("the log was written anew"), "{report}");
}

#[test]
fn a_cosignature_that_nobody_wrote_is_tampering() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    let forged = {
        let genuine = SignedNote::parse(&cosigned_by(&log, 200, &[0], TIME_S)).unwrap();
        let mut note = SignedNote::parse(&log.checkpoint(300)).unwrap();
        note.add(genuine.signatures()[1].clone()).unwrap();
        note.to_string().into_bytes()
    };
    put(&log, forged.clone());
    let report = verify_with(data.path(), &trusting(&log));
    assert_eq!(code(&report), 10, "{report}");
    assert!(report.to_string().contains("log/cosigned"), "{report}");
    put(&log, cosigned_by(&log, 300, &[0, 1], TIME_S));
    std::fs::write(log.folder().checkpoint_path(), forged).unwrap();
    assert_eq!(code(&verify_with(data.path(), &trusting(&log))), 10);
}

#[test]
fn any_flipped_byte_of_the_cosigned_checkpoint_is_noticed() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 20);
    let good = cosigned_by(&log, 20, &[0, 1], TIME_S);
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        put(&log, bad);
        let report = verify_with(data.path(), &trusting(&log));
        assert!(matches!(code(&report), 10 | 12), "byte {place}: {report}");
    }
}

#[test]
fn an_entry_dated_back_is_flagged() {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    log.fill(100);
    log.publish();
    let time_s = |log: &TestLog| u64::try_from(log.time_us / 1_000_000).unwrap();
    let first = cosigned_by(&log, 100, &[0, 1], time_s(&log) + 1);
    let report = |log: &TestLog| {
        let trust = Trust { known_checkpoints: vec![first.clone()], ..trusting(log) };
        verify_with(data.path(), &trust)
    };
    log.time_us += 3_600_000_000;
    log.fill(110);
    log.publish();
    assert_eq!(report(&log).epochs[0].outside_bracket, 0);
    // An hour later the clock is set back by two, and said to be.
    log.time_us -= 2 * 3_600_000_000;
    let draft = log.draft(Kind::ClockStepped);
    let at = log.append(draft);
    log.publish();
    let report = report(&log);
    assert_eq!((code(&report), report.epochs[0].outside_bracket), (0, 1), "{report}");
    assert!(report.to_string().contains(&format!("the first of them {at}")), "{report}");
}

fn signing(log: &TestLog) -> SigningKey {
    SigningKey::parse(&log.key.private_text()).unwrap()
}
