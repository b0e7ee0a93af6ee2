//! Tiles: how the tree and its entries lie in files (C2SP `tlog-tiles`).
//!
//! A full tile of level `l` holds 256 hashes, each the root of a perfect subtree of
//! `256^l` leaves: 8,192 bytes, never changed again. The right border of the tree
//! lies in partial tiles of width 1 to 255. Entries lie in *bundles* of 256,
//! parallel to the tiles of level 0; disclosures in files parallel to the bundles,
//! with the same paths under another folder.
//!
//! ```text
//! tile/<level>/<index>[.p/<width>]        hashes, 32 bytes each
//! tile/entries/<index>[.p/<width>]        u16 BE length | entry, repeated
//! ```
//! An index is written in groups of three digits, all but the last with an `x`
//! before them: 1234067 is `x001/x234/067`.

use alloc::string::{String, ToString};
use core::fmt;

use thiserror::Error;

use crate::merkle::MAX_TREE_SIZE;

mod bundle;
mod minimum;
mod reader;

pub use bundle::{
    BundleError, MAX_ENTRY_BYTES, bundle_decode, bundle_encode, open_decode, open_encode,
    tile_decode, tile_encode,
};
pub use minimum::MinimumIndex;
pub use reader::{TileReadError, TileReader};

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;

/// Highest level that a tile of a tree of at most 2^63 - 1 leaves can have.
pub const MAX_TILE_LEVEL: u8 = 7;

/// Why something does not name a tile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TileError {
    /// A level above [`MAX_TILE_LEVEL`].
    #[error("no tree has tiles of level {level}: the highest is {MAX_TILE_LEVEL}")]
    Level {
        /// The level.
        level: u8,
    },
    /// A width that is not 1 to 256.
    #[error("a tile is 1 to 256 wide, not {width}")]
    Width {
        /// The width.
        width: u16,
    },
    /// A tile beyond 2^63 - 1 leaves.
    #[error("tile {index} of level {level} lies outside every tree")]
    Index {
        /// The level.
        level: u8,
        /// The index.
        index: u64,
    },
    /// A path that is not, or not canonically, that of a tile or a bundle.
    #[error("not the path of a tile: {path:?}")]
    Path {
        /// The path, at most its first 100 characters.
        path: String,
    },
}

/// Names one tile of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    level: u8,
    index: u64,
    width: u16,
}

/// Names one bundle of entries, and the file of disclosures parallel to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    index: u64,
    width: u16,
}

/// What a path below the prefix of a log names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TilePath {
    /// `tile/<level>/…`
    Hashes(TileId),
    /// `tile/entries/…`
    Entries(BundleId),
}

impl TileId {
    /// A tile of `level` (0 to 7) at `index`, `width` (1 to 256) hashes wide.
    ///
    /// # Errors
    /// [`TileError::Level`], [`TileError::Width`]; [`TileError::Index`] where a hash of
    /// it would cover leaves beyond [`MAX_TREE_SIZE`].
    pub fn new(level: u8, index: u64, width: u16) -> Result<Self, TileError> {
        if level > MAX_TILE_LEVEL {
            return Err(TileError::Level { level });
        }
        if width == 0 || width > TILE_WIDTH {
            return Err(TileError::Width { width });
        }
        // The nodes of this level in the largest tree bound the end of the tile.
        let nodes = MAX_TREE_SIZE >> (8 * u32::from(level));
        let first = index.checked_mul(u64::from(TILE_WIDTH));
        let end = first.and_then(|first| first.checked_add(u64::from(width)));
        if end.is_none_or(|end| end > nodes) {
            return Err(TileError::Index { level, index });
        }
        Ok(Self { level, index, width })
    }

    /// The tile `index` of `level` as it stands in a tree of `size` leaves: full or
    /// partial; `None` where that tree has no such tile.
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        if level > MAX_TILE_LEVEL || size > MAX_TREE_SIZE {
            return None;
        }
        let nodes = size >> (8 * u32::from(level));
        let width = width_at(index, nodes)?;
        Some(Self { level, index, width })
    }

    /// Level, 0 to 7: its hashes cover `256^level` leaves each.
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// Position among the tiles of its level.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Number of hashes, 1 to 256.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it has all 256 hashes and will never change.
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// The full tile at this place: what a reader falls back to when a log has
    /// removed a superseded partial tile. Cut to `width * 32` bytes, its content is
    /// that of the partial tile. (The full tile may lie beyond the tree at hand.)
    pub const fn to_full(self) -> Self {
        Self { width: TILE_WIDTH, ..self }
    }

    /// Level in the tree of the hashes in this tile: `8 * level`, the first argument
    /// of [`HashReader::read`](crate::merkle::HashReader::read).
    pub const fn node_level(&self) -> u8 {
        8 * self.level
    }

    /// Index of the first hash of this tile among the nodes of that level.
    pub const fn first_node(&self) -> u64 {
        self.index * TILE_WIDTH as u64
    }

    /// Length of the tile in bytes.
    pub const fn byte_len(&self) -> usize {
        self.width as usize * crate::hash::HASH_BYTES
    }

    /// Path below the prefix of the log, with `/` as separator.
    pub fn path(&self) -> String {
        self.to_string()
    }
}

impl BundleId {
    /// A bundle at `index`, `width` (1 to 256) entries wide.
    ///
    /// # Errors
    /// [`TileError::Width`]; [`TileError::Index`] beyond [`MAX_TREE_SIZE`].
    pub fn new(index: u64, width: u16) -> Result<Self, TileError> {
        let tile = TileId::new(0, index, width)?;
        Ok(Self { index: tile.index, width: tile.width })
    }

    /// The bundle `index` as it stands in a log of `size` entries.
    pub fn in_tree(index: u64, size: u64) -> Option<Self> {
        let tile = TileId::in_tree(0, index, size)?;
        Some(Self { index: tile.index, width: tile.width })
    }

    /// Position among the bundles.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Number of entries, 1 to 256.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it has all 256 entries and will never change.
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// The full bundle at this place, see [`TileId::to_full`].
    pub const fn to_full(self) -> Self {
        Self { width: TILE_WIDTH, ..self }
    }

    /// Index in the log of its first entry.
    pub const fn first_entry(&self) -> u64 {
        self.index * TILE_WIDTH as u64
    }

    /// Path below the prefix of the log, with `/` as separator. The disclosures have
    /// the same path below their own folder.
    pub fn path(&self) -> String {
        self.to_string()
    }
}

impl TilePath {
    /// Parses a path as [`TileId::path`] and [`BundleId::path`] write it.
    ///
    /// # Errors
    /// [`TileError::Path`] for every other path, also one that is merely written
    /// differently; the other variants for a tile that cannot exist.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        let malformed = || TileError::Path { path: path.chars().take(100).collect() };
        let (kind, place) = path
            .strip_prefix("tile/")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(malformed)?;
        let (index, width) = parse_place(place).ok_or_else(malformed)?;
        let parsed = if kind == "entries" {
            Self::Entries(BundleId::new(index, width)?)
        } else {
            let level = kind.parse().map_err(|_| malformed())?;
            Self::Hashes(TileId::new(level, index, width)?)
        };
        // Leading zeros, signs and superfluous groups parse too: one form only.
        if parsed.to_string() != path {
            return Err(malformed());
        }
        Ok(parsed)
    }

    /// The path, the counterpart of [`parse`](Self::parse).
    pub fn path(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_place(f, self.index, self.width)
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_place(f, self.index, self.width)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashes(tile) => tile.fmt(f),
            Self::Entries(bundle) => bundle.fmt(f),
        }
    }
}

/// The tiles of hashes that must be written when a log grows from `old_size` to
/// `new_size` entries: each that is new or wider than before, full ones without the
/// partial states between, from level 0 upwards. Nothing when it does not grow, or
/// past [`MAX_TREE_SIZE`].
pub fn tiles_for_growth(old_size: u64, new_size: u64) -> impl Iterator<Item = TileId> {
    (0..=MAX_TILE_LEVEL).flat_map(move |level| {
        let shift = 8 * u32::from(level);
        grown(old_size, new_size, shift)
            .filter_map(move |index| TileId::in_tree(level, index, new_size))
    })
}

/// The bundles of entries that must be written when a log grows, as
/// [`tiles_for_growth`].
pub fn bundles_for_growth(old_size: u64, new_size: u64) -> impl Iterator<Item = BundleId> {
    grown(old_size, new_size, 0).filter_map(move |index| BundleId::in_tree(index, new_size))
}

/// Indices of the tiles that gain a node when the tree grows.
fn grown(old_size: u64, new_size: u64, shift: u32) -> core::ops::Range<u64> {
    let (old_nodes, new_nodes) = (old_size >> shift, new_size >> shift);
    // Past the largest tree every tile would be looked at to find that there is none.
    if old_nodes >= new_nodes || new_size > MAX_TREE_SIZE {
        return 0..0;
    }
    let width = u64::from(TILE_WIDTH);
    old_nodes / width..new_nodes.div_ceil(width)
}

/// Width of the tile `index` where its level has `nodes` nodes in all.
fn width_at(index: u64, nodes: u64) -> Option<u16> {
    let full = u64::from(TILE_WIDTH);
    let left = nodes.checked_sub(index.checked_mul(full)?)?;
    let width = u16::try_from(left.min(full)).ok()?;
    (width > 0).then_some(width)
}

fn write_place(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    // u64 has at most 20 digits: seven groups.
    let groups = index.checked_ilog10().unwrap_or(0) / 3;
    for group in (1..=groups).rev() {
        write!(f, "x{:03}/", index / 1000_u64.pow(group) % 1000)?;
    }
    write!(f, "{:03}", index % 1000)?;
    if width < TILE_WIDTH {
        write!(f, ".p/{width}")?;
    }
    Ok(())
}

/// Parses `[xNNN/]…NNN[.p/W]`; whether it is canonical is for the caller to check.
fn parse_place(place: &str) -> Option<(u64, u16)> {
    let (digits, width) = match place.split_once(".p/") {
        None => (place, TILE_WIDTH),
        Some((digits, width)) => {
            let width = width.parse().ok().filter(|width| *width < TILE_WIDTH)?;
            (digits, width)
        }
    };
    let mut index = 0_u64;
    for group in digits.split('/') {
        let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
        index = index.checked_mul(1000)?.checked_add(group)?;
    }
    Some((index, width))
}

#[cfg(test)]
mod tests;
