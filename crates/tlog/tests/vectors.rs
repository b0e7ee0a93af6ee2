//! The project's own vectors: a log of 70,000 entries, its tiles, proofs, keys and
//! signatures, agreed upon by several independent implementations. Another language
//! can check the same files.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use loggia_tlog::checkpoint::Checkpoint;
use loggia_tlog::cosignature::CosignerKey;
use loggia_tlog::hash::{Hash, leaf_hash};
use loggia_tlog::merkle::{
    CompactRange, HashReader, consistency_proof, inclusion_proof, root_of, verify_consistency,
    verify_inclusion,
};
use loggia_tlog::note::{KeyKind, SignedNote, SigningKey, VerifierKey};
use loggia_tlog::policy::{Policy, Quorum};
use loggia_tlog::proof::TlogProof;
use loggia_tlog::tile::{
    BundleId, TileId, TilePath, TileReader, bundle_decode, bundle_encode, bundles_for_growth,
    tile_encode, tiles_for_growth,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const SIZE: u64 = 70_000;
const CHECKPOINT: &[u8] = include_bytes!("../testdata/checkpoint");
const PROOF: &[u8] = include_bytes!("../testdata/entry-12345.tlog-proof");

static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../testdata/vectors.json")).unwrap());

/// Every perfect subtree of the log, as `append_with` reports them.
static LOG: LazyLock<Nodes> = LazyLock::new(|| {
    let (mut range, mut nodes) = (CompactRange::new(), BTreeMap::new());
    for index in 0..SIZE {
        let leaf = leaf_hash(&entry(index));
        nodes.insert((0, index), leaf);
        range.append_with(leaf, &mut |level, index, hash| {
            assert!(nodes.insert((level, index), hash).is_none());
        });
    }
    Nodes(nodes)
});

struct Nodes(BTreeMap<(u8, u64), Hash>);

impl HashReader for Nodes {
    type Error = (u8, u64);

    fn read(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        self.0.get(&(level, index)).copied().ok_or((level, index))
    }
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry-{index}").into_bytes()
}

fn text(field: &str) -> &'static str {
    let text = VECTORS[field].as_str().unwrap();
    // Signature lines are listed with their newline.
    text.strip_suffix('\n').filter(|line| line.starts_with('\u{2014}')).unwrap_or(text)
}

fn hashes(list: &Value) -> Vec<Hash> {
    list.as_array().unwrap().iter().map(hash).collect()
}

fn hash(value: &Value) -> Hash {
    Hash::from_base64(value.as_str().unwrap()).unwrap()
}

fn seed(field: &str) -> [u8; 32] {
    Hash::from_hex(text(field)).unwrap().0
}

fn tile(tile: &TileId) -> Result<Vec<u8>, (u8, u64)> {
    let nodes = (0..u64::from(tile.width())).map(|n| tile.first_node() + n);
    let hashes: Result<Vec<_>, _> = nodes.map(|n| LOG.read(tile.node_level(), n)).collect();
    Ok(tile_encode(&hashes?).unwrap())
}

fn bundle(bundle: BundleId) -> Vec<u8> {
    let entries: Vec<_> =
        (0..u64::from(bundle.width())).map(|n| entry(bundle.first_entry() + n)).collect();
    let bytes = bundle_encode(&entries).unwrap();
    assert_eq!(bundle_decode(&bytes, bundle.width()).unwrap(), entries);
    bytes
}

#[test]
fn roots_at_the_listed_sizes() {
    let roots = VECTORS["roots_b64"].as_object().unwrap();
    let mut range = CompactRange::new();
    let mut seen = 0;
    for size in 1..=SIZE {
        range.append(leaf_hash(&entry(size - 1)));
        if let Some(root) = roots.get(&size.to_string()) {
            assert_eq!(range.root(), hash(root), "size {size}");
            assert_eq!(root_of(size, &*LOG), Ok(hash(root)));
            assert_eq!(CompactRange::from_reader(size, &*LOG).as_ref(), Ok(&range));
            let parts = range.parts().to_vec();
            assert_eq!(CompactRange::from_parts(size, parts).as_ref(), Ok(&range));
            seen += 1;
        }
    }
    assert_eq!(seen, roots.len());
}

#[test]
fn tiles_and_bundles_have_the_listed_hashes() {
    for (path, sha256) in VECTORS["tile_sha256"].as_object().unwrap() {
        let parsed = TilePath::parse(path).unwrap();
        assert_eq!(&parsed.path(), path);
        let bytes = match parsed {
            TilePath::Hashes(id) => {
                assert_eq!(TileId::in_tree(id.level(), id.index(), SIZE), Some(id));
                tile(&id).unwrap()
            }
            TilePath::Entries(id) => {
                assert_eq!(BundleId::in_tree(id.index(), SIZE), Some(id));
                bundle(id)
            }
        };
        let found = Hash(Sha256::digest(bytes).into());
        assert_eq!(found.to_hex(), sha256.as_str().unwrap(), "{path}");
    }
}

#[test]
fn the_log_consists_of_the_tiles_that_the_specification_counts() {
    let paths: Vec<_> = tiles_for_growth(0, SIZE).map(|tile| tile.path()).collect();
    assert_eq!(paths.len(), 273 + 1 + 1 + 1 + 1);
    assert_eq!(paths[0], "tile/0/000");
    assert_eq!(
        paths[273..],
        ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
    );
    let bundles: Vec<_> = bundles_for_growth(0, SIZE).map(|bundle| bundle.path()).collect();
    assert_eq!(bundles.len(), 274);
    assert_eq!(bundles[273], "tile/entries/273.p/112");
}

#[test]
fn proof_of_inclusion() {
    let listed = hashes(&VECTORS["inclusion_12345_of_70000"]);
    assert_eq!(inclusion_proof(12_345, SIZE, &*LOG).unwrap(), listed);
    assert_eq!(inclusion_proof(12_345, SIZE, &TileReader::new(SIZE, tile)).unwrap(), listed);
    let leaf = leaf_hash(&entry(12_345));
    assert_eq!(leaf, hash(&VECTORS["leaf_hash_12345"]));
    let root = hash(&VECTORS["roots_b64"]["70000"]);
    assert_eq!(verify_inclusion(12_345, SIZE, &leaf, &listed, &root), Ok(()));
}

#[test]
fn proofs_of_consistency() {
    for (sizes, proof) in VECTORS["consistency"].as_object().unwrap() {
        let (old, new) = sizes.split_once("->").unwrap();
        let (old, new) = (old.parse().unwrap(), new.parse().unwrap());
        let listed = hashes(proof);
        assert_eq!(consistency_proof(old, new, &*LOG).unwrap(), listed, "{sizes}");
        let tiles = TileReader::new(new, tile);
        assert_eq!(consistency_proof(old, new, &tiles).unwrap(), listed, "{sizes}");
        let (old_root, new_root) = (root_of(old, &*LOG).unwrap(), root_of(new, &*LOG).unwrap());
        assert_eq!(verify_consistency(old, &old_root, new, &new_root, &listed), Ok(()));
    }
}

#[test]
fn keys() {
    let log = SigningKey::from_seed(text("origin"), &seed("log_seed_hex")).unwrap();
    assert_eq!(log.verifier().to_string(), text("log_vkey"));
    assert_eq!(VerifierKey::parse(text("log_vkey")).as_ref(), Ok(log.verifier()));
    let witness = VerifierKey::parse(text("w1_vkey")).unwrap();
    assert_eq!(witness.to_string(), text("w1_vkey"));
    assert_eq!(witness.name(), "witness.example/w1");
}

#[test]
fn the_checkpoint_is_signed_as_listed() {
    let log = SigningKey::from_seed(text("origin"), &seed("log_seed_hex")).unwrap();
    let root = hash(&VECTORS["roots_b64"]["70000"]);
    let checkpoint = Checkpoint::new(text("origin"), SIZE, root).unwrap();
    assert_eq!(checkpoint.to_string(), text("checkpoint_text"));
    let note = checkpoint.sign(&log).unwrap();
    assert_eq!(note.signatures()[0].to_string(), text("log_line"));
    let published = SignedNote::parse(CHECKPOINT).unwrap();
    assert_eq!(published.to_string().as_bytes(), CHECKPOINT);
    assert_eq!(published.signatures()[0], note.signatures()[0]);
    assert_eq!(published.signatures()[1].to_string(), text("w1_line"));
    assert_eq!(Checkpoint::open(CHECKPOINT, log.verifier()), Ok(checkpoint));
}

#[test]
fn the_proof_file_verifies_with_its_witness() {
    let proof = TlogProof::parse(PROOF).unwrap();
    assert_eq!(proof.to_string().as_bytes(), PROOF);
    assert_eq!(proof.index, 12_345);
    let log = VerifierKey::parse(text("log_vkey")).unwrap();
    let witness = VerifierKey::parse(text("w1_vkey")).unwrap();
    let opened = proof.verify(b"entry-12345", &log, std::slice::from_ref(&witness)).unwrap();
    assert_eq!(opened.checkpoint.size(), SIZE);
    assert_eq!(opened.cosignatures.len(), 1);
    assert_eq!(opened.cosignatures[0].name, witness.name());
    assert_eq!(opened.cosignatures[0].time_s, VECTORS["cosig_time"].as_u64());
    assert!(proof.verify(b"entry-12346", &log, &[]).is_err());
}

#[test]
fn the_witnesses_cosign_as_listed() {
    let root = hash(&VECTORS["roots_b64"]["70000"]);
    let checkpoint = Checkpoint::new(text("origin"), SIZE, root).unwrap();
    let time_s = VECTORS["cosig_time"].as_u64().unwrap();
    let published = SignedNote::parse(CHECKPOINT).unwrap();
    let w1 = CosignerKey::from_seed(
        "witness.example/w1",
        KeyKind::CosignatureEd25519,
        &seed("w1_seed_hex"),
    );
    let w1 = w1.unwrap();
    assert_eq!(w1.verifier().to_string(), text("w1_vkey"));
    assert_eq!(w1.cosign(&checkpoint, time_s).unwrap().to_string(), text("w1_line"));
    let w2 = CosignerKey::from_seed(
        "witness.example/w2",
        KeyKind::CosignatureMlDsa44,
        &seed("w2_mldsa44_seed_hex"),
    );
    let w2 = w2.unwrap();
    assert_eq!(w2.verifier().to_string(), text("w2_vkey"));
    let line = w2.cosign(&checkpoint, time_s).unwrap();
    let signature = hex::encode(Sha256::digest(&line.bytes()[8..]));
    assert_eq!(signature, text("w2_deterministic_sig_sha256"));
    // The listed length counts the newline.
    assert_eq!(Some(line.to_string().len() as u64 + 1), VECTORS["w2_line_len"].as_u64());
    assert_eq!(published.signatures()[2], line);
}

#[test]
fn the_proof_file_meets_a_policy_of_both_witnesses() {
    let policy = |quorum: &str| {
        let text = format!(
            "log {}\nwitness w1 {}\nwitness w2 {}\ngroup both all w1 w2\nquorum {quorum}\n",
            text("log_vkey"),
            text("w1_vkey"),
            text("w2_vkey")
        );
        Policy::parse(text.as_bytes()).unwrap()
    };
    let proof = TlogProof::parse(PROOF).unwrap();
    let (opened, quorum) = proof.verify_by(b"entry-12345", &policy("both")).unwrap();
    assert_eq!((quorum, opened.cosignatures.len()), (Quorum::Met, 2));
    let without: String = str::from_utf8(PROOF)
        .unwrap()
        .split_inclusive('\n')
        .filter(|line| !line.contains("witness.example/w2"))
        .collect();
    let proof = TlogProof::parse(without.as_bytes()).unwrap();
    assert_eq!(proof.verify_by(b"entry-12345", &policy("both")).unwrap().1, Quorum::NotMet);
    assert_eq!(proof.verify_by(b"entry-12345", &policy("w1")).unwrap().1, Quorum::Met);
    assert_eq!(proof.verify_by(b"entry-12345", &policy("none")).unwrap().1, Quorum::NotAsked);
    assert!(proof.verify_by(b"entry-12346", &policy("w1")).is_err());
}

#[test]
fn any_flipped_bit_of_the_proof_file_is_noticed() {
    let log = VerifierKey::parse(text("log_vkey")).unwrap();
    let witnesses = [VerifierKey::parse(text("w1_vkey")).unwrap()];
    let genuine =
        TlogProof::parse(PROOF).unwrap().verify(b"entry-12345", &log, &witnesses).unwrap();
    // The line of the second witness, an ML-DSA key that is not known here, is ignored
    // as unknown signatures must be; everything before it counts.
    let unknown = str::from_utf8(PROOF).unwrap().find("\u{2014} witness.example/w2").unwrap();
    for byte in 0..unknown {
        for bit in 0..8 {
            let mut altered = PROOF.to_vec();
            altered[byte] ^= 1 << bit;
            let Ok(proof) = TlogProof::parse(&altered) else { continue };
            // A flip in the name or key id of a signature line makes the key unknown:
            // the witness then does not count, which is noticed, too.
            if let Ok(opened) = proof.verify(b"entry-12345", &log, &witnesses) {
                assert_ne!(opened, genuine, "byte {byte} bit {bit}");
                assert_eq!(opened.checkpoint, genuine.checkpoint);
                assert!(opened.cosignatures.is_empty());
            }
        }
    }
}
