//! Proof files: one form only, and nothing else than the entry fits.

use proptest::prelude::*;

use super::*;
use crate::merkle::{CompactRange, MAX_TREE_SIZE};
use crate::note::SigningKey;

fn key() -> SigningKey {
    SigningKey::from_seed("log.example", &[1; 32]).unwrap()
}

fn single() -> TlogProof {
    let mut range = CompactRange::new();
    range.append(leaf_hash(b"entry"));
    let checkpoint = Checkpoint::new("log.example", 1, range.root()).unwrap();
    let checkpoint = checkpoint.sign(&key()).unwrap();
    TlogProof { extra: None, index: 0, hashes: vec![], checkpoint }
}

#[test]
fn the_only_entry_needs_no_hashes() {
    let proof = single();
    let text = proof.to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 0\n\nlog.example\n1\n"));
    let parsed = TlogProof::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed, proof);
    let opened = parsed.verify(b"entry", key().verifier(), &[]).unwrap();
    assert_eq!((opened.checkpoint.size(), opened.cosignatures.len()), (1, 0));
    assert_eq!(
        parsed.verify(b"other", key().verifier(), &[]),
        Err(ProofError::Inclusion(MerkleError::RootMismatch))
    );
    let moved = TlogProof { index: 1, ..proof };
    assert!(matches!(
        moved.verify(b"entry", key().verifier(), &[]),
        Err(ProofError::Inclusion(MerkleError::IndexOutside { index: 1, size: 1 }))
    ));
}

#[test]
fn extra_data_is_kept_and_proves_nothing() {
    for extra in [vec![], b"anything".to_vec()] {
        let proof = TlogProof { extra: Some(extra), ..single() };
        let parsed = TlogProof::parse(proof.to_string().as_bytes()).unwrap();
        assert_eq!(parsed, proof);
        assert!(parsed.verify(b"entry", key().verifier(), &[]).is_ok());
    }
}

#[test]
fn malformed_proofs() {
    let good = TlogProof { extra: Some(b"x".to_vec()), hashes: vec![leaf_hash(b"")], ..single() };
    let good = good.to_string();
    let hash = leaf_hash(b"").to_base64();
    for (from, to, error) in [
        ("@v1", "@v2", ProofError::Header),
        ("@v1\n", "@v1\r\n", ProofError::Header),
        ("extra eA==", "extra eA=", ProofError::Extra),
        ("extra eA==", "extra eB==", ProofError::Extra),
        ("extra eA==", "Extra eA==", ProofError::Index),
        ("extra eA==", "extra eA==\nextra eA==", ProofError::Index),
        ("index 0", "index 00", ProofError::Index),
        ("index 0", "index +0", ProofError::Index),
        ("index 0", "index -1", ProofError::Index),
        ("index 0", "index 18446744073709551616", ProofError::Index),
        ("index 0", "index", ProofError::Index),
        ("index 0\n", "", ProofError::Index),
        (hash.as_str(), "AAAA", ProofError::HashLine { line: 4 }),
        ("=\n\nlog", "=\nlog", ProofError::HashLine { line: 5 }),
        ("extra eA==\nindex 0\n", "index 0\nx", ProofError::HashLine { line: 3 }),
        ("log.example\n1", "log.\u{1b}example\n1", ProofError::Note(NoteError::ControlCharacter)),
    ] {
        let malformed = good.replacen(from, to, 1);
        assert_ne!(malformed, good);
        assert_eq!(TlogProof::parse(malformed.as_bytes()), Err(error), "{malformed}");
    }
    for cut in 0..good.len() {
        assert!(TlogProof::parse(&good.as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(TlogProof::parse(b"\xff"), Err(ProofError::NotUtf8));
    let long = vec![b'a'; MAX_PROOF_BYTES + 1];
    let found = long.len();
    assert_eq!(TlogProof::parse(&long), Err(ProofError::TooLong { found }));
    let many = TlogProof { hashes: vec![leaf_hash(b""); MAX_PROOF_HASHES + 1], ..single() };
    assert_eq!(TlogProof::parse(many.to_string().as_bytes()), Err(ProofError::TooManyHashes));
}

#[test]
fn a_checkpoint_of_another_log_proves_nothing() {
    let other = SigningKey::from_seed("other.example", &[1; 32]).unwrap();
    assert!(matches!(
        single().verify(b"entry", other.verifier(), &[]),
        Err(ProofError::Checkpoint(CheckpointError::OriginMismatch { .. }))
    ));
    let stranger = SigningKey::from_seed("log.example", &[2; 32]).unwrap();
    assert_eq!(
        single().verify(b"entry", stranger.verifier(), &[]),
        Err(ProofError::Checkpoint(CheckpointError::Signature(NoteError::NoKnownSignature)))
    );
}

proptest! {
    #[test]
    fn proofs_round_trip(
        extra in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        index in 0..=MAX_TREE_SIZE,
        hashes in prop::collection::vec(any::<[u8; 32]>().prop_map(Hash), 0..=MAX_PROOF_HASHES),
    ) {
        let proof = TlogProof { extra, index, hashes, ..single() };
        prop_assert_eq!(TlogProof::parse(proof.to_string().as_bytes()), Ok(proof));
    }

    #[test]
    fn any_bytes_parse_to_themselves_or_to_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        text in "(extra [A-Za-z=]{0,8}\n)?(index [0-9]{0,21}\n)?([A-Za-z0-9+/]{43}=\n){0,3}.{0,9}",
    ) {
        prop_assert!(TlogProof::parse(&bytes).is_err());
        let text = format!("{HEADER}\n{text}\n{}", single().checkpoint);
        if let Ok(proof) = TlogProof::parse(text.as_bytes()) {
            prop_assert_eq!(proof.to_string(), text);
        }
    }
}
