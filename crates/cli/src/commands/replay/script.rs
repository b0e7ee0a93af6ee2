//! A recording, checked from beginning to end, and cut into what belongs to each action.

use crate::fail::{Done, Fail, INCOMPLETE, TAMPERED};
use loggia_model::id::EventId;
use loggia_recordings::lines::{Key, Line, SessionKey};
use loggia_verify::recording::check::{Altered, Ending, Place};
use loggia_verify::recording::reader::{Held, ReadError, Reader, pinpoint};
use loggia_verify::recording::{Content, FRAME_BYTES_MAX, Frame, HEAD_BYTES, Header};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes that are read of the file at a time.
const READ_BYTES: usize = 128 << 10;

/// Where a recording comes from.
pub(super) struct Source {
    /// The file, which nobody else writes any more as far as it is used.
    pub(super) file: File,
    /// What it is held to.
    pub(super) held: Held,
    /// Where the hashes of its leaves lie, where they may.
    pub(super) leaves: Option<PathBuf>,
    /// Whether it reached its limit, as the ledger says.
    pub(super) limited: bool,
}

/// What was recorded under one action.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    /// The action; none for what stands before the first.
    pub(super) action: Option<EventId>,
    runs: Vec<Run>,
    /// The first size of its terminal that the recording has.
    pub(super) size: Option<(u32, u32)>,
    /// Whether it has a terminal, as far as the recording shows.
    pub(super) terminal: bool,
    /// Its length with what is idle cut, in microseconds.
    pub(super) played_us: u64,
    last_us: Option<u64>,
}

/// Frames that stand next to each other in the file.
#[derive(Debug, Clone, Copy)]
struct Run {
    offset: u64,
    end: u64,
    frame: u64,
}

/// A checked recording.
pub(super) struct Script {
    file: File,
    /// Microseconds since 1970 at which it began.
    pub(super) started_us: i64,
    /// In the order in which they begin.
    pub(super) scenes: Vec<Scene>,
    /// How it ends.
    pub(super) ending: Ending,
    /// Frames in all.
    pub(super) frames: u64,
    /// Whether it reached its limit: what came later is not in it.
    pub(super) limited: bool,
    keys: HashMap<(Option<EventId>, u64), [u8; 32]>,
    silent: Option<SessionKey>,
}

/// The next moment of a scene, with what is idle cut to `idle_us`.
pub(super) fn played(before_us: u64, last_us: Option<u64>, at_us: u64, idle_us: u64) -> u64 {
    // The gateway's clock may have been set back: then no time has passed.
    let gap = at_us.saturating_sub(last_us.unwrap_or(at_us));
    before_us + gap.min(idle_us)
}

impl Script {
    /// Reads all of it and holds it to what the ledger says.
    ///
    /// # Errors
    /// What was altered, and where; exit code 10.
    pub(super) fn load(source: Source, idle_us: u64, silent: Option<SessionKey>) -> Done<Self> {
        let Source { file, held, leaves, limited } = source;
        let (session, salt) = (held.session, held.salt);
        let refuse = |error: ReadError| {
            refused(error, |altered| {
                let leaves = File::open(leaves.as_deref()?).ok()?;
                pinpoint(FromStart::of(&file)?, leaves, &salt, altered.claim.as_ref()?)
            })
            .hint(format!("`loggia session show {session}` shows what else is recorded of it"))
        };
        let from_start = FromStart::of(&file).ok_or_else(changed)?;
        let mut reader = Reader::open(from_start, held).map_err(&refuse)?;
        let started_us = reader.header().started_us;
        let mut scenes = Scenes::default();
        let mut keys = HashMap::new();
        while let Some((place, frame)) = reader.next_frame().map_err(&refuse)? {
            scenes.take(&place, &frame, idle_us);
            if let Content::Key { line, key } = frame.content() {
                keys.insert((scenes.action, line), key);
            }
        }
        let frames = reader.check().here().frame;
        let ending = reader.ending().unwrap_or(Ending::Proven);
        drop(reader);
        Ok(Self { file, started_us, scenes: scenes.all, ending, frames, limited, keys, silent })
    }

    /// Reads a scene from its beginning.
    pub(super) fn read<'s>(&'s self, scene: &'s Scene) -> SceneReader<'s> {
        SceneReader {
            file: &self.file,
            scene,
            at: Position::default(),
            buffer: Vec::new(),
            begin: 0,
        }
    }

    /// What was typed, where its line was echoed or the silent key is at hand; and whether it was
    /// echoed.
    pub(super) fn typed(
        &self,
        action: Option<EventId>,
        line: u64,
        frame: u64,
        sealed: &[u8],
    ) -> (Option<Vec<u8>>, bool) {
        let disclosed = self.keys.get(&(action, line)).map(|key| Key::new(*key));
        let echoed = disclosed.is_some();
        let silent = || {
            let action = action.map(|action| action.to_string()).unwrap_or_default();
            self.silent.as_ref().map(|key| key.line(&action, line))
        };
        let opened = disclosed.or_else(silent).and_then(|key| {
            let line = Line::new(&key).ok()?;
            line.open(frame, sealed).ok()
        });
        (opened.map(|bytes| bytes.to_vec()), echoed)
    }
}

/// Says why a recording is refused; `find` names the one frame where it can.
fn refused(error: ReadError, find: impl FnOnce(&Altered) -> Option<Place>) -> Fail {
    let altered = match error {
        ReadError::Altered(altered) => altered,
        ReadError::NoHeader => {
            return Fail::with_exit(INCOMPLETE, "the recording is cut short within its header");
        }
        other => return Fail::new(other.to_string()),
    };
    let altered = match find(&altered) {
        Some(place) => altered.at(place),
        None => altered,
    };
    Fail::with_exit(TAMPERED, "this recording is not what the ledger says: it was altered")
        .detail(altered.to_string())
}

/// Reads a file from its beginning, whatever its own offset is.
struct FromStart(File, u64);

impl FromStart {
    fn of(file: &File) -> Option<Self> {
        Some(Self(file.try_clone().ok()?, 0))
    }
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read_at(into, self.1)?;
        self.1 += read as u64;
        Ok(read)
    }
}

#[derive(Default)]
struct Scenes {
    all: Vec<Scene>,
    places: HashMap<Option<EventId>, usize>,
    action: Option<EventId>,
}

impl Scenes {
    fn take(&mut self, place: &Place, frame: &Frame<'_>, idle_us: u64) {
        if let Content::Action(action) = frame.content() {
            self.action = Some(action);
            return;
        }
        let next = self.all.len();
        let at = *self.places.entry(self.action).or_insert(next);
        if at == next {
            self.all.push(Scene { action: self.action, ..Scene::default() });
        }
        let Some(scene) = self.all.get_mut(at) else { return };
        let end = place.offset + frame.raw.len() as u64;
        match scene.runs.last_mut() {
            Some(run) if run.end == place.offset => run.end = end,
            _ => scene.runs.push(Run { offset: place.offset, end, frame: place.frame }),
        }
        match frame.content() {
            Content::Resize { columns, rows } => {
                scene.size.get_or_insert((columns, rows));
                scene.terminal = true;
            }
            Content::Sealed { .. } => scene.terminal = true,
            _ => {}
        }
        scene.played_us = played(scene.played_us, scene.last_us, frame.at_us, idle_us);
        scene.last_us = Some(frame.at_us);
    }
}

/// A place in a scene, between two frames.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position {
    run: usize,
    /// Bytes and frames of the run before it.
    bytes: u64,
    frames: u64,
}

/// Reads the frames of a scene in order.
pub(super) struct SceneReader<'s> {
    file: &'s File,
    scene: &'s Scene,
    at: Position,
    /// What was read ahead, from `begin` on.
    buffer: Vec<u8>,
    begin: usize,
}

impl SceneReader<'_> {
    /// Where it is.
    pub(super) fn position(&self) -> Position {
        self.at
    }

    /// Goes there.
    pub(super) fn go(&mut self, position: Position) {
        self.at = position;
        self.buffer.clear();
        self.begin = 0;
    }

    /// Goes back to a place that the reader has just come from.
    pub(super) fn back(&mut self, position: Position) {
        let behind = self.at.bytes.wrapping_sub(position.bytes);
        let begin = usize::try_from(behind).ok().and_then(|behind| self.begin.checked_sub(behind));
        match begin.filter(|_| self.at.run == position.run) {
            Some(begin) => {
                self.begin = begin;
                self.at = position;
            }
            None => self.go(position),
        }
    }

    /// The next frame with its number and offset; none at the end.
    pub(super) fn next_frame(&mut self) -> Done<Option<(u64, u64, Frame<'_>)>> {
        loop {
            let Some(run) = self.scene.runs.get(self.at.run).copied() else { return Ok(None) };
            let (number, offset) = (run.frame + self.at.frames, run.offset + self.at.bytes);
            if offset >= run.end {
                self.at = Position { run: self.at.run + 1, bytes: 0, frames: 0 };
                self.buffer.clear();
                self.begin = 0;
                continue;
            }
            let length = self.ahead(offset, run.end)?;
            self.at.bytes += length as u64;
            self.at.frames += 1;
            let begin = self.begin;
            self.begin += length;
            let bytes = self.buffer.get(begin..self.begin).unwrap_or_default();
            let frame = Frame::decode(bytes).ok().flatten().ok_or_else(changed)?;
            return Ok(Some((number, offset, frame)));
        }
    }

    /// Has a whole frame in the buffer; gives its length.
    fn ahead(&mut self, offset: u64, end: u64) -> Done<usize> {
        let whole = |bytes: &[u8]| Frame::decode(bytes).map(|frame| frame.map(|f| f.raw.len()));
        let known = self.buffer.get(self.begin..).unwrap_or_default();
        if let Some(length) = whole(known).map_err(|_| changed())? {
            return Ok(length);
        }
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        for wanted in [READ_BYTES, FRAME_BYTES_MAX + HEAD_BYTES] {
            self.buffer.resize(wanted.min(left), 0);
            self.begin = 0;
            self.file.read_exact_at(&mut self.buffer, offset).map_err(|_| changed())?;
            if let Some(length) = whole(&self.buffer).map_err(|_| changed())? {
                return Ok(length);
            }
        }
        Err(changed())
    }
}

fn changed() -> Fail {
    Fail::new("the recording was changed while it was played")
}

/// The header's length, to tell a recording from other files.
pub(super) fn is_recording(file: &File) -> bool {
    let mut head = [0; 64];
    let read = file.read_at(&mut head, 0).unwrap_or(0);
    read > 8 && Header::decode(head.get(..read).unwrap_or_default()).is_ok()
}
