//! Sealed fields: what people typed, or what may be personal, stands in the log only as a
//! salted commitment; its disclosure lies beside the log and can be erased.
//!
//! - commitment = HMAC-SHA-256(key = salt, `"loggia.seal.v1" 0x00 path 0x00 value`);
//! - salt = HMAC-SHA-256(key = seed, `"loggia.salt.v1" 0x00 path`);
//! - `path` is an RFC 6901 pointer, `value` the RFC 8785 bytes of the whole field;
//! - one random 32-byte seed for each event; commitments and salts are lower-case hex.
//!
//! The disclosure is `{"blobs":[…],"seed":"…","values":{path:value,…}}` until a field is erased;
//! afterwards the seed is gone and `"salts":{path:salt}` holds those of what remains.
//! A value too large for a leaf is a blob: its path stands in `blobs`, its canonical bytes in a
//! file named by the commitment.

use crate::value::{Object, Value};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A SHA-256 or HMAC-SHA-256 value.
pub type Digest32 = [u8; 32];

/// The randomness behind the salts of one event. Never printed, never kept but in a disclosure.
#[derive(Clone)]
pub struct Seed(pub(crate) Digest32);

impl Seed {
    /// A seed of 32 bytes from a cryptographic source of randomness.
    pub fn from_random(random: Digest32) -> Self {
        Self(random)
    }
}

fn hmac(key: &Digest32, parts: &[&[u8]]) -> Digest32 {
    // HMAC takes a key of any length (RFC 2104), so this cannot fail; an empty key would give a
    // commitment that does not verify, never a wrong "verified".
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The salt of the field at `path`.
pub fn salt(seed: &Seed, path: &str) -> Digest32 {
    hmac(&seed.0, &[b"loggia.salt.v1\0", path.as_bytes()])
}

/// The commitment to `value` (its canonical bytes) at `path`.
pub fn commitment(salt: &Digest32, path: &str, value: &[u8]) -> Digest32 {
    hmac(salt, &[b"loggia.seal.v1\0", path.as_bytes(), b"\0", value])
}

/// A value whose canonical bytes are kept in a file of their own, named by the commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Lower-case hex of the commitment: the file's name.
    pub name: String,
    /// The canonical bytes of the value.
    pub bytes: Vec<u8>,
}

/// Why a disclosure does not stand beside its leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisclosureError {
    /// The disclosure itself cannot be read.
    #[error("the disclosure is malformed: {0}")]
    Malformed(&'static str),
    /// A disclosed value is not what was committed to.
    #[error("the disclosed value at {0} is not what the log committed to")]
    Mismatch(String),
    /// A value is disclosed for which the leaf has no commitment.
    #[error("the disclosure has a value at {0}, which the leaf does not seal")]
    NotSealed(String),
}

/// A disclosure as read back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disclosure {
    /// What is disclosed: pointer and value.
    pub values: Vec<(String, Value)>,
    /// The pointers whose values are blobs, with the salt of each.
    pub blobs: Vec<(String, Digest32)>,
}

impl Disclosure {
    /// Reads a disclosure and checks each value in it against the leaf's commitments
    /// (`sealed`: pointer to lower-case hex). Fields that were erased are absent, and that is fine.
    /// Blobs are listed with their salts; [`check_blob`] checks the file.
    pub fn open(bytes: &[u8], sealed: &Object) -> Result<Self, DisclosureError> {
        let all =
            Value::parse(bytes).map_err(|_| DisclosureError::Malformed("not canonical JSON"))?;
        let Value::Object(mut all) = all else {
            return Err(DisclosureError::Malformed("not an object"));
        };
        // A member under another name would hide what it holds as if that had been erased.
        if all.keys().any(|key| !["blobs", "salts", "seed", "values"].contains(&key.as_ref())) {
            return Err(DisclosureError::Malformed("a member that no disclosure has"));
        }
        let seed = match all.get("seed").map(hex_digest) {
            Some(None) => return Err(DisclosureError::Malformed("the seed")),
            Some(Some(seed)) => Some(Seed(seed)),
            None => None,
        };
        let values = match all.remove("values") {
            None => Object::new(),
            Some(Value::Object(values)) => values,
            Some(_) => return Err(DisclosureError::Malformed("the values")),
        };
        let salt_of = |path: &str| match &seed {
            Some(seed) => Ok(salt(seed, path)),
            None => all
                .get("salts")
                .and_then(|salts| salts.get(path))
                .and_then(hex_digest)
                .ok_or(DisclosureError::Malformed("no salt for a disclosed value")),
        };
        let committed = |path: &str| {
            let hex = sealed.get(path).and_then(Value::as_str);
            hex.ok_or_else(|| DisclosureError::NotSealed(path.to_owned()))
        };
        let mut open = Self::default();
        for (path, value) in values {
            let commitment = commitment(&salt_of(&path)?, &path, &value.to_bytes());
            if committed(&path)? != hex::encode(commitment) {
                return Err(DisclosureError::Mismatch(path.into_owned()));
            }
            open.values.push((path.into_owned(), value));
        }
        let paths = match all.get("blobs") {
            None => &[],
            Some(Value::Array(paths)) => paths.as_slice(),
            Some(_) => return Err(DisclosureError::Malformed("the blobs")),
        };
        for path in paths {
            let path = path.as_str().ok_or(DisclosureError::Malformed("a blob's path"))?;
            committed(path)?;
            open.blobs.push((path.to_owned(), salt_of(path)?));
        }
        Ok(open)
    }
}

/// Whether `bytes` are the blob that `name` (hex of the commitment at `path`) promises.
pub fn check_blob(name: &str, path: &str, salt: &Digest32, bytes: &[u8]) -> bool {
    name == hex::encode(commitment(salt, path, bytes))
}

fn hex_digest(value: &Value) -> Option<Digest32> {
    let mut digest = [0; 32];
    // Lower case only: one content has one form, so that no altered byte goes unseen.
    let text = value.as_str().filter(|text| !text.bytes().any(|byte| byte.is_ascii_uppercase()))?;
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

/// Writes the disclosure of fields that were just sealed; both lists are in ascending order of
/// their pointers, which makes the result canonical.
pub(crate) fn write_disclosure<B: AsRef<[u8]>>(
    seed: &Seed,
    values: &[(&str, B)],
    blobs: &[&str],
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    if !blobs.is_empty() {
        out.extend_from_slice(b"\"blobs\":");
        Value::Array(blobs.iter().map(|path| Value::from(*path)).collect()).write(out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"seed\":\"");
    write_hex(&seed.0, out);
    out.extend_from_slice(b"\",\"values\":{");
    for (place, (path, value)) in values.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        crate::value::write_string(path, out);
        out.push(b':');
        out.extend_from_slice(value.as_ref());
    }
    out.extend_from_slice(b"}}");
}

/// Appends lower-case hex.
pub(crate) fn write_hex(digest: &Digest32, out: &mut Vec<u8>) {
    let mut hex = [0; 64];
    // Twice as many digits as bytes, so this cannot fail.
    if hex::encode_to_slice(digest, &mut hex).is_ok() {
        out.extend_from_slice(&hex);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn sealed(seed: &Seed, path: &'static str, value: &Value) -> Object {
        let commitment = commitment(&salt(seed, path), path, &value.to_bytes());
        Object::from([(Cow::Borrowed(path), Value::Str(hex::encode(commitment)))])
    }

    #[test]
    fn a_vector_that_another_language_can_check() {
        // python3: hmac.new(salt, b"loggia.seal.v1\0/detail/text\0\"select 1\"", "sha256")
        let seed = Seed::from_random([7; 32]);
        let salt = salt(&seed, "/detail/text");
        assert_eq!(
            hex::encode(salt),
            "6b1bbeffdc9f3a772ca9c9dd0465035a5dbee677cf60820893252a2d2ebee1d5"
        );
        let committed = commitment(&salt, "/detail/text", b"\"select 1\"");
        assert_eq!(
            hex::encode(committed),
            "eef1ae23781b6f3370563ae01e5b438d4359a025c22bf400faec437aa1aed178"
        );
        assert_ne!(committed, commitment(&salt, "/detail/other", b"\"select 1\""));
    }

    #[test]
    fn a_changed_value_a_changed_path_and_a_foreign_value_are_named() {
        let seed = Seed::from_random([9; 32]);
        let value = Value::from("drop table accounts");
        let leaf = sealed(&seed, "/detail/text", &value);
        let mut bytes = Vec::new();
        write_disclosure(&seed, &[("/detail/text", value.to_bytes())], &[], &mut bytes);
        let open = Disclosure::open(&bytes, &leaf).unwrap();
        assert_eq!(open.values, vec![("/detail/text".to_owned(), value)]);

        let changed = String::from_utf8(bytes.clone()).unwrap().replace("drop", "keep");
        assert_eq!(
            Disclosure::open(changed.as_bytes(), &leaf),
            Err(DisclosureError::Mismatch("/detail/text".into()))
        );
        assert_eq!(
            Disclosure::open(&bytes, &Object::new()),
            Err(DisclosureError::NotSealed("/detail/text".into()))
        );
        let hidden = String::from_utf8(bytes).unwrap().replace("\"values\"", "\"walues\"");
        assert_eq!(
            Disclosure::open(hidden.as_bytes(), &leaf),
            Err(DisclosureError::Malformed("a member that no disclosure has"))
        );
    }

    #[test]
    fn after_an_erasure_the_salts_of_the_rest_suffice() {
        let seed = Seed::from_random([3; 32]);
        let value = Value::from("kept");
        let leaf = sealed(&seed, "/detail/text", &value);
        let bytes = Value::Object(Object::from([
            (
                Cow::Borrowed("salts"),
                Value::Object(Object::from([(
                    Cow::Borrowed("/detail/text"),
                    Value::Str(hex::encode(salt(&seed, "/detail/text"))),
                )])),
            ),
            (
                Cow::Borrowed("values"),
                Value::Object(Object::from([(Cow::Borrowed("/detail/text"), value)])),
            ),
        ]))
        .to_bytes();
        assert_eq!(Disclosure::open(&bytes, &leaf).unwrap().values.len(), 1);
    }
}
