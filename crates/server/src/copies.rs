//! Copies of a log: from a data folder or from an address, and back.

use crate::remote::{RemoteLog, RemoteSource};
use anyhow::Context;
use loggia_ledger::{Disk, FolderSource, Mirror, MirrorError, Pulled};
use loggia_tlog::VerifierKey;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Handle;

pub use loggia_ledger::Pulled as Copied;

/// How often a source that grows while it is read is tried again.
const TRIES: usize = 4;
/// Between these.
const TRY_WAIT: Duration = Duration::from_millis(500);

/// Where a copy is made from.
#[derive(Clone)]
pub enum Source {
    /// The epochs in a data folder, oldest first.
    Folders(Vec<PathBuf>),
    /// One epoch below an address.
    Address(RemoteLog),
}

impl Source {
    /// A data folder, the folder of an epoch, or an address.
    ///
    /// # Errors
    /// Where it is none of these.
    pub fn new(source: &str, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let path = Path::new(source);
        if !path.is_dir() {
            return Ok(Self::Address(RemoteLog::new(source, ca_file)?));
        }
        if path.join("log").is_dir() {
            return Ok(Self::Folders(vec![path.to_owned()]));
        }
        let mut epochs: Vec<(u64, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(path.join("ledger")).with_context(|| source.to_owned())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(number) = name.and_then(|name| name.strip_prefix('e')?.parse().ok()) {
                epochs.push((number, path));
            }
        }
        anyhow::ensure!(!epochs.is_empty(), "{source} holds no log");
        epochs.sort();
        Ok(Self::Folders(epochs.into_iter().map(|(_, path)| path).collect()))
    }
}

/// Takes what the source has published since the last time into the copy in `to`, epoch by epoch.
/// Blocks; for a thread that may, of a runtime.
///
/// # Errors
/// Says what was refused; the copy is what it was then.
pub fn pull(
    source: &Source,
    to: &Path,
    keys: &[VerifierKey],
    handle: &Handle,
) -> anyhow::Result<Vec<Pulled>> {
    let mirror = Mirror::open(to, Disk::default()).map_err(crate::explain)?;
    match source {
        Source::Folders(epochs) => {
            let one = |epoch: &PathBuf| {
                let source = FolderSource::new(epoch).map_err(crate::explain)?;
                tried(|| mirror.pull(&source, keys))
                    .with_context(|| format!("{} was not taken", epoch.display()))
            };
            epochs.iter().map(one).collect()
        }
        Source::Address(log) => {
            let source = RemoteSource::new(log.clone(), handle.clone());
            let pulled = tried(|| mirror.pull(&source, keys));
            Ok(vec![pulled.with_context(|| format!("{} was not taken", log.address()))?])
        }
    }
}

/// Whether the same may succeed later: the source could not be read, or has published nothing yet.
pub fn may_pass(error: &anyhow::Error) -> bool {
    let found = error.downcast_ref::<MirrorError>();
    matches!(found, Some(MirrorError::Source(_) | MirrorError::Nothing))
}

/// The exit code of `loggia verify` for what was refused, where that is a verdict on the log.
pub fn verdict(error: &anyhow::Error) -> Option<u8> {
    use loggia_verify::Verdict;
    let verdict = match error.downcast_ref::<MirrorError>()? {
        MirrorError::Unsigned(_)
        | MirrorError::Shrunk { .. }
        | MirrorError::Forked { .. }
        | MirrorError::Altered { .. } => Verdict::Tampered,
        MirrorError::Foreign(_) => Verdict::OtherOrigin,
        MirrorError::Source(_) | MirrorError::Nothing | MirrorError::Ledger(_) => return None,
    };
    Some(verdict.exit_code())
}

/// A partial file may be replaced by a wider one between two looks.
fn tried(mut pull: impl FnMut() -> Result<Pulled, MirrorError>) -> anyhow::Result<Pulled> {
    for _ in 1..TRIES {
        match pull() {
            Err(MirrorError::Source(why)) => {
                tracing::debug!(why, "trying again");
                std::thread::sleep(TRY_WAIT);
            }
            other => return Ok(other?),
        }
    }
    Ok(pull()?)
}
