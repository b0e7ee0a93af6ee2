//! The server's side of the queue.

use super::outcome::{Failure, Outcome, Status};
use super::steps::{Kind, Step};
use super::{Copying, Pending};
use crate::codec::backend::{self, TransactionStatus};
use crate::codec::encode::Report;
use std::collections::HashSet;

/// What is to be done with a server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// It goes on to the client as it is.
    Forward,
    /// The client is told this in its place.
    Replace(Box<Report>),
    /// It begins COPY BOTH, which is opaque.
    CopyBoth,
}

/// The server said something that no server says here. The session cannot be followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the target sent a message of type {:?} that answers nothing", char::from(*.0))]
pub struct Mismatch(pub u8);

impl<A: Copy + PartialEq> Pending<A> {
    /// Bytes of an answer that need no look inside.
    pub fn answer_bytes(&mut self, bytes: usize) {
        self.progress.bytes += bytes as u64;
    }

    /// COPY data of the server, and whether a message begins with it.
    pub fn answer_copy_data(&mut self, payload: &[u8], begins: bool, bytes: usize) {
        self.answer_bytes(bytes);
        if let Some(step) = self.steps.front_mut() {
            let copied = step.copied.get_or_insert_default();
            copied.messages += u64::from(begins);
            copied.add(payload);
        }
    }

    /// A message of the server. `body` is empty for those that are not looked into.
    pub fn answer(
        &mut self,
        tag: u8,
        body: &[u8],
        bytes: usize,
        now_us: i64,
    ) -> Result<Passage, Mismatch> {
        self.answer_bytes(bytes);
        match tag {
            b'1' => self.done(tag, |kind| matches!(kind, Kind::Parse(..)))?,
            b'2' => self.done(tag, |kind| matches!(kind, Kind::Bind { .. }))?,
            b'3' => self
                .done(tag, |kind| matches!(kind, Kind::CloseStatement(_) | Kind::ClosePortal(_)))?,
            b'T' | b'n' => self.described(),
            b'C' => self.completed(body, now_us)?,
            b'I' => self.completed_empty(now_us)?,
            b's' => self.suspended(now_us)?,
            b'G' => self.copies(tag, Copying::In)?,
            b'H' => self.copies(tag, Copying::Out)?,
            b'W' => {
                if self.front(tag, Kind::runs).is_ok() {
                    self.copying = Copying::Both;
                }
                return Ok(Passage::CopyBoth);
            }
            b'V' => self.progress.begun = true,
            b'E' => return Ok(self.failed(body, now_us)),
            b'Z' => self.ready(body, now_us)?,
            // DataRow and CopyData are counted; ParameterDescription goes before 'T' or 'n';
            // CopyDone before 'C'; the rest comes at any time and answers nothing.
            _ => {}
        }
        Ok(Passage::Forward)
    }

    /// The first step, once those are gone that the server took in without a word: the end of a
    /// COPY that had failed already, and a Sync that it read within a COPY.
    fn front(
        &mut self,
        tag: u8,
        fits: impl Fn(&Kind<A>) -> bool,
    ) -> Result<&mut Step<A>, Mismatch> {
        while let Some(step) = self.steps.front()
            && !fits(&step.kind)
            && matches!(step.kind, Kind::CopyEnd | Kind::Sync)
        {
            self.steps.pop_front();
        }
        self.steps.front_mut().filter(|step| fits(&step.kind)).ok_or(Mismatch(tag))
    }

    /// ParseComplete, BindComplete, CloseComplete.
    fn done(&mut self, tag: u8, fits: impl Fn(&Kind<A>) -> bool) -> Result<(), Mismatch> {
        self.front(tag, fits)?;
        match self.steps.pop_front().map(|step| step.kind) {
            Some(Kind::Parse(action, ticket)) => {
                self.last = Some(action);
                self.names.settle_statement(&ticket, true);
            }
            Some(Kind::CloseStatement(ticket)) => self.names.settle_statement(&ticket, true),
            Some(Kind::Bind { action, ticket, .. }) => {
                self.last = Some(action);
                self.names.settle_portal(&ticket, true);
            }
            Some(Kind::ClosePortal(ticket)) => self.names.settle_portal(&ticket, true),
            _ => {}
        }
        self.portals_ended();
        Ok(())
    }

    /// RowDescription or NoData: the answer to a Describe, or the head of a Query's rows.
    fn described(&mut self) {
        if let Ok(step) = self.front(b'T', |kind| !matches!(kind, Kind::CopyEnd | Kind::Sync))
            && matches!(step.kind, Kind::Describe)
        {
            self.steps.pop_front();
        }
    }

    fn completed(&mut self, body: &[u8], now_us: i64) -> Result<(), Mismatch> {
        let (tag, rows) = backend::command_complete(body).map_err(|_| Mismatch(b'C'))?;
        self.front(b'C', Kind::runs)?;
        self.progress.completed(tag, rows);
        self.leave_copy();
        self.execute_ends(now_us);
        Ok(())
    }

    fn completed_empty(&mut self, now_us: i64) -> Result<(), Mismatch> {
        self.front(b'I', Kind::runs)?;
        self.progress.begun = true;
        self.execute_ends(now_us);
        Ok(())
    }

    fn suspended(&mut self, now_us: i64) -> Result<(), Mismatch> {
        self.front(b's', |kind| matches!(kind, Kind::Execute { .. }))?;
        self.execute_ends(now_us);
        if let Some(outcome) = self.outcomes.back_mut() {
            outcome.status = Status::Partial;
        }
        Ok(())
    }

    fn copies(&mut self, tag: u8, copying: Copying) -> Result<(), Mismatch> {
        let step = self.front(tag, Kind::runs)?;
        // What went out behind it may be thrown away now: there must be nothing.
        if copying == Copying::In && !step.may_copy {
            return Err(Mismatch(tag));
        }
        self.progress.begun = true;
        self.copying = copying;
        // What was asked for is answered; the end of the COPY is another matter.
        self.flushed = false;
        Ok(())
    }

    /// Where the first step is an Execute, it is over; a Query goes on to its ReadyForQuery.
    fn execute_ends(&mut self, now_us: i64) {
        if let Some(step) = self.steps.front()
            && let Kind::Execute { action, .. } = step.kind
        {
            self.last = Some(action);
            self.finish_front(action, now_us);
        }
    }

    fn finish_front(&mut self, action: A, now_us: i64) {
        if let Some(step) = self.steps.pop_front() {
            let duration_us = now_us.saturating_sub(step.sent_us).max(0);
            self.outcomes.push_back(self.progress.finish(action, duration_us, step.copied));
        }
    }

    /// A COPY is over: the server has read its end, and any Sync that the client sent within it.
    fn leave_copy(&mut self) {
        if std::mem::replace(&mut self.copying, Copying::No) != Copying::In {
            return;
        }
        let syncs = self.steps.iter().skip(1);
        let syncs = syncs.take_while(|step| matches!(step.kind, Kind::Sync)).count();
        if matches!(self.steps.get(1 + syncs), Some(Step { kind: Kind::CopyEnd, .. })) {
            self.steps.drain_behind_front(syncs + 1);
        }
    }

    /// A COPY broke: what the server had read of the steps behind it by then is gone too. Those
    /// are Syncs and the end of the COPY alone, as nothing else goes out behind a COPY (see
    /// [`super::Hold`]); so it matters neither where the error comes from nor what it says, which
    /// SQL can choose. Gives whether it is in doubt which Syncs the server has read.
    fn break_copy(&mut self) -> bool {
        if std::mem::replace(&mut self.copying, Copying::No) != Copying::In {
            return false;
        }
        let behind = self.steps.iter().skip(1);
        let syncs = behind.take_while(|step| matches!(step.kind, Kind::Sync)).count();
        match self.steps.get(1 + syncs).map(|step| &step.kind) {
            Some(Kind::CopyEnd) => {
                self.syncs_doubtful += syncs;
                self.steps.drain_behind_front(syncs + 1);
            }
            None => {
                self.syncs_doubtful += syncs;
                self.steps.drain_behind_front(syncs);
            }
            Some(_) => {}
        }
        syncs > 0
    }

    fn failed(&mut self, body: &[u8], now_us: i64) -> Passage {
        let fields = backend::error_fields(body);
        let failure = Failure::from(&fields);
        self.goodbye |= fields.is_fatal();
        let doubtful = self.break_copy();
        while matches!(self.steps.front(), Some(Step { kind: Kind::CopyEnd, .. })) {
            self.steps.pop_front();
        }
        match self.steps.front().map(|step| &step.kind) {
            // The server says goodbye on its own.
            None => return Passage::Forward,
            Some(Kind::Query(_) | Kind::Call(_)) => {
                self.progress.failure = Some(failure);
                self.progress.begun = true;
                if fields.is_fatal() {
                    self.query_ends(now_us);
                }
                return Passage::Forward;
            }
            Some(Kind::Sync) => {
                // The end of the implicit transaction failed (a deferred constraint): what the
                // last action gave did not last.
                if let Some(action) = self.last.take() {
                    self.progress.failure = Some(failure);
                    self.outcomes.push_back(self.progress.finish(action, 0, None));
                }
                return Passage::Forward;
            }
            Some(_) => {}
        }
        let passage = self.fail_front(failure, now_us);
        self.skipping_doubtful = self.skipping && doubtful;
        passage
    }

    /// The first step failed, in the extended protocol: everything up to the next Sync is skipped.
    fn fail_front(&mut self, failure: Failure, now_us: i64) -> Passage {
        let mut passage = Passage::Forward;
        // Binds of the group that failed or were skipped.
        let mut undone = HashSet::new();
        if let Some(step) = self.steps.pop_front() {
            let action = step.kind.action();
            match step.kind {
                Kind::Refused(report) => passage = Passage::Replace(report),
                kind => self.undo(kind, &mut undone),
            }
            if let Some(action) = action {
                self.progress.failure = Some(failure);
                let duration_us = now_us.saturating_sub(step.sent_us).max(0);
                self.outcomes.push_back(self.progress.finish(action, duration_us, step.copied));
            }
        }
        while let Some(step) = self.steps.pop_front_if(|step| !matches!(step.kind, Kind::Sync)) {
            self.skip(step, &mut undone);
        }
        self.skipping = self.steps.is_empty();
        self.portals_ended();
        passage
    }

    /// The server skips this step.
    pub(super) fn skip(&mut self, step: Step<A>, undone: &mut HashSet<u64>) {
        // The first Execute of a Bind that failed or was skipped: that says it all.
        let told = match &step.kind {
            Kind::Execute { bind: Some(bind), .. } => undone.contains(bind),
            _ => false,
        };
        if let Some(action) = step.kind.action()
            && !told
        {
            self.outcomes.push_back(Outcome::of(action, Status::NotExecuted));
        }
        self.undo(step.kind, undone);
    }

    /// Takes back what a step that was not done would have done to names.
    fn undo(&mut self, kind: Kind<A>, undone: &mut HashSet<u64>) {
        match kind {
            Kind::Parse(_, ticket) | Kind::CloseStatement(ticket) => {
                self.names.settle_statement(&ticket, false);
            }
            Kind::Bind { bind, ticket, .. } => {
                self.binds.remove(&bind);
                undone.insert(bind);
                self.names.settle_portal(&ticket, false);
            }
            Kind::ClosePortal(ticket) => self.names.settle_portal(&ticket, false),
            _ => {}
        }
    }

    fn ready(&mut self, body: &[u8], now_us: i64) -> Result<(), Mismatch> {
        self.transaction = backend::ready_for_query(body).map_err(|_| Mismatch(b'Z'))?;
        self.copying = Copying::No;
        // Where it answers a Sync that, as it turns out, was not read within a COPY.
        (self.skipping, self.skipping_doubtful) = (false, false);
        while matches!(self.steps.front(), Some(Step { kind: Kind::CopyEnd, .. })) {
            self.steps.pop_front();
        }
        match self.steps.front().map(|step| &step.kind) {
            // An answer to a Sync that, as it turns out, was not read within a COPY.
            Some(Kind::Query(_) | Kind::Call(_))
                if !self.progress.begun && self.syncs_doubtful > 0 =>
            {
                self.syncs_doubtful -= 1;
            }
            Some(Kind::Query(_) | Kind::Call(_)) => self.query_ends(now_us),
            Some(Kind::Sync) => {
                self.steps.pop_front();
                self.progress = Default::default();
            }
            _ => self.syncs_doubtful = self.syncs_doubtful.saturating_sub(1),
        }
        self.last = None;
        if self.transaction == TransactionStatus::Idle {
            self.names.transaction_ended();
            self.portals_ended();
        }
        Ok(())
    }

    fn query_ends(&mut self, now_us: i64) {
        if let Some(step) = self.steps.front()
            && let Kind::Query(action) | Kind::Call(action) = step.kind
        {
            self.finish_front(action, now_us);
        }
    }
}
