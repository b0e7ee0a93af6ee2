//! Checkpoints (C2SP `tlog-checkpoint`): the signed statement which tree a log has.
//!
//! ```text
//! <origin>                    names the log; equals the name of its key
//! <size, decimal>
//! <root, base64>
//! [<extension line>]…         opaque, not written by us
//! ```

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use thiserror::Error;

use crate::hash::{EMPTY_ROOT, Hash};
use crate::merkle::MAX_TREE_SIZE;
use crate::note::{KeyId, KeyKind, NoteError, SignedNote, SigningKey, VerifierKey};

/// Why a checkpoint is malformed or not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// Fewer than three lines, an empty line, or no newline at the end.
    #[error("a checkpoint has at least three lines, none of them empty or cut")]
    Lines,
    /// The origin is empty or has a control character.
    #[error("the origin of a checkpoint is one line without control characters")]
    Origin,
    /// The size is not a decimal number without leading zeros, or above 2^63 - 1.
    #[error("the size of a checkpoint is a decimal number below 2^63 without leading zeros")]
    Size,
    /// The root is not the base64 of a hash.
    #[error("the root of a checkpoint is the base64 of 32 bytes")]
    Root,
    /// Size 0 with another root than that of the empty tree.
    #[error("a checkpoint of size 0 has the root of the empty tree")]
    EmptyTreeRoot,
    /// It is another log's.
    #[error("the checkpoint is of the log {found}, not of {expected}")]
    OriginMismatch {
        /// Origin that the key belongs to.
        expected: String,
        /// Origin that the checkpoint states.
        found: String,
    },
    /// A key that cannot be a log's: only type 0x01 signs checkpoints as their log.
    #[error("the key of {name} is not the key of a log (type 0x01)")]
    NotALogKey {
        /// Name of the key.
        name: String,
    },
    /// The note that carries the checkpoint is malformed.
    #[error("the checkpoint is not a signed note")]
    Note(#[source] NoteError),
    /// It states the right origin and has no valid signature of its log's key, or a
    /// cosignature of a known witness that is not valid.
    #[error("the signature on the checkpoint is not accepted")]
    Signature(#[source] NoteError),
}

/// Which tree a log has: origin, size and root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

/// A checkpoint whose log's signature is verified, with the cosignatures of known
/// witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedCheckpoint {
    /// What the log and these witnesses have signed.
    pub checkpoint: Checkpoint,
    /// One for each known witness that has cosigned, in the order of the note.
    pub cosignatures: Vec<Cosignature>,
}

/// The statement of a witness: at that time this was the largest tree of the log
/// that it had seen, and consistent with all before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Name of the witness's key.
    pub name: String,
    /// Id of the witness's key.
    pub key_id: KeyId,
    /// Time in seconds since 1970; absent when the key is of type 0x01, which signs none.
    pub time_s: Option<u64>,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`], [`CheckpointError::Size`],
    /// [`CheckpointError::EmptyTreeRoot`].
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        let origin = origin.into();
        if origin.is_empty() || origin.contains(|c: char| c < ' ') {
            return Err(CheckpointError::Origin);
        }
        if size > MAX_TREE_SIZE {
            return Err(CheckpointError::Size);
        }
        if size == 0 && root != EMPTY_ROOT {
            return Err(CheckpointError::EmptyTreeRoot);
        }
        Ok(Self { origin, size, root, extensions: Vec::new() })
    }

    /// Parses the text of a checkpoint, without signatures.
    /// [`Display`](fmt::Display) gives the same text back.
    ///
    /// # Errors
    /// [`CheckpointError`], what is malformed.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty());
        let (Some(origin), Some(size), Some(root)) = (line(), line(), line()) else {
            return Err(CheckpointError::Lines);
        };
        let size = parse_decimal(size).ok_or(CheckpointError::Size)?;
        let root = Hash::from_base64(root).map_err(|_| CheckpointError::Root)?;
        let mut checkpoint = Self::new(origin, size, root)?;
        for extension in lines {
            if extension.is_empty() || extension.contains(|c: char| c < ' ') {
                return Err(CheckpointError::Lines);
            }
            checkpoint.extensions.push(extension.to_owned());
        }
        Ok(checkpoint)
    }

    /// Parses a signed checkpoint and verifies that the log `key` has signed it.
    /// Other signatures are ignored, see [`open_cosigned`](Self::open_cosigned).
    ///
    /// # Errors
    /// [`CheckpointError::OriginMismatch`] when it is another log's, and only then
    /// [`CheckpointError::Signature`] when the signature is missing or not valid.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        Self::open_cosigned(note, key, &[]).map(|opened| opened.checkpoint)
    }

    /// As [`open`](Self::open), and verifies the cosignatures of the `witnesses`.
    /// How many of them are needed is for the caller to judge.
    ///
    /// # Errors
    /// As [`open`](Self::open); also when a known witness's cosignature is not valid.
    pub fn open_cosigned(
        note: &[u8],
        key: &VerifierKey,
        witnesses: &[VerifierKey],
    ) -> Result<CosignedCheckpoint, CheckpointError> {
        let note = SignedNote::parse(note).map_err(CheckpointError::Note)?;
        Self::verify_note(&note, key, witnesses)
    }

    /// As [`open_cosigned`](Self::open_cosigned), for a note that is parsed already.
    ///
    /// # Errors
    /// As [`open_cosigned`](Self::open_cosigned).
    pub fn verify_note(
        note: &SignedNote,
        key: &VerifierKey,
        witnesses: &[VerifierKey],
    ) -> Result<CosignedCheckpoint, CheckpointError> {
        if key.kind() != KeyKind::Ed25519 {
            return Err(CheckpointError::NotALogKey { name: key.name().to_owned() });
        }
        let checkpoint = Self::parse(note.text())?;
        if checkpoint.origin != key.name() {
            let (expected, found) = (key.name().to_owned(), checkpoint.origin);
            return Err(CheckpointError::OriginMismatch { expected, found });
        }
        let keys: Vec<_> = [key].into_iter().chain(witnesses).cloned().collect();
        let verified = note.verify(&keys).map_err(CheckpointError::Signature)?;
        let (log, cosigners): (Vec<_>, Vec<_>) =
            verified.into_iter().partition(|signature| signature.key == key);
        if log.is_empty() {
            return Err(CheckpointError::Signature(NoteError::NoKnownSignature));
        }
        let cosignatures = cosigners
            .into_iter()
            .map(|signature| Cosignature {
                name: signature.key.name().to_owned(),
                key_id: signature.key.id(),
                time_s: signature.time_s,
            })
            .collect();
        Ok(CosignedCheckpoint { checkpoint, cosignatures })
    }

    /// Verifies the checkpoint of a log that may have changed its key: at least one of those `keys`
    /// that bear its name has signed it, and none of them falsely. Gives those that have, in the
    /// order of the note.
    ///
    /// # Errors
    /// As [`verify_note`](Self::verify_note).
    pub fn verify_by_any(
        note: &SignedNote,
        keys: &[VerifierKey],
    ) -> Result<(Self, Vec<VerifierKey>), CheckpointError> {
        let checkpoint = Self::parse(note.text())?;
        let of_log =
            |key: &&VerifierKey| key.name() == checkpoint.origin && key.kind() == KeyKind::Ed25519;
        let of_log: Vec<VerifierKey> = keys.iter().filter(of_log).cloned().collect();
        if of_log.is_empty() {
            let expected = keys.first().map_or_else(String::new, |key| key.name().to_owned());
            return Err(CheckpointError::OriginMismatch { expected, found: checkpoint.origin });
        }
        let verified = note.verify(&of_log).map_err(CheckpointError::Signature)?;
        let by = verified.into_iter().map(|signature| signature.key.clone()).collect();
        Ok((checkpoint, by))
    }

    /// Signs the checkpoint as the log whose name is its origin.
    ///
    /// A log must never sign a checkpoint that is inconsistent with one it has signed
    /// before: the caller answers for that.
    ///
    /// # Errors
    /// [`CheckpointError::OriginMismatch`] when the key is named otherwise.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedNote, CheckpointError> {
        if self.origin != key.name() {
            let (expected, found) = (key.name().to_owned(), self.origin.clone());
            return Err(CheckpointError::OriginMismatch { expected, found });
        }
        SignedNote::sign(self.to_string(), key).map_err(CheckpointError::Note)
    }

    /// Name of the log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of entries, at most 2^63 - 1.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree of these entries.
    pub const fn root(&self) -> Hash {
        self.root
    }

    /// Opaque lines after the root, as another implementation may write them.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root.to_base64())?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A decimal number in its only form: digits, no sign, no leading zeros.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests;
