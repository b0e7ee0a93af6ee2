//! The hashes of all entries in order: the root that they give, and the tiles above them.
//!
//! As long as entries and tiles agree there is one tree. From the first difference on two are
//! kept, one by the entries and one by the tiles of level 0; the signed root tells at the end
//! which is the genuine one, and what differs from that one is what was altered.

use super::VerifyError;
use super::bundle::{Bundles, Looked, Problem};
use crate::report::{Place, Verdict};
use loggia_tlog::tile::{MAX_TILE_LEVEL, TILE_WIDTH};
use loggia_tlog::{CompactRange, Hash, TileId};

/// Differences that are remembered; what goes beyond is counted.
const DIFFERENCES_KEPT: usize = 1_000;

/// A hash twice: by the entries, and by the tiles of level 0.
type Pair = (Hash, Hash);

/// A bundle that disagrees with its tile.
struct Difference {
    first: u64,
    count: usize,
    entries_file: String,
    tile_file: String,
}

/// A tile above level 0 that disagrees with what is below it.
struct Above {
    file: String,
    /// Entries under each of its hashes, as a power of two.
    level: u8,
    first_node: u64,
    /// The first hash that differs from what the entries give, and from what the tiles give.
    wrong: (Option<usize>, Option<usize>),
}

/// Which of the two trees is the signed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Genuine {
    /// What the entries give.
    Entries,
    /// What the tiles give; the entries were altered.
    Tiles,
    /// None of the two.
    Neither,
}

pub(super) struct Tree<'a> {
    bundles: Bundles<'a>,
    by_entries: CompactRange,
    // Only from the first difference on.
    by_tiles: Option<CompactRange>,
    // The hashes of the unfinished tile of each level from 1 on, and how many were finished.
    above: Vec<(Vec<Pair>, u64)>,
    differences: Vec<Difference>,
    differences_more: usize,
    wrong_above: Vec<Above>,
    // Sizes at which the root is wanted, the next one last.
    wanted: Vec<u64>,
    roots: Vec<(u64, Pair)>,
    completed: Vec<(u8, Hash)>,
    completed_by_tiles: Vec<(u8, Hash)>,
    pub(super) problems: Vec<Problem>,
}

/// The tree as it turned out to be.
pub(super) struct Grown {
    pub(super) genuine: Genuine,
    /// The right border of the genuine tree.
    pub(super) border: CompactRange,
    /// The genuine roots at the sizes that were wanted.
    pub(super) roots: Vec<(u64, Hash)>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Tree<'a> {
    /// An empty tree; `wanted` are sizes whose root is wanted.
    pub(super) fn new(bundles: Bundles<'a>, mut wanted: Vec<u64>) -> Self {
        wanted.sort_unstable_by(|one, other| other.cmp(one));
        wanted.dedup();
        Self {
            bundles,
            by_entries: CompactRange::new(),
            by_tiles: None,
            above: (1..=MAX_TILE_LEVEL).map(|_| (Vec::new(), 0)).collect(),
            differences: Vec::new(),
            differences_more: 0,
            wrong_above: Vec::new(),
            wanted,
            roots: Vec::new(),
            completed: Vec::with_capacity(8),
            completed_by_tiles: Vec::with_capacity(8),
            problems: Vec::new(),
        }
    }

    /// Number of entries so far.
    pub(super) fn size(&self) -> u64 {
        self.by_entries.size()
    }

    /// Takes the next bundle.
    pub(super) fn take(&mut self, looked: &Looked) -> Result<(), VerifyError> {
        let pairs = || looked.by_entries.iter().copied().zip(looked.by_tile.iter().copied());
        if let Some(first) = pairs().position(|(entry, tile)| entry != tile) {
            if self.differences.len() == DIFFERENCES_KEPT {
                self.differences_more += 1;
            } else {
                self.differences.push(self.difference(looked, first));
            }
        }
        for pair in pairs() {
            self.append(pair)?;
        }
        Ok(())
    }

    fn difference(&self, looked: &Looked, first: usize) -> Difference {
        let pairs = looked.by_entries.iter().zip(&looked.by_tile);
        let folder = self.bundles.folder;
        let tile = TileId::in_tree(0, looked.bundle.index(), self.bundles.size);
        Difference {
            first: looked.bundle.first_entry() + first as u64,
            count: pairs.filter(|(entry, tile)| entry != tile).count(),
            entries_file: self.bundles.name(&folder.entries_path(&looked.bundle)),
            tile_file: tile
                .map_or_else(String::new, |tile| self.bundles.name(&folder.tile_path(&tile))),
        }
    }

    fn append(&mut self, (by_entry, by_tile): Pair) -> Result<(), VerifyError> {
        while self.wanted.last() == Some(&self.by_entries.size()) {
            self.wanted.pop();
            self.note_root();
        }
        if self.by_tiles.is_none() && by_entry != by_tile {
            self.by_tiles = Some(self.by_entries.clone());
        }
        let completed = &mut self.completed;
        self.by_entries.append_with(by_entry, &mut |level, _, hash| {
            if level % 8 == 0 {
                completed.push((level / 8, hash));
            }
        });
        if let Some(by_tiles) = &mut self.by_tiles {
            let completed = &mut self.completed_by_tiles;
            by_tiles.append_with(by_tile, &mut |level, _, hash| {
                if level % 8 == 0 {
                    completed.push((level / 8, hash));
                }
            });
        }
        if self.completed.is_empty() {
            return Ok(());
        }
        for place in 0..self.completed.len() {
            let Some((level, hash)) = self.completed.get(place).copied() else { break };
            let other = self.completed_by_tiles.get(place).map_or(hash, |(_, other)| *other);
            self.node(level, (hash, other))?;
        }
        self.completed.clear();
        self.completed_by_tiles.clear();
        Ok(())
    }

    fn note_root(&mut self) {
        let by_entries = self.by_entries.root();
        let by_tiles = self.by_tiles.as_ref().map_or(by_entries, CompactRange::root);
        self.roots.push((self.by_entries.size(), (by_entries, by_tiles)));
    }

    /// Takes a node that has a place in a tile of `level`, 1 or above.
    fn node(&mut self, level: u8, pair: Pair) -> Result<(), VerifyError> {
        let Some((nodes, finished)) = self.above.get_mut(usize::from(level) - 1) else {
            return Ok(());
        };
        nodes.push(pair);
        if nodes.len() < usize::from(TILE_WIDTH) {
            return Ok(());
        }
        let (nodes, index) = (std::mem::take(nodes), *finished);
        *finished += 1;
        self.compare(level, index, &nodes)
    }

    /// Compares a tile on disk with the hashes that it should have.
    fn compare(&mut self, level: u8, index: u64, nodes: &[Pair]) -> Result<(), VerifyError> {
        let Some(tile) = TileId::in_tree(level, index, self.bundles.size) else { return Ok(()) };
        let found = self.bundles.tile(&tile, &mut self.problems)?;
        let first_wrong = |computed: &dyn Fn(&Pair) -> Hash| {
            found.iter().zip(nodes).position(|(found, pair)| *found != computed(pair))
        };
        let wrong = (first_wrong(&|pair| pair.0), first_wrong(&|pair| pair.1));
        if wrong != (None, None) && self.wrong_above.len() < DIFFERENCES_KEPT {
            self.wrong_above.push(Above {
                file: self.bundles.name(&self.bundles.folder.tile_path(&tile)),
                level: tile.node_level(),
                first_node: tile.first_node(),
                wrong,
            });
        }
        Ok(())
    }

    /// After the last entry: which tree is the genuine one, and what is wrong with the other.
    pub(super) fn finish(mut self, signed: Hash) -> Result<Grown, VerifyError> {
        for level in 1..=MAX_TILE_LEVEL {
            let Some((nodes, index)) = self.above.get_mut(usize::from(level) - 1) else { break };
            let (nodes, index) = (std::mem::take(nodes), *index);
            if !nodes.is_empty() {
                self.compare(level, index, &nodes)?;
            }
        }
        while self.wanted.last() == Some(&self.by_entries.size()) {
            self.wanted.pop();
            self.note_root();
        }
        let by_tiles = self.by_tiles.take().unwrap_or_else(|| self.by_entries.clone());
        let genuine = if self.by_entries.root() == signed {
            Genuine::Entries
        } else if by_tiles.root() == signed {
            Genuine::Tiles
        } else {
            Genuine::Neither
        };
        // The first wrong entry of a file explains whatever else is wrong with it.
        let others = std::mem::take(&mut self.problems);
        self.name_differences(genuine);
        self.problems.extend(others);
        self.name_above(genuine);
        if genuine == Genuine::Neither && self.differences.is_empty() {
            let what = "the entries and the tiles do not give the root in the checkpoint";
            let file = self.bundles.name(&self.bundles.folder.checkpoint_path());
            self.problems.push((Verdict::Tampered, Place::file(file), what.to_owned()));
        }
        let by_tile = genuine == Genuine::Tiles;
        let pick = |(size, pair): &(u64, Pair)| (*size, if by_tile { pair.1 } else { pair.0 });
        Ok(Grown {
            genuine,
            border: if by_tile { by_tiles } else { self.by_entries },
            roots: self.roots.iter().map(pick).collect(),
            problems: self.problems,
        })
    }

    fn name_differences(&mut self, genuine: Genuine) {
        for Difference { first, count, entries_file, tile_file } in &self.differences {
            let more = if *count > 1 {
                format!(", nor are {} others in the same file", count - 1)
            } else {
                String::new()
            };
            let (file, what) = match genuine {
                Genuine::Entries => {
                    (tile_file, format!("the hash of this entry is not the genuine one{more}"))
                }
                Genuine::Tiles => {
                    (entries_file, format!("this entry is not the one that was signed{more}"))
                }
                Genuine::Neither => (
                    entries_file,
                    format!(
                        "this entry and its hash in {tile_file} disagree, one of them or both were altered{}",
                        others(*count)
                    ),
                ),
            };
            let place = Place::file(file).at_entry(*first);
            self.problems.push((Verdict::Tampered, place, what));
        }
        if self.differences_more > 0 {
            let what = format!("{} more bundles disagree with their tiles", self.differences_more);
            self.problems.push((Verdict::Tampered, Place::default(), what));
        }
    }

    fn name_above(&mut self, genuine: Genuine) {
        for Above { file, level, first_node, wrong } in &self.wrong_above {
            let wrong = match genuine {
                Genuine::Entries => wrong.0,
                Genuine::Tiles => wrong.1,
                // One of the two trees may be right here all the same.
                Genuine::Neither => wrong.0.and(wrong.1),
            };
            let Some(position) = wrong else { continue };
            let first = (first_node + position as u64) << level;
            let last = first + (1 << level) - 1;
            let what = format!("the hash over entries {first} to {last} is not what they give");
            let place = Place::file(file).at_entry(first).at_offset(position * 32);
            self.problems.push((Verdict::Tampered, place, what));
        }
    }
}

fn others(count: usize) -> String {
    if count > 1 { format!(" (and {} others in the same file)", count - 1) } else { String::new() }
}
