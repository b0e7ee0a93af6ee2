//! Keys of signed notes and their text forms.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{NoteError, Signature, check_text};

const ED25519: u8 = 0x01;
const COSIGNATURE_ED25519: u8 = 0x04;
const PUBLIC_KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";

/// First four bytes of a hash over name, type and public key: tells which key a
/// signature claims to be of. It is short and proves nothing by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// What a key signs, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Type 0x01: Ed25519 over the text of the note. The key of a log.
    Ed25519,
    /// Type 0x04: Ed25519 over a time and the text of the note (C2SP
    /// `tlog-cosignature`). The key of a witness.
    CosignatureEd25519,
}

impl KeyKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => ED25519,
            Self::CosignatureEd25519 => COSIGNATURE_ED25519,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, NoteError> {
        match byte {
            ED25519 => Ok(Self::Ed25519),
            COSIGNATURE_ED25519 => Ok(Self::CosignatureEd25519),
            other => Err(NoteError::KeyType { found: other }),
        }
    }
}

/// A public key with its name: what a verifier must hold from outside the log.
///
/// Text form (*vkey*): `<name>+<key id, 8 hex digits>+<base64 of type and key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    kind: KeyKind,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A key from its 32 bytes (RFC 8032).
    ///
    /// # Errors
    /// [`NoteError::KeyName`]; [`NoteError::PublicKey`] for bytes that are no point of
    /// the curve, or one of small order, for which signatures prove nothing.
    pub fn new(
        name: &str,
        kind: KeyKind,
        public_key: &[u8; PUBLIC_KEY_BYTES],
    ) -> Result<Self, NoteError> {
        check_name(name)?;
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| NoteError::PublicKey)?;
        if key.is_weak() {
            return Err(NoteError::PublicKey);
        }
        let id = key_id(name, kind, public_key);
        Ok(Self { name: name.to_owned(), id, kind, key })
    }

    /// Parses the text form; the key id in it must be the one of this name and key.
    ///
    /// # Errors
    /// [`NoteError::KeyFormat`], [`NoteError::KeyName`], [`NoteError::KeyType`],
    /// [`NoteError::PublicKey`], [`NoteError::KeyIdMismatch`].
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let (name, id, (kind, key)) = parse_key(vkey)?;
        let parsed = Self::new(name, kind, &key)?;
        if parsed.id != id {
            return Err(NoteError::KeyIdMismatch { written: id, computed: parsed.id });
        }
        Ok(parsed)
    }

    /// Name of the key; for a log its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key id, as in the signature lines.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What it verifies.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The 32 bytes of the public key.
    pub fn public_key(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        self.key.as_bytes()
    }

    /// The same key under another id.
    #[cfg(test)]
    pub(super) fn with_id(self, id: KeyId) -> Self {
        Self { id, ..self }
    }

    /// Checks the bytes of a signature (without key id) over the text of a note and
    /// gives the time that a cosignature states, in seconds since 1970.
    pub(super) fn check(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        match self.kind {
            KeyKind::Ed25519 => {
                self.check_message(text.as_bytes(), signature)?;
                Some(None)
            }
            KeyKind::CosignatureEd25519 => {
                let (time, signature) = signature.split_first_chunk()?;
                let time_s = u64::from_be_bytes(*time);
                if i64::try_from(time_s).is_err() {
                    return None;
                }
                let message = format!("cosignature/v1\ntime {time_s}\n{text}");
                self.check_message(message.as_bytes(), signature)?;
                Some(Some(time_s))
            }
        }
    }

    fn check_message(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let signature: &[u8; SIGNATURE_BYTES] = signature.try_into().ok()?;
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.key.verify_strict(message, &signature).ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, STANDARD.encode(bytes))
    }
}

/// The private key of a log (type 0x01). Zeroed on drop; cannot be printed.
///
/// Text form: `PRIVATE+KEY+<name>+<key id>+<base64 of type and 32-byte seed>`.
pub struct SigningKey {
    verifier: VerifierKey,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key of this name from a seed of 32 random bytes.
    ///
    /// # Errors
    /// [`NoteError::KeyName`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public_key = key.verifying_key();
        let verifier = VerifierKey::new(name, KeyKind::Ed25519, public_key.as_bytes())?;
        Ok(Self { verifier, key })
    }

    /// Parses the private text form, without white space around it.
    ///
    /// # Errors
    /// As [`VerifierKey::parse`]; no error quotes the text.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::KeyFormat { expected: PRIVATE_FORM };
        let rest = text.strip_prefix(PRIVATE_PREFIX).ok_or(malformed)?;
        let (name, id, (kind, seed)) = parse_key(rest)?;
        let seed = Zeroizing::new(seed);
        if kind != KeyKind::Ed25519 {
            return Err(NoteError::KeyType { found: kind.byte() });
        }
        let parsed = Self::from_seed(name, &seed)?;
        if parsed.verifier.id != id {
            return Err(NoteError::KeyIdMismatch { written: id, computed: parsed.verifier.id });
        }
        Ok(parsed)
    }

    /// The private text form, to be kept in a file that only its owner can read.
    pub fn private_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([ED25519; 1 + PUBLIC_KEY_BYTES]);
        for (to, from) in bytes.iter_mut().skip(1).zip(self.key.as_bytes()) {
            *to = *from;
        }
        let encoded = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        let VerifierKey { name, id, .. } = &self.verifier;
        Zeroizing::new(format!("{PRIVATE_PREFIX}{name}+{id}+{}", *encoded))
    }

    /// The public half.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Name of the key.
    pub fn name(&self) -> &str {
        &self.verifier.name
    }

    /// Signs the text of a note, which ends in a newline.
    ///
    /// # Errors
    /// [`NoteError::TextEnd`], [`NoteError::ControlCharacter`]: what no verifier would
    /// accept is not signed.
    pub fn sign(&self, text: &str) -> Result<Signature, NoteError> {
        check_text(text)?;
        let signature = self.key.sign(text.as_bytes());
        Ok(Signature {
            name: self.verifier.name.clone(),
            key_id: self.verifier.id,
            bytes: signature.to_bytes().to_vec(),
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VerifierKey { name, id, .. } = &self.verifier;
        f.debug_struct("SigningKey").field("name", name).field("id", id).finish_non_exhaustive()
    }
}

const PUBLIC_FORM: &str = "NAME+KEYID+BASE64";
const PRIVATE_FORM: &str = "PRIVATE+KEY+NAME+KEYID+BASE64";

/// Names are not empty and have neither white space nor `+` nor control characters.
pub(super) fn check_name(name: &str) -> Result<(), NoteError> {
    let forbidden = |c: char| c.is_whitespace() || c == '+' || c < ' ';
    if name.is_empty() || name.contains(forbidden) {
        return Err(NoteError::KeyName);
    }
    Ok(())
}

fn key_id(name: &str, kind: KeyKind, public_key: &[u8; PUBLIC_KEY_BYTES]) -> KeyId {
    let mut sha = Sha256::new();
    sha.update(name);
    sha.update([b'\n', kind.byte()]);
    sha.update(public_key);
    let [a, b, c, d, ..]: [u8; 32] = sha.finalize().into();
    KeyId([a, b, c, d])
}

type KeyMaterial = (KeyKind, [u8; PUBLIC_KEY_BYTES]);

/// Splits `NAME+KEYID+BASE64`: the name and the key id hold no `+`, base64 may.
fn parse_key(text: &str) -> Result<(&str, KeyId, KeyMaterial), NoteError> {
    let malformed = || NoteError::KeyFormat { expected: PUBLIC_FORM };
    let (name, rest) = text.split_once('+').ok_or_else(malformed)?;
    check_name(name)?;
    let (id, encoded) = rest.split_once('+').ok_or_else(malformed)?;
    let mut id_bytes = [0; 4];
    hex::decode_to_slice(id, &mut id_bytes).map_err(|_| malformed())?;
    let id_bytes = KeyId(id_bytes);
    if id_bytes.to_string() != id {
        return Err(malformed());
    }
    // May be the seed of a private key: wiped when this returns.
    let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| malformed())?);
    let (kind, key) = bytes.split_first().ok_or_else(malformed)?;
    let kind = KeyKind::from_byte(*kind)?;
    let key = key.try_into().map_err(|_| malformed())?;
    Ok((name, id_bytes, (kind, key)))
}
