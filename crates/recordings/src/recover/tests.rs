use super::*;
use crate::lines::SilentKey;
use crate::tape::{FileTape, no_fault};
use loggia_model::catalogue::Kind;
use loggia_model::event::{EventDraft, Role, SessionSlot, Stamp};
use loggia_model::id::{ActorId, PersonId};
use loggia_model::port::Tape;
use loggia_model::recording::Direction;
use loggia_model::seal::Seed;
use loggia_model::{Draft, LeafHash};
use loggia_verify::recording::check::Claim;
use std::path::PathBuf;

const SALT: [u8; 32] = [4; 32];

/// A log in memory; only what `take_up` looks at is true to life.
#[derive(Default)]
struct Log(Vec<Committed>);

impl ReadLog for Log {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Committed>, PublicError> {
        Ok(self.0.iter().skip(from as usize).take(max.min(300)).cloned().collect())
    }
}

impl Log {
    fn draft(&self, kind: Kind, session: SessionId, start: Option<EventId>) -> EventDraft {
        let id = EventId::from_parts(1, [self.0.len() as u8; 10]);
        let role = if start.is_none() { Role::Start } else { Role::Member };
        let person = ActorId::Person(PersonId::from_parts(1, [1; 10]));
        EventDraft::new(kind, id, Seed::from_random([3; 32])).actor(person).session(SessionSlot {
            id: session,
            context: start,
            role,
        })
    }

    fn add(&mut self, draft: EventDraft) {
        let draft: Draft = draft.encode().unwrap();
        let index = self.0.len() as u64;
        let stamp = Stamp {
            time_us: 1,
            node: "nd_01h455vb4pex5vsknk084sn02q",
            boot: 1,
            seq: index + 1,
            session: Some((index + 1, Some(LeafHash([0; 32])))),
        };
        let mut leaf = Vec::new();
        draft.stamp(&stamp, &mut leaf);
        let leaf_hash = LeafHash::of(&leaf);
        let disclosure = draft.disclosure.clone();
        self.0.push(Committed { index, leaf_hash, leaf: leaf.into(), disclosure });
    }
}

struct World {
    data: tempfile::TempDir,
    session: SessionId,
    start: EventId,
    log: Log,
}

impl World {
    /// A session with a recording, of which so many frames are claimed and so many are not.
    fn new(claimed: usize, unclaimed: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let dir = folder_of(data.path());
        std::fs::create_dir(&dir).unwrap();
        let session = SessionId::from_parts(1, [9; 10]);
        let mut log = Log::default();
        let start = log.draft(Kind::SessionStart, session, None);
        let id = start.id();
        log.add(start);
        let begun = log.draft(Kind::RecordingBegun, session, Some(id));
        log.add(begun.set("/detail/salt", "04".repeat(32)).set("/detail/version", 1u32));
        let key = SilentKey::new([1; 32]).session(&SALT);
        let mut tape =
            FileTape::create(dir.as_path().into(), no_fault(), session, &SALT, key, 0).unwrap();
        for number in 0..claimed {
            tape.write(number as u64, Direction::Output, b"claimed").unwrap();
        }
        if claimed > 0 {
            let grown = log.draft(Kind::RecordingGrown, session, Some(id));
            let state = tape.state();
            log.add(
                grown
                    .set("/detail/frames", state.frames)
                    .set("/detail/bytes", state.bytes)
                    .set("/detail/root", loggia_tlog::Hash(state.root).to_hex()),
            );
        }
        for number in 0..unclaimed {
            tape.write(number as u64, Direction::Output, b"not yet").unwrap();
        }
        Self { data, session, start: id, log }
    }

    fn path(&self) -> PathBuf {
        folder_of(self.data.path()).join(recording_name(self.session))
    }

    fn take_up(&self) -> Vec<(SessionId, TapeState)> {
        take_up(self.data.path(), &[(self.session, self.start)], &self.log, &no_fault())
    }

    fn ending(&self, state: &TapeState) -> Ending {
        let root = loggia_tlog::Hash(state.root);
        let claims = vec![Claim { frames: state.frames, bytes: Some(state.bytes), root }];
        let held = Held { session: self.session, salt: SALT, claims };
        let reader = Reader::open(File::open(self.path()).unwrap(), held).unwrap();
        reader.finish().unwrap().0
    }
}

#[test]
fn frames_that_no_claim_covers_are_taken_up_and_a_torn_one_is_cut_off() {
    for claimed in [0, 3] {
        let world = World::new(claimed, 2);
        let whole = std::fs::read(world.path()).unwrap();
        let torn = [whole.as_slice(), &[0, 0, 0, 200, 1, 2, 3]].concat();
        std::fs::write(world.path(), torn).unwrap();
        let taken = world.take_up();
        assert_eq!(taken.len(), 1);
        let (session, state) = taken[0];
        assert_eq!((session, state.frames), (world.session, claimed as u64 + 2));
        assert_eq!(std::fs::read(world.path()).unwrap(), whole);
        assert_eq!(world.ending(&state), Ending::Proven);
        let leaves = world.path().with_extension("leaves");
        assert_eq!(std::fs::metadata(leaves).unwrap().len(), (state.frames + 1) * 32);
        assert_eq!(world.take_up(), taken, "a crash before the claim changes nothing");
    }
}

#[test]
fn a_torn_frame_alone_is_cut_off_and_nothing_is_claimed_anew() {
    let world = World::new(3, 0);
    let whole = std::fs::read(world.path()).unwrap();
    std::fs::write(world.path(), [whole.as_slice(), &[7; 30]].concat()).unwrap();
    assert!(world.take_up().is_empty());
    assert_eq!(std::fs::read(world.path()).unwrap(), whole);
}

#[test]
fn what_is_not_as_claimed_is_neither_blessed_nor_touched() {
    let world = World::new(3, 2);
    let mut altered = std::fs::read(world.path()).unwrap();
    let at = altered.windows(7).position(|bytes| bytes == b"claimed").unwrap();
    altered[at] ^= 1;
    std::fs::write(world.path(), &altered).unwrap();
    assert!(world.take_up().is_empty());
    assert_eq!(std::fs::read(world.path()).unwrap(), altered);

    let cut = &altered[..at];
    std::fs::write(world.path(), cut).unwrap();
    assert!(world.take_up().is_empty());
    assert_eq!(std::fs::read(world.path()).unwrap(), cut);
    std::fs::remove_file(world.path()).unwrap();
    assert!(world.take_up().is_empty());
}

#[test]
fn a_session_whose_recording_never_got_a_file_or_was_never_begun_is_nothing() {
    let world = World::new(0, 0);
    assert!(world.take_up().is_empty(), "a header alone");
    std::fs::write(world.path(), b"LOGG").unwrap();
    assert!(world.take_up().is_empty(), "a torn header");
    std::fs::remove_file(world.path()).unwrap();
    assert!(world.take_up().is_empty(), "no file");
    let other = SessionId::from_parts(1, [8; 10]);
    assert!(
        take_up(world.data.path(), &[(other, world.start)], &world.log, &no_fault()).is_empty()
    );
}
