//! The largest signed checkpoint is the one that counts, wherever it stands.

use super::*;

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(file, target).unwrap();
    }
}

fn flip(file: &Path, place: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[place] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// Publishes up to `size` as a round that a crash ends before the new checkpoint is in its place.
/// What the folder was before is in `before`.
fn recorded_only(log: &mut TestLog, size: u64, before: &Path) {
    copy(&log.dir(), before);
    log.fill(size);
    log.publish();
    let published = std::fs::read(before.join("log/checkpoint")).unwrap();
    std::fs::write(log.folder().checkpoint_path(), published).unwrap();
}

#[test]
fn a_checkpoint_that_a_crash_left_unpublished_proves_what_it_covers() {
    let data = tempfile::tempdir().unwrap();
    let before = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 300);
    recorded_only(&mut log, 700, before.path());
    let report = verify(data.path(), &log);
    assert_eq!((code(&report), report.epochs[0].size), (0, 700), "{report}");
    assert!(report.epochs[0].notes[0].contains("covers 300 entries"), "{report}");
    // Nothing above the published one may be altered, in the tree or beside it.
    for number in [1, 2] {
        let bundle = BundleId::in_tree(number, 700).unwrap();
        let file = log.folder().entries_path(&bundle);
        let place = std::fs::metadata(&file).unwrap().len() as usize - 1;
        flip(&file, place);
        let report = verify(data.path(), &log);
        assert_eq!(code(&report), 10, "{report}");
        assert!(report.findings.kept()[0].place.entry.unwrap() >= 300, "{report}");
        flip(&file, place);
    }
    // A full tile is not one that a start removes.
    let tile = log.folder().tile_path(&TileId::in_tree(0, 1, 700).unwrap());
    std::fs::remove_file(tile).unwrap();
    assert_eq!(code(&verify(data.path(), &log)), 10);
}

#[test]
fn where_a_start_removed_its_partial_tiles_the_write_ahead_log_proves_it() {
    let data = tempfile::tempdir().unwrap();
    let before = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 300);
    recorded_only(&mut log, 320, before.path());
    copy(&before.path().join("log"), &log.dir().join("log"));
    copy(&before.path().join("open"), &log.dir().join("open"));
    log.boot += 1;
    log.seq = 0;
    let draft = log.draft(Kind::NodeBoot).set("/detail/version", "test");
    log.append(draft);
    log.write_wal();
    let report = verify(data.path(), &log);
    let epoch = &report.epochs[0];
    assert_eq!((code(&report), epoch.size), (0, 300), "{report}");
    assert_eq!(epoch.unproven_tail, Some(320..321), "{report}");
    assert!(epoch.notes[0].contains("over 320, proves"), "{report}");
    // A record that it covers, torn: no crash does that.
    let wal = log.wal_path();
    let good = std::fs::read(&wal).unwrap();
    let leaf = &log.entries[310].0;
    let place = good.windows(leaf.len()).position(|window| window == leaf).unwrap();
    flip(&wal, place + 3);
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10, "{report}");
    assert_eq!(report.findings.kept()[0].place.entry, Some(310), "{report}");
    std::fs::write(&wal, good).unwrap();
    // And what is there of the tree is compared: a bundle as wide as the checkpoint asks for.
    let bundle = BundleId::in_tree(1, 320).unwrap();
    let mut leaves: Vec<_> = log.entries[256..320].iter().map(|(leaf, _)| leaf.clone()).collect();
    leaves[60][9] ^= 1;
    std::fs::write(log.folder().entries_path(&bundle), bundle_encode(&leaves).unwrap()).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10, "{report}");
    assert_eq!(report.findings.kept()[0].place.entry, Some(316), "{report}");
}

#[test]
fn a_checkpoint_that_was_put_back_is_no_crash() {
    let data = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 300);
    let old = log.checkpoint(300);
    log.fill(340);
    log.publish();
    log.fill(380);
    log.publish();
    assert_eq!(code(&verify(data.path(), &log)), 0);
    std::fs::write(log.folder().checkpoint_path(), old).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!((code(&report), report.epochs[0].size), (10, 380), "{report}");
    let first = &report.findings.kept()[0];
    assert_eq!(first.place.file.as_deref(), Some("ledger/e1/log/checkpoint"));
    assert!(first.what.contains("put back"), "{report}");
    // An altered record does not hide the checkpoint behind it.
    let note = log.checkpoint(340);
    std::fs::write(log.folder().checkpoint_path(), note).unwrap();
    assert_eq!(code(&verify(data.path(), &log)), 0);
    let wal = std::fs::read(log.wal_path()).unwrap();
    let leaf = &log.entries[378].0;
    let place = wal.windows(leaf.len()).position(|window| window == leaf).unwrap();
    flip(&log.wal_path(), place + 3);
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10, "{report}");
    // Nor do zeros in the place of its length, which read as a clean end.
    let mut zeros = wal;
    zeros[place - 13..place - 9].fill(0);
    std::fs::write(log.wal_path(), zeros).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10, "{report}");
}

#[test]
fn two_crashes_each_before_publishing_accuse_nobody() {
    let data = tempfile::tempdir().unwrap();
    let before = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 300);
    recorded_only(&mut log, 320, before.path());
    for open in log.chains.clone().into_keys() {
        log.chains.remove(&open);
    }
    log.begin_boot();
    let note = std::fs::read(log.folder().checkpoint_path()).unwrap();
    log.fill(340);
    log.publish();
    std::fs::write(log.folder().checkpoint_path(), &note).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!((code(&report), report.epochs[0].size), (0, 340), "{report}");
    // A second round in the same boot was published behind the first.
    log.fill(345);
    log.publish();
    std::fs::write(log.folder().checkpoint_path(), &note).unwrap();
    assert_eq!(code(&verify(data.path(), &log)), 10);
}
