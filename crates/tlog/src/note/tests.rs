//! Notes and keys: what is accepted, and what is refused and why.

use proptest::prelude::*;

use super::*;

// The example that the documentation of Go's sumdb/note made known.
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_PRIVATE: &str =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETER_TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                          then you don't know what your problem is.\n";
const PETER_LINE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuG\
                          UgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";

fn key(name: &str, byte: u8) -> SigningKey {
    SigningKey::from_seed(name, &[byte; 32]).unwrap()
}

fn parse(note: &str) -> Result<SignedNote, NoteError> {
    SignedNote::parse(note.as_bytes())
}

#[test]
fn the_published_example() {
    let private = SigningKey::parse(PETER_PRIVATE).unwrap();
    assert_eq!(private.verifier().to_string(), PETER);
    assert_eq!(private.private_text().as_str(), PETER_PRIVATE);
    let note = SignedNote::sign(PETER_TEXT, &private).unwrap();
    assert_eq!(note.to_string(), format!("{PETER_TEXT}\n{PETER_LINE}\n"));
    let keys = [VerifierKey::parse(PETER).unwrap()];
    let verified = note.verify(&keys).unwrap();
    assert_eq!(verified, [Verified { key: &keys[0], time_s: None }]);
}

#[test]
fn a_private_key_is_not_printed() {
    let private = SigningKey::parse(PETER_PRIVATE).unwrap();
    let printed = format!("{private:?}");
    assert_eq!(printed, "SigningKey { name: \"PeterNeumann\", id: KeyId(c74f20a3), .. }");
    let broken = PETER_PRIVATE.replace("+AYEK", "+AYEL");
    let error = SigningKey::parse(&broken).unwrap_err();
    assert!(matches!(error, NoteError::KeyIdMismatch { .. }));
    assert!(!error.to_string().contains("FALV"));
}

#[test]
fn malformed_keys() {
    let format = NoteError::KeyFormat { expected: "NAME+KEYID+BASE64" };
    for vkey in [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a3+",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
    ] {
        assert_eq!(VerifierKey::parse(vkey), Err(format.clone()), "{vkey:?}");
    }
    for vkey in [PETER.replacen("Peter", "", 1), PETER.replacen("c74", "c75", 1)] {
        assert!(matches!(VerifierKey::parse(&vkey), Err(NoteError::KeyIdMismatch { .. })));
    }
    for name in ["", " ", "a b", "a\u{a0}b", "a\u{2003}b", "a\nb", "a\u{1}b", "a+b"] {
        let public_key = VerifierKey::parse(PETER).unwrap().public_key().to_vec();
        let key = VerifierKey::new(name, KeyKind::Ed25519, &public_key);
        assert_eq!(key, Err(NoteError::KeyName), "{name:?}");
        assert!(SigningKey::from_seed(name, &[1; 32]).is_err());
    }
    assert_eq!(
        VerifierKey::parse(&PETER.replace("+AR", "+Ah")),
        Err(NoteError::KeyType { found: 2 })
    );
    // A vkey is not a private key, nor the other way round, nor a witness's one.
    assert!(SigningKey::parse(PETER).is_err());
    assert!(VerifierKey::parse(PETER_PRIVATE).is_err());
    assert_eq!(SigningKey::parse(&PETER_PRIVATE.replace("+AY", "+BI")).unwrap_err(), {
        NoteError::KeyType { found: 4 }
    });
}

#[test]
fn keys_of_small_order_are_refused() {
    // The neutral element, for which there is a signature that fits every text.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for weak in [neutral, [0; 32]] {
        let key = VerifierKey::new("log.example", KeyKind::Ed25519, &weak);
        assert_eq!(key, Err(NoteError::PublicKey));
    }
}

#[test]
fn malformed_notes() {
    let good = format!("text\n\n{PETER_LINE}\n");
    assert_eq!(parse(&good).unwrap().text(), "text\n");
    for (note, error) in [
        (String::new(), NoteError::NoSeparator),
        ("text\n".to_owned(), NoteError::NoSeparator),
        (format!("text\n{PETER_LINE}\n"), NoteError::NoSeparator),
        (format!("\n{PETER_LINE}\n"), NoteError::NoSeparator),
        (format!("text\n\n{PETER_LINE}"), NoteError::NoSeparator),
        ("text\n\n".to_owned(), NoteError::NoSignatures),
        (format!("{good}\n"), NoteError::NoSignatures),
        (good.replace("text", "te\txt"), NoteError::ControlCharacter),
        (good.replace('\n', "\r\n"), NoteError::NoSeparator),
        (good.replace(PETER_LINE, "- Peter x08go/ZJkuA="), NoteError::SignatureLine { line: 1 }),
        (format!("{good}{PETER_LINE} \n"), NoteError::SignatureLine { line: 2 }),
        (good.replace(" x08go", "  x08go"), NoteError::SignatureLine { line: 1 }),
        (good.replace(" x08go", "+x08go"), NoteError::SignatureLine { line: 1 }),
        (good.replace("PeterNeumann", "Peter+Neumann"), NoteError::SignatureLine { line: 1 }),
        (good.replace("AM=", "AM"), NoteError::SignatureLine { line: 1 }),
        (good.replace("AM=", "AN="), NoteError::SignatureLine { line: 1 }),
        // Four bytes are a key id without a signature.
        ("text\n\n\u{2014} Peter x08gow==\n".to_owned(), NoteError::SignatureLine { line: 1 }),
    ] {
        assert_eq!(parse(&note), Err(error), "{note:?}");
    }
    assert_eq!(SignedNote::parse(b"\xff\n\n"), Err(NoteError::NotUtf8));
    assert_eq!(
        SignedNote::parse(&vec![b'\n'; MAX_NOTE_BYTES + 1]),
        Err(NoteError::TooLong { found: MAX_NOTE_BYTES + 1 })
    );
    assert_eq!(SignedNote::new("text\n", vec![]), Err(NoteError::NoSignatures));
}

#[test]
fn only_what_can_be_parsed_is_signed() {
    let key = key("log.example", 1);
    assert_eq!(key.sign("text").unwrap_err(), NoteError::TextEnd);
    assert_eq!(key.sign("").unwrap_err(), NoteError::TextEnd);
    assert_eq!(key.sign("te\u{1b}xt\n").unwrap_err(), NoteError::ControlCharacter);
    let long = "x".repeat(MAX_NOTE_BYTES) + "\n";
    assert!(matches!(SignedNote::sign(long, &key), Err(NoteError::TooLong { .. })));
}

#[test]
fn the_last_empty_line_separates() {
    let key = key("log.example", 1);
    for text in ["\n", "\n\n", "a\n\nb\n", "a\n\n\n", "a\n\n\u{2014} b AAAAAAA=\n"] {
        let note = SignedNote::sign(text, &key).unwrap();
        let parsed = parse(&note.to_string()).unwrap();
        assert_eq!(parsed, note);
        assert_eq!(parsed.text(), text);
        assert_eq!(parsed.verify(&[key.verifier().clone()]).unwrap().len(), 1);
    }
}

#[test]
fn sixteen_signatures_are_accepted_and_a_hundred_and_one_are_not() {
    let keys: Vec<_> = (1..=101).map(|n| key(&format!("w{n}"), n)).collect();
    let signatures: Vec<_> = keys.iter().map(|key| key.sign("text\n").unwrap()).collect();
    let note = SignedNote::new("text\n", signatures[..16].to_vec()).unwrap();
    let known: Vec<_> = keys.iter().map(|key| key.verifier().clone()).collect();
    assert_eq!(parse(&note.to_string()).unwrap().verify(&known).unwrap().len(), 16);
    let mut full = SignedNote::new("text\n", signatures[..100].to_vec()).unwrap();
    assert_eq!(full.add(signatures[0].clone()), Ok(()));
    assert_eq!(full.add(signatures[100].clone()), Err(NoteError::TooManySignatures));
    assert_eq!(full.signatures().len(), 100);
    let over = format!("{full}{}\n", signatures[100]);
    assert_eq!(parse(&over), Err(NoteError::TooManySignatures));
}

#[test]
fn unknown_signatures_are_ignored_and_known_ones_must_hold() {
    let (log, other) = (key("log.example", 1), key("log.example", 2));
    let known = [log.verifier().clone()];
    let genuine = log.sign("text\n").unwrap();
    let forged = Signature { bytes: vec![0; 64], ..genuine.clone() };
    let short = Signature { bytes: vec![0; 63], ..genuine.clone() };
    let invalid =
        NoteError::InvalidSignature { name: "log.example".to_owned(), key_id: log.verifier().id() };
    let verify = |signatures: &[&Signature]| {
        let signatures = signatures.iter().map(|signature| (*signature).clone()).collect();
        SignedNote::new("text\n", signatures).unwrap().verify(&known).map(|found| found.len())
    };
    let unknown = other.sign("text\n").unwrap();
    // The right name with another id, and the right id under another name.
    let renamed = Signature { name: "log.example2".to_owned(), ..forged.clone() };
    assert_eq!(verify(&[&genuine]), Ok(1));
    assert_eq!(verify(&[&unknown, &renamed, &genuine]), Ok(1));
    assert_eq!(verify(&[&unknown, &renamed]), Err(NoteError::NoKnownSignature));
    assert_eq!(verify(&[&genuine, &genuine]), Ok(1));
    assert_eq!(verify(&[&forged]), Err(invalid.clone()));
    assert_eq!(verify(&[&short]), Err(invalid.clone()));
    // Go's implementation looks only at the first; that would let a bad line pass.
    assert_eq!(verify(&[&genuine, &forged]), Err(invalid));
    let note = SignedNote::sign("text\n", &log).unwrap();
    assert_eq!(note.verify(&[]), Err(NoteError::NoKnownSignature));
    let other_text = SignedNote::new("Text\n", vec![genuine]).unwrap();
    assert!(other_text.verify(&known).is_err());
}

#[test]
fn two_keys_that_cannot_be_told_apart_are_refused() {
    let log = key("log.example", 1);
    // An attacker finds a key with the same id in about 2^32 attempts.
    let double = key("log.example", 2).verifier().clone().with_id(log.verifier().id());
    let note = SignedNote::sign("text\n", &log).unwrap();
    let keys = [log.verifier().clone(), double];
    assert!(matches!(note.verify(&keys), Err(NoteError::AmbiguousKey { .. })));
    let twice = [log.verifier().clone(), log.verifier().clone()];
    assert_eq!(note.verify(&twice).unwrap().len(), 1);
}

#[test]
fn a_cosignature_counts_only_with_its_time() {
    // From the project's vectors: the witness w1 at 1790000000.
    let published = include_bytes!("../../testdata/checkpoint");
    let witness = VerifierKey::parse(
        "witness.example/w1+df1c0a35+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU",
    )
    .unwrap();
    let keys = [witness];
    let note = SignedNote::parse(published).unwrap();
    assert_eq!(note.verify(&keys).unwrap()[0].time_s, Some(1_790_000_000));
    let line = note.signatures()[1].clone();
    for byte in 0..line.bytes.len() {
        let mut altered = line.clone();
        altered.bytes[byte] ^= 1;
        let altered = SignedNote::new(note.text(), vec![altered]).unwrap();
        assert!(matches!(altered.verify(&keys), Err(NoteError::InvalidSignature { .. })));
    }
    for len in [0, 1, 7, 8, 71] {
        let bytes = line.bytes[..len].to_vec();
        let cut = Signature { bytes, ..line.clone() };
        let cut = SignedNote::new(note.text(), vec![cut]).unwrap();
        assert!(cut.verify(&keys).is_err());
    }
}

#[test]
fn a_cosignature_states_a_time_that_a_signed_number_can_hold() {
    use ed25519_dalek::Signer as _;
    let signer = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
    let public_key = signer.verifying_key();
    let keys =
        [VerifierKey::new("witness.example", KeyKind::CosignatureEd25519, public_key.as_bytes())
            .unwrap()];
    for (time_s, accepted) in [(0, true), (i64::MAX as u64, true), (1 << 63, false)] {
        let message = format!("cosignature/v1\ntime {time_s}\ntext\n");
        let signed = signer.sign(message.as_bytes()).to_bytes();
        let bytes = [u64::to_be_bytes(time_s).as_slice(), &signed].concat();
        let (name, key_id) = ("witness.example".to_owned(), keys[0].id());
        let note = SignedNote::new("text\n", vec![Signature { name, key_id, bytes }]).unwrap();
        let stated = note.verify(&keys).map(|verified| verified[0].time_s);
        assert_eq!(stated.ok(), accepted.then_some(Some(time_s)));
    }
}

fn any_text() -> impl Strategy<Value = String> {
    "([ -~\u{a0}-\u{2fff}]{0,20}\n){1,6}"
}

proptest! {
    #[test]
    fn notes_round_trip(text in any_text(), seeds in prop::collection::vec(1_u8..255, 1..4)) {
        let keys: Vec<_> = seeds.iter().map(|seed| key("log.example/a", *seed)).collect();
        let signatures = keys.iter().map(|key| key.sign(&text).unwrap()).collect();
        let note = SignedNote::new(text, signatures).unwrap();
        let parsed = SignedNote::parse(note.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&parsed, &note);
        for key in keys {
            prop_assert!(parsed.verify(&[key.verifier().clone()]).is_ok());
            let text = key.private_text();
            let parsed = SigningKey::parse(&text).unwrap();
            prop_assert_eq!(parsed.verifier(), key.verifier());
            let vkey = key.verifier().to_string();
            prop_assert_eq!(&VerifierKey::parse(&vkey).unwrap(), key.verifier());
        }
    }

    #[test]
    fn any_bytes_parse_to_themselves_or_to_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "(.{0,10}\n){0,4}\n(\u{2014} .{0,10} [A-Za-z0-9+/=]{0,16}\n){0,3}",
    ) {
        for bytes in [bytes, text.into_bytes()] {
            if let Ok(note) = SignedNote::parse(&bytes) {
                prop_assert_eq!(note.to_string().into_bytes(), bytes);
            }
        }
    }

    #[test]
    fn any_text_is_a_key_in_its_only_form_or_an_error(
        text in "(PRIVATE\\+KEY\\+)?.{0,8}\\+[0-9a-fA-F]{0,9}\\+[A-Za-z0-9+/=]{0,50}",
    ) {
        if let Ok(key) = VerifierKey::parse(&text) {
            prop_assert_eq!(key.to_string(), text.clone());
        }
        if let Ok(key) = SigningKey::parse(&text) {
            let private = key.private_text();
            prop_assert_eq!(private.as_str(), text);
        }
    }

    #[test]
    fn a_note_altered_anywhere_is_not_the_note_that_was_signed(
        text in any_text(), byte: prop::sample::Index, bit in 0_u8..8,
    ) {
        let key = key("log.example/a", 7);
        let note = SignedNote::sign(text, &key).unwrap();
        let mut bytes = note.to_string().into_bytes();
        let byte = byte.index(bytes.len());
        bytes[byte] ^= 1_u8 << bit;
        if let Ok(altered) = SignedNote::parse(&bytes) {
            prop_assert!(altered.verify(&[key.verifier().clone()]).is_err());
        }
    }
}
