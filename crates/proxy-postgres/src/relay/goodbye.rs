//! The end of a session: what runs on the target is cancelled where the session was ordered to
//! end, the client is told why, both legs are closed. Every wait here has a deadline.

use super::outgoing::Outgoing;
use super::refusals::fatal;
use super::{Relay, Stop, write_client, write_target};
use crate::cancels::CancelAsk;
use crate::codec::encode::{self, Report, Severity};
use crate::refusal::{self, ADMIN_SHUTDOWN};
use crate::upstream;
use loggia_gate::{EndNotice, Recorded, Unrecorded};
use loggia_model::catalogue::Kind;
use loggia_model::{Authn, EventDraft};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

/// How long the answers to what was sent are awaited when the client is gone already.
const ANSWERS_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a request to cancel may take.
const CANCEL_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long the last words to one side may take.
const LAST_WORDS_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a client that was told everything is given to hang up by itself.
const LINGER_MAX: Duration = Duration::from_millis(500);
/// Requests to cancel of one session come through at most this often.
const CANCEL_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// How a session says goodbye.
pub(super) enum Farewell {
    /// The client is gone.
    ClientGone,
    /// The target is gone.
    TargetGone,
    /// Loggia ends it.
    Ended {
        /// What the client is told.
        report: Report,
        /// Who has what runs on the target cancelled, where that can be recorded.
        cancelled_by: Option<&'static str>,
    },
}

impl Farewell {
    pub(super) fn of(stop: Stop) -> Self {
        match stop {
            Stop::ClientClosed => Self::ClientGone,
            Stop::TargetClosed => Self::TargetGone,
            Stop::Ordered(notice) => Self::Ended {
                cancelled_by: Some(ordered_by(&notice)),
                report: Report {
                    severity: Severity::Fatal,
                    sqlstate: ADMIN_SHUTDOWN,
                    message: format!("Loggia ended this session: {}", notice.reason),
                    detail: notice.by.map(|by| format!("ordered by {by}")),
                    hint: None,
                },
            },
            Stop::Unrecordable(error) => {
                Self::Ended { report: refusal::fatal(&error), cancelled_by: None }
            }
            Stop::Broken { report, .. } => Self::Ended { report, cancelled_by: Some("limit") },
            Stop::Misframed(_) => {
                let message = "Loggia made a mistake, so it ended this session".to_owned();
                let hint = "nothing went to the target that is not recorded; please report it";
                let report = fatal(refusal::SYSTEM_ERROR, message, Some(hint));
                Self::Ended { report, cancelled_by: Some("limit") }
            }
        }
    }
}

/// The word in `sql.cancel`.
fn ordered_by(notice: &EndNotice) -> &'static str {
    match notice.code {
        "locked" => "lock",
        "ended" | "shutdown" => "operator",
        _ => "limit",
    }
}

impl Relay<'_> {
    /// Ends the session on both sides. Gives the bytes that the client got in all.
    pub(super) async fn say_goodbye(mut self, farewell: Farewell) -> u64 {
        match farewell {
            Farewell::ClientGone => self.serve_out().await,
            Farewell::TargetGone => {
                self.read_last_words().await;
                let lost = (!self.intake.pending.goodbye())
                    .then(|| fatal("08006", "the target closed the connection".to_owned(), None));
                self.tell_client(lost.as_ref()).await;
            }
            Farewell::Ended { report, cancelled_by } => {
                if let Some(by) = cancelled_by {
                    self.cancel_running(by).await;
                }
                self.finish_message().await;
                self.tell_client(Some(&report)).await;
                // What was queued and not sent stays here: nothing more reaches the target.
                if !self.target_dirty && self.target_out.is_at_boundary() {
                    let _ = timeout(LAST_WORDS_WAIT_MAX, self.terminate()).await;
                }
            }
        }
        if self.results().await.is_err() {
            tracing::warn!("the last results of a session could not be recorded");
        }
        let _ = timeout(LAST_WORDS_WAIT_MAX, self.target_out.shutdown()).await;
        self.client_bytes
    }

    /// The client is gone: what it sent is still sent on, and the answers are still recorded.
    async fn serve_out(&mut self) {
        let cut = !self.target_out.is_at_boundary();
        if !self.goodbye && !cut && self.queue_terminate().await.is_err() {
            return;
        }
        let deadline = Instant::now() + ANSWERS_WAIT_MAX;
        let written = write_target(&mut self.target_out, &mut self.target_dirty);
        if !matches!(timeout_at(deadline, written).await, Ok(Ok(()))) {
            return;
        }
        // In the middle of a message there is no word for goodbye: only the end of the stream
        // tells the target that the rest will not come.
        if cut && timeout_at(deadline, self.target_out.shutdown()).await.is_err() {
            return;
        }
        while self.intake.pending.running().is_some() {
            self.target_in.reserve(super::TARGET_READ_BYTES);
            let read = timeout_at(deadline, self.target_read.read_buf(&mut self.target_in)).await;
            if !matches!(read, Ok(Ok(1..))) || self.answers().await.is_err() {
                return;
            }
            self.client_out.clear();
            if self.results().await.is_err() {
                return;
            }
        }
    }

    /// Sends what waits for the client, and the last words where they can stand there.
    async fn tell_client(&mut self, last: Option<&Report>) {
        if let Some(report) = last
            && self.scanner.is_at_boundary()
        {
            encode::report(&mut self.client_out, report);
        }
        let sending = async {
            let out = &mut self.client_out;
            let (bytes, dirty) = (&mut self.client_bytes, &mut self.client_dirty);
            write_client(&mut self.client_write, out, bytes, dirty).await
        };
        if let Ok(Ok(())) = timeout(LAST_WORDS_WAIT_MAX, sending).await {
            let _ = timeout(LINGER_MAX, self.client_hangs_up()).await;
        }
        let _ = timeout(LAST_WORDS_WAIT_MAX, self.client_write.shutdown()).await;
    }

    /// Waits until the client closes. libpq reads ahead, and throws away what it has not looked at
    /// yet when it meets the end of the connection; without this it would not tell why.
    async fn client_hangs_up(&mut self) {
        loop {
            self.client_in.clear();
            self.client_in.reserve(super::CLIENT_READ_BYTES);
            if !matches!(self.client_read.read_buf(&mut self.client_in).await, Ok(1..)) {
                return;
            }
        }
    }

    /// Reads what the target said before it left: a write to it can fail before that is read.
    async fn read_last_words(&mut self) {
        let deadline = Instant::now() + LAST_WORDS_WAIT_MAX;
        while self.client_out.len() < super::WAITING_BYTES_MAX {
            self.target_in.reserve(super::TARGET_READ_BYTES);
            let read = timeout_at(deadline, self.target_read.read_buf(&mut self.target_in)).await;
            if !matches!(read, Ok(Ok(1..))) || self.answers().await.is_err() {
                return;
            }
        }
    }

    /// Reads on until the message that the client is in the middle of is whole, so that it
    /// understands what it is told then.
    async fn finish_message(&mut self) {
        let deadline = Instant::now() + LAST_WORDS_WAIT_MAX;
        while !self.scanner.is_at_boundary() {
            self.target_in.reserve(super::TARGET_READ_BYTES);
            let read = timeout_at(deadline, self.target_read.read_buf(&mut self.target_in)).await;
            if !matches!(read, Ok(Ok(1..))) || self.answers().await.is_err() {
                return;
            }
            let out = &mut self.client_out;
            let (bytes, dirty) = (&mut self.client_bytes, &mut self.client_dirty);
            let writing = write_client(&mut self.client_write, out, bytes, dirty);
            if !matches!(timeout_at(deadline, writing).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    async fn queue_terminate(&mut self) -> Result<(), Stop> {
        let mut batch = self.watch.batch();
        batch.neutral(Outgoing::terminate())?;
        let recorded = batch.commit().await?;
        self.send_on(recorded)
    }

    async fn terminate(&mut self) {
        if self.queue_terminate().await.is_ok() {
            let _ = write_target(&mut self.target_out, &mut self.target_dirty).await;
        }
    }

    /// The session was ordered to end: what runs on the target is cancelled first.
    async fn cancel_running(&mut self, by: &'static str) {
        if self.intake.pending.running().is_none() {
            return;
        }
        match self.record_cancel(|draft| draft.set("/detail/by", by)).await {
            Ok(Some(request)) => {
                let dial = self.watch.dial().clone();
                let tls = Arc::clone(&self.parts.tls);
                let cancelled = upstream::cancel(&dial, request, &tls, CANCEL_WAIT_MAX).await;
                if let Err(error) = cancelled {
                    let cause = error.cause.as_deref().unwrap_or_default();
                    tracing::warn!(cause, "what a session runs could not be cancelled");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a request to cancel could not be recorded"),
        }
    }

    /// Somebody with the session's key asks to cancel what it runs. The request is recorded here,
    /// in the session's chain, and carried out beside it.
    pub(super) async fn cancel_asked(&mut self, ask: CancelAsk) -> Result<(), Stop> {
        let now = Instant::now();
        if self.last_cancel.is_some_and(|last| now < last + CANCEL_INTERVAL_MIN) {
            tracing::debug!("a request to cancel came too soon after another");
            return Ok(());
        }
        self.last_cancel = Some(now);
        let fill = |draft: EventDraft| {
            draft
                .set("/detail/by", "client")
                .set("/actor/authn", Authn::CancelKey.as_str())
                .out_of(&ask.source)
        };
        let Some(request) = self.record_cancel(fill).await? else { return Ok(()) };
        let dial = self.watch.dial().clone();
        let tls = Arc::clone(&self.parts.tls);
        // Bounded by the interval above and the time it may take.
        tokio::spawn(async move {
            if let Err(error) = upstream::cancel(&dial, request, &tls, CANCEL_WAIT_MAX).await {
                let cause = error.cause.as_deref().unwrap_or_default();
                tracing::warn!(cause, "a request to cancel did not reach the target");
            }
            drop(ask.done);
        });
        Ok(())
    }

    /// Records a request to cancel; `None` where the target gave no key for it.
    async fn record_cancel(
        &mut self,
        fill: impl FnOnce(EventDraft) -> EventDraft,
    ) -> Result<Option<Recorded>, Unrecorded> {
        let Some(key) = &self.target_key else { return Ok(None) };
        let running = self.intake.pending.running().map(|action| action.event().to_string());
        let mut batch = self.watch.batch();
        let draft = fill(batch.draft(Kind::SqlCancel)).set_some("/detail/of", running);
        batch.cancel(draft, Outgoing::cancel(key))?;
        batch.commit().await.map(Some)
    }
}
