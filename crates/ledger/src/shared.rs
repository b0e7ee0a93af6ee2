//! What the threads of a ledger share.

use crate::cosign::WitnessStanding;
use crate::disk::Disk;
use crate::erase::Blanks;
use crate::layout::{EpochLayout, Layout};
use crate::metrics::LedgerMetrics;
use crate::segments::Segments;
use crate::sequencer::Sequencer;
use crate::signer::LogSigners;
use crate::subjects::{Sealed, Subjects};
use crate::tail::Tail;
use loggia_model::Draft;
use loggia_model::id::NodeId;
use loggia_model::port::{AppendError, Appended, Fatal, Follow};
use loggia_tlog::SignedNote;
use parking_lot::{Condvar, Mutex, RwLock};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) struct Shared {
    pub(crate) disk: Disk,
    pub(crate) layout: Layout,
    pub(crate) epoch: EpochLayout,
    pub(crate) segments: Arc<Segments>,
    /// The keys that disclosures are sealed under. Locked before the sequencer is.
    pub(crate) subjects: Subjects,
    pub(crate) sequencer: Mutex<Sequencer>,
    /// Held through a round of the flusher: rounds never overtake each other.
    pub(crate) flushing: Mutex<()>,
    /// Wakes the flusher.
    pub(crate) work: Condvar,
    /// Number of entries on disk.
    pub(crate) on_disk: watch::Sender<u64>,
    pub(crate) tail: Tail,
    /// What the publisher is to take out of the bundle that is not full.
    pub(crate) blanks: Blanks,
    pub(crate) followers: Mutex<Vec<Fed>>,
    /// Number of entries below the last durable checkpoint.
    pub(crate) published: watch::Sender<u64>,
    /// The checkpoint in `log/checkpoint`, with the cosignatures that have come. Whoever replaces
    /// that file holds this.
    pub(crate) shown: Mutex<Option<(u64, SignedNote)>>,
    /// Where the witnesses stand.
    pub(crate) witnesses: Mutex<Vec<WitnessStanding>>,
    pub(crate) node: NodeId,
    /// Name of the log.
    pub(crate) origin: String,
    pub(crate) signers: RwLock<LogSigners>,
    /// Since when no checkpoint could be published, and why.
    pub(crate) unpublished: Mutex<Option<(Instant, String)>>,
    pub(crate) checkpoint_copy: Option<PathBuf>,
    pub(crate) boot: u64,
    /// Index of the boot's first entry.
    pub(crate) boot_first_index: u64,
    pub(crate) metrics: LedgerMetrics,
    pub(crate) fatal: Fatal,
    /// Wakes publisher and maker of segments when the ledger closes.
    pub(crate) stop: Mutex<bool>,
    pub(crate) stopping: Condvar,
}

impl Shared {
    /// Closes the ledger and reports that the process must not go on.
    pub(crate) fn fatal(&self, why: &str) {
        tracing::error!(why, "the ledger cannot be trusted any more; the process ends");
        self.sequencer.lock().close(why.to_owned());
        self.stop_threads();
        (self.fatal)(why);
    }

    /// Tells the sequencer what is on disk and in no tile yet; to be called whenever that changes.
    pub(crate) fn note_backlog(&self) {
        // Read under the sequencer's lock: an older number never replaces a newer one, by which
        // everybody would wait for what is done already.
        let mut sequencer = self.sequencer.lock();
        sequencer.backlog_bytes = self.tail.backlog_bytes();
    }

    /// Seals what is disclosed of each draft under its subject's key.
    pub(crate) fn seal<'a>(&'a self, drafts: &'a [Draft]) -> Result<Sealed<'a>, AppendError> {
        self.subjects.seal(drafts).inspect_err(|error| {
            if let AppendError::Closed(why) = error {
                self.fatal(why);
            }
        })
    }

    /// Stamps sealed drafts, and then does with the sequencer what must be done before anybody else
    /// stamps something.
    pub(crate) fn stamp(
        &self,
        sealed: &Sealed<'_>,
        then: impl FnOnce(&mut Sequencer) -> Result<(), AppendError>,
    ) -> Result<Appended, AppendError> {
        let _abort = AbortOnPanic;
        let mut sequencer = self.sequencer.lock();
        let was_idle = !sequencer.has_work();
        let stamped = sequencer.stamp_all(sealed);
        let appended = stamped.inspect_err(|error| self.metrics.note_refusal(error))?;
        then(&mut sequencer)?;
        drop(sequencer);
        if was_idle {
            self.work.notify_all();
        }
        self.metrics.events.inc_by(sealed.drafts().len() as u64);
        Ok(appended)
    }

    /// Tells publisher and maker of segments to end.
    pub(crate) fn stop_threads(&self) {
        *self.stop.lock() = true;
        self.stopping.notify_all();
        self.work.notify_all();
        // Those who wait for the disk look again and find the ledger closed.
        self.on_disk.send_modify(|_| {});
    }

    /// Sleeps, but not past the end of the ledger; `false` when it ends.
    pub(crate) fn sleep(&self, time: std::time::Duration) -> bool {
        let mut stop = self.stop.lock();
        if !*stop {
            self.stopping.wait_for(&mut stop, time);
        }
        !*stop
    }
}

/// A follower, and what is held while it is given entries: what was read for it before something
/// was destroyed must not reach it afterwards.
#[derive(Clone)]
pub(crate) struct Fed {
    pub(crate) follower: Arc<dyn Follow>,
    pub(crate) feeding: Arc<Mutex<()>>,
}

/// Aborts the process when it is dropped by a panic: the state under a lock may be half changed,
/// and an order that is half stamped must not go on.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a panic while events were stamped; the process ends");
            std::process::abort();
        }
    }
}
