//! The terminal that a recording was made in, in memory. What is drawn of it are letters, colours
//! and moves of the cursor: nothing of a recording reaches the reader's terminal by itself, so it
//! can neither read a clipboard nor set one, neither ask the terminal for something nor type.

use std::num::NonZeroU16;

/// The largest terminal that is played, in columns and rows.
const COLUMNS_MAX: u32 = 1_000;
const ROWS_MAX: u32 = 500;
/// Where nothing is known of it.
pub(in crate::commands) const SIZE_DEFAULT: (u32, u32) = (80, 24);

/// A terminal in memory.
pub(in crate::commands) struct Screen {
    parser: vt100::Parser,
    /// Whether a line feed goes to the beginning of a line too: there was no terminal to do it.
    bare_lines: bool,
}

fn bounded(size: (u32, u32)) -> (NonZeroU16, NonZeroU16) {
    let within = |number: u32, max: u32| {
        let number = u16::try_from(number.clamp(1, max)).unwrap_or(1);
        NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN)
    };
    (within(size.0, COLUMNS_MAX), within(size.1, ROWS_MAX))
}

impl Screen {
    /// An empty one of so many columns and rows. Without a terminal, lines end with a line feed.
    pub(in crate::commands) fn new(size: (u32, u32), terminal: bool) -> Self {
        let (columns, rows) = bounded(size);
        Self { parser: vt100::Parser::new(rows, columns, 0), bare_lines: !terminal }
    }

    /// Takes output.
    pub(in crate::commands) fn feed(&mut self, bytes: &[u8]) {
        if !self.bare_lines {
            return self.parser.process(bytes);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.split_last() {
                Some((b'\n', before)) => {
                    self.parser.process(before);
                    self.parser.process(b"\r\n");
                }
                _ => self.parser.process(line),
            }
        }
    }

    /// Takes another size.
    pub(in crate::commands) fn resize(&mut self, size: (u32, u32)) {
        let (columns, rows) = bounded(size);
        self.parser.set_size(rows, columns);
    }

    /// Columns and rows.
    pub(in crate::commands) fn size(&self) -> (u16, u16) {
        let (rows, columns) = self.parser.screen().size();
        (columns.get(), rows.get())
    }

    /// The rows as a terminal `columns` wide shows them, each to be written at its beginning.
    pub(in crate::commands) fn rows(&self, columns: u16, color: bool) -> Vec<String> {
        let rows = self.parser.screen().rows_formatted(0, columns.min(self.size().0));
        rows.map(|row| tame(&row, color)).collect()
    }

    /// Column and row of the cursor, from 0; none while it is hidden.
    pub(in crate::commands) fn cursor(&self) -> Option<(u16, u16)> {
        let (row, column) = self.parser.screen().cursor_position();
        (!self.parser.screen().hide_cursor()).then_some((column, row))
    }

    /// What stands on it, lower case.
    pub(in crate::commands) fn text(&self) -> String {
        self.parser.screen().contents().to_lowercase()
    }

    /// Everything that is seen of it.
    pub(super) fn snapshot(&self) -> vt100::Screen {
        self.parser.screen().clone()
    }

    /// As it was then.
    pub(super) fn restore(&mut self, seen: &vt100::Screen) {
        let (rows, columns) = seen.size();
        // A new one, so that no half of a sequence is left over.
        self.parser = vt100::Parser::new(rows, columns, 0);
        *self.parser.screen_mut() = seen.clone();
    }
}

/// A row with nothing in it but letters, and sequences that colour or move within the screen.
fn tame(row: &str, color: bool) -> String {
    let mut tamed = String::with_capacity(row.len());
    let mut letters = row.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\u{1b}' {
            if !crate::text::is_command(letter) {
                tamed.push(letter);
            }
            continue;
        }
        if letters.next_if_eq(&'[').is_none() {
            continue;
        }
        let mut sequence = String::from("\u{1b}[");
        while let Some(parameter) = letters.next_if(|one| matches!(one, '0'..='9' | ';' | ':')) {
            sequence.push(parameter);
        }
        // Colours; to a column or place; right; erase.
        if let Some(end) = letters.next_if(|one| matches!(one, 'm' | 'G' | 'H' | 'C' | 'X' | 'K'))
            && (color || end != 'm')
        {
            sequence.push(end);
            tamed.push_str(&sequence);
        }
    }
    tamed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> Vec<String> {
        let mut screen = Screen::new((40, 3), true);
        screen.feed(bytes);
        screen.rows(40, true)
    }

    /// What a terminal would obey in these rows.
    fn sequences(rows: &[String]) -> Vec<String> {
        let all = rows.concat();
        let mut found = Vec::new();
        for part in all.split('\u{1b}').skip(1) {
            let end = part.char_indices().find(|(at, one)| *at > 0 && one.is_ascii_alphabetic());
            found.push(part[..end.map_or(part.len(), |(at, _)| at + 1)].to_owned());
        }
        found
    }

    #[test]
    fn what_would_act_on_the_readers_terminal_does_not_reach_it() {
        let attacks: [&[u8]; 16] = [
            b"\x1b]52;c;aGVsbG8=\x07",            // sets the clipboard
            b"\x1b]52;c;?\x07",                   // reads it
            b"\x1b]0;title\x07\x1b[21t",          // title, and the terminal types it
            b"\x1b[c\x1b[>c\x1b[=c\x1b[0c",       // device attributes
            b"\x1b[5n\x1b[6n\x1b[?6n",            // status, position of the cursor
            b"\x1bP+q544e\x1b\\",                 // DCS: termcap query
            b"\x1bP$qm\x1b\\",                    // DCS: DECRQSS
            b"\x1bP1;1|17/6c73\x1b\\",            // DCS: user-defined keys
            b"\x1b]10;?\x07\x1b]11;?\x07\x1b]4;1;?\x07", // colours are asked for
            b"\x1b[?1000h\x1b[?1006h\x1b[?2004h", // mouse, bracketed paste
            b"\x1b[?1049h\x1b[20t\x1b[14t\x1b[18t", // reports of the window
            b"\x1b]8;;http://x\x07link\x1b]8;;\x07", // a hidden link
            b"\x1b]1337;File=:AAAA\x07\x1b_Gi=1;\x1b\\", // files, images
            b"\x1b]777;notify;a;b\x07\x1b]9;x\x07", // notifications
            b"\xc2\x9b6n\xc2\x9d52;c;?\xc2\x9c\xc2\x90q\xc2\x9c", // the same in C1
            b"\x1bc\x1b(0\x0e\x05\x07\x1b#8",     // reset, charsets, answerback, bell
        ];
        for attack in attacks {
            for ends in [b"".as_slice(), b"seen"] {
                let rows = shown(&[attack, ends].concat());
                for sequence in sequences(&rows) {
                    let end = sequence.chars().last().unwrap();
                    let known = sequence.starts_with('[') && "mGHCXK".contains(end);
                    assert!(known, "{attack:?}: {sequence:?}");
                }
                let control = |one: char| one.is_control() && one != '\u{1b}';
                assert!(!rows.concat().contains(control), "{attack:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_was_recorded_only_letters_colours_and_moves_are_drawn(
            bytes in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::any::<u8>(),
                    proptest::sample::select(b"\x1b\x1b[]PX^_;?0129cnthlmq\\\x07\x9b\x9d".to_vec()),
                ],
                0..400,
            ),
            cut in 0..400usize,
        ) {
            let mut screen = Screen::new((20, 4), true);
            let cut = cut.min(bytes.len());
            screen.feed(&bytes[..cut]);
            screen.resize((13, 6));
            screen.feed(&bytes[cut..]);
            let rows = screen.rows(9, true);
            for sequence in sequences(&rows) {
                let end = sequence.chars().last().unwrap();
                proptest::prop_assert!(sequence.starts_with('[') && "mGHCXK".contains(end));
            }
        }
    }

    #[test]
    fn colours_and_places_are_kept_and_left_out_where_nobody_wants_them() {
        let mut screen = Screen::new((20, 2), true);
        screen.feed(b"\x1b[31mred\x1b[0m\x1b[2;3Hx");
        let rows = screen.rows(20, true);
        assert!(rows[0].contains("\u{1b}[31mred"), "{rows:?}");
        assert_eq!(screen.cursor(), Some((3, 1)));
        assert!(!screen.rows(20, false)[0].contains("[31m"));
        assert_eq!(screen.text().trim_end(), "red\n  x");
    }

    #[test]
    fn without_a_terminal_lines_begin_at_the_left() {
        let mut screen = Screen::new((20, 3), false);
        screen.feed(b"one\ntwo\n");
        assert_eq!(screen.text().trim_end(), "one\ntwo");
        let mut screen = Screen::new((20, 3), true);
        screen.feed(b"one\ntwo");
        assert_eq!(screen.text().trim_end(), "one\n   two");
    }

    #[test]
    fn a_size_is_bounded_and_a_snapshot_comes_back() {
        let mut screen = Screen::new((u32::MAX, 0), true);
        assert_eq!(screen.size(), (1_000, 1));
        screen.resize((10, 4));
        screen.feed(b"kept");
        let seen = screen.snapshot();
        screen.feed(b"\x1b[2Jgone\x1b[");
        screen.restore(&seen);
        screen.feed(b"2J");
        assert_eq!(screen.text().trim_end(), "kept2j");
    }
}
