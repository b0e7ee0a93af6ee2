//! Epochs: a log with a name and a key of its own. `init` makes the first; a new one is begun
//! only by an operator who says why, when the history on disk is not the one that was published.

use crate::disk::Disk;
use crate::error::LedgerError;
use crate::keys::{EpochKeys, make_key};
use crate::layout::Layout;
use crate::ledger::{Ledger, LedgerOptions};
use crate::signer::KeyElsewhere;
use loggia_model::catalogue::Kind;
use loggia_model::id::{ActorId, NodeId};
use loggia_model::port::Append;
use loggia_model::{EventDraft, Mint, Value};
use loggia_tlog::VerifierKey;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// How the log is named: `<base>/<cluster>/<node id>/e<epoch>`.
#[derive(Debug, Clone)]
pub struct LogName {
    /// A schema-less URL that the operator controls.
    pub base: String,
    /// `[a-z0-9-]+`.
    pub cluster: String,
}

impl Default for LogName {
    fn default() -> Self {
        Self { base: "loggia.internal".to_owned(), cluster: "main".to_owned() }
    }
}

impl LogName {
    fn origin(&self, node: NodeId, epoch: u64) -> Result<String, LedgerError> {
        let fine = |text: &str, more: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| {
                    byte.is_ascii_lowercase()
                        || byte.is_ascii_digit()
                        || more.as_bytes().contains(&byte)
                })
        };
        if !fine(&self.base, ".-/:") {
            return Err(LedgerError::Name(format!("`{}` is not a schema-less URL", self.base)));
        }
        if !fine(&self.cluster, "-") {
            let why = format!("the cluster `{}` must match [a-z0-9-]+", self.cluster);
            return Err(LedgerError::Name(why));
        }
        Ok(format!("{}/{}/{node}/e{epoch}", self.base, self.cluster))
    }
}

/// The number of the epoch in an origin.
pub(crate) fn epoch_of(origin: &str) -> Option<u64> {
    origin.rsplit_once("/e")?.1.parse().ok()
}

/// The public halves of all keys that the epochs in a data folder have had. Whoever verifies with them trusts
/// the folder.
///
/// # Errors
/// Where there is no ledger, or a key cannot be read.
pub fn own_log_keys(data: &Path) -> Result<Vec<VerifierKey>, LedgerError> {
    let layout = Layout::new(data);
    let latest = EpochKeys::load_latest(&layout)?;
    let mut keys = latest.verifiers();
    for epoch in 1..latest.epoch {
        keys.extend(EpochKeys::load(&layout, epoch)?.verifiers());
    }
    Ok(keys)
}

/// Takes the lock of the data folder. It is the process's: it goes when the process dies.
pub(crate) fn lock_folder(layout: &Layout) -> Result<File, LedgerError> {
    let path = layout.lock();
    let io = |error| LedgerError::io(&path, error);
    if !layout.data().is_dir() {
        return Err(LedgerError::Absent(layout.data().to_owned()));
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(io)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        let _ = file.read_to_string(&mut pid);
        let folder = layout.data().to_owned();
        return Err(LedgerError::Locked { folder, pid: pid.trim().to_owned() });
    }
    file.set_len(0).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

/// Makes the first epoch in a data folder: the key, owner-only, and the empty log. Gives the
/// verification key, to be kept elsewhere. Never overwrites.
pub fn init(data: &Path, name: &LogName, mint: &Mint) -> Result<String, LedgerError> {
    init_with_key(data, name, mint, None)
}

/// As [`init`], with a key that lies elsewhere where `to` says so.
pub fn init_with_key(
    data: &Path,
    name: &LogName,
    mint: &Mint,
    to: Option<KeyElsewhere<'_>>,
) -> Result<String, LedgerError> {
    let layout = Layout::new(data);
    make_folder(data)?;
    make_folder(&layout.keys())?;
    let latest = layout.latest_epoch().map_err(|error| LedgerError::io(&layout.ledger(), error))?;
    if latest > 0 {
        return Err(LedgerError::Present(data.to_owned()));
    }
    let (unix_ms, random) = mint.id_parts();
    let origin = name.origin(NodeId::from_parts(unix_ms, random), 1)?;
    let path = layout.log_key(1);
    let (key, text) = make_key(&origin, to, mint, &path)?;
    begin_epoch(&layout, 1, &text)?;
    Ok(key.verifier().to_string())
}

/// Writes the key first: a crash in between leaves a key without a log, and the next try makes
/// another epoch of the same number only after removing nothing, because the folder decides.
fn begin_epoch(layout: &Layout, epoch: u64, key_text: &str) -> Result<(), LedgerError> {
    let path = layout.log_key(epoch);
    let disk = Disk::default();
    disk.replace(&path, key_text.as_bytes()).map_err(|error| LedgerError::io(&path, error))?;
    make_folder(&layout.ledger())?;
    let folder = layout.epoch(epoch);
    for part in ["", "wal", "log", "open"] {
        make_folder(&folder.join(part))?;
    }
    disk.sync_folder(&layout.ledger()).map_err(|error| LedgerError::io(&folder, error))
}

fn make_folder(path: &Path) -> Result<(), LedgerError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| LedgerError::io(path, error))
}

/// Begins a new epoch because the operator says so. The old epoch's last entry names the new key
/// where the old log still opens; the new one's first entry names the old in any case.
///
/// `options` are those of the old epoch; gives the new verification key.
pub async fn new_epoch(
    mut options: LedgerOptions,
    to: Option<KeyElsewhere<'_>>,
    reason: &str,
) -> Result<String, LedgerError> {
    let layout = Layout::new(&options.data);
    let old = EpochKeys::load_latest(&layout)?;
    let epoch = old.epoch + 1;
    let stem = old.origin().rsplit_once('/').map_or("", |(stem, _)| stem);
    let origin = format!("{stem}/e{epoch}");
    let mint = options.mint.clone();
    let data = options.data.clone();
    let old_folder = crate::layout::EpochLayout::open(&layout.epoch(old.epoch))?.folder;
    // Made apart, so that the old epoch is still the newest while its last entry is written.
    let (key, key_text) = make_key(&origin, to, &mint, &layout.log_key(epoch))?;
    let vkey = key.verifier().to_string();

    let copy = options.checkpoint_copy.take();
    let mut closing = LedgerOptions::new(&data, mint.clone());
    closing.checkpoint_copy = copy.clone();
    closing.keys = options.keys.clone();
    let closed = mint
        .draft(Kind::EpochClosed)
        .actor(ActorId::Node(old.node))
        .set("/detail/origin", origin.as_str())
        .set("/detail/key", vkey.as_str())
        .set("/detail/reason", reason);
    let told = tell_old_epoch(closing, closed).await;
    if let Err(error) = &told {
        tracing::warn!(%error, "the old epoch does not open; only the new one names the other");
    }
    // Opening it may have put its keys in order.
    let old = EpochKeys::load(&layout, old.epoch)?;
    let last = crate::recover::read_checkpoint(&old_folder.checkpoint_path(), &old.verifiers())
        .unwrap_or_default();

    // The lock is free again here; whoever takes it meanwhile finds the old epoch, whole.
    let lock = lock_folder(&layout)?;
    begin_epoch(&layout, epoch, &key_text)?;
    if let Some(copy) = &copy {
        // The old checkpoint stays beside it: it is the evidence of what was published.
        let kept = copy.with_extension(format!("e{}", old.epoch));
        if copy.exists() {
            std::fs::rename(copy, &kept).map_err(|error| LedgerError::io(&kept, error))?;
        }
    }
    drop(lock);

    let mut opened = mint
        .draft(Kind::EpochOpened)
        .actor(ActorId::Node(old.node))
        .set("/detail/origin", old.origin())
        .set("/detail/key", vkey.as_str())
        .set("/detail/previous_key", old.current.key.to_string())
        .set("/detail/reason", reason);
    if let Some(last) = last {
        opened = opened
            .set("/detail/size", Value::count(last.size()))
            .set("/detail/root", last.root().to_base64());
    }
    options.checkpoint_copy = copy;
    options.first = Some(opened);
    Ledger::open(options)?.close("new-epoch")?;
    Ok(vkey)
}

async fn tell_old_epoch(options: LedgerOptions, closed: EventDraft) -> Result<(), LedgerError> {
    let ledger = Ledger::open(options)?;
    let draft = closed.encode().map_err(loggia_model::port::AppendError::Draft)?;
    let appended = ledger.append(&[draft])?;
    ledger.on_disk(&appended).await?;
    ledger.close("new-epoch")
}
