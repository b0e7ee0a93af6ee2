//! Names of tiles, what a growing log writes, and reading it back.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::hash::{Hash, leaf_hash};
use crate::merkle::{CompactRange, HashReader as _, root_of};

#[test]
fn paths_as_in_the_specification() {
    for (index, width, path) in [
        (0, 256, "tile/0/000"),
        (273, 112, "tile/0/273.p/112"),
        (999, 1, "tile/0/999.p/1"),
        (1_000, 256, "tile/0/x001/000"),
        (999_999, 256, "tile/0/x999/999"),
        (1_000_000, 256, "tile/0/x001/x000/000"),
        (1_234_067, 256, "tile/0/x001/x234/067"),
        (1_234_067, 255, "tile/0/x001/x234/067.p/255"),
    ] {
        let tile = TileId::new(0, index, width).unwrap();
        assert_eq!(tile.path(), path);
        assert_eq!(TilePath::parse(path), Ok(TilePath::Hashes(tile)));
        let path = path.replace("tile/0/", "tile/entries/");
        let bundle = BundleId::new(index, width).unwrap();
        assert_eq!(bundle.path(), path);
        assert_eq!(TilePath::parse(&path), Ok(TilePath::Entries(bundle)));
    }
}

#[test]
fn other_spellings_of_a_path_are_refused() {
    for path in [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001",
        "tile/0/x1/001",
        "tile/0/+01",
        "tile/0/-01",
        "tile/00/001",
        "tile/+1/001",
        "tile/x/001",
        "tile/0/001.p",
        "tile/0/001.p/",
        "tile/0/001.p/01",
        "tile/0/001.p/256",
        "tile/0/001.p/+1",
        "tile/0/001/",
        "/tile/0/001",
        "tile/1/0/001",
        "tile/data/001",
        "tile/0/x018/x446/x744/x073/x709/x551/x616",
        "tile/0/../001",
        "tile/0/００１",
    ] {
        assert!(matches!(TilePath::parse(path), Err(TileError::Path { .. })), "{path}");
    }
    assert_eq!(TilePath::parse("tile/0/001.p/0"), Err(TileError::Width { width: 0 }));
    assert_eq!(TilePath::parse("tile/8/001"), Err(TileError::Level { level: 8 }));
    let huge = "9".repeat(1_000);
    assert!(TilePath::parse(&format!("tile/0/{huge}")).unwrap_err().to_string().len() < 200);
}

#[test]
fn tiles_beyond_every_tree_cannot_be_named() {
    let outside = |level, index| Err(TileError::Index { level, index });
    assert!(TileId::new(0, (1 << 55) - 1, 255).is_ok());
    assert_eq!(TileId::new(0, (1 << 55) - 1, 256), outside(0, (1 << 55) - 1));
    assert_eq!(TileId::new(0, u64::MAX, 1), outside(0, u64::MAX));
    assert!(TileId::new(7, 0, 127).is_ok());
    assert_eq!(TileId::new(7, 0, 128), outside(7, 0));
    assert_eq!(TileId::new(7, 1, 1), outside(7, 1));
    assert_eq!(TileId::in_tree(0, u64::MAX, MAX_TREE_SIZE), None);
    assert_eq!(TileId::in_tree(8, 0, MAX_TREE_SIZE), None);
    assert_eq!(TileId::in_tree(0, 0, MAX_TREE_SIZE + 1), None);
    assert_eq!(TileId::in_tree(0, 1, 256), None);
    assert_eq!(TileId::in_tree(0, 1, 257), TileId::new(0, 1, 1).ok());
    assert_eq!(tiles_for_growth(0, u64::MAX).next(), None);
}

#[test]
fn growth_to_a_full_tile_makes_the_one_above() {
    let paths = |old, new| tiles_for_growth(old, new).map(|t| t.path()).collect::<Vec<_>>();
    assert_eq!(paths(0, 256), ["tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(paths(255, 257), ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"]);
    assert_eq!(paths(256, 257), ["tile/0/001.p/1"]);
    assert_eq!(paths(65_535, 65_536), ["tile/0/255", "tile/1/000", "tile/2/000.p/1"]);
    assert!(paths(7, 7).is_empty());
    assert!(paths(8, 7).is_empty());
    let bundles = |old, new| bundles_for_growth(old, new).map(|b| b.path()).collect::<Vec<_>>();
    assert_eq!(bundles(255, 257), ["tile/entries/000", "tile/entries/001.p/1"]);
    assert!(bundles(257, 257).is_empty());
}

/// A log folder in memory, written the way `tiles_for_growth` says, step by step.
struct Folder {
    range: CompactRange,
    nodes: BTreeMap<(u8, u64), Hash>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Folder {
    fn new() -> Self {
        Self { range: CompactRange::new(), nodes: BTreeMap::new(), files: BTreeMap::new() }
    }

    fn grow(&mut self, count: u64) {
        let old_size = self.range.size();
        for index in old_size..old_size + count {
            let leaf = leaf_hash(&index.to_be_bytes());
            self.nodes.insert((0, index), leaf);
            self.range.append_with(leaf, &mut |level, index, hash| {
                self.nodes.insert((level, index), hash);
            });
        }
        for tile in tiles_for_growth(old_size, self.range.size()) {
            let nodes = tile.first_node()..tile.first_node() + u64::from(tile.width());
            let hashes: Vec<_> = nodes.map(|n| self.nodes[&(tile.node_level(), n)]).collect();
            let bytes = tile_encode(&hashes).unwrap();
            assert_eq!(bytes.len(), tile.byte_len());
            assert!(self.files.insert(tile.path(), bytes).is_none(), "{tile} written twice");
        }
    }
}

#[test]
fn every_node_is_read_from_tiles_at_every_published_size() {
    let mut folder = Folder::new();
    let mut published = BTreeSet::new();
    for count in [1, 2, 252, 1, 1, 300, 700] {
        folder.grow(count);
        published.insert(folder.range.size());
    }
    for size in published {
        let reader = TileReader::new(size, |tile: &TileId| {
            folder.files.get(&tile.path()).cloned().ok_or_else(|| tile.path())
        });
        for level in 0..12 {
            for index in 0..size >> level {
                assert_eq!(reader.read(level, index), Ok(folder.nodes[&(level, index)]));
            }
            let index = size >> level;
            let outside = TileReadError::OutsideTree { level, index, size };
            assert_eq!(reader.read(level, index), Err(outside));
        }
    }
}

#[test]
fn deep_levels_are_outside_of_small_trees() {
    let fetched = Cell::new(false);
    let reader = TileReader::new(MAX_TREE_SIZE, |_: &TileId| {
        fetched.set(true);
        Err::<Vec<u8>, _>("no such file")
    });
    for level in [63, 64, 255] {
        let outside = TileReadError::OutsideTree { level, index: 0, size: MAX_TREE_SIZE };
        assert_eq!(reader.read(level, 0), Err(outside));
    }
    assert!(!fetched.get());
    assert!(matches!(
        reader.read(62, 0),
        Err(TileReadError::Fetch { tile, source: "no such file" })
            if tile.path() == "tile/7/000.p/127"
    ));
}

#[test]
fn a_removed_partial_tile_is_cut_out_of_the_full_one() {
    let mut folder = Folder::new();
    folder.grow(200);
    let root = folder.range.root();
    folder.grow(56);
    folder.files.remove("tile/0/000.p/200").unwrap();
    let reader = TileReader::new(200, |tile: &TileId| {
        let mut bytes = folder.files.get(&tile.to_full().path()).cloned().ok_or(())?;
        bytes.truncate(tile.byte_len());
        Ok::<_, ()>(bytes)
    });
    assert_eq!(root_of(200, &reader), Ok(root));
    let uncut = TileReader::new(200, |tile: &TileId| {
        folder.files.get(&tile.to_full().path()).cloned().ok_or(())
    });
    assert!(matches!(
        uncut.read(0, 0),
        Err(TileReadError::Content { source: BundleError::TrailingBytes { extra: 1_792 }, .. })
    ));
}

proptest! {
    #[test]
    fn names_round_trip(level in 0_u8..=7, index: u64, width in 1_u16..=256) {
        let index = index >> (9 + 8 * u32::from(level)).min(63);
        if let Ok(tile) = TileId::new(level, index, width) {
            prop_assert_eq!(TilePath::parse(&tile.path()), Ok(TilePath::Hashes(tile)));
            prop_assert_eq!((tile.level(), tile.index(), tile.width()), (level, index, width));
        }
        if let Ok(bundle) = BundleId::new(index, width) {
            prop_assert_eq!(TilePath::parse(&bundle.path()), Ok(TilePath::Entries(bundle)));
        }
    }

    #[test]
    fn parsing_never_panics_and_accepts_only_its_own_output(
        path in "(tile/)?([0-9]{1,3}|entries|.{0,5})/(x[0-9]{3}/){0,8}.{0,5}[0-9]{0,4}(\\.p/[0-9]{0,6})?",
    ) {
        if let Ok(parsed) = TilePath::parse(&path) {
            prop_assert_eq!(parsed.path(), path);
        }
    }

    #[test]
    fn growth_in_steps_reaches_every_tile_of_the_tree(
        steps in prop::collection::vec(0_u64..40_000, 1..8),
    ) {
        let (mut size, mut written) = (0, BTreeSet::new());
        for step in steps {
            written.extend(tiles_for_growth(size, size + step));
            size += step;
        }
        for level in 0..3 {
            for index in 0.. {
                let Some(tile) = TileId::in_tree(level, index, size) else { break };
                prop_assert!(written.contains(&tile), "{} missing at {}", tile, size);
            }
        }
    }
}
