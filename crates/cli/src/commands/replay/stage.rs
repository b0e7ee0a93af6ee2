//! Playing in a terminal: keys become moves, moments become pictures.

use super::player::Player;
use super::script::{Scene, Script};
use super::terminal::{Key, Picture, Terminal};
use super::told::Told;
use crate::fail::Done;
use crate::out::{Out, Tone};
use crate::text;
use loggia_verify::recording::check::Ending;
use std::time::Duration;
use tokio::time::Instant;

/// How fast it can be played.
const SPEEDS: [f64; 6] = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0];
/// What an arrow moves by, in microseconds.
const ARROW_US: u64 = 5_000_000;
/// Output that is taken in before keys are looked at again, in bytes.
const BURST_BYTES: usize = 2 << 20;
/// Between two pictures, at least and at most.
const PICTURE_MIN: Duration = Duration::from_millis(15);
const PICTURE_MAX: Duration = Duration::from_millis(200);
/// How long the end of an action stays before the next one begins.
const BETWEEN: Duration = Duration::from_millis(1_200);
/// Rows below the picture.
const FOOT_ROWS: u16 = 2;
/// A text that is searched for is at most this long, in letters.
const SEARCH_LETTERS_MAX: usize = 200;

/// How it is played.
pub(super) struct Staging<'a> {
    pub(super) script: &'a Script,
    pub(super) scenes: &'a [&'a Scene],
    pub(super) told: &'a Told,
    pub(super) out: Out,
    pub(super) speed: f64,
    pub(super) idle_us: u64,
}

/// What the keys do, the most needed first: a narrow terminal shows the beginning.
const KEYS: &str = "space pause  q quit  ←→ 5 s  / search  +- speed  ⇧←→ 10 %  n next  [ ] action";

/// What a key leads to.
enum Turn {
    Stay,
    Scene(usize),
    Quit,
}

struct Stage<'a> {
    staging: &'a Staging<'a>,
    terminal: Terminal,
    scene: usize,
    player: Player<'a>,
    playing: bool,
    /// The moment that is played, and when that was so.
    at_us: u64,
    since: Instant,
    speed: usize,
    ended_since: Option<Instant>,
    /// The text being typed, and the one searched for last.
    typing: Option<String>,
    sought: String,
    said: Option<String>,
}

/// Plays until the reader has enough.
pub(super) fn play(staging: &Staging<'_>) -> Done {
    let mut scene = 0;
    let terminal = Terminal::take()?;
    let Some(player) = staging.player(scene) else { return Ok(()) };
    let speed = SPEEDS.iter().position(|speed| *speed >= staging.speed).unwrap_or(1);
    let mut stage = Stage {
        staging,
        terminal,
        scene,
        player,
        playing: true,
        at_us: 0,
        since: Instant::now(),
        speed,
        ended_since: None,
        typing: None,
        sought: String::new(),
        said: None,
    };
    loop {
        match stage.turn()? {
            Turn::Stay => {}
            Turn::Quit => return Ok(()),
            Turn::Scene(next) => {
                scene = next;
                let Some(player) = staging.player(scene) else { return Ok(()) };
                stage.scene = scene;
                stage.player = player;
                stage.at_us = 0;
                stage.since = Instant::now();
                stage.ended_since = None;
            }
        }
    }
}

impl<'a> Staging<'a> {
    fn player(&self, scene: usize) -> Option<Player<'a>> {
        let scene = *self.scenes.get(scene)?;
        let terminal = self.told.terminal_of(scene);
        // Without a terminal, lines are as long as here.
        let (columns, rows) = Terminal::size();
        let here = (u32::from(columns), u32::from(rows.saturating_sub(FOOT_ROWS).max(1)));
        let size = if terminal { self.told.size_of(scene) } else { here };
        Some(Player::new(self.script, scene, size, terminal, self.idle_us))
    }
}

impl Stage<'_> {
    fn turn(&mut self) -> Done<Turn> {
        if self.playing {
            let passed = self.since.elapsed().as_micros() as f64 * self.pace();
            self.run_to(self.at_us.saturating_add(passed as u64))?;
        }
        let next_us = self.player.next_us()?;
        if next_us.is_none() && self.playing && self.at_us >= self.length_us() {
            let since = *self.ended_since.get_or_insert_with(Instant::now);
            let last = self.scene + 1 >= self.staging.scenes.len();
            if !last && since.elapsed() >= BETWEEN {
                return Ok(Turn::Scene(self.scene + 1));
            }
            if last && !self.terminal.has_keys() {
                return Ok(Turn::Quit);
            }
        }
        self.draw()?;
        let wait = match next_us.filter(|_| self.playing) {
            Some(next_us) => {
                let due = next_us.saturating_sub(self.at_us) as f64 / self.pace();
                Duration::from_micros(due as u64).clamp(PICTURE_MIN, PICTURE_MAX)
            }
            None => PICTURE_MAX,
        };
        for key in self.terminal.keys(wait) {
            match self.key(key)? {
                Turn::Stay => {}
                turn => return Ok(turn),
            }
        }
        Ok(Turn::Stay)
    }

    fn pace(&self) -> f64 {
        SPEEDS.get(self.speed).copied().unwrap_or(1.0)
    }

    fn length_us(&self) -> u64 {
        self.staging.scenes.get(self.scene).map_or(0, |scene| scene.played_us)
    }

    /// Plays on to a moment; where there is much output, so far as one burst goes.
    fn run_to(&mut self, until_us: u64) -> Done {
        let until_us = until_us.min(self.length_us());
        let reached = self.player.run_to(until_us, BURST_BYTES)?;
        self.at_us = if reached { until_us } else { self.player.at_us };
        self.since = Instant::now();
        Ok(())
    }

    fn seek(&mut self, at_us: u64) -> Done {
        let at_us = at_us.min(self.length_us());
        self.ended_since = None;
        self.player.rewind_for(at_us);
        while !self.player.run_to(at_us, BURST_BYTES)? {
            if self.terminal.keys(Duration::ZERO).contains(&Key::Interrupt) {
                break;
            }
        }
        self.at_us = at_us;
        self.since = Instant::now();
        Ok(())
    }

    fn key(&mut self, key: Key) -> Done<Turn> {
        if let Some(typed) = self.typing.take() {
            return self.type_on(typed, key);
        }
        self.said = None;
        let tenth = self.length_us() / 10;
        match key {
            Key::Letter('q') | Key::Interrupt => return Ok(Turn::Quit),
            Key::Letter(' ') => {
                self.playing = !self.playing;
                self.since = Instant::now();
                if self.playing && self.at_us >= self.length_us() {
                    self.seek(0)?;
                }
            }
            Key::Right(false) => self.seek(self.at_us.saturating_add(ARROW_US))?,
            Key::Left(false) => self.seek(self.at_us.saturating_sub(ARROW_US))?,
            Key::Right(true) => self.seek(self.at_us.saturating_add(tenth))?,
            Key::Left(true) => self.seek(self.at_us.saturating_sub(tenth))?,
            Key::Home => self.seek(0)?,
            Key::End => self.seek(u64::MAX)?,
            Key::Letter('+' | '=') => self.speed = (self.speed + 1).min(SPEEDS.len() - 1),
            Key::Letter('-') => self.speed = self.speed.saturating_sub(1),
            Key::Letter('/') => self.typing = Some(String::new()),
            Key::Letter('n') if !self.sought.is_empty() => self.search()?,
            Key::Letter(']') if self.scene + 1 < self.staging.scenes.len() => {
                return Ok(Turn::Scene(self.scene + 1));
            }
            Key::Letter('[') if self.scene > 0 => return Ok(Turn::Scene(self.scene - 1)),
            _ => {}
        }
        Ok(Turn::Stay)
    }

    fn type_on(&mut self, mut typed: String, key: Key) -> Done<Turn> {
        match key {
            Key::Interrupt => return Ok(Turn::Quit),
            Key::Escape => return Ok(Turn::Stay),
            Key::Enter => {
                if !typed.is_empty() {
                    self.sought = typed;
                }
                if !self.sought.is_empty() {
                    self.search()?;
                }
                return Ok(Turn::Stay);
            }
            Key::Backspace => {
                typed.pop();
            }
            Key::Letter(letter) if typed.chars().count() < SEARCH_LETTERS_MAX => typed.push(letter),
            _ => {}
        }
        self.typing = Some(typed);
        Ok(Turn::Stay)
    }

    /// Goes to where the text appears next, and stops there.
    fn search(&mut self) -> Done {
        let from_us = self.at_us;
        if self.player.search(&self.sought)? {
            self.at_us = self.player.at_us;
            self.playing = false;
        } else {
            self.said = Some(format!("`{}` does not appear any more", self.sought));
            self.seek(from_us)?;
        }
        self.since = Instant::now();
        Ok(())
    }

    fn draw(&mut self) -> Done {
        let (columns, _) = Terminal::size();
        let foot = vec![self.headline(columns.into()), self.keys_line(columns.into())];
        let rows = self.player.screen.rows(columns, self.staging.out.color);
        let cursor = self.player.screen.cursor().filter(|(column, _)| *column < columns);
        self.terminal.draw(Picture { rows, foot, cursor })
    }

    fn headline(&self, columns: usize) -> String {
        let many = self.staging.scenes.len();
        let scene = self.staging.scenes.get(self.scene);
        let told = scene.map(|scene| self.staging.told.headline(scene.action)).unwrap_or_default();
        let number = if many > 1 { format!("[{}/{many}] ", self.scene + 1) } else { String::new() };
        let unseen = self.player.unseen.as_ref();
        let unseen = unseen.map(|typed| format!("  typed unseen: {}", text::line(typed)));
        let line = format!("{number}{told}{}", unseen.unwrap_or_default());
        self.staging.out.toned(&text::cut(&line, columns), Tone::Faint)
    }

    fn keys_line(&self, columns: usize) -> String {
        if let Some(typed) = &self.typing {
            return text::cut(&format!("/{}", text::safe(typed)), columns);
        }
        let state = match (self.playing, self.at_us >= self.length_us()) {
            (_, true) => "end",
            (true, false) => "play",
            (false, false) => "pause",
        };
        let seconds = |us: u64| format!("{}:{:02}", us / 60_000_000, us / 1_000_000 % 60);
        let (width, height) = self.player.screen.size();
        let (here, _) = Terminal::size();
        let cropped =
            if width > here { format!("  {width}×{height}, cut") } else { String::new() };
        let verdict = match self.staging.script.ending {
            Ending::Proven => "verified",
            Ending::Tail { .. } => "unproven tail",
            Ending::CutShort { .. } => "INCOMPLETE",
        };
        let said = self.said.as_deref().map_or_else(|| format!("{verdict}  {KEYS}"), text::safe);
        let line = format!(
            "{state:<5} {} / {}  {}×{cropped}  {said}",
            seconds(self.at_us),
            seconds(self.length_us()),
            self.pace(),
        );
        text::cut(&line, columns)
    }
}
