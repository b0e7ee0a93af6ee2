//! Where a log's keys stand in the data folder.
//!
//! ```text
//! keys/log-e<n>.key            the key: private, or where else it lies
//! keys/log-e<n>.next.key       the one that a rotation is about to make the log's
//! keys/log-e<n>.previous.key   the one that the last rotation replaced; it signs as well until it
//!                              is removed
//! keys/log-e<n>.retired        public halves of all that were replaced, one a line
//! ```
//! A key file holds either a private key as text, or two lines: the verification key, and a URI of
//! where its private half lies. Which key is the log's the log itself says (`key.rotated`); the
//! files follow, and a start finishes what a crash left undone.

use crate::disk::Disk;
use crate::epoch::epoch_of;
use crate::error::LedgerError;
use crate::layout::Layout;
use crate::signer::{
    Bounded, FileSigner, KeyElsewhere, KeyStore, LogSigner, LogSigners, SignError,
};
use loggia_model::Mint;
use loggia_model::id::NodeId;
use loggia_tlog::VerifierKey;
use loggia_tlog::note::SigningKey;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// What a key file says.
pub(crate) struct KeyFile {
    pub(crate) path: PathBuf,
    pub(crate) key: VerifierKey,
    /// Where the private half lies, where it is not in the file.
    uri: Option<String>,
    text: Zeroizing<String>,
}

impl KeyFile {
    /// Reads a key file; `None` where there is none.
    fn read(path: PathBuf) -> Result<Option<Self>, LedgerError> {
        let io = |error| LedgerError::io(&path, error);
        let meta = match std::fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(LedgerError::KeyOpen(path));
        }
        let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(io)?);
        let (key, uri) = match text.trim_end().split_once('\n') {
            Some((vkey, uri)) => (VerifierKey::parse(vkey)?, Some(uri.trim().to_owned())),
            None => (SigningKey::parse(text.trim_end())?.verifier().clone(), None),
        };
        Ok(Some(Self { path, key, uri, text }))
    }

    /// The key, ready to sign.
    pub(crate) fn signer(
        &self,
        store: Option<&dyn KeyStore>,
    ) -> Result<Arc<dyn LogSigner>, LedgerError> {
        let Some(uri) = &self.uri else {
            return Ok(Arc::new(FileSigner(SigningKey::parse(self.text.trim_end())?)));
        };
        let opened = match store {
            Some(store) => store.open(&self.key, uri),
            None => Err(SignError::Refused(
                "it lies in no file, and this program was built without the feature `pkcs11`"
                    .to_owned(),
            )),
        };
        opened.map_err(|source| LedgerError::Signer { path: self.path.clone(), source })
    }
}

/// Makes a key for the log of this name: in a file, or elsewhere. Gives it, and the content of its
/// key file.
pub(crate) fn make_key(
    name: &str,
    to: Option<KeyElsewhere<'_>>,
    mint: &Mint,
    path: &Path,
) -> Result<(Arc<dyn LogSigner>, Zeroizing<String>), LedgerError> {
    let Some(KeyElsewhere { store, uri }) = to else {
        let key = SigningKey::from_seed(name, &mint.random())?;
        let text = Zeroizing::new(format!("{}\n", *key.private_text()));
        return Ok((Arc::new(FileSigner(key)), text));
    };
    let signer = store
        .open_or_make(name, uri)
        .map_err(|source| LedgerError::Signer { path: path.to_owned(), source })?;
    let text = format!("{}\n{uri}\n", signer.verifier());
    Ok((signer, Zeroizing::new(text)))
}

/// The key files of one epoch.
pub(crate) struct EpochKeys {
    pub(crate) epoch: u64,
    pub(crate) node: NodeId,
    pub(crate) current: KeyFile,
    pub(crate) next: Option<KeyFile>,
    pub(crate) previous: Option<KeyFile>,
    pub(crate) retired: Vec<VerifierKey>,
}

impl EpochKeys {
    /// Those of the newest epoch in the folder.
    pub(crate) fn load_latest(layout: &Layout) -> Result<Self, LedgerError> {
        let epoch =
            layout.latest_epoch().map_err(|error| LedgerError::io(&layout.ledger(), error))?;
        if epoch == 0 {
            return Err(LedgerError::Absent(layout.data().to_owned()));
        }
        Self::load(layout, epoch)
    }

    pub(crate) fn load(layout: &Layout, epoch: u64) -> Result<Self, LedgerError> {
        let path = layout.log_key(epoch);
        let current = KeyFile::read(path.clone())?.ok_or_else(|| {
            LedgerError::io(&path, std::io::Error::from(std::io::ErrorKind::NotFound))
        })?;
        let node = current.key.name().rsplit('/').nth(1).and_then(|node| node.parse().ok());
        let node = node.filter(|_| epoch_of(current.key.name()) == Some(epoch));
        let node =
            node.ok_or_else(|| LedgerError::damaged(&path, "it is the key of another log"))?;
        let beside = |which: &str| -> Result<Option<KeyFile>, LedgerError> {
            let found = KeyFile::read(layout.log_key_beside(epoch, which))?;
            match found {
                Some(found) if found.key.name() != current.key.name() => {
                    Err(LedgerError::damaged(&found.path, "it is the key of another log"))
                }
                found => Ok(found),
            }
        };
        let (next, previous) = (beside("next")?, beside("previous")?);
        let retired = read_retired(&layout.retired_keys(epoch))?;
        Ok(Self { epoch, node, current, next, previous, retired })
    }

    /// Those with which an open log signs: its key, and before it the one that was replaced last.
    /// Each has signed once, so that a start tells what a running gateway would only learn later.
    pub(crate) fn signers(
        &self,
        store: Option<&dyn KeyStore>,
        wait_max: Duration,
    ) -> Result<LogSigners, LedgerError> {
        let mut signers = Vec::new();
        for file in self.previous.iter().chain([&self.current]) {
            let signer = Bounded::new(file.signer(store)?, wait_max);
            signer
                .probe()
                .map_err(|source| LedgerError::Signer { path: file.path.clone(), source })?;
            signers.push(Arc::new(signer));
        }
        Ok(LogSigners::new(signers, self.current.key.clone(), self.verifiers()))
    }

    /// Name of the log.
    pub(crate) fn origin(&self) -> &str {
        self.current.key.name()
    }

    /// Public halves of all keys that the log has had, and of the one that it may get.
    pub(crate) fn verifiers(&self) -> Vec<VerifierKey> {
        let beside = self.previous.iter().chain(&self.next).map(|file| &file.key);
        let mut keys = vec![self.current.key.clone()];
        for key in self.retired.iter().chain(beside) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }

    /// Brings the files into line with a log whose last rotation was to `rotated`. Gives whether
    /// anything was to be done.
    ///
    /// The order: what is replaced is noted, then kept beside, then replaced. After a crash at any
    /// point every key is still in one file, and this does the rest once more.
    pub(crate) fn settle(
        &self,
        layout: &Layout,
        disk: &Disk,
        rotated: Option<&VerifierKey>,
    ) -> Result<bool, LedgerError> {
        let current = &self.current.key;
        let rotated = match rotated {
            Some(rotated) => rotated,
            // Keys that no entry tells of: the log is an older copy than they are.
            None if self.retired.is_empty() && self.previous.is_none() => return Ok(false),
            None => return Err(LedgerError::KeyAhead { key: current.to_string() }),
        };
        if rotated == current {
            return Ok(false);
        }
        let Some(next) = self.next.as_ref().filter(|next| next.key == *rotated) else {
            // The log is under one that was replaced: it is an older copy than the keys.
            if self.retired.contains(rotated) {
                return Err(LedgerError::KeyAhead { key: current.to_string() });
            }
            return Err(LedgerError::KeyMissing { key: rotated.to_string() });
        };
        let mut retired = self.retired.clone();
        if !retired.contains(current) {
            retired.push(current.clone());
        }
        let lines: String = retired.iter().map(|key| format!("{key}\n")).collect();
        let replace = |path: &Path, bytes: &[u8]| {
            disk.replace(path, bytes).map_err(|error| LedgerError::io(path, error))
        };
        replace(&layout.retired_keys(self.epoch), lines.as_bytes())?;
        replace(&layout.log_key_beside(self.epoch, "previous"), self.current.text.as_bytes())?;
        disk.rename(&next.path, &self.current.path)
            .and_then(|()| disk.sync_folder(&layout.keys()))
            .map_err(|error| LedgerError::io(&self.current.path, error))?;
        Ok(true)
    }
}

fn read_retired(path: &Path) -> Result<Vec<VerifierKey>, LedgerError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LedgerError::io(path, error)),
    };
    text.lines().map(|line| Ok(VerifierKey::parse(line)?)).collect()
}
