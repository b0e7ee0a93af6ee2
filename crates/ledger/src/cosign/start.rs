//! What the witnesses know of a log before it is opened: a folder that is behind it, or differs
//! from it, is a restored copy or another history.

use super::WitnessPeer;
use crate::error::LedgerError;
use crate::keys::EpochKeys;
use crate::layout::{EpochLayout, Layout};
use futures::future::join_all;
use loggia_tlog::merkle::root_of;
use loggia_tlog::witness::{AddCheckpoint, parse_size};
use loggia_tlog::{Checkpoint, SignedNote, VerifierKey};
use std::path::Path;
use std::time::Duration;

/// What one witness knows of the log.
#[derive(Debug, Clone)]
pub struct Witnessed {
    /// Which witness, for people.
    pub place: String,
    /// Of which log: another epoch's says nothing of this one.
    pub(crate) origin: String,
    pub(crate) what: Known,
}

#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// A checkpoint that the log has signed.
    Checkpoint(Checkpoint),
    /// Only how many entries it has seen.
    Size(u64),
}

/// Asks every witness for the last checkpoint of the log in a data folder that it has seen, at most
/// `wait_max` each. Gives what could be had; a witness that does not answer keeps nobody from
/// opening the ledger, and is watched from then on.
///
/// # Errors
/// Where the folder or its key cannot be read.
pub async fn ask_witnesses(
    data: &Path,
    witnesses: &[WitnessPeer],
    wait_max: Duration,
) -> Result<Vec<Witnessed>, LedgerError> {
    let layout = Layout::new(data);
    let epoch = EpochKeys::load_latest(&layout)?;
    let keys = epoch.verifiers();
    let keys = keys.as_slice();
    let path = layout.epoch(epoch.epoch).join("log/checkpoint");
    let own = std::fs::read(&path).ok().and_then(|bytes| SignedNote::parse(&bytes).ok());
    let asked = witnesses.iter().map(|witness| {
        let own = own.as_ref();
        async move {
            match tokio::time::timeout(wait_max, ask(witness, keys, own)).await {
                Ok(Ok(known)) => known,
                Ok(Err(why)) => {
                    tracing::warn!(witness = witness.name, why, "a witness could not be asked");
                    None
                }
                Err(_) => {
                    tracing::warn!(witness = witness.name, "a witness did not answer in time");
                    None
                }
            }
        }
    });
    Ok(join_all(asked).await.into_iter().flatten().collect())
}

/// Holds the published checkpoint of a data folder to what a witness knows; gives the size that the
/// witness has seen. Reads only, also while the log grows.
///
/// # Errors
/// [`LedgerError::Behind`], [`LedgerError::Forked`]; or what cannot be read.
pub fn compare(data: &Path, witnessed: &Witnessed) -> Result<u64, LedgerError> {
    let layout = Layout::new(data);
    let keys = EpochKeys::load_latest(&layout)?;
    let epoch = EpochLayout::open(&layout.epoch(keys.epoch))?;
    let path = epoch.folder.checkpoint_path();
    let own = crate::recover::read_checkpoint(&path, &keys.verifiers())?;
    let found = own.map_or(0, |checkpoint| checkpoint.size());
    let (known, root) = match &witnessed.what {
        Known::Checkpoint(checkpoint) => (checkpoint.size(), Some(checkpoint.root())),
        Known::Size(size) => (*size, None),
    };
    let place = witnessed.place.clone();
    if known > found {
        return Err(LedgerError::Behind { found, known, place });
    }
    if let Some(root) = root {
        let own = root_of(known, &epoch.folder.hash_reader(found))
            .map_err(|error| LedgerError::damaged(&epoch.log, error))?;
        if own != root {
            return Err(LedgerError::Forked { known, place });
        }
    }
    Ok(known)
}

async fn ask(
    witness: &WitnessPeer,
    keys: &[VerifierKey],
    own: Option<&SignedNote>,
) -> Result<Option<Witnessed>, String> {
    let origin = keys.first().map(VerifierKey::name).unwrap_or_default();
    let known = |what| Witnessed {
        place: format!("the witness {}", witness.name),
        origin: origin.to_owned(),
        what,
    };
    match witness.ask.latest(origin).await {
        Ok(Some(bytes)) => {
            // Only what the log itself has signed binds it; a witness may show anything.
            let note = SignedNote::parse(&bytes).map_err(|error| format!("it shows: {error}"))?;
            let (checkpoint, _) = Checkpoint::verify_by_any(&note, keys)
                .map_err(|error| format!("it shows: {error}"))?;
            return Ok(Some(known(Known::Checkpoint(checkpoint))));
        }
        Ok(None) => {}
        Err(why) => tracing::debug!(witness = witness.name, why, "it shows no checkpoint"),
    }
    // A witness that shows nothing still tells the size to whoever starts from nothing. Where it
    // has seen none, it takes this one as the first.
    let Some(own) = own else { return Ok(None) };
    let request = AddCheckpoint { old_size: 0, proof: Vec::new(), checkpoint: own.clone() };
    let answer = witness.ask.add_checkpoint(request.to_string()).await?;
    let size = parse_size(&answer.body).filter(|_| answer.status == 409 && answer.is_size);
    Ok(size.map(|size| known(Known::Size(size))))
}
