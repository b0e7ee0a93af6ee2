//! Recordings beside a log.

use super::*;
use crate::recording::{Direction, HEAD_BYTES, Head, Header, Leaves};
use crate::testlog::Open;
use loggia_tlog::{CompactRange, Hash};
use std::path::PathBuf;

const SALT: [u8; 32] = [5; 32];

/// A recording being written beside a log.
struct Written {
    path: PathBuf,
    bytes: Vec<u8>,
    leaves: Vec<u8>,
    range: CompactRange,
}

impl Written {
    fn begin(log: &mut TestLog, data: &Path, open: Open) -> Self {
        let begun = log.in_session(open, Kind::RecordingBegun);
        log.append(begun.set("/detail/version", 1u32).set("/detail/salt", hex::encode(SALT)));
        let dir = data.join("recordings");
        std::fs::create_dir_all(&dir).unwrap();
        let bytes = Header::new(open.id, &SALT, 7).encode();
        let path = dir.join(format!("{}.rec", open.id));
        let mut written = Self { path, bytes, leaves: Vec::new(), range: CompactRange::new() };
        let leaf = Leaves::new(&SALT).of_header(&written.bytes);
        written.taken(leaf);
        written
    }

    fn frames(&mut self, count: u64) {
        for number in 0..count {
            let text = format!("line {number}");
            let head = Head::of(number, Direction::Output, text.as_bytes()).unwrap().encode();
            self.bytes.extend_from_slice(&head);
            self.bytes.extend_from_slice(text.as_bytes());
            self.taken(Leaves::new(&SALT).of_frame(&head, text.as_bytes()));
        }
    }

    fn taken(&mut self, leaf: Hash) {
        self.range.append(leaf);
        self.leaves.extend_from_slice(&leaf.0);
    }

    fn claim(&self, log: &mut TestLog, open: Open) {
        let grown = log.in_session(open, Kind::RecordingGrown);
        log.append(
            grown
                .set("/detail/frames", self.range.size() - 1)
                .set("/detail/bytes", self.bytes.len() as u64)
                .set("/detail/root", self.range.root().to_hex()),
        );
    }

    fn write(&self) {
        std::fs::write(&self.path, &self.bytes).unwrap();
        std::fs::write(self.path.with_extension("leaves"), &self.leaves).unwrap();
    }
}

/// A log with two sessions that were recorded, one of them not ended, and a running third without
/// a recording.
fn recorded(data: &Path) -> (TestLog, Written, Written) {
    let mut log = TestLog::new(data, 1);
    log.begin_boot();
    let (ended, running) = (log.start(), log.start());
    let mut one = Written::begin(&mut log, data, ended);
    let mut other = Written::begin(&mut log, data, running);
    one.frames(10);
    one.claim(&mut log, ended);
    other.frames(4);
    other.claim(&mut log, running);
    one.frames(10);
    log.fill(400);
    let end = log.in_session(ended, Kind::SessionEnd);
    log.append(
        end.set("/detail/reason", "client_closed")
            .set("/detail/recording_frames", 20u64)
            .set("/detail/recording_bytes", one.bytes.len() as u64)
            .set("/detail/recording_root", one.range.root().to_hex()),
    );
    log.start();
    log.publish();
    one.write();
    other.write();
    (log, one, other)
}

fn found(report: &Report) -> Vec<String> {
    report.findings.kept().iter().map(ToString::to_string).collect()
}

#[test]
fn recordings_that_are_as_the_log_says_are_counted_and_a_tail_is_told() {
    let data = tempfile::tempdir().unwrap();
    let (log, _, mut other) = recorded(data.path());
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 0, "{report}");
    assert_eq!(
        (report.epochs[0].recordings.checked, report.epochs[0].recordings.unproven_tails),
        (2, 0)
    );
    assert!(report.to_string().contains("  2 recordings are checked\n"), "{report}");
    other.frames(3);
    other.bytes.extend_from_slice(&[0, 0, 9]);
    other.write();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 0, "{report}");
    assert!(report.to_string().contains("1 of them have an unproven tail"), "{report}");
    assert_eq!(report.to_json()["epochs"][0]["recordings_unproven_tails"], 1);
    let options = Options { recordings: false, ..Options::default() };
    let report = verify_folder(data.path(), &trust(&log), options, &mut |_, _| {}).unwrap();
    assert_eq!(report.epochs[0].recordings.checked, 0);
}

#[test]
fn a_flipped_byte_is_named_with_its_recording_and_its_frame() {
    let data = tempfile::tempdir().unwrap();
    let (log, one, _) = recorded(data.path());
    let name = relative(data.path(), &one.path);
    let last = one.bytes.windows(6).rposition(|bytes| bytes == b"line 7").unwrap();
    for with_leaves in [true, false] {
        if !with_leaves {
            std::fs::remove_file(one.path.with_extension("leaves")).unwrap();
        }
        flip_each(data.path(), &log, &one.path, [last, last - 1, 75].into_iter(), |at, report| {
            assert_eq!(code(report), 10, "{at}: {report}");
            let found = found(report);
            assert_eq!(found.len(), 1, "{report}");
            let frame = match at {
                75 => "header was altered: ".to_owned(),
                _ => format!("byte {0}: frame 18 (byte {0}, ", last - HEAD_BYTES),
            };
            let named = if with_leaves { frame } else { "altered between".to_owned() };
            assert!(found[0].starts_with(&format!("tampered: {name}, byte")), "{}", found[0]);
            assert!(found[0].contains(&named), "{}", found[0]);
        });
    }
}

#[test]
fn a_recording_cut_short_or_missing_makes_the_log_incomplete() {
    let data = tempfile::tempdir().unwrap();
    let (log, one, other) = recorded(data.path());
    let name = relative(data.path(), &one.path);
    std::fs::write(&one.path, &one.bytes[..one.bytes.len() - 3]).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 11, "{report}");
    assert_eq!(
        found(&report),
        [format!("incomplete: {name}: cut short: it has 19 frames of 20, of which 10 are proven")]
    );
    std::fs::write(&one.path, b"LOGG").unwrap();
    assert_eq!(code(&verify(data.path(), &log)), 11);
    std::fs::remove_file(&one.path).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!(code(&report), 11, "{report}");
    assert!(found(&report)[0].contains("missing: the log says"), "{report}");
    // A copy of the log alone has no recordings, and says so.
    std::fs::remove_file(&other.path).unwrap();
    std::fs::remove_dir_all(data.path().join("recordings")).unwrap();
    let report = verify(data.path(), &log);
    assert_eq!((code(&report), report.epochs[0].recordings.elsewhere), (0, 2), "{report}");
    std::fs::write(data.path().join("control.db"), b"").unwrap();
    assert_eq!(code(&verify(data.path(), &log)), 11, "the gateway's own folder must have them");
}

#[test]
fn without_its_salt_nothing_is_said_of_a_recording() {
    let data = tempfile::tempdir().unwrap();
    let (log, one, _) = recorded(data.path());
    std::fs::write(&one.path, b"anything").unwrap();
    for file in files(&log.dir().join("open")) {
        std::fs::remove_file(file).unwrap();
    }
    let report = verify(data.path(), &log);
    assert_eq!((code(&report), report.epochs[0].recordings.undisclosed), (0, 2), "{report}");
    assert!(report.to_string().contains("2 recordings cannot be checked"), "{report}");
}
