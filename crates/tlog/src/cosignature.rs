//! Cosignatures (C2SP `tlog-cosignature`): a witness states that, at a time, a checkpoint is of
//! the largest tree of that log that it has seen, and consistent with all before.
//!
//! A cosignature is a signature line of the note like any other; its bytes are the time (u64 BE,
//! seconds since 1970) and the signature over:
//!
//! ```text
//! type 0x04 (Ed25519)      cosignature/v1\n time <decimal>\n <text of the checkpoint>
//! type 0x06 (ML-DSA-44)    "subtree/v1\n\0" | u8 length, name of the cosigner | u64 BE time
//!                          | u8 length, origin | u64 BE 0 | u64 BE size | root
//! ```
//! The first covers extension lines and not the cosigner's name, so a key has one name; the second
//! covers the name and no extension lines.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::Signer as _;
use ml_dsa::signature::Keypair as _;
use ml_dsa::{B32, MlDsa44};
use zeroize::Zeroizing;

use crate::checkpoint::{Checkpoint, CheckpointError, Cosignature};
use crate::note::key::{ParsedKey, check_name, parse_private, private_text};
use crate::note::{KeyKind, MAX_NOTE_BYTES, NoteError, Signature, SignedNote, VerifierKey};

/// Most lines that an answer of a witness may have: one for each of its keys.
pub const MAX_ANSWER_LINES: usize = 16;

const ML_DSA_LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// The private key of a witness, or the second key of a log. Zeroed on drop; cannot be printed.
///
/// Text form: `PRIVATE+KEY+<name>+<key id>+<base64 of type and 32-byte seed>`.
pub struct CosignerKey {
    verifier: VerifierKey,
    key: Private,
}

enum Private {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    MlDsa44(Box<ml_dsa::SigningKey<MlDsa44>>),
}

impl CosignerKey {
    /// The key of this name from a seed of 32 random bytes. The same seed must not be used for
    /// two keys.
    ///
    /// # Errors
    /// [`NoteError::KeyName`]; [`NoteError::KeyType`] for a kind that does not cosign;
    /// [`NoteError::CosignedName`] for a name that an ML-DSA-44 cosignature cannot cover.
    pub fn from_seed(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        let (key, verifier) = match kind {
            KeyKind::Ed25519 => return Err(NoteError::KeyType { found: kind.byte() }),
            KeyKind::CosignatureEd25519 => {
                let key = ed25519_dalek::SigningKey::from_bytes(seed);
                let verifier = VerifierKey::new(name, kind, key.verifying_key().as_bytes())?;
                (Private::Ed25519(Box::new(key)), verifier)
            }
            KeyKind::CosignatureMlDsa44 => {
                if name.len() > usize::from(u8::MAX) {
                    return Err(NoteError::CosignedName);
                }
                let seed = Zeroizing::new(B32::from(*seed));
                let key = ml_dsa::SigningKey::<MlDsa44>::from_seed(&seed);
                let public = key.verifying_key().encode();
                let verifier = VerifierKey::new(name, kind, &public)?;
                (Private::MlDsa44(Box::new(key)), verifier)
            }
        };
        Ok(Self { verifier, key })
    }

    /// Parses the private text form, without white space around it.
    ///
    /// # Errors
    /// As [`VerifierKey::parse`] and [`from_seed`](Self::from_seed); no error quotes the text.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (ParsedKey { name, id, kind, .. }, seed) = parse_private(text)?;
        let parsed = Self::from_seed(name, kind, &seed)?;
        let computed = parsed.verifier.id();
        if computed != id {
            return Err(NoteError::KeyIdMismatch { written: id, computed });
        }
        Ok(parsed)
    }

    /// The private text form, to be kept in a file that only its owner can read.
    pub fn private_text(&self) -> Zeroizing<String> {
        match &self.key {
            Private::Ed25519(key) => private_text(&self.verifier, key.as_bytes()),
            Private::MlDsa44(key) => {
                let seed = Zeroizing::new((*key.as_seed()).into());
                private_text(&self.verifier, &seed)
            }
        }
    }

    /// The public half.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Name of the key.
    pub fn name(&self) -> &str {
        self.verifier.name()
    }

    /// Cosigns a checkpoint. ML-DSA-44 signs deterministically.
    ///
    /// That this is the largest tree that was seen of its log, and consistent with all before, is
    /// for the caller to know: [`crate::witness::judge`].
    ///
    /// # Errors
    /// [`NoteError::CosignedTime`]; [`NoteError::CosignedName`] for an origin that an ML-DSA-44
    /// cosignature cannot cover.
    pub fn cosign(&self, checkpoint: &Checkpoint, time_s: u64) -> Result<Signature, NoteError> {
        if time_s == 0 || i64::try_from(time_s).is_err() {
            return Err(NoteError::CosignedTime { found: time_s });
        }
        let mut bytes = time_s.to_be_bytes().to_vec();
        match &self.key {
            Private::Ed25519(key) => {
                let message = ed25519_message(time_s, &format!("{checkpoint}"));
                bytes.extend_from_slice(&key.sign(message.as_bytes()).to_bytes());
            }
            Private::MlDsa44(key) => {
                let message = ml_dsa_message(self.name(), time_s, checkpoint)
                    .ok_or(NoteError::CosignedName)?;
                let signature = key.expanded_key().sign_deterministic(&message, &[]);
                let signature = signature.map_err(|_| NoteError::CosignedName)?;
                bytes.extend_from_slice(&signature.encode());
            }
        }
        Ok(Signature { name: self.name().into(), key_id: self.verifier.id(), bytes })
    }
}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, id) = (self.name(), self.verifier.id());
        f.debug_struct("CosignerKey").field("name", &name).field("id", &id).finish_non_exhaustive()
    }
}

/// Parses signature lines, each with its newline: what a witness answers.
/// [`format_lines`] gives the same bytes back.
///
/// # Errors
/// [`NoteError`], what is malformed. Nothing is verified here.
pub fn parse_lines(bytes: &[u8]) -> Result<Vec<Signature>, NoteError> {
    if bytes.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLong { found: bytes.len() });
    }
    let text = str::from_utf8(bytes).map_err(|_| NoteError::NotUtf8)?;
    let text = text.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
    let mut lines = Vec::new();
    for (position, line) in text.split('\n').enumerate() {
        if position == MAX_ANSWER_LINES {
            return Err(NoteError::TooManySignatures);
        }
        let malformed = |_| NoteError::SignatureLine { line: position + 1 };
        lines.push(Signature::parse(line).map_err(malformed)?);
    }
    Ok(lines)
}

/// Writes signature lines, each with its newline.
pub fn format_lines(lines: &[Signature]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Takes the cosignatures of known `witnesses` among `lines` into a signed checkpoint; a newer one
/// replaces an older one of the same key. Lines of unknown keys are left out. Gives those taken.
///
/// # Errors
/// [`CheckpointError::Signature`] when a line of a known witness is not valid or states no time:
/// the note is unchanged then.
pub fn merge(
    note: &mut SignedNote,
    lines: &[Signature],
    witnesses: &[VerifierKey],
) -> Result<Vec<Cosignature>, CheckpointError> {
    let mut merged = note.clone();
    let mut taken = Vec::new();
    for line in lines {
        let known = |key: &&VerifierKey| key.name() == line.name() && key.id() == line.key_id();
        let Some(key) = witnesses.iter().find(known) else { continue };
        let invalid =
            || NoteError::InvalidSignature { name: line.name().into(), key_id: line.key_id() };
        let time_s = key.check(note.text(), line.bytes()).flatten();
        let time_s = time_s.ok_or_else(invalid).map_err(CheckpointError::Signature)?;
        merged.put(line.clone()).map_err(CheckpointError::Note)?;
        taken.push(Cosignature { name: key.name().into(), key_id: key.id(), time_s: Some(time_s) });
    }
    *note = merged;
    Ok(taken)
}

/// Splits the bytes of a cosignature into its time and the signature proper.
pub(crate) fn split_time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = bytes.split_first_chunk()?;
    let time_s = u64::from_be_bytes(*time);
    i64::try_from(time_s).is_ok().then_some((time_s, signature))
}

pub(crate) fn ed25519_message(time_s: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

/// `None` where a name is empty or longer than its length byte can say.
pub(crate) fn ml_dsa_message(
    cosigner: &str,
    time_s: u64,
    checkpoint: &Checkpoint,
) -> Option<Vec<u8>> {
    let mut message = ML_DSA_LABEL.to_vec();
    push_name(&mut message, cosigner)?;
    message.extend_from_slice(&time_s.to_be_bytes());
    push_name(&mut message, checkpoint.origin())?;
    message.extend_from_slice(&0_u64.to_be_bytes());
    message.extend_from_slice(&checkpoint.size().to_be_bytes());
    message.extend_from_slice(checkpoint.root().as_bytes());
    Some(message)
}

fn push_name(message: &mut Vec<u8>, name: &str) -> Option<()> {
    let length = u8::try_from(name.len()).ok().filter(|length| *length > 0)?;
    message.push(length);
    message.extend_from_slice(name.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
