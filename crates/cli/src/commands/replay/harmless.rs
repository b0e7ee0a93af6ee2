//! Output for other players, without what would act on the terminal that they play it in beyond
//! its screen: strings (titles, clipboard, links, images, device control) and questions that a
//! terminal answers by typing.

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
            (State::Ground, 0xc2) => self.state = State::Wide,
            // The answerback is asked for.
            (State::Ground, 0x05) => {}
            (State::Ground, _) => passed.push(byte),
            (State::Wide, 0x9b) => self.begin(State::Control),
            (State::Wide, 0x90 | 0x98 | 0x9d..=0x9f) => self.state = State::Text,
            (State::Wide, 0x80..=0x9f) => self.state = State::Ground,
            (State::Wide, _) => {
                self.state = State::Ground;
                passed.extend_from_slice(&[0xc2, byte]);
            }
            (State::Escape, b'[') => self.begin(State::Control),
            (State::Escape, b'P' | b'X' | b']' | b'^' | b'_') => self.state = State::Text,
            // The terminal is asked what it is.
            (State::Escape, b'Z') => self.state = State::Ground,
            (State::Escape | State::Selecting, 0x20..=0x2f) => {
                self.state = State::Selecting;
                self.hold(byte);
            }
            (State::Escape | State::Selecting, _) => {
                passed.push(0x1b);
                passed.append(&mut self.held);
                passed.push(byte);
                self.state = State::Ground;
            }
            (State::Control, 0x40..=0x7e) => {
                if !self.asks(byte) {
                    passed.extend_from_slice(b"\x1b[");
                    passed.append(&mut self.held);
                    passed.push(byte);
                }
                self.begin(State::Ground);
            }
            (State::Control, 0x20..=0x3f) => self.hold(byte),
            // A control in the middle of a sequence acts, and the sequence goes on.
            (State::Control, 0x05) => {}
            (State::Control, 0..=0x1f) => passed.push(byte),
            (State::Control, _) => self.begin(State::Ground),
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

    /// Whether the terminal answers this sequence, or acts on its window.
    fn asks(&self, end: u8) -> bool {
        let has = |byte: u8| self.held.contains(&byte);
        match end {
            // Attributes, status, window, parameters.
            b'c' | b'n' | b't' | b'x' => true,
            // Version, modes, keyboard, graphics, checksums.
            b'q' => has(b'>'),
            b'p' => has(b'$'),
            b'u' | b'S' => has(b'?'),
            b'y' => has(b'*'),
            b'w' | b'|' => has(b'\'') || has(b'$') || has(b'*'),
            _ => false,
        }
    }
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
        let attacks: [&[u8]; 14] = [
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
        ];
        for attack in attacks {
            assert_eq!(passed(attack), b"", "{attack:?}");
            assert_eq!(passed(&[b"a", attack, b"z"].concat()), b"az", "{attack:?}");
        }
        // A string that never ends takes the rest with it.
        assert_eq!(passed(b"a\x1b]0;never"), b"a");
    }

    proptest::proptest! {
        #[test]
        fn what_was_passed_on_passes_again_unchanged(
            bytes in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::any::<u8>(),
                    proptest::sample::select(b"\x1b\x1b[]P\\_;?>$0123cntqpx\x07\x05\x18\xc2\x9b\x9d".to_vec()),
                ],
                0..200,
            )
        ) {
            let once = passed(&bytes);
            proptest::prop_assert_eq!(passed(&once), once);
        }
    }
}
