//! Other people's vectors: the proofs of transparency-dev/merkle, most of them
//! tampered with, and a log written by tessera.
//!
//! The data is not part of the repository. It is read from the archive that
//! `LOGGIA_VECTORS` names, else from where the maintainers keep it beside the
//! repository; without it these tests say that they did nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use loggia_tlog::checkpoint::Checkpoint;
use loggia_tlog::hash::{Hash, leaf_hash};
use loggia_tlog::merkle::{
    CompactRange, consistency_proof, inclusion_proof, root_of, verify_consistency, verify_inclusion,
};
use loggia_tlog::note::VerifierKey;
use loggia_tlog::tile::{BundleId, TileId, TileReader, bundle_decode};
use serde_json::Value;
use tempfile::TempDir;

const BESIDE_THE_REPOSITORY: &str = "../../../shared/vectors/tlog-vectors.tgz";

/// The archive, unpacked; removed again when dropped.
struct Vectors(TempDir);

impl Vectors {
    fn unpack(test: &str) -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "only tests read this variable")]
        let named = std::env::var_os("LOGGIA_VECTORS").map(PathBuf::from);
        let is_named = named.is_some();
        let archive = named
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(BESIDE_THE_REPOSITORY));
        if !archive.exists() && !is_named {
            // Straight to stderr: cargo would swallow what a passing test prints.
            let message = format!(
                "{test}: SKIPPED, NOTHING WAS CHECKED: no archive of vectors (set LOGGIA_VECTORS)\n"
            );
            io::stderr().write_all(message.as_bytes()).unwrap();
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let status =
            Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()).status();
        assert!(status.unwrap().success(), "{} cannot be unpacked", archive.display());
        Some(Self(folder))
    }

    fn json(&self, folder: &str) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.path().join(folder)];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                    found.push((path.display().to_string(), json));
                }
            }
        }
        found
    }
}

/// `None` for what is not 32 bytes long: the type refuses it before any proof is
/// looked at, which counts as a rejection.
fn hash(value: &Value) -> Option<Hash> {
    Hash::from_base64(value.as_str()?).ok()
}

fn hashes(value: &Value) -> Option<Vec<Hash>> {
    match value {
        Value::Null => Some(Vec::new()),
        _ => value.as_array()?.iter().map(hash).collect(),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn proofs_of_inclusion() {
    let Some(vectors) = Vectors::unpack("proofs_of_inclusion") else { return };
    let cases = vectors.json("merkle-testdata/inclusion");
    assert_eq!(cases.len(), 98);
    let mut accepted = 0;
    for (path, case) in cases {
        let (index, size) = (number(&case["leafIdx"]), number(&case["treeSize"]));
        let parts = (hash(&case["leafHash"]), hashes(&case["proof"]), hash(&case["root"]));
        let verified = match parts {
            (Some(leaf), Some(proof), Some(root)) => {
                verify_inclusion(index, size, &leaf, &proof, &root).is_ok()
            }
            _ => false,
        };
        assert_eq!(verified, !case["wantErr"].as_bool().unwrap(), "{path}");
        accepted += u32::from(verified);
    }
    assert!(accepted > 0);
}

#[test]
fn proofs_of_consistency() {
    let Some(vectors) = Vectors::unpack("proofs_of_consistency") else { return };
    let cases = vectors.json("merkle-testdata/consistency");
    assert_eq!(cases.len(), 98);
    let mut accepted = 0;
    for (path, case) in cases {
        // Its two equal roots are 12 bytes long, which no tree has.
        if path.ends_with("additional/sizes-are-equal-one-and-proof-is-empty.json") {
            assert_eq!(hash(&case["root1"]), None);
            continue;
        }
        let (old, new) = (number(&case["size1"]), number(&case["size2"]));
        let parts = (hash(&case["root1"]), hash(&case["root2"]), hashes(&case["proof"]));
        let verified = match parts {
            (Some(old_root), Some(new_root), Some(proof)) => {
                verify_consistency(old, &old_root, new, &new_root, &proof).is_ok()
            }
            _ => false,
        };
        assert_eq!(verified, !case["wantErr"].as_bool().unwrap(), "{path}");
        accepted += u32::from(verified);
    }
    assert!(accepted > 0);
}

#[test]
fn a_log_written_by_tessera() {
    const SIZE: u64 = 15;
    let Some(vectors) = Vectors::unpack("a_log_written_by_tessera") else { return };
    let log = vectors.0.path().join("tessera-testdata/log");
    let key = VerifierKey::parse(
        "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx",
    )
    .unwrap();
    let read = |tile: &TileId| fs::read(log.join(tile.path()));
    let bundle = BundleId::in_tree(0, SIZE).unwrap();
    let bundle_bytes = fs::read(log.join(bundle.path())).unwrap();
    let entries = bundle_decode(&bundle_bytes, bundle.width()).unwrap();
    let mut range = CompactRange::new();
    let mut roots = Vec::new();
    for size in 0..=SIZE {
        let note = fs::read(log.join(format!("checkpoint.{size}"))).unwrap();
        let checkpoint = Checkpoint::open(&note, &key).unwrap();
        assert_eq!((checkpoint.size(), checkpoint.root()), (size, range.root()));
        let reader = TileReader::new(size, read);
        assert_eq!(root_of(size, &reader).unwrap(), checkpoint.root());
        for (index, entry) in (0..size).zip(&entries) {
            let proof = inclusion_proof(index, size, &reader).unwrap();
            let leaf = leaf_hash(entry);
            verify_inclusion(index, size, &leaf, &proof, &checkpoint.root()).unwrap();
        }
        roots.push(checkpoint.root());
        for (old, old_root) in (0..).zip(&roots) {
            let proof = consistency_proof(old, size, &reader).unwrap();
            verify_consistency(old, old_root, size, &checkpoint.root(), &proof).unwrap();
        }
        if let Some(entry) = entries.get(usize::try_from(size).unwrap()) {
            range.append(leaf_hash(entry));
        }
    }
}
