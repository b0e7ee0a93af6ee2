//! Signed notes (C2SP `signed-note`): a text, and lines that sign it.
//!
//! ```text
//! <text, one or more lines>
//!                                            the last empty line separates
//! — <key name> <base64 of key id and signature>
//! ```
//! The text says nothing until [`SignedNote::verify`] has returned: a signature by
//! an unknown key is ignored, one by a known key that fails rejects the whole note.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

pub(crate) mod key;

pub use key::{KeyId, KeyKind, SigningKey, VerifierKey};

/// Longest note that is accepted, in bytes.
pub const MAX_NOTE_BYTES: usize = 1 << 20;

/// Most signature lines that are accepted.
pub const MAX_SIGNATURES: usize = 100;

/// What a signature line begins with: an em dash and a space.
const LINE_PREFIX: &str = "\u{2014} ";
const KEY_ID_BYTES: usize = 4;

/// Why a note or a key is malformed, or a note is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("a note is at most {MAX_NOTE_BYTES} bytes long, not {found}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// Not UTF-8.
    #[error("the note is not UTF-8")]
    NotUtf8,
    /// A control character other than newline.
    #[error("the note has a control character other than newline")]
    ControlCharacter,
    /// The text of a note does not end in a newline.
    #[error("the text of a note ends in a newline")]
    TextEnd,
    /// No empty line between text and signatures, or no newline at the very end.
    #[error("no empty line separates text and signatures, or the last line is cut")]
    NoSeparator,
    /// No signature line.
    #[error("a note has at least one signature line")]
    NoSignatures,
    /// More than [`MAX_SIGNATURES`] signature lines.
    #[error("a note has at most {MAX_SIGNATURES} signature lines")]
    TooManySignatures,
    /// A line below the text is not a signature line.
    #[error("signature line {line} is malformed")]
    SignatureLine {
        /// Which one, from 1.
        line: usize,
    },
    /// The name of a key is empty or has a space, a `+` or a control character.
    #[error("the name of a key is not empty and has no white space and no '+'")]
    KeyName,
    /// The text form of a key is malformed. The text is not quoted: it may be private.
    #[error("a key is written {expected}")]
    KeyFormat {
        /// The form expected.
        expected: &'static str,
    },
    /// A key type other than Ed25519 (0x01, 0x04) and ML-DSA-44 (0x06), or one that is of no use
    /// where it stands.
    #[error("keys of type {found:#04x} are not supported here")]
    KeyType {
        /// The type byte.
        found: u8,
    },
    /// Not a public key of its type, or one for which signatures prove nothing.
    #[error("not a usable public key")]
    PublicKey,
    /// A time that no cosignature may state: 0, or above 2^63 - 1.
    #[error("a cosignature states a time of 1 to 2^63 - 1 seconds, not {found}")]
    CosignedTime {
        /// Seconds since 1970.
        found: u64,
    },
    /// The name of the cosigner or of the log is too long for an ML-DSA-44 cosignature.
    #[error("an ML-DSA-44 cosignature covers names of 1 to 255 bytes")]
    CosignedName,
    /// The key id in the text form is not that of the key.
    #[error("the key has id {computed}, not {written}: it was altered or miscopied")]
    KeyIdMismatch {
        /// The id that the text states.
        written: KeyId,
        /// The id of the name and the key.
        computed: KeyId,
    },
    /// Two different keys with the same name and id were given to verify with.
    #[error("two different keys are named {name} and have id {key_id}")]
    AmbiguousKey {
        /// Name of both.
        name: String,
        /// Id of both.
        key_id: KeyId,
    },
    /// A signature that claims to be by a known key is not.
    #[error("the signature of {name} ({key_id}) is not valid")]
    InvalidSignature {
        /// Name of the key.
        name: String,
        /// Id of the key.
        key_id: KeyId,
    },
    /// None of the known keys has signed.
    #[error("the note is not signed by a known key")]
    NoKnownSignature,
}

/// One signature line. Whether it is genuine only [`SignedNote::verify`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub(crate) name: String,
    pub(crate) key_id: KeyId,
    pub(crate) bytes: Vec<u8>,
}

impl Signature {
    /// A signature of this key from its bytes, as a key that is kept elsewhere gives them. Whether it
    /// holds only [`SignedNote::verify`] says.
    ///
    /// # Errors
    /// [`NoteError::SignatureLine`] where there are no bytes.
    pub fn new(key: &VerifierKey, bytes: Vec<u8>) -> Result<Self, NoteError> {
        if bytes.is_empty() {
            return Err(NoteError::SignatureLine { line: 1 });
        }
        Ok(Self { name: key.name().to_owned(), key_id: key.id(), bytes })
    }

    /// Parses one line, without its newline.
    ///
    /// # Errors
    /// [`NoteError::SignatureLine`].
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        Self::parse_line(line).ok_or(NoteError::SignatureLine { line: 1 })
    }

    fn parse_line(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(LINE_PREFIX)?.split_once(' ')?;
        key::check_name(name).ok()?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (key_id, bytes) = decoded.split_first_chunk::<KEY_ID_BYTES>()?;
        if bytes.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), key_id: KeyId(*key_id), bytes: bytes.to_vec() })
    }

    /// Name of the key that it claims to be of.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the key that it claims to be of.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The signature without the key id; its form depends on the type of the key.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for Signature {
    /// The line, without newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.0.as_slice(), &self.bytes].concat();
        write!(f, "{LINE_PREFIX}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A signature of a known key that [`SignedNote::verify`] found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'k> {
    /// The key.
    pub key: &'k VerifierKey,
    /// Time that a cosignature states, in seconds since 1970.
    pub time_s: Option<u64>,
}

/// A text with at least one signature line, well-formed but not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<Signature>,
}

impl SignedNote {
    /// A note from its parts.
    ///
    /// # Errors
    /// [`NoteError`] for what [`parse`](Self::parse) would refuse.
    pub fn new(text: impl Into<String>, signatures: Vec<Signature>) -> Result<Self, NoteError> {
        let text = text.into();
        check_text(&text)?;
        if signatures.is_empty() {
            return Err(NoteError::NoSignatures);
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        let note = Self { text, signatures };
        let found = note.to_string().len();
        if found > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong { found });
        }
        Ok(note)
    }

    /// Signs a text, which must end in a newline.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn sign(text: impl Into<String>, key: &SigningKey) -> Result<Self, NoteError> {
        let text = text.into();
        let signature = key.sign(&text)?;
        Self::new(text, vec![signature])
    }

    /// Parses a note. [`Display`](fmt::Display) gives the same bytes back.
    ///
    /// # Errors
    /// [`NoteError`], what is malformed. No signature is checked here.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong { found: bytes.len() });
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::NotUtf8)?;
        let separator = note.rfind("\n\n").ok_or(NoteError::NoSeparator)?;
        // The text keeps the first of the two newlines.
        let (text, rest) = note.split_at(separator + 1);
        check_text(text)?;
        let lines = rest.strip_prefix('\n').ok_or(NoteError::NoSeparator)?;
        if lines.is_empty() {
            return Err(NoteError::NoSignatures);
        }
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSeparator)?;
        let mut signatures = Vec::new();
        for (position, line) in lines.split('\n').enumerate() {
            if position == MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            let signature = Signature::parse_line(line)
                .ok_or(NoteError::SignatureLine { line: position + 1 })?;
            signatures.push(signature);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text with its final newline. **Not verified.**
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines in order. **Not verified.**
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature line, for instance a witness's; one that is there already is
    /// not added again.
    ///
    /// # Errors
    /// [`NoteError::TooManySignatures`], [`NoteError::TooLong`]; the note is unchanged.
    pub fn add(&mut self, signature: Signature) -> Result<(), NoteError> {
        if self.signatures.contains(&signature) {
            return Ok(());
        }
        let mut signatures = self.signatures.clone();
        signatures.push(signature);
        *self = Self::new(self.text.clone(), signatures)?;
        Ok(())
    }

    /// Adds a signature line; one of the same name and key id is replaced by it.
    ///
    /// # Errors
    /// [`NoteError::TooManySignatures`], [`NoteError::TooLong`]; the note is unchanged.
    pub fn put(&mut self, signature: Signature) -> Result<(), NoteError> {
        let mut signatures = self.signatures.clone();
        let same =
            |line: &Signature| line.name == signature.name && line.key_id == signature.key_id;
        match signatures.iter_mut().find(|line| same(line)) {
            Some(line) => *line = signature,
            None => signatures.push(signature),
        }
        *self = Self::new(self.text.clone(), signatures)?;
        Ok(())
    }

    /// Checks every signature that claims to be by one of `keys` and returns those
    /// keys, each once, in the order of the note. Where a key has signed twice the
    /// first line counts, but both must be valid.
    ///
    /// # Errors
    /// [`NoteError::InvalidSignature`] when one of them is not valid,
    /// [`NoteError::NoKnownSignature`] when there is none,
    /// [`NoteError::AmbiguousKey`] when two keys cannot be told apart.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<Verified<'k>>, NoteError> {
        let mut verified: Vec<Verified<'k>> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = find_key(keys, signature)? else { continue };
            let Some(time_s) = key.check(&self.text, &signature.bytes) else {
                let Signature { name, key_id, .. } = signature.clone();
                return Err(NoteError::InvalidSignature { name, key_id });
            };
            if !verified.iter().any(|earlier| earlier.key == key) {
                verified.push(Verified { key, time_s });
            }
        }
        if verified.is_empty() {
            return Err(NoteError::NoKnownSignature);
        }
        Ok(verified)
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

fn find_key<'k>(
    keys: &'k [VerifierKey],
    signature: &Signature,
) -> Result<Option<&'k VerifierKey>, NoteError> {
    let mut known =
        keys.iter().filter(|key| key.name() == signature.name && key.id() == signature.key_id);
    let Some(key) = known.next() else { return Ok(None) };
    if known.any(|other| other != key) {
        let Signature { name, key_id, .. } = signature.clone();
        return Err(NoteError::AmbiguousKey { name, key_id });
    }
    Ok(Some(key))
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::TextEnd);
    }
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::ControlCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
