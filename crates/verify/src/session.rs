//! Completeness: what nobody can leave out of a log without leaving a gap.
//!
//! Takes the events in the order of the log and keeps state for open sessions only.
//! - Each boot counts its events from 1 without gaps, one boot after the other.
//! - Within a boot time only grows, but for `clock.stepped`, and a node that lives says so each
//!   minute.
//! - Each session counts its events from 1 without gaps, names the leaf hash of the one before,
//!   begins with one `session.start` and has nothing after its `session.end`.
//! - An event of a session refers to a start or context event, a result to an action, that stand
//!   earlier in the same session.
//! - A session without end may be open in the latest boot only.

use crate::recording::ledgered::Ledgered;
use loggia_model::catalogue::Kind;
use loggia_model::event::{Event, LeafHash, SessionPlace};
use loggia_model::id::{EventId, NodeId, SessionId};
use std::collections::{HashMap, HashSet, VecDeque};

/// Unanswered actions of a session that a result may still refer to. A gateway takes no more of a
/// client while 65,536 actions are unanswered, and at most 256 results are unrecorded, so that a
/// result which refers further back is not found, and should not be.
const ACTIONS_KEPT: usize = 65_536 + 512;
/// Ended sessions that are remembered, to say of a late event what is wrong with it.
const ENDED_KEPT: usize = 4_096;
/// A node that lives writes a heartbeat each minute; a few may be late.
const SILENCE_MAX_US: i64 = 180_000_000;

/// What completeness needs of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    id: EventId,
    kind: Option<Kind>,
    node: NodeId,
    boot: u64,
    seq: u64,
    time_us: i64,
    place: Option<SessionPlace>,
    of: Option<EventId>,
}

impl Facts {
    /// Of an event.
    pub fn of(event: &Event) -> Self {
        let kind = event.known_kind();
        let of =
            kind.filter(|kind| kind.is_result()).map(|_| event.text("/detail/of")?.parse().ok());
        Self {
            id: event.id,
            kind,
            node: event.node,
            boot: event.boot,
            seq: event.seq,
            time_us: event.time_us,
            place: event.session,
            of: of.flatten(),
        }
    }

    /// Microseconds since 1970.
    pub fn time_us(&self) -> i64 {
        self.time_us
    }

    /// The kind, where this program knows it.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The session that this event ends.
    pub fn ends(&self) -> Option<SessionId> {
        self.place.filter(|_| self.kind == Some(Kind::SessionEnd)).map(|place| place.id)
    }
}

/// Where the last event stood.
#[derive(Debug, Clone, Copy)]
struct Last {
    node: NodeId,
    boot: u64,
    seq: u64,
    time_us: i64,
}

#[derive(Debug)]
struct Chain {
    begin: u64,
    boot: u64,
    seq: u64,
    head: LeafHash,
    // Its start was not there, so what refers to it cannot be judged.
    headless: bool,
    contexts: Vec<EventId>,
    actions: Unanswered,
}

/// The actions of a session whose result has not come yet.
#[derive(Debug, Default)]
struct Unanswered {
    open: HashSet<EventId>,
    order: VecDeque<EventId>,
}

impl Unanswered {
    fn add(&mut self, action: EventId) {
        self.order.push_back(action);
        self.open.insert(action);
        while self.open.len() > ACTIONS_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        if self.order.len() > 2 * ACTIONS_KEPT {
            // Those that were answered meanwhile; a shell may wait for its end behind many.
            self.order.retain(|action| self.open.contains(action));
        }
    }

    /// Whether the action is one of them; it is none any more.
    fn answer(&mut self, action: EventId) -> bool {
        self.open.remove(&action)
    }
}

/// The chains of a log, event by event.
#[derive(Debug, Default)]
pub struct Chains {
    last: Option<Last>,
    boots: u64,
    boots_skipped: u64,
    beginning: bool,
    open: HashMap<SessionId, Chain>,
    ended: u64,
    ended_lately: VecDeque<SessionId>,
    /// The last sign of life of the boot: its first event, or a heartbeat.
    alive_us: Option<i64>,
    silent: bool,
    silences: Silences,
}

/// Times without a heartbeat, within boots. The machine slept, the gateway hung, or it did not say
/// that it lived; nothing that was numbered is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Silences {
    /// How many.
    pub count: u64,
    /// The longest, microseconds.
    pub longest_us: i64,
    /// Index of the last entry in it.
    pub longest_at: u64,
}

/// Something missing or out of order: index of the entry, and what.
pub type Gap = (u64, String);

impl Chains {
    /// Takes the entry at `index`, which must come after all that were taken before. Adds to
    /// `gaps` what is missing or out of order.
    pub fn take(&mut self, index: u64, leaf: LeafHash, facts: &Facts, gaps: &mut Vec<Gap>) {
        let boot_goes_on = self.last.is_some_and(|last| last.boot == facts.boot);
        self.in_boot(index, facts, gaps);
        self.in_life(index, facts, boot_goes_on);
        let Some(place) = facts.place else { return };
        if facts.kind == Some(Kind::SessionStart) {
            self.start(index, leaf, facts, &place, gaps);
        } else {
            self.go_on(index, leaf, facts, &place, gaps);
        }
        if facts.kind == Some(Kind::SessionEnd) && self.open.remove(&place.id).is_some() {
            self.ended += 1;
            if self.ended_lately.len() == ENDED_KEPT {
                self.ended_lately.pop_front();
            }
            self.ended_lately.push_back(place.id);
        }
    }

    /// Adds to `gaps` the sessions that should have an end and have none. `ended_later` are those
    /// whose end stands behind what was taken.
    pub fn finish(&self, ended_later: &[SessionId], gaps: &mut Vec<Gap>) {
        let latest = self.last.map_or(0, |last| last.boot);
        let mut endless: Vec<_> = self
            .open
            .iter()
            .filter(|(id, chain)| chain.boot < latest && !ended_later.contains(id))
            .collect();
        endless.sort_by_key(|(_, chain)| chain.begin);
        for (id, chain) in endless {
            let boot = chain.boot;
            gaps.push((
                chain.begin,
                format!("session {id} of boot {boot} has no end, and boot {latest} came after it"),
            ));
        }
    }

    /// Whether the latest boot has so far said nothing but what the one before it left unsaid.
    pub fn beginning(&self) -> bool {
        self.beginning
    }

    /// Number of boots so far.
    pub fn boots(&self) -> u64 {
        self.boots
    }

    /// Numbers of boots that were passed over so far: a boot may die before its first entry.
    pub fn boots_skipped(&self) -> u64 {
        self.boots_skipped
    }

    /// Number of sessions that ended so far.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Number of sessions that are open.
    pub fn open(&self) -> u64 {
        self.open.len() as u64
    }

    /// Times without a heartbeat so far.
    pub fn silences(&self) -> Silences {
        self.silences
    }

    /// Counts a time without a heartbeat once, however much is written in it.
    fn in_life(&mut self, index: u64, facts: &Facts, boot_goes_on: bool) {
        let silent_us = facts.time_us.saturating_sub(self.alive_us.unwrap_or(facts.time_us));
        // A boot begins its life; a clock that was set says nothing of how long it took.
        let known = boot_goes_on && facts.kind != Some(Kind::ClockStepped);
        if known && silent_us > SILENCE_MAX_US {
            if !std::mem::replace(&mut self.silent, true) {
                self.silences.count += 1;
            }
            if silent_us > self.silences.longest_us {
                self.silences.longest_us = silent_us;
                self.silences.longest_at = index;
            }
        }
        if !known || facts.kind == Some(Kind::NodeHeartbeat) {
            self.alive_us = Some(facts.time_us);
            self.silent = false;
        }
    }

    fn in_boot(&mut self, index: u64, facts: &Facts, gaps: &mut Vec<Gap>) {
        let Facts { node, boot, seq, time_us, .. } = *facts;
        let before = self.last.replace(Last { node, boot, seq, time_us });
        let mut gap = |what: String| gaps.push((index, what));
        let Some(before) = before.filter(|before| before.boot == boot) else {
            self.boots += 1;
            self.beginning = is_of_the_beginning(facts);
            if seq != 1 {
                gap(format!(
                    "the first event of boot {boot} is number {seq}: earlier ones are missing"
                ));
            }
            let expected = before.map_or(boot, |before| before.boot.saturating_add(1));
            self.boots_skipped = self.boots_skipped.saturating_add(boot.saturating_sub(expected));
            match before {
                Some(before) if before.boot > boot => {
                    gap(format!("an event of boot {boot} stands behind boot {}", before.boot));
                }
                Some(before) if before.node != node => {
                    gap(format!("written by {node}, the entry before it by {}", before.node));
                }
                _ => {}
            }
            return;
        };
        self.beginning &= is_of_the_beginning(facts);
        if before.node != node {
            gap(format!("written by {node}, the entry before it by {}", before.node));
        }
        if seq != before.seq + 1 {
            let last = before.seq;
            gap(format!("number {seq} of boot {boot} stands behind number {last}"));
        }
        if time_us <= before.time_us && facts.kind != Some(Kind::ClockStepped) {
            gap("its time is not after that of the entry before it, and no step of the clock is recorded".to_owned());
        }
    }

    fn start(
        &mut self,
        index: u64,
        leaf: LeafHash,
        facts: &Facts,
        place: &SessionPlace,
        gaps: &mut Vec<Gap>,
    ) {
        let id = place.id;
        if self.open.contains_key(&id) || self.ended_lately.contains(&id) {
            gaps.push((index, format!("session {id} starts a second time")));
        }
        if place.seq != 1 || place.prev.is_some() {
            gaps.push((index, format!("the start of session {id} is not its first event")));
        }
        let chain = Chain {
            begin: index,
            boot: facts.boot,
            seq: place.seq,
            head: leaf,
            headless: false,
            contexts: vec![facts.id],
            actions: Unanswered::default(),
        };
        self.open.insert(id, chain);
    }

    fn go_on(
        &mut self,
        index: u64,
        leaf: LeafHash,
        facts: &Facts,
        place: &SessionPlace,
        gaps: &mut Vec<Gap>,
    ) {
        let id = place.id;
        let mut gap = |what: String| gaps.push((index, what));
        let Some(chain) = self.open.get_mut(&id) else {
            if self.ended_lately.contains(&id) {
                gap(format!("an event of session {id} stands behind its end"));
                return;
            }
            gap(format!(
                "an event of session {id} stands before its start, or its start is missing"
            ));
            let chain = Chain {
                begin: index,
                boot: facts.boot,
                seq: place.seq,
                head: leaf,
                headless: true,
                contexts: Vec::new(),
                actions: Unanswered::default(),
            };
            self.open.insert(id, chain);
            return;
        };
        if place.seq != chain.seq + 1 {
            let last = chain.seq;
            gap(format!("number {} of session {id} stands behind number {last}", place.seq));
        } else if place.prev != Some(chain.head) {
            gap(format!("does not continue the event before it in session {id}"));
        }
        let known = |context| chain.contexts.contains(&context);
        if !chain.headless && !place.context.is_some_and(known) {
            gap(format!("refers to no earlier start or context of session {id}"));
        }
        if facts.kind.is_some_and(Kind::is_result) {
            let answers = facts.of.is_some_and(|of| chain.actions.answer(of));
            if !chain.headless && !answers {
                gap(format!("is the result of no earlier action of session {id}"));
            }
        } else if !facts.kind.is_some_and(Ledgered::concerns) {
            chain.actions.add(facts.id);
        }
        if facts.kind == Some(Kind::SessionContext) {
            chain.contexts.push(facts.id);
        }
        chain.seq = place.seq;
        chain.head = leaf;
    }
}

/// Whether an event is of those that a boot writes before it lets anybody in.
fn is_of_the_beginning(facts: &Facts) -> bool {
    use Kind::{ClockStepped, ConfigNotApplied, EpochOpened, NodeBoot, RecordingGrown, SessionEnd};
    matches!(
        facts.kind,
        Some(
            EpochOpened | NodeBoot | RecordingGrown | SessionEnd | ConfigNotApplied | ClockStepped
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(number: u64) -> EventId {
        EventId::from_parts(number, [0; 10])
    }

    #[test]
    fn a_shell_waits_for_its_result_behind_any_number_of_answered_actions() {
        let mut actions = Unanswered::default();
        actions.add(action(0));
        for number in 1..=3 * ACTIONS_KEPT as u64 {
            actions.add(action(number));
            assert!(actions.answer(action(number)));
        }
        assert!(actions.order.len() <= 2 * ACTIONS_KEPT + 1);
        assert!(actions.answer(action(0)));
        assert!(!actions.answer(action(0)), "once");
        for number in 0..=ACTIONS_KEPT as u64 {
            actions.add(action(number));
        }
        assert!(!actions.answer(action(0)), "too many are unanswered");
        assert!(actions.answer(action(1)));
    }
}
