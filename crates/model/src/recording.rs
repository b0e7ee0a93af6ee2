//! What stands in a recording: the kinds of its frames, which whoever writes one and whoever checks
//! one name alike. The bytes are `loggia_verify::recording`'s.

/// What a frame carries. A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What follows belongs to this action: the id of its event, as text.
    Action,
    /// Output of the target.
    Output,
    /// Standard error of the target.
    Error,
    /// Input in clear: of a program without a terminal.
    Input,
    /// Typed in a terminal: `u64` number of the line in its action, then ciphertext and tag of
    /// AES-256-GCM under the key of the line. The nonce is the number of the frame, 12 bytes.
    Sealed,
    /// The key of a line that was echoed: `u64` number of the line in its action, 32 bytes key.
    Key,
    /// The terminal's new size: `u32` columns, `u32` rows.
    Resize,
    /// The end of a program: `u32` exit status, or nothing where a signal ended it.
    Exit,
}

impl Direction {
    /// Every direction, in the order of the reference.
    pub const ALL: [Self; 8] = [
        Self::Action,
        Self::Output,
        Self::Error,
        Self::Input,
        Self::Sealed,
        Self::Key,
        Self::Resize,
        Self::Exit,
    ];

    /// The letter in the file.
    pub const fn letter(self) -> u8 {
        match self {
            Self::Action => b'c',
            Self::Output => b'o',
            Self::Error => b'e',
            Self::Input => b'i',
            Self::Sealed => b's',
            Self::Key => b'k',
            Self::Resize => b'r',
            Self::Exit => b'x',
        }
    }

    /// The direction with this letter.
    pub const fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'c' => Self::Action,
            b'o' => Self::Output,
            b'e' => Self::Error,
            b'i' => Self::Input,
            b's' => Self::Sealed,
            b'k' => Self::Key,
            b'r' => Self::Resize,
            b'x' => Self::Exit,
            _ => return None,
        })
    }
}
