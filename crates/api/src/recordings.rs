//! Reading recordings: a whole one, or one that is being written.
//!
//! Both answer with [`PARTS`]: parts one after the other, each `u8` kind, `u32` big-endian length,
//! bytes. A part is a note (JSON, [`RecordingNote`]), bytes of the recording's file (as
//! `docs/reference/recording-format.md` has it), or a beat, which is empty and says that the
//! connection lives. The first part is a note with the head, the last one the note of the end:
//! without it the connection broke.

use serde::{Deserialize, Serialize};

/// The recording of a session from its beginning, with what the ledger says of it; the server has
/// checked one against the other. The file's bytes come as they stand in the file.
pub const RECORDING: &str = "/v1/sessions/{id}/recording";
/// The recording of a running session as it is written, until the session ends. Whole frames only;
/// what came long before may be left out, but for the frames that say whose action it is and how
/// large the terminal.
pub const WATCH: &str = "/v1/sessions/{id}/watch";

/// The media type of both answers.
pub const PARTS: &str = "application/vnd.loggia.recording";
/// Bytes of a part before its content.
pub const PART_HEAD_BYTES: usize = 5;
/// A part's content is at most this long, in bytes.
pub const PART_BYTES_MAX: usize = 4 << 20;

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// JSON: a [`RecordingNote`].
    Note,
    /// Bytes of the file.
    File,
    /// Nothing.
    Beat,
}

impl PartKind {
    const fn letter(self) -> u8 {
        match self {
            Self::Note => b'n',
            Self::File => b'f',
            Self::Beat => b'.',
        }
    }
}

/// What stands before a part's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartHead {
    /// What it is.
    pub kind: PartKind,
    /// Length of the content in bytes.
    pub length: u32,
}

impl PartHead {
    /// The bytes.
    pub fn encode(self) -> [u8; PART_HEAD_BYTES] {
        let [a, b, c, d] = self.length.to_be_bytes();
        [self.kind.letter(), a, b, c, d]
    }

    /// Reads a head; `None` where it is none, or its part would be too long.
    pub fn decode([letter, length @ ..]: [u8; PART_HEAD_BYTES]) -> Option<Self> {
        let kinds = [PartKind::Note, PartKind::File, PartKind::Beat];
        let kind = kinds.into_iter().find(|kind| kind.letter() == letter)?;
        let length = u32::from_be_bytes(length);
        (usize::try_from(length).ok()? <= PART_BYTES_MAX).then_some(Self { kind, length })
    }
}

/// What is said of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingNote {
    /// Before the first bytes.
    Head(RecordingHead),
    /// Behind the last.
    End(RecordingEnd),
}

/// What the ledger says of a recording.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecordingHead {
    /// Id of the session.
    pub session: String,
    /// The salt that the leaves of its tree are made with (hex); absent while it is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// What it had become, and when, as the ledger has it: at most 4096 of the claims, and the
    /// last one.
    #[serde(default)]
    pub claims: Vec<RecordingClaim>,
    /// Whether the session has ended.
    #[serde(default)]
    pub ended: bool,
    /// Whether it reached its limit: what came later was hashed and counted, and not kept.
    #[serde(default)]
    pub limited: bool,
}

/// What a recording had become at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecordingClaim {
    /// Number of frames.
    pub frames: u64,
    /// Length of the file in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Root over header and frames (hex).
    pub root: String,
}

/// How the answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecordingEnd {
    /// Stable code: `complete`, `session_ended`, `expired`, `denied`, `shutdown` or `failed`.
    pub reason: String,
    /// The same for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_part_reads_back_and_nonsense_is_none() {
        for kind in [PartKind::Note, PartKind::File, PartKind::Beat] {
            let head = PartHead { kind, length: 70_000 };
            assert_eq!(PartHead::decode(head.encode()), Some(head));
        }
        assert_eq!(PartHead::decode([b'q', 0, 0, 0, 1]), None);
        assert_eq!(PartHead::decode([b'f', 0xff, 0, 0, 1]), None);
    }

    #[test]
    fn a_note_is_an_object_with_one_member() {
        let head = RecordingHead { session: "se_1".into(), ..RecordingHead::default() };
        let text = serde_json::to_string(&RecordingNote::Head(head)).unwrap();
        assert_eq!(
            text,
            r#"{"head":{"session":"se_1","claims":[],"ended":false,"limited":false}}"#
        );
        let end = RecordingEnd { reason: "complete".into(), message: "that is all".into() };
        let text = serde_json::to_string(&RecordingNote::End(end.clone())).unwrap();
        assert_eq!(serde_json::from_str::<RecordingNote>(&text).unwrap(), RecordingNote::End(end));
    }
}
