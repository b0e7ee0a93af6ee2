//! The second proof file of a log that is one of several.
//!
//! Each gateway writes a log of its own. An aggregator's log takes each of their checkpoints as an
//! entry, and only its own checkpoints are cosigned by witnesses. So two files lead from an event
//! to the witnesses:
//!
//! ```text
//! e.tlog-proof        the event is in the node's log, under a checkpoint that the node has signed
//! e.via.tlog-proof    that checkpoint is in the aggregator's log, under a cosigned checkpoint
//! ```
//! The entry of the second is the node's checkpoint as a signed note with the signature line of the
//! node's log and no other: its bytes depend on nobody else's signatures.

use super::{Unproven, unproven};
use crate::log::Trust;
use crate::report::Verdict;
use crate::signed::{self, Signed};
use loggia_tlog::merkle::verify_inclusion;
use loggia_tlog::note::{NoteError, Signature};
use loggia_tlog::{SignedNote, TlogProof, VerifierKey, leaf_hash};

/// The entry under which an aggregator's log has a node's checkpoint.
///
/// # Errors
/// [`NoteError::NoSignatures`] where the node's log has not signed it.
pub fn entry_of(checkpoint: &SignedNote, node: &VerifierKey) -> Result<Vec<u8>, NoteError> {
    let own = |line: &&Signature| line.name() == node.name() && line.key_id() == node.id();
    let lines = checkpoint.signatures().iter().filter(own).take(1).cloned().collect();
    Ok(SignedNote::new(checkpoint.text(), lines)?.to_string().into_bytes())
}

/// Checks that the node's checkpoint is in the log of an aggregator whose key is given; gives that
/// one's checkpoint and key.
pub(super) fn verify(
    proof: &[u8],
    checkpoint: &SignedNote,
    node: &VerifierKey,
    trust: &Trust,
) -> Result<(SignedNote, VerifierKey), Unproven> {
    let tampered = |what: String| unproven(Verdict::Tampered, what);
    let proof = TlogProof::parse(proof)
        .map_err(|error| tampered(format!("the second file is not a proof: {error}")))?;
    let signed::By { checkpoint: aggregated, key, .. } =
        match signed::judge(&proof.checkpoint, &trust.keys) {
            Signed::By(signed) => *signed,
            Signed::Altered(why) | Signed::OtherKey(why) => {
                return Err(tampered(format!("the checkpoint in the second proof: {why}")));
            }
            Signed::Foreign(origin) => {
                let what =
                    format!("the second proof is of the log {origin}, whose key was not given");
                return Err(unproven(Verdict::OtherOrigin, what));
            }
        };
    if key.name() == node.name() {
        let what = "the second proof is of the same log as the first";
        return Err(unproven(Verdict::OtherOrigin, what));
    }
    let entry = entry_of(checkpoint, node).map_err(|error| tampered(error.to_string()))?;
    let (size, root) = (aggregated.size(), aggregated.root());
    verify_inclusion(proof.index, size, &leaf_hash(&entry), &proof.hashes, &root).map_err(
        |error| {
            tampered(format!(
                "the node's checkpoint is not entry {} of the aggregator's log: {error}",
                proof.index
            ))
        },
    )?;
    Ok((proof.checkpoint, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{Proven, Wanted, prove, verify_proof, verify_proof_via};
    use crate::testlog::TestLog;
    use crate::witnessed::WitnessTrust;
    use loggia_tlog::merkle::{CompactRange, inclusion_proof};
    use loggia_tlog::note::KeyKind;
    use loggia_tlog::{Checkpoint, CosignerKey, Hash, HashReader, Policy, SigningKey};
    use std::path::Path;

    /// What another implementation checks: written once by [`made`], and never otherwise.
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/aggregated");
    const FILES: [&str; 4] = ["e.json", "e.tlog-proof", "e.via.tlog-proof", "policy"];

    struct Leaves(Vec<Hash>);

    impl HashReader for Leaves {
        type Error = ();

        fn read(&self, level: u8, index: u64) -> Result<Hash, ()> {
            let mut range = CompactRange::new();
            let (start, end) = ((index << level) as usize, ((index + 1) << level) as usize);
            self.0.get(start..end).ok_or(())?.iter().for_each(|leaf| range.append(*leaf));
            Ok(range.root())
        }
    }

    /// A node's log, an aggregator's log with checkpoints of two nodes, one witness of the latter.
    fn made() -> [Vec<u8>; 4] {
        let data = tempfile::tempdir().unwrap();
        let mut log = TestLog::new(data.path(), 1);
        log.begin_boot();
        log.fill(20);
        log.publish();
        let event = prove(data.path(), Wanted::Index(7)).unwrap().event;
        let note = TlogProof::parse(event.proof.as_bytes()).unwrap().checkpoint;

        let other = SigningKey::from_seed("vectors.example/node-b", &[12; 32]).unwrap();
        let other_note =
            Checkpoint::new(other.name(), 3, Hash([9; 32])).unwrap().sign(&other).unwrap();
        let entries = [
            entry_of(&other_note, other.verifier()).unwrap(),
            entry_of(&note, &log.vkey()).unwrap(),
            b"vectors.example/later".to_vec(),
        ];
        let tree = Leaves(entries.iter().map(|entry| leaf_hash(entry)).collect());
        let mut range = CompactRange::new();
        tree.0.iter().for_each(|leaf| range.append(*leaf));
        let aggregator = SigningKey::from_seed("vectors.example/aggregator", &[11; 32]).unwrap();
        let checkpoint = Checkpoint::new(aggregator.name(), 3, range.root()).unwrap();
        let kind = KeyKind::CosignatureEd25519;
        let witness = CosignerKey::from_seed("witness.example/w1", kind, &[2; 32]).unwrap();
        let mut cosigned = checkpoint.sign(&aggregator).unwrap();
        cosigned.add(witness.cosign(&checkpoint, 1_790_000_000).unwrap()).unwrap();
        let hashes = inclusion_proof(1, 3, &tree).unwrap();
        let via = TlogProof { extra: None, index: 1, hashes, checkpoint: cosigned };
        let policy = format!(
            "log {}\nlog {}\nwitness w1 {}\nquorum w1\n",
            log.vkey(),
            aggregator.verifier(),
            witness.verifier()
        );
        [event.leaf, event.proof.into_bytes(), via.to_string().into_bytes(), policy.into_bytes()]
    }

    fn vectors() -> [Vec<u8>; 4] {
        FILES.map(|name| std::fs::read(Path::new(FOLDER).join(name)).unwrap())
    }

    fn trust(policy: &[u8]) -> Trust {
        let policy = Policy::parse(policy).unwrap();
        let keys = policy.log_keys();
        let witnesses = WitnessTrust { policy, max_age_s: None, now_s: 0 };
        Trust { keys, witnesses: Some(witnesses), ..Trust::default() }
    }

    fn check(files: &[Vec<u8>; 4]) -> Result<Proven, Unproven> {
        let [entry, proof, via, policy] = files;
        verify_proof_via(proof, entry, None, Some(via), &trust(policy))
    }

    #[test]
    #[ignore = "writes testdata/aggregated; run it when the format changes"]
    fn write_the_vectors() {
        for (name, bytes) in FILES.iter().zip(made()) {
            std::fs::write(Path::new(FOLDER).join(name), bytes).unwrap();
        }
    }

    #[test]
    fn the_vectors_are_what_is_made_and_hold() {
        assert_eq!(vectors(), made());
        let proven = check(&vectors()).unwrap();
        assert_eq!(proven.index, 7);
        assert_eq!(proven.aggregator.as_deref(), Some("vectors.example/aggregator"));
        assert!(proven.to_string().contains("cosigned by w1 (2026-09-21"), "{proven}");
        // Without the second file nobody but the node's operator vouches for it.
        let [entry, proof, _, policy] = vectors();
        let alone = verify_proof(&proof, &entry, None, &trust(&policy)).unwrap_err();
        assert_eq!(alone.verdict, Verdict::NoQuorum);
    }

    #[test]
    fn what_does_not_link_proves_nothing() {
        let good = vectors();
        let [_, proof, via, policy] = &good;
        // The first proof as its own second one; another checkpoint; a key that is not known.
        let same = [good[0].clone(), proof.clone(), proof.clone(), policy.clone()];
        assert_eq!(check(&same).unwrap_err().verdict, Verdict::OtherOrigin);
        let text = String::from_utf8(via.clone()).unwrap();
        let moved = text.replacen("index 1", "index 0", 1).into_bytes();
        let moved = [good[0].clone(), proof.clone(), moved, policy.clone()];
        assert_eq!(check(&moved).unwrap_err().verdict, Verdict::Tampered);
        let policy: String = String::from_utf8(policy.clone())
            .unwrap()
            .split_inclusive('\n')
            .filter(|line| !line.contains("aggregator"))
            .collect();
        let unknown = [good[0].clone(), proof.clone(), via.clone(), policy.into_bytes()];
        assert_eq!(check(&unknown).unwrap_err().verdict, Verdict::OtherOrigin);
        for place in 0..via.len() {
            let mut altered = good.clone();
            altered[2][place] ^= 1;
            let outcome = check(&altered);
            assert!(outcome.is_err(), "byte {place}");
        }
    }
}
