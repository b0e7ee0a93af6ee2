//! What was typed in a terminal, sealed line by line.
//!
//! ```text
//! session key = HMAC-SHA-256(silent key, salt of the recording)
//! line key    = HMAC-SHA-256(session key, "line" | id of the action, as text | u64 line)
//! ```
//!
//! Several terminals may be typed in at once in one session, each under an action of its own, and
//! each counts its lines from 0: the key of a line in one must not open one in another.
//! A frame is AES-256-GCM under its line's key, the nonce four zero bytes and the `u64` number of
//! the frame: no number is used twice in a recording. The key of a line that the terminal echoed
//! is written into the recording; a line that was typed at a prompt without echo stays sealed to
//! all who do not have the silent key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// 32 bytes that open something.
pub type Key = Zeroizing<[u8; 32]>;

/// The key of this gateway that opens what was typed without echo.
#[derive(Clone)]
pub struct SilentKey(Key);

impl SilentKey {
    /// From 32 bytes of a cryptographic source of randomness.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key of one recording.
    pub fn session(&self, salt: &[u8; 32]) -> SessionKey {
        SessionKey(keyed(&self.0, &[salt]))
    }
}

/// The key that opens what was typed in one session.
#[derive(Clone)]
pub struct SessionKey(Key);

impl SessionKey {
    /// The key of one line that was typed under an action, whose id is given as text.
    pub fn line(&self, action: &str, line: u64) -> Key {
        keyed(&self.0, &[b"line", action.as_bytes(), &line.to_be_bytes()])
    }
}

fn keyed(key: &Key, parts: &[&[u8]]) -> Key {
    // HMAC takes a key of any length (RFC 2104): the second way is never gone.
    let keyed = Hmac::<Sha256>::new_from_slice(key.as_slice());
    let mut mac = keyed.unwrap_or_else(|_| Hmac::new(&Default::default()));
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The line or its key is not the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the line cannot be opened with this key")]
pub struct Unopened;

/// Opens and seals the frames of one line.
pub struct Line(LessSafeKey);

impl Line {
    /// With the line's key.
    ///
    /// # Errors
    /// Where the cryptographic library does not take it, which it always does.
    pub fn new(key: &Key) -> Result<Self, Unopened> {
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| Unopened)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Encrypts `bytes` in place and gives the tag to be written behind them.
    pub(crate) fn seal(&self, frame: u64, bytes: &mut [u8]) -> Result<[u8; 16], Unopened> {
        let tag = self.0.seal_in_place_separate_tag(nonce(frame), Aad::empty(), bytes);
        tag.ok().and_then(|tag| tag.as_ref().try_into().ok()).ok_or(Unopened)
    }

    /// What was typed: `sealed` is ciphertext and tag of the frame with this number.
    ///
    /// # Errors
    /// [`Unopened`].
    pub fn open(&self, frame: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let opened = self.0.open_in_place(nonce(frame), Aad::empty(), &mut bytes);
        let length = opened.map_err(|_| Unopened)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }
}

fn nonce(frame: u64) -> Nonce {
    let mut bytes = [0; 12];
    for (to, from) in bytes.iter_mut().skip(4).zip(frame.to_be_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_opens_with_its_own_key_at_its_own_place_alone() {
        let key = SilentKey::new([7; 32]).session(&[9; 32]);
        let line = Line::new(&key.line("ev_1", 3)).unwrap();
        let mut bytes = b"hunter2".to_vec();
        let tag = line.seal(12, &mut bytes).unwrap();
        bytes.extend_from_slice(&tag);
        assert_eq!(line.open(12, &bytes).unwrap().as_slice(), b"hunter2");
        assert!(line.open(13, &bytes).is_err());
        assert!(Line::new(&key.line("ev_1", 4)).unwrap().open(12, &bytes).is_err());
        assert!(Line::new(&key.line("ev_2", 3)).unwrap().open(12, &bytes).is_err());
        let other = SilentKey::new([7; 32]).session(&[8; 32]);
        assert!(Line::new(&other.line("ev_1", 3)).unwrap().open(12, &bytes).is_err());
    }
}
