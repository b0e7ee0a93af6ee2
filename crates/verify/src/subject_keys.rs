//! The keys that disclosures lie under, one or a few for each subject, in `<data>/keys/subjects/`.
//!
//! Whoever has the folder reads what is disclosed; a copy of the log without it verifies just the
//! same, and its disclosures stay closed. To erase what is disclosed of somebody is to destroy
//! their keys.
//!
//! ```text
//! <data>/keys/subjects/<32 hex of the key's id>.key
//! subject pe_…            whose; `-` for events whose actor is not known
//! created_us 1790000000000000
//! key <64 hex>
//! ```

use crate::folder::{FolderError, read_file};
use loggia_model::envelope::{Envelope, EnvelopeError, KeyId, SubjectKey, is_envelope};
use loggia_model::id::ActorId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// No file of a key is longer, in bytes.
const FILE_BYTES_MAX: usize = 1024;

/// A key as its file holds it.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// Whose it is; none for events whose actor is not known.
    pub subject: Option<ActorId>,
    /// When it was made, microseconds since 1970.
    pub created_us: i64,
    /// The key.
    pub key: SubjectKey,
}

impl KeyFile {
    /// The name of the file of a key.
    pub fn name(id: KeyId) -> String {
        format!("{id}.key")
    }

    /// The key whose file has this name.
    pub fn id_of(name: &str) -> Option<KeyId> {
        name.strip_suffix(".key")?.parse().ok()
    }

    /// The text of the file.
    pub fn encode(&self) -> String {
        let subject = self.subject.map_or_else(|| "-".to_owned(), |subject| subject.to_string());
        let key = hex::encode(self.key.reveal());
        format!("subject {subject}\ncreated_us {}\nkey {key}\n", self.created_us)
    }

    /// Whether a crash left this of a key that was being destroyed: overwritten and not removed.
    pub fn is_destroyed(bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| *byte == b'0')
    }

    /// Reads the file; `None` where it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        let subject = match lines.next()?.strip_prefix("subject ")? {
            "-" => None,
            id => Some(id.parse().ok()?),
        };
        let created_us = lines.next()?.strip_prefix("created_us ")?.parse().ok()?;
        let mut key = [0; 32];
        hex::decode_to_slice(lines.next()?.strip_prefix("key ")?, &mut key).ok()?;
        Some(Self { subject, created_us, key: SubjectKey::from_random(key) })
    }
}

/// What stands in an envelope, or in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revealed<'a> {
    /// This. Nothing says yet that it is what the log committed to.
    Clear(Cow<'a, [u8]>),
    /// The key is not here: it was destroyed, or this is a copy without keys.
    NoKey,
    /// It is not what was sealed.
    Altered(EnvelopeError),
}

/// The keys of subjects beside a log. Those that were used stay in memory.
pub struct SubjectKeys {
    dir: PathBuf,
    known: RwLock<HashMap<KeyId, SubjectKey>>,
}

impl std::fmt::Debug for SubjectKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubjectKeys").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl SubjectKeys {
    /// Those beside the epoch in this folder, `<data>/ledger/e<epoch>`.
    pub fn beside(epoch_dir: &Path) -> Self {
        let data = epoch_dir.parent().and_then(Path::parent).unwrap_or(Path::new(""));
        Self { dir: data.join("keys").join("subjects"), known: RwLock::default() }
    }

    /// Their folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the keys should be here: this is no copy without them.
    pub fn expected(&self) -> bool {
        self.dir.is_dir()
    }

    /// The key of this name; `None` where it is not here.
    ///
    /// # Errors
    /// [`FolderError`]: it cannot be read, or its file is damaged.
    pub fn get(&self, id: KeyId) -> Result<Option<SubjectKey>, FolderError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(&id) {
            return Ok(Some(key.clone()));
        }
        drop(known);
        let path = self.dir.join(KeyFile::name(id));
        let Some(bytes) = read_file(&path, FILE_BYTES_MAX)? else { return Ok(None) };
        if KeyFile::is_destroyed(&bytes) {
            return Ok(None);
        }
        let damaged = || FolderError::Malformed { path, what: "not the key of a subject".into() };
        let key = KeyFile::parse(&bytes).ok_or_else(damaged)?.key;
        self.remember(id, &key);
        Ok(Some(key))
    }

    /// Keeps a key in memory.
    pub fn remember(&self, id: KeyId, key: &SubjectKey) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, key.clone());
    }

    /// Wipes a key from memory.
    pub fn forget(&self, id: KeyId) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Opens what is stored, where it is an envelope.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn reveal<'a>(&self, stored: &'a [u8]) -> Result<Revealed<'a>, FolderError> {
        if !is_envelope(stored) {
            return Ok(Revealed::Clear(Cow::Borrowed(stored)));
        }
        let envelope = match Envelope::parse(stored) {
            Ok(envelope) => envelope,
            Err(error) => return Ok(Revealed::Altered(error)),
        };
        let Some(key) = self.get(envelope.key)? else { return Ok(Revealed::NoKey) };
        Ok(match envelope.open(&key) {
            Ok(clear) => Revealed::Clear(Cow::Owned(clear)),
            Err(error) => Revealed::Altered(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loggia_model::envelope::{Content, seal};
    use loggia_model::id::PersonId;

    #[test]
    fn a_key_reads_as_it_is_written() {
        let subject = Some(ActorId::Person(PersonId::from_parts(1, [2; 10])));
        for subject in [subject, None] {
            let key = SubjectKey::from_random([7; 32]);
            let file = KeyFile { subject, created_us: 77, key };
            let read = KeyFile::parse(file.encode().as_bytes()).unwrap();
            assert_eq!((read.subject, read.created_us), (subject, 77));
            assert_eq!(read.key.reveal(), &[7; 32]);
        }
        assert!(KeyFile::parse(b"key 00").is_none());
        let id = KeyId([0xa1; 16]);
        assert_eq!(KeyFile::id_of(&KeyFile::name(id)), Some(id));
        assert_eq!(KeyFile::id_of("x.key"), None);
    }

    #[test]
    fn what_is_closed_opens_with_its_key_alone_and_what_is_clear_is_as_it_is() {
        let data = tempfile::tempdir().unwrap();
        let keys = SubjectKeys::beside(&data.path().join("ledger/e1"));
        assert!(!keys.expected());
        let (id, key) = (KeyId([1; 16]), SubjectKey::from_random([7; 32]));
        let content = Content::Disclosure { apart: false };
        let stored = seal(content, (id, &key), [9; 24], b"{\"a\":1}").unwrap();
        assert_eq!(keys.reveal(&stored).unwrap(), Revealed::NoKey);
        assert_eq!(keys.reveal(b"{}").unwrap(), Revealed::Clear(b"{}".into()));

        std::fs::create_dir_all(keys.dir()).unwrap();
        let file = KeyFile { subject: None, created_us: 1, key };
        std::fs::write(keys.dir().join(KeyFile::name(id)), file.encode()).unwrap();
        assert_eq!(keys.reveal(&stored).unwrap(), Revealed::Clear(b"{\"a\":1}".into()));
        let mut altered = stored.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert!(matches!(keys.reveal(&altered).unwrap(), Revealed::Altered(_)));
        assert!(matches!(keys.reveal(&[1, 2]).unwrap(), Revealed::Altered(_)));

        std::fs::remove_file(keys.dir().join(KeyFile::name(id))).unwrap();
        assert!(matches!(keys.reveal(&stored).unwrap(), Revealed::Clear(_)), "in memory");
        keys.forget(id);
        assert_eq!(keys.reveal(&stored).unwrap(), Revealed::NoKey);
    }
}
