//! SHA-256 as the tree uses it (RFC 6962 section 2.1): the two prefixes keep a
//! leaf from ever being taken for a node.

use alloc::string::String;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Length of a hash in bytes.
pub const HASH_BYTES: usize = 32;

/// Root of the tree without entries: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = Hash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;

// SHA-256 itself (FIPS 180-4 section 5): what follows the message, its length in
// bits, and the state that it starts from.
const PADDING: u8 = 0x80;
const NODE_BITS: u64 = 8 * (1 + 2 * HASH_BYTES as u64);
const INITIAL_STATE: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

/// A SHA-256 value: of a leaf, of a node, or the root of a tree.
///
/// `Display` is lower-case hex; base64 (standard, padded) is what checkpoints and
/// proofs carry. Comparison is not constant-time: hashes of a log are public.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; HASH_BYTES]);

/// Why a text or a slice is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HashError {
    /// Not 64 lower-case hexadecimal digits.
    #[error("a hash in hex is 64 lower-case hexadecimal digits")]
    Hex,
    /// Not the canonical, padded base64 of 32 bytes.
    #[error("a hash in base64 is the canonical, padded encoding of 32 bytes")]
    Base64,
    /// A slice of the wrong length.
    #[error("a hash is 32 bytes long, not {found}")]
    Length {
        /// How many bytes there were.
        found: usize,
    },
}

impl Hash {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// Copies a slice of exactly 32 bytes.
    ///
    /// # Errors
    /// [`HashError::Length`] for any other length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, HashError> {
        let array = bytes.try_into().map_err(|_| HashError::Length { found: bytes.len() })?;
        Ok(Self(array))
    }

    /// Parses 64 lower-case hexadecimal digits, the form of `Display`.
    ///
    /// # Errors
    /// [`HashError::Hex`]; upper-case digits are refused so that each hash has one form.
    pub fn from_hex(text: &str) -> Result<Self, HashError> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(HashError::Hex);
        }
        let mut bytes = [0; HASH_BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HashError::Hex)?;
        Ok(Self(bytes))
    }

    /// Lower-case hex, 64 digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Parses standard base64 with padding (RFC 4648 section 4), canonical only.
    ///
    /// # Errors
    /// [`HashError::Base64`].
    pub fn from_base64(text: &str) -> Result<Self, HashError> {
        let bytes = STANDARD.decode(text).map_err(|_| HashError::Base64)?;
        Self::from_slice(&bytes).map_err(|_| HashError::Base64)
    }

    /// Standard base64 with padding, 44 characters.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl From<[u8; HASH_BYTES]> for Hash {
    fn from(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Hash of an entry: `SHA-256(0x00 || entry)`.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    sha.update([LEAF_PREFIX]);
    sha.update(entry);
    Hash(sha.finalize().into())
}

/// Hash of an inner node: `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    // 65 bytes always fill the same two blocks. Laid out here, without the buffer of
    // a hasher for any length, they take a quarter less time; appending to a log
    // makes one node for each entry.
    let mut message = [0; 128];
    message[0] = NODE_PREFIX;
    message[1..33].copy_from_slice(&left.0);
    message[33..65].copy_from_slice(&right.0);
    message[65] = PADDING;
    message[120..].copy_from_slice(&NODE_BITS.to_be_bytes());
    let (blocks, _) = message.as_chunks();
    let mut state = INITIAL_STATE;
    compress256(&mut state, blocks);
    let mut bytes = [0; HASH_BYTES];
    for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    Hash(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn empty_root_is_the_hash_of_nothing() {
        assert_eq!(EMPTY_ROOT, Hash(Sha256::digest([]).into()));
        assert_eq!(EMPTY_ROOT.to_base64(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn leaf_and_node_of_the_same_bytes_differ() {
        let (left, right) = (leaf_hash(b"l"), leaf_hash(b"r"));
        let joined = [left.0, right.0].concat();
        assert_ne!(node_hash(&left, &right), leaf_hash(&joined));
        assert_ne!(node_hash(&left, &right), node_hash(&right, &left));
    }

    #[test]
    fn only_one_form_is_accepted() {
        let hex = EMPTY_ROOT.to_hex();
        assert_eq!(hex, EMPTY_ROOT.to_string());
        assert_eq!(Hash::from_hex(&hex.to_uppercase()), Err(HashError::Hex));
        assert_eq!(Hash::from_hex(&hex[1..]), Err(HashError::Hex));
        assert_eq!(Hash::from_hex(""), Err(HashError::Hex));
        // "…FU=" ends in two zero bits; "…FV=" carries the same bytes with others.
        let base64 = EMPTY_ROOT.to_base64().replace("FU=", "FV=");
        assert_eq!(Hash::from_base64(&base64), Err(HashError::Base64));
        assert_eq!(Hash::from_base64(base64.trim_end_matches('=')), Err(HashError::Base64));
        assert_eq!(Hash::from_slice(&[0; 31]), Err(HashError::Length { found: 31 }));
    }

    proptest! {
        #[test]
        fn leaf_and_node_are_plain_sha256(
            left: [u8; 32],
            right: [u8; 32],
            entry in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let node = [[1].as_slice(), &left, &right].concat();
            let node = Hash(Sha256::digest(node).into());
            prop_assert_eq!(node_hash(&Hash(left), &Hash(right)), node);
            let leaf = [[0].as_slice(), &entry].concat();
            prop_assert_eq!(leaf_hash(&entry), Hash(Sha256::digest(leaf).into()));
        }

        #[test]
        fn round_trips(bytes: [u8; 32]) {
            let hash = Hash(bytes);
            prop_assert_eq!(Hash::from_hex(&hash.to_string()), Ok(hash));
            prop_assert_eq!(Hash::from_base64(&hash.to_base64()), Ok(hash));
            prop_assert_eq!(Hash::from_slice(hash.as_ref()), Ok(hash));
        }

        #[test]
        fn parsers_never_panic_and_accept_only_their_own_output(text in ".{0,80}") {
            if let Ok(hash) = Hash::from_hex(&text) {
                prop_assert_eq!(hash.to_hex(), text.clone());
            }
            if let Ok(hash) = Hash::from_base64(&text) {
                prop_assert_eq!(hash.to_base64(), text);
            }
        }
    }
}
