use super::*;
use crate::testlog::{TestLog, files};
use crate::wal::{HEADER_BYTES, Header, decode_record, encode_record};
use loggia_model::catalogue::Kind;
use loggia_tlog::tile::{bundle_decode, bundle_encode};
use loggia_tlog::{BundleId, SigningKey, TileId};
use std::path::Path;

mod cosigned;
mod epochs;
mod erased;
mod gaps;
mod head;
mod recordings;
mod rotated;

fn trust(log: &TestLog) -> Trust {
    Trust { keys: vec![log.vkey()], ..Trust::default() }
}

pub(super) fn verify_with(dir: &Path, trust: &Trust) -> Report {
    let options = Options { threads: 1, ..Options::default() };
    verify_folder(dir, trust, options, &mut |_, _| {}).unwrap()
}

fn verify(data: &Path, log: &TestLog) -> Report {
    verify_with(data, &trust(log))
}

/// A log of `size` entries that was published more than once.
fn published(data: &Path, size: u64) -> TestLog {
    let mut log = TestLog::new(data, 1);
    log.begin_boot();
    log.fill(size / 3);
    log.publish();
    log.fill(size);
    log.publish();
    log
}

fn code(report: &Report) -> u8 {
    report.verdict().exit_code()
}

#[test]
fn a_log_as_the_ledger_writes_it_is_intact() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 700);
    for threads in [1, 2, 3] {
        let mut seen = Vec::new();
        let options = Options { threads, ..Options::default() };
        let report = verify_folder(data.path(), &trust(&log), options, &mut |done, of| {
            seen.push((done, of))
        })
        .unwrap();
        assert_eq!(code(&report), 0, "{report}");
        assert_eq!(seen.last(), Some(&(700, 700)));
        let epoch = &report.epochs[0];
        assert_eq!((epoch.size, epoch.boots, epoch.sessions_open), (700, 1, 0));
        assert!(epoch.sessions_ended > 30, "{report}");
        assert!(epoch.disclosed.sealed > 300 && epoch.disclosed.undisclosed == 0, "{report}");
        assert_eq!(epoch.disclosed.open, epoch.disclosed.sealed);
        assert_eq!((epoch.unproven_tail.clone(), epoch.notes.len()), (None, 0));
        assert!(report.to_string().contains("operator-trusted only"), "{report}");
        assert_eq!(report.to_json()["epochs"][0]["size"], 700);
    }
    // The same from the epoch's own folder, and from `ledger`.
    assert_eq!(code(&verify(&log.dir(), &log)), 0);
    assert_eq!(code(&verify(&data.path().join("ledger"), &log)), 0);
}

/// Flips one bit of the byte at each of some places of a file, and hands the report of each.
fn flip_each(
    data: &Path,
    log: &TestLog,
    file: &Path,
    places: impl Iterator<Item = usize>,
    mut check: impl FnMut(usize, &Report),
) {
    let genuine = std::fs::read(file).unwrap();
    for place in places {
        let mut bytes = genuine.clone();
        bytes[place] ^= 1 << (place % 8);
        std::fs::write(file, bytes).unwrap();
        check(place, &verify(data, log));
    }
    std::fs::write(file, genuine).unwrap();
}

/// The first and last bytes of a file, and some between.
fn samples(length: usize, between: usize) -> impl Iterator<Item = usize> {
    let step = (length / between).max(1);
    (0..length).filter(move |place| *place < 6 || place + 3 > length || place % step == step / 2)
}

#[test]
fn a_flipped_byte_anywhere_below_log_is_named() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    let names = files(&log.dir().join("log"));
    assert_eq!(names.len(), 6, "{names:?}");
    for file in names {
        let name = relative(data.path(), &file);
        let length = std::fs::metadata(&file).unwrap().len() as usize;
        flip_each(data.path(), &log, &file, samples(length, 14), |place, report| {
            assert_eq!(code(report), 10, "{name}, byte {place}: {report}");
            let named = report
                .findings
                .kept()
                .iter()
                .any(|finding| finding.place.file.as_deref() == Some(name.as_str()));
            assert!(named, "{name}, byte {place}: {report}");
        });
    }
    assert_eq!(code(&verify(data.path(), &log)), 0);
}

#[test]
fn every_byte_of_the_checkpoint_counts() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 10);
    let file = log.dir().join("log/checkpoint");
    let length = std::fs::metadata(&file).unwrap().len() as usize;
    flip_each(data.path(), &log, &file, 0..length, |place, report| {
        assert_eq!(code(report), 10, "byte {place}: {report}");
    });
}

#[test]
fn a_flipped_byte_of_an_entry_names_the_entry() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    let file = log.folder().entries_path(&BundleId::in_tree(1, 300).unwrap());
    let mut begin = 0;
    for index in 256..300_u64 {
        let length = log.entries[index as usize].0.len();
        let places = [begin, begin + 1, begin + 2, begin + 1 + length].into_iter();
        flip_each(data.path(), &log, &file, places.step_by(1 + index as usize % 3), |_, report| {
            let first = &report.findings.kept()[0];
            assert_eq!(first.place.entry, Some(index), "{report}");
            assert_eq!(first.verdict, Verdict::Tampered);
        });
        begin += 2 + length;
    }
}

#[test]
fn every_byte_of_a_disclosure_counts() {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    let open = log.start();
    log.statement(open, "drop table accounts");
    log.publish();
    let file = log.folder().disclosures_path(&BundleId::in_tree(0, log.size()).unwrap());
    let length = std::fs::metadata(&file).unwrap().len() as usize;
    flip_each(data.path(), &log, &file, 0..length, |place, report| {
        assert_eq!(code(report), 10, "byte {place}: {report}");
        let file = report.findings.kept()[0].place.file.clone().unwrap();
        assert_eq!(file, "ledger/e1/open/tile/entries/000.p/3");
    });
}

#[test]
fn swapped_entries_are_named_at_the_first() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    let bundle = BundleId::in_tree(0, 300).unwrap();
    let file = log.folder().entries_path(&bundle);
    let bytes = std::fs::read(&file).unwrap();
    let mut entries = bundle_decode(&bytes, 256).unwrap();
    entries.swap(17, 203);
    std::fs::write(&file, bundle_encode(&entries).unwrap()).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10);
    let first = &report.findings.kept()[0];
    assert_eq!(first.place.file.as_deref(), Some("ledger/e1/log/tile/entries/000"));
    assert_eq!(first.place.entry, Some(17));
    assert!(first.what.contains("nor are 1 others"), "{}", first.what);
}

#[test]
fn an_entry_and_its_hash_altered_together_are_both_named() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    let folder = log.folder();
    let flip = |file: PathBuf, place: usize| {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[place] ^= 1;
        std::fs::write(file, bytes).unwrap();
    };
    flip(folder.entries_path(&BundleId::in_tree(0, 300).unwrap()), 40);
    flip(folder.tile_path(&TileId::in_tree(0, 1, 300).unwrap()), 40);
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10);
    let text = report.to_string();
    for name in ["tile/entries/000, entry 0", "tile/0/000", "tile/entries/001.p/44, entry 257"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn a_log_written_anew_without_the_key_does_not_hold() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    let note = std::fs::read(log.folder().checkpoint_path()).unwrap();
    std::fs::remove_dir_all(log.dir()).unwrap();
    let mut anew = TestLog::new(data.path(), 1);
    anew.time_us += 1;
    anew.begin_boot();
    anew.fill(300);
    anew.publish();
    std::fs::write(anew.folder().checkpoint_path(), note).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10);
    assert!(report.to_string().contains("do not give the root"), "{report}");
}

#[test]
fn a_missing_file_of_the_tree_is_named() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 300);
    for file in files(&log.dir().join("log/tile")) {
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let report = verify(data.path(), &log);
        let name = relative(data.path(), &file);
        assert_eq!(code(&report), 10, "{name}: {report}");
        let first = &report.findings.kept()[0];
        assert_eq!((first.place.file.as_deref(), first.what.as_str()), (Some(&*name), "missing"));
        std::fs::write(&file, bytes).unwrap();
    }
    // Before the first checkpoint the tiles may be there; the whole write-ahead log is then, too.
    let note = std::fs::read(log.folder().checkpoint_path()).unwrap();
    std::fs::remove_file(log.folder().checkpoint_path()).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10, "two were signed: {report}");
    std::fs::write(log.folder().checkpoint_path(), note).unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    log.fill(300);
    log.publish();
    std::fs::remove_file(log.folder().checkpoint_path()).unwrap();
    assert_eq!(code(&verify(data.path(), &log)), 11);
    std::fs::remove_file(log.dir().join("wal").join(crate::wal::file_name(1))).unwrap();
    assert_eq!(code(&verify(data.path(), &log)), 10);
}

#[test]
fn missing_disclosures_and_blobs_are_counted_and_nobody_says_why() {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    log.begin_boot();
    let open = log.start();
    log.statement(open, &"x".repeat(70_000));
    log.statement(open, "select 1");
    log.publish();
    assert_eq!(code(&verify(data.path(), &log)), 0);
    let blob = files(&data.path().join("blobs")).remove(0);
    let bytes = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, &bytes[1..]).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10);
    let place = &report.findings.kept()[0].place;
    assert!(place.file.as_ref().unwrap().starts_with("blobs/") && place.entry == Some(2));
    std::fs::remove_file(&blob).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!((code(&report), report.epochs[0].disclosed.blobs_missing), (0, 1));
    std::fs::remove_dir_all(log.dir().join("open")).unwrap();
    let report = verify(data.path(), &log);
    let disclosed = report.epochs[0].disclosed;
    assert_eq!((code(&report), disclosed.undisclosed, disclosed.files_missing), (0, 3, 1));
    let text = report.to_string();
    assert!(
        text.contains("3 undisclosed") && text.contains("disclosures of 1 bundles are missing")
    );
    assert!(!text.contains("erased") && report.epochs[0].erased.is_empty(), "{text}");
}

#[test]
fn the_write_ahead_log_below_the_checkpoint_counts() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 290);
    let segments = files(&log.dir().join("wal"));
    assert!(segments.len() > 3);
    for file in &segments {
        let name = relative(data.path(), file);
        let bytes = std::fs::read(file).unwrap();
        let number = Header::decode(&bytes).unwrap().number;
        let mut end = HEADER_BYTES;
        let mut last = end;
        while let Some(record) = decode_record(number, &bytes, end) {
            last = end;
            end = record.end;
        }
        if Some(file) == segments.last() {
            // The last record of all is the checkpoint's own: nothing it covers is behind it.
            flip_each(data.path(), &log, file, last..last + 1, |_, report| {
                assert_eq!(code(report), 0, "{report}");
                assert!(report.epochs[0].notes[0].contains("own record"), "{report}");
            });
            end = last;
        }
        flip_each(data.path(), &log, file, samples(end, 5), |place, report| {
            assert_eq!(code(report), 10, "{name}, byte {place}: {report}");
            let first = &report.findings.kept()[0].place;
            assert_eq!(first.file.as_deref(), Some(&*name), "{place}: {report}");
            assert!(first.offset.unwrap() <= place as u64, "{place}: {report}");
        });
    }
}

#[test]
fn a_record_forged_with_its_checksum_is_named() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 20);
    let file = log.wal_path();
    let bytes = std::fs::read(&file).unwrap();
    let mut forged = bytes[..HEADER_BYTES].to_vec();
    let mut at = HEADER_BYTES;
    let mut index = 0;
    while let Some(record) = decode_record(1, &bytes, at) {
        let mut leaf = bytes[record.leaf].to_vec();
        if record.kind == crate::wal::RecordType::Entry {
            if index == 5 {
                leaf[30] ^= 1;
            }
            index += 1;
        }
        encode_record(1, record.kind, &leaf, &bytes[record.disclosure], &mut forged);
        at = record.end;
    }
    std::fs::write(&file, forged).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 10);
    let first = &report.findings.kept()[0];
    assert_eq!(first.place.entry, Some(5), "{report}");
    assert!(first.place.file.as_ref().unwrap().ends_with("wal/0000000000000001.wal"));
}

#[test]
fn behind_the_checkpoint_there_is_only_an_unproven_tail() {
    let data = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 40);
    let open = log.start();
    for _ in 0..10 {
        log.statement(open, "select now()");
    }
    log.write_wal();
    let report = verify(data.path(), &log);
    assert_eq!((code(&report), report.epochs[0].unproven_tail.clone()), (0, Some(40..51)));
    assert!(report.to_string().contains("unproven tail [40..51)"), "{report}");
    // A torn or altered record there cuts the tail and accuses nobody.
    let file = log.wal_path();
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.iter().rposition(|byte| *byte != 0).unwrap() - 700;
    bytes[place] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 0, "{report}");
    let tail = report.epochs[0].unproven_tail.clone().unwrap();
    assert!(tail.start == 40 && tail.end < 51, "{tail:?}");
    // A later segment that does not follow is worth a word.
    log.begin_segment();
    log.write_wal();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 0, "{report}");
    assert!(report.epochs[0].notes[0].contains("breaks off"), "{report}");
}

#[test]
fn a_log_that_grows_while_it_is_read_is_intact() {
    let data = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 300);
    let trust = trust(&log);
    let mut grown = false;
    // After the first entries were read: more is published, partial tiles are replaced, and the
    // write-ahead log is used again up to there.
    let mut grow = |done, _| {
        if !std::mem::replace(&mut grown, true) {
            assert_eq!(done, 0);
            log.fill(900);
            log.write_wal();
            for file in files(&log.dir().join("wal")) {
                std::fs::remove_file(file).unwrap();
            }
            log.begin_segment();
            log.publish();
            log.fill(910);
            log.write_wal();
        }
    };
    let options = Options { threads: 1, ..Options::default() };
    let report = verify_folder(data.path(), &trust, options, &mut grow).unwrap();
    assert_eq!(code(&report), 0, "{report}");
    let epoch = &report.epochs[0];
    assert_eq!((epoch.size, epoch.unproven_tail.clone()), (300, Some(900..910)));
    assert!(epoch.notes[0].contains("grew to 900 entries"), "{report}");
}

#[test]
fn a_known_checkpoint_shows_a_cut_tail_and_a_rewritten_history() {
    let data = tempfile::tempdir().unwrap();
    let mut log = published(data.path(), 300);
    let mut known = trust(&log);
    for size in [0, 1, 100, 256, 299, 300] {
        known.known_checkpoints = vec![log.checkpoint(size)];
        assert_eq!(code(&verify_with(data.path(), &known)), 0, "{size}");
    }
    // Of a tree that stands, signed, in the write-ahead log only.
    log.fill(310);
    log.write_wal();
    known.known_checkpoints = vec![log.checkpoint(305)];
    assert_eq!(code(&verify_with(data.path(), &known)), 0);
    // The tail cut, and the shorter log signed with the real key.
    known.known_checkpoints = vec![log.checkpoint(310)];
    let cut = tempfile::tempdir().unwrap();
    let short = published(cut.path(), 290);
    assert_eq!(code(&verify_with(cut.path(), &trust(&short))), 0);
    let report = verify_with(cut.path(), &known);
    assert_eq!(code(&report), 10);
    assert!(report.to_string().contains("its tail was cut"), "{report}");
    // As long, but other.
    let mut other = TestLog::new(cut.path(), 1);
    other.time_us += 5;
    other.begin_boot();
    other.fill(310);
    known.known_checkpoints = vec![other.checkpoint(200)];
    let report = verify_with(data.path(), &known);
    assert_eq!(code(&report), 10);
    assert!(report.to_string().contains("written anew"), "{report}");
    // A checkpoint of nobody's is the verifier's own mistake.
    let stranger = SigningKey::from_seed(log.key.name(), &[99; 32]).unwrap();
    let note = Checkpoint::parse("x\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n").unwrap();
    let note = Checkpoint::new(log.key.name(), 0, note.root()).unwrap().sign(&stranger).unwrap();
    known.known_checkpoints = vec![note.to_string().into_bytes()];
    let refused =
        verify_folder(data.path(), &known, Options::default(), &mut |_, _| {}).unwrap_err();
    assert!(matches!(refused, VerifyError::KnownCheckpoint { number: 1, .. }));
}

#[test]
fn a_foreign_key_a_foreign_signature_and_no_log_are_told_apart() {
    let data = tempfile::tempdir().unwrap();
    let log = published(data.path(), 10);
    let other = SigningKey::from_seed("loggia.internal/other", &[3; 32]).unwrap();
    let with = |key: &SigningKey| Trust {
        keys: vec![key.verifier().clone()],
        known_checkpoints: Vec::new(),
        ..Trust::default()
    };
    assert_eq!(code(&verify_with(data.path(), &with(&other))), 12);
    // The right name and another key: a forged checkpoint, or the wrong key for this log.
    let forger = SigningKey::from_seed(log.key.name(), &[99; 32]).unwrap();
    assert_eq!(code(&verify_with(data.path(), &with(&forger))), 10);
    let refused = |dir: &Path, trust: &Trust| {
        verify_folder(dir, trust, Options::default(), &mut |_, _| {}).unwrap_err()
    };
    assert!(matches!(refused(data.path(), &Trust::default()), VerifyError::NoKey));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(refused(empty.path(), &with(&other)), VerifyError::NoLog { .. }));
    // A log that has published nothing yet.
    let fresh = TestLog::new(empty.path(), 1);
    assert_eq!(code(&verify(empty.path(), &fresh)), 11);
}

#[test]
fn a_large_tree_is_compared_on_every_level() {
    let data = tempfile::tempdir().unwrap();
    let mut log = TestLog::new(data.path(), 1);
    for index in 0..66_000_u32 {
        log.append_raw(index.to_be_bytes().to_vec(), Vec::new());
    }
    log.publish();
    let options = Options { events: false, threads: 2, ..Options::default() };
    let check = || verify_folder(data.path(), &trust(&log), options, &mut |_, _| {}).unwrap();
    assert_eq!(code(&check()), 0);
    for (level, index, first) in [(1, 0, 512), (1, 1, 65_536 + 256), (2, 0, 0)] {
        let tile = TileId::in_tree(level, index, 66_000);
        let Some(tile) = tile else { panic!("no tile {index} of level {level}") };
        let file = log.folder().tile_path(&tile);
        let mut bytes = std::fs::read(&file).unwrap();
        let place = if level == 1 { usize::from(tile.width() > 2) * 64 } else { 0 };
        let place = if index == 1 { 32 } else { place };
        if place < bytes.len() {
            bytes[place] ^= 1;
            std::fs::write(&file, &bytes).unwrap();
            let report = check();
            assert_eq!(code(&report), 10, "{report}");
            assert_eq!(report.findings.kept().len(), 1, "{report}");
            assert_eq!(report.findings.kept()[0].place.entry, Some(first), "{report}");
            bytes[place] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
    }
    // An altered entry is told from its hashes on all levels.
    let file = log.folder().entries_path(&BundleId::in_tree(200, 66_000).unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[2 + 6 * 3] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let report = check();
    assert_eq!(report.findings.kept().len(), 1, "{report}");
    assert_eq!(report.findings.kept()[0].place.entry, Some(200 * 256 + 3), "{report}");
}
