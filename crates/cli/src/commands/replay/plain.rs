//! Output as text alone: control sequences are removed, and a line reads as it stood there when
//! it was left.

use std::fmt::Write;

/// A line is at most this long, in letters; what is longer goes on in the next one.
const LINE_LETTERS_MAX: usize = 16 << 10;
/// Columns between tabulators.
const TAB: usize = 8;

/// Makes text of output, piece by piece.
pub(in crate::commands) struct Plain {
    parser: vte::Parser,
    page: Page,
}

#[derive(Default)]
struct Page {
    line: Vec<char>,
    at: usize,
    done: String,
}

impl Plain {
    pub(in crate::commands) fn new() -> Self {
        Self { parser: vte::Parser::new(), page: Page::default() }
    }

    /// Takes output; gives the lines that are whole now.
    pub(in crate::commands) fn feed(&mut self, bytes: &[u8]) -> String {
        self.parser.advance(&mut self.page, bytes);
        std::mem::take(&mut self.page.done)
    }

    /// The last line, where it did not end.
    pub(in crate::commands) fn end(&mut self) -> String {
        if !self.page.line.is_empty() {
            self.page.line_feed();
        }
        std::mem::take(&mut self.page.done)
    }
}

impl Page {
    fn line_feed(&mut self) {
        let line: String = self.line.iter().collect();
        // There is nobody left to tell when this fails, and it does not.
        let _ = writeln!(self.done, "{}", line.trim_end());
        self.line.clear();
        self.at = 0;
    }

    fn put(&mut self, letter: char) {
        if self.at >= LINE_LETTERS_MAX {
            self.line_feed();
        }
        if self.line.len() <= self.at {
            self.line.resize(self.at + 1, ' ');
        }
        if let Some(place) = self.line.get_mut(self.at) {
            *place = letter;
        }
        self.at += 1;
    }

    fn go(&mut self, at: usize) {
        self.at = at.min(LINE_LETTERS_MAX);
    }
}

impl vte::Perform for Page {
    fn print(&mut self, letter: char) {
        if !crate::text::is_command(letter) {
            self.put(letter);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' | 0x0b | 0x0c => self.line_feed(),
            b'\r' => self.at = 0,
            b'\t' => self.go((self.at / TAB + 1) * TAB),
            0x08 => self.at = self.at.saturating_sub(1),
            _ => {}
        }
    }

    fn csi_dispatch(
        &mut self,
        parameters: &vte::Params,
        intermediates: &[u8],
        ignore: bool,
        action: char,
    ) {
        if ignore || !intermediates.is_empty() {
            return;
        }
        let first = parameters.iter().next().and_then(|values| values.first()).copied();
        let first = usize::from(first.unwrap_or(0));
        let count = first.max(1);
        match action {
            'K' if first == 0 => self.line.truncate(self.at),
            'K' if first == 2 => self.line.clear(),
            'C' => self.go(self.at.saturating_add(count)),
            'D' => self.at = self.at.saturating_sub(count),
            'G' => self.go(count - 1),
            'P' if self.at < self.line.len() => {
                let end = self.at.saturating_add(count).min(self.line.len());
                self.line.drain(self.at..end);
            }
            '@' if self.at < self.line.len() => {
                let blanks = std::iter::repeat_n(' ', count.min(LINE_LETTERS_MAX));
                self.line.splice(self.at..self.at, blanks);
                self.line.truncate(LINE_LETTERS_MAX);
            }
            // Somewhere else on the screen: what stood here was left.
            'H' | 'f' | 'J' | 'A' | 'B' | 'E' | 'F' | 'd' if !self.line.is_empty() => {
                self.line_feed();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: &[u8]) -> String {
        let mut plain = Plain::new();
        let mut text = String::new();
        // One byte at a time is the worst that can come.
        for byte in bytes {
            text.push_str(&plain.feed(&[*byte]));
        }
        text.push_str(&plain.end());
        text
    }

    #[test]
    fn lines_read_as_they_stood_when_they_were_left() {
        assert_eq!(plain(b"one\r\ntwo\n"), "one\ntwo\n");
        assert_eq!(plain(b"10%\r100%\r\n"), "100%\n", "a line that is written over");
        assert_eq!(plain(b"lx\x08 \x08s\r\n"), "ls\n", "a letter taken back");
        assert_eq!(plain(b"long line\r\x1b[Kshort\n"), "short\n");
        assert_eq!(plain(b"a\tb\n"), "a       b\n");
        assert_eq!(plain("gr\u{fc}n 漢字".as_bytes()), "gr\u{fc}n 漢字\n");
        assert_eq!(plain(b"abc\x1b[2D\x1b[@X\n"), "aXbc\n");
        assert_eq!(plain(b"abcd\x1b[3D\x1b[2P\n"), "ad\n");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let text = plain(
            b"\x1b]0;title\x07\x1b[31mred\x1b[0m \x1b]52;c;?\x07\x1bPq\x1b\\x\x1b[?1049h\x07\n\xff\xc2\x9b2J.\n",
        );
        assert_eq!(text, "red x\n\u{fffd}.\n");
        assert_eq!(plain("a\u{202e}b\n".as_bytes()), "ab\n");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_become_lines_without_commands(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)
        ) {
            let text = plain(&bytes);
            proptest::prop_assert!(!text.contains(|one: char| one.is_control() && one != '\n'));
        }
    }
}
