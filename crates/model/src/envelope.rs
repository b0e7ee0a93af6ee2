//! Envelopes: disclosures and large values as they lie on disk, sealed under the key of the one
//! whom they are about. When that key is destroyed, so is every copy of them, wherever it lies.
//!
//! ```text
//! u8 version (1) | u8 content | 16 bytes id of the key | 24 bytes nonce | ciphertext | 16 bytes tag
//! ```
//! AES-256-GCM (NIST SP 800-38D) with a key of its own for each envelope and a nonce of zeros: key
//! = HMAC-SHA-256(key of the subject, `"loggia.envelope.v1" 0x00 nonce`). Everything before the
//! ciphertext is authenticated with it. What is in clear begins with `{` or another character of
//! JSON, never with the version, so both are told apart by their first byte.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The first byte of every envelope.
pub const VERSION: u8 = 1;
/// Bytes of an envelope before the ciphertext.
pub const HEADER_BYTES: usize = 2 + 16 + NONCE_BYTES;
/// Bytes that an envelope is longer than what it holds.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 16;
/// Bytes of an envelope's nonce.
pub const NONCE_BYTES: usize = 24;

/// The name of a key: random, so that it says nothing of its subject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = EnvelopeError;

    /// From 32 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, EnvelopeError> {
        let mut id = [0; 16];
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let decoded = hex::decode_to_slice(text, &mut id).is_ok();
        if lower && decoded { Ok(Self(id)) } else { Err(EnvelopeError::Malformed) }
    }
}

/// The key of one subject. Never printed; wiped when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SubjectKey([u8; 32]);

impl SubjectKey {
    /// A key of 32 bytes from a cryptographic source of randomness.
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// The bytes, for the file that keeps them.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(…)")
    }
}

/// What an envelope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A disclosure; `apart` where some of its values have files of their own.
    Disclosure {
        /// Whether there are such values.
        apart: bool,
    },
    /// A value that has a file of its own.
    Blob,
}

impl Content {
    const fn byte(self) -> u8 {
        match self {
            Self::Disclosure { apart: false } => 0,
            Self::Disclosure { apart: true } => 1,
            Self::Blob => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Disclosure { apart: false }),
            1 => Some(Self::Disclosure { apart: true }),
            2 => Some(Self::Blob),
            _ => None,
        }
    }
}

/// Why an envelope cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the form of an envelope.
    #[error("the envelope is malformed")]
    Malformed,
    /// It was altered, or was sealed under another key.
    #[error("the envelope is not what was sealed under its key")]
    Altered,
}

/// An envelope, not opened.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// What it holds.
    pub content: Content,
    /// Under which key.
    pub key: KeyId,
    header: &'a [u8],
    nonce: &'a [u8],
    sealed: &'a [u8],
}

/// Whether these bytes are an envelope, and not in clear.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.first() == Some(&VERSION)
}

impl<'a> Envelope<'a> {
    /// Reads the form of an envelope.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let (header, sealed) =
            bytes.split_at_checked(HEADER_BYTES).ok_or(EnvelopeError::Malformed)?;
        let (start, nonce) =
            header.split_at_checked(HEADER_BYTES - NONCE_BYTES).ok_or(EnvelopeError::Malformed)?;
        let [VERSION, content, id @ ..] = start else { return Err(EnvelopeError::Malformed) };
        let content = Content::from_byte(*content).ok_or(EnvelopeError::Malformed)?;
        let id = id.try_into().map_err(|_| EnvelopeError::Malformed)?;
        Ok(Self { content, key: KeyId(id), header, nonce, sealed })
    }

    /// What it holds, where `key` is the one that it was sealed under and nothing was altered.
    ///
    /// # Errors
    /// [`EnvelopeError::Altered`].
    pub fn open(&self, key: &SubjectKey) -> Result<Vec<u8>, EnvelopeError> {
        let cipher = cipher(key, self.nonce).ok_or(EnvelopeError::Altered)?;
        let payload = Payload { msg: self.sealed, aad: self.header };
        cipher.decrypt(&Nonce::default(), payload).map_err(|_| EnvelopeError::Altered)
    }
}

/// Seals `clear`. The nonce is random, or otherwise never used twice with this key.
///
/// # Errors
/// [`EnvelopeError`] for what is too long for the cipher: 64 GiB.
pub fn seal(
    content: Content,
    (id, key): (KeyId, &SubjectKey),
    nonce: [u8; NONCE_BYTES],
    clear: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    let mut bytes = Vec::with_capacity(clear.len() + OVERHEAD_BYTES);
    bytes.extend_from_slice(&[VERSION, content.byte()]);
    bytes.extend_from_slice(&id.0);
    bytes.extend_from_slice(&nonce);
    let cipher = cipher(key, &nonce).ok_or(EnvelopeError::Malformed)?;
    let payload = Payload { msg: clear, aad: &bytes };
    let sealed =
        cipher.encrypt(&Nonce::default(), payload).map_err(|_| EnvelopeError::Malformed)?;
    bytes.extend_from_slice(&sealed);
    Ok(bytes)
}

/// The cipher for one envelope. HMAC takes a key of any length (RFC 2104), so there always is one.
fn cipher(key: &SubjectKey, nonce: &[u8]) -> Option<Aes256Gcm> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
    mac.update(b"loggia.envelope.v1\0");
    mac.update(nonce);
    let mut own: [u8; 32] = mac.finalize().into_bytes().into();
    let cipher = Aes256Gcm::new_from_slice(&own).ok();
    own.zeroize();
    cipher
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> (KeyId, SubjectKey) {
        (KeyId([byte; 16]), SubjectKey::from_random([byte; 32]))
    }

    #[test]
    fn a_vector_that_another_language_can_check() {
        // python3: AESGCM(hmac.new(b"\7" * 32, b"loggia.envelope.v1\0" + b"\2" * 24, "sha256")
        //   .digest()).encrypt(bytes(12), b"{}", b"\1\0" + b"\7" * 16 + b"\2" * 24)
        let (id, subject) = key(7);
        let sealed = seal(Content::Disclosure { apart: false }, (id, &subject), [2; 24], b"{}");
        let sealed = sealed.unwrap();
        assert_eq!(sealed.len(), 2 + OVERHEAD_BYTES);
        assert_eq!(hex::encode(&sealed[HEADER_BYTES..]), "6c4d21058613e4518a93e153c85fb39c8650");
    }

    #[test]
    fn every_altered_byte_and_every_other_key_is_refused() {
        let (id, subject) = key(7);
        let sealed = seal(Content::Blob, (id, &subject), [2; 24], b"\"select 1\"").unwrap();
        assert!(is_envelope(&sealed) && !is_envelope(b"{}") && !is_envelope(b""));
        let envelope = Envelope::parse(&sealed).unwrap();
        assert_eq!((envelope.key, envelope.content), (id, Content::Blob));
        assert_eq!(envelope.open(&subject).unwrap(), b"\"select 1\"");
        assert_eq!(envelope.open(&key(8).1), Err(EnvelopeError::Altered));
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            let opened = Envelope::parse(&altered).and_then(|envelope| envelope.open(&subject));
            assert!(opened.is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_key_is_not_printed_and_its_name_reads_as_it_is_written() {
        let (id, subject) = key(0xab);
        assert_eq!(format!("{subject:?}"), "SubjectKey(…)");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("AB".repeat(16).parse::<KeyId>().is_err());
        assert!("ab".parse::<KeyId>().is_err());
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_what_is_opened(
            clear in proptest::collection::vec(any::<u8>(), 0..300),
            apart: bool,
            nonce: [u8; 24],
        ) {
            let (id, subject) = key(3);
            let content = Content::Disclosure { apart };
            let sealed = seal(content, (id, &subject), nonce, &clear).unwrap();
            let envelope = Envelope::parse(&sealed).unwrap();
            prop_assert_eq!(envelope.content, content);
            prop_assert_eq!(envelope.open(&subject).unwrap(), clear);
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(envelope) = Envelope::parse(&bytes) {
                prop_assert_eq!(envelope.open(&key(1).1), Err(EnvelopeError::Altered));
            }
        }
    }
}
