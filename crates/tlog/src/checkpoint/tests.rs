//! Checkpoints: one form only, and whose they are.

use proptest::prelude::*;

use super::*;

const ROOT: &str = "pipUvjMpT/1aXExjf9dUYwtxqJLoNW46Zmpcin/9FRg=";

fn key(name: &str, byte: u8) -> SigningKey {
    SigningKey::from_seed(name, &[byte; 32]).unwrap()
}

fn checkpoint(origin: &str) -> Checkpoint {
    Checkpoint::new(origin, 70_000, Hash::from_base64(ROOT).unwrap()).unwrap()
}

#[test]
fn malformed_checkpoints() {
    let empty = EMPTY_ROOT.to_base64();
    for (text, error) in [
        (String::new(), CheckpointError::Lines),
        ("\n".to_owned(), CheckpointError::Lines),
        (format!("log\n1\n{ROOT}"), CheckpointError::Lines),
        ("log\n1\n".to_owned(), CheckpointError::Lines),
        (format!("\n1\n{ROOT}\n"), CheckpointError::Lines),
        (format!("log\n\n{ROOT}\n"), CheckpointError::Lines),
        (format!("log\n1\n{ROOT}\n\n"), CheckpointError::Lines),
        (format!("log\n1\n{ROOT}\n\nx\n"), CheckpointError::Lines),
        (format!("log\n1\n{ROOT}\na\tb\n"), CheckpointError::Lines),
        (format!("l\tog\n1\n{ROOT}\n"), CheckpointError::Origin),
        (format!("log\n01\n{ROOT}\n"), CheckpointError::Size),
        (format!("log\n+1\n{ROOT}\n"), CheckpointError::Size),
        (format!("log\n-1\n{ROOT}\n"), CheckpointError::Size),
        (format!("log\n 1\n{ROOT}\n"), CheckpointError::Size),
        (format!("log\n0x1\n{ROOT}\n"), CheckpointError::Size),
        (format!("log\n00\n{empty}\n"), CheckpointError::Size),
        (format!("log\n9223372036854775808\n{ROOT}\n"), CheckpointError::Size),
        (format!("log\n99999999999999999999\n{ROOT}\n"), CheckpointError::Size),
        (format!("log\n0\n{ROOT}\n"), CheckpointError::EmptyTreeRoot),
        ("log\n1\nAAAA\n".to_owned(), CheckpointError::Root),
        (format!("log\n1\n{}\n", ROOT.replace("Rg=", "Rh=")), CheckpointError::Root),
    ] {
        assert_eq!(Checkpoint::parse(&text), Err(error), "{text:?}");
    }
    assert_eq!(Checkpoint::parse(&format!("log\n0\n{empty}\n")).unwrap().size(), 0);
    let largest = format!("log\n9223372036854775807\n{ROOT}\n");
    assert_eq!(Checkpoint::parse(&largest).unwrap().size(), MAX_TREE_SIZE);
}

#[test]
fn extension_lines_are_kept_and_signed() {
    let text = format!("log.example\n70000\n{ROOT}\nextension 1\nextension 2\n");
    let parsed = Checkpoint::parse(&text).unwrap();
    assert_eq!(parsed.extensions(), ["extension 1", "extension 2"]);
    assert_eq!(parsed.to_string(), text);
    let key = key("log.example", 1);
    let note = parsed.sign(&key).unwrap().to_string();
    assert_eq!(Checkpoint::open(note.as_bytes(), key.verifier()), Ok(parsed));
    let without = note.replace("extension 2\n", "");
    assert!(matches!(
        Checkpoint::open(without.as_bytes(), key.verifier()),
        Err(CheckpointError::Signature(NoteError::InvalidSignature { .. }))
    ));
}

#[test]
fn another_log_is_told_from_a_bad_signature() {
    let (log, other) = (key("log.example/a", 1), key("log.example/b", 2));
    let note = checkpoint("log.example/a").sign(&log).unwrap().to_string();
    let mismatch = |expected: &str, found: &str| CheckpointError::OriginMismatch {
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    assert_eq!(
        Checkpoint::open(note.as_bytes(), other.verifier()),
        Err(mismatch("log.example/b", "log.example/a"))
    );
    assert_eq!(
        checkpoint("log.example/a").sign(&other).unwrap_err(),
        mismatch("log.example/b", "log.example/a")
    );
    // The right origin, signed by another key of the same name.
    let thief = key("log.example/a", 3);
    let note = checkpoint("log.example/a").sign(&thief).unwrap().to_string();
    assert_eq!(
        Checkpoint::open(note.as_bytes(), log.verifier()),
        Err(CheckpointError::Signature(NoteError::NoKnownSignature))
    );
    // The right origin and key, a signature of another text.
    let note = checkpoint("log.example/a").sign(&log).unwrap().to_string();
    let altered = note.replace("70000", "70001");
    assert!(matches!(
        Checkpoint::open(altered.as_bytes(), log.verifier()),
        Err(CheckpointError::Signature(NoteError::InvalidSignature { .. }))
    ));
    assert!(matches!(
        Checkpoint::open(b"log.example/a\n", log.verifier()),
        Err(CheckpointError::Note(NoteError::NoSeparator))
    ));
}

#[test]
fn witnesses_alone_are_not_the_log() {
    let published = include_bytes!("../../testdata/checkpoint");
    let log = key("vectors.example/audit-0", 1);
    let witness = VerifierKey::parse(
        "witness.example/w1+df1c0a35+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU",
    )
    .unwrap();
    let witnesses = [witness.clone()];
    let opened = Checkpoint::open_cosigned(published, log.verifier(), &witnesses).unwrap();
    assert_eq!(opened.cosignatures.len(), 1);
    assert_eq!(opened.cosignatures[0].key_id, witness.id());
    assert_eq!(opened.cosignatures[0].time_s, Some(1_790_000_000));

    let note = SignedNote::parse(published).unwrap();
    let cosigned = SignedNote::new(note.text(), vec![note.signatures()[1].clone()]).unwrap();
    assert_eq!(
        Checkpoint::verify_note(&cosigned, log.verifier(), &witnesses),
        Err(CheckpointError::Signature(NoteError::NoKnownSignature))
    );
    assert_eq!(
        Checkpoint::open(published, &witness),
        Err(CheckpointError::NotALogKey { name: "witness.example/w1".to_owned() })
    );
    // The log does not witness itself.
    let as_witness = [log.verifier().clone()];
    let opened = Checkpoint::open_cosigned(published, log.verifier(), &as_witness).unwrap();
    assert!(opened.cosignatures.is_empty());
}

#[test]
fn a_forged_cosignature_of_a_known_witness_rejects_the_checkpoint() {
    let log = key("log.example", 1);
    let witness = key("witness.example", 2);
    let mut note = checkpoint("log.example").sign(&log).unwrap();
    note.add(witness.sign("something else\n").unwrap()).unwrap();
    let known = [witness.verifier().clone()];
    assert!(Checkpoint::verify_note(&note, log.verifier(), &[]).is_ok());
    assert!(matches!(
        Checkpoint::verify_note(&note, log.verifier(), &known),
        Err(CheckpointError::Signature(NoteError::InvalidSignature { name, .. }))
            if name == "witness.example"
    ));
}

proptest! {
    #[test]
    fn checkpoints_round_trip(origin in "[ -~]{1,30}", size in 1..=MAX_TREE_SIZE, root: [u8; 32]) {
        let made = Checkpoint::new(origin, size, Hash(root)).unwrap();
        prop_assert_eq!(Checkpoint::parse(&made.to_string()), Ok(made));
    }

    #[test]
    fn any_text_parses_to_itself_or_to_an_error(
        text in "(.{0,10}\n){0,2}[+0-9]{0,21}\n([A-Za-z0-9+/]{43}=\n)?(.{0,5}\n){0,2}",
        junk in "\\PC{0,60}",
    ) {
        for text in [text, junk] {
            if let Ok(checkpoint) = Checkpoint::parse(&text) {
                prop_assert_eq!(checkpoint.to_string(), text);
            }
        }
    }
}
