//! The tree against its definition, and proofs that are tampered with.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::hash::leaf_hash;

/// A log in memory: every perfect subtree.
struct Nodes(BTreeMap<(u8, u64), Hash>);

impl HashReader for Nodes {
    type Error = (u8, u64);

    fn read(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        self.0.get(&(level, index)).copied().ok_or((level, index))
    }
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

fn grow(size: u64) -> (CompactRange, Nodes) {
    let (mut range, mut nodes) = (CompactRange::new(), BTreeMap::new());
    for (index, leaf) in (0..).zip(leaves(size)) {
        assert!(nodes.insert((0, index), leaf).is_none());
        range.append_with(leaf, &mut |level, index, hash| {
            assert!(level > 0);
            assert!(nodes.insert((level, index), hash).is_none());
        });
    }
    (range, Nodes(nodes))
}

/// MTH of RFC 6962 section 2.1, word for word.
fn definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            node_hash(&definition(left), &definition(right))
        }
    }
}

#[test]
fn roots_follow_the_definition() {
    let all = leaves(130);
    let mut range = CompactRange::default();
    assert_eq!(range.root(), EMPTY_ROOT);
    for size in 1..=all.len() {
        range.append(all[size - 1]);
        assert_eq!(range.size(), size as u64);
        assert_eq!(range.root(), definition(&all[..size]), "size {size}");
    }
}

#[test]
fn every_completed_node_is_reported_once_with_its_hash() {
    let (_, nodes) = grow(100);
    let all = leaves(100);
    let expected: usize = (0..7).map(|level| 100 >> level).sum();
    assert_eq!(nodes.0.len(), expected);
    for ((level, index), hash) in &nodes.0 {
        let (start, end) = (index << level, (index + 1) << level);
        assert_eq!(*hash, definition(&all[start as usize..end as usize]));
    }
}

#[test]
fn every_proof_in_small_trees_verifies_and_fits_nothing_else() {
    const MAX: u64 = 20;
    let (_, nodes) = grow(MAX);
    let all = leaves(MAX);
    let root = |size| root_of(size, &nodes).unwrap();
    for size in 1..=MAX {
        for index in 0..size {
            let proof = inclusion_proof(index, size, &nodes).unwrap();
            for (other_index, leaf) in (0..).zip(&all) {
                for other_size in 1..=MAX {
                    let fits = verify_inclusion(other_index, other_size, leaf, &proof, &root(size));
                    let genuine = other_index == index && other_size == size;
                    // A proof of the same shape serves several sizes only when nothing
                    // in it depends on them; then leaf, index and root are the same.
                    if genuine || other_index != index {
                        assert_eq!(fits.is_ok(), genuine);
                    }
                }
            }
        }
        for old in 0..=size {
            let proof = consistency_proof(old, size, &nodes).unwrap();
            let (old_root, new_root) = (root(old), root(size));
            assert_eq!(verify_consistency(old, &old_root, size, &new_root, &proof), Ok(()));
            for other in (1..=size).filter(|other| *other != old) {
                let other_root = root(other);
                verify_consistency(old, &other_root, size, &new_root, &proof).unwrap_err();
            }
        }
    }
}

#[test]
fn requests_outside_the_tree_are_refused() {
    let (_, nodes) = grow(4);
    assert_eq!(
        inclusion_proof(4, 4, &nodes),
        Err(ProveError::Request(MerkleError::IndexOutside { index: 4, size: 4 }))
    );
    assert_eq!(inclusion_proof(0, 5, &nodes), Err(ProveError::Read((0, 4))));
    assert_eq!(
        consistency_proof(5, 4, &nodes),
        Err(ProveError::Request(MerkleError::Shrunk { old_size: 5, new_size: 4 }))
    );
    let size = MAX_TREE_SIZE + 1;
    let too_large = MerkleError::SizeTooLarge { size };
    assert_eq!(root_of(size, &nodes), Err(ProveError::Request(too_large)));
    assert_eq!(CompactRange::from_reader(size, &nodes), Err(ProveError::Request(too_large)));
    assert_eq!(CompactRange::from_parts(size, vec![]), Err(too_large));
    assert_eq!(
        CompactRange::from_parts(5, vec![EMPTY_ROOT]),
        Err(MerkleError::PartCount { size: 5, expected: 2, found: 1 })
    );
}

#[test]
fn nothing_follows_from_an_empty_tree_and_nothing_is_accepted_for_it() {
    let (range, _) = grow(3);
    let (root, other) = (range.root(), leaf_hash(b"other"));
    assert_eq!(verify_consistency(0, &EMPTY_ROOT, 3, &root, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &EMPTY_ROOT, 0, &EMPTY_ROOT, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &other, 3, &root, &[]), Err(MerkleError::OldRootMismatch));
    assert_eq!(verify_consistency(0, &EMPTY_ROOT, 0, &other, &[]), Err(MerkleError::RootMismatch));
    assert_eq!(
        verify_consistency(0, &EMPTY_ROOT, 3, &root, &[other]),
        Err(MerkleError::ProofLength { found: 1 })
    );
    assert_eq!(
        verify_inclusion(0, 0, &other, &[], &EMPTY_ROOT),
        Err(MerkleError::IndexOutside { index: 0, size: 0 })
    );
}

#[test]
fn a_verifier_of_the_largest_tree_takes_the_longest_proof() {
    let proof = vec![EMPTY_ROOT; MAX_PROOF_HASHES];
    let (index, size) = (0, MAX_TREE_SIZE);
    // Well-formed, so what is wrong is the root, not the length.
    assert_eq!(
        verify_inclusion(index, size, &EMPTY_ROOT, &proof, &EMPTY_ROOT),
        Err(MerkleError::RootMismatch)
    );
    assert_eq!(
        verify_inclusion(index, size, &EMPTY_ROOT, &vec![EMPTY_ROOT; 64], &EMPTY_ROOT),
        Err(MerkleError::ProofLength { found: 64 })
    );
}

fn hashes(max: usize) -> impl Strategy<Value = Vec<Hash>> {
    prop::collection::vec(any::<[u8; 32]>().prop_map(Hash), 0..max)
}

proptest! {
    #[test]
    fn any_altered_proof_of_inclusion_fails(
        size in 1_u64..300,
        index: prop::sample::Index,
        bit in 0_usize..256,
        position: prop::sample::Index,
    ) {
        let (range, nodes) = grow(size);
        let index = index.index(size as usize) as u64;
        let leaf = nodes.read(0, index).unwrap();
        let proof = inclusion_proof(index, size, &nodes).unwrap();
        let root = range.root();
        prop_assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Ok(()));
        let flip = |hash: &mut Hash| hash.0[bit / 8] ^= 1 << (bit % 8);
        let (mut other_leaf, mut other_root) = (leaf, root);
        flip(&mut other_leaf);
        flip(&mut other_root);
        prop_assert!(verify_inclusion(index, size, &other_leaf, &proof, &root).is_err());
        prop_assert!(verify_inclusion(index, size, &leaf, &proof, &other_root).is_err());
        prop_assert!(verify_inclusion(size, size, &leaf, &proof, &root).is_err());
        let mut longer = proof.clone();
        longer.push(leaf);
        prop_assert!(verify_inclusion(index, size, &leaf, &longer, &root).is_err());
        if !proof.is_empty() {
            let position = position.index(proof.len());
            let mut altered = proof.clone();
            flip(&mut altered[position]);
            prop_assert!(verify_inclusion(index, size, &leaf, &altered, &root).is_err());
            altered.remove(position);
            prop_assert!(verify_inclusion(index, size, &leaf, &altered, &root).is_err());
        }
    }

    #[test]
    fn any_altered_proof_of_consistency_fails(
        new in 2_u64..300,
        old: prop::sample::Index,
        bit in 0_usize..256,
        position: prop::sample::Index,
    ) {
        let (range, nodes) = grow(new);
        let old = 1 + old.index(new as usize - 1) as u64;
        let (old_root, new_root) = (root_of(old, &nodes).unwrap(), range.root());
        let proof = consistency_proof(old, new, &nodes).unwrap();
        prop_assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()));
        prop_assert!(verify_consistency(old, &new_root, new, &new_root, &proof).is_err());
        prop_assert!(verify_consistency(old, &old_root, new, &old_root, &proof).is_err());
        let position = position.index(proof.len());
        let mut altered = proof.clone();
        altered[position].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_consistency(old, &old_root, new, &new_root, &altered).is_err());
        altered.remove(position);
        prop_assert!(verify_consistency(old, &old_root, new, &new_root, &altered).is_err());
        altered = proof;
        altered.push(new_root);
        prop_assert!(verify_consistency(old, &old_root, new, &new_root, &altered).is_err());
    }

    #[test]
    fn a_range_can_be_left_and_taken_up_anywhere(size in 0_u64..300, more in 0_u64..50) {
        let (whole, nodes) = grow(size + more);
        let (range, _) = grow(size);
        let mut resumed = CompactRange::from_parts(size, range.parts().to_vec()).unwrap();
        let read = CompactRange::from_reader(size, &nodes).unwrap();
        prop_assert_eq!(&resumed, &range);
        prop_assert_eq!(&read, &range);
        for leaf in leaves(size + more).split_off(size as usize) {
            resumed.append(leaf);
        }
        prop_assert_eq!(resumed, whole);
    }

    #[test]
    fn verifiers_never_panic(
        index: u64, size: u64, old_size: u64, leaf: [u8; 32], proof in hashes(70),
    ) {
        let (leaf, root) = (Hash(leaf), EMPTY_ROOT);
        prop_assert!(verify_inclusion(index, size, &leaf, &proof, &root).is_err());
        if old_size > 0 && old_size != size {
            prop_assert!(verify_consistency(old_size, &leaf, size, &root, &proof).is_err());
        }
    }
}
