//! The ledger's witnesses: each checkpoint is sent to them, and what they answer is published.
//!
//! ```text
//! log/checkpoint     the newest one, with whatever cosignatures have come so far
//! log/cosigned       the newest one that enough witnesses have cosigned
//! ```
//! One [`Cosigning::round`] takes the newest checkpoint to all witnesses at once. Nothing waits for
//! it: a log without its witnesses goes on, and the verdict over it says until where they speak. A
//! crash at any point loses at most cosignatures, which the next round asks for again.
//!
//! An answer is taken only once its signatures hold. A witness that refuses, or answers falsely, is
//! an event and a metric, and is asked again much later; one that does not answer is asked again
//! after a wait that doubles.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::shared::Shared;
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use loggia_model::catalogue::Kind;
use loggia_model::id::ActorId;
use loggia_model::port::{Append, AppendError};
use loggia_model::{EventDraft, Mint};
use loggia_tlog::cosignature::{merge, parse_lines};
use loggia_tlog::merkle::consistency_proof;
use loggia_tlog::note::Signature;
use loggia_tlog::policy::Quorum;
use loggia_tlog::witness::{AddCheckpoint, parse_size};
use loggia_tlog::{Checkpoint, Policy, SignedNote, VerifierKey};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

mod peer;
mod start;

pub use peer::{PeerState, WitnessStanding};
pub use start::{Witnessed, ask_witnesses, compare};

use peer::Peer;
pub(crate) use start::Known;

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Whether the body is said to be a size (`text/x.tlog.size`).
    pub is_size: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// How a witness is reached.
#[async_trait]
pub trait AskWitness: Send + Sync {
    /// Posts the body of `add-checkpoint`; the error says why there is no answer.
    async fn add_checkpoint(&self, body: String) -> Result<Answer, String>;
    /// Gets the last checkpoint of this log that it shows; `None` where it has none.
    async fn latest(&self, origin: &str) -> Result<Option<Vec<u8>>, String>;
}

/// A witness of this log.
#[derive(Clone)]
pub struct WitnessPeer {
    /// Its name in the configuration.
    pub name: String,
    /// Its keys.
    pub keys: Vec<VerifierKey>,
    /// How it is reached.
    pub ask: Arc<dyn AskWitness>,
}

/// Waits and bounds of cosigning.
#[derive(Debug, Clone, Copy)]
pub struct CosignLimits {
    /// For one answer.
    pub answer_wait_max: Duration,
    /// After the first silence; it doubles with each.
    pub silence_wait_min: Duration,
    /// At most, after a silence, and always after a refusal.
    pub wait_max: Duration,
    /// Behind by more than this a witness lags.
    pub lag_max: Duration,
}

impl Default for CosignLimits {
    fn default() -> Self {
        Self {
            answer_wait_max: Duration::from_secs(3),
            silence_wait_min: Duration::from_secs(1),
            wait_max: Duration::from_secs(60),
            lag_max: Duration::from_secs(60),
        }
    }
}

/// The witnesses of an open ledger.
pub struct Cosigning {
    ledger: Arc<Ledger>,
    mint: Mint,
    peers: Vec<Peer>,
    policy: Option<Policy>,
    limits: CosignLimits,
    held: Mutex<Option<Held>>,
}

/// What stands in `log/cosigned`.
struct Held {
    size: u64,
    /// With a policy, whether it is met; without, how many witnesses have cosigned.
    rank: usize,
    taken_us: i64,
}

/// What came of asking one witness.
enum Said {
    Cosigned(Vec<Signature>),
    Refused { status: Option<u16>, seen: Option<u64>, reason: &'static str },
    Silent(String),
}

impl Cosigning {
    /// The witnesses of `ledger`. `policy` says which of them together are enough; without one,
    /// all of them.
    ///
    /// # Errors
    /// Where what stands in `log/cosigned` cannot be read.
    pub fn new(
        ledger: Arc<Ledger>,
        mint: Mint,
        witnesses: Vec<WitnessPeer>,
        policy: Option<Policy>,
        limits: CosignLimits,
    ) -> Result<Self, LedgerError> {
        let peers = witnesses.into_iter().map(Peer::new).collect();
        let cosigning = Self { ledger, mint, peers, policy, limits, held: Mutex::new(None) };
        *cosigning.held.lock() = cosigning.read_held()?;
        cosigning.show_standing();
        Ok(cosigning)
    }

    /// Asks for cosignatures whenever a checkpoint is published, until it is dropped.
    pub async fn run(&self) {
        let mut published = self.ledger.published();
        loop {
            self.round().await;
            let tick = tokio::time::sleep(Duration::from_secs(1));
            tokio::select! {
                changed = published.changed() => if changed.is_err() { return },
                () = tick => {}
            }
        }
    }

    /// Takes the newest checkpoint to every witness that has not cosigned it and may be asked now.
    pub async fn round(&self) {
        let Some((size, note)) = self.ledger.shared().shown.lock().clone() else { return };
        let now = Instant::now();
        let due: Vec<&Peer> =
            self.peers.iter().filter(|peer| peer.due(size, self.mint.now_us(), now)).collect();
        let asked = due.len();
        let note = &note;
        let mut answers: FuturesUnordered<_> = due
            .into_iter()
            .map(|peer| async move { (peer, self.ask(peer, size, note).await) })
            .collect();
        let mut cosigned = note.clone();
        let (mut told, mut unpublished, mut was_enough) = (0, false, false);
        while let Some((peer, said)) = answers.next().await {
            told += 1;
            unpublished |= self.take(peer, size, said, &mut cosigned);
            // Whoever is slow must not keep back what is enough without them.
            let enough = !was_enough && self.policy.is_some() && self.rank(&cosigned) > 0;
            if unpublished && (enough || told == asked) {
                (unpublished, was_enough) = (false, enough);
                self.publish(size, &cosigned).await;
            }
        }
        self.watch_lag(size);
        self.show_standing();
    }

    /// Asks one witness, and once more where it says that it is elsewhere than believed.
    async fn ask(&self, peer: &Peer, size: u64, note: &SignedNote) -> Said {
        let mut old_size = peer.believed();
        for _ in 0..2 {
            if old_size > size {
                return Said::Refused { status: None, seen: Some(old_size), reason: "ahead" };
            }
            let body = match self.request(old_size, size, note) {
                Ok(body) => body,
                Err(error) => return Said::Silent(format!("no proof can be made: {error}")),
            };
            let asked = peer.witness.ask.add_checkpoint(body);
            let answer = match tokio::time::timeout(self.limits.answer_wait_max, asked).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(why)) => return Said::Silent(why),
                Err(_) => return Said::Silent("no answer in time".to_owned()),
            };
            match (answer.status, parse_size(&answer.body).filter(|_| answer.is_size)) {
                (409, Some(seen)) => old_size = seen,
                _ => return understood(answer),
            }
        }
        if old_size > size {
            return Said::Refused { status: Some(409), seen: Some(old_size), reason: "ahead" };
        }
        Said::Silent("it names another size each time".to_owned())
    }

    fn request(&self, old_size: u64, size: u64, note: &SignedNote) -> Result<String, String> {
        let folder = &self.ledger.shared().epoch.folder;
        let proof = consistency_proof(old_size, size, &folder.hash_reader(size))
            .map_err(|error| error.to_string())?;
        // Only the log's own lines: a body with everybody's would outgrow what witnesses accept.
        // While its key changes there are two, and a witness may know either.
        let signers = self.ledger.shared().signers.read();
        let of_log = |line: &&Signature| {
            let own = |key: &VerifierKey| key.name() == line.name() && key.id() == line.key_id();
            signers.verifiers().iter().any(own)
        };
        let lines = note.signatures().iter().filter(of_log).cloned().collect();
        let checkpoint = SignedNote::new(note.text(), lines).map_err(|error| error.to_string())?;
        Ok(AddCheckpoint { old_size, proof, checkpoint }.to_string())
    }

    /// Takes what a witness said, its cosignatures only where they hold; whether it cosigned.
    fn take(&self, peer: &Peer, size: u64, said: Said, cosigned: &mut SignedNote) -> bool {
        let said = match said {
            Said::Cosigned(lines) => match merge(cosigned, &lines, &peer.witness.keys) {
                Ok(taken) if !taken.is_empty() => {
                    if peer.cosigned(size) {
                        self.record(peer, Kind::WitnessCosigns, |draft| {
                            draft.set("/detail/cosigned_size", size)
                        });
                    }
                    return true;
                }
                _ => Said::Refused { status: Some(200), seen: None, reason: "false_answer" },
            },
            said => said,
        };
        match said {
            Said::Cosigned(_) => {}
            Said::Silent(why) => {
                tracing::warn!(witness = peer.witness.name, why, "a witness does not answer");
                self.ledger.metrics().witness_silences.inc();
                peer.silent(why, self.limits, Instant::now());
            }
            Said::Refused { status, seen, reason } => {
                tracing::error!(
                    witness = peer.witness.name,
                    status,
                    seen,
                    size,
                    reason,
                    "A WITNESS REFUSED a checkpoint of this log"
                );
                self.ledger.metrics().witness_refusals.inc();
                // An event makes the log grow, so each refusal is one only once.
                if peer.refused(reason, self.limits, Instant::now()) {
                    self.record(peer, Kind::WitnessRefused, |draft| {
                        let draft = draft.set("/detail/size", size).set("/detail/reason", reason);
                        let draft = draft.set_some("/detail/status", status.map(u64::from));
                        draft.set_some("/detail/seen", seen)
                    });
                }
            }
        }
        false
    }

    /// Puts the cosignatures beside the checkpoint, and the whole into `log/cosigned` where it is
    /// better than what stands there.
    async fn publish(&self, size: u64, cosigned: &SignedNote) {
        let (rank, now_us) = (self.rank(cosigned), self.mint.now_us());
        let lag_us = i64::try_from(self.limits.lag_max.as_micros()).unwrap_or(i64::MAX);
        let better = match &*self.held.lock() {
            None => true,
            Some(held) => {
                size >= held.size
                    && (rank >= held.rank || now_us.saturating_sub(held.taken_us) > lag_us)
            }
        };
        let ledger = Arc::clone(&self.ledger);
        let note = cosigned.clone();
        let written =
            tokio::task::spawn_blocking(move || write(ledger.shared(), size, &note, better));
        match written.await {
            Ok(Ok(())) if better => {
                *self.held.lock() = Some(Held { size, rank, taken_us: now_us });
                let shown = i64::try_from(size).unwrap_or(i64::MAX);
                self.ledger.metrics().cosigned_size.set(shown);
            }
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_full() => {
                tracing::warn!(%error, "cosignatures could not be stored; asked for again");
            }
            Ok(Err(error)) => self.ledger.shared().fatal(&error.to_string()),
            Err(error) => tracing::error!(%error, "cosignatures could not be stored"),
        }
    }

    /// How good the cosignatures on a checkpoint of this log are.
    fn rank(&self, note: &SignedNote) -> usize {
        let keys: Vec<VerifierKey> =
            self.peers.iter().flat_map(|peer| peer.witness.keys.iter().cloned()).collect();
        let key = self.ledger.shared().key();
        let opened = Checkpoint::verify_note(note, &key, &keys);
        let cosignatures = opened.map(|opened| opened.cosignatures).unwrap_or_default();
        match &self.policy {
            Some(policy) => usize::from(policy.quorum(&cosignatures) != Quorum::NotMet),
            None => self.peers.iter().filter(|peer| peer.is_among(&cosignatures)).count(),
        }
    }

    /// Says once that a witness lags.
    fn watch_lag(&self, size: u64) {
        let now_us = self.mint.now_us();
        for peer in &self.peers {
            let lag_s = peer.lag_s(size, now_us);
            self.ledger.metrics().set_witness_lag(&peer.witness.name, lag_s);
            if peer.lags(lag_s, self.limits) {
                let standing = peer.standing(size, now_us);
                tracing::error!(witness = standing.name, lag_s, "A WITNESS LAGS");
                self.record(peer, Kind::WitnessLagging, |draft| {
                    draft
                        .set("/detail/cosigned_size", standing.cosigned_size)
                        .set("/detail/published_size", size)
                        .set("/detail/lag_s", lag_s)
                        .set("/detail/reason", standing.state.as_str())
                });
            }
        }
    }

    fn show_standing(&self) {
        let shared = self.ledger.shared();
        let (size, now_us) = (*shared.published.borrow(), self.mint.now_us());
        *shared.witnesses.lock() =
            self.peers.iter().map(|peer| peer.standing(size, now_us)).collect();
    }

    fn record(&self, peer: &Peer, kind: Kind, fill: impl FnOnce(EventDraft) -> EventDraft) {
        let draft = self.mint.draft(kind).actor(ActorId::Node(self.ledger.node()));
        let draft = fill(draft.set("/detail/witness", peer.witness.name.as_str()));
        let written = draft.encode().map_err(AppendError::from);
        if let Err(error) = written.and_then(|draft| self.ledger.append_soon(draft)) {
            tracing::warn!(%error, "an event about a witness could not be written");
        }
    }

    /// What an earlier run left in `log/cosigned`. A file that does not hold is not ours to keep.
    fn read_held(&self) -> Result<Option<Held>, LedgerError> {
        let path = cosigned_path(self.ledger.shared());
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::io(&path, error)),
        };
        let Ok(note) = SignedNote::parse(&bytes) else { return Ok(None) };
        let keys: Vec<VerifierKey> =
            self.peers.iter().flat_map(|peer| peer.witness.keys.iter().cloned()).collect();
        let key = self.ledger.shared().key();
        let Ok(opened) = Checkpoint::verify_note(&note, &key, &keys) else { return Ok(None) };
        let (size, rank) = (opened.checkpoint.size(), self.rank(&note));
        let time_s = opened.cosignatures.iter().filter_map(|one| one.time_s).max().unwrap_or(0);
        let taken_us = i64::try_from(time_s).unwrap_or(0).saturating_mul(1_000_000);
        self.ledger.metrics().cosigned_size.set(i64::try_from(size).unwrap_or(i64::MAX));
        Ok(Some(Held { size, rank, taken_us }))
    }
}

/// An answer that is final, one way or the other.
fn understood(answer: Answer) -> Said {
    let refused = |reason| Said::Refused { status: Some(answer.status), seen: None, reason };
    match answer.status {
        200 => match parse_lines(&answer.body) {
            Ok(lines) => Said::Cosigned(lines),
            Err(_) => refused("false_answer"),
        },
        // Earlier texts of the specification have 409 for two trees of one size.
        409 | 422 => refused("fork"),
        403 => refused("signature"),
        404 => refused("unknown_log"),
        400 | 413 => refused("malformed"),
        status => Said::Silent(format!("it answers with status {status}")),
    }
}

fn cosigned_path(shared: &Shared) -> PathBuf {
    shared.epoch.folder.cosigned_path()
}

/// Writes the note beside the newest checkpoint where it still is that one, and into `log/cosigned`.
/// A crash between the two leaves one of them without the newest cosignatures.
fn write(shared: &Shared, size: u64, note: &SignedNote, better: bool) -> Result<(), LedgerError> {
    let replace = |path: PathBuf, note: &SignedNote| {
        let replaced = shared.disk.replace(&path, note.to_string().as_bytes());
        replaced.map_err(|error| LedgerError::io(&path, error))
    };
    let mut shown = shared.shown.lock();
    if let Some((shown_size, shown_note)) = &mut *shown
        && *shown_size == size
    {
        let mut merged = shown_note.clone();
        for line in note.signatures() {
            merged.put(line.clone())?;
        }
        replace(shared.epoch.folder.checkpoint_path(), &merged)?;
        *shown_note = merged;
    }
    drop(shown);
    if better { replace(cosigned_path(shared), note) } else { Ok(()) }
}
