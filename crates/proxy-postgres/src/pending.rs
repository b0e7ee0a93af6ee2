//! Which answer belongs to which action: a pure queue of everything that was forwarded and is not
//! answered yet.
//!
//! The server answers in the order in which it was asked. After an error in the extended protocol
//! it skips everything up to the next Sync; what it skipped is known here without being told.
//! `A` is the token of an action; the queue only keeps it and gives it back.

mod answer;
mod outcome;
mod steps;

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests;

pub use answer::{Mismatch, Passage};
pub use outcome::{COMMANDS_MAX, Command, Copied, Failure, Outcome, Status};

use crate::codec::backend::TransactionStatus;
use crate::codec::encode::Report;
use crate::codec::frame::{CopyPiece, Taking};
use crate::codec::frontend::Named;
use crate::names::{Found, Names, Portal, Prepared, words};
use loggia_model::id::EventId;
use outcome::Progress;
use std::collections::{HashMap, HashSet, VecDeque};
use steps::{Kind, Step, Steps};

/// Messages that may be unanswered at a time. Nothing more is taken from the client while this
/// many are.
pub const UNANSWERED_MAX: usize = 65_536;

/// The Bind of a portal.
#[derive(Debug)]
struct OpenBind<A> {
    action: A,
    executed: bool,
}

/// What an Execute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run<A> {
    /// The first of its portal: part of this action, the Bind.
    First(A),
    /// A later one; the action is the Bind.
    Again(A),
    /// Of a portal that no Bind made, as far as Loggia knows.
    Unknown,
}

/// Whether a message that is no part of a COPY may go out now.
///
/// Within a COPY the server throws such a message away, and nothing that it says then tells for
/// certain which one. So none goes out behind what may begin a COPY until that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold<A> {
    /// It may.
    Free,
    /// It has to wait for an answer.
    Wait,
    /// It has to wait for an answer, which the server gives for certain only to a Flush.
    Flush,
    /// It has to wait for the end of a COPY, of this action, that the client does not end: to be
    /// ended with a CopyFail.
    CopyFail(A),
    /// A COPY failed, and whether the server skips it cannot be known.
    Doubtful,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copying {
    No,
    In,
    Out,
    /// In both directions: replication.
    Both,
}

/// Everything of a session that is forwarded and not answered yet.
#[derive(Debug)]
pub struct Pending<A> {
    steps: Steps<A>,
    names: Names,
    binds: HashMap<u64, OpenBind<A>>,
    binds_made: u64,
    progress: Progress,
    copying: Copying,
    /// Whether the server skips everything up to a Sync that was not sent yet.
    skipping: bool,
    /// Whether [`Self::skipping`] is in doubt: a Sync may or may not have been read in a COPY.
    skipping_doubtful: bool,
    /// Whether a Flush went out behind what may begin a COPY.
    flushed: bool,
    /// Syncs that the server may have read within a COPY that broke, or may still answer.
    syncs_doubtful: usize,
    /// The last action of the group that is being answered.
    last: Option<A>,
    transaction: TransactionStatus,
    goodbye: bool,
    outcomes: VecDeque<Outcome<A>>,
}

impl<A: Copy> Default for Pending<A> {
    fn default() -> Self {
        Self {
            steps: Steps::default(),
            names: Names::default(),
            binds: HashMap::new(),
            binds_made: 0,
            progress: Progress::default(),
            copying: Copying::No,
            skipping: false,
            skipping_doubtful: false,
            flushed: false,
            syncs_doubtful: 0,
            last: None,
            transaction: TransactionStatus::Idle,
            goodbye: false,
            outcomes: VecDeque::new(),
        }
    }
}

impl<A: Copy + PartialEq> Pending<A> {
    /// What the name of a prepared statement means to the next message.
    pub fn statement(&self, name: &[u8]) -> Found<Prepared> {
        self.names.statement(name)
    }

    /// What the name of a portal means to the next message.
    pub fn portal(&self, name: &[u8]) -> Found<Portal> {
        self.names.portal(name)
    }

    /// What an Execute of this portal is.
    pub fn run(&self, portal: Found<Portal>) -> Run<A> {
        let Found::Known(portal) = portal else { return Run::Unknown };
        match self.binds.get(&portal.bind) {
            Some(bind) if bind.executed => Run::Again(bind.action),
            Some(bind) => Run::First(bind.action),
            None => Run::Unknown,
        }
    }

    /// A Query goes out.
    pub fn query(&mut self, action: A, text: &[u8], now_us: i64) {
        self.names.query(text);
        self.push_running(Kind::Query(action), words::may_copy(text), now_us);
        self.portals_ended();
    }

    /// A Parse goes out; `event` is the id of the action's event.
    pub fn parse(&mut self, action: A, event: EventId, name: &[u8], text: &[u8], now_us: i64) {
        let ticket = self.names.parse(name, text, event);
        self.push(Kind::Parse(action, ticket), now_us);
    }

    /// A Bind goes out of a statement of which this was found.
    pub fn bind(&mut self, action: A, portal: &[u8], of: Found<Prepared>, now_us: i64) {
        let bind = self.binds_made;
        self.binds_made += 1;
        self.binds.insert(bind, OpenBind { action, executed: false });
        let ticket = self.names.bind(portal, of, bind);
        self.push(Kind::Bind { action, bind, ticket }, now_us);
        self.portals_ended();
    }

    /// The first Execute of a portal goes out. Without effect where [`Self::run`] says that it is
    /// not the first.
    pub fn execute_first(&mut self, portal: Found<Portal>, now_us: i64) {
        let Found::Known(known) = portal else { return };
        let Some(bind) = self.binds.get_mut(&known.bind) else { return };
        bind.executed = true;
        let kind = Kind::Execute { action: bind.action, bind: Some(known.bind) };
        self.names.execute(portal);
        self.push_running(kind, portal.may_copy(), now_us);
        self.portals_ended();
    }

    /// Another Execute goes out, with an action of its own.
    pub fn fetch(&mut self, action: A, portal: Found<Portal>, now_us: i64) {
        self.names.execute(portal);
        self.push_running(Kind::Execute { action, bind: None }, portal.may_copy(), now_us);
        self.portals_ended();
    }

    /// A FunctionCall goes out.
    pub fn call(&mut self, action: A, now_us: i64) {
        self.names.call();
        self.push(Kind::Call(action), now_us);
        self.portals_ended();
    }

    /// A Describe goes out.
    pub fn describe(&mut self, now_us: i64) {
        self.push(Kind::Describe, now_us);
    }

    /// A Close goes out.
    pub fn close(&mut self, named: Named<'_>, now_us: i64) {
        let kind = match named {
            Named::Statement(name) => Kind::CloseStatement(self.names.close_statement(name)),
            Named::Portal(name) => Kind::ClosePortal(self.names.close_portal(name)),
        };
        self.push(kind, now_us);
    }

    /// A Sync goes out.
    pub fn sync(&mut self, now_us: i64) {
        self.names.sync();
        self.push(Kind::Sync, now_us);
    }

    /// Whether a message that is no part of a COPY (CopyData, CopyDone, CopyFail, Flush, Sync) may
    /// go out now; or where [`Self::taking`] says "not yet", what that waits for. What this asks
    /// for is taken to be done.
    pub fn hold(&mut self, now_us: i64) -> Hold<A> {
        if self.skipping_doubtful {
            return Hold::Doubtful;
        }
        // Only ends of COPYs and Syncs can be behind what may begin a COPY.
        let running = self.steps.last_running().filter(|step| step.may_copy);
        let Some(running) = running else { return Hold::Free };
        if self.copying == Copying::In
            && !self.steps.is_ended()
            && let Some(action) = running.kind.action()
        {
            self.copy_end(now_us);
            // The server answers that with an error, which it does not keep back.
            self.flushed = true;
            return Hold::CopyFail(action);
        }
        if std::mem::replace(&mut self.flushed, true) { Hold::Wait } else { Hold::Flush }
    }

    /// Whether the server skips whatever is sent now, up to a Sync.
    pub fn skipping(&self) -> bool {
        self.skipping
    }

    /// In a refused message's place something goes out that the server answers with an error; the
    /// client is to be told `report` then, if the server comes to it.
    pub fn refused(&mut self, report: Report, now_us: i64) {
        self.push(Kind::Refused(Box::new(report)), now_us);
    }

    /// What COPY data of the client, or the end of it, is taken for now.
    ///
    /// Data goes out only once the server has said that it copies, and no more behind the end of
    /// it: so what is counted is what the server takes, unless the COPY breaks. Where no COPY can
    /// begin any more the server would throw it away. This may change with every answer: it is to
    /// be asked once for each message, at its head.
    pub fn taking(&self) -> Taking<A> {
        let copies_in = match self.copying {
            Copying::In => !self.steps.is_ended(),
            Copying::Both => true,
            Copying::Out | Copying::No => false,
        };
        if copies_in && let Some(action) = self.steps.front().and_then(|step| step.kind.action()) {
            return Taking::For(action);
        }
        match self.steps.last_running() {
            Some(step) if step.may_copy => Taking::NotYet,
            _ => Taking::Nothing,
        }
    }

    /// COPY data goes out that was taken for an action when its messages began. It counts for the
    /// action as long as that copies; what goes out behind that is the rest of a message which the
    /// server throws away.
    pub fn copy_data(&mut self, of: A, piece: &CopyPiece) {
        if !matches!(self.copying, Copying::In | Copying::Both) {
            return;
        }
        let step = self.steps.front_mut().filter(|step| step.kind.action() == Some(of));
        let Some(step) = step else { return };
        let copied = step.copied.get_or_insert_default();
        copied.messages += piece.messages();
        piece.payloads().for_each(|payload| copied.add(payload));
    }

    /// A CopyDone or CopyFail goes out.
    pub fn copy_end(&mut self, now_us: i64) {
        if !matches!(self.steps.back(), Some(Step { kind: Kind::CopyEnd, .. })) {
            self.push(Kind::CopyEnd, now_us);
        }
    }

    /// Messages that are not answered yet.
    pub fn unanswered(&self) -> usize {
        self.steps.len()
    }

    /// The action that the server works on, or would next.
    pub fn running(&self) -> Option<A> {
        self.steps.iter().find_map(|step| step.kind.action())
    }

    /// What ReadyForQuery said last.
    pub fn transaction(&self) -> TransactionStatus {
        self.transaction
    }

    /// Whether the server has said that it ends the session.
    pub fn goodbye(&self) -> bool {
        self.goodbye
    }

    /// The next outcome that became known.
    pub fn take_outcome(&mut self) -> Option<Outcome<A>> {
        self.outcomes.pop_front()
    }

    fn push(&mut self, kind: Kind<A>, sent_us: i64) {
        self.push_step(Step { kind, sent_us, copied: None, may_copy: false });
    }

    fn push_running(&mut self, kind: Kind<A>, may_copy: bool, sent_us: i64) {
        self.flushed &= !may_copy;
        self.push_step(Step { kind, sent_us, copied: None, may_copy });
    }

    fn push_step(&mut self, step: Step<A>) {
        if matches!(step.kind, Kind::Sync) {
            (self.skipping, self.skipping_doubtful) = (false, false);
        }
        if self.skipping {
            // Its Bind was not undone before it: else it would be unknown here.
            self.skip(step, &mut HashSet::new());
        } else {
            self.steps.push_back(step);
        }
    }

    /// Portals that ended without an Execute: the Bind was all that ran, and it went well.
    fn portals_ended(&mut self) {
        for bind in self.names.take_ended() {
            if let Some(bind) = self.binds.remove(&bind)
                && !bind.executed
            {
                self.outcomes.push_back(Outcome::of(bind.action, Status::Ok));
            }
        }
    }
}
