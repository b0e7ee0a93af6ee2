//! Pruning: a log may stop to publish a prefix of its entries, under a stated retention policy,
//! without changing its tree.

use super::{BundleId, TILE_WIDTH, TileId};
use crate::merkle::MAX_TREE_SIZE;

/// The lowest index whose entry a log still publishes (C2SP `tlog-tiles`, *Pruning*). 0 in a log
/// that was never pruned. Everything at or above it stays provable: entries, roots of trees, proofs
/// of inclusion and consistency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinimumIndex(u64);

impl MinimumIndex {
    /// A minimum index of a log of `size` entries; `None` above that size.
    pub const fn new(index: u64, size: u64) -> Option<Self> {
        if index > size || size > MAX_TREE_SIZE {
            return None;
        }
        Some(Self(index))
    }

    /// The index.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this bundle may be gone: it is full and ends at or below the minimum index.
    pub fn may_miss_bundle(self, bundle: &BundleId) -> bool {
        bundle.is_full() && self.ends_below(bundle.index(), 0)
    }

    /// Whether this tile may be gone, by the same rule.
    pub fn may_miss_tile(self, tile: &TileId) -> bool {
        tile.is_full() && self.ends_below(tile.index(), tile.level())
    }

    /// Number of bundles at the beginning of the log that may be gone.
    pub const fn bundles_below(self) -> u64 {
        self.0 / TILE_WIDTH as u64
    }

    /// `(index + 1) * 256^(level + 1)` is the end of a full tile; beyond 2^64 it is above every
    /// minimum index.
    fn ends_below(self, index: u64, level: u8) -> bool {
        let entries = 1_u64.checked_shl(8 * (u32::from(level) + 1));
        let end = entries.and_then(|entries| index.checked_add(1)?.checked_mul(entries));
        end.is_some_and(|end| end <= self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pruned_log_may_leave_out() {
        assert_eq!(MinimumIndex::new(11, 10), None);
        assert_eq!(MinimumIndex::default(), MinimumIndex::new(0, 0).unwrap());
        let minimum = MinimumIndex::new(65_536 + 300, 70_000).unwrap();
        assert_eq!((minimum.get(), minimum.bundles_below()), (65_836, 257));
        for (index, gone) in [(0, true), (256, true), (257, false), (273, false)] {
            let bundle = BundleId::in_tree(index, 70_000).unwrap();
            assert_eq!(minimum.may_miss_bundle(&bundle), gone, "{index}");
            let tile = TileId::in_tree(0, index, 70_000).unwrap();
            assert_eq!(minimum.may_miss_tile(&tile), gone, "{index}");
        }
        // The full tile of level 1 ends at 65,536; the next one covers entries that stay.
        assert!(minimum.may_miss_tile(&TileId::in_tree(1, 0, 70_000).unwrap()));
        assert!(!minimum.may_miss_tile(&TileId::in_tree(1, 1, 70_000).unwrap()));
        assert!(!minimum.may_miss_tile(&TileId::in_tree(2, 0, 70_000).unwrap()));
        // A partial one is never pruned, whatever it covers.
        let all = MinimumIndex::new(70_000, 70_000).unwrap();
        assert!(!all.may_miss_bundle(&BundleId::in_tree(273, 70_000).unwrap()));
        // The largest tile that can be named ends beyond every index.
        let last = TileId::new(7, 0, 127).unwrap();
        assert!(!MinimumIndex::new(MAX_TREE_SIZE, MAX_TREE_SIZE).unwrap().may_miss_tile(&last));
        assert!(!minimum.ends_below(0, 7));
    }
}
