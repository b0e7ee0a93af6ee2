//! One action of a recording, played: at which moment what stands on the screen. Knows neither a
//! clock nor a terminal.

use super::screen::Screen;
use super::script::{Position, Scene, SceneReader, Script, played};
use crate::fail::Done;
use loggia_verify::recording::Content;

/// Output between two moments that can be gone back to at once, in bytes.
const SNAPSHOT_BYTES: usize = 256 << 10;
/// Such moments that are kept.
const SNAPSHOTS_MAX: usize = 64;

/// An action being played.
pub(super) struct Player<'s> {
    script: &'s Script,
    scene: &'s Scene,
    reader: SceneReader<'s>,
    /// What the terminal shows.
    pub(super) screen: Screen,
    /// The moment that is shown, in microseconds with what is idle cut.
    pub(super) at_us: u64,
    /// What was typed last without being shown.
    pub(super) unseen: Option<String>,
    last_us: Option<u64>,
    idle_us: u64,
    fed: usize,
    snapshots: Vec<Snapshot>,
}

struct Snapshot {
    at_us: u64,
    last_us: Option<u64>,
    position: Position,
    seen: vt100::Screen,
}

impl<'s> Player<'s> {
    /// At the beginning of a scene.
    pub(super) fn new(
        script: &'s Script,
        scene: &'s Scene,
        size: (u32, u32),
        terminal: bool,
        idle_us: u64,
    ) -> Self {
        let reader = script.read(scene);
        let screen = Screen::new(size, terminal);
        let begin = Snapshot {
            at_us: 0,
            last_us: None,
            position: reader.position(),
            seen: screen.snapshot(),
        };
        let snapshots = vec![begin];
        let (unseen, last_us, fed) = (None, None, 0);
        Self { script, scene, reader, screen, at_us: 0, unseen, last_us, idle_us, fed, snapshots }
    }

    /// When the next frame is due; none at the end.
    pub(super) fn next_us(&mut self) -> Done<Option<u64>> {
        let here = self.reader.position();
        let next = self.reader.next_frame()?.map(|(_, _, frame)| frame.at_us);
        self.reader.back(here);
        Ok(next.map(|at_us| played(self.at_us, self.last_us, at_us, self.idle_us)))
    }

    /// Plays all that is due up to a moment, but not much more than `bytes_max` of it; false where
    /// there is more.
    pub(super) fn run_to(&mut self, until_us: u64, bytes_max: usize) -> Done<bool> {
        let mut taken = 0;
        while let Some(next_us) = self.next_us()? {
            if next_us > until_us {
                break;
            }
            if taken > bytes_max {
                return Ok(false);
            }
            taken += self.step()?;
        }
        Ok(true)
    }

    /// Goes back to the last moment before this one that is at hand, or to the beginning; a
    /// moment that lies ahead is where it is played to.
    pub(super) fn rewind_for(&mut self, at_us: u64) {
        if at_us >= self.at_us {
            return;
        }
        let before = |snapshot: &&Snapshot| snapshot.at_us <= at_us;
        let Some(snapshot) = self.snapshots.iter().rev().find(before) else { return };
        self.screen.restore(&snapshot.seen);
        self.at_us = snapshot.at_us;
        self.last_us = snapshot.last_us;
        self.reader.go(snapshot.position);
        self.unseen = None;
        self.fed = 0;
    }

    /// Plays on until a text appears that was not there; true where it does.
    pub(super) fn search(&mut self, text: &str) -> Done<bool> {
        let text = text.to_lowercase();
        let count = |screen: &Screen| screen.text().matches(text.as_str()).count();
        let mut before = count(&self.screen);
        while self.next_us()?.is_some() {
            if self.step()? == 0 {
                continue;
            }
            let now = count(&self.screen);
            if now > before {
                return Ok(true);
            }
            before = now;
        }
        Ok(false)
    }

    /// Plays one frame; gives the bytes of output in it.
    fn step(&mut self) -> Done<usize> {
        let Some((number, _, frame)) = self.reader.next_frame()? else { return Ok(0) };
        self.at_us = played(self.at_us, self.last_us, frame.at_us, self.idle_us);
        self.last_us = Some(frame.at_us);
        let mut taken = 0;
        match frame.content() {
            Content::Output(bytes) | Content::Error(bytes) => {
                self.screen.feed(bytes);
                taken = bytes.len();
            }
            Content::Resize { columns, rows } => self.screen.resize((columns, rows)),
            Content::Sealed { line, sealed } => {
                let (typed, echoed) =
                    self.script.typed(self.scene.action, line, number, sealed);
                self.unseen = match typed {
                    _ if echoed => None,
                    Some(typed) => Some(String::from_utf8_lossy(&typed).into_owned()),
                    None => Some(format!("{} bytes", sealed.len().saturating_sub(16))),
                };
            }
            _ => {}
        }
        self.fed += taken;
        if self.fed >= SNAPSHOT_BYTES {
            self.keep();
        }
        Ok(taken)
    }

    /// Keeps this moment, to be gone back to.
    fn keep(&mut self) {
        self.fed = 0;
        if self.snapshots.last().is_some_and(|last| last.at_us >= self.at_us) {
            return;
        }
        if self.snapshots.len() == SNAPSHOTS_MAX {
            // Every second one goes, so that they stay spread over all that was played.
            let mut place = 0;
            self.snapshots.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        self.snapshots.push(Snapshot {
            at_us: self.at_us,
            last_us: self.last_us,
            position: self.reader.position(),
            seen: self.screen.snapshot(),
        });
    }
}
