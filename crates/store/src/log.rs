//! Reading the log behind what is in memory: bounded in entries and time.

use crate::record::stamped_us;
use loggia_model::event::Event;
use loggia_model::id::EventId;
use loggia_model::port::{Committed, ReadLog};
use loggia_model::{Fault, PublicError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Entries read from the log at a time: two bundles.
pub(crate) const CHUNK: u64 = 512;

/// Where the chunk begins whose last entry stands below `at`. Chunks are whole bundles, so that none
/// is read twice.
pub(crate) fn chunk_below(at: u64) -> u64 {
    at.saturating_sub(1) / CHUNK * CHUNK
}

/// Where the chunk ends in which `at` stands.
pub(crate) fn chunk_above(at: u64) -> u64 {
    (at / CHUNK + 1) * CHUNK
}

/// Why reading stopped before its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The log cannot be read.
    Log(PublicError),
    /// The budget is used up, or nobody waits for the answer any more.
    Budget,
}

impl From<Stopped> for PublicError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Log(error) => error,
            Stopped::Budget => {
                PublicError::new("timeout", Fault::Gateway, "the log was read for too long")
                    .hint("narrow the search by since: and until:")
                    .retry()
            }
        }
    }
}

/// How much may be read for one answer.
#[derive(Debug)]
pub(crate) struct Budget {
    entries_left: u64,
    until: Instant,
    cancelled: Arc<AtomicBool>,
}

impl Budget {
    pub(crate) fn new(entries_max: u64, time_max: Duration, cancelled: Arc<AtomicBool>) -> Self {
        Self { entries_left: entries_max, until: Instant::now() + time_max, cancelled }
    }

    /// A part of what is left, for a look aside that must not use up all of it.
    pub(crate) fn part(&self, entries_max: u64) -> Self {
        Self {
            entries_left: self.entries_left.min(entries_max),
            until: self.until,
            cancelled: Arc::clone(&self.cancelled),
        }
    }

    /// Whether the time is up, or nobody waits any more.
    pub(crate) fn is_over(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    /// Spends some of it.
    pub(crate) fn spend(&mut self, entries: u64) -> Result<(), Stopped> {
        match self.entries_left.checked_sub(entries) {
            Some(left) if !self.is_over() => {
                self.entries_left = left;
                Ok(())
            }
            _ => Err(Stopped::Budget),
        }
    }
}

/// The log, read with a budget.
pub(crate) struct Log {
    read: Arc<dyn ReadLog>,
}

impl Log {
    pub(crate) fn new(read: Arc<dyn ReadLog>) -> Self {
        Self { read }
    }

    /// Number of entries on disk.
    pub(crate) fn size(&self) -> u64 {
        self.read.size()
    }

    /// The entries `from..to`, all of them.
    pub(crate) fn read(
        &self,
        from: u64,
        to: u64,
        budget: &mut Budget,
    ) -> Result<Vec<Committed>, Stopped> {
        budget.spend(to.saturating_sub(from))?;
        let mut entries = Vec::new();
        let mut at = from;
        while at < to {
            let max = usize::try_from(to - at).unwrap_or(usize::MAX);
            let mut more = self.read.read(at, max).map_err(Stopped::Log)?;
            if more.is_empty() {
                let error = PublicError::new("log", Fault::Gateway, "the log cannot be read")
                    .hint("see the gateway's own log; `loggia verify` on its machine")
                    .cause(format_args!("entry {at} is missing, the log has {}", self.size()));
                return Err(Stopped::Log(error));
            }
            at += more.len() as u64;
            entries.append(&mut more);
        }
        Ok(entries)
    }

    /// The first entry below `below` that was stamped at this time or later, if time never went
    /// backwards; `below` where there is none.
    pub(crate) fn position(
        &self,
        time_us: i64,
        below: u64,
        budget: &mut Budget,
    ) -> Result<u64, Stopped> {
        let (mut low, mut high) = (0, below);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.read(middle, middle + 1, budget)?;
            let stamped = entry.first().and_then(|entry| stamped_us(&entry.leaf));
            if stamped.is_some_and(|stamped| stamped >= time_us) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// The event with this id, if it stands below `below`. An id carries the time when it was
    /// made, so the search begins there; it goes on elsewhere because clocks may be set.
    pub(crate) fn find(
        &self,
        id: EventId,
        below: u64,
        budget: &mut Budget,
    ) -> Result<Option<Committed>, Stopped> {
        let made_us = i64::try_from(id.unix_ms()).unwrap_or(i64::MAX).saturating_mul(1_000);
        let near = self.position(made_us, below, budget)?;
        let needle = memchr::memmem::Finder::new(&format!("\"id\":\"{id}\"")).into_owned();
        for (from, to) in [(near, below), (0, near)] {
            let mut at = from;
            // Small steps first: it usually stands right there.
            let mut step = 32;
            while at < to {
                let until = to.min(at + step);
                for entry in self.read(at, until, budget)? {
                    let is_near = needle.find(&entry.leaf).is_some();
                    if is_near && Event::parse(&entry.leaf).is_ok_and(|event| event.id == id) {
                        return Ok(Some(entry));
                    }
                }
                at = until;
                step = (step * 2).min(CHUNK);
            }
        }
        Ok(None)
    }
}
