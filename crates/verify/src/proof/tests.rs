use super::*;
use crate::testlog::{Open, TestLog};
use crate::witnessed::WitnessTrust;
use loggia_model::catalogue::Kind;
use loggia_tlog::note::KeyKind;
use loggia_tlog::{CosignerKey, Policy, SigningKey};

/// A log of 300 entries, an open session with one statement behind them, and the statement's id.
fn published(data: &Path) -> (TestLog, Open, EventId) {
    let mut log = TestLog::new(data, 1);
    log.begin_boot();
    let open = log.start();
    log.fill(300);
    let id = log.statement(open, "drop table accounts");
    log.publish();
    (log, open, id)
}

fn check(part: &ProofPart, keys: &[VerifierKey]) -> Result<Proven, Unproven> {
    let trust = Trust { keys: keys.to_vec(), ..Trust::default() };
    verify_proof(part.proof.as_bytes(), &part.leaf, part.disclosure.as_deref(), &trust)
}

#[test]
fn a_proof_brings_the_cosignatures_and_is_held_to_a_policy() {
    let data = tempfile::tempdir().unwrap();
    let (log, open, id) = published(data.path());
    let kind = KeyKind::CosignatureEd25519;
    let witness = CosignerKey::from_seed("w.example", kind, &[4; 32]).unwrap();
    let plain = log.checkpoint(log.size());
    let mut note = SignedNote::parse(&plain).unwrap();
    let checkpoint = Checkpoint::open(&plain, &log.vkey()).unwrap();
    note.add(witness.cosign(&checkpoint, 1_790_000_000).unwrap()).unwrap();
    std::fs::write(log.folder().cosigned_path(), note.to_string()).unwrap();

    let vkey = log.vkey();
    let policy = format!("log {}\nwitness auditor {}\n", log.vkey(), witness.verifier());
    let trust = |quorum: &str| Trust {
        keys: vec![vkey.clone()],
        witnesses: Some(WitnessTrust {
            policy: Policy::parse(format!("{policy}quorum {quorum}\n").as_bytes()).unwrap(),
            max_age_s: None,
            now_s: 0,
        }),
        ..Trust::default()
    };
    let verify = |part: &ProofPart, quorum: &str| {
        verify_proof(part.proof.as_bytes(), &part.leaf, None, &trust(quorum))
    };
    let part = prove(data.path(), Wanted::Event(id)).unwrap().event;
    let proven = verify(&part, "auditor").unwrap();
    assert_eq!(proven.cosigned.as_ref().unwrap().by[0].witness, "auditor");
    assert!(proven.to_string().contains("cosigned by auditor (2026-09-21"), "{proven}");
    assert_eq!(proven.to_json()["trust"], "cosigned");
    let none = verify(&part, "none").unwrap();
    assert!(none.trust().contains("operator-trusted only"));

    // What came after it stands under the newest checkpoint, which nobody has cosigned.
    let mut log = log;
    let later = log.statement(open, "select 1");
    log.publish();
    let part = prove(data.path(), Wanted::Event(later)).unwrap().event;
    let refused = verify(&part, "auditor").unwrap_err();
    assert_eq!(refused.verdict, Verdict::NoQuorum, "{refused}");
    assert_eq!(refused.verdict.exit_code(), 12);
    // A line in the witness's name that it never wrote.
    let forged = witness.cosign(&checkpoint, 1_790_000_000).unwrap();
    let mut proof = TlogProof::parse(part.proof.as_bytes()).unwrap();
    proof.checkpoint.add(forged).unwrap();
    let part = ProofPart { proof: proof.to_string(), ..part };
    assert_eq!(verify(&part, "auditor").unwrap_err().verdict, Verdict::Tampered);
}

#[test]
fn a_proof_holds_without_the_log_and_brings_its_context() {
    let data = tempfile::tempdir().unwrap();
    let (log, open, id) = published(data.path());
    let bundle = prove(data.path(), Wanted::Event(id)).unwrap();
    assert_eq!(bundle, prove(&log.dir(), Wanted::Index(300)).unwrap());
    drop(data);
    let keys = [log.vkey()];
    let proven = check(&bundle.event, &keys).unwrap();
    assert_eq!((proven.index, proven.size, proven.event.id), (300, 301, id));
    assert_eq!(proven.values, [("/detail/text".to_owned(), Value::from("drop table accounts"))]);
    assert!(proven.to_string().contains("/detail/text: drop table accounts"), "{proven}");
    assert_eq!(proven.to_json()["values"]["/detail/text"], "drop table accounts");
    let context = check(bundle.context.as_ref().unwrap(), &keys).unwrap();
    assert_eq!((context.index, context.event.id), (1, open.context));
    proven.explained_by(&context).unwrap();
    assert_eq!(context.explained_by(&proven).unwrap_err().verdict, Verdict::Tampered);
    assert_eq!(proven.explained_by(&proven).unwrap_err().verdict, Verdict::Tampered);
    // Without the disclosure the proof holds, and says what is missing.
    let closed = ProofPart { disclosure: None, ..bundle.event };
    let proven = check(&closed, &keys).unwrap();
    assert!(proven.values.is_empty() && proven.undisclosed == ["/detail/text"]);
}

#[test]
fn every_entry_can_be_proven() {
    let data = tempfile::tempdir().unwrap();
    let (log, _, _) = published(data.path());
    for index in [0, 1, 2, 100, 255, 256, 257, 299] {
        let bundle = prove(data.path(), Wanted::Index(index)).unwrap();
        let proven = check(&bundle.event, &[log.vkey()]).unwrap();
        assert_eq!(proven.index, index);
        assert_eq!(bundle.event.leaf, log.entries[index as usize].0);
        let in_a_session = proven.event.session.is_some();
        let start = proven.event.known_kind() == Some(Kind::SessionStart);
        assert_eq!(bundle.context.is_some(), in_a_session && !start, "{index}");
    }
}

#[test]
fn every_byte_counts() {
    let data = tempfile::tempdir().unwrap();
    let (log, _, id) = published(data.path());
    let bundle = prove(data.path(), Wanted::Event(id)).unwrap();
    let keys = [log.vkey()];
    let refused = |part: ProofPart, what: &str, place: usize| {
        let refused = check(&part, &keys).err();
        assert_eq!(refused.map(|why| why.verdict), Some(Verdict::Tampered), "{what} {place}");
    };
    let part = bundle.event;
    for place in 0..part.leaf.len() {
        let mut part = part.clone();
        part.leaf[place] ^= 1;
        refused(part, "entry", place);
    }
    let disclosure = part.disclosure.clone().unwrap();
    for place in 0..disclosure.len() {
        let mut disclosure = disclosure.clone();
        disclosure[place] ^= 1 << (place % 7);
        refused(ProofPart { disclosure: Some(disclosure), ..part.clone() }, "disclosure", place);
    }
    let trust = Trust { keys: keys.to_vec(), ..Trust::default() };
    for place in 0..part.proof.len() {
        let mut proof = part.proof.clone().into_bytes();
        proof[place] ^= 1;
        let outcome = verify_proof(&proof, &part.leaf, None, &trust);
        assert_eq!(outcome.unwrap_err().verdict, Verdict::Tampered, "proof {place}");
    }
}

#[test]
fn a_foreign_log_and_a_forged_one() {
    let data = tempfile::tempdir().unwrap();
    let (log, _, id) = published(data.path());
    let part = prove(data.path(), Wanted::Event(id)).unwrap().event;
    let other = SigningKey::from_seed("loggia.internal/other", &[1; 32]).unwrap();
    let refused = check(&part, &[other.verifier().clone()]).unwrap_err();
    assert_eq!(refused.verdict, Verdict::OtherOrigin);
    let forger = SigningKey::from_seed(log.key.name(), &[9; 32]).unwrap();
    let refused = check(&part, &[forger.verifier().clone()]).unwrap_err();
    assert_eq!(refused.verdict, Verdict::Tampered);
}

#[test]
fn what_is_not_yet_signed_for_and_what_is_not_there() {
    let data = tempfile::tempdir().unwrap();
    let (mut log, open, _) = published(data.path());
    let late = log.statement(open, "select 1");
    log.write_wal();
    for wanted in [Wanted::Event(late), Wanted::Index(301)] {
        let refused = prove(data.path(), wanted).unwrap_err();
        assert!(matches!(refused, ProveError::NotYet(_)), "{refused}");
        assert!(refused.to_string().ends_with("try again in a second"));
    }
    let nobody = EventId::from_parts(1, [9; 10]);
    for wanted in [Wanted::Event(nobody), Wanted::Index(302)] {
        let refused = prove(data.path(), wanted).unwrap_err();
        assert!(matches!(refused, ProveError::NotFound(_)), "{refused}");
    }
    let empty = tempfile::tempdir().unwrap();
    let refused = prove(empty.path(), Wanted::Index(0)).unwrap_err();
    assert!(matches!(refused, ProveError::NoLog(_)), "{refused}");
}

#[test]
fn a_damaged_log_gives_no_proof_that_does_not_hold() {
    let data = tempfile::tempdir().unwrap();
    let (log, _, id) = published(data.path());
    let tile = loggia_tlog::TileId::in_tree(0, 1, 301).unwrap();
    let file = log.folder().tile_path(&tile);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[7] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let refused = prove(data.path(), Wanted::Event(id)).unwrap_err();
    assert!(matches!(refused, ProveError::Damaged { .. }), "{refused}");
}

#[test]
fn an_event_of_an_earlier_epoch_is_found() {
    let data = tempfile::tempdir().unwrap();
    let (log, _, id) = published(data.path());
    let mut next = TestLog::new(data.path(), 2);
    next.boot = 1;
    next.begin_boot();
    next.publish();
    let part = prove(data.path(), Wanted::Event(id)).unwrap().event;
    assert_eq!(check(&part, &[log.vkey()]).unwrap().index, 300);
    let part = prove(data.path(), Wanted::Index(0)).unwrap().event;
    assert_eq!(check(&part, &[next.vkey()]).unwrap().size, 1);
}
