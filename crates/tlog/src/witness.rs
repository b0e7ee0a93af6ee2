//! What a log and a witness say to each other (C2SP `tlog-witness`), and how a witness decides.
//!
//! ```text
//! POST <prefix>/add-checkpoint            old <size, decimal>
//!                                         <consistency proof, base64>…       at most 63 lines
//!                                                                            an empty line
//!                                         <checkpoint with signatures>
//! GET <prefix>/<sha256(origin), hex>/checkpoint
//! ```
//! The answer to the first is one or more signature lines ([`crate::cosignature::parse_lines`]),
//! or, with status 409, the size that the witness has seen.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal};
use crate::hash::Hash;
use crate::merkle::{MAX_PROOF_HASHES, MerkleError, verify_consistency};
use crate::note::{KeyKind, NoteError, SignedNote, VerifierKey};

/// Longest body of `add-checkpoint` that is accepted, in bytes: a proof and a dozen ML-DSA lines.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Content type of the answer with status 409: the size that the witness has seen, and a newline.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// The body of `add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the tree that the witness saw last, as the log believes; 0 for none.
    pub old_size: u64,
    /// Proof that the new tree continues that one; empty from 0.
    pub proof: Vec<Hash>,
    /// The checkpoint with its log's signature.
    pub checkpoint: SignedNote,
}

/// The largest tree of a log that a witness has cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its entries.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// Why a request is malformed, or a checkpoint is not cosigned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Longer than [`MAX_REQUEST_BYTES`].
    #[error("a request is at most {MAX_REQUEST_BYTES} bytes long")]
    TooLong,
    /// The first line is not `old <size>`.
    #[error("the first line is `old` and the size last cosigned, in decimal")]
    OldSizeLine,
    /// A line before the empty one is no hash, there are too many, or the empty line is missing.
    #[error("after the first line stand at most {MAX_PROOF_HASHES} hashes and an empty line")]
    ProofLines,
    /// What follows is no signed note.
    #[error("what follows the empty line is not a signed checkpoint")]
    Note(#[source] NoteError),
    /// The text of the note is no checkpoint.
    #[error("the note is not a checkpoint")]
    Checkpoint(#[source] CheckpointError),
    /// The log is not one that this witness watches.
    #[error("this witness does not know the log {origin}")]
    UnknownLog {
        /// Its origin.
        origin: String,
    },
    /// No valid signature of a key that the witness has for this log.
    #[error("the checkpoint is not signed by a key that this witness has for its log")]
    Signature(#[source] CheckpointError),
    /// The old size is larger than the checkpoint's.
    #[error("the old size {old} is larger than that of the checkpoint, {size}")]
    OldSizeAbove {
        /// The old size.
        old: u64,
        /// The checkpoint's.
        size: u64,
    },
    /// The old size is not the one last cosigned.
    #[error("the size last cosigned is {seen}")]
    OldSize {
        /// The size last cosigned.
        seen: u64,
    },
    /// The checkpoint is not proven to continue what was cosigned.
    #[error("the checkpoint does not continue the tree of {seen} entries that was cosigned")]
    Inconsistent {
        /// Entries of the tree last cosigned.
        seen: u64,
        /// What the proof lacks.
        #[source]
        source: MerkleError,
    },
}

impl Refusal {
    /// The HTTP status that says so.
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLong => 413,
            Self::OldSizeLine
            | Self::ProofLines
            | Self::Note(_)
            | Self::Checkpoint(_)
            | Self::OldSizeAbove { .. } => 400,
            Self::UnknownLog { .. } => 404,
            Self::Signature(_) => 403,
            Self::OldSize { .. } => 409,
            Self::Inconsistent { .. } => 422,
        }
    }
}

impl AddCheckpoint {
    /// Parses a body. [`Display`](fmt::Display) gives the same bytes back.
    ///
    /// # Errors
    /// [`Refusal`], what is malformed. Nothing is verified here.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(Refusal::TooLong);
        }
        let text = str::from_utf8(body).map_err(|_| Refusal::Note(NoteError::NotUtf8))?;
        let (line, mut rest) = text.split_once('\n').ok_or(Refusal::OldSizeLine)?;
        let old_size = line.strip_prefix("old ").and_then(parse_decimal);
        let old_size = old_size.ok_or(Refusal::OldSizeLine)?;
        let mut proof = Vec::new();
        loop {
            let (line, after) = rest.split_once('\n').ok_or(Refusal::ProofLines)?;
            rest = after;
            if line.is_empty() {
                break;
            }
            if proof.len() == MAX_PROOF_HASHES {
                return Err(Refusal::ProofLines);
            }
            proof.push(Hash::from_base64(line).map_err(|_| Refusal::ProofLines)?);
        }
        let checkpoint = SignedNote::parse(rest.as_bytes()).map_err(Refusal::Note)?;
        Ok(Self { old_size, proof, checkpoint })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Decides as a witness does: whether this checkpoint may be cosigned after `seen`, the last one of
/// its log. `keys` are those of the logs that are watched. The one who cosigns must store the
/// checkpoint durably, with nothing in between, before a cosignature leaves.
///
/// # Errors
/// [`Refusal`], with the status to answer.
pub fn judge(
    request: &AddCheckpoint,
    keys: &[VerifierKey],
    seen: Option<&Seen>,
) -> Result<Checkpoint, Refusal> {
    let checkpoint = signed(&request.checkpoint, keys)?;
    let (old, size, root) = (request.old_size, checkpoint.size(), checkpoint.root());
    if old > size {
        return Err(Refusal::OldSizeAbove { old, size });
    }
    let empty = Seen { size: 0, root: crate::hash::EMPTY_ROOT };
    let seen = seen.unwrap_or(&empty);
    if old != seen.size {
        return Err(Refusal::OldSize { seen: seen.size });
    }
    verify_consistency(seen.size, &seen.root, size, &root, &request.proof)
        .map_err(|source| Refusal::Inconsistent { seen: seen.size, source })?;
    Ok(checkpoint)
}

/// The checkpoint of a note, signed by one of the keys as its log. Log and proof of a fork are
/// judged with it.
///
/// # Errors
/// [`Refusal::Checkpoint`], [`Refusal::UnknownLog`], [`Refusal::Signature`].
pub fn signed(note: &SignedNote, keys: &[VerifierKey]) -> Result<Checkpoint, Refusal> {
    let claimed = Checkpoint::parse(note.text()).map_err(Refusal::Checkpoint)?;
    let of_log =
        |key: &&VerifierKey| key.name() == claimed.origin() && key.kind() == KeyKind::Ed25519;
    let mut refused = None;
    for key in keys.iter().filter(of_log) {
        match Checkpoint::verify_note(note, key, &[]) {
            Ok(opened) => return Ok(opened.checkpoint),
            Err(error) => refused = Some(error),
        }
    }
    Err(match refused {
        Some(error) => Refusal::Signature(error),
        None => Refusal::UnknownLog { origin: claimed.origin().into() },
    })
}

/// Whether a log that signed `checkpoint` has contradicted what a witness has seen of it, whatever
/// the request claimed: two trees of one size.
pub fn contradicts(seen: &Seen, checkpoint: &Checkpoint) -> bool {
    seen.size == checkpoint.size() && seen.root != checkpoint.root()
}

/// Path below the monitoring prefix where a witness shows the last checkpoint of a log that it has
/// cosigned.
pub fn monitor_path(origin: &str) -> String {
    format!("{}/checkpoint", hex::encode(Sha256::digest(origin.as_bytes())))
}

/// Parses the body of an answer with status 409.
pub fn parse_size(body: &[u8]) -> Option<u64> {
    str::from_utf8(body).ok()?.strip_suffix('\n').and_then(parse_decimal)
}

#[cfg(test)]
mod tests;
