//! Where a session begins and ends in the log.
//!
//! Whoever asks is not known to have a right to the answer yet, so the first look is a cheap one:
//! a session's id says when it was made, and the log is in the order of time but where the clock
//! was set back.

use loggia_model::catalogue::Kind;
use loggia_model::id::{ActorId, SessionId};
use loggia_model::port::ReadLog;
use loggia_model::{Event, PublicError};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Entries that are read at a time.
const ENTRIES_AT_ONCE: usize = 4_096;
/// How long before the id's own time, by the log's, a session may begin, in microseconds.
const BEFORE_US: i64 = 2_000_000;
/// How long after it: a session waits for the ledger at most this long.
const AFTER_US: i64 = 30_000_000;
/// Entries that are read in that time at most, and of the newest beside them.
const NEARBY_MAX: u64 = 100_000;
/// Entries that are read in all for somebody who may read sessions, or for the end of one's own.
const ANYWHERE_MAX: u64 = 20_000_000;

/// Where a session begins, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) index: u64,
    pub(super) actor: Option<ActorId>,
}

/// A look through the log, which stops once nobody waits for it any more.
pub(super) struct Search<'a> {
    log: &'a dyn ReadLog,
    gone: &'a AtomicBool,
    session: SessionId,
    name: String,
}

impl<'a> Search<'a> {
    pub(super) fn new(log: &'a dyn ReadLog, session: SessionId, gone: &'a AtomicBool) -> Self {
        Self { log, gone, session, name: session.to_string() }
    }

    /// The beginning, where its id says that it is, or among the newest entries.
    pub(super) fn nearby(&self) -> Result<Option<Start>, PublicError> {
        let made_us = i64::try_from(self.session.unix_ms()).unwrap_or(i64::MAX);
        let made_us = made_us.saturating_mul(1_000);
        let size = self.log.size();
        let from = self.position(made_us.saturating_sub(BEFORE_US), size)?;
        let until = self.position(made_us.saturating_add(AFTER_US), size)?;
        let found = self.start_in(from..until.min(from.saturating_add(NEARBY_MAX)))?;
        if found.is_some() {
            return Ok(found);
        }
        self.start_in(size.saturating_sub(NEARBY_MAX)..size)
    }

    /// The beginning, wherever it is.
    pub(super) fn anywhere(&self) -> Result<Option<Start>, PublicError> {
        let size = self.log.size();
        self.start_in(size.saturating_sub(ANYWHERE_MAX)..size)
    }

    /// The end of a session that began there.
    pub(super) fn end_behind(&self, start: u64) -> Result<Option<u64>, PublicError> {
        let until = self.log.size().min(start.saturating_add(ANYWHERE_MAX));
        let mut at = start;
        while at < until && !self.gone.load(Ordering::Relaxed) {
            let to = until.min(at + ENTRIES_AT_ONCE as u64);
            for entry in &self.log.read(at, entries(at..to))? {
                let event = self.event_of_it(&entry.leaf);
                if event.and_then(|event| event.known_kind()) == Some(Kind::SessionEnd) {
                    return Ok(Some(entry.index));
                }
            }
            at = to;
        }
        Ok(None)
    }

    /// The first entry of that time or later, where the clock was not set back.
    fn position(&self, time_us: i64, size: u64) -> Result<u64, PublicError> {
        let (mut low, mut high) = (0, size);
        while low < high {
            let middle = low + (high - low) / 2;
            let entries = self.log.read(middle, 1)?;
            let event = entries.first().and_then(|entry| Event::parse(&entry.leaf).ok());
            if event.is_some_and(|event| event.time_us >= time_us) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    fn start_in(&self, range: Range<u64>) -> Result<Option<Start>, PublicError> {
        let mut before = range.end;
        while before > range.start && !self.gone.load(Ordering::Relaxed) {
            let from = before.saturating_sub(ENTRIES_AT_ONCE as u64).max(range.start);
            for entry in self.log.read(from, entries(from..before))?.iter().rev() {
                let Some(event) = self.event_of_it(&entry.leaf) else { continue };
                if event.known_kind() == Some(Kind::SessionStart) {
                    let actor = event.text("/actor/id").and_then(|id| id.parse().ok());
                    return Ok(Some(Start { index: entry.index, actor }));
                }
            }
            before = from;
        }
        Ok(None)
    }

    /// The event, where it is one of the session. Parsing costs far more than looking for the id.
    fn event_of_it(&self, leaf: &[u8]) -> Option<Event> {
        let mentions = leaf.windows(self.name.len()).any(|at| at == self.name.as_bytes());
        let event = mentions.then(|| Event::parse(leaf).ok()).flatten();
        event.filter(|event| event.session.is_some_and(|place| place.id == self.session))
    }
}

fn entries(range: Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(ENTRIES_AT_ONCE)
}

#[cfg(test)]
mod tests;
