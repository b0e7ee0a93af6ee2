//! A log as it lies on disk, read without trust: whoever can write these files can say anything
//! in them, and what holds them together is checked elsewhere (`verify`), not here.
//!
//! ```text
//! <data>/ledger/e<epoch>/log/checkpoint         the signed note
//!                        log/cosigned           the newest one that enough witnesses cosigned
//!                        log/tile/<level>/…     hashes (C2SP tlog-tiles)
//!                        log/tile/entries/…     entries
//!                        open/tile/entries/…    disclosures, parallel to the entries
//!                        wal/<16 hex>.wal       see [`crate::wal`]
//! <data>/blobs/<commitment>                     values too large for a disclosure
//! <data>/keys/subjects/                         see [`crate::subject_keys`]
//! ```
//! A log may grow while it is read. A partial tile that was superseded is gone; its content is the
//! beginning of any wider one, so a tree of an earlier size can still be read.

use crate::subject_keys::{Revealed, SubjectKeys};
use crate::wal::{WalScan, wal_scan};
use loggia_tlog::note::MAX_NOTE_BYTES;
use loggia_tlog::tile::{MAX_ENTRY_BYTES, TILE_WIDTH, TileReadError, bundle_decode, open_decode};
use loggia_tlog::{BundleId, Hash, HashReader, TileId, TileReader};
use std::cell::RefCell;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod items;

pub use items::Items;

/// The longest file of disclosures that is read, in bytes.
const DISCLOSURES_BYTES_MAX: usize = 256 << 20;
/// The longest bundle that is well-formed, in bytes.
const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (2 + MAX_ENTRY_BYTES);
/// How often a file is looked for that a growing log may just be replacing by a wider one.
const FETCH_TRIES: usize = 4;
/// Tiles that a [`FolderHashes`] keeps: enough for the paths of a few entries.
const CACHED_TILES: usize = 32;

/// Why something of a log could not be read. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// No folder of an epoch.
    #[error("{} is not a folder with a log in it", path.display())]
    NotALog {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{} could not be read: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// A file that belongs to the log is not there.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file is larger than any that is well-formed.
    #[error("{} is longer than {max} bytes, which no file of its kind is", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: usize,
    },
    /// A file has not the form that its place in the log asks for.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// An entry or a hash was asked for that a tree of this size has not.
    #[error("a log of {size} entries has no {what}")]
    Outside {
        /// Entries of the log.
        size: u64,
        /// What was asked for.
        what: String,
    },
}

impl FolderError {
    /// The file that is at fault, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::NotALog { path }
            | Self::Read { path, .. }
            | Self::Missing { path }
            | Self::TooLarge { path, .. }
            | Self::Malformed { path, .. } => Some(path),
            Self::Outside { .. } => None,
        }
    }
}

/// A file as it was found: under its own name, or as the beginning of a wider one.
#[derive(Debug)]
pub(crate) struct Found {
    /// The file that was read.
    pub(crate) path: PathBuf,
    /// Its bytes, all of them.
    pub(crate) bytes: Vec<u8>,
    /// How many items the file's name says it has.
    pub(crate) width: u16,
}

/// One entry with what is disclosed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Index in the log.
    pub index: u64,
    /// The bytes of the leaf.
    pub leaf: Vec<u8>,
    /// The disclosure; `None` where there is none or it was erased. As it is stored (see
    /// [`loggia_model::envelope`]) where it was not revealed.
    pub disclosure: Option<Vec<u8>>,
}

/// The folder of one epoch of a log.
#[derive(Debug, Clone)]
pub struct LogFolder {
    dir: PathBuf,
    subject_keys: Arc<SubjectKeys>,
}

impl LogFolder {
    /// The epoch in the folder `<data>/ledger/e<epoch>`.
    ///
    /// # Errors
    /// [`FolderError::NotALog`] where that is no folder.
    pub fn open(epoch_dir: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let dir = epoch_dir.into();
        if !dir.is_dir() {
            return Err(FolderError::NotALog { path: dir });
        }
        let subject_keys = Arc::new(SubjectKeys::beside(&dir));
        Ok(Self { dir, subject_keys })
    }

    /// The keys that disclosures lie under, where they are here.
    pub fn subject_keys(&self) -> &Arc<SubjectKeys> {
        &self.subject_keys
    }

    /// The entry with its disclosure opened: `None` where it cannot be read without a key that is
    /// not here, and as it is stored where that is not what was sealed.
    ///
    /// # Errors
    /// [`FolderError`] where a key cannot be read.
    pub fn reveal(&self, mut entry: LogEntry) -> Result<LogEntry, FolderError> {
        let Some(stored) = entry.disclosure.as_deref() else { return Ok(entry) };
        let clear = match self.subject_keys.reveal(stored)? {
            Revealed::Clear(clear) => Some(clear.into_owned()),
            Revealed::NoKey => None,
            Revealed::Altered(_) => return Ok(entry),
        };
        entry.disclosure = clear;
        Ok(entry)
    }

    /// The epoch's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the signed checkpoint lies.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.dir.join("log/checkpoint")
    }

    /// Where the newest checkpoint lies that enough witnesses have cosigned.
    pub fn cosigned_path(&self) -> PathBuf {
        self.dir.join("log/cosigned")
    }

    /// Where a tile of hashes lies.
    pub fn tile_path(&self, tile: &TileId) -> PathBuf {
        self.dir.join("log").join(tile.path())
    }

    /// Where a bundle of entries lies.
    pub fn entries_path(&self, bundle: &BundleId) -> PathBuf {
        self.dir.join("log").join(bundle.path())
    }

    /// Where the disclosures of a bundle lie.
    pub fn disclosures_path(&self, bundle: &BundleId) -> PathBuf {
        self.dir.join("open").join(bundle.path())
    }

    /// The folder of the write-ahead log.
    pub fn wal_dir(&self) -> PathBuf {
        self.dir.join("wal")
    }

    /// Where the blob of this name (64 lower-case hex digits) lies; `None` for any other name,
    /// which may have come from outside.
    pub fn blob_path(&self, name: &str) -> Option<PathBuf> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if name.len() != 64 || !name.bytes().all(hex) {
            return None;
        }
        Some(self.dir.parent()?.parent()?.join("blobs").join(name))
    }

    /// The signed checkpoint as it was published; `None` before the first.
    ///
    /// # Errors
    /// [`FolderError::Read`], [`FolderError::TooLarge`].
    pub fn checkpoint_bytes(&self) -> Result<Option<Vec<u8>>, FolderError> {
        read_file(&self.checkpoint_path(), MAX_NOTE_BYTES)
    }

    /// The newest checkpoint that enough witnesses have cosigned; `None` where there is none.
    ///
    /// # Errors
    /// [`FolderError::Read`], [`FolderError::TooLarge`].
    pub fn cosigned_bytes(&self) -> Result<Option<Vec<u8>>, FolderError> {
        read_file(&self.cosigned_path(), MAX_NOTE_BYTES)
    }

    /// The bytes of a tile: `32 * width`.
    ///
    /// # Errors
    /// [`FolderError`]: missing, unreadable or of another length.
    pub fn tile(&self, tile: &TileId) -> Result<Vec<u8>, FolderError> {
        let Found { path, mut bytes, width } = self.find_tile(tile)?;
        if bytes.len() != usize::from(width) * 32 {
            let what = format!("{} bytes long, not {}", bytes.len(), usize::from(width) * 32);
            return Err(FolderError::Malformed { path, what });
        }
        bytes.truncate(tile.byte_len());
        Ok(bytes)
    }

    /// Reads the tree of the first `size` entries out of the tiles. Nothing read is verified.
    pub fn hash_reader(&self, size: u64) -> FolderHashes<'_> {
        FolderHashes { folder: self, size, cache: RefCell::default() }
    }

    /// The entries of a bundle.
    ///
    /// # Errors
    /// [`FolderError`]: missing, unreadable or malformed.
    pub fn entries(&self, bundle: &BundleId) -> Result<Items, FolderError> {
        let Found { path, bytes, width } = self.find_entries(bundle)?;
        let items =
            Items::entries(bytes, width).map_err(|what| FolderError::Malformed { path, what })?;
        Ok(items.cut(bundle.width()))
    }

    /// The disclosures of a bundle's entries; where the file is gone, all are absent.
    ///
    /// # Errors
    /// [`FolderError`]: unreadable or malformed.
    pub fn disclosures(&self, bundle: &BundleId) -> Result<Items, FolderError> {
        let Some(Found { path, bytes, width }) = self.find_disclosures(bundle)? else {
            return Ok(Items::absent(bundle.width()));
        };
        let items = Items::disclosures(bytes, width)
            .map_err(|what| FolderError::Malformed { path, what })?;
        Ok(items.cut(bundle.width()))
    }

    /// Up to `max` entries from index `from` on, of a log of `size` entries, with what is
    /// disclosed of them. Empty at the end of the log.
    ///
    /// # Errors
    /// As [`entries`](Self::entries) and [`disclosures`](Self::disclosures).
    pub fn read(&self, from: u64, max: usize, size: u64) -> Result<Vec<LogEntry>, FolderError> {
        let mut read = Vec::new();
        let mut index = from;
        while index < size && read.len() < max {
            let outside = || FolderError::Outside { size, what: format!("entry {index}") };
            let number = index / u64::from(TILE_WIDTH);
            let bundle = BundleId::in_tree(number, size).ok_or_else(outside)?;
            let entries = self.entries(&bundle)?;
            let disclosures = self.disclosures(&bundle)?;
            let skipped = usize::try_from(index - bundle.first_entry()).unwrap_or(usize::MAX);
            for (leaf, disclosure) in
                entries.iter().zip(disclosures.iter()).skip(skipped).take(max - read.len())
            {
                let disclosure = (!disclosure.is_empty()).then(|| disclosure.to_vec());
                read.push(LogEntry { index, leaf: leaf.to_vec(), disclosure });
                index += 1;
            }
        }
        Ok(read)
    }

    /// Reads the write-ahead log from its first segment on.
    ///
    /// # Errors
    /// [`FolderError::Read`]; a folder that is not there reads as empty.
    pub fn wal(&self) -> Result<WalScan, FolderError> {
        wal_scan(&self.wal_dir())
    }

    pub(crate) fn find_tile(&self, tile: &TileId) -> Result<Found, FolderError> {
        let root = self.dir.join("log");
        let max = usize::from(TILE_WIDTH) * 32;
        let whole = |bytes: &[u8], width: u16| bytes.len() == usize::from(width) * 32;
        find(&root, &tile.path(), &tile.to_full().path(), tile.width(), max, &whole)?
            .ok_or_else(|| FolderError::Missing { path: self.tile_path(tile) })
    }

    pub(crate) fn find_entries(&self, bundle: &BundleId) -> Result<Found, FolderError> {
        let root = self.dir.join("log");
        let full = bundle.to_full().path();
        let whole = |bytes: &[u8], width: u16| bundle_decode(bytes, width).is_ok();
        find(&root, &bundle.path(), &full, bundle.width(), BUNDLE_BYTES_MAX, &whole)?
            .ok_or_else(|| FolderError::Missing { path: self.entries_path(bundle) })
    }

    pub(crate) fn find_disclosures(&self, bundle: &BundleId) -> Result<Option<Found>, FolderError> {
        let root = self.dir.join("open");
        let full = bundle.to_full().path();
        let whole = |bytes: &[u8], width: u16| open_decode(bytes, width).is_ok();
        find(&root, &bundle.path(), &full, bundle.width(), DISCLOSURES_BYTES_MAX, &whole)
    }
}

/// Reads the tree of a certain size out of a folder's tiles and keeps a few of them.
#[derive(Debug)]
pub struct FolderHashes<'f> {
    folder: &'f LogFolder,
    size: u64,
    cache: RefCell<Vec<(TileId, Vec<u8>)>>,
}

impl FolderHashes<'_> {
    /// Number of leaves of the tree that it reads.
    pub const fn size(&self) -> u64 {
        self.size
    }

    fn tile(&self, tile: &TileId) -> Result<Vec<u8>, FolderError> {
        let mut cache = self.cache.borrow_mut();
        if let Some((_, bytes)) = cache.iter().find(|(known, _)| known == tile) {
            return Ok(bytes.clone());
        }
        let bytes = self.folder.tile(tile)?;
        if cache.len() == CACHED_TILES {
            cache.remove(0);
        }
        cache.push((*tile, bytes.clone()));
        Ok(bytes)
    }
}

impl HashReader for FolderHashes<'_> {
    type Error = FolderError;

    fn read(&self, level: u8, index: u64) -> Result<Hash, FolderError> {
        let reader = TileReader::new(self.size, |tile: &TileId| self.tile(tile));
        reader.read(level, index).map_err(|error| match error {
            TileReadError::Fetch { source, .. } => source,
            TileReadError::Content { tile, source } => FolderError::Malformed {
                path: self.folder.tile_path(&tile),
                what: source.to_string(),
            },
            outside @ TileReadError::OutsideTree { .. } => {
                FolderError::Outside { size: self.size, what: outside.to_string() }
            }
        })
    }
}

/// Finds the file `exact` below `root`, else the full one of its place, else a wider partial one.
/// In the place of `exact` only a `whole` one is taken: behind the checkpoint, a crash may have
/// left a torn one, and a writer may be at it.
fn find(
    root: &Path,
    exact: &str,
    full: &str,
    width: u16,
    bytes_max: usize,
    whole: &dyn Fn(&[u8], u16) -> bool,
) -> Result<Option<Found>, FolderError> {
    let found = |path: PathBuf, width: u16| {
        let bytes = read_file(&path, bytes_max)?;
        Ok(bytes.map(|bytes| Found { path, bytes, width }))
    };
    // The writer puts the wider file there before it removes the narrower one, so a miss of all
    // means that it did so between two of our looks, or that the file is truly missing.
    for _ in 0..FETCH_TRIES {
        if let Some(file) = found(root.join(exact), width)? {
            return Ok(Some(file));
        }
        if width == TILE_WIDTH {
            return Ok(None);
        }
        let instead = |path, width| {
            Ok::<_, FolderError>(found(path, width)?.filter(|file| whole(&file.bytes, file.width)))
        };
        if let Some(file) = instead(root.join(full), TILE_WIDTH)? {
            return Ok(Some(file));
        }
        let partials = root.join(format!("{full}.p"));
        for wider in wider_partials(&partials, width)? {
            if let Some(file) = instead(partials.join(wider.to_string()), wider)? {
                return Ok(Some(file));
            }
        }
    }
    Ok(None)
}

/// The widths above `width` of the partial files in a folder, widest first.
fn wider_partials(partials: &Path, width: u16) -> Result<Vec<u16>, FolderError> {
    let mut wider: Vec<u16> = file_names(partials)?
        .iter()
        .filter_map(|name| name.parse().ok().filter(|found: &u16| found.to_string() == *name))
        .filter(|found| (width + 1..TILE_WIDTH).contains(found))
        .collect();
    wider.sort_unstable_by(|one, other| other.cmp(one));
    Ok(wider)
}

/// The names of what lies in a folder, without those that are not UTF-8; none where it is missing.
pub(crate) fn file_names(dir: &Path) -> Result<Vec<String>, FolderError> {
    let failed = |source| FolderError::Read { path: dir.to_path_buf(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.into_string().ok());
    }
    Ok(names)
}

/// The bytes of a file of at most `max` bytes; `None` where there is no such file.
pub(crate) fn read_file(path: &Path, max: usize) -> Result<Option<Vec<u8>>, FolderError> {
    let mut bytes = Vec::new();
    Ok(read_into(path, max, &mut bytes)?.then_some(bytes))
}

/// As [`read_file`], into a buffer that is used again; `false` where there is no such file.
pub(crate) fn read_into(path: &Path, max: usize, out: &mut Vec<u8>) -> Result<bool, FolderError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    out.clear();
    let failed = |source| FolderError::Read { path: path.to_path_buf(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let length = file.metadata().map_err(failed)?.len();
    let too_large = || FolderError::TooLarge { path: path.to_path_buf(), max };
    // The length is known, so that one read gets it all; but a file may grow meanwhile.
    out.reserve(
        usize::try_from(length).ok().filter(|length| *length <= max).ok_or_else(too_large)?,
    );
    file.take(max as u64 + 1).read_to_end(out).map_err(failed)?;
    if out.len() > max { Err(too_large()) } else { Ok(true) }
}

#[cfg(test)]
mod tests;
