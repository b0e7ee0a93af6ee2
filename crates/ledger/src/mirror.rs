//! A second copy of a log: what witnesses notice and cannot bring back.
//!
//! [`Mirror::pull`] takes what a source has published since the last time and verifies it on
//! arrival: entries are hashed into the tree of the copy, and only when that has the root that the
//! log has signed is the checkpoint put beside them. So the copy is whole at every checkpoint it
//! has, and a source that shows another history is refused. A crash at any point leaves files that
//! no checkpoint refers to; the next pull writes them again.
//!
//! What is disclosed lies sealed under keys that a copy has not: it is taken as it comes, and held
//! to the log where the keys are. What an earlier program wrote in clear is held to it on arrival.
//!
//! Not copied: keys and the control database, which a copy in other hands must not have; and what
//! stands in the write-ahead log alone, under no checkpoint yet.

use crate::disk::Disk;
use crate::epoch::{epoch_of, lock_folder};
use crate::error::LedgerError;
use crate::layout::{EpochLayout, Layout};
use crate::recover::read_checkpoint;
use crate::tail::from_files;
use crate::tiles::Tiles;
use loggia_model::envelope::{Content, Envelope, OVERHEAD_BYTES, is_envelope};
use loggia_model::event::ACTION_BYTES_MAX;
use loggia_model::seal::{Disclosure, check_blob};
use loggia_model::{Event, Value};
use loggia_tlog::checkpoint::CheckpointError;
use loggia_tlog::merkle::root_of;
use loggia_tlog::{Checkpoint, VerifierKey};
use loggia_verify::folder::LogFolder;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Entries that are taken at a time.
const ENTRIES_AT_ONCE: usize = 2_048;

/// What a copy is made from. The errors say why something cannot be had.
pub trait MirrorSource {
    /// The published checkpoint; `None` before the first.
    fn checkpoint(&self) -> Result<Option<Vec<u8>>, String>;
    /// The newest checkpoint that enough witnesses have cosigned.
    fn cosigned(&self) -> Result<Option<Vec<u8>>, String>;
    /// Entries from `from` on of a log of `size`, with what is disclosed of them, at least one and
    /// at most about `max`.
    fn entries(&self, from: u64, max: usize, size: u64) -> Result<Vec<MirrorEntry>, String>;
    /// Whether it shows what is disclosed at all: a copy of one that does not says nothing of what is
    /// disclosed, rather than that nothing is.
    fn discloses(&self) -> bool {
        true
    }
    /// A sealed value that has a file of its own; `None` where it is not there.
    fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, String>;
}

/// An entry, and the disclosure beside it where there is one.
pub type MirrorEntry = (Vec<u8>, Option<Vec<u8>>);

/// An epoch's folder as the source of a copy.
pub struct FolderSource {
    folder: LogFolder,
}

impl FolderSource {
    /// The epoch in this folder (`ledger/e1`).
    ///
    /// # Errors
    /// Where that is no folder.
    pub fn new(epoch_dir: &Path) -> Result<Self, LedgerError> {
        Ok(Self { folder: LogFolder::open(epoch_dir)? })
    }
}

impl MirrorSource for FolderSource {
    fn checkpoint(&self) -> Result<Option<Vec<u8>>, String> {
        self.folder.checkpoint_bytes().map_err(|error| error.to_string())
    }

    fn cosigned(&self) -> Result<Option<Vec<u8>>, String> {
        self.folder.cosigned_bytes().map_err(|error| error.to_string())
    }

    fn entries(&self, from: u64, max: usize, size: u64) -> Result<Vec<MirrorEntry>, String> {
        let read = self.folder.read(from, max, size).map_err(|error| error.to_string())?;
        Ok(read.into_iter().map(|entry| (entry.leaf, entry.disclosure)).collect())
    }

    fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = self.folder.blob_path(name) else { return Ok(None) };
        match std::fs::metadata(&path) {
            Ok(found) if found.len() > (ACTION_BYTES_MAX + OVERHEAD_BYTES) as u64 => {
                Err(format!("{} is longer than any such value", path.display()))
            }
            Ok(_) => std::fs::read(&path).map(Some).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}

/// Why nothing was taken.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The source cannot be read.
    #[error("the source cannot be read: {0}")]
    Source(String),
    /// It has no checkpoint yet.
    #[error("the source has published nothing yet")]
    Nothing,
    /// Its checkpoint is not signed by a key that was given.
    #[error("the checkpoint of the source is not accepted: {0}")]
    Unsigned(String),
    /// It is another log than those whose keys were given.
    #[error("the source is the log {0}, whose key was not given")]
    Foreign(String),
    /// It has fewer entries than the copy.
    #[error("the source shows {shown} entries, the copy has {have}: it was cut, or put back")]
    Shrunk {
        /// Entries of the source's checkpoint.
        shown: u64,
        /// Entries of the copy.
        have: u64,
    },
    /// It has another history than the copy, or not the one that it signed.
    #[error(
        "A FORK: the entries of the source do not lead from the {have} of the copy to what it signed"
    )]
    Forked {
        /// Entries of the copy.
        have: u64,
    },
    /// A value beside the log is not what the log committed to.
    #[error("entry {entry} of the source: {why}")]
    Altered {
        /// Which entry.
        entry: u64,
        /// What is wrong.
        why: String,
    },
    /// The copy itself.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What a pull has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Name of the log.
    pub origin: String,
    /// Entries that the copy had before.
    pub from: u64,
    /// Entries that it has now.
    pub size: u64,
    /// Sealed values with a file of their own that the source does not have (any more).
    pub blobs_missing: u64,
}

/// A folder that holds a copy, laid out like a data folder.
pub struct Mirror {
    layout: Layout,
    disk: Disk,
    /// Held for as long as the copy is open.
    _lock: File,
}

impl Mirror {
    /// Opens the copy in a folder, or begins one.
    ///
    /// # Errors
    /// Where another process is at it, or the folder cannot be made.
    pub fn open(dir: &Path, disk: Disk) -> Result<Self, LedgerError> {
        make_folder(dir)?;
        let layout = Layout::new(dir);
        let lock = lock_folder(&layout)?;
        make_folder(&layout.blobs())?;
        disk.sync_folder(dir).map_err(|error| LedgerError::io(dir, error))?;
        Ok(Self { layout, disk, _lock: lock })
    }

    /// Takes what the source has published since the last time.
    ///
    /// # Errors
    /// [`MirrorError`]: the copy is what it was then.
    pub fn pull(
        &self,
        source: &dyn MirrorSource,
        keys: &[VerifierKey],
    ) -> Result<Pulled, MirrorError> {
        // What witnesses say first: a log that grows meanwhile then covers it.
        let cosigned = source.cosigned().map_err(MirrorError::Source)?;
        let note = source.checkpoint().map_err(MirrorError::Source)?.ok_or(MirrorError::Nothing)?;
        let (checkpoint, key) = signed(&note, keys)?;
        let epoch = self.epoch(&checkpoint)?;
        let own = read_checkpoint(&epoch.folder.checkpoint_path(), keys)?;
        let (from, size) = (own.as_ref().map_or(0, Checkpoint::size), checkpoint.size());
        if from > size {
            return Err(MirrorError::Shrunk { shown: size, have: from });
        }
        if let Some(own) = &own {
            let found = root_of(from, &epoch.folder.hash_reader(from));
            let found = found.map_err(|error| LedgerError::damaged(&epoch.log, error))?;
            if found != own.root() {
                let why = "its tree is not the one of its checkpoint";
                return Err(LedgerError::damaged(&epoch.log, why).into());
            }
        }

        // Entries, as they would have been written here. Nothing refers to these files yet.
        let mut tiles = Tiles::load(self.disk.clone(), epoch.clone(), from)?;
        tiles.remove_orphans();
        if !source.discloses() {
            tiles.without_disclosures();
        }
        let mut blobs_missing = 0;
        while tiles.size() < size {
            let next = tiles.size();
            let entries =
                source.entries(next, ENTRIES_AT_ONCE, size).map_err(MirrorError::Source)?;
            if entries.is_empty() {
                return Err(MirrorError::Source(format!("entry {next} is missing")));
            }
            for (index, (leaf, disclosure)) in (next..size).zip(entries) {
                blobs_missing += self.disclosed(source, index, &leaf, disclosure.as_deref())?;
                tiles.push(&from_files(index, leaf, disclosure))?;
            }
        }
        if tiles.root() != checkpoint.root() {
            return Err(MirrorError::Forked { have: from });
        }
        let superseded = tiles.settle()?;

        // Only now does the copy speak for them.
        self.replace(&epoch.folder.checkpoint_path(), &note)?;
        if let Some(cosigned) = cosigned.filter(|note| Checkpoint::open(note, key).is_ok()) {
            self.replace(&epoch.folder.cosigned_path(), &cosigned)?;
        }
        for path in superseded {
            self.disk.remove(&path).map_err(|error| LedgerError::io(&path, error))?;
        }
        Ok(Pulled { origin: checkpoint.origin().to_owned(), from, size, blobs_missing })
    }

    fn epoch(&self, checkpoint: &Checkpoint) -> Result<EpochLayout, MirrorError> {
        let number = epoch_of(checkpoint.origin()).unwrap_or(1);
        let folder = self.layout.epoch(number);
        for part in ["", "wal", "log", "open"] {
            make_folder(&folder.join(part))?;
        }
        let sync = self.disk.sync_folder(&self.layout.ledger());
        sync.map_err(|error| LedgerError::io(&self.layout.ledger(), error))?;
        Ok(EpochLayout::open(&folder)?)
    }

    /// Holds a disclosure to the leaf, and takes the values that have files of their own. Gives how
    /// many of these are not there.
    fn disclosed(
        &self,
        source: &dyn MirrorSource,
        entry: u64,
        leaf: &[u8],
        disclosure: Option<&[u8]>,
    ) -> Result<u64, MirrorError> {
        let Some(bytes) = disclosure else { return Ok(0) };
        let altered = |why: String| MirrorError::Altered { entry, why };
        let event = Event::parse(leaf).map_err(|error| altered(error.to_string()))?;
        let nothing = loggia_model::value::Object::new();
        let sealed = event.sealed().unwrap_or(&nothing);
        if is_envelope(bytes) {
            return self.closed(source, entry, bytes, sealed);
        }
        let open = Disclosure::open(bytes, sealed).map_err(|error| altered(error.to_string()))?;
        let mut missing = 0;
        for (path, salt) in &open.blobs {
            let Some(name) = sealed.get(path.as_str()).and_then(Value::as_str) else { continue };
            let to = self.layout.blobs().join(name);
            if to.exists() {
                continue;
            }
            match source.blob(name).map_err(MirrorError::Source)? {
                None => missing += 1,
                Some(bytes) if check_blob(name, path, salt, &bytes) => self.replace(&to, &bytes)?,
                Some(_) => return Err(altered(format!("its value {name} is not what it was"))),
            }
        }
        Ok(missing)
    }

    /// Takes the large values of a disclosure that only the keys of the source open. Neither can
    /// be held to the leaf here; where the keys are, both are. Which of the sealed values have a
    /// file the disclosure alone would say, so what is not there is not missed.
    fn closed(
        &self,
        source: &dyn MirrorSource,
        entry: u64,
        bytes: &[u8],
        sealed: &loggia_model::value::Object,
    ) -> Result<u64, MirrorError> {
        let altered = |why: String| MirrorError::Altered { entry, why };
        let envelope = Envelope::parse(bytes).map_err(|error| altered(error.to_string()))?;
        if envelope.content != (Content::Disclosure { apart: true }) {
            return Ok(0);
        }
        for name in sealed.values().filter_map(Value::as_str) {
            let to = self.layout.blobs().join(name);
            if to.exists() {
                continue;
            }
            let Some(blob) = source.blob(name).map_err(MirrorError::Source)? else { continue };
            let of_it = Envelope::parse(&blob)
                .is_ok_and(|blob| blob.content == Content::Blob && blob.key == envelope.key);
            if !of_it {
                return Err(altered(format!("its value {name} is not what it was")));
            }
            self.replace(&to, &blob)?;
        }
        Ok(0)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
        self.disk.replace(path, bytes).map_err(|error| LedgerError::io(path, error))
    }
}

fn signed<'k>(
    note: &[u8],
    keys: &'k [VerifierKey],
) -> Result<(Checkpoint, &'k VerifierKey), MirrorError> {
    let (mut why, mut other) = (None, String::new());
    for key in keys {
        match Checkpoint::open(note, key) {
            Ok(checkpoint) => return Ok((checkpoint, key)),
            Err(CheckpointError::OriginMismatch { found, .. }) => other = found,
            Err(error) => why = Some(error.to_string()),
        }
    }
    Err(match why {
        Some(why) => MirrorError::Unsigned(why),
        None => MirrorError::Foreign(other),
    })
}

fn make_folder(path: &Path) -> Result<(), LedgerError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| LedgerError::io(path, error))
}
