//! The same input through other people's implementations: `tlog_tiles` and
//! `signed_note` (ports of Go's sumdb code) and `ct-merkle` (RFC 6962).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use loggia_tlog::checkpoint::Checkpoint;
use loggia_tlog::hash::{Hash, leaf_hash};
use loggia_tlog::merkle::{
    CompactRange, HashReader, consistency_proof, inclusion_proof, root_of, verify_consistency,
    verify_inclusion,
};
use loggia_tlog::note::{SignedNote, SigningKey};
use loggia_tlog::tile::{TileReader, tile_encode, tiles_for_growth};
use proptest::prelude::*;
use sha2::Sha256;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

struct Nodes(BTreeMap<(u8, u64), Hash>);

impl HashReader for Nodes {
    type Error = (u8, u64);

    fn read(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        self.0.get(&(level, index)).copied().ok_or((level, index))
    }
}

impl tlog_tiles::HashReader for Nodes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let node = |index: &u64| {
            let (level, index) = tlog_tiles::split_stored_hash_index(*index);
            theirs(&self.0[&(level, index)])
        };
        Ok(indexes.iter().map(node).collect())
    }
}

fn theirs(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.0)
}

fn ours(hashes: &[tlog_tiles::Hash]) -> Vec<Hash> {
    hashes.iter().map(|hash| Hash(hash.0)).collect()
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn grow(size: u64) -> (CompactRange, Nodes) {
    let (mut range, mut nodes) = (CompactRange::new(), BTreeMap::new());
    for index in 0..size {
        let leaf = leaf_hash(&entry(index));
        nodes.insert((0, index), leaf);
        range.append_with(leaf, &mut |level, index, hash| {
            nodes.insert((level, index), hash);
        });
    }
    (range, Nodes(nodes))
}

/// Their paths carry the height of a tile, which the specification has fixed since.
fn path_without_height(tile: &tlog_tiles::Tile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1)
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed("log.example/a", &[seed; 32]).unwrap()
}

fn their_verifiers(keys: &[&SigningKey]) -> VerifierList {
    let verifier = |key: &&SigningKey| -> Box<dyn signed_note::Verifier> {
        Box::new(StandardVerifier::new(&key.verifier().to_string()).unwrap())
    };
    VerifierList::new(keys.iter().map(verifier).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn trees_and_proofs_agree(
        size in 1_u64..700, index: prop::sample::Index, old: prop::sample::Index,
    ) {
        let (range, nodes) = grow(size);
        let root = range.root();
        prop_assert_eq!(theirs(&root), tlog_tiles::tree_hash(size, &nodes).unwrap());
        let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        (0..size).for_each(|index| tree.push(entry(index)));
        let tree_root = tree.root();
        prop_assert_eq!(root.as_ref(), tree_root.as_bytes().as_slice());

        let index = index.index(size as usize) as u64;
        let proof = inclusion_proof(index, size, &nodes).unwrap();
        prop_assert_eq!(&proof, &ours(&tlog_tiles::prove_record(size, index, &nodes).unwrap()));
        let flat: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
        let tree_proof = tree.prove_inclusion(index as usize);
        prop_assert_eq!(flat.as_slice(), tree_proof.as_bytes());

        let old = 1 + old.index(size as usize) as u64;
        let proof = consistency_proof(old, size, &nodes).unwrap();
        prop_assert_eq!(&proof, &ours(&tlog_tiles::prove_tree(size, old, &nodes).unwrap()));
        let flat: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
        let tree_proof = tree.prove_consistency((size - old) as usize);
        prop_assert_eq!(flat.as_slice(), tree_proof.as_bytes());
    }

    #[test]
    fn verdicts_on_altered_proofs_agree(
        size in 1_u64..300,
        index: prop::sample::Index,
        old: prop::sample::Index,
        claimed in (0_u64..300, 0_u64..300),
        alter in 0..4,
        position: prop::sample::Index,
    ) {
        let (range, nodes) = grow(size);
        let root = range.root();
        let index = index.index(size as usize) as u64;
        let old = 1 + old.index(size as usize) as u64;
        let alter = |proof: &mut Vec<Hash>| match alter {
            0 => proof.push(root),
            1 if !proof.is_empty() => drop(proof.remove(position.index(proof.len()))),
            2 if !proof.is_empty() => {
                let position = position.index(proof.len());
                proof[position].0[7] ^= 1;
            }
            _ => {}
        };

        let leaf = nodes.read(0, index).unwrap();
        let mut proof = inclusion_proof(index, size, &nodes).unwrap();
        alter(&mut proof);
        for (size, index) in [(size, index), (size, claimed.0), (claimed.1, index), claimed] {
            let verdict = verify_inclusion(index, size, &leaf, &proof, &root).is_ok();
            let their_proof = proof.iter().map(theirs).collect();
            // They have no verdict on an entry outside the tree.
            let expected = index < size
                && tlog_tiles::check_record(&their_proof, size, theirs(&root), index, theirs(&leaf))
                    .is_ok();
            prop_assert_eq!(verdict, expected, "entry {} of {}", index, size);
        }

        let old_root = root_of(old, &nodes).unwrap();
        let mut proof = consistency_proof(old, size, &nodes).unwrap();
        alter(&mut proof);
        for (old, size) in [(old, size), (claimed.0, size), (old, claimed.1)] {
            if old == 0 || old > size {
                continue;
            }
            let verdict = verify_consistency(old, &old_root, size, &root, &proof).is_ok();
            let their_proof = proof.iter().map(theirs).collect();
            let expected =
                tlog_tiles::check_tree(&their_proof, size, theirs(&root), old, theirs(&old_root));
            prop_assert_eq!(verdict, expected.is_ok(), "{} to {}", old, size);
        }
    }

    #[test]
    fn the_tiles_to_write_agree(old in 0_u64..200_000, more in 0_u64..200_000) {
        let tiles: Vec<_> = tiles_for_growth(old, old + more).map(|tile| tile.path()).collect();
        let expected = tlog_tiles::Tile::new_tiles(8, old, old + more);
        prop_assert_eq!(tiles, expected.iter().map(path_without_height).collect::<Vec<_>>());
    }

    #[test]
    fn tiles_agree_and_are_read_back(size in 1_u64..1_500, index: prop::sample::Index) {
        let (_, nodes) = grow(size);
        let mut files = BTreeMap::new();
        let expected = tlog_tiles::Tile::new_tiles(8, 0, size);
        for (tile, their_tile) in tiles_for_growth(0, size).zip(&expected) {
            let first = tile.first_node();
            let hashes: Result<Vec<_>, _> = (first..first + u64::from(tile.width()))
                .map(|node| nodes.read(tile.node_level(), node))
                .collect();
            let bytes = tile_encode(&hashes.unwrap()).unwrap();
            prop_assert_eq!(&bytes, &their_tile.read_data(&nodes).unwrap());
            files.insert(tile, bytes);
        }
        let reader = TileReader::new(size, |tile| files.get(tile).cloned().ok_or("no such tile"));
        let index = index.index(size as usize) as u64;
        prop_assert_eq!(
            inclusion_proof(index, size, &reader).unwrap(),
            inclusion_proof(index, size, &nodes).unwrap()
        );
        prop_assert_eq!(
            consistency_proof(index + 1, size, &reader).unwrap(),
            consistency_proof(index + 1, size, &nodes).unwrap()
        );
    }

    #[test]
    fn signatures_agree(text in "([ -~\u{a0}-\u{2fff}]{0,20}\n){1,5}", seed in 1_u8..9) {
        let key = key(seed);
        let note = SignedNote::sign(text.as_str(), &key).unwrap();
        let signer = StandardSigner::new(&key.private_text()).unwrap();
        let mut expected = Note::new(text.as_bytes(), &[]).unwrap();
        expected.add_sigs(&[&signer]).unwrap();
        prop_assert_eq!(note.to_string().into_bytes(), expected.to_bytes());
        prop_assert!(expected.verify(&their_verifiers(&[&key])).is_ok());
    }

    #[test]
    fn verdicts_on_altered_notes_agree(
        text in "([ -~]{0,9}\n){1,4}",
        edits in prop::collection::vec((any::<prop::sample::Index>(), edit()), 0..3),
    ) {
        let (known, unknown) = (key(1), key(2));
        let signatures = [&known, &unknown].map(|key| key.sign(&text).unwrap());
        let mut bytes = SignedNote::new(text, signatures.to_vec()).unwrap().to_string().into_bytes();
        for (position, edit) in edits {
            let position = position.index(bytes.len());
            match edit {
                Edit::Flip(bit) => bytes[position] ^= 1_u8 << bit,
                Edit::Insert(byte) => bytes.insert(position, byte),
                Edit::Remove => drop(bytes.remove(position)),
            }
        }
        let (note, expected) = (SignedNote::parse(&bytes), Note::from_bytes(&bytes));
        prop_assert_eq!(note.is_ok(), expected.is_ok(), "{:?} {:?}", note, expected.is_ok());
        if let (Ok(note), Ok(expected)) = (note, expected) {
            prop_assert_eq!(note.text().as_bytes(), expected.text());
            let verdict = note.verify(&[known.verifier().clone()]).is_ok();
            prop_assert_eq!(verdict, expected.verify(&their_verifiers(&[&known])).is_ok());
        }
    }

    #[test]
    fn checkpoints_agree(
        origin in "[ -~]{0,12}",
        size in prop_oneof!["0", "0?[1-9][0-9]{0,18}", "[+-]?[0-9]{1,3}"],
        root: [u8; 32],
        rest in "([ -~]{0,5}\n){0,2}",
    ) {
        let text = format!("{origin}\n{size}\n{}\n{rest}", Hash(root).to_base64());
        let checkpoint = Checkpoint::parse(&text);
        match tlog_tiles::Checkpoint::from_bytes(text.as_bytes()) {
            // They do not look at the root of an empty tree, nor at the largest size.
            Ok(expected) if expected.size() != 0 && expected.size() >> 63 == 0 => {
                let checkpoint = checkpoint.unwrap();
                prop_assert_eq!(checkpoint.origin(), expected.origin());
                prop_assert_eq!(checkpoint.size(), expected.size());
                prop_assert_eq!(checkpoint.root().0, expected.hash().0);
                prop_assert_eq!(checkpoint.extensions().len(), expected.extension().lines().count());
            }
            _ => prop_assert!(checkpoint.is_err(), "{:?}", checkpoint),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Edit {
    Flip(u8),
    Insert(u8),
    Remove,
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (0_u8..8).prop_map(Edit::Flip),
        prop::sample::select(b"\n \t+=A\x00\xe2".as_slice()).prop_map(Edit::Insert),
        Just(Edit::Remove),
    ]
}
