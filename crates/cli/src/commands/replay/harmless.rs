//! Output for other players, without what would act on the terminal that they play it in beyond
//! its screen. What a screen needs stands in a list and passes: letters, colours, moves, erasing,
//! scrolling, margins, character sets, the modes of the screen. Whatever stands in none does not:
//! strings (titles, clipboard, links, images, device control), questions that a terminal answers by
//! typing, printing, and the modes of keyboard, mouse, focus and pasting.

/// A sequence is at most this long, in bytes; what is longer is none that a screen needs.
const SEQUENCE_BYTES_MAX: usize = 128;

/// Passes output on, piece by piece.
#[derive(Default)]
pub(super) struct Harmless {
    state: State,
    /// The sequence so far.
    held: Vec<u8>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// Behind 0xC2: U+0080 to U+009F are controls of one letter.
    Wide,
    Escape,
    /// Behind ESC and what selects a character set, and the like.
    Selecting,
    Control,
    /// In a string, which ends with BEL or ST.
    Text,
    TextEscape,
    TextWide,
}

impl Harmless {
    /// Takes output and gives what may be passed on.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.take(*byte, &mut passed);
        }
        passed
    }

    fn take(&mut self, byte: u8, passed: &mut Vec<u8>) {
        match (self.state, byte) {
            // These break off whatever was begun.
            (_, 0x18 | 0x1a) => self.begin(State::Ground),
            (State::Text, 0x1b) => self.state = State::TextEscape,
            (State::Text, 0xc2) => self.state = State::TextWide,
            (State::Text, 0x07) => self.state = State::Ground,
            (State::Text, _) => {}
            (State::TextEscape, b'\\') | (State::TextWide, 0x9c) => self.state = State::Ground,
            (State::TextWide, _) => self.state = State::Text,
            (State::TextEscape, _) => {
                self.begin(State::Escape);
                self.take(byte, passed);
            }
            (_, 0x1b) => self.begin(State::Escape),
            (State::Wide, 0x9b) => self.begin(State::Control),
            (State::Wide, 0x90 | 0x98 | 0x9d..=0x9f) => self.state = State::Text,
            (State::Wide, 0x80..=0x9f) => self.state = State::Ground,
            (State::Wide, 0xa0..) => {
                self.state = State::Ground;
                passed.extend_from_slice(&[0xc2, byte]);
            }
            // No letter: the byte before stands for nothing.
            (State::Wide, _) => {
                self.state = State::Ground;
                self.take(byte, passed);
            }
            // A control in the middle of a sequence acts, and the sequence goes on.
            (_, 0..=0x1f | 0x7f) => {
                if is_control_of_screen(byte) {
                    passed.push(byte);
                }
            }
            (State::Ground, 0xc2) => self.state = State::Wide,
            (State::Ground, _) => passed.push(byte),
            (State::Escape, b'[') => self.begin(State::Control),
            (State::Escape, b'P' | b'X' | b']' | b'^' | b'_') => self.state = State::Text,
            (State::Escape | State::Selecting, 0x20..=0x2f) => {
                self.state = State::Selecting;
                self.hold(byte);
            }
            (State::Escape | State::Selecting, 0x30..=0x7e) => {
                if is_escape_of_screen(&self.held, byte) {
                    passed.push(0x1b);
                    passed.append(&mut self.held);
                    passed.push(byte);
                }
                self.begin(State::Ground);
            }
            (State::Control, 0x40..=0x7e) => {
                if let Some(parameters) = Sequence::of(&self.held, byte).and_then(of_screen) {
                    passed.extend_from_slice(b"\x1b[");
                    passed.extend_from_slice(&parameters);
                    passed.push(byte);
                }
                self.begin(State::Ground);
            }
            (State::Control, 0x20..=0x3f) => self.hold(byte),
            // A letter breaks a sequence off.
            (State::Escape | State::Selecting | State::Control, _) => {
                self.begin(State::Ground);
                self.take(byte, passed);
            }
        }
    }

    fn begin(&mut self, state: State) {
        self.held.clear();
        self.state = state;
    }

    fn hold(&mut self, byte: u8) {
        if self.held.len() < SEQUENCE_BYTES_MAX {
            self.held.push(byte);
        } else {
            self.begin(State::Ground);
        }
    }
}

/// Bell, backspace, tab, line feeds, carriage return, shifts of the character set.
fn is_control_of_screen(byte: u8) -> bool {
    matches!(byte, 0x07..=0x0f)
}

/// Whether an escape sequence of `held` and `end` is for the screen alone.
fn is_escape_of_screen(held: &[u8], end: u8) -> bool {
    match held {
        // Saving and restoring the cursor, moves, a tab stop, a reset, shifts of the character set.
        [] => {
            matches!(end, b'7' | b'8' | b'D' | b'E' | b'H' | b'M' | b'c')
                || matches!(end, b'N' | b'O' | b'n' | b'o' | b'|' | b'}' | b'~')
        }
        // Character sets, and the size of lines.
        [b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/'] => true,
        [b'#'] => matches!(end, b'3'..=b'6' | b'8'),
        _ => false,
    }
}

/// A control sequence in its parts (ECMA-48 section 5.4).
struct Sequence<'a> {
    /// What makes it private: `?` and the like.
    private: Option<u8>,
    parameters: &'a [u8],
    intermediate: &'a [u8],
    end: u8,
}

impl<'a> Sequence<'a> {
    /// `None` where its parts stand in another order, or a number is longer than a screen.
    fn of(held: &'a [u8], end: u8) -> Option<Self> {
        let private = held.first().copied().filter(|byte| (0x3c..=0x3f).contains(byte));
        let rest = held.get(usize::from(private.is_some())..)?;
        let length = rest.iter().take_while(|byte| matches!(byte, b'0'..=b';')).count();
        let (parameters, intermediate) = rest.split_at_checked(length)?;
        let orderly = intermediate.iter().all(|byte| matches!(byte, 0x20..=0x2f));
        let numbers = parameters.split(|byte| !byte.is_ascii_digit());
        let sensible = orderly && numbers.into_iter().all(|number| number.len() <= 5);
        sensible.then_some(Self { private, parameters, intermediate, end })
    }

    /// Its parameters one by one.
    fn each(&self) -> impl Iterator<Item = &'a [u8]> {
        self.parameters.split(|byte| *byte == b';')
    }
}

/// What stands between the beginning of the sequence and its end, where it is for the screen
/// alone. Of several modes those that are.
fn of_screen(sequence: Sequence<'_>) -> Option<Vec<u8>> {
    let Sequence { private, parameters, intermediate, end } = &sequence;
    let whole = || [private.as_slice(), parameters, intermediate].concat();
    match (private, *intermediate, end) {
        // Characters and lines put in and taken out, moves, erasing, scrolling, repeating, tab
        // stops, colours, margins, saving the cursor.
        (None, [], b'@'..=b'M' | b'P' | b'S' | b'X' | b'Z' | b'`' | b'a' | b'b') => Some(whole()),
        (None, [], b'd'..=b'g' | b'm' | b'r' | b's') => Some(whole()),
        // With more than one number it follows the mouse, with any it is of the keyboard.
        (None, [], b'T') => (sequence.each().count() == 1).then(whole),
        (None, [], b'u') => parameters.is_empty().then(whole),
        (Some(b'?'), [], b'J' | b'K') => Some(whole()),
        // Shape of the cursor; a reset.
        (None, [b' '], b'q') | (None, [b'!'], b'p') => Some(whole()),
        (None, [], b'h' | b'l') => modes(&sequence, &[b"4", b"20"]),
        (Some(b'?'), [], b'h' | b'l') => modes(&sequence, PRIVATE_MODES),
        _ => None,
    }
}

/// Modes of the screen: reversed, origin, wrapping, blinking and visible cursor, wrapping
/// backwards, the other screen, margins at the sides, synchronised output.
const PRIVATE_MODES: &[&[u8]] =
    &[b"5", b"6", b"7", b"12", b"25", b"45", b"47", b"69", b"1047", b"1048", b"1049", b"2026"];

fn modes(sequence: &Sequence<'_>, known: &[&[u8]]) -> Option<Vec<u8>> {
    let kept: Vec<&[u8]> = sequence.each().filter(|mode| known.contains(mode)).collect();
    let joined = [sequence.private.as_slice(), &kept.join(&b';')].concat();
    (!kept.is_empty()).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(bytes: &[u8]) -> Vec<u8> {
        let mut filter = Harmless::default();
        // One byte at a time is the worst that can come.
        bytes.iter().flat_map(|byte| filter.pass(&[*byte])).collect()
    }

    #[test]
    fn what_a_screen_needs_is_passed_on_as_it_is() {
        let needed = "\x1b[31mred\x1b[0m\r\n\x1b[2J\x1b[?1049h\x1b[3;5H\x1b(B\x1b7\x1b8\x07\u{e4}\u{a0}\x1b[?25l\x1b[2 q\x1bM\x1b[4l";
        assert_eq!(passed(needed.as_bytes()), needed.as_bytes());
    }

    #[test]
    fn strings_and_questions_are_left_out() {
        let attacks: [&[u8]; 22] = [
            b"\x1b]52;c;aGVsbG8=\x07",
            b"\x1b]0;title\x1b\\",
            b"\x1b]52;c;?\xc2\x9c",
            b"\x1bP+q544e\x1b\\\x1bP$qm\x1b\\",
            b"\x1b_Gi=1;AAAA\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\",
            b"\x1b[c\x1b[>c\x1b[=0c\x1b[5n\x1b[6n\x1b[?6n",
            b"\x1b[21t\x1b[18t\x1b[3;0;0t",
            b"\x1b[>q\x1b[?2026$p\x1b[?u\x1b[?1;1S\x1b[1x",
            b"\x1bZ\x05\x1b[\x056n",
            b"\xc2\x9b6n\xc2\x9d52;c;?\xc2\x9c\xc2\x90q\xc2\x9c\xc2\x9a",
            b"\x1b]52;c;\x18",
            b"\x1b]52;c;x\x1b]0;y\x07",
            b"\x1b[5*y\x1b[1;1;1;1;1;1*y",
            b"\x1b[\x1b]0;x\x07",
            // Printing; mouse, focus and pasting; keyboards.
            b"\x1b[5i\x1b[?5i\x1b[4i",
            b"\x1b[?1000h\x1b[?1003;1006h\x1b[?1004h\x1b[?2004h\x1b[?9h",
            b"\x1b[>1u\x1b[<u\x1b[=5u\x1b[5u\x1b[>4;2m\x1b[?4m\x1b[>1;1s",
            b"\x1b[?1h\x1b=\x1b>\x1b[2h\x1b[?8l\x1b[?66h\x1b[?3h\x1b[12l",
            b"\x1b[1;1;1;1;1T\x1b[2q\x1b[?1r\x1b[?1s\x1b[1$r\x1b[1;1;1;1;1;1;1;1$v",
            b"\x1b F\x1b%@\x1b%G\x1bl\x1bF\x1b\\\x00\x05\x11\x7f",
            b"\x1b[999999999b\x1b[1?m\x1b[ 1q\x1b[$1m",
            b"\xc2\x9b>1u\xc2\x9b5i",
        ];
        for attack in attacks {
            assert_eq!(passed(attack), b"", "{attack:?}");
            assert_eq!(passed(&[b"a", attack, b"z"].concat()), b"az", "{attack:?}");
        }
        assert_eq!(passed(b"\x1b[?1000;25;1006;7h"), b"\x1b[?25;7h");
        assert_eq!(passed(b"\x1b\xc3\xa4\x1b[3\xc3\xa4"), "ää".as_bytes());
        // A string that never ends takes the rest with it.
        assert_eq!(passed(b"a\x1b]0;never"), b"a");
    }

    proptest::proptest! {
        #[test]
        fn what_was_passed_on_passes_again_unchanged(
            bytes in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::any::<u8>(),
                    proptest::sample::select(b"\x1b\x1b\x1b[[]P\\_;?>$0123(cntqpxhlmiu\x07\x05\x18\xc2\x9b\x9d".to_vec()),
                ],
                0..200,
            )
        ) {
            let once = passed(&bytes);
            proptest::prop_assert_eq!(passed(&once), once);
        }
    }
}
