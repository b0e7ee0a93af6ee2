//! A log that goes on under a new key.

use super::*;
use crate::rotation::KeyRotation;
use loggia_tlog::note::Signature;

fn key(seed: u8, log: &TestLog) -> SigningKey {
    SigningKey::from_seed(log.key.name(), &[seed; 32]).unwrap()
}

fn rotation(log: &TestLog, new: &SigningKey) -> KeyRotation {
    let checkpoint = Checkpoint::open(&log.checkpoint(log.size()), &log.vkey()).unwrap();
    let (size, root) = (checkpoint.size(), checkpoint.root());
    KeyRotation::new(size, root, log.vkey(), new.verifier().clone()).unwrap()
}

/// The note with these signatures, whether or not they are enough.
fn statement(rotation: &KeyRotation, signatures: &[Signature]) -> String {
    let note = SignedNote::new(rotation.text(), signatures.to_vec());
    note.unwrap().to_string()
}

fn with_key(key: &VerifierKey) -> Trust {
    Trust { keys: vec![key.clone()], ..Trust::default() }
}

/// A log of 40 entries under its first key, with the checkpoint over them, and 300 more under two
/// others. Gives the three keys.
fn rotated_twice(data: &Path) -> (TestLog, Vec<VerifierKey>, Vec<u8>) {
    let mut log = published(data, 40);
    let mut keys = vec![log.vkey()];
    let before = log.checkpoint(40);
    for (seed, until) in [(21, 150), (22, 340)] {
        let new = key(seed, &log);
        keys.push(new.verifier().clone());
        log.rotate(new);
        log.fill(until);
        log.publish();
    }
    (log, keys, before)
}

#[test]
fn each_key_that_a_log_has_had_leads_to_all_of_it() {
    let data = tempfile::tempdir().unwrap();
    let (_, keys, before) = rotated_twice(data.path());
    for key in &keys {
        let report = verify_with(data.path(), &with_key(key));
        assert_eq!(code(&report), 0, "{report}");
        let epoch = &report.epochs[0];
        assert_eq!((epoch.size, epoch.key.as_str()), (340, keys[2].to_string().as_str()));
        assert!(report.to_string().contains("the key of the log is now"), "{report}");
        // What was seen before a change still binds the log.
        let mut known = with_key(key);
        known.known_checkpoints.push(before.clone());
        assert_eq!(code(&verify_with(data.path(), &known)), 0);
    }
    let stranger = SigningKey::from_seed(keys[0].name(), &[9; 32]).unwrap();
    let report = verify_with(data.path(), &with_key(stranger.verifier()));
    assert_eq!(code(&report), 10, "{report}");
}

#[test]
fn one_signature_is_not_enough() {
    for (missing, which) in [("old", 0), ("new", 1)] {
        let data = tempfile::tempdir().unwrap();
        let mut log = published(data.path(), 40);
        let (old, new) = (log.vkey(), key(21, &log));
        let rotation = rotation(&log, &new);
        let mut signatures =
            vec![log.key.sign(&rotation.text()).unwrap(), new.sign(&rotation.text()).unwrap()];
        signatures.remove(which);
        let text = statement(&rotation, &signatures);
        let draft = log.rotated(&rotation, text);
        log.append(draft);
        log.key = new;
        log.fill(60);
        log.publish();
        for key in [old, log.vkey()] {
            let report = verify_with(data.path(), &with_key(&key));
            assert_eq!(code(&report), 10, "{report}");
            let lacks = format!("lacks the signature of the {missing} key");
            assert!(report.to_string().contains(&lacks), "{report}");
        }
    }
}

#[test]
fn a_retired_key_signs_nothing_that_counts() {
    let data = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 40);
    let old = SigningKey::parse(&log.key.private_text()).unwrap();
    let new = key(21, &log);
    log.rotate(new);
    // Who has only the old key goes on with it.
    log.key = old;
    log.fill(60);
    log.publish();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10, "{report}");
    assert!(report.to_string().contains("only a retired key has signed it"), "{report}");
}

#[test]
fn while_both_keys_sign_each_is_enough_and_both_must_hold() {
    let data = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 40);
    let (old, new) = (SigningKey::parse(&log.key.private_text()).unwrap(), key(21, &log));
    log.rotate(new);
    log.fill(60);
    log.publish();
    let path = log.folder().checkpoint_path();
    let mut note = SignedNote::parse(&std::fs::read(&path).unwrap()).unwrap();
    note.add(old.sign(note.text()).unwrap()).unwrap();
    std::fs::write(&path, note.to_string()).unwrap();
    for key in [old.verifier(), &log.vkey()] {
        let report = verify_with(data.path(), &with_key(key));
        assert_eq!(code(&report), 0, "{report}");
    }
    let forged = Signature::new(old.verifier(), log.key.sign("x\n").unwrap().bytes().to_vec());
    note.put(forged.unwrap()).unwrap();
    std::fs::write(&path, note.to_string()).unwrap();
    assert_eq!(code(&verify_with(data.path(), &with_key(old.verifier()))), 10);
}

#[test]
fn keys_that_changed_over_another_tree_or_out_of_turn_are_named() {
    let data = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 40);
    let new = key(21, &log);
    let elsewhere = TestLog::new(&data.path().join("other"), 2);
    let wrong = KeyRotation::new(30, Hash([3; 32]), log.vkey(), new.verifier().clone()).unwrap();
    let signatures = [log.key.sign(&wrong.text()).unwrap(), new.sign(&wrong.text()).unwrap()];
    let draft = log.rotated(&wrong, statement(&wrong, &signatures));
    log.append(draft);
    log.key = new;
    // A replacement for a key that is not this log's.
    let (strange, next) = (key(31, &elsewhere), key(32, &elsewhere));
    let out_of_turn =
        KeyRotation::new(41, Hash([4; 32]), strange.verifier().clone(), next.verifier().clone())
            .unwrap();
    let text = out_of_turn.text();
    let signatures = [strange.sign(&text).unwrap(), next.sign(&text).unwrap()];
    let draft = log.rotated(&out_of_turn, statement(&out_of_turn, &signatures));
    log.append(draft);
    log.publish();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10);
    assert!(report.to_string().contains("another tree of 30 entries"), "{report}");
    assert!(report.to_string().contains("not the one of this log"), "{report}");
}

#[test]
fn an_epoch_behind_a_rotation_is_reached_from_the_first_key() {
    let data = tempfile::tempdir().unwrap();
    let mut first = published(data.path(), 40);
    let origin = first.vkey();
    let new = key(21, &first);
    first.rotate(new);
    let mut second = TestLog::new(data.path(), 2);
    first.close_for(&second);
    first.publish();
    second.open_after(&first);
    second.publish();
    let new = key(23, &second);
    second.rotate(new);
    second.fill(20);
    second.publish();
    for key in [&origin, &first.vkey(), &second.vkey()] {
        let report = verify_with(data.path(), &with_key(key));
        assert_eq!((code(&report), report.epochs.len()), (0, 2), "{report}");
    }
}
