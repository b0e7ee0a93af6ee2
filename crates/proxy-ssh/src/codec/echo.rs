//! Tells which lines typed into a terminal were shown on it.
//!
//! What is typed at a prompt that does not echo is a secret, and is kept apart from what may be
//! read in a replay. Whether a prompt echoes is known only afterwards, from the target's output.
//! So typed bytes are cut into lines ([`Echo::typed`]), each of which the caller seals by itself;
//! and once the output has shown enough, a verdict says whether a line was echoed
//! ([`Echo::output`]). In doubt a line counts as silent.
//!
//! Only printable characters count, typed and shown: escape sequences, control characters and
//! spaces are left out on both sides, so that colours, titles, cursor movements and wrapped lines
//! do not matter. A character was echoed when it is
//! - the first thing shown since it was typed, or
//! - shown right behind the character typed before it, which was echoed, or
//! - while its line is being typed, shown right behind the (up to three) characters typed before
//!   it: a shell that draws its line anew with each key, or text in front of it.
//!
//! A line is echoed when at least half of its characters were, and three of them, or all where
//! there are fewer, and no four characters in a row were not. What is shown behind Enter counts
//! only if the cursor moves behind it: a prompt may begin with the same letters as a secret. A line
//! that came at once with its end, pasted or typed by a program, is also echoed when all of it is
//! shown, and the cursor moves behind it, in the next 4 KiB. Order is kept: once a later line was
//! echoed, nothing shown counts for an earlier one.

mod escape;
mod line;

#[cfg(test)]
mod tests;

use escape::{Stripper, Symbol};
use line::{Line, Shown};
use std::collections::VecDeque;

/// The longest line, in bytes as typed; what is longer goes on as another line. A terminal's own
/// line editor takes no longer ones.
pub const LINE_BYTES_MAX: usize = 4096;
/// Output in which a line that ended has to be found, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 4096;
/// Lines that may wait for their verdict.
pub const WAITING_LINES_MAX: usize = 64;
/// Verdicts that may wait for output with which they are yielded.
pub const VERDICTS_MAX: usize = 1024;

/// Typed bytes that belong to one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The number of the line: 0, 1, 2, …
    pub line: u64,
    /// The bytes. The pieces follow each other and leave nothing out.
    pub bytes: &'a [u8],
    /// Whether the line ends with them. A line can also end when the next one begins.
    pub ends: bool,
}

/// Whether a line was echoed. Verdicts come in the order of the lines, one for each; only where
/// more than [`VERDICTS_MAX`] lines are typed and nothing is shown, those beyond get none, and are
/// silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineVerdict {
    /// The number of the line.
    pub line: u64,
    /// Whether it was shown as it was typed, so that it may be read. A line without printable
    /// characters is.
    pub echoed: bool,
    /// Printable characters that were typed, without spaces, in bytes.
    pub typed_bytes: usize,
    /// Whether a program that uses the whole screen was there: an editor, a pager. Such programs
    /// take keys without showing them.
    pub full_screen: bool,
}

/// Follows one terminal.
#[derive(Debug, Default)]
pub struct Echo {
    typed: Stripper,
    output: Stripper,
    /// The number of the next line.
    next: u64,
    /// Calls of [`Echo::typed`].
    calls: u64,
    current: Option<Line>,
    /// Lines that ended and have no verdict yet.
    ended: VecDeque<Line>,
    verdicts: Vec<LineVerdict>,
    shown: Shown,
    /// Whether the next line feed is the echo of an Enter whose line has its verdict.
    line_feed_taken: bool,
    full_screen: bool,
    silent_run: u32,
    /// Whether what was typed since Enter was all silent, so far; `None` without text.
    silent_text: Option<bool>,
}

impl Echo {
    /// At the beginning of a terminal.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts typed bytes into pieces of lines. A line ends with CR, LF, or a key that breaks off
    /// what is being typed (Ctrl-C, Ctrl-D, Ctrl-Z, Ctrl-\); after [`LINE_BYTES_MAX`]; and before
    /// the next key when something else was shown behind it but none of it, as a prompt for
    /// single keys does, or when a program began or ceased to use the whole screen.
    pub fn typed<'a>(&mut self, bytes: &'a [u8]) -> Vec<Piece<'a>> {
        self.calls += 1;
        self.typed.end_of_keys();
        if !bytes.is_empty()
            && let Some(line) = self.current.as_mut()
            && line.was_left_behind(self.full_screen)
        {
            line.leave_behind();
            self.end();
        }
        if self.current.is_none() && !bytes.is_empty() {
            // Somebody who saw what came after a line goes on.
            self.ended.iter_mut().for_each(Line::go_on);
        }
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, calls) = (self.next, self.calls);
            let line = self.current.get_or_insert_with(|| Line::new(number, calls));
            let number = line.number;
            let room = LINE_BYTES_MAX - line.bytes.min(LINE_BYTES_MAX - 1);
            let end = rest.iter().position(|byte| ends_line(*byte)).map(|end| end + 1);
            let length = end.unwrap_or(rest.len()).min(room);
            let (piece, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            for byte in piece {
                if let Symbol::Printable(byte) = self.typed.take(*byte) {
                    line.typed(byte);
                }
            }
            line.bytes += piece.len();
            line.full_screen = self.full_screen;
            let ends = length == room || end == Some(length);
            if ends {
                let enter = piece.last().is_some_and(|byte| is_enter(*byte));
                line.at_once = enter && line.call == calls;
                line.end(enter);
                self.end();
            }
            pieces.push(Piece { line: number, bytes: piece, ends });
            rest = behind;
        }
        pieces
    }

    /// Looks at output of the target, as it goes by. Yields the verdicts that it brings.
    pub fn output(&mut self, bytes: &[u8]) -> Vec<LineVerdict> {
        self.decide();
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            if self.is_idle() {
                // Nothing to look for: only what changes the screen matters.
                self.shown.forget();
                self.line_feed_taken = false;
                self.skim(rest);
                break;
            }
            rest = behind;
            match self.output.take(byte) {
                Symbol::Printable(byte) => self.shown(byte),
                Symbol::Control(b'\n') => self.line_feed(),
                Symbol::Control(b'\r' | 0x08) | Symbol::Move => self.stop(),
                Symbol::Screen(full) => self.full_screen = full,
                Symbol::Control(_) | Symbol::Nothing => {}
            }
            self.ended.iter_mut().for_each(Line::one_byte_shown);
            self.current.iter_mut().for_each(Line::one_byte_shown);
            self.decide();
        }
        std::mem::take(&mut self.verdicts)
    }

    /// The terminal is over: the verdicts that are missing.
    pub fn finish(&mut self) -> Vec<LineVerdict> {
        self.current.iter_mut().for_each(|line| line.end(false));
        self.end();
        self.ended.iter_mut().for_each(|line| line.decided = true);
        self.decide();
        std::mem::take(&mut self.verdicts)
    }

    /// How many lines with text were silent in a row, up to the last verdict. Lines for a program
    /// that uses the whole screen do not count.
    pub fn silent_run(&self) -> u32 {
        self.silent_run
    }

    /// The line that was being typed waits for its verdict.
    fn end(&mut self) {
        let Some(line) = self.current.take() else { return };
        self.next = line.number + 1;
        self.ended.push_back(line);
        if self.ended.len() > WAITING_LINES_MAX
            && let Some(oldest) = self.ended.iter_mut().find(|line| !line.decided)
        {
            oldest.decided = true;
        }
        self.decide();
    }

    /// Takes the verdicts that stand, in order.
    fn decide(&mut self) {
        while let Some(line) = self.ended.pop_front_if(|line| line.is_decided()) {
            let (echoed, typed_bytes) = (line.was_echoed(), line.typed_bytes());
            let full_screen = line.full_screen;
            if self.verdicts.len() < VERDICTS_MAX {
                let line = line.number;
                self.verdicts.push(LineVerdict { line, echoed, typed_bytes, full_screen });
            }
            self.line_feed_taken |= line.by_enter && !line.by_line_feed;
            self.count(&line);
        }
    }

    /// Counts silent lines in a row. What was typed up to one Enter counts once, and not where
    /// any of it was echoed.
    fn count(&mut self, line: &Line) {
        let text = line.typed_bytes() > 0;
        if text && line.was_echoed() {
            self.silent_run = 0;
            self.silent_text = Some(false);
        } else if text && !line.full_screen && self.silent_text.is_none() {
            self.silent_text = Some(true);
        }
        if line.by_enter && self.silent_text.take() == Some(true) {
            self.silent_run = self.silent_run.saturating_add(1);
        }
    }

    fn is_idle(&self) -> bool {
        self.ended.is_empty() && self.current.as_ref().is_none_or(Line::awaits_nothing)
    }

    /// Goes over output in which nothing is looked for.
    fn skim(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.output.is_in_text() {
                let Some(escape) = memchr::memchr(escape::ESCAPE, rest) else { return };
                rest = rest.get(escape..).unwrap_or_default();
            }
            let Some((&byte, behind)) = rest.split_first() else { return };
            rest = behind;
            if let Symbol::Screen(full) = self.output.take(byte) {
                self.full_screen = full;
            }
        }
    }

    /// A printable character was shown.
    fn shown(&mut self, byte: u8) {
        self.line_feed_taken = false;
        let mut taken = None;
        let lines = self.ended.iter_mut().chain(&mut self.current);
        for (place, line) in lines.enumerate() {
            if line.decided {
                continue;
            }
            if line.take(byte, &self.shown) {
                taken = Some((place, line.has_enough()));
                break;
            }
            line.miss(byte);
        }
        if let Some((place, true)) = taken {
            self.ended.iter_mut().take(place).for_each(|line| line.decided = true);
        }
        self.shown.push(byte);
    }

    /// The cursor moved: what was shown before ends here.
    fn stop(&mut self) {
        let shown = &self.shown;
        let found = self.ended.iter().position(|line| line.is_shown_at_end_of(shown));
        if let Some(place) = found {
            self.ended.iter_mut().take(place + 1).for_each(|line| line.decided = true);
            self.ended.get_mut(place).into_iter().for_each(Line::all_shown);
        }
        self.ended.iter_mut().for_each(Line::stop);
        self.decide();
    }

    /// The output went on to the next line.
    fn line_feed(&mut self) {
        self.stop();
        let taken = std::mem::take(&mut self.line_feed_taken);
        if !taken && let Some(line) = self.ended.iter_mut().find(|line| !line.is_decided()) {
            line.decide_at_line_feed();
        }
        self.ended.iter_mut().chain(&mut self.current).for_each(Line::line_feed);
        self.shown.forget();
    }
}

fn is_enter(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn ends_line(byte: u8) -> bool {
    is_enter(byte) || matches!(byte, 0x03 | 0x04 | 0x1a | 0x1c)
}
