use super::*;
use loggia_tlog::leaf_hash;
use loggia_tlog::merkle::{CompactRange, root_of};
use loggia_tlog::tile::{bundle_encode, open_encode, tile_encode};

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn leaf(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// The level-0 tile and the bundle at `number` of a log of `size` entries.
fn write_bundle(folder: &LogFolder, number: u64, size: u64) {
    let bundle = BundleId::in_tree(number, size).unwrap();
    let entries: Vec<_> =
        (0..u64::from(bundle.width())).map(|at| leaf(bundle.first_entry() + at)).collect();
    let open: Vec<_> = entries.iter().map(|leaf| leaf.ends_with(b"7").then_some(leaf)).collect();
    let hashes: Vec<_> = entries.iter().map(|leaf| leaf_hash(leaf)).collect();
    let tile = TileId::in_tree(0, number, size).unwrap();
    put(&folder.tile_path(&tile), &tile_encode(&hashes).unwrap());
    put(&folder.entries_path(&bundle), &bundle_encode(&entries).unwrap());
    put(&folder.disclosures_path(&bundle), &open_encode(&open).unwrap());
}

fn root(size: u64) -> Hash {
    let mut range = CompactRange::new();
    (0..size).for_each(|index| range.append(leaf_hash(&leaf(index))));
    range.root()
}

#[test]
fn a_tree_is_read_at_its_size_when_the_log_has_grown_past_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = LogFolder::open(dir.path()).unwrap();
    assert!(folder.checkpoint_bytes().unwrap().is_none());
    // Only what a log of 70 leaves behind: a tree of 40 lies in the same files.
    write_bundle(&folder, 0, 70);
    assert_eq!(root_of(40, &folder.hash_reader(40)).unwrap(), root(40));
    let read = folder.read(36, 10, 40).unwrap();
    assert_eq!(read.iter().map(|entry| entry.index).collect::<Vec<_>>(), [36, 37, 38, 39]);
    assert_eq!(read[1].leaf, leaf(37));
    assert_eq!((read[1].disclosure.clone(), read[2].disclosure.clone()), (Some(leaf(37)), None));
    // A crash left a wider one, torn, that no checkpoint refers to.
    put(&folder.tile_path(&TileId::in_tree(0, 0, 90).unwrap()), b"");
    assert_eq!(root_of(40, &folder.hash_reader(40)).unwrap(), root(40));
    // Now the tile is full, and the partial one is gone.
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    std::fs::remove_dir_all(dir.path().join("open")).unwrap();
    write_bundle(&folder, 0, 300);
    write_bundle(&folder, 1, 300);
    assert_eq!(root_of(40, &folder.hash_reader(40)).unwrap(), root(40));
    let entries = folder.read(250, 20, 300).unwrap();
    assert_eq!(entries.len(), 20);
    assert_eq!(entries[19].leaf, leaf(269));
    assert!(folder.read(300, 20, 300).unwrap().is_empty());
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        LogFolder::open(dir.path().join("nothing")),
        Err(FolderError::NotALog { .. })
    ));
    let folder = LogFolder::open(dir.path()).unwrap();
    let bundle = BundleId::in_tree(0, 5).unwrap();
    let missing = folder.entries(&bundle).unwrap_err();
    assert!(missing.to_string().ends_with("log/tile/entries/000.p/5 is missing"), "{missing}");
    assert_eq!(folder.disclosures(&bundle).unwrap().iter().filter(|d| d.is_empty()).count(), 5);
    put(&folder.entries_path(&bundle), b"\0\x01a\0\x09");
    let malformed = folder.entries(&bundle).unwrap_err();
    assert!(malformed.to_string().contains("within item 1 of 5"), "{malformed}");
    let tile = TileId::in_tree(0, 0, 5).unwrap();
    put(&folder.tile_path(&tile), &[0; 161]);
    assert!(matches!(folder.tile(&tile), Err(FolderError::Malformed { .. })));
    assert!(matches!(folder.hash_reader(5).read(0, 5), Err(FolderError::Outside { size: 5, .. })));
}

#[test]
fn a_blob_has_no_path_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = dir.path().join("ledger/e1");
    std::fs::create_dir_all(&epoch).unwrap();
    let folder = LogFolder::open(&epoch).unwrap();
    let name = "0123456789abcdef".repeat(4);
    assert_eq!(folder.blob_path(&name).unwrap(), dir.path().join("blobs").join(&name));
    assert_eq!(folder.blob_path("../../../etc/passwd"), None);
    assert_eq!(folder.blob_path(&name.to_uppercase()), None);
}
