//! Keys of signed notes and their text forms.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, VerifyingKey};
use ml_dsa::{EncodedVerifyingKey, MlDsa44};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{NoteError, Signature, check_text};
use crate::checkpoint::Checkpoint;
use crate::cosignature::{ed25519_message, ml_dsa_message, split_time};

const ED25519: u8 = 0x01;
const COSIGNATURE_ED25519: u8 = 0x04;
const COSIGNATURE_ML_DSA_44: u8 = 0x06;
const SEED_BYTES: usize = 32;
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
    /// Type 0x06: ML-DSA-44 (FIPS 204) over a time, the cosigner's name and the tree that the
    /// checkpoint states (C2SP `tlog-cosignature`). The key of a witness, or a second one of a log.
    CosignatureMlDsa44,
}

impl KeyKind {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => ED25519,
            Self::CosignatureEd25519 => COSIGNATURE_ED25519,
            Self::CosignatureMlDsa44 => COSIGNATURE_ML_DSA_44,
        }
    }

    /// Length of the public key in bytes.
    const fn key_bytes(self) -> usize {
        match self {
            Self::Ed25519 | Self::CosignatureEd25519 => 32,
            Self::CosignatureMlDsa44 => 1312,
        }
    }

    /// Whether such a key signs cosignatures, which state a time.
    pub const fn cosigns(self) -> bool {
        matches!(self, Self::CosignatureEd25519 | Self::CosignatureMlDsa44)
    }

    fn from_byte(byte: u8) -> Result<Self, NoteError> {
        match byte {
            ED25519 => Ok(Self::Ed25519),
            COSIGNATURE_ED25519 => Ok(Self::CosignatureEd25519),
            COSIGNATURE_ML_DSA_44 => Ok(Self::CosignatureMlDsa44),
            other => Err(NoteError::KeyType { found: other }),
        }
    }
}

/// A public key, ready to verify with.
#[derive(Clone)]
enum Public {
    Ed25519(VerifyingKey),
    MlDsa44(Arc<MlDsaPublic>),
}

struct MlDsaPublic {
    bytes: EncodedVerifyingKey<MlDsa44>,
    key: ml_dsa::VerifyingKey<MlDsa44>,
}

impl Public {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key.as_bytes(),
            Self::MlDsa44(key) => &key.bytes,
        }
    }
}

/// A public key with its name: what a verifier must hold from outside the log.
///
/// Text form (*vkey*): `<name>+<key id, 8 hex digits>+<base64 of type and key>`.
#[derive(Clone)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    kind: KeyKind,
    key: Public,
}

impl PartialEq for VerifierKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.id, self.kind) == (&other.name, other.id, other.kind)
            && self.same_key(other)
    }
}

impl Eq for VerifierKey {}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({} {} {:?})", self.name, self.id, self.kind)
    }
}

impl VerifierKey {
    /// A key from its bytes: 32 of Ed25519 (RFC 8032), 1,312 of ML-DSA-44 (FIPS 204).
    ///
    /// # Errors
    /// [`NoteError::KeyName`]; [`NoteError::PublicKey`] for bytes of another length, that are no
    /// point of the curve, or one of small order, for which signatures prove nothing.
    pub fn new(name: &str, kind: KeyKind, public_key: &[u8]) -> Result<Self, NoteError> {
        check_name(name)?;
        let key = match kind {
            KeyKind::Ed25519 | KeyKind::CosignatureEd25519 => {
                let bytes = public_key.try_into().map_err(|_| NoteError::PublicKey)?;
                let key = VerifyingKey::from_bytes(bytes).map_err(|_| NoteError::PublicKey)?;
                if key.is_weak() {
                    return Err(NoteError::PublicKey);
                }
                Public::Ed25519(key)
            }
            KeyKind::CosignatureMlDsa44 => {
                let bytes: EncodedVerifyingKey<MlDsa44> =
                    public_key.try_into().map_err(|_| NoteError::PublicKey)?;
                let key = ml_dsa::VerifyingKey::decode(&bytes);
                Public::MlDsa44(Arc::new(MlDsaPublic { bytes, key }))
            }
        };
        let id = key_id(name, kind, public_key);
        Ok(Self { name: name.to_owned(), id, kind, key })
    }

    /// Parses the text form; the key id in it must be the one of this name and key.
    ///
    /// # Errors
    /// [`NoteError::KeyFormat`], [`NoteError::KeyName`], [`NoteError::KeyType`],
    /// [`NoteError::PublicKey`], [`NoteError::KeyIdMismatch`].
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let ParsedKey { name, id, kind, key } = parse_key(vkey)?;
        if key.len() != kind.key_bytes() {
            return Err(NoteError::KeyFormat { expected: PUBLIC_FORM });
        }
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

    /// The bytes of the public key.
    pub fn public_key(&self) -> &[u8] {
        self.key.bytes()
    }

    /// Whether the other one is the same key, perhaps under another name or for another use.
    pub fn same_key(&self, other: &Self) -> bool {
        self.key.bytes() == other.key.bytes()
    }

    /// The same key under another id.
    #[cfg(test)]
    pub(super) fn with_id(self, id: KeyId) -> Self {
        Self { id, ..self }
    }

    /// Checks the bytes of a signature (without key id) over the text of a note and
    /// gives the time that a cosignature states, in seconds since 1970.
    pub(crate) fn check(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        match self.kind {
            KeyKind::Ed25519 => {
                self.check_message(text.as_bytes(), signature)?;
                Some(None)
            }
            KeyKind::CosignatureEd25519 => {
                let (time_s, signature) = split_time(signature)?;
                self.check_message(ed25519_message(time_s, text).as_bytes(), signature)?;
                Some(Some(time_s))
            }
            KeyKind::CosignatureMlDsa44 => {
                let (time_s, signature) = split_time(signature)?;
                let checkpoint = Checkpoint::parse(text).ok()?;
                let message = ml_dsa_message(&self.name, time_s, &checkpoint)?;
                self.check_message(&message, signature)?;
                // Time 0 states consistency, not that this is the largest tree known.
                Some(Some(time_s).filter(|time_s| *time_s > 0))
            }
        }
    }

    fn check_message(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        match &self.key {
            Public::Ed25519(key) => {
                let signature: &[u8; SIGNATURE_BYTES] = signature.try_into().ok()?;
                let signature = ed25519_dalek::Signature::from_bytes(signature);
                key.verify_strict(message, &signature).ok()
            }
            Public::MlDsa44(public) => {
                let signature = ml_dsa::Signature::<MlDsa44>::try_from(signature).ok()?;
                public.key.verify_with_context(message, &[], &signature).then_some(())
            }
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(self.key.bytes());
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
        let (ParsedKey { name, id, kind, .. }, seed) = parse_private(text)?;
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
        private_text(&self.verifier, self.key.as_bytes())
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
pub(crate) fn check_name(name: &str) -> Result<(), NoteError> {
    let forbidden = |c: char| c.is_whitespace() || c == '+' || c < ' ';
    if name.is_empty() || name.contains(forbidden) {
        return Err(NoteError::KeyName);
    }
    Ok(())
}

fn key_id(name: &str, kind: KeyKind, public_key: &[u8]) -> KeyId {
    let mut sha = Sha256::new();
    sha.update(name);
    sha.update([b'\n', kind.byte()]);
    sha.update(public_key);
    let [a, b, c, d, ..]: [u8; 32] = sha.finalize().into();
    KeyId([a, b, c, d])
}

/// The private text form of a key with this public half.
pub(crate) fn private_text(verifier: &VerifierKey, seed: &[u8; SEED_BYTES]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([verifier.kind.byte(); 1 + SEED_BYTES]);
    for (to, from) in bytes.iter_mut().skip(1).zip(seed) {
        *to = *from;
    }
    let encoded = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
    let VerifierKey { name, id, .. } = verifier;
    Zeroizing::new(format!("{PRIVATE_PREFIX}{name}+{id}+{}", *encoded))
}

/// Parses the private text form as far as its parts; whether the id is that of the key is for the
/// caller to check.
pub(crate) fn parse_private(
    text: &str,
) -> Result<(ParsedKey<'_>, Zeroizing<[u8; SEED_BYTES]>), NoteError> {
    let malformed = || NoteError::KeyFormat { expected: PRIVATE_FORM };
    let rest = text.strip_prefix(PRIVATE_PREFIX).ok_or_else(malformed)?;
    let parsed = parse_key(rest)?;
    let seed = parsed.key.as_slice().try_into().map_err(|_| malformed())?;
    Ok((parsed, Zeroizing::new(seed)))
}

/// The parts of a key's text form.
pub(crate) struct ParsedKey<'t> {
    pub(crate) name: &'t str,
    pub(crate) id: KeyId,
    pub(crate) kind: KeyKind,
    /// May be the seed of a private key: wiped on drop.
    key: Zeroizing<Vec<u8>>,
}

/// Splits `NAME+KEYID+BASE64`: the name and the key id hold no `+`, base64 may.
fn parse_key(text: &str) -> Result<ParsedKey<'_>, NoteError> {
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
    let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| malformed())?);
    let (kind, key) = bytes.split_first().ok_or_else(malformed)?;
    let kind = KeyKind::from_byte(*kind)?;
    Ok(ParsedKey { name, id: id_bytes, kind, key: Zeroizing::new(key.to_vec()) })
}
