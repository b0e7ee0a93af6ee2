//! Where things lie in the data folder.

use crate::error::LedgerError;
use loggia_verify::folder::LogFolder;
use std::path::{Path, PathBuf};

/// The data folder: `keys/ ledger/e<epoch>/{wal,log,open} blobs/` and more that is not ours.
#[derive(Debug, Clone)]
pub struct Layout {
    data: PathBuf,
}

impl Layout {
    /// Of this data folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into() }
    }

    /// The data folder itself.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The lock that one process holds.
    pub fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }

    /// The folder of keys.
    pub fn keys(&self) -> PathBuf {
        self.data.join("keys")
    }

    /// The signing key of an epoch.
    pub fn log_key(&self, epoch: u64) -> PathBuf {
        self.keys().join(format!("log-e{epoch}.key"))
    }

    /// The key before (`previous`) or behind (`next`) the signing key of an epoch.
    pub(crate) fn log_key_beside(&self, epoch: u64, which: &str) -> PathBuf {
        self.keys().join(format!("log-e{epoch}.{which}.key"))
    }

    /// The public halves of the keys that an epoch has had before.
    pub(crate) fn retired_keys(&self, epoch: u64) -> PathBuf {
        self.keys().join(format!("log-e{epoch}.retired"))
    }

    /// The folder of all epochs.
    pub fn ledger(&self) -> PathBuf {
        self.data.join("ledger")
    }

    /// Number of the last boot, so that `(boot, seq)` is never used twice.
    pub fn boot(&self) -> PathBuf {
        self.ledger().join("boot")
    }

    /// The folder of an epoch.
    pub fn epoch(&self, epoch: u64) -> PathBuf {
        self.ledger().join(format!("e{epoch}"))
    }

    /// Sealed values that are too large for a disclosure.
    pub fn blobs(&self) -> PathBuf {
        self.data.join("blobs")
    }

    /// The highest epoch that has a folder; 0 where there is none.
    pub fn latest_epoch(&self) -> std::io::Result<u64> {
        let mut latest = 0;
        let entries = match std::fs::read_dir(self.ledger()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix('e')?.parse().ok());
            latest = latest.max(number.unwrap_or(0));
        }
        Ok(latest)
    }
}

/// An epoch's folder: what an outsider reads of it ([`LogFolder`]), and what only the writer needs.
#[derive(Debug, Clone)]
pub(crate) struct EpochLayout {
    pub(crate) folder: LogFolder,
    pub(crate) wal: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) resume: PathBuf,
}

impl EpochLayout {
    pub(crate) fn open(folder: &Path) -> Result<Self, LedgerError> {
        Ok(Self {
            wal: folder.join("wal"),
            log: folder.join("log"),
            resume: folder.join("resume.json"),
            folder: LogFolder::open(folder)?,
        })
    }
}
