use proptest::prelude::*;

use super::*;
use crate::hash::{EMPTY_ROOT, Hash};
use crate::note::SigningKey;

const TIME_S: u64 = 1_790_000_000;

fn keys(seed: u8) -> [CosignerKey; 2] {
    [(KeyKind::CosignatureEd25519, seed), (KeyKind::CosignatureMlDsa44, seed + 100)]
        .map(|(kind, seed)| CosignerKey::from_seed("witness.example/w", kind, &[seed; 32]).unwrap())
}

fn log() -> SigningKey {
    SigningKey::from_seed("log.example", &[9; 32]).unwrap()
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint::new("log.example", size, Hash([7; 32])).unwrap()
}

#[test]
fn both_kinds_sign_and_verify() {
    let checkpoint = checkpoint(300);
    let mut note = checkpoint.sign(&log()).unwrap();
    let witnesses = keys(1);
    let public: Vec<_> = witnesses.iter().map(|key| key.verifier().clone()).collect();
    let lines = witnesses.each_ref().map(|key| key.cosign(&checkpoint, TIME_S).unwrap());
    assert_eq!(lines.each_ref().map(|line| line.bytes().len()), [8 + 64, 8 + 2420]);
    let taken = merge(&mut note, &lines, &public).unwrap();
    assert_eq!(taken.len(), 2);
    let opened = Checkpoint::verify_note(&note, log().verifier(), &public).unwrap();
    assert_eq!(opened.cosignatures, taken);
    assert!(taken.iter().all(|cosignature| cosignature.time_s == Some(TIME_S)));
    // The same lines again change nothing; newer ones take their place.
    let before = note.clone();
    merge(&mut note, &lines, &public).unwrap();
    assert_eq!(note, before);
    let newer = witnesses.each_ref().map(|key| key.cosign(&checkpoint, TIME_S + 1).unwrap());
    merge(&mut note, &newer, &public).unwrap();
    assert_eq!(note.signatures().len(), 3);
    let opened = Checkpoint::verify_note(&note, log().verifier(), &public).unwrap();
    assert!(opened.cosignatures.iter().all(|one| one.time_s == Some(TIME_S + 1)));
}

#[test]
fn what_a_line_covers() {
    let signed = checkpoint(300);
    let other = checkpoint(301);
    let renamed = Checkpoint::new("log.example/x", 300, Hash([7; 32])).unwrap();
    for key in keys(1) {
        let line = key.cosign(&signed, TIME_S).unwrap();
        let check = |checkpoint: &Checkpoint, bytes: &[u8]| {
            key.verifier().check(&format!("{checkpoint}"), bytes)
        };
        assert_eq!(check(&signed, line.bytes()), Some(Some(TIME_S)));
        assert_eq!(check(&other, line.bytes()), None);
        assert_eq!(check(&renamed, line.bytes()), None);
        let mut later = line.bytes().to_vec();
        later[7] ^= 1;
        assert_eq!(check(&signed, &later), None);
        assert_eq!(check(&signed, &line.bytes()[1..]), None);
        // Neither kind of key takes a signature of the other, nor of the log.
        let text = format!("{signed}");
        let plain = log().sign(&text).unwrap();
        assert_eq!(check(&signed, plain.bytes()), None);
    }
}

#[test]
fn extension_lines_are_covered_by_ed25519_alone() {
    let text = "log.example\n300\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\nmore\n";
    let with_more = Checkpoint::parse(text).unwrap();
    let [ed25519, ml_dsa] = keys(1);
    let line = ed25519.cosign(&with_more, TIME_S).unwrap();
    let plain = format!("{}", checkpoint(300));
    assert_eq!(ed25519.verifier().check(text, line.bytes()), Some(Some(TIME_S)));
    assert_eq!(ed25519.verifier().check(&plain, line.bytes()), None);
    let line = ml_dsa.cosign(&with_more, TIME_S).unwrap();
    assert_eq!(ml_dsa.verifier().check(&plain, line.bytes()), Some(Some(TIME_S)));
}

#[test]
fn a_name_belongs_to_an_ml_dsa_cosignature() {
    let kind = KeyKind::CosignatureMlDsa44;
    let one = CosignerKey::from_seed("one.example", kind, &[3; 32]).unwrap();
    let two = CosignerKey::from_seed("two.example", kind, &[3; 32]).unwrap();
    assert!(one.verifier().same_key(two.verifier()));
    assert_ne!(one.verifier(), two.verifier());
    let line = one.cosign(&checkpoint(3), TIME_S).unwrap();
    assert_eq!(two.verifier().check(&format!("{}", checkpoint(3)), line.bytes()), None);
}

#[test]
fn times_and_names_that_cannot_be_signed() {
    for key in keys(1) {
        for time_s in [0, 1 << 63, u64::MAX] {
            let error = key.cosign(&checkpoint(3), time_s).unwrap_err();
            assert_eq!(error, NoteError::CosignedTime { found: time_s });
        }
        assert!(key.cosign(&checkpoint(3), (1 << 63) - 1).is_ok());
    }
    let long = "x".repeat(256);
    let kind = KeyKind::CosignatureMlDsa44;
    let refused = CosignerKey::from_seed(&long, kind, &[1; 32]).unwrap_err();
    assert_eq!(refused, NoteError::CosignedName);
    let long_log = Checkpoint::new(long, 3, Hash([7; 32])).unwrap();
    assert_eq!(keys(1)[1].cosign(&long_log, TIME_S).unwrap_err(), NoteError::CosignedName);
    let refused = CosignerKey::from_seed("w", KeyKind::Ed25519, &[1; 32]).unwrap_err();
    assert_eq!(refused, NoteError::KeyType { found: 1 });
}

#[test]
fn a_time_of_zero_is_no_statement_that_counts() {
    let [_, key] = keys(1);
    let checkpoint = Checkpoint::new("log.example", 0, EMPTY_ROOT).unwrap();
    let Private::MlDsa44(private) = &key.key else { panic!("another kind") };
    let message = ml_dsa_message(key.name(), 0, &checkpoint).unwrap();
    let signature = private.expanded_key().sign_deterministic(&message, &[]).unwrap();
    let bytes = [&[0; 8], signature.encode().as_slice()].concat();
    assert_eq!(key.verifier().check(&format!("{checkpoint}"), &bytes), Some(None));
    let line = Signature { name: key.name().into(), key_id: key.verifier().id(), bytes };
    let mut note = checkpoint.sign(&log()).unwrap();
    let known = [key.verifier().clone()];
    assert!(matches!(merge(&mut note, &[line], &known), Err(CheckpointError::Signature(_))));
}

#[test]
fn lines_of_strangers_are_left_out_and_false_ones_refused() {
    let signed = checkpoint(300);
    let mut note = signed.sign(&log()).unwrap();
    let [known, _] = keys(1);
    let [stranger, _] = keys(2);
    let good = known.cosign(&signed, TIME_S).unwrap();
    let strange = stranger.cosign(&signed, TIME_S).unwrap();
    let witnesses = [known.verifier().clone()];
    let taken = merge(&mut note, &[strange, good.clone()], &witnesses).unwrap();
    assert_eq!((taken.len(), note.signatures().len()), (1, 2));
    let before = note.clone();
    let bad = known.cosign(&checkpoint(301), TIME_S).unwrap();
    assert!(merge(&mut note, &[good, bad], &witnesses).is_err());
    assert_eq!(note, before);
}

#[test]
fn private_text_round_trips_and_is_not_printed() {
    for key in keys(7) {
        let text = key.private_text();
        let again = CosignerKey::parse(&text).unwrap();
        assert_eq!(again.verifier(), key.verifier());
        assert_eq!(*again.private_text(), *text);
        assert!(!format!("{key:?}").contains(&text[text.len() - 20..]));
        assert!(CosignerKey::parse(&text.replacen("witness", "another", 1)).is_err());
        assert!(SigningKey::parse(&text).is_err());
        let vkey = key.verifier().to_string();
        assert_eq!(&VerifierKey::parse(&vkey).unwrap(), key.verifier());
        assert!(CosignerKey::parse(&vkey).is_err());
        assert!(VerifierKey::parse(&vkey[..vkey.len() - 4]).is_err());
    }
    assert!(CosignerKey::parse(&log().private_text()).is_err());
}

#[test]
fn answers_are_strict() {
    let line = keys(1)[0].cosign(&checkpoint(300), TIME_S).unwrap();
    let text = format_lines(&[line.clone(), line.clone()]);
    assert_eq!(parse_lines(text.as_bytes()).unwrap(), [line.clone(), line.clone()]);
    for bad in ["", "\n", &text[3..], text.trim_end(), &format!("{text}\n"), &format!("\n{text}")] {
        assert!(parse_lines(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let many = format_lines(&vec![line; MAX_ANSWER_LINES + 1]);
    assert_eq!(parse_lines(many.as_bytes()), Err(NoteError::TooManySignatures));
}

proptest! {
    #[test]
    fn whatever_is_cosigned_verifies_and_nothing_else(
        size in 1..u64::MAX / 2, root: [u8; 32], time_s in 1..u64::MAX / 2, flip in 0..72_usize,
    ) {
        let checkpoint = Checkpoint::new("log.example", size, Hash(root)).unwrap();
        let [key, _] = keys(1);
        let line = key.cosign(&checkpoint, time_s).unwrap();
        let text = format!("{checkpoint}");
        prop_assert_eq!(key.verifier().check(&text, line.bytes()), Some(Some(time_s)));
        let mut altered = line.bytes().to_vec();
        altered[flip] ^= 0x40;
        prop_assert_eq!(key.verifier().check(&text, &altered), None);
    }

    #[test]
    fn answers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(lines) = parse_lines(&bytes) {
            prop_assert_eq!(format_lines(&lines).into_bytes(), bytes);
        }
    }
}
