//! Keys of subjects: every disclosure is sealed under the key of its event's actor before it is
//! written anywhere, so that with the key every copy of it is destroyed, in the write-ahead log,
//! in backups, in mirrors.
//!
//! A key is durable before anything is written under it: a crash in between leaves a key under
//! which nothing lies. An actor has one key that is in use; earlier ones are kept until an erasure
//! destroys them all.

use crate::disk::{Disk, is_full};
use crate::error::LedgerError;
use loggia_model::envelope::{self, Content, KeyId, SubjectKey};
use loggia_model::id::ActorId;
use loggia_model::port::{AppendError, Committed};
use loggia_model::{Draft, Mint};
use loggia_verify::folder::FolderError;
use loggia_verify::subject_keys::{KeyFile, Revealed, SubjectKeys};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::borrow::Cow;
use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between tries to make a key where there was no room for one.
const RETRY_WAIT: Duration = Duration::from_millis(250);

/// Whose: none for events whose actor is not known.
type Subject = Option<ActorId>;

/// The keys of one subject.
#[derive(Default)]
struct Held {
    /// In use, and when it was made.
    current: Option<(KeyId, SubjectKey, i64)>,
    all: Vec<KeyId>,
}

type All = HashMap<Subject, Held>;

/// The keys of all subjects.
pub(crate) struct Subjects {
    disk: Disk,
    mint: Mint,
    reader: Arc<SubjectKeys>,
    /// When there was no room for a key.
    full_since: Mutex<Option<Instant>>,
    /// Read from the moment that something is sealed until it is stamped: whoever holds it for
    /// writing knows that what is stamped later is sealed under other keys.
    held: RwLock<All>,
}

/// Drafts whose disclosures are sealed: the only thing that is stamped. Where they were sealed by
/// [`Subjects::seal`], the keys stay what they are for as long as it lives.
pub(crate) struct Sealed<'a> {
    drafts: Cow<'a, [Draft]>,
    _held: Option<RwLockReadGuard<'a, All>>,
}

impl Sealed<'_> {
    /// The drafts, in order.
    pub(crate) fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// Each of them alone.
    pub(crate) fn one_by_one(&self) -> impl Iterator<Item = Sealed<'_>> {
        self.drafts.chunks(1).map(|one| Sealed { drafts: Cow::Borrowed(one), _held: None })
    }

    /// An event of the ledger's own of which nothing is disclosed: no key is needed for it.
    pub(crate) fn bare(draft: Draft) -> Result<Self, AppendError> {
        if draft.disclosure.is_empty() && draft.blobs.is_empty() {
            return Ok(Self { drafts: Cow::Owned(vec![draft]), _held: None });
        }
        Err(AppendError::Closed("what is disclosed of an event was not sealed".to_owned()))
    }
}

impl Subjects {
    /// Reads the names of all keys that are there.
    pub(crate) fn open(
        disk: Disk,
        mint: Mint,
        reader: Arc<SubjectKeys>,
    ) -> Result<Self, LedgerError> {
        let dir = reader.dir().to_owned();
        let io = |error| LedgerError::io(&dir, error);
        let mut all = All::new();
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // What a crash left of a key that was being made is no key.
            let Some(id) = KeyFile::id_of(name) else { continue };
            let bytes = std::fs::read(&path).map_err(|error| LedgerError::io(&path, error))?;
            if KeyFile::is_destroyed(&bytes) {
                disk.remove(&path).map_err(|error| LedgerError::io(&path, error))?;
                continue;
            }
            let file = KeyFile::parse(&bytes);
            let file = file.ok_or_else(|| LedgerError::damaged(&path, "not a subject's key"))?;
            let held = all.entry(file.subject).or_default();
            held.all.push(id);
            if held.current.as_ref().is_none_or(|(_, _, made)| *made <= file.created_us) {
                held.current = Some((id, file.key, file.created_us));
            }
        }
        Ok(Self { disk, mint, reader, full_since: Mutex::default(), held: RwLock::new(all) })
    }

    /// Seals what is disclosed of each draft, and its large values. A ledger that is closed by it
    /// cannot go on: a key could not be made durable.
    pub(crate) fn seal<'a>(&'a self, drafts: &'a [Draft]) -> Result<Sealed<'a>, AppendError> {
        let open = |draft: &&Draft| !draft.disclosure.is_empty();
        let held = loop {
            let held = self.held.read();
            let has = |draft: &Draft| {
                held.get(&draft.actor).is_some_and(|subject| subject.current.is_some())
            };
            let Some(without) = drafts.iter().filter(open).find(|draft| !has(draft)) else {
                break held;
            };
            drop(held);
            let mut writing = self.held.write();
            // Another may have made it meanwhile.
            if writing.get(&without.actor).is_none_or(|subject| subject.current.is_none()) {
                self.fresh(&mut writing, without.actor)?;
            }
        };
        if !drafts.iter().any(|draft| !draft.disclosure.is_empty()) {
            return Ok(Sealed { drafts: Cow::Borrowed(drafts), _held: Some(held) });
        }
        let sealed: Result<Vec<Draft>, _> =
            drafts.iter().map(|draft| self.sealed(draft, &held)).collect();
        Ok(Sealed { drafts: Cow::Owned(sealed?), _held: Some(held) })
    }

    fn sealed(&self, draft: &Draft, held: &All) -> Result<Draft, AppendError> {
        let mut draft = draft.clone();
        let key = held.get(&draft.actor).and_then(|subject| subject.current.as_ref());
        let Some((id, key, _)) = key.filter(|_| !draft.disclosure.is_empty()) else {
            return Ok(draft);
        };
        let seal = |content, clear: &[u8]| {
            let sealed = envelope::seal(content, (*id, key), self.mint.random(), clear);
            sealed.map_err(|error| AppendError::Closed(error.to_string()))
        };
        let content = Content::Disclosure { apart: !draft.blobs.is_empty() };
        draft.disclosure = seal(content, &draft.disclosure)?.into();
        for blob in &mut draft.blobs {
            blob.bytes = seal(Content::Blob, &blob.bytes)?;
        }
        Ok(draft)
    }

    /// Makes a new key for a subject, durable, which is in use from now on.
    fn fresh(&self, held: &mut All, subject: Subject) -> Result<(), AppendError> {
        let (id, key) = (KeyId(self.mint.random()), SubjectKey::from_random(self.mint.random()));
        // An earlier one of the same moment must not come back with the next boot.
        let last = held.get(&subject).and_then(|keys| keys.current.as_ref());
        let created_us = self.mint.now_us().max(last.map_or(0, |(_, _, made)| made + 1));
        let file = KeyFile { subject, created_us, key };
        match self.write(id, &file) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                *self.full_since.lock() = Some(Instant::now());
                return Err(AppendError::Paused("no room on the disk"));
            }
            Err(error) => {
                let why =
                    format!("making a key in {} failed: {error}", self.reader.dir().display());
                return Err(AppendError::Closed(why));
            }
        }
        self.reader.remember(id, &file.key);
        let subject = held.entry(subject).or_default();
        subject.all.push(id);
        subject.current = Some((id, file.key, created_us));
        Ok(())
    }

    /// Whether there was no room for a key a moment ago: whoever waits is not called for nothing.
    pub(crate) fn is_full(&self) -> bool {
        self.full_since.lock().is_some_and(|since| since.elapsed() < RETRY_WAIT)
    }

    fn write(&self, id: KeyId, file: &KeyFile) -> std::io::Result<()> {
        let dir = self.reader.dir();
        if !dir.is_dir() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            if let Some(keys) = dir.parent() {
                self.disk.sync_folder(keys)?;
            }
        }
        let text = zeroize::Zeroizing::new(file.encode());
        self.disk.replace(&dir.join(KeyFile::name(id)), text.as_bytes())
    }

    /// Takes what is stamped from now on of this subject under another key. What was sealed before
    /// is stamped by now.
    pub(crate) fn turn(&self, subject: ActorId) -> Result<Turned<'_>, AppendError> {
        let mut held = self.held.write();
        let subject = Some(subject);
        if held.get(&subject).is_some_and(|keys| keys.current.is_some()) {
            self.fresh(&mut held, subject)?;
        }
        Ok(Turned { subjects: self, held })
    }

    /// Destroys all keys of a subject but the one in use: overwritten first, as far as the file system
    /// does that in place, then removed, durably. A crash in between leaves some, which are
    /// destroyed when this is done again.
    pub(crate) fn destroy(&self, subject: ActorId) -> Result<u64, LedgerError> {
        let mut held = self.held.write();
        let Some(keys) = held.get_mut(&Some(subject)) else { return Ok(0) };
        let keep = keys.current.as_ref().map(|(id, _, _)| *id);
        let mut destroyed = 0;
        for id in keys.all.iter().filter(|id| Some(**id) != keep) {
            let path = self.reader.dir().join(KeyFile::name(*id));
            let gone = self.overwrite(&path).and_then(|()| self.disk.remove(&path));
            gone.map_err(|error| LedgerError::io(&path, error))?;
            self.reader.forget(*id);
            destroyed += 1;
        }
        let dir = self.reader.dir();
        if destroyed > 0 {
            self.disk.sync_folder(dir).map_err(|error| LedgerError::io(dir, error))?;
        }
        keys.all.retain(|id| Some(*id) == keep);
        Ok(destroyed)
    }

    fn overwrite(&self, path: &Path) -> std::io::Result<()> {
        let file = match std::fs::OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0).min(4_096);
        self.disk.write_at(&file, path, &vec![b'0'; length], 0)?;
        self.disk.sync_data(&file, path)
    }

    /// How many keys a subject has.
    pub(crate) fn count(&self, subject: ActorId) -> u64 {
        self.held.read().get(&Some(subject)).map_or(0, |keys| keys.all.len() as u64)
    }

    /// Entries as everybody reads them: with their disclosures opened. Empty where the key was
    /// destroyed; as it is stored where it was altered, which whoever reads it will find.
    pub(crate) fn revealed(&self, entries: Vec<Committed>) -> Result<Vec<Committed>, FolderError> {
        let reveal = |mut entry: Committed| {
            let clear = match self.reader.reveal(&entry.disclosure)? {
                Revealed::Clear(Cow::Owned(clear)) => Some(clear.into()),
                Revealed::NoKey => Some(bytes::Bytes::new()),
                Revealed::Clear(Cow::Borrowed(_)) | Revealed::Altered(_) => None,
            };
            if let Some(clear) = clear {
                entry.disclosure = clear;
            }
            Ok(entry)
        };
        entries.into_iter().map(reveal).collect()
    }
}

/// A subject's key was changed; nothing is sealed until this is let go.
pub(crate) struct Turned<'a> {
    subjects: &'a Subjects,
    held: RwLockWriteGuard<'a, All>,
}

impl Turned<'_> {
    /// Seals one more draft under the keys as they are now.
    pub(crate) fn seal(&mut self, draft: &Draft) -> Result<Sealed<'static>, AppendError> {
        let has = self.held.get(&draft.actor).is_some_and(|subject| subject.current.is_some());
        if !has && !draft.disclosure.is_empty() {
            self.subjects.fresh(&mut self.held, draft.actor)?;
        }
        let sealed = self.subjects.sealed(draft, &self.held)?;
        Ok(Sealed { drafts: Cow::Owned(vec![sealed]), _held: None })
    }
}
