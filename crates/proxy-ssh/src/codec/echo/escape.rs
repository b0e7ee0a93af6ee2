//! Leaves out of a terminal's bytes what is not text.
//!
//! Source: ECMA-48 sections 5.3 to 5.6 and 8.3; for the private modes, xterm's "Control
//! Sequences".

/// The byte that begins a sequence.
pub(super) const ESCAPE: u8 = 0x1b;

/// The longest string of a terminal (a title, a reply) that is left out, in bytes. What is longer
/// is taken for text from there on.
const STRING_BYTES_MAX: usize = 4096;

/// What a byte is, once the sequences around it are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    /// A byte of a printable character, not a space.
    Printable(u8),
    /// A control character, or a space.
    Control(u8),
    /// The end of a sequence that shows (`true`) or leaves the alternate screen.
    Screen(bool),
    /// The end of a sequence that moves the cursor, or erases from it on.
    Move,
    /// Part of a sequence.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Inside {
    #[default]
    Text,
    /// Behind ESC.
    Escape,
    /// In a sequence with one more byte.
    OneMore,
    /// In a control sequence: its private mode, if it is one and holds one number.
    Control(Mode),
    /// In a string, this many bytes long so far.
    String(usize),
    /// Behind ESC in a string.
    StringEscape(usize),
}

/// The parameter of a control sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing yet.
    Start,
    /// A private mode, by number.
    Private { number: u32, screen: bool },
    /// Anything else.
    Other,
}

impl Mode {
    /// One more byte of the parameters. A sequence may set several modes.
    fn with(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Start, b'?') => Self::Private { number: 0, screen: false },
            (Self::Private { number, screen }, b'0'..=b'9') => {
                let number = number.saturating_mul(10).saturating_add(u32::from(byte - b'0'));
                Self::Private { number, screen }
            }
            (Self::Private { .. }, b';') => Self::Private { number: 0, screen: self.is_screen() },
            _ => Self::Other,
        }
    }

    fn is_screen(self) -> bool {
        match self {
            Self::Private { number, screen } => screen || matches!(number, 47 | 1047 | 1049),
            Self::Start | Self::Other => false,
        }
    }
}

/// Leaves out of a terminal's bytes what is not text.
#[derive(Debug, Default)]
pub(super) struct Stripper {
    inside: Inside,
}

impl Stripper {
    /// Whether the next byte is text, unless it is ESC.
    pub(super) fn is_in_text(&self) -> bool {
        self.inside == Inside::Text
    }

    /// No more bytes come with the last key: an ESC at the end was the key itself.
    pub(super) fn end_of_keys(&mut self) {
        if self.inside == Inside::Escape {
            self.inside = Inside::Text;
        }
    }

    /// Takes the next byte.
    pub(super) fn take(&mut self, byte: u8) -> Symbol {
        match self.inside {
            Inside::Text => self.text(byte),
            Inside::Escape => self.escape(byte),
            Inside::OneMore => {
                self.inside = Inside::Text;
                if is_control(byte) { self.text(byte) } else { Symbol::Nothing }
            }
            Inside::Control(mode) => match byte {
                b' '..=b'?' => {
                    self.inside = Inside::Control(mode.with(byte));
                    Symbol::Nothing
                }
                b'@'..=b'~' => {
                    self.inside = Inside::Text;
                    match (mode.is_screen(), byte) {
                        (true, b'h') => Symbol::Screen(true),
                        (true, b'l') => Symbol::Screen(false),
                        (false, b'A'..=b'H' | b'J' | b'K' | b'd' | b'f') => Symbol::Move,
                        _ => Symbol::Nothing,
                    }
                }
                _ => self.text(byte),
            },
            Inside::String(length) => self.string(byte, length),
            Inside::StringEscape(_) if byte == b'\\' => {
                self.inside = Inside::Text;
                Symbol::Nothing
            }
            Inside::StringEscape(_) => self.escape(byte),
        }
    }

    fn text(&mut self, byte: u8) -> Symbol {
        self.inside = if byte == ESCAPE { Inside::Escape } else { Inside::Text };
        match byte {
            ESCAPE => Symbol::Nothing,
            b' ' => Symbol::Control(byte),
            _ if is_control(byte) => Symbol::Control(byte),
            _ => Symbol::Printable(byte),
        }
    }

    fn escape(&mut self, byte: u8) -> Symbol {
        self.inside = match byte {
            b'[' => Inside::Control(Mode::Start),
            b']' | b'P' | b'_' | b'^' | b'X' => Inside::String(0),
            // A character set, or the single shift of function keys.
            b' '..=b'/' | b'N' | b'O' => Inside::OneMore,
            _ if is_control(byte) => return self.text(byte),
            _ => Inside::Text,
        };
        Symbol::Nothing
    }

    fn string(&mut self, byte: u8, length: usize) -> Symbol {
        match byte {
            // BEL ends it, too; CAN and SUB break it off; so does Enter, where somebody typed
            // what looks like the beginning of one.
            0x07 | 0x18 | 0x1a => self.inside = Inside::Text,
            b'\r' | b'\n' => return self.text(byte),
            ESCAPE => self.inside = Inside::StringEscape(length),
            _ if length >= STRING_BYTES_MAX => return self.text(byte),
            _ => self.inside = Inside::String(length + 1),
        }
        Symbol::Nothing
    }
}

fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut stripper = Stripper::default();
        let symbols = bytes.iter().map(|byte| stripper.take(*byte));
        let text = symbols.filter_map(|symbol| match symbol {
            Symbol::Printable(byte) => Some(char::from(byte)),
            Symbol::Control(b'\r') => Some('~'),
            Symbol::Screen(full) => Some(if full { '+' } else { '-' }),
            Symbol::Move => Some('<'),
            _ => None,
        });
        text.collect()
    }

    #[test]
    fn what_is_not_text_is_left_out() {
        assert_eq!(text(b"\x1b[1;32ma\x1b[0m b\x08\x7f"), "ab");
        assert_eq!(text(b"\x1b]0;title\x07a\x1b]8;;url\x1b\\b\x1bPq#0\x1b\\c"), "abc");
        assert_eq!(text(b"\x1b(Ba\x1bOAb\x1bbc\x1b=d"), "abcd");
        assert_eq!(text(b"\x1b[200~pasted\x1b[201~"), "pasted");
        assert_eq!(text(b"\x1b[?1049h\x1b[?25;1049la\x1b[?104h\x1b[1049h"), "+-a");
        assert_eq!(text(b"a\x1b[12Db\x1b[Kc\x1b[?25hd"), "a<b<cd");
        assert_eq!(text(b"\x1b]0;typed\ra"), "~a");
        assert_eq!(text(b"\x1b[12\ra"), "~a");
        assert_eq!(text(b"\x1b]0;\x1b[1ma"), "a");
    }

    #[test]
    fn a_string_without_end_does_not_swallow_everything() {
        let mut bytes = b"\x1b]".to_vec();
        bytes.resize(STRING_BYTES_MAX + 2, b'x');
        bytes.extend_from_slice(b"seen");
        assert_eq!(text(&bytes), "seen");
    }
}
