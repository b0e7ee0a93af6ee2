//! The reader's terminal: keys as they are pressed, and a screen that is drawn row by row. It is
//! as it was when this is dropped, whatever happens.

use crate::fail::{Done, Fail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// A key that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// What prints.
    Letter(char),
    /// Arrow to the right; whether with shift.
    Right(bool),
    /// Arrow to the left; whether with shift.
    Left(bool),
    /// To the beginning.
    Home,
    /// To the end.
    End,
    /// The Enter key.
    Enter,
    /// The key that takes a letter back.
    Backspace,
    /// The Escape key.
    Escape,
    /// Interrupt, or the end of the input.
    Interrupt,
}

/// Reads keys from what a terminal sends.
pub(super) fn keys(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    const SEQUENCES: [(&[u8], Key); 12] = [
        (b"\x1b[C", Key::Right(false)),
        (b"\x1b[D", Key::Left(false)),
        (b"\x1bOC", Key::Right(false)),
        (b"\x1bOD", Key::Left(false)),
        (b"\x1b[1;2C", Key::Right(true)),
        (b"\x1b[1;2D", Key::Left(true)),
        (b"\x1b[H", Key::Home),
        (b"\x1b[F", Key::End),
        (b"\x1bOH", Key::Home),
        (b"\x1bOF", Key::End),
        (b"\x1b[1~", Key::Home),
        (b"\x1b[4~", Key::End),
    ];
    'keys: while let Some((first, behind)) = rest.split_first() {
        for (sequence, key) in SEQUENCES {
            if let Some(behind) = rest.strip_prefix(sequence) {
                keys.push(key);
                rest = behind;
                continue 'keys;
            }
        }
        if *first == 0x1b {
            // A sequence that means nothing here is passed over.
            let introduced = behind.first().is_some_and(|next| matches!(next, b'[' | b'O'));
            let end = behind.iter().skip(1).position(|one| (0x40..=0x7e).contains(one));
            match end.filter(|_| introduced) {
                Some(end) => rest = behind.get(end + 2..).unwrap_or_default(),
                None => {
                    keys.push(Key::Escape);
                    rest = behind;
                }
            }
            continue;
        }
        let text = valid_start(rest);
        let Some(letter) = text.chars().next() else {
            rest = behind;
            continue;
        };
        keys.push(match letter {
            '\r' | '\n' => Key::Enter,
            '\u{7f}' | '\u{8}' => Key::Backspace,
            '\u{3}' | '\u{4}' => Key::Interrupt,
            other => Key::Letter(other),
        });
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
    }
    keys
}

fn valid_start(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => bytes
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok())
            .unwrap_or_default(),
    }
}

/// What is to be seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    /// The rows from the top.
    pub(super) rows: Vec<String>,
    /// What is said about it, in the last rows.
    pub(super) foot: Vec<String>,
    /// Column and row of the cursor.
    pub(super) cursor: Option<(u16, u16)>,
}

/// The reader's terminal.
pub(super) struct Terminal {
    before: Option<Termios>,
    drawn: Picture,
    size: (u16, u16),
}

impl Terminal {
    /// Takes the terminal on standard output; keys are read where standard input is one too.
    pub(super) fn take() -> Done<Self> {
        let failed = |error| Fail::new(format!("the terminal cannot be used: {error}"));
        let mut before = None;
        if std::io::stdin().is_terminal() {
            let modes = tcgetattr(rustix::stdio::stdin()).map_err(failed)?;
            let mut raw = modes.clone();
            raw.make_raw();
            tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).map_err(failed)?;
            before = Some(modes);
        }
        let terminal = Self { before, drawn: Picture::default(), size: (0, 0) };
        // Another screen, so that what stood here comes back.
        terminal.write("\u{1b}[?1049h\u{1b}[2J")?;
        Ok(terminal)
    }

    /// Whether keys can be read.
    pub(super) fn has_keys(&self) -> bool {
        self.before.is_some()
    }

    /// Columns and rows.
    pub(super) fn size() -> (u16, u16) {
        let size = tcgetwinsize(rustix::stdio::stdout()).ok();
        let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| (size.ws_col, size.ws_row))
    }

    /// Waits for keys, at most so long.
    pub(super) fn keys(&self, wait: Duration) -> Vec<Key> {
        if !self.has_keys() {
            std::thread::sleep(wait);
            return Vec::new();
        }
        let stdin = rustix::stdio::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        let wait = Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        if poll(&mut ready, Some(&wait)).unwrap_or(0) == 0 {
            return Vec::new();
        }
        let mut bytes = [0; 256];
        match rustix::io::read(stdin, &mut bytes) {
            Ok(0) => vec![Key::Interrupt],
            Ok(read) => keys(bytes.get(..read).unwrap_or_default()),
            Err(rustix::io::Errno::INTR) => Vec::new(),
            Err(_) => vec![Key::Interrupt],
        }
    }

    /// Draws what is different from what was drawn before.
    pub(super) fn draw(&mut self, picture: Picture) -> Done {
        let size = Self::size();
        let mut text = String::new();
        if size != self.size {
            text.push_str("\u{1b}[0m\u{1b}[2J");
            self.drawn = Picture::default();
            self.size = size;
        }
        text.push_str(&changes(&self.drawn, &picture, size));
        if !text.is_empty() {
            self.write(&text)?;
        }
        self.drawn = picture;
        Ok(())
    }

    fn write(&self, text: &str) -> Done {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|_| Fail::reader_gone())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nobody left to tell when this fails.
        let _ = self.write("\u{1b}[0m\u{1b}[?25h\u{1b}[?1049l");
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// What makes a terminal of this size show the second picture after the first.
fn changes(drawn: &Picture, picture: &Picture, (_, height): (u16, u16)) -> String {
    let mut text = String::new();
    let foot = u16::try_from(picture.foot.len()).unwrap_or(height).min(height);
    let room = usize::from(height - foot);
    let rows = picture.rows.len().max(drawn.rows.len()).min(room);
    for row in 0..rows {
        let (old, new) = (drawn.rows.get(row), picture.rows.get(row));
        if old != new {
            let new = new.map_or("", String::as_str);
            let _ = write!(text, "\u{1b}[{};1H\u{1b}[0m\u{1b}[2K{new}", row + 1);
        }
    }
    for (place, line) in picture.foot.iter().enumerate() {
        if drawn.foot.get(place) != Some(line) {
            let row = room + place + 1;
            let _ = write!(text, "\u{1b}[{row};1H\u{1b}[0m\u{1b}[2K{line}");
        }
    }
    if text.is_empty() && drawn.cursor == picture.cursor {
        return text;
    }
    text.push_str("\u{1b}[0m");
    match picture.cursor.filter(|(_, row)| usize::from(*row) < room) {
        Some((column, row)) => {
            let _ = write!(text, "\u{1b}[{};{}H\u{1b}[?25h", row + 1, column + 1);
        }
        None => text.push_str("\u{1b}[?25l"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_what_means_nothing_is_passed_over() {
        assert_eq!(
            keys(b" q\x1b[C\x1b[1;2D\x1b[A\x1b[15~\r\x7f\x03"),
            [
                Key::Letter(' '),
                Key::Letter('q'),
                Key::Right(false),
                Key::Left(true),
                Key::Enter,
                Key::Backspace,
                Key::Interrupt,
            ]
        );
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys("\u{e4}\u{6f22}".as_bytes()), [Key::Letter('ä'), Key::Letter('漢')]);
        assert_eq!(keys(b"\xff\xfea"), [Key::Letter('a')]);
    }

    #[test]
    fn only_what_changed_is_drawn() {
        let picture = |rows: &[&str], cursor| Picture {
            rows: rows.iter().map(|row| (*row).to_owned()).collect(),
            foot: vec!["foot".to_owned()],
            cursor,
        };
        let one = picture(&["a", "b"], Some((1, 0)));
        let all = changes(&Picture::default(), &one, (80, 4));
        assert_eq!(
            all,
            "\u{1b}[1;1H\u{1b}[0m\u{1b}[2Ka\u{1b}[2;1H\u{1b}[0m\u{1b}[2Kb\u{1b}[4;1H\u{1b}[0m\u{1b}[2Kfoot\
             \u{1b}[0m\u{1b}[1;2H\u{1b}[?25h"
        );
        assert_eq!(changes(&one, &one, (80, 4)), "");
        let two = picture(&["a"], None);
        assert_eq!(
            changes(&one, &two, (80, 4)),
            "\u{1b}[2;1H\u{1b}[0m\u{1b}[2K\u{1b}[0m\u{1b}[?25l"
        );
        let low = changes(&Picture::default(), &one, (80, 2));
        assert!(!low.contains("Kb"), "the foot has its room");
    }
}
