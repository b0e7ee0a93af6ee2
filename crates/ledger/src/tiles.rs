//! The tree as it grows: which hashes and entries stand in tiles and bundles that are not full.
//!
//! Files are written straight to their final names and made durable together, before the
//! checkpoint that needs them: no durable checkpoint ever refers to a file that is written later,
//! and whatever a crash leaves beyond the checkpoint is written again by recovery.

use crate::disk::Disk;
use crate::error::LedgerError;
use crate::layout::EpochLayout;
use bytes::Bytes;
use loggia_model::port::Committed;
use loggia_tlog::hash::Hash;
use loggia_tlog::merkle::CompactRange;
use loggia_tlog::tile::{
    BundleId, TILE_WIDTH, TileId, bundle_encode, open_encode, tile_decode, tile_encode,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Tile levels that a log can have.
const LEVELS: usize = 8;

/// The growing tree and what of it is in no full file.
pub(crate) struct Tiles {
    disk: Disk,
    layout: EpochLayout,
    range: CompactRange,
    /// Hashes of the last, not full tile of each level.
    hashes: [Vec<Hash>; LEVELS],
    leaves: Vec<Bytes>,
    disclosures: Vec<Option<Bytes>>,
    /// Whether disclosures are written at all.
    open: bool,
    /// Partial files that a later state supersedes; removed once that state is durable.
    partials: Vec<PathBuf>,
}

impl Tiles {
    /// Takes up the tree at `size`, whose files are all there.
    pub(crate) fn load(disk: Disk, layout: EpochLayout, size: u64) -> Result<Self, LedgerError> {
        let mut tiles = Self {
            disk,
            layout,
            range: CompactRange::new(),
            hashes: Default::default(),
            leaves: Vec::new(),
            disclosures: Vec::new(),
            open: true,
            partials: Vec::new(),
        };
        for level in 0..LEVELS {
            tiles.load_partial_tile(level, size)?;
        }
        tiles.load_partial_bundle(size)?;
        tiles.range = tiles.border(size)?;
        Ok(tiles)
    }

    fn load_partial_tile(&mut self, level: usize, size: u64) -> Result<(), LedgerError> {
        let nodes = size >> (8 * level);
        let last = TileId::in_tree(level as u8, nodes / u64::from(TILE_WIDTH), size);
        let Some(id) = last.filter(|id| !id.is_full()) else { return Ok(()) };
        let path = self.layout.folder.tile_path(&id);
        let bytes = self.layout.folder.tile(&id)?;
        let hashes = tile_decode(&bytes, id.width()).map_err(|e| LedgerError::damaged(&path, e))?;
        if let Some(slot) = self.hashes.get_mut(level) {
            *slot = hashes;
        }
        self.partials.push(path);
        Ok(())
    }

    fn load_partial_bundle(&mut self, size: u64) -> Result<(), LedgerError> {
        let last = BundleId::in_tree(size / u64::from(TILE_WIDTH), size);
        let Some(id) = last.filter(|id| !id.is_full()) else { return Ok(()) };
        let folder = &self.layout.folder;
        self.leaves = folder.entries(&id)?.iter().map(Bytes::copy_from_slice).collect();
        let open = folder.disclosures(&id)?;
        let one = |one: &[u8]| (!one.is_empty()).then(|| Bytes::copy_from_slice(one));
        self.disclosures = open.iter().map(one).collect();
        self.partials.push(folder.entries_path(&id));
        self.partials.push(folder.disclosures_path(&id));
        Ok(())
    }

    /// The right border of the tree, from the tiles on disk.
    fn border(&self, size: u64) -> Result<CompactRange, LedgerError> {
        CompactRange::from_reader(size, &self.layout.folder.hash_reader(size))
            .map_err(|error| LedgerError::damaged(&self.layout.log, error))
    }

    /// Removes partial files that no checkpoint refers to: a crash between a checkpoint and the
    /// removal of what it superseded leaves them. What cannot be removed now is no harm.
    pub(crate) fn remove_orphans(&self) {
        let open = self.layout.folder.dir().join("open");
        for root in [self.layout.log.join("tile"), open.join("tile")] {
            for path in partial_files(&root) {
                if !self.partials.contains(&path)
                    && let Err(error) = self.disk.remove(&path)
                {
                    tracing::warn!(path = %path.display(), %error, "a leftover stays");
                }
            }
        }
    }

    /// Writes no files of disclosures from now on: there is nothing to say of them.
    pub(crate) fn without_disclosures(&mut self) {
        self.open = false;
    }

    /// Number of entries in the tree.
    pub(crate) fn size(&self) -> u64 {
        self.range.size()
    }

    /// Root of the tree.
    pub(crate) fn root(&self) -> Hash {
        self.range.root()
    }

    /// Takes the next entry, and writes what is full now.
    pub(crate) fn push(&mut self, entry: &Committed) -> Result<(), LedgerError> {
        let leaf = Hash(entry.leaf_hash.0);
        let mut done: Vec<(usize, Hash)> = vec![(0, leaf)];
        self.range.append_with(leaf, &mut |level, _, hash| {
            if level % 8 == 0 {
                done.push((usize::from(level / 8), hash));
            }
        });
        self.leaves.push(entry.leaf.clone());
        let open = (!entry.disclosure.is_empty()).then(|| entry.disclosure.clone());
        self.disclosures.push(open);
        for (level, hash) in done {
            let Some(tile) = self.hashes.get_mut(level) else { continue };
            tile.push(hash);
            if tile.len() == usize::from(TILE_WIDTH) {
                let full = std::mem::take(tile);
                self.write_tile(level, &full)?;
            }
        }
        if self.leaves.len() == usize::from(TILE_WIDTH) {
            self.write_bundle()?;
            self.leaves.clear();
            self.disclosures.clear();
        }
        Ok(())
    }

    /// Writes a tile that is new or wider than before. One that is neither (most levels, in most
    /// rounds) is left alone: the published checkpoint refers to it, and a crash while it is
    /// written again, though with the same bytes, would leave it torn.
    fn write_tile(&mut self, level: usize, hashes: &[Hash]) -> Result<PathBuf, LedgerError> {
        let nodes = self.size() >> (8 * level);
        let index = nodes.saturating_sub(1) / u64::from(TILE_WIDTH);
        let id = TileId::new(level as u8, index, hashes.len() as u16)?;
        let path = self.layout.folder.tile_path(&id);
        if self.partials.contains(&path) {
            return Ok(path);
        }
        let bytes = tile_encode(hashes)?;
        self.write(&path, &bytes)?;
        Ok(path)
    }

    fn write_bundle(&mut self) -> Result<[PathBuf; 2], LedgerError> {
        let index = self.size().saturating_sub(1) / u64::from(TILE_WIDTH);
        let id = BundleId::new(index, self.leaves.len() as u16)?;
        let folder = &self.layout.folder;
        let (log, open) = (folder.entries_path(&id), folder.disclosures_path(&id));
        let bytes = bundle_encode(&self.leaves)?;
        self.write(&log, &bytes)?;
        if self.open {
            let bytes = open_encode(&self.disclosures)?;
            self.write(&open, &bytes)?;
        }
        Ok([log, open])
    }

    /// Takes the disclosures of these entries away, durably. A crash in between leaves some of
    /// them, in files that are whole.
    pub(crate) fn blank(&mut self, indices: &BTreeSet<u64>) -> Result<(), LedgerError> {
        let first = self.size() - self.leaves.len() as u64;
        let mut full: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let mut changed = false;
        for index in indices {
            let position = |first: u64| usize::try_from(index - first).unwrap_or(usize::MAX);
            if *index < first {
                let number = index / u64::from(TILE_WIDTH);
                let position = position(number * u64::from(TILE_WIDTH));
                full.entry(number).or_default().push(position);
            } else if let Some(open) = self.disclosures.get_mut(position(first)) {
                changed |= open.take().is_some();
            }
        }
        // Became full since it was asked for.
        for (number, positions) in full {
            let id = BundleId::new(number, TILE_WIDTH)?;
            let open = self.layout.folder.disclosures(&id)?;
            let left = open.iter().enumerate().map(|(position, one)| {
                (!one.is_empty() && !positions.contains(&position)).then_some(one)
            });
            let left: Vec<_> = left.collect();
            self.replace_open(&id, &open_encode(&left)?)?;
        }
        if changed {
            let id = BundleId::new(first / u64::from(TILE_WIDTH), self.leaves.len() as u16)?;
            self.replace_open(&id, &open_encode(&self.disclosures)?)?;
        }
        Ok(())
    }

    fn replace_open(&self, id: &BundleId, bytes: &[u8]) -> Result<(), LedgerError> {
        let path = self.layout.folder.disclosures_path(id);
        self.disk.replace(&path, bytes).map_err(|error| LedgerError::io(&path, error))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
        self.disk.write(path, bytes).map_err(|error| LedgerError::io(path, error))
    }

    /// Writes what is not full and makes all files durable. Gives the partial files that are
    /// superseded, to be removed once a checkpoint of this size is durable. A crash here leaves
    /// files that no checkpoint refers to.
    pub(crate) fn settle(&mut self) -> Result<Vec<PathBuf>, LedgerError> {
        let mut fresh = Vec::new();
        for level in 0..LEVELS {
            let hashes = self.hashes.get(level).cloned().unwrap_or_default();
            if !hashes.is_empty() {
                fresh.push(self.write_tile(level, &hashes)?);
            }
        }
        if !self.leaves.is_empty() {
            fresh.extend(self.write_bundle()?);
        }
        // One call makes files and names durable, however many there are.
        self.disk
            .sync_file_system(&self.layout.log)
            .map_err(|error| LedgerError::io(&self.layout.log, error))?;
        let mut superseded = std::mem::replace(&mut self.partials, fresh);
        superseded.retain(|path| !self.partials.contains(path));
        Ok(superseded)
    }
}

/// The files below folders whose names end in `.p`.
fn partial_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let partial = folder.extension().is_some_and(|end| end == "p");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(partial_files(&path)),
            Ok(_) if partial => found.push(path),
            _ => {}
        }
    }
    found
}
