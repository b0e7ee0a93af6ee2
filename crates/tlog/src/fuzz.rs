//! The parsers of this crate over any bytes, for a fuzzer and for the corpus test.

use alloc::string::ToString;

use crate::cosignature::{format_lines, parse_lines};
use crate::note::{SignedNote, VerifierKey};
use crate::policy::Policy;
use crate::proof::TlogProof;
use crate::tile::TilePath;
use crate::witness::{AddCheckpoint, judge, parse_size};
use crate::{Checkpoint, CosignerKey};

/// Reads the bytes as one of the formats; the first byte says as which, and is taken off.
///
/// # Panics
/// Where a parser breaks its word: that what it accepts is written again with the same bytes.
pub fn fuzz_one(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 8 {
        0 => note(bytes),
        1 => key(bytes),
        2 => {
            if let Ok(lines) = parse_lines(bytes) {
                assert!(format_lines(&lines).as_bytes() == bytes, "an answer written otherwise");
            }
        }
        3 => request(bytes),
        4 => {
            if let Ok(policy) = Policy::parse(bytes) {
                let _ = policy.to_string();
                let _ = policy.quorum(&[]);
            }
        }
        5 => {
            if let Ok(proof) = TlogProof::parse(bytes) {
                assert!(proof.to_string().as_bytes() == bytes, "a proof written otherwise");
            }
        }
        6 => {
            let path = str::from_utf8(bytes).ok();
            if let Some(Ok(parsed)) = path.map(TilePath::parse) {
                assert!(parsed.to_string().as_bytes() == bytes, "a path written otherwise");
            }
        }
        _ => {
            if let Some(size) = parse_size(bytes) {
                assert!(alloc::format!("{size}\n").as_bytes() == bytes, "a size otherwise");
            }
        }
    }
}

fn note(bytes: &[u8]) {
    let Ok(note) = SignedNote::parse(bytes) else { return };
    assert!(note.to_string().as_bytes() == bytes, "a note written otherwise");
    if let Ok(checkpoint) = Checkpoint::parse(note.text()) {
        assert!(checkpoint.to_string() == note.text(), "a checkpoint written otherwise");
    }
}

fn key(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(key) = VerifierKey::parse(text) {
        assert!(key.to_string() == text, "a key written otherwise");
    }
    if let Ok(key) = CosignerKey::parse(text) {
        assert!(*key.private_text() == text, "a private key written otherwise");
    }
}

fn request(bytes: &[u8]) {
    let Ok(request) = AddCheckpoint::parse(bytes) else { return };
    assert!(request.to_string().as_bytes() == bytes, "a request written otherwise");
    assert!(judge(&request, &[], None).is_err(), "cosigned for a log that nobody knows");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{KeyKind, SigningKey};
    use crate::witness::Seen;
    use std::path::Path;

    /// Small files of each sort. The digit is the first byte, see [`fuzz_one`].
    #[test]
    #[ignore = "writes fuzz/corpus/tlog; run it when a format changes"]
    fn write_the_corpus() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/tlog");
        std::fs::create_dir_all(&folder).unwrap();
        let put = |name: &str, kind: u8, text: &str| {
            let bytes = [&[b'0' + kind], text.as_bytes()].concat();
            fuzz_one(&bytes);
            std::fs::write(folder.join(name), bytes).unwrap();
        };
        let log = SigningKey::from_seed("log.example", &[1; 32]).unwrap();
        let kinds = [KeyKind::CosignatureEd25519, KeyKind::CosignatureMlDsa44];
        let [ed25519, ml_dsa] =
            kinds.map(|kind| CosignerKey::from_seed("w.example", kind, &[2; 32]).unwrap());
        let root = crate::leaf_hash(b"entry");
        let checkpoint = Checkpoint::new("log.example", 1, root).unwrap();
        let mut note = checkpoint.sign(&log).unwrap();
        put("note", 0, &note.to_string());
        let lines = [&ed25519, &ml_dsa].map(|key| key.cosign(&checkpoint, 1).unwrap());
        put("answer", 2, &format_lines(&lines[..1]));
        put("answer-both", 2, &format_lines(&lines));
        note.add(lines[0].clone()).unwrap();
        put("note-cosigned", 0, &note.to_string());
        let extended = note.text().to_owned() + "extension\n";
        put("note-extended", 0, &SignedNote::sign(extended, &log).unwrap().to_string());
        put("key-log", 1, &log.verifier().to_string());
        put("key-witness", 1, &ed25519.verifier().to_string());
        put("key-ml-dsa", 1, &ml_dsa.verifier().to_string());
        put("key-private", 1, &ml_dsa.private_text());
        for (old_size, count) in [(0, 0), (1, 3), (5, 63)] {
            let proof = alloc::vec![root; count];
            let request = AddCheckpoint { old_size, proof, checkpoint: note.clone() };
            put(&alloc::format!("request-{count}"), 3, &request.to_string());
        }
        put("policy-none", 4, "quorum none\n");
        let (log_key, key) = (log.verifier(), ed25519.verifier());
        let policy = alloc::format!(
            "# a comment\nlog {log_key} https://log.example\nwitness a {key}\n\
             group g 1 a\ngroup h any g\nquorum h\n"
        );
        put("policy-groups", 4, &policy);
        let extra = Some(b"extra".to_vec());
        let proof = TlogProof { extra, index: 0, hashes: alloc::vec![root], checkpoint: note };
        put("proof", 5, &proof.to_string());
        put("path-tile", 6, "tile/1/x001/234.p/5");
        put("path-entries", 6, "tile/entries/273.p/112");
        put("size", 7, "20852014\n");
        let seen = Seen { size: 1, root };
        assert!(!crate::witness::contradicts(&seen, &checkpoint));
    }
}
