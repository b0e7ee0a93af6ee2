//! The Merkle tree of RFC 6962 section 2.1: appending, proving, verifying.
//!
//! The tree over n > 1 leaves splits at the largest power of two below n, so it
//! consists of *perfect* subtrees (2^level leaves) joined along its right border.
//! A perfect subtree never changes once complete; it is named by `(level, index)`
//! and covers the leaves from `index << level` up to, not including,
//! `(index + 1) << level`. Everything that is stored or read is such a node.

use alloc::vec::Vec;

use thiserror::Error;

use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// Largest number of leaves that a tree may have: 2^63 - 1, as elsewhere in the
/// C2SP world. It keeps every shift below free of overflow.
pub const MAX_TREE_SIZE: u64 = (1 << 63) - 1;

/// Longest possible proof of inclusion, in hashes.
pub const MAX_PROOF_HASHES: usize = 63;

/// Why a tree cannot be built, or a proof is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MerkleError {
    /// More leaves than [`MAX_TREE_SIZE`].
    #[error("a tree of {size} leaves is larger than 2^63 - 1")]
    SizeTooLarge {
        /// The size that was asked for.
        size: u64,
    },
    /// The number of subtrees does not belong to that size.
    #[error("a tree of {size} leaves has {expected} perfect subtrees, not {found}")]
    PartCount {
        /// Leaves of the tree.
        size: u64,
        /// How many subtrees it has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// The entry is not in a tree of that size.
    #[error("entry {index} is not in a tree of {size} leaves")]
    IndexOutside {
        /// Zero-based index of the entry.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("a tree of {new_size} leaves cannot continue one of {old_size}")]
    Shrunk {
        /// Leaves of the earlier tree.
        old_size: u64,
        /// Leaves of the later tree.
        new_size: u64,
    },
    /// The proof has too few or too many hashes for these sizes.
    #[error("the proof has a wrong number of hashes ({found})")]
    ProofLength {
        /// How many hashes the proof has.
        found: usize,
    },
    /// The proof is well-formed and does not lead to the root: the entry, the
    /// proof or the root is not the genuine one.
    #[error("the proof does not lead to the root of the tree")]
    RootMismatch,
    /// The proof does not lead to the root of the earlier tree.
    #[error("the proof does not lead to the root of the earlier tree")]
    OldRootMismatch,
}

/// Why a proof could not be made: a request outside the tree, or a failed read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProveError<E> {
    /// What was asked for does not exist in that tree.
    #[error(transparent)]
    Request(MerkleError),
    /// The reader of hashes failed.
    #[error("a hash of the tree could not be read")]
    Read(#[source] E),
}

/// Gives the roots of perfect subtrees, for instance out of tiles
/// ([`crate::tile::TileReader`]) or from memory.
pub trait HashReader {
    /// What can go wrong.
    type Error;

    /// Root of the perfect subtree `(level, index)`: level 0 is a leaf hash, level
    /// n covers 2^n leaves.
    ///
    /// # Errors
    /// Whatever the reader meets; also when the subtree is not complete.
    fn read(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// The right border of a growing tree: the roots of its perfect subtrees, largest
/// first. At most 63 hashes, enough to append and to know the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    parts: Vec<Hash>,
}

impl Default for CompactRange {
    fn default() -> Self {
        Self::new()
    }
}

impl CompactRange {
    /// The empty tree.
    pub fn new() -> Self {
        // Room for every size there is: appending never allocates.
        Self { size: 0, parts: Vec::with_capacity(64) }
    }

    /// Continues a tree of `size` leaves whose perfect subtrees, from left (largest)
    /// to right, have these roots; the counterpart of [`parts`](Self::parts).
    ///
    /// # Errors
    /// [`MerkleError::SizeTooLarge`], or [`MerkleError::PartCount`] when there is not
    /// exactly one root for each one-bit of `size`.
    pub fn from_parts(size: u64, parts: Vec<Hash>) -> Result<Self, MerkleError> {
        check_size(size)?;
        let expected = size.count_ones() as usize;
        if parts.len() != expected {
            return Err(MerkleError::PartCount { size, expected, found: parts.len() });
        }
        let mut range = Self::new();
        range.size = size;
        range.parts.extend(parts);
        Ok(range)
    }

    /// Reads the right border of a tree of `size` leaves.
    ///
    /// # Errors
    /// [`ProveError::Request`] past [`MAX_TREE_SIZE`], else what the reader meets.
    pub fn from_reader<R: HashReader + ?Sized>(
        size: u64,
        reader: &R,
    ) -> Result<Self, ProveError<R::Error>> {
        check_size(size).map_err(ProveError::Request)?;
        let mut range = Self::new();
        range.size = size;
        range.parts.extend(perfect_parts(0, size, reader)?);
        Ok(range)
    }

    /// Appends a leaf, given by its hash ([`crate::hash::leaf_hash`]).
    pub fn append(&mut self, leaf: Hash) {
        self.append_with(leaf, &mut |_, _, _| {});
    }

    /// Appends a leaf and reports each inner node that this completes, from the
    /// bottom up, as `(level, index, hash)` with level ≥ 1. The leaf itself, level 0
    /// at index [`size`](Self::size) before the call, is not reported.
    pub fn append_with(&mut self, leaf: Hash, completed: &mut impl FnMut(u8, u64, Hash)) {
        let (mut level, mut index, mut hash) = (0, self.size, leaf);
        // A one-bit at the end of `index`: the left brother on this level is complete.
        while index & 1 == 1 {
            let Some(left) = self.parts.pop() else { break };
            hash = node_hash(&left, &hash);
            level += 1;
            index >>= 1;
            completed(level, index, hash);
        }
        self.parts.push(hash);
        self.size += 1;
    }

    /// Root of the tree so far; [`EMPTY_ROOT`] without leaves.
    pub fn root(&self) -> Hash {
        fold_right(&self.parts)
    }

    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, largest first.
    pub fn parts(&self) -> &[Hash] {
        &self.parts
    }
}

/// Root of the tree of the first `size` leaves.
///
/// # Errors
/// [`ProveError::Request`] past [`MAX_TREE_SIZE`], else what the reader meets.
pub fn root_of<R: HashReader + ?Sized>(
    size: u64,
    reader: &R,
) -> Result<Hash, ProveError<R::Error>> {
    check_size(size).map_err(ProveError::Request)?;
    range_root(0, size, reader)
}

/// Proof that entry `index` is in the tree of the first `size` leaves: the hashes
/// from the leaf's brother up to the child of the root (RFC 6962 section 2.1.1).
///
/// # Errors
/// [`ProveError::Request`] when there is no such entry, else what the reader meets.
pub fn inclusion_proof<R: HashReader + ?Sized>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    check_size(size).map_err(ProveError::Request)?;
    if index >= size {
        return Err(ProveError::Request(MerkleError::IndexOutside { index, size }));
    }
    let mut proof = Vec::new();
    path_to_root(0, index, size, reader, &mut proof)?;
    Ok(proof)
}

/// Proof that the tree of the first `new_size` leaves continues the one of the
/// first `old_size` (RFC 6962 section 2.1.2). Empty when the sizes are equal or
/// the old tree is empty: then there is nothing to prove.
///
/// # Errors
/// [`ProveError::Request`] when `old_size > new_size`, else what the reader meets.
pub fn consistency_proof<R: HashReader + ?Sized>(
    old_size: u64,
    new_size: u64,
    reader: &R,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    check_growth(old_size, new_size).map_err(ProveError::Request)?;
    if old_size == 0 || old_size == new_size {
        return Ok(Vec::new());
    }
    // The last perfect subtree of the old tree: its path to the new root passes, on
    // the left, through everything else that the old tree consisted of.
    let level = old_size.trailing_zeros();
    let index = (old_size - 1) >> level;
    let mut proof = Vec::new();
    if !old_size.is_power_of_two() {
        // Else that subtree is the whole old tree, whose root the verifier has.
        proof.push(reader.read(level as u8, index).map_err(ProveError::Read)?);
    }
    path_to_root(level, index, new_size, reader, &mut proof)?;
    Ok(proof)
}

/// Checks that `leaf` is entry `index` of the tree of `size` leaves with this root.
///
/// # Errors
/// [`MerkleError`]; in every error case nothing is proven.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), MerkleError> {
    check_size(size)?;
    if index >= size {
        return Err(MerkleError::IndexOutside { index, size });
    }
    let too_long = MerkleError::ProofLength { found: proof.len() };
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for brother in proof {
        if last == 0 {
            return Err(too_long);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(brother, &hash);
            // On the right border levels without a brother are skipped.
            while node != 0 && node & 1 == 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, brother);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(MerkleError::ProofLength { found: proof.len() });
    }
    if hash != *root {
        return Err(MerkleError::RootMismatch);
    }
    Ok(())
}

/// Checks that the tree `(new_size, new_root)` continues the tree
/// `(old_size, old_root)`: nothing that was in it has been altered or removed.
/// From an empty tree nothing follows, so its proof must be empty and its root
/// [`EMPTY_ROOT`].
///
/// # Errors
/// [`MerkleError`]; in every error case nothing is proven.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), MerkleError> {
    check_growth(old_size, new_size)?;
    let wrong_length = MerkleError::ProofLength { found: proof.len() };
    if old_size == 0 && *old_root != EMPTY_ROOT {
        return Err(MerkleError::OldRootMismatch);
    }
    if old_size == 0 || old_size == new_size {
        if !proof.is_empty() {
            return Err(wrong_length);
        }
        return if old_size != new_size || old_root == new_root {
            Ok(())
        } else {
            Err(MerkleError::RootMismatch)
        };
    }
    // Start at the last perfect subtree of the old tree; where it is the whole old
    // tree, its hash is the old root and not part of the proof.
    let (start, rest) = if old_size.is_power_of_two() {
        (*old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(wrong_length)?;
        (*first, rest)
    };
    let level = old_size.trailing_zeros();
    let (mut node, mut last) = ((old_size - 1) >> level, (new_size - 1) >> level);
    let (mut old, mut new) = (start, start);
    for brother in rest {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            old = node_hash(brother, &old);
            new = node_hash(brother, &new);
            while node != 0 && node & 1 == 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, brother);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if old != *old_root {
        return Err(MerkleError::OldRootMismatch);
    }
    if new != *new_root {
        return Err(MerkleError::RootMismatch);
    }
    Ok(())
}

fn check_size(size: u64) -> Result<(), MerkleError> {
    if size > MAX_TREE_SIZE {
        return Err(MerkleError::SizeTooLarge { size });
    }
    Ok(())
}

fn check_growth(old_size: u64, new_size: u64) -> Result<(), MerkleError> {
    check_size(new_size)?;
    if old_size > new_size {
        return Err(MerkleError::Shrunk { old_size, new_size });
    }
    Ok(())
}

/// Joins the roots of adjacent perfect subtrees from right to left.
fn fold_right(parts: &[Hash]) -> Hash {
    let Some((last, rest)) = parts.split_last() else { return EMPTY_ROOT };
    rest.iter().rev().fold(*last, |right, left| node_hash(left, &right))
}

/// Roots of the perfect subtrees of the leaves `start..end`, largest first. `start`
/// must be a multiple of the largest power of two that fits in the range.
fn perfect_parts<R: HashReader + ?Sized>(
    start: u64,
    end: u64,
    reader: &R,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    let mut parts = Vec::new();
    let mut next = start;
    while next < end {
        let level = (end - next).ilog2();
        parts.push(reader.read(level as u8, next >> level).map_err(ProveError::Read)?);
        next += 1 << level;
    }
    Ok(parts)
}

fn range_root<R: HashReader + ?Sized>(
    start: u64,
    end: u64,
    reader: &R,
) -> Result<Hash, ProveError<R::Error>> {
    Ok(fold_right(&perfect_parts(start, end, reader)?))
}

/// Adds the brothers of the node `(level, index)` and of its ancestors, up to the
/// child of the root of the tree of `size` leaves.
fn path_to_root<R: HashReader + ?Sized>(
    level: u32,
    index: u64,
    size: u64,
    reader: &R,
    proof: &mut Vec<Hash>,
) -> Result<(), ProveError<R::Error>> {
    let (mut level, mut node) = (level, index);
    // size < 2^63, so neither shift below overflows.
    while (1 << level) < size {
        let brother = node ^ 1;
        let (start, end) = (brother << level, (brother + 1) << level);
        if end <= size {
            proof.push(reader.read(level as u8, brother).map_err(ProveError::Read)?);
        } else if start < size {
            proof.push(range_root(start, size, reader)?);
        }
        node >>= 1;
        level += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
