//! One event by itself: a proof to hand out, and to check without the log.
//!
//! A proof of an event is three files: the bytes of the leaf, what is disclosed of it, and a
//! C2SP `tlog-proof` with a signed checkpoint in it. An event of a session says little without
//! the event in which its circumstances stand (who, from where, to what), so the proof of that
//! one comes along.

use crate::folder::{FolderError, LogFolder};
use crate::log::{Trust, VerifyError, epochs};
use crate::report::{Verdict, printable, time_text};
use crate::signed::{self, Signed};
use crate::wal::RecordType;
use crate::witnessed::Cosigned;
use loggia_model::event::Event;
use loggia_model::id::EventId;
use loggia_model::seal::Disclosure;
use loggia_model::value::{Object, Value};
use loggia_tlog::merkle::{inclusion_proof, verify_inclusion};
use loggia_tlog::policy::Quorum;
use loggia_tlog::tile::TILE_WIDTH;
use loggia_tlog::{BundleId, Checkpoint, SignedNote, TlogProof, VerifierKey, leaf_hash};
use serde_json::{Value as Json, json};
use std::fmt;
use std::path::{Path, PathBuf};

pub mod via;

/// How often a log that grows while it is read is tried again.
const TRIES: usize = 4;

/// Which entry is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The event of this id, in any epoch.
    Event(EventId),
    /// The entry at this index of the newest epoch.
    Index(u64),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(id) => write!(f, "event {id}"),
            Self::Index(index) => write!(f, "entry {index}"),
        }
    }
}

/// All that is needed to check one entry without the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPart {
    /// Index in the log.
    pub index: u64,
    /// The bytes of the leaf, verbatim.
    pub leaf: Vec<u8>,
    /// What is disclosed of it; `None` where nothing is sealed or all was erased.
    pub disclosure: Option<Vec<u8>>,
    /// Content of the `.tlog-proof` file.
    pub proof: String,
}

/// The proof of an event, with that of its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofBundle {
    /// The event itself.
    pub event: ProofPart,
    /// The event in which the circumstances of the session stand; none for an event without
    /// session, and for a `session.start`.
    pub context: Option<ProofPart>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The folder holds no log.
    #[error(transparent)]
    NoLog(VerifyError),
    /// Something could not be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It is written and not yet signed for.
    #[error("{0} is not yet under a checkpoint; try again in a second")]
    NotYet(Wanted),
    /// There is none.
    #[error("{0} is not in this log")]
    NotFound(Wanted),
    /// The log does not hold together, so that a proof would not hold.
    #[error("{}: {what}; `loggia verify` says more", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Makes the proof of an entry of the log in `dir`: a data folder, or the folder of an epoch.
/// It is checked against the checkpoint's tree before it is given; whose signature the
/// checkpoint carries is for the one to judge who gets the proof.
///
/// # Errors
/// [`ProveError`].
pub fn prove(dir: &Path, wanted: Wanted) -> Result<ProofBundle, ProveError> {
    let epochs = epochs(dir).map_err(|error| match error {
        VerifyError::Folder(error) => ProveError::Folder(error),
        error => ProveError::NoLog(error),
    })?;
    let newest_only = matches!(wanted, Wanted::Index(_));
    let mut not_yet = false;
    for epoch in epochs.iter().rev() {
        let mut tries = TRIES;
        let outcome = loop {
            tries -= 1;
            match prove_in(&epoch.folder, wanted) {
                // A writer may just be replacing what was to be read.
                Err(ProveError::Folder(FolderError::Missing { .. })) if tries > 0 => {}
                outcome => break outcome,
            }
        };
        match outcome {
            Err(ProveError::NotFound(_)) if !newest_only => {}
            Err(ProveError::NotYet(_)) if !newest_only => not_yet = true,
            outcome => return outcome,
        }
    }
    Err(if not_yet { ProveError::NotYet(wanted) } else { ProveError::NotFound(wanted) })
}

fn prove_in(folder: &LogFolder, wanted: Wanted) -> Result<ProofBundle, ProveError> {
    // One that witnesses have cosigned is worth more; where it does not cover the entry, or cannot
    // be used, the newest does.
    if let Ok(Some(bytes)) = folder.cosigned_bytes()
        && let Ok(bundle) = prove_under(folder, &folder.cosigned_path(), &bytes, wanted)
    {
        return Ok(bundle);
    }
    match folder.checkpoint_bytes()? {
        Some(bytes) => prove_under(folder, &folder.checkpoint_path(), &bytes, wanted),
        None => Err(beyond(folder, 0, wanted)?),
    }
}

fn prove_under(
    folder: &LogFolder,
    path: &Path,
    bytes: &[u8],
    wanted: Wanted,
) -> Result<ProofBundle, ProveError> {
    let damaged = |what: String| ProveError::Damaged { path: path.to_owned(), what };
    let note = SignedNote::parse(bytes).map_err(|error| damaged(error.to_string()))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| damaged(error.to_string()))?;
    let prover = Prover { folder, note, checkpoint };
    let size = prover.checkpoint.size();
    let index = match wanted {
        Wanted::Index(index) => (index < size).then_some(index),
        Wanted::Event(id) => prover.find(id, size)?,
    };
    let Some(index) = index else { return Err(beyond(folder, size, wanted)?) };
    let event = prover.part(index)?;
    let context = Event::parse(&event.leaf).ok().and_then(|event| event.session?.context);
    let context = match context {
        None => None,
        Some(id) => {
            let Some(index) = prover.find(id, index)? else {
                let what = format!("entry {index} refers to {id}, which does not stand before it");
                return Err(damaged(what));
            };
            Some(prover.part(index)?)
        }
    };
    Ok(ProofBundle { event, context })
}

/// Whether the write-ahead log has what the checkpoint over `size` entries does not cover.
fn beyond(folder: &LogFolder, size: u64, wanted: Wanted) -> Result<ProveError, FolderError> {
    let mut wal = folder.wal()?;
    while let Some(record) = wal.next_record()? {
        if record.kind != RecordType::Entry || record.index < size {
            continue;
        }
        let found = match wanted {
            Wanted::Index(index) => record.index == index,
            Wanted::Event(id) => is_event(record.leaf, id),
        };
        if found {
            return Ok(ProveError::NotYet(wanted));
        }
    }
    Ok(ProveError::NotFound(wanted))
}

fn is_event(leaf: &[u8], id: EventId) -> bool {
    let text = id.to_string();
    // Parsing costs far more than looking for the id, which other events may mention too.
    leaf.windows(text.len()).any(|window| window == text.as_bytes())
        && Event::parse(leaf).is_ok_and(|event| event.id == id)
}

struct Prover<'a> {
    folder: &'a LogFolder,
    note: SignedNote,
    checkpoint: Checkpoint,
}

impl Prover<'_> {
    /// Index of an event below `end`; looks from there backwards.
    fn find(&self, id: EventId, end: u64) -> Result<Option<u64>, ProveError> {
        let size = self.checkpoint.size();
        for number in (0..end.div_ceil(u64::from(TILE_WIDTH))).rev() {
            let Some(bundle) = BundleId::in_tree(number, size) else { break };
            let entries = self.folder.entries(&bundle)?;
            if let Some(position) = entries.iter().position(|leaf| is_event(leaf, id)) {
                let index = bundle.first_entry() + position as u64;
                return Ok(Some(index).filter(|index| *index < end));
            }
        }
        Ok(None)
    }

    fn part(&self, index: u64) -> Result<ProofPart, ProveError> {
        let (size, root) = (self.checkpoint.size(), self.checkpoint.root());
        let entry = self.folder.read(index, 1, size)?.pop();
        let entry = entry.ok_or(ProveError::NotFound(Wanted::Index(index)))?;
        let entry = self.folder.reveal(entry)?;
        let damaged = |what: String| ProveError::Damaged {
            path: self.folder.dir().join("log/tile"),
            what: format!("no proof of entry {index} leads to the signed root: {what}"),
        };
        let hashes = inclusion_proof(index, size, &self.folder.hash_reader(size))
            .map_err(|error| damaged(error.to_string()))?;
        verify_inclusion(index, size, &leaf_hash(&entry.leaf), &hashes, &root)
            .map_err(|error| damaged(error.to_string()))?;
        let proof = TlogProof { extra: None, index, hashes, checkpoint: self.note.clone() };
        Ok(ProofPart {
            index,
            leaf: entry.leaf,
            disclosure: entry.disclosure,
            proof: proof.to_string(),
        })
    }
}

/// Why an entry is not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unproven {
    /// Tampered, of another log, or (what is proven is not an event) incomplete.
    pub verdict: Verdict,
    /// Why.
    pub what: String,
}

fn unproven(verdict: Verdict, what: impl Into<String>) -> Unproven {
    // The origin of a foreign proof, the path in a disclosure: they end on somebody's terminal.
    Unproven { verdict, what: printable(&what.into()).into_owned() }
}

/// An entry that stands in a log which the key's owner has signed for. Without a quorum of
/// witnesses it rests on the operator alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Name of the log.
    pub origin: String,
    /// Index in the log.
    pub index: u64,
    /// Entries under the checkpoint.
    pub size: u64,
    /// Name of the aggregator's log in which that checkpoint stands, where a second proof says so.
    pub aggregator: Option<String>,
    /// Who of the policy's witnesses has cosigned that, or the aggregator's checkpoint; absent
    /// without a policy.
    pub cosigned: Option<Cosigned>,
    /// The event.
    pub event: Event,
    /// What is disclosed of it, as the log committed to it: pointer and value.
    pub values: Vec<(String, Value)>,
    /// Pointers of sealed fields that are not disclosed here.
    pub undisclosed: Vec<String>,
}

/// Checks a proof without the log: `proof` is the content of a `.tlog-proof`, `entry` the bytes of
/// the leaf. Of `trust`, known checkpoints are not looked at.
///
/// # Errors
/// [`Unproven`]: says what does not hold; nothing is proven then.
pub fn verify_proof(
    proof: &[u8],
    entry: &[u8],
    disclosure: Option<&[u8]>,
    trust: &Trust,
) -> Result<Proven, Unproven> {
    verify_proof_via(proof, entry, disclosure, None, trust)
}

/// As [`verify_proof`], with the second proof file of a log that is one of several: `via` proves
/// that the checkpoint in the first one stands in an aggregator's log. Witnesses then cosign the
/// aggregator's checkpoints alone, and the policy is asked about those. See [`via`] for the format.
///
/// # Errors
/// As [`verify_proof`].
pub fn verify_proof_via(
    proof: &[u8],
    entry: &[u8],
    disclosure: Option<&[u8]>,
    via: Option<&[u8]>,
    trust: &Trust,
) -> Result<Proven, Unproven> {
    let proof = TlogProof::parse(proof)
        .map_err(|error| unproven(Verdict::Tampered, format!("not a proof: {error}")))?;
    let signed::By { checkpoint, key, .. } = match signed::judge(&proof.checkpoint, &trust.keys) {
        Signed::By(signed) => *signed,
        Signed::Altered(why) | Signed::OtherKey(why) => {
            return Err(unproven(Verdict::Tampered, format!("the checkpoint in the proof: {why}")));
        }
        Signed::Foreign(origin) => {
            let what = format!("the proof is of the log {origin}, whose key was not given");
            return Err(unproven(Verdict::OtherOrigin, what));
        }
    };
    let (size, root) = (checkpoint.size(), checkpoint.root());
    verify_inclusion(proof.index, size, &leaf_hash(entry), &proof.hashes, &root).map_err(
        |error| {
            let what = format!(
                "these bytes are not entry {} of the log (they must be the entry's, to the last \
                 byte): {error}",
                proof.index
            );
            unproven(Verdict::Tampered, what)
        },
    )?;
    let (cosigned, aggregator) = match via {
        None => (quorum(&proof.checkpoint, &key, trust)?, None),
        Some(bytes) => {
            let (note, aggregator) = via::verify(bytes, &proof.checkpoint, &key, trust)?;
            (quorum(&note, &aggregator, trust)?, Some(aggregator.name().to_owned()))
        }
    };
    let event = Event::parse(entry).map_err(|error| {
        let what = format!("the entry is in the log, and is not an event: {error}");
        unproven(Verdict::Incomplete, what)
    })?;
    let nothing = Object::new();
    let sealed = event.sealed().unwrap_or(&nothing);
    let values = match disclosure {
        None => Vec::new(),
        Some(bytes) => {
            Disclosure::open(bytes, sealed)
                .map_err(|error| unproven(Verdict::Tampered, error.to_string()))?
                .values
        }
    };
    let closed = |path: &&str| !values.iter().any(|(open, _)| open == path);
    let undisclosed = sealed.keys().map(AsRef::as_ref).filter(closed).map(str::to_owned).collect();
    Ok(Proven {
        origin: checkpoint.origin().to_owned(),
        index: proof.index,
        size,
        aggregator,
        cosigned,
        event,
        values,
        undisclosed,
    })
}

/// Who has cosigned the checkpoint of a proof, where the policy says whom to look for.
fn quorum(
    note: &SignedNote,
    key: &VerifierKey,
    trust: &Trust,
) -> Result<Option<Cosigned>, Unproven> {
    let Some(witnesses) = &trust.witnesses else { return Ok(None) };
    let cosigned = witnesses.judge(note, key).map_err(|why| {
        unproven(Verdict::Tampered, format!("the checkpoint in the proof: {why}"))
    })?;
    if cosigned.quorum == Quorum::NotMet {
        let what = format!("the policy asks for {}; cosigned by {cosigned}", witnesses.policy);
        return Err(unproven(Verdict::NoQuorum, what));
    }
    Ok(Some(cosigned))
}

impl Proven {
    /// On whom it rests, in words.
    pub fn trust(&self) -> String {
        match &self.cosigned {
            Some(cosigned) if cosigned.quorum == Quorum::Met => format!("cosigned by {cosigned}"),
            Some(_) => "operator-trusted only: the policy asks for no witness".to_owned(),
            None => "operator-trusted only: no policy says which witnesses count".to_owned(),
        }
    }

    /// Checks that `context` is the event in which the circumstances of this one stand.
    ///
    /// # Errors
    /// [`Unproven`], where it is another.
    pub fn explained_by(&self, context: &Self) -> Result<(), Unproven> {
        let session = |proven: &Self| proven.event.session.map(|place| place.id);
        let refers = self.event.session.and_then(|place| place.context);
        if refers != Some(context.event.id)
            || session(self) != session(context)
            || self.origin != context.origin
            || context.index >= self.index
        {
            let what = format!("{} is not the context of {}", context.event.id, self.event.id);
            return Err(unproven(Verdict::Tampered, what));
        }
        Ok(())
    }

    /// The same as one JSON object. Keys are only ever added.
    pub fn to_json(&self) -> Json {
        let values: serde_json::Map<String, Json> = self
            .values
            .iter()
            .map(|(path, value)| {
                let json = serde_json::from_slice(&value.to_bytes()).unwrap_or(Json::Null);
                (path.clone(), json)
            })
            .collect();
        json!({
            "verdict": Verdict::Intact.as_str(),
            "exit_code": Verdict::Intact.exit_code(),
            "trust": if self.cosigned.as_ref().is_some_and(|one| one.quorum == Quorum::Met) {
                "cosigned"
            } else {
                "operator_trusted_only"
            },
            "cosigned": self.cosigned.as_ref().map(Cosigned::to_json),
            "aggregator": self.aggregator,
            "origin": self.origin,
            "index": self.index,
            "size": self.size,
            "event": self.event.id.to_string(),
            "kind": self.event.kind,
            "time_us": self.event.time_us,
            "values": values,
            "undisclosed": self.undisclosed,
        })
    }
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = &self.event;
        writeln!(
            f,
            "proven: event {} ({}) of {} is entry {} of the log {}",
            event.id,
            printable(&event.kind),
            time_text(event.time_us),
            self.index,
            printable(&self.origin)
        )?;
        writeln!(
            f,
            "  under a checkpoint over {} entries, signed by the operator's key ({})",
            self.size,
            self.trust()
        )?;
        if let Some(aggregator) = &self.aggregator {
            writeln!(
                f,
                "  that checkpoint stands in the aggregator's log {}",
                printable(aggregator)
            )?;
        }
        for (path, value) in &self.values {
            writeln!(f, "  {}: {}", printable(path), printable(&value.display()))?;
        }
        for path in &self.undisclosed {
            writeln!(f, "  {}: not disclosed", printable(path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
