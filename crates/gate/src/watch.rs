//! The watch over one session: the only way to report an action, and so to get it to the target.
//!
//! A front end gathers what it read from its client in a [`crate::Batch`]: actions with their
//! reports, bulk data, neutral frames. Its `commit` writes all reports with one append and only
//! then gives the frames back, as [`crate::Recorded`]. A crash before the append leaves nothing
//! anywhere; a crash after it leaves a report of an action whose outcome is unknown.
//!
//! A watch does not look into what it is given: what a frame is, and which report says it, is the
//! codec's. It counts and hashes no bulk data, which the front end does for the action's result; it
//! writes nothing to anybody; and it does not wait for the order to end a session, which a front
//! end does beside everything else ([`Watch::end_signal`]).

use crate::batch::Unsafe;
use crate::limits::Limits;
use crate::metrics::GateMetrics;
use crate::proof::{Dial, FrameClass, Permit};
use crate::recording::Recording;
use crate::sessions::{EndNotice, Live};
use loggia_model::catalogue::Kind;
use loggia_model::circumstances::policy_error;
use loggia_model::decision::{Action, Ask, Decision, Effect};
use loggia_model::event::{Role, SessionSlot};
use loggia_model::id::SessionId;
use loggia_model::port::{Append, AppendError, Appended, Decide, Recordings, TapeError};
use loggia_model::resource::Depth;
use loggia_model::{Draft, EventDraft, Mint, Source};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Results of a session that may be unwritten while the ledger is paused; then answers wait.
const RESULTS_UNRECORDED_MAX: usize = 256;

/// Why the frames of a batch must not be forwarded.
#[derive(Debug, thiserror::Error)]
pub enum Unrecorded {
    /// Policy says no to this action. Nothing was reported; the front end reports the refusal
    /// with [`Watch::refused`] and tells its client.
    #[error("policy denies {}", .0.as_str())]
    Denied(Action, Box<Decision>),
    /// The frame is not of the class that the call is for: a mistake of the front end.
    #[error("a frame of class {0:?} was given as another")]
    WrongClass(FrameClass),
    /// Bulk data of an action that is not on record and not in its batch: a mistake of the front
    /// end.
    #[error("bulk data of an action that was not recorded")]
    NoAction,
    /// The report cannot be written; the action must not happen, and the session goes on.
    #[error("the action is too large to be recorded: {0}")]
    TooLarge(loggia_model::event::DraftError),
    /// The recording takes no more; the session must end.
    #[error("what the session does cannot be recorded: {0}")]
    Recording(TapeError),
    /// The ledger takes no more events; the session must end.
    #[error("what the session does cannot be recorded: {0}")]
    Ledger(AppendError),
}

/// What a watch is made of. Kept apart so that the spine reads plainly.
pub(crate) struct WatchParts {
    pub(crate) append: Arc<dyn Append>,
    pub(crate) decide: Arc<dyn Decide>,
    pub(crate) mint: Mint,
    pub(crate) metrics: GateMetrics,
    pub(crate) limits: Limits,
    pub(crate) depth: Depth,
    pub(crate) dial: Dial,
    pub(crate) live: Arc<Live>,
    pub(crate) recordings: Arc<dyn Recordings>,
}

/// The watch over one session. What a session does at the same time, in several channels, is
/// reported through one watch; the locks inside are held for moments only.
pub struct Watch {
    pub(crate) parts: WatchParts,
    end: EndSignal,
    remembered: Mutex<Vec<Remembered>>,
    results: Mutex<Results>,
    pub(crate) recording: Recording,
    pub(crate) not_safe: Mutex<Unsafe>,
}

/// Results that are not written yet.
#[derive(Default)]
struct Results {
    waiting: VecDeque<Draft>,
    lost: u64,
}

/// Tells when the session is ordered to end.
#[derive(Clone)]
pub struct EndSignal(tokio::sync::watch::Receiver<Option<EndNotice>>);

impl EndSignal {
    /// Waits until the session is ordered to end.
    pub async fn ended(&mut self) -> EndNotice {
        loop {
            if let Some(notice) = self.0.borrow_and_update().clone() {
                return notice;
            }
            if self.0.changed().await.is_err() {
                // The registry holds the sender for as long as the session is open.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// A decision that may be used again.
struct Remembered {
    action: Action,
    decision: Decision,
    generation: u64,
    until_us: i64,
}

impl Watch {
    pub(crate) fn new(parts: WatchParts) -> Self {
        let end = EndSignal(parts.live.end.subscribe());
        Self {
            parts,
            end,
            remembered: Mutex::default(),
            results: Mutex::default(),
            recording: Recording::default(),
            not_safe: Mutex::default(),
        }
    }

    /// Who acts, to what: what it took to get here.
    pub fn permit(&self) -> &Permit {
        self.parts.dial.permit()
    }

    /// Where the client is.
    pub fn source(&self) -> Source {
        Source { peer: self.parts.live.peer }
    }

    /// A signal of its own, for a part of the session that waits elsewhere.
    pub fn end_signal(&self) -> EndSignal {
        self.end.clone()
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.parts.live.id
    }

    /// How safe a record is before its action is forwarded.
    pub fn depth(&self) -> Depth {
        self.parts.depth
    }

    /// What it took to dial, for the front ends that reach the target again (to cancel).
    pub fn dial(&self) -> &Dial {
        &self.parts.dial
    }

    /// Actions so far.
    pub(crate) fn actions(&self) -> u64 {
        self.parts.live.actions.load(Ordering::Relaxed)
    }

    /// Microseconds since 1970.
    pub fn now_us(&self) -> i64 {
        self.parts.mint.now_us()
    }

    /// An event of this session.
    pub fn draft(&self, kind: Kind) -> EventDraft {
        let slot = SessionSlot {
            id: self.parts.live.id,
            context: Some(self.parts.live.start),
            role: Role::Member,
        };
        self.parts.mint.draft(kind).actor(self.parts.live.actor.id).session(slot)
    }

    /// The order to end, where it was given.
    pub fn end_ordered(&self) -> Option<EndNotice> {
        self.end.0.borrow().clone()
    }

    /// Asks the policies about an action of this session.
    pub fn permits(&self, action: Action) -> Result<(), Unrecorded> {
        let now_us = self.parts.mint.now_us();
        let generation = self.parts.decide.generation();
        {
            let remembered = self.remembered.lock();
            let known = remembered.iter().find(|known| known.action == action);
            if let Some(known) = known
                && known.generation == generation
                && now_us < known.until_us
            {
                return verdict(action, &known.decision);
            }
        }
        let live = &self.parts.live;
        let decision = self.parts.decide.decide(&Ask {
            actor: &live.actor,
            action,
            resource: Some(&live.resource),
            account: Some(&live.account),
            database: live.database.as_deref(),
            source_ip: live.peer.ip(),
            time_us: now_us,
        });
        if let Some(draft) = policy_error(&self.parts.mint, &decision) {
            // The answer is deny already; what is lost with the event is only the reason for it.
            let written = draft.encode().map_err(AppendError::Draft);
            if let Err(error) = written.and_then(|draft| self.parts.append.append_soon(draft)) {
                tracing::error!(%error, "a policy error could not be recorded");
            }
        }
        let answer = verdict(action, &decision);
        let until_us = now_us.saturating_add(decision.reuse_us_max);
        let mut remembered = self.remembered.lock();
        remembered.retain(|known| known.action != action);
        remembered.push(Remembered { action, decision, generation, until_us });
        answer
    }

    /// Reports something that was refused, at the depth of the session. Nothing is forwarded.
    pub async fn refused(&self, draft: EventDraft) -> Result<(), Unrecorded> {
        let draft =
            draft.set("/outcome/status", "denied").encode().map_err(Unrecorded::TooLarge)?;
        self.append(&[draft]).await
    }

    /// Reports what an action gave. The client is not held for it, unless the ledger is paused
    /// and 256 results of this session wait already.
    pub async fn result(&self, draft: EventDraft) -> Result<(), Unrecorded> {
        match draft.encode() {
            Ok(draft) => self.results.lock().waiting.push_back(draft),
            Err(error) => {
                // An error message larger than a leaf: the outcome is then counted, not told.
                tracing::warn!(%error, "a result could not be written");
                self.results.lock().lost += 1;
            }
        }
        self.send_results()?;
        if self.results.lock().waiting.len() < RESULTS_UNRECORDED_MAX {
            return Ok(());
        }
        let pause_max = self.parts.limits.pause_max;
        self.parts.metrics.pauses.inc();
        self.wait_for_ledger(AppendError::Paused("results wait"), pause_max).await?;
        self.send_results()
    }

    fn send_results(&self) -> Result<(), Unrecorded> {
        let mut results = self.results.lock();
        while let Some(draft) = results.waiting.pop_front() {
            match self.parts.append.append_soon(draft.clone()) {
                Ok(()) => self.count_recorded(&draft),
                Err(AppendError::Paused(_)) => {
                    results.waiting.push_front(draft);
                    return Ok(());
                }
                Err(error) => {
                    results.waiting.push_front(draft);
                    return Err(Unrecorded::Ledger(error));
                }
            }
        }
        Ok(())
    }

    fn count_recorded(&self, draft: &Draft) {
        let bytes =
            draft.bytes_max() + draft.blobs.iter().map(|blob| blob.bytes.len()).sum::<usize>();
        self.parts.live.recorded_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Appends and, at `disk` depth, waits for the disk. While the ledger is paused the session is
    /// too, for a bounded time.
    pub(crate) async fn append(&self, drafts: &[Draft]) -> Result<(), Unrecorded> {
        let appended = self.append_ahead(drafts).await?;
        if self.parts.depth == Depth::Disk {
            self.parts.append.on_disk(&appended).await.map_err(Unrecorded::Ledger)?;
        }
        Ok(())
    }

    /// Appends what another append of this session will follow before anything is forwarded: the
    /// log is flushed in order, so the disk is waited for once.
    pub(crate) async fn append_ahead(&self, drafts: &[Draft]) -> Result<Appended, Unrecorded> {
        // Results that waited go first, so that the order of the session holds.
        self.send_results()?;
        let mut paused_since = None;
        let appended = loop {
            match self.append_once(drafts).await {
                Ok(appended) => break appended,
                Err(paused @ AppendError::Paused(_)) => {
                    let since = *paused_since.get_or_insert_with(|| {
                        self.parts.metrics.pauses.inc();
                        Instant::now()
                    });
                    let left = self.parts.limits.pause_max.checked_sub(since.elapsed());
                    let Some(left) = left else { return Err(Unrecorded::Ledger(paused)) };
                    self.wait_for_ledger(paused, left).await?;
                }
                Err(AppendError::Draft(error)) => return Err(Unrecorded::TooLarge(error)),
                Err(error) => return Err(Unrecorded::Ledger(error)),
            }
        };
        for draft in drafts {
            self.count_recorded(draft);
        }
        Ok(appended)
    }

    /// One try. Large values are made durable before their report is written, which takes a few
    /// fsyncs: not on a thread on which other sessions wait for their turn.
    async fn append_once(&self, drafts: &[Draft]) -> Result<Appended, AppendError> {
        if drafts.iter().all(|draft| draft.blobs.is_empty()) {
            return self.parts.append.append(drafts);
        }
        let (append, drafts) = (Arc::clone(&self.parts.append), drafts.to_vec());
        let appending = tokio::task::spawn_blocking(move || append.append(&drafts));
        appending.await.unwrap_or_else(|error| Err(AppendError::Closed(error.to_string())))
    }

    async fn wait_for_ledger(
        &self,
        paused: AppendError,
        wait_max: Duration,
    ) -> Result<(), Unrecorded> {
        let mut end = self.end.clone();
        tokio::select! {
            resumed = self.parts.append.resumed(wait_max) => {
                if resumed { Ok(()) } else { Err(Unrecorded::Ledger(paused)) }
            }
            // An order to end must not wait for a full disk.
            _ = end.ended() => Err(Unrecorded::Ledger(paused)),
        }
    }

    /// Hands over what the end of the session still has to say: the number of results that were
    /// not written one by one.
    pub(crate) fn close(self) -> u64 {
        if self.send_results().is_err() {
            tracing::warn!("the ledger closed before the session's results were written");
        }
        let results = self.results.into_inner();
        results.lost + results.waiting.len() as u64
    }
}

fn verdict(action: Action, decision: &Decision) -> Result<(), Unrecorded> {
    match decision.effect {
        Effect::Allow => Ok(()),
        Effect::Deny => Err(Unrecorded::Denied(action, Box::new(decision.clone()))),
    }
}
