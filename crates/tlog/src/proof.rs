//! Offline proofs (C2SP `tlog-proof`, file extension `.tlog-proof`): that an entry
//! is in a log, checkable without the log.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! [extra <base64>]                 opaque, authenticated by nothing
//! index <decimal>
//! <hash, base64>                   from the leaf's brother to the root's child
//! …
//!                                  an empty line
//! <checkpoint with signatures, verbatim>
//! ```

use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError, CosignedCheckpoint, parse_decimal};
use crate::hash::{Hash, leaf_hash};
use crate::merkle::{MAX_PROOF_HASHES, MerkleError, verify_inclusion};
use crate::note::{MAX_NOTE_BYTES, NoteError, SignedNote, VerifierKey};
use crate::policy::{Policy, Quorum};

/// Longest proof file that is accepted, in bytes.
pub const MAX_PROOF_BYTES: usize = 4 * MAX_NOTE_BYTES;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof is malformed, or proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// Longer than [`MAX_PROOF_BYTES`].
    #[error("a proof is at most {MAX_PROOF_BYTES} bytes long, not {found}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// Not UTF-8.
    #[error("the proof is not UTF-8")]
    NotUtf8,
    /// The first line is another.
    #[error("the first line of a proof is {HEADER}")]
    Header,
    /// The `extra` line is malformed.
    #[error("the extra line of a proof holds canonical base64")]
    Extra,
    /// The `index` line is missing or malformed.
    #[error("the index of a proof is a decimal number without leading zeros")]
    Index,
    /// A hash is malformed, there are too many, or no empty line follows them.
    #[error("line {line} of the proof is neither a hash nor the empty line after them")]
    HashLine {
        /// Which line of the file, from 1.
        line: usize,
    },
    /// More hashes than a proof can have.
    #[error("a proof has at most {MAX_PROOF_HASHES} hashes")]
    TooManyHashes,
    /// What follows the empty line is not a signed note.
    #[error("the proof does not end in a signed checkpoint")]
    Note(#[source] NoteError),
    /// The checkpoint is not accepted.
    #[error("the checkpoint in the proof is not accepted")]
    Checkpoint(#[source] CheckpointError),
    /// The entry is not proven to be in the tree of the checkpoint.
    #[error("the entry is not in the tree of the checkpoint at this index")]
    Inclusion(#[source] MerkleError),
}

/// The proof that an entry is in a log; says nothing until [`verify`](Self::verify)
/// has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Opaque data beside the proof. **Authenticated by nothing.**
    pub extra: Option<Vec<u8>>,
    /// Zero-based index of the entry in the log.
    pub index: u64,
    /// Proof of inclusion, as [`crate::merkle::inclusion_proof`] makes it.
    pub hashes: Vec<Hash>,
    /// The checkpoint with its signatures, as the log published it.
    pub checkpoint: SignedNote,
}

impl TlogProof {
    /// Parses a proof file. [`Display`](fmt::Display) gives the same bytes back.
    ///
    /// # Errors
    /// [`ProofError`], what is malformed. Nothing is verified here.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(ProofError::TooLong { found: bytes.len() });
        }
        let text = str::from_utf8(bytes).map_err(|_| ProofError::NotUtf8)?;
        let (header, mut rest) = text.split_once('\n').ok_or(ProofError::Header)?;
        if header != HEADER {
            return Err(ProofError::Header);
        }
        let mut line_number = 2;
        let mut extra = None;
        if let Some(after) = rest.strip_prefix("extra ") {
            let (encoded, after) = after.split_once('\n').ok_or(ProofError::Extra)?;
            extra = Some(STANDARD.decode(encoded).map_err(|_| ProofError::Extra)?);
            rest = after;
            line_number += 1;
        }
        let (line, mut rest) = rest.split_once('\n').ok_or(ProofError::Index)?;
        let index = line.strip_prefix("index ").and_then(parse_decimal).ok_or(ProofError::Index)?;
        let mut hashes = Vec::new();
        loop {
            line_number += 1;
            let malformed = ProofError::HashLine { line: line_number };
            let Some((line, after)) = rest.split_once('\n') else { return Err(malformed) };
            rest = after;
            if line.is_empty() {
                break;
            }
            if hashes.len() == MAX_PROOF_HASHES {
                return Err(ProofError::TooManyHashes);
            }
            hashes.push(Hash::from_base64(line).map_err(|_| malformed)?);
        }
        let checkpoint = SignedNote::parse(rest.as_bytes()).map_err(ProofError::Note)?;
        Ok(Self { extra, index, hashes, checkpoint })
    }

    /// Checks the whole proof for `entry`, the bytes of the leaf verbatim: that the
    /// checkpoint is signed by the log, that the cosignatures of known `witnesses` are
    /// valid, and that the entry is in its tree at this index. How many witnesses are
    /// needed is for the caller to judge; without any the verdict rests on the operator
    /// alone.
    ///
    /// # Errors
    /// [`ProofError::Checkpoint`], [`ProofError::Inclusion`]; nothing is proven then.
    pub fn verify(
        &self,
        entry: &[u8],
        log: &VerifierKey,
        witnesses: &[VerifierKey],
    ) -> Result<CosignedCheckpoint, ProofError> {
        let opened = Checkpoint::verify_note(&self.checkpoint, log, witnesses)
            .map_err(ProofError::Checkpoint)?;
        self.includes(entry, &opened.checkpoint)?;
        Ok(opened)
    }

    /// As [`verify`](Self::verify), with the logs and witnesses of a policy; also says whether
    /// enough of these have cosigned. Where they have not, the proof rests on the operator alone.
    ///
    /// # Errors
    /// As [`verify`](Self::verify); nothing is proven then.
    pub fn verify_by(
        &self,
        entry: &[u8],
        policy: &Policy,
    ) -> Result<(CosignedCheckpoint, Quorum), ProofError> {
        let (opened, quorum) = policy.open(&self.checkpoint).map_err(ProofError::Checkpoint)?;
        self.includes(entry, &opened.checkpoint)?;
        Ok((opened, quorum))
    }

    fn includes(&self, entry: &[u8], checkpoint: &Checkpoint) -> Result<(), ProofError> {
        let (size, root) = (checkpoint.size(), checkpoint.root());
        verify_inclusion(self.index, size, &leaf_hash(entry), &self.hashes, &root)
            .map_err(ProofError::Inclusion)
    }
}

impl fmt::Display for TlogProof {
    /// The content of a `.tlog-proof` file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests;
