//! From the client to the target: what is taken of the client is recorded with one append and
//! forwarded with one write. What becomes of a message is decided in [`super::intake`], without
//! I/O.

use super::intake::{Desk, Pause};
use super::outgoing::Outgoing;
use super::refusals::{Refusal, refused_draft};
use super::{Relay, Stop};
use loggia_gate::{ActionRef, Batch, Recorded, Unrecorded};
use loggia_model::EventDraft;
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::id::EventId;

impl Relay<'_> {
    /// Takes what was read of the client as far as it is whole: records all of it with one append
    /// and forwards it with one write.
    pub(super) async fn requests(&mut self) -> Result<(), Stop> {
        self.stalled = false;
        loop {
            let now_us = self.watch.now_us();
            let mut batch = self.watch.batch();
            let pause = self.intake.gather(&mut self.client_in, &mut batch, now_us)?;
            if !batch.is_empty() {
                // A crash here leaves nothing: neither recorded nor forwarded.
                let recorded = batch.commit().await?;
                // A crash here leaves reports of actions whose outcome is unknown.
                self.send_on(recorded)?;
            }
            match pause {
                Pause::ForBytes => return Ok(()),
                Pause::ForAnswers => {
                    self.stalled = true;
                    return Ok(());
                }
                Pause::Goodbye => {
                    self.goodbye = true;
                    return Ok(());
                }
                Pause::Refused(refusal) => self.refuse(*refusal, false).await?,
                Pause::Broken(refusal) => self.refuse(*refusal, true).await?,
            }
        }
    }

    /// Records that a message was refused; then the client is told, in its turn.
    async fn refuse(&mut self, refusal: Refusal, ends: bool) -> Result<(), Stop> {
        let draft = refused_draft(self.watch.draft(Kind::SqlRefused), &refusal);
        self.watch.refused(draft).await?;
        if ends {
            let why = format!("message {:?}: {}", char::from(refusal.tag), refusal.report.message);
            return Err(Stop::Broken { report: refusal.report, why });
        }
        let now_us = self.watch.now_us();
        let mut batch = self.watch.batch();
        self.intake.refused(refusal, &self.parts.nonexistent, &mut batch, now_us)?;
        if !batch.is_empty() {
            let recorded = batch.commit().await?;
            self.send_on(recorded)?;
        }
        Ok(())
    }

    /// Puts recorded frames behind what waits for the target.
    pub(super) fn send_on(&mut self, recorded: Recorded) -> Result<(), Stop> {
        self.target_out.queue(recorded)?;
        self.target_dirty = true;
        Ok(())
    }
}

impl Desk for Batch<'_> {
    type Action = ActionRef;

    fn event(action: &ActionRef) -> EventId {
        action.event()
    }

    fn draft(&self, kind: Kind) -> EventDraft {
        Batch::draft(self, kind)
    }

    fn record(
        &mut self,
        action: Action,
        draft: EventDraft,
        frame: Outgoing,
    ) -> Result<ActionRef, Unrecorded> {
        Batch::record(self, action, draft, frame)
    }

    fn part_of(&mut self, action: &ActionRef, frame: Outgoing) -> Result<(), Unrecorded> {
        Batch::part_of(self, action, frame)
    }

    fn neutral(&mut self, frame: Outgoing) -> Result<(), Unrecorded> {
        Batch::neutral(self, frame)
    }
}
