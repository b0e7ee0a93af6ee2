//! From the target to the client: observe, forward in large chunks, record what actions gave.

use super::outgoing::Outgoing;
use super::refusals::{Refusal, fatal, refused_draft};
use super::{Relay, Stop};
use crate::codec::encode;
use crate::codec::scan::Piece;
use crate::pending::{Outcome, Passage, Status};
use crate::refusal::PROTOCOL_VIOLATION;
use bytes::{Buf, BytesMut};
use loggia_gate::ActionRef;
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::{EventDraft, Value};

impl Relay<'_> {
    /// Observes what was read of the target, and puts it behind what waits for the client.
    pub(super) async fn answers(&mut self) -> Result<(), Stop> {
        let mut seen = 0;
        let followed = self.follow(&mut seen).await;
        self.forward(seen);
        if followed.is_err() {
            // The message that cannot be followed is not passed on, nor is what came behind it.
            self.scanner.withhold();
            self.target_in.clear();
        }
        followed
    }

    /// Observes message by message; `seen` counts the bytes at the front that pass.
    async fn follow(&mut self, seen: &mut usize) -> Result<(), Stop> {
        let now_us = self.watch.now_us();
        while let Some(rest) = self.target_in.get(*seen..)
            && let Some(piece) = self.scanner.next(rest).map_err(|error| target_broke(&error))?
        {
            match self.observe(*seen, &piece, now_us).map_err(|error| target_broke(&error))? {
                Passage::Forward if passes(&piece) => {}
                Passage::Forward => {
                    self.withhold(seen, &piece);
                    continue;
                }
                Passage::Replace(report) => {
                    self.withhold(seen, &piece);
                    encode::report(&mut self.client_out, &report);
                    continue;
                }
                Passage::CopyBoth => self.copy_both(piece.bytes()).await?,
            }
            *seen += piece.bytes();
        }
        Ok(())
    }

    /// Passes on what was seen, and not this piece, nor what is missing of its message.
    fn withhold(&mut self, seen: &mut usize, piece: &Piece) {
        self.forward(std::mem::take(seen));
        self.target_in.advance(piece.bytes());
        self.scanner.withhold();
    }

    fn observe(
        &mut self,
        at: usize,
        piece: &Piece,
        now_us: i64,
    ) -> Result<Passage, crate::pending::Mismatch> {
        let buffer = self.target_in.get(at..).unwrap_or_default();
        match piece {
            Piece::Rows { bytes, .. } => self.intake.pending.answer_bytes(*bytes),
            Piece::Copy { payload, bytes } => {
                let data = buffer.get(payload.clone()).unwrap_or_default();
                self.intake.pending.answer_copy_data(data, true, *bytes);
            }
            Piece::More { tag: b'd', bytes, .. } => {
                let data = buffer.get(..*bytes).unwrap_or_default();
                self.intake.pending.answer_copy_data(data, false, *bytes);
            }
            Piece::More { bytes, .. } => self.intake.pending.answer_bytes(*bytes),
            Piece::Other { tag, bytes } => {
                return self.intake.pending.answer(*tag, &[], *bytes, now_us);
            }
            Piece::Message { tag, body, bytes } => {
                let body = buffer.get(body.clone()).unwrap_or_default();
                return self.intake.pending.answer(*tag, body, *bytes, now_us);
            }
        }
        Ok(Passage::Forward)
    }

    /// Moves the first `bytes` of what was read on to the client, without copying where it can.
    fn forward(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let chunk = self.target_in.split_to(bytes);
        if self.client_out.is_empty() {
            self.client_out = chunk;
        } else {
            self.client_out.extend_from_slice(&chunk);
        }
    }

    /// COPY BOTH is opaque: it begins only where policy allows that.
    async fn copy_both(&mut self, bytes: usize) -> Result<(), Stop> {
        self.opaque("W", bytes).await
    }

    /// Records something opaque that the target begins or that was agreed at start-up; refuses it
    /// where policy does not allow it.
    pub(super) async fn opaque(&mut self, what: &'static str, bytes: usize) -> Result<(), Stop> {
        if let Err(loggia_gate::Unrecorded::Denied(_, decision)) =
            self.watch.permits(Action::SqlOpaque)
        {
            let message = "replication is opaque to Loggia and not allowed here".to_owned();
            let hint = "policy must allow sql.opaque on this resource";
            let report = fatal(PROTOCOL_VIOLATION, message, Some(hint));
            let refusal = Refusal {
                tag: b'W',
                bytes,
                reason: "opaque",
                text: None,
                decision: Some(decision),
                report: report.clone(),
            };
            let draft = refused_draft(self.watch.draft(Kind::SqlRefused), &refusal)
                .set("/detail/message", what);
            self.watch.refused(draft).await?;
            return Err(Stop::Broken { report, why: format!("opaque: {what}") });
        }
        let mut batch = self.watch.batch();
        let draft = batch
            .draft(Kind::SqlOpaque)
            .set("/detail/message", what)
            .set("/detail/bytes", bytes as u64);
        batch.record(Action::SqlOpaque, draft, Outgoing::nothing_opaque())?;
        let recorded = batch.commit().await?;
        self.send_on(recorded)
    }

    /// Records the results that became known. The client is not held for them, but for their
    /// number.
    pub(super) async fn results(&mut self) -> Result<(), Stop> {
        while let Some(outcome) = self.intake.pending.take_outcome() {
            let draft = result(self.watch.draft(Kind::SqlResult), outcome);
            self.watch.result(draft).await?;
        }
        Ok(())
    }
}

/// Whether a piece goes on: all but the rest of what was withheld.
fn passes(piece: &Piece) -> bool {
    !matches!(piece, Piece::More { passes: false, .. })
}

fn target_broke(error: &impl std::fmt::Display) -> Stop {
    let message = "the target broke the PostgreSQL protocol; Loggia cannot follow it any more";
    let hint = "is there something else than PostgreSQL behind this resource?";
    Stop::Broken {
        report: fatal(PROTOCOL_VIOLATION, message.to_owned(), Some(hint)),
        why: format!("the target: {error}"),
    }
}

/// Writes an outcome into a draft of `sql.result`.
fn result(draft: EventDraft, outcome: Outcome<ActionRef>) -> EventDraft {
    let status = match outcome.status {
        Status::Ok => "ok",
        Status::Partial => "partial",
        Status::Error => "error",
        Status::Cancelled => "cancelled",
        Status::NotExecuted => {
            return draft
                .set("/detail/of", outcome.of.event().to_string())
                .set("/outcome/status", "error")
                .set("/outcome/not_executed", true);
        }
    };
    let mut draft = draft
        .set("/detail/of", outcome.of.event().to_string())
        .set("/outcome/status", status)
        .set_some("/outcome/rows", outcome.rows())
        .set("/outcome/bytes", outcome.bytes)
        .set("/outcome/duration_us", u64::try_from(outcome.duration_us).unwrap_or(0));
    match outcome.commands.as_slice() {
        [] => {}
        [command] => draft = draft.set("/outcome/tag", Value::text(&command.tag)),
        several => {
            let mut all: Vec<Value> = several.iter().map(command_value).collect();
            if outcome.commands_more > 0 {
                all.push(Value::object([("more", Value::count(outcome.commands_more))]));
            }
            draft = draft.set("/outcome/commands", all);
        }
    }
    if let Some(failure) = &outcome.failure {
        draft = draft
            .set("/outcome/sqlstate", Value::text(&failure.sqlstate))
            .set("/outcome/message", Value::text(&failure.message));
    }
    if let Some(copied) = &outcome.copied {
        draft = draft
            .set("/outcome/copied_bytes", copied.bytes)
            .set("/outcome/copied_rows", copied.messages)
            .set("/outcome/copied_sha256", hex::encode(copied.sha256()));
    }
    draft
}

fn command_value(command: &crate::pending::Command) -> Value {
    let tag = Value::text(&command.tag);
    match command.rows {
        Some(rows) => Value::object([("rows", Value::count(rows)), ("tag", tag)]),
        None => Value::object([("tag", tag)]),
    }
}

/// Room to read into.
pub(super) fn make_room(buffer: &mut BytesMut, bytes: usize) {
    if buffer.capacity() - buffer.len() < bytes / 4 {
        buffer.reserve(bytes);
    }
}
