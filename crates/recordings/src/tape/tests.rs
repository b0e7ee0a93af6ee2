use super::*;
use crate::lines::SilentKey;
use loggia_model::id::EventId;
use loggia_verify::recording::check::{Claim, Ending};
use loggia_verify::recording::reader::{Held, Reader, pinpoint};
use loggia_verify::recording::{Content, Frame};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const SALT: [u8; 32] = [4; 32];

struct Place {
    dir: tempfile::TempDir,
    session: SessionId,
}

impl Place {
    fn new() -> Self {
        let session = SessionId::from_parts(1_790_000_000_000, [3; 10]);
        Self { dir: tempfile::tempdir().unwrap(), session }
    }

    fn tape(&self) -> FileTape {
        let key = SilentKey::new([1; 32]).session(&SALT);
        FileTape::create(self.dir.path().into(), no_fault(), self.session, &SALT, key, 7).unwrap()
    }

    /// A tape, and why the process would have ended.
    fn watched(&self) -> (FileTape, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let why = Arc::clone(&told);
        let fatal: Fatal = Arc::new(move |text| why.lock().push(text.to_owned()));
        let key = SilentKey::new([1; 32]).session(&SALT);
        let dir = self.dir.path().into();
        (FileTape::create(dir, fatal, self.session, &SALT, key, 7).unwrap(), told)
    }

    fn path(&self, end: &str) -> PathBuf {
        self.dir.path().join(format!("{}{end}", self.session))
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path(".rec")).unwrap()
    }

    fn held(&self, states: &[TapeState]) -> Held {
        let claims = states.iter().map(claim).collect();
        Held { session: self.session, salt: SALT, claims }
    }
}

fn claim(state: &TapeState) -> Claim {
    Claim { frames: state.frames, bytes: Some(state.bytes), root: Hash(state.root) }
}

#[test]
fn what_is_written_reads_back_and_the_state_is_what_a_reader_finds() {
    let place = Place::new();
    let mut tape = place.tape();
    let begun = tape.state();
    assert_eq!(begun.frames, 0);
    assert_eq!(begun.bytes, place.bytes().len() as u64);
    let action = EventId::from_parts(1, [1; 10]).to_string();
    tape.write(1, Direction::Action, action.as_bytes()).unwrap();
    let bulk = vec![7; 32 << 10];
    tape.write(5, Direction::Output, &bulk).unwrap();
    let middle = tape.state();
    tape.write_sealed(6, 1, b"ls\r").unwrap();
    tape.disclose(7, 1).unwrap();
    tape.write_sealed(8, 2, b"hunter2\r").unwrap();
    tape.write(9, Direction::Error, b"").unwrap();
    tape.syncer()().unwrap();
    let states = [begun, middle, tape.state()];
    let bytes = place.bytes();
    let mut reader = Reader::open(bytes.as_slice(), place.held(&states)).unwrap();
    assert_eq!(reader.header().started_us, 7);
    let mut letters = Vec::new();
    let mut sealed = Vec::new();
    let mut keys = Vec::new();
    while let Some((at, frame)) = reader.next_frame().unwrap() {
        letters.push(frame.direction.letter());
        match frame.content() {
            Content::Sealed { line, sealed: bytes } => {
                sealed.push((at.frame, line, bytes.to_vec()));
            }
            Content::Key { line, key } => keys.push((line, key)),
            _ => {}
        }
    }
    assert_eq!(letters, b"coskse");
    assert_eq!(reader.ending(), Some(Ending::Proven));

    let opened = |frame: usize, key: &crate::lines::Key| {
        let (frame, _, bytes) = &sealed[frame];
        Line::new(key).unwrap().open(*frame, bytes).ok().map(|bytes| bytes.to_vec())
    };
    let [(1, key)] = keys[..] else { panic!("one line was disclosed: {keys:?}") };
    let key = crate::lines::Key::new(key);
    assert_eq!(opened(0, &key).unwrap(), b"ls\r");
    assert_eq!(opened(1, &key), None, "its key opens no other line");
    assert!(!place.bytes().windows(7).any(|bytes| bytes == b"hunter2"));
    let silent = SilentKey::new([1; 32]).session(&SALT).line(&action, 2);
    assert_eq!(opened(1, &silent).unwrap(), b"hunter2\r");
}

#[test]
fn the_key_of_a_line_opens_no_line_of_another_terminal() {
    let place = Place::new();
    let mut tape = place.tape();
    let action = |number| EventId::from_parts(number, [1; 10]).to_string();
    tape.write(1, Direction::Action, action(1).as_bytes()).unwrap();
    tape.write_sealed(2, 0, b"secret\r").unwrap();
    tape.write(3, Direction::Action, action(2).as_bytes()).unwrap();
    tape.write_sealed(4, 0, b"ls\r").unwrap();
    tape.disclose(5, 0).unwrap();
    let bytes = place.bytes();
    let mut reader = Reader::open(bytes.as_slice(), place.held(&[])).unwrap();
    let (mut typed, mut keys) = (Vec::new(), Vec::new());
    while let Some((at, frame)) = reader.next_frame().unwrap() {
        match frame.content() {
            Content::Sealed { sealed, .. } => typed.push((at.frame, sealed.to_vec())),
            Content::Key { key, .. } => keys.push(crate::lines::Key::new(key)),
            _ => {}
        }
    }
    let line = Line::new(&keys[0]).unwrap();
    assert!(line.open(typed[0].0, &typed[0].1).is_err());
    assert_eq!(line.open(typed[1].0, &typed[1].1).unwrap().as_slice(), b"ls\r");
}

#[test]
fn the_file_is_for_its_owner_and_is_never_begun_twice() {
    let place = Place::new();
    let _tape = place.tape();
    let mode = std::fs::metadata(place.path(".rec")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = SilentKey::new([1; 32]).session(&SALT);
    let again = FileTape::create(place.dir.path().into(), no_fault(), place.session, &SALT, key, 7);
    assert!(matches!(again.err(), Some(TapeError::Broken(_))));
}

#[test]
fn a_full_disk_leaves_no_torn_frame_and_the_next_try_goes_on() {
    let place = Place::new();
    let mut tape = place.tape();
    tape.write(1, Direction::Output, b"before").unwrap();
    let state = tape.state();
    for written in [vec![], vec![Ok(5)], vec![Ok(15), Ok(1)]] {
        let mut faults = tape.disk.faults.lock();
        faults.extend(written);
        faults.push_back(Err(Errno::NOSPC));
        drop(faults);
        let full = tape.write(2, Direction::Output, b"does not fit");
        assert!(matches!(full, Err(TapeError::Full(_))), "{full:?}");
        assert_eq!(place.bytes().len() as u64, state.bytes, "cut back to the last whole frame");
        assert_eq!(tape.state(), state);
    }
    tape.disk.faults.lock().extend([Ok(3), Ok(11), Err(Errno::INTR)]);
    tape.write(3, Direction::Output, b"fits again").unwrap();
    let states = [state, tape.state()];
    let bytes = place.bytes();
    let reader = Reader::open(bytes.as_slice(), place.held(&states)).unwrap();
    assert_eq!(reader.finish().unwrap().0, Ending::Proven);
}

#[test]
fn any_other_failure_ends_the_recording_for_good() {
    let place = Place::new();
    let mut tape = place.tape();
    tape.disk.faults.lock().push_back(Err(Errno::IO));
    assert!(matches!(tape.write(2, Direction::Output, b"lost"), Err(TapeError::Broken(_))));
    assert!(matches!(tape.write(3, Direction::Output, b"refused"), Err(TapeError::Broken(_))));
    assert!(matches!(tape.syncer()(), Err(TapeError::Broken(_))));
    assert_eq!(place.bytes().len() as u64, tape.state().bytes);
}

#[test]
fn a_sync_that_fails_for_another_reason_than_room_is_fatal_and_no_second_one_is_believed() {
    // Of the file, and of the folder that has its name.
    for before in [vec![], vec![None]] {
        let place = Place::new();
        let (mut tape, told) = place.watched();
        tape.write(1, Direction::Output, b"frame").unwrap();
        tape.disk.sync_faults.lock().extend(before);
        tape.disk.sync_faults.lock().push_back(Some(Errno::IO));
        assert!(matches!(tape.syncer()(), Err(TapeError::Broken(_))));
        let why = told.lock().clone();
        assert_eq!(why.len(), 1);
        assert!(why[0].contains(&place.session.to_string()), "{why:?}");
        assert!(matches!(tape.syncer()(), Err(TapeError::Broken(_))), "nor claimed later");
        assert!(matches!(tape.write(2, Direction::Output, b"more"), Err(TapeError::Broken(_))));
    }
}

#[test]
fn a_sync_without_room_is_tried_again_and_ends_nothing() {
    let place = Place::new();
    let (mut tape, told) = place.watched();
    tape.write(1, Direction::Output, b"frame").unwrap();
    for full in [Errno::NOSPC, Errno::DQUOT, Errno::MFILE] {
        tape.disk.sync_faults.lock().push_back(Some(full));
        assert!(matches!(tape.syncer()(), Err(TapeError::Full(_))), "{full}");
    }
    tape.syncer()().unwrap();
    tape.write(2, Direction::Output, b"more").unwrap();
    assert!(told.lock().is_empty());
}

#[test]
fn what_no_reader_would_take_is_not_written() {
    let place = Place::new();
    let mut tape = place.tape();
    let state = tape.state();
    assert!(tape.write(1, Direction::Action, b"no id").is_err());
    assert!(tape.write(1, Direction::Output, &vec![0; FRAME_BYTES_MAX + 1]).is_err());
    assert!(tape.write_sealed(1, 1, &vec![0; FRAME_BYTES_MAX - SEAL_BYTES + 1]).is_err());
    assert_eq!(tape.state(), state);
    tape.write(1, Direction::Output, &vec![0; FRAME_BYTES_MAX]).unwrap();
    tape.write_sealed(1, 1, &vec![0; FRAME_BYTES_MAX - SEAL_BYTES]).unwrap();
}

#[test]
fn the_hashes_beside_it_name_the_one_frame_that_was_altered() {
    let place = Place::new();
    let mut tape = place.tape();
    for number in 0..300u64 {
        tape.write(number * 1_000, Direction::Output, format!("line {number}\r\n").as_bytes())
            .unwrap();
    }
    tape.syncer()().unwrap();
    let state = tape.state();
    let leaves = std::fs::read(place.path(".leaves")).unwrap();
    assert_eq!(leaves.len(), 301 * 32);
    let mut bytes = place.bytes();
    let at = bytes.windows(8).position(|bytes| bytes == b"line 250").unwrap();
    bytes[at + 6] = b'9';
    let leaves = std::io::Cursor::new(leaves);
    let found = pinpoint(bytes.as_slice(), leaves, &SALT, &claim(&state)).unwrap();
    assert_eq!((found.frame, found.offset), (251, at as u64 - HEAD_BYTES as u64));
}

#[test]
fn the_hashes_are_a_help_and_nothing_waits_for_them() {
    let place = Place::new();
    // The name is taken by something that is no file.
    std::fs::create_dir(place.path(".leaves")).unwrap();
    let mut tape = place.tape();
    for _ in 0..300 {
        tape.write(0, Direction::Output, b"x").unwrap();
    }
    tape.syncer()().unwrap();
    let header = place.bytes().len() - 300 * 14;
    assert!(Frame::decode(&place.bytes()[header..]).unwrap().is_some());
}
