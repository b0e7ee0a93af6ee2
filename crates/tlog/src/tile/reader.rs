//! Reads the tree out of tiles.

use alloc::vec::Vec;

use thiserror::Error;

use super::{BundleError, MAX_TILE_LEVEL, TILE_WIDTH, TileId, tile_decode};
use crate::hash::Hash;
use crate::merkle::{CompactRange, HashReader};

/// Why a hash could not be read out of tiles.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TileReadError<E> {
    /// The tree at hand has no such perfect subtree.
    #[error("a tree of {size} leaves has no perfect subtree {index} of level {level}")]
    OutsideTree {
        /// Level of the subtree: it covers 2^level leaves.
        level: u8,
        /// Its position on that level.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// The tile could not be fetched.
    #[error("{tile} could not be read")]
    Fetch {
        /// Which tile.
        tile: TileId,
        /// Why.
        #[source]
        source: E,
    },
    /// The tile does not have the length that its name says.
    #[error("{tile} is malformed")]
    Content {
        /// Which tile.
        tile: TileId,
        /// What is wrong.
        #[source]
        source: BundleError,
    },
}

/// A [`HashReader`] over the tiles of a log of `size` entries.
///
/// `fetch` gets the tile as it stands at that size, full or partial, and must
/// return exactly [`TileId::byte_len`] bytes. Where a log has removed a partial tile,
/// falling back to [`TileId::to_full`] and cutting it to that length is up to `fetch`,
/// and so is keeping tiles that are asked for again: each hash read fetches one tile.
///
/// What is read is not verified: a proof made of it is, by its verifier.
pub struct TileReader<F> {
    size: u64,
    fetch: F,
}

impl<F, E> TileReader<F>
where
    F: Fn(&TileId) -> Result<Vec<u8>, E>,
{
    /// Reads the tree of the first `size` entries.
    pub const fn new(size: u64, fetch: F) -> Self {
        Self { size, fetch }
    }

    /// Number of leaves of the tree that it reads.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl<F, E> HashReader for TileReader<F>
where
    F: Fn(&TileId) -> Result<Vec<u8>, E>,
{
    type Error = TileReadError<E>;

    fn read(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let outside = || TileReadError::OutsideTree { level, index, size: self.size };
        let complete = self.size.checked_shr(level.into()).unwrap_or(0);
        let tile_level = level / 8;
        if index >= complete || tile_level > MAX_TILE_LEVEL {
            return Err(outside());
        }
        // Above the hashes of the tile the subtree is 0 to 7 levels high: it is the
        // root of the 2^height hashes from `first` on, which never cross a tile.
        let height = level % 8;
        let first = index << height;
        let width = u64::from(TILE_WIDTH);
        let tile = TileId::in_tree(tile_level, first / width, self.size).ok_or_else(outside)?;
        let bytes = (self.fetch)(&tile).map_err(|source| TileReadError::Fetch { tile, source })?;
        let hashes = tile_decode(&bytes, tile.width())
            .map_err(|source| TileReadError::Content { tile, source })?;
        let mut subtree = CompactRange::new();
        let start = usize::try_from(first % width).map_err(|_| outside())?;
        let members = hashes.get(start..start + (1 << height)).ok_or_else(outside)?;
        members.iter().for_each(|hash| subtree.append(*hash));
        Ok(subtree.root())
    }
}
