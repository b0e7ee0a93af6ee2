//! A new key for the log: same name, same tree.
//!
//! 1. The new key stands in `log-e<n>.next.key`. A crash after it: no entry speaks of that key, so
//!    nothing has happened; the next try makes another.
//! 2. Both keys sign one statement over the last checkpoint's tree, and the entry with it is durable.
//!    From here on the log says that the new key is its own. A crash after it: the next start finds
//!    the entry and goes on with 3 and 4.
//! 3. Checkpoints over that entry are signed by both keys.
//! 4. The key files change places (see [`crate::keys`]), with the folder still locked.
//!
//! The old key signs as well until its file is removed, so that witnesses and verifiers that have
//! only that one can follow meanwhile.

use crate::error::LedgerError;
use crate::keys::{EpochKeys, make_key};
use crate::ledger::{Ledger, LedgerOptions};
use crate::shared::Shared;
use crate::signer::{Bounded, KeyElsewhere};
use loggia_model::catalogue::Kind;
use loggia_model::id::ActorId;
use loggia_model::port::{Append, AppendError};
use loggia_model::{Mint, Value};
use loggia_tlog::{Checkpoint, VerifierKey};
use loggia_verify::rotation::KeyRotation;
use std::sync::Arc;
use std::time::Duration;

/// For the first checkpoint, and for the one over the entry.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(60);
/// Between looks whether the ledger is still open.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Puts the log of a folder that no gateway uses under a new key. Gives its verification key.
///
/// # Errors
/// [`LedgerError`]; whatever was done until then, the next start or the next try takes up.
pub async fn rotate_key(
    options: LedgerOptions,
    to: Option<KeyElsewhere<'_>>,
    reason: &str,
) -> Result<String, LedgerError> {
    let mint = options.mint.clone();
    let ledger = Ledger::open(options)?;
    let rotated = ledger.rotate_key(&mint, to, reason).await;
    // Its end is on record also where the rotation failed.
    let closed = ledger.close("rotate-key");
    let rotated = rotated?;
    closed?;
    Ok(rotated)
}

/// Removes the key that the last rotation replaced: from the next start on only the newest signs.
/// Gives the verification key that is retired.
///
/// # Errors
/// Where there is none, the folder is in use, or the file cannot be removed.
pub fn retire_key(data: &std::path::Path) -> Result<String, LedgerError> {
    let layout = crate::layout::Layout::new(data);
    let _lock = crate::epoch::lock_folder(&layout)?;
    let keys = EpochKeys::load_latest(&layout)?;
    let previous = keys.previous.as_ref().ok_or(LedgerError::NothingToRetire)?;
    if !keys.retired.contains(&previous.key) || previous.key == keys.current.key {
        // A crash left the files half-way; a start of the gateway puts them in order.
        return Err(LedgerError::NothingToRetire);
    }
    std::fs::remove_file(&previous.path)
        .and_then(|()| crate::disk::Disk::default().sync_folder(&layout.keys()))
        .map_err(|error| LedgerError::io(&previous.path, error))?;
    Ok(previous.key.to_string())
}

impl Ledger {
    /// Puts the open log under a new key; see the [module](crate::rotate). Gives its verification
    /// key, once a checkpoint is signed with it.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn rotate_key(
        &self,
        mint: &Mint,
        to: Option<KeyElsewhere<'_>>,
        reason: &str,
    ) -> Result<String, LedgerError> {
        let shared = self.shared();
        let keys = EpochKeys::load_latest(&shared.layout)?;
        if let Some(previous) = &keys.previous {
            return Err(LedgerError::RotationUnderWay(previous.path.clone()));
        }
        let old = shared.key();
        let tree = last_tree(self).await?;

        // 1. Never over a key that an entry speaks of: the start has put that in its place.
        let path = shared.layout.log_key_beside(keys.epoch, "next");
        let (signer, text) = make_key(keys.origin(), to, mint, &path)?;
        let new = signer.verifier().clone();
        shared
            .disk
            .replace(&path, text.as_bytes())
            .map_err(|error| LedgerError::io(&path, error))?;

        // 2. Once this is durable there is no way back.
        let signer = Arc::new(Bounded::new(signer, crate::signer::SIGN_WAIT_MAX));
        let rotation = KeyRotation::new(tree.size(), tree.root(), old, new.clone())?;
        let text = rotation.text();
        let mut signatures = Vec::new();
        for signer in shared.signers.read().of(shared.rotated().as_ref()).iter().chain([&signer]) {
            let signed = signer.sign(&text);
            let failed = |source| LedgerError::Signer { path: path.clone(), source };
            signatures.push(signed.map_err(failed)?);
        }
        let statement = rotation.statement(signatures)?.to_string();
        let draft = mint
            .draft(Kind::KeyRotated)
            .actor(ActorId::Node(self.node()))
            .set("/detail/key", new.to_string())
            .set("/detail/previous_key", rotation.old().to_string())
            .set("/detail/size", Value::count(rotation.size()))
            .set("/detail/root", rotation.root().to_base64())
            .set("/detail/statement", statement)
            .set("/detail/reason", reason);
        let draft = draft.encode().map_err(AppendError::Draft)?;
        // Known before a checkpoint can ask for it.
        shared.signers.write().push(signer);
        let appended = {
            let sealed = shared.seal(std::slice::from_ref(&draft))?;
            shared.stamp(&sealed, |sequencer| {
                sequencer.standing.rotated = Some(new.clone());
                sequencer.write_out()
            })?
        };
        let place = self.on_disk(&appended).await?;

        // 3. The publisher signs with both from the next round on.
        wait_published(self, place.index + 1).await?;

        // 4. A crash in it leaves the rest to the next start.
        let keys = EpochKeys::load_latest(&shared.layout)?;
        keys.settle(&shared.layout, &shared.disk, Some(&new))?;
        Ok(new.to_string())
    }
}

/// The tree under the last checkpoint.
async fn last_tree(ledger: &Ledger) -> Result<Checkpoint, LedgerError> {
    wait_published(ledger, 1).await?;
    let shown = ledger.shared().shown.lock().clone();
    let (_, note) = shown.ok_or(LedgerError::NoCheckpoint)?;
    Ok(Checkpoint::parse(note.text())?)
}

async fn wait_published(ledger: &Ledger, size: u64) -> Result<(), LedgerError> {
    let mut published = ledger.published();
    let reached = async {
        loop {
            let look = tokio::time::timeout(LOOK_AGAIN, published.wait_for(|now| *now >= size));
            if let Ok(Ok(_)) = look.await {
                return Ok(());
            }
            // A ledger that has ended publishes nothing more.
            if let Some(why) = ledger.shared().sequencer.lock().closed.clone() {
                return Err(AppendError::Closed(why).into());
            }
        }
    };
    tokio::time::timeout(CHECKPOINT_WAIT_MAX, reached)
        .await
        .map_err(|_| LedgerError::NoCheckpoint)?
}

impl Shared {
    /// The key that the last rotation has made the log's.
    pub(crate) fn rotated(&self) -> Option<VerifierKey> {
        self.sequencer.lock().standing.rotated.clone()
    }

    /// The log's key.
    pub(crate) fn key(&self) -> VerifierKey {
        let rotated = self.rotated();
        self.signers.read().newest(rotated.as_ref())
    }
}
