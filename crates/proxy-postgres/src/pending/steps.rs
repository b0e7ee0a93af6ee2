//! The queue itself: messages that were forwarded and are not answered yet, oldest first.

use super::outcome::Copied;
use crate::codec::encode::Report;
use crate::names::{Portal, Prepared, Ticket};
use std::collections::VecDeque;

/// A message that was forwarded and is not answered yet.
#[derive(Debug)]
pub(super) struct Step<A> {
    pub(super) kind: Kind<A>,
    pub(super) sent_us: i64,
    pub(super) copied: Option<Box<Copied>>,
    /// Whether it may begin a COPY that the client sends data for.
    pub(super) may_copy: bool,
}

#[derive(Debug)]
pub(super) enum Kind<A> {
    Parse(A, Ticket<Prepared>),
    Bind {
        action: A,
        bind: u64,
        ticket: Ticket<Portal>,
    },
    CloseStatement(Ticket<Prepared>),
    ClosePortal(Ticket<Portal>),
    Describe,
    /// `bind` where the action is that of the Bind itself.
    Execute {
        action: A,
        bind: Option<u64>,
    },
    Query(A),
    Call(A),
    Sync,
    /// CopyDone or CopyFail.
    CopyEnd,
    /// Something else was forwarded in a refused message's place, which the server answers with an
    /// error; the client is told this instead.
    Refused(Box<Report>),
}

impl<A: Copy> Kind<A> {
    pub(super) fn action(&self) -> Option<A> {
        match self {
            Self::Parse(action, _)
            | Self::Bind { action, .. }
            | Self::Execute { action, .. }
            | Self::Query(action)
            | Self::Call(action) => Some(*action),
            _ => None,
        }
    }

    /// Whether it is a Query or an Execute.
    pub(super) fn runs(&self) -> bool {
        matches!(self, Self::Query(_) | Self::Execute { .. })
    }

    /// Whether a COPY can take it in: what goes out behind the message that began one.
    fn trails(&self) -> bool {
        matches!(self, Self::CopyEnd | Self::Sync)
    }
}

/// The queue. Knows its last step that is no Sync and no end of a COPY without a search, however
/// many of those are behind it.
#[derive(Debug)]
pub(super) struct Steps<A> {
    queue: VecDeque<Step<A>>,
    /// How many Syncs and ends of COPYs are at the back; at least, where the queue is shorter.
    trailing: usize,
    /// Whether an end of a COPY is among them.
    ended: bool,
}

impl<A> Default for Steps<A> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), trailing: 0, ended: false }
    }
}

impl<A: Copy> Steps<A> {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Step<A>> {
        self.queue.iter()
    }

    pub(super) fn get(&self, place: usize) -> Option<&Step<A>> {
        self.queue.get(place)
    }

    pub(super) fn front(&self) -> Option<&Step<A>> {
        self.queue.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Step<A>> {
        self.queue.front_mut()
    }

    pub(super) fn back(&self) -> Option<&Step<A>> {
        self.queue.back()
    }

    pub(super) fn push_back(&mut self, step: Step<A>) {
        if step.kind.trails() {
            self.trailing = self.trailing() + 1;
            self.ended |= matches!(step.kind, Kind::CopyEnd);
        } else {
            (self.trailing, self.ended) = (0, false);
        }
        self.queue.push_back(step);
    }

    pub(super) fn pop_front(&mut self) -> Option<Step<A>> {
        self.queue.pop_front()
    }

    pub(super) fn pop_front_if(&mut self, fits: impl FnOnce(&Step<A>) -> bool) -> Option<Step<A>> {
        self.queue.pop_front_if(|step| fits(step))
    }

    /// Takes out `count` steps behind the first.
    pub(super) fn drain_behind_front(&mut self, count: usize) {
        let end = (1 + count).min(self.queue.len());
        let trailing_from = self.queue.len() - self.trailing();
        self.trailing = self.trailing() - end.saturating_sub(trailing_from.max(1));
        self.queue.drain(1.min(end)..end);
        let mut trailing = self.queue.iter().rev().take(self.trailing);
        self.ended = trailing.any(|step| matches!(step.kind, Kind::CopyEnd));
    }

    /// The last step that is no Sync and no end of a COPY.
    pub(super) fn last_running(&self) -> Option<&Step<A>> {
        let place = self.queue.len().checked_sub(self.trailing() + 1)?;
        self.queue.get(place)
    }

    /// Whether an end of a COPY went out behind it.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    fn trailing(&self) -> usize {
        self.trailing.min(self.queue.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(kind: Kind<u32>) -> Step<u32> {
        Step { kind, sent_us: 0, copied: None, may_copy: false }
    }

    proptest! {
        /// The same as a search from the back.
        #[test]
        fn the_last_that_runs_is_found_without_a_search(
            changes in proptest::collection::vec((0u8..6, 0usize..4), 0..60),
        ) {
            let mut steps = Steps::default();
            for (number, (change, count)) in changes.into_iter().enumerate() {
                match change {
                    0 => steps.push_back(step(Kind::Query(u32::try_from(number).unwrap()))),
                    1 | 2 => steps.push_back(step(Kind::Sync)),
                    3 => steps.push_back(step(Kind::CopyEnd)),
                    4 => drop(steps.pop_front()),
                    _ => steps.drain_behind_front(count),
                }
                let searched = steps.queue.iter().rev().find(|step| !step.kind.trails());
                let searched = searched.and_then(|step| step.kind.action());
                let found = steps.last_running().and_then(|step| step.kind.action());
                prop_assert_eq!(found, searched);
                let mut trailing = steps.queue.iter().rev().take_while(|step| step.kind.trails());
                let ended = trailing.any(|step| matches!(step.kind, Kind::CopyEnd));
                prop_assert_eq!(searched.is_some() && steps.is_ended(), searched.is_some() && ended);
            }
        }
    }
}
