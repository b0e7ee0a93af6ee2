use super::check::{Altered, Check, Claim, Ending, Place};
use super::reader::{Held, ReadError, Reader, pinpoint};
use super::*;
use loggia_tlog::CompactRange;
use proptest::prelude::*;
use std::io::Cursor;

const SALT: [u8; 32] = [5; 32];

fn session() -> SessionId {
    SessionId::from_parts(1_790_000_000_000, [1; 10])
}

fn action() -> String {
    EventId::from_parts(1_790_000_000_001, [2; 10]).to_string()
}

/// A recording as it is written, with the hashes of its leaves and what was claimed after each
/// of the frames.
struct Written {
    bytes: Vec<u8>,
    leaves: Vec<u8>,
    claims: Vec<Claim>,
}

impl Written {
    fn new(frames: &[(u64, Direction, &[u8])]) -> Self {
        let header = Header::new(session(), &SALT, 1_790_000_000_000_000).encode();
        let keyed = Leaves::new(&SALT);
        let mut range = CompactRange::new();
        let mut written = Self { bytes: header, leaves: Vec::new(), claims: Vec::new() };
        let header_leaf = keyed.of_header(&written.bytes);
        written.taken(header_leaf, &mut range);
        for (at_us, direction, bytes) in frames {
            let head = Head::of(*at_us, *direction, bytes).unwrap().encode();
            written.bytes.extend_from_slice(&head);
            written.bytes.extend_from_slice(bytes);
            written.taken(keyed.of_frame(&head, bytes), &mut range);
        }
        written
    }

    fn taken(&mut self, leaf: Hash, range: &mut CompactRange) {
        range.append(leaf);
        self.leaves.extend_from_slice(&leaf.0);
        let (frames, bytes) = (range.size() - 1, Some(self.bytes.len() as u64));
        self.claims.push(Claim { frames, bytes, root: range.root() });
    }

    fn example() -> Self {
        Self::new(&[
            (0, Direction::Action, action().as_bytes()),
            (10, Direction::Resize, &[0, 0, 0, 80, 0, 0, 0, 24]),
            (1_000_000, Direction::Output, b"$ "),
            (2_500_000, Direction::Sealed, &[7; 30]),
            (2_600_000, Direction::Key, &[8; 40]),
            (3_000_000, Direction::Output, b"uptime\r\n"),
            (3_100_000, Direction::Exit, &[0, 0, 0, 0]),
        ])
    }
}

fn read(bytes: &[u8], claims: &[Claim]) -> Result<Ending, ReadError> {
    let held = Held { session: session(), salt: SALT, claims: claims.to_vec() };
    Reader::open(bytes, held)?.finish().map(|(ending, _)| ending)
}

fn altered(bytes: &[u8], claims: &[Claim]) -> Altered {
    match read(bytes, claims) {
        Err(ReadError::Altered(altered)) => altered,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_written_is_proven_and_every_flipped_bit_is_found_at_its_frame() {
    let written = Written::example();
    let claims = [written.claims[3], written.claims[7]];
    assert_eq!(read(&written.bytes, &claims).unwrap(), Ending::Proven);
    for (at, bit) in (0..written.bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = written.bytes.clone();
        bytes[at] ^= 1 << bit;
        let found = altered(&bytes, &claims);
        let frame = written.claims.iter().position(|claim| at < claim.bytes.unwrap() as usize);
        let frame = frame.unwrap() as u64;
        assert!(
            found.first.frame <= frame && frame <= found.last.frame.max(frame),
            "{at}: {found}"
        );
        let Some(claim) = found.claim else { continue };
        let leaves = Cursor::new(&written.leaves);
        let place = pinpoint(bytes.as_slice(), leaves, &SALT, &claim).unwrap();
        assert_eq!(place.frame, frame, "byte {at}, bit {bit}");
        let before = written.claims[..frame as usize].last();
        assert_eq!(place.offset, before.map_or(0, |claim| claim.bytes.unwrap()));
        let said = found.at(place).to_string();
        let named = if frame == 0 { "the header".into() } else { format!("frame {frame} (byte ") };
        assert!(said.starts_with(&named), "{said}");
    }
}

#[test]
fn a_file_of_another_session_or_salt_is_refused_by_its_header() {
    let written = Written::example();
    let other = SessionId::from_parts(1_790_000_000_000, [9; 10]);
    let held = Held { session: other, salt: SALT, claims: Vec::new() };
    let refused = Reader::open(written.bytes.as_slice(), held).err().unwrap();
    assert!(refused.to_string().contains("it is that of se_"), "{refused}");
    let held = Held { session: session(), salt: [6; 32], claims: Vec::new() };
    let refused = Reader::open(written.bytes.as_slice(), held).err().unwrap();
    assert!(refused.to_string().contains("salt"), "{refused}");
}

#[test]
fn a_header_that_is_longer_than_the_file_is_an_alteration() {
    let written = Written::new(&[(0, Direction::Output, b"x")]);
    let claims = [written.claims[1]];
    let mut bytes = written.bytes.clone();
    bytes[9] |= 0x40;
    assert_eq!(altered(&bytes, &claims).last.frame, 0);
    bytes.truncate(60);
    assert!(matches!(read(&bytes, &claims), Err(ReadError::NoHeader)));
    let nothing_told = Claim { bytes: None, ..claims[0] };
    assert!(matches!(read(&bytes, &[nothing_told]), Err(ReadError::NoHeader)));
}

#[test]
fn a_shorter_file_is_cut_short_and_a_longer_one_has_a_tail() {
    let written = Written::example();
    let claims = [written.claims[3], written.claims[7]];
    let end = |frame: usize| written.claims[frame].bytes.unwrap() as usize;
    for length in end(0)..written.bytes.len() {
        let whole = (0..=7).rev().find(|frame| end(*frame) <= length).unwrap() as u64;
        let proven = if whole >= 3 { 3 } else { 0 };
        assert_eq!(
            read(&written.bytes[..length], &claims).unwrap(),
            Ending::CutShort { frames: whole, proven, claimed: 7 },
            "{length}"
        );
    }
    for length in 0..end(0) {
        assert!(matches!(read(&written.bytes[..length], &claims), Err(ReadError::NoHeader)));
    }
    let tail = read(&written.bytes, &claims[..1]).unwrap();
    assert_eq!(tail, Ending::Tail { proven: 3, frames: 4, torn_bytes: 0 });
    let torn = read(&written.bytes[..end(4) + 5], &claims[..1]).unwrap();
    assert_eq!(torn, Ending::Tail { proven: 3, frames: 1, torn_bytes: 5 });
    let mut garbage = written.bytes[..end(4)].to_vec();
    garbage.extend_from_slice(&[0xff; 20]);
    let torn = read(&garbage, &claims[..1]).unwrap();
    assert_eq!(torn, Ending::Tail { proven: 3, frames: 1, torn_bytes: 20 });
}

#[test]
fn a_length_that_swallows_the_rest_is_an_alteration_and_not_a_cut() {
    let written = Written::example();
    let mut bytes = written.bytes.clone();
    let output = written.claims[5].bytes.unwrap() as usize;
    bytes[output + 2] = 0xff;
    let found = altered(&bytes, &[written.claims[3], written.claims[7]]);
    assert_eq!((found.first.frame, found.last.frame), (4, 6), "{found}");
    assert_eq!(
        found.to_string(),
        "altered between frame 4 (byte 157, 2.500 s) and frame 6 (byte 253, 2.600 s): a frame that \
         reaches beyond the claimed length"
    );
}

#[test]
fn a_frame_taken_out_or_put_in_or_moved_is_found() {
    let written = Written::example();
    let claims = [written.claims[7]];
    let end = |frame: usize| written.claims[frame].bytes.unwrap() as usize;
    let [a, b, c] = [end(4), end(5), end(6)];
    let without = [&written.bytes[..b], &written.bytes[c..]].concat();
    assert!(matches!(read(&without, &claims).unwrap(), Ending::CutShort { proven: 0, .. }));
    let twice = [&written.bytes[..c], &written.bytes[b..]].concat();
    altered(&twice, &claims);
    let moved =
        [&written.bytes[..a], &written.bytes[b..c], &written.bytes[a..b], &written.bytes[c..]];
    altered(&moved.concat(), &claims);
}

#[test]
fn leaves_that_do_not_lead_to_the_root_are_not_believed() {
    let written = Written::example();
    let mut bytes = written.bytes.clone();
    *bytes.last_mut().unwrap() ^= 1;
    let mut leaves = written.leaves.clone();
    leaves[40] ^= 1;
    let claim = written.claims[7];
    assert_eq!(pinpoint(bytes.as_slice(), Cursor::new(&leaves), &SALT, &claim), None);
    leaves.truncate(64);
    assert_eq!(pinpoint(bytes.as_slice(), Cursor::new(&leaves), &SALT, &claim), None);
    let place = pinpoint(bytes.as_slice(), Cursor::new(&written.leaves), &SALT, &claim).unwrap();
    assert_eq!(place.frame, 7);
}

#[test]
fn what_no_frame_can_be_is_malformed() {
    let head = |length: u32, letter: u8| {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 8]);
        bytes.push(letter);
        bytes
    };
    assert_eq!(Frame::decode(&head(0, b'q')), Err(Malformed::Direction(b'q')));
    assert_eq!(Frame::decode(&head(1 << 21, b'o')), Err(Malformed::TooLong(1 << 21)));
    assert_eq!(Frame::decode(&head(0, b'c')), Err(Malformed::Payload(Direction::Action)));
    assert_eq!(Frame::decode(&head(0, b'r')), Err(Malformed::Payload(Direction::Resize)));
    assert_eq!(Frame::decode(&head(9, b'o')), Ok(None));
    assert_eq!(Header::decode(b"LOGGIARC\x02"), Err(Malformed::Version(2)));
    assert_eq!(Header::decode(b"asciicast"), Err(Malformed::NotARecording));
}

/// The file that `testdata/recording.rec` is, with the roots in `testdata/recording.json`.
#[test]
fn the_vectors_that_other_languages_check() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let written = Written::example();
    let mut text = String::from("{\n");
    text.push_str(&format!("  \"session\": \"{}\",\n", session()));
    text.push_str(&format!("  \"salt\": \"{}\",\n  \"claims\": [\n", hex::encode(SALT)));
    let lines: Vec<String> = written
        .claims
        .iter()
        .map(|claim| {
            let bytes = claim.bytes.unwrap();
            format!(
                "    {{\"frames\": {}, \"bytes\": {bytes}, \"root\": \"{}\"}}",
                claim.frames, claim.root
            )
        })
        .collect();
    text.push_str(&lines.join(",\n"));
    text.push_str("\n  ]\n}\n");
    assert_eq!(std::fs::read_to_string(format!("{folder}/recording.json")).unwrap(), text);
    assert_eq!(std::fs::read(format!("{folder}/recording.rec")).unwrap(), written.bytes);
}

#[test]
fn another_language_finds_the_same_with_its_own_means() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let check = |recording: &std::path::Path| {
        let mut python = std::process::Command::new("python3");
        python.arg("-B").arg(format!("{folder}/recording.py"));
        python.arg(recording).arg(format!("{folder}/recording.json")).output()
    };
    let genuine = format!("{folder}/recording.rec");
    let Ok(found) = check(genuine.as_ref()) else {
        eprintln!("SKIPPED: there is no python3");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&found.stdout), "intact: 7 frames\n", "{found:?}");
    let mut bytes = std::fs::read(&genuine).unwrap();
    bytes[150] ^= 1;
    let altered = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(altered.path(), bytes).unwrap();
    let found = check(altered.path()).unwrap();
    assert!(String::from_utf8_lossy(&found.stderr).starts_with("altered: "), "{found:?}");
}

fn frames() -> impl Strategy<Value = Vec<(u64, Direction, Vec<u8>)>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    let frame = prop_oneof![
        (any::<u64>(), bytes()).prop_map(|(at, bytes)| (at, Direction::Output, bytes)),
        (any::<u64>(), bytes()).prop_map(|(at, bytes)| (at, Direction::Input, bytes)),
        (any::<u64>(), any::<[u8; 8]>()).prop_map(|(at, size)| (
            at,
            Direction::Resize,
            size.to_vec()
        )),
        any::<u64>().prop_map(|at| (at, Direction::Action, action().into_bytes())),
    ];
    proptest::collection::vec(frame, 0..20)
}

proptest! {
    #[test]
    fn frames_read_back_as_they_were_written(frames in frames()) {
        let borrowed: Vec<_> =
            frames.iter().map(|(at, direction, bytes)| (*at, *direction, bytes.as_slice())).collect();
        let written = Written::new(&borrowed);
        let held = Held { session: session(), salt: SALT, claims: written.claims.clone() };
        let mut reader = Reader::open(written.bytes.as_slice(), held).unwrap();
        for (number, (at, direction, bytes)) in frames.iter().enumerate() {
            let (place, frame) = reader.next_frame().unwrap().unwrap();
            prop_assert_eq!(place.frame, number as u64 + 1);
            prop_assert_eq!((frame.at_us, frame.direction, frame.bytes), (*at, *direction, bytes.as_slice()));
        }
        prop_assert!(reader.next_frame().unwrap().is_none());
        prop_assert_eq!(reader.ending(), Some(Ending::Proven));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let header = Header::new(session(), &SALT, 0).encode();
        let _ = read(&[header.as_slice(), &bytes].concat(), &[]);
        let _ = read(&bytes, &[]);
    }
}

#[test]
fn a_place_says_frame_byte_and_time() {
    let place = Place { frame: 3, offset: 1_234, at_us: 61_002_345 };
    assert_eq!(place.to_string(), "frame 3 (byte 1234, 61.002 s)");
    let header = Header::new(session(), &SALT, 0).encode();
    let torn = Check::begin(&header[..20], session(), &SALT, Vec::new()).unwrap_err();
    assert_eq!(torn.to_string(), "the header was altered: it is torn");
}

/// Writes `fuzz/corpus/recording`: whole files, and frames behind a genuine header.
#[test]
#[ignore = "writes the corpus of the fuzz target"]
fn write_the_corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/recording");
    std::fs::create_dir_all(folder).unwrap();
    let put = |name: &str, first: u8, bytes: &[u8]| {
        std::fs::write(format!("{folder}/{name}"), [&[first], bytes].concat()).unwrap();
    };
    let example = Written::example();
    let header = example.claims[0].bytes.unwrap() as usize;
    put("whole", 0, &example.bytes);
    put("header", 0, &example.bytes[..header]);
    put("torn-header", 0, &example.bytes[..header - 9]);
    put("frames", 1, &example.bytes[header..]);
    put("torn-frame", 1, &example.bytes[header..example.bytes.len() - 2]);
    put("torn-head", 1, &example.bytes[header..header + 7]);
    put("nothing", 1, b"");
    let one = |direction, bytes: &[u8]| {
        Written::new(&[(77, direction, bytes), (u64::MAX, Direction::Output, b"")]).bytes
    };
    for direction in Direction::ALL {
        let bytes: &[u8] = match direction {
            Direction::Action => action().leak().as_bytes(),
            Direction::Sealed => &[9; 29],
            Direction::Key => &[9; 40],
            Direction::Resize => &[0, 0, 0, 132, 0, 0, 0, 43],
            Direction::Exit => &[0, 0, 0, 3],
            _ => b"some text\x1b[31m",
        };
        let name = format!("frame-{}", char::from(direction.letter()));
        put(&name, 3, &one(direction, bytes)[header..]);
    }
    put("unknown-direction", 1, b"\0\0\0\x01\0\0\0\0\0\0\0\0qx");
    put("too-long", 1, b"\0\x20\0\0\0\0\0\0\0\0\0\0ox");
}
