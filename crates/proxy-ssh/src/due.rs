//! The result of an action, which is due from the moment that the action is on record.
//!
//! A future that serves an action can end anywhere: its client hangs up, its session is ordered
//! to end, it waits for something that does not come. Whoever holds a [`Due`] puts the result on
//! record, or drops it; then what was known goes on record with the status `unknown`. Only the
//! death of the process leaves an action without a result.

use futures::FutureExt;
use loggia_gate::{RecordedAction, Unrecorded, Watch};
use loggia_model::EventDraft;
use loggia_model::catalogue::Kind;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// An `ssh.result` that is due.
pub(crate) struct Due<'a> {
    watch: &'a Watch,
    action: RecordedAction,
    begun: Instant,
    /// Bytes of input that were forwarded.
    pub(crate) bytes_in: AtomicU64,
    /// Bytes of output.
    pub(crate) bytes_out: AtomicU64,
    said: bool,
}

impl<'a> Due<'a> {
    /// For an action that was recorded just now.
    pub(crate) fn of(watch: &'a Watch, action: RecordedAction) -> Self {
        let (bytes_in, bytes_out) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { watch, action, begun: Instant::now(), bytes_in, bytes_out, said: false }
    }

    /// The action.
    pub(crate) fn action(&self) -> RecordedAction {
        self.action
    }

    /// The result as far as it is the same for all.
    pub(crate) fn draft(&self, status: &str) -> EventDraft {
        let duration_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.watch
            .draft(Kind::SshResult)
            .set("/detail/of", self.action.event().to_string())
            .set("/outcome/status", status)
            .set("/outcome/bytes_in", self.bytes_in.load(Ordering::Relaxed))
            .set("/outcome/bytes_out", self.bytes_out.load(Ordering::Relaxed))
            .set("/outcome/duration_us", duration_us)
    }

    /// Puts the result on record: one that was made by [`Self::draft`].
    pub(crate) async fn say(mut self, draft: EventDraft) -> Result<(), Unrecorded> {
        self.said = true;
        self.watch.result(draft).await
    }
}

impl Drop for Due<'_> {
    fn drop(&mut self) {
        if !self.said {
            say_now(self.watch, self.draft("unknown"));
        }
    }
}

/// Puts a result on record without waiting for room: the session's end counts what the ledger
/// does not take any more.
pub(crate) fn say_now(watch: &Watch, draft: EventDraft) {
    if let Some(Err(error)) = watch.result(draft).now_or_never() {
        tracing::warn!(%error, "a result at the end of a session could not be recorded");
    }
}
