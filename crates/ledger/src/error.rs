//! What can go wrong with a ledger, and whose turn it is then.

use crate::signer::SignError;
use loggia_tlog::checkpoint::CheckpointError;
use loggia_tlog::note::NoteError;
use loggia_tlog::tile::{BundleError, TileError};
use loggia_verify::folder::FolderError;
use loggia_verify::rotation::RotationError;
use std::path::{Path, PathBuf};

/// Why a ledger does not open, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A file of the ledger cannot be what was written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another process holds the data folder.
    #[error("another gateway (process {pid}) uses the data folder {folder}")]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process that holds it, as far as the lock file says.
        pid: String,
    },
    /// The folder is behind a checkpoint that left it: it was restored from an older copy, or its
    /// tail was cut off.
    #[error("the ledger has {found} entries, but a checkpoint over {known} was published")]
    Behind {
        /// Entries found.
        found: u64,
        /// Entries of the published checkpoint.
        known: u64,
        /// Where that checkpoint is: a file, or a witness.
        place: String,
    },
    /// The folder has another history than the one a checkpoint was published over.
    #[error("the ledger differs from the history that was published at {known} entries")]
    Forked {
        /// Entries of the published checkpoint.
        known: u64,
        /// Where that checkpoint is: a file, or a witness.
        place: String,
    },
    /// Others than its owner can read the log's key.
    #[error("{0} can be read by others than its owner")]
    KeyOpen(PathBuf),
    /// The log's key does not sign.
    #[error("the log's key ({path}) does not sign: {source}")]
    Signer {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: SignError,
    },
    /// The log goes on under a key that is not here.
    #[error("the log goes on under the key {key}, which is not among its keys")]
    KeyMissing {
        /// Its verification key.
        key: String,
    },
    /// The key is one that the log does not know of yet.
    #[error("the key {key} replaced another, of which the log says nothing")]
    KeyAhead {
        /// Its verification key.
        key: String,
    },
    /// The key that the last rotation replaced still signs.
    #[error("the last change of the key is not finished: {0} still signs")]
    RotationUnderWay(PathBuf),
    /// No replaced key is left to be retired.
    #[error("no replaced key of the log signs any more")]
    NothingToRetire,
    /// No checkpoint came in time.
    #[error("no checkpoint was signed in time")]
    NoCheckpoint,
    /// The two keys of a rotation do not go together.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// There is no ledger here.
    #[error("there is no ledger in {0}")]
    Absent(PathBuf),
    /// There is a ledger here already.
    #[error("there is a ledger in {0} already")]
    Present(PathBuf),
    /// The log's name cannot be made of these parts.
    #[error("the log cannot be named: {0}")]
    Name(String),
    /// A file that the log's formats do not allow.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A checkpoint that does not hold.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tile that does not exist in any tree.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// A tile or bundle that cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file of the log cannot be read back.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The ledger takes no events.
    #[error(transparent)]
    Append(#[from] loggia_model::port::AppendError),
}

impl LedgerError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }

    /// Whether waiting for room can help.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } | Self::Folder(FolderError::Read { source, .. }) => {
                crate::disk::is_full(source)
            }
            _ => false,
        }
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Locked { .. } => Some(
                "stop that process first; a second gateway needs a data folder of its own".into(),
            ),
            Self::Behind { place, .. } | Self::Forked { place, .. } => Some(format!(
                "restore the newest copy of the data folder. If there is none, begin a new epoch: \
                 `loggia ledger new-epoch --reason TEXT` says so in the log. The published \
                 checkpoint is with {place}"
            )),
            Self::Damaged { .. } | Self::Folder(_) => Some(
                "`loggia verify` names every damaged place; restore the data folder from a copy, \
                 or begin a new epoch with `loggia ledger new-epoch --reason TEXT`"
                    .into(),
            ),
            Self::KeyOpen(path) => Some(format!(
                "chmod 600 {}; if others may have read it, begin a new epoch",
                path.display()
            )),
            Self::Signer { path, .. } => Some(format!(
                "{} says where the key lies; see whether that place is reachable, its PIN and its \
                 module are right, and the key is the one named there. A replaced key that is gone \
                 for good is retired: `loggia ledger retire-key`",
                path.display()
            )),
            Self::KeyMissing { .. } => Some(
                "restore the newest copy of the folder of keys. If the key is lost, begin a new \
                 epoch: `loggia ledger new-epoch --reason TEXT`"
                    .into(),
            ),
            Self::KeyAhead { .. } => Some(
                "the ledger was restored from an older copy than the keys: restore the newest copy \
                 of the data folder, or begin a new epoch with `loggia ledger new-epoch --reason \
                 TEXT`"
                    .into(),
            ),
            Self::RotationUnderWay(_) => Some(
                "once every witness and verifier has the newer key: `loggia ledger retire-key`, \
                 then rotate"
                    .into(),
            ),
            Self::NoCheckpoint => Some("the gateway's log says what keeps checkpoints back".into()),
            Self::Absent(_) => Some("`loggia init` makes one".into()),
            _ => None,
        }
    }
}
