//! Sessions: who worked where, and what happened in each, in order.

use crate::hot::SessionEntry;
use crate::log::{Budget, Stopped, chunk_above, chunk_below};
use crate::record::{Opened, Record};
use crate::render::{self, members};
use crate::store::Store;
use loggia_api::audit::{SessionState, SessionSummary, Timeline};
use loggia_model::event::Event;
use loggia_model::id::SessionId;
use loggia_model::port::Committed;
use loggia_model::value::Object;
use loggia_model::{Fault, Kind, PublicError, Value};
use memchr::memmem::Finder;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Events looked at in memory before writers get their turn.
const MEMORY_STEP: u64 = 8_192;

/// Sessions that run now, with the counters of the gateway. `server` connects it to the gate.
pub trait LiveSessions: Send + Sync {
    /// Those that are open at this moment, in any order.
    fn live(&self) -> Vec<LiveSession>;
}

/// A session as the gateway counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSession {
    /// Its id.
    pub id: SessionId,
    /// Actions forwarded.
    pub actions: u64,
}

/// Sessions and where the next page begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Sessions {
    /// The sessions, the newest first.
    pub items: Vec<SessionSummary>,
    /// Below which index the next page begins.
    pub next: Option<u64>,
}

impl Store {
    /// Sessions that began below an index of the log, the newest first, at most `limit`. The
    /// latest ten thousand can be listed; a search for `kind:session.start` finds all.
    ///
    /// Fails where the log cannot be read, or for too long.
    pub fn sessions(
        &self,
        below: Option<u64>,
        limit: usize,
        live: &[LiveSession],
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Sessions, PublicError> {
        let below = below.unwrap_or(u64::MAX);
        self.remember_sessions(below, limit, &mut self.budget(cancelled))?;
        let hot = self.hot.read();
        let mut entries = hot.sessions(below);
        let page: Vec<(u64, SessionEntry)> =
            entries.by_ref().take(limit).map(|(start, entry)| (start, entry.clone())).collect();
        let next = entries.next().and(page.last()).map(|(start, _)| *start);
        drop(entries);
        drop(hot);
        let counters = |id| live.iter().find(|known| known.id == id);
        let items = page.iter().map(|(_, entry)| summary(entry, counters(entry.id)));
        Ok(Sessions { items: items.collect(), next })
    }

    /// Reads the beginnings and ends of older sessions, until the page is full with one left over.
    fn remember_sessions(
        &self,
        below: u64,
        limit: usize,
        budget: &mut Budget,
    ) -> Result<(), Stopped> {
        let code = |kind: Kind| {
            Finder::new(format!("\"kind\":\"{}\"", kind.code()).as_bytes()).into_owned()
        };
        let needles = [code(Kind::SessionStart), code(Kind::SessionEnd)];
        loop {
            let (known, to) = {
                let hot = self.hot.read();
                (hot.sessions(below).take(limit + 1).count(), hot.older_sessions_below())
            };
            let Some(to) = to.filter(|_| known <= limit) else { return Ok(()) };
            let from = chunk_below(to);
            let mut records = Vec::new();
            for entry in self.log.read(from, to, budget)?.iter().rev() {
                if needles.iter().any(|needle| needle.find(&entry.leaf).is_some()) {
                    let (mut record, opened) = Record::read(entry);
                    // Of an end only what it says itself is kept.
                    if record.kind == Some(Kind::SessionStart) {
                        self.joins.join(&mut record, opened.as_ref(), &self.log, budget)?;
                    }
                    records.push(record);
                }
            }
            self.hot.write().take_older_sessions(from, to, &records);
        }
    }

    /// The sessions that run now, the newest first. Of one that is not on disk yet only the id
    /// and the counters are known.
    pub fn live_sessions(&self, live: &[LiveSession]) -> Vec<SessionSummary> {
        let mut items: Vec<SessionSummary> = live
            .iter()
            .map(|counters| match self.hot.read().session(counters.id) {
                Some(entry) => summary(&entry, Some(counters)),
                None => unknown(counters),
            })
            .collect();
        items.sort_by(|a, b| b.started_us.cmp(&a.started_us).then_with(|| b.id.cmp(&a.id)));
        items
    }

    /// What happened in a session, from `from` (an index of the log) or its beginning on.
    ///
    /// Fails with `not_found` where the log has no such session.
    pub fn timeline(
        &self,
        id: SessionId,
        from: Option<u64>,
        limit: usize,
        live: &[LiveSession],
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Timeline, PublicError> {
        let mut budget = self.budget(cancelled);
        let known = self.hot.read().session(id);
        let start = match &known {
            Some(entry) => entry.start.clone(),
            None => self.find_start(id, &mut budget)?.ok_or_else(|| no_session(id))?,
        };
        let mut walk = Walk {
            store: self,
            id,
            needle: Finder::new(&format!("\"id\":\"{id}\"")).into_owned(),
            budget,
            items: Vec::new(),
            scanned: 0,
            end: known.as_ref().and_then(|entry| entry.end.clone()),
        };
        let next = walk.walk(from.unwrap_or(start.index).max(start.index), limit.max(1))?;
        self.metrics.answers.inc();
        self.metrics.scanned.inc_by(walk.scanned);
        let entry = known.unwrap_or_else(|| entry_of(self, id, &start, walk.end.clone()));
        Ok(Timeline {
            session: summary(&entry, live.iter().find(|known| known.id == id)),
            items: walk.items.iter().map(render::event).collect(),
            next: next.map(crate::routes::cursor),
        })
    }

    /// Shows `each` the entries of a session that are of the `wanted` kinds, in order, up to its
    /// end or that of the log.
    ///
    /// Fails with `not_found` where the log has no such session.
    pub fn visit_session(
        &self,
        id: SessionId,
        wanted: &dyn Fn(Kind) -> bool,
        cancelled: &Arc<AtomicBool>,
        each: &mut dyn FnMut(&Committed),
    ) -> Result<(), PublicError> {
        let mut budget = self.budget(cancelled);
        let known = self.hot.read().session(id);
        let (start, end) = match known {
            Some(entry) => (entry.start.index, entry.end.map(|end| end.index)),
            None => match self.find_start(id, &mut budget)? {
                Some(start) => (start.index, None),
                None => return Err(no_session(id)),
            },
        };
        let needle = Finder::new(&format!("\"id\":\"{id}\"")).into_owned();
        let mut at = start;
        while at < end.map_or(self.log.size(), |end| end + 1) {
            let to = end.map_or(self.log.size(), |end| end + 1).min(chunk_above(at));
            for entry in self.log.read(at, to, &mut budget)? {
                let of_it = needle.find(&entry.leaf).and(Event::parse(&entry.leaf).ok());
                let of_it = of_it.filter(|event| event.session.is_some_and(|one| one.id == id));
                let Some(kind) = of_it.and_then(|event| event.known_kind()) else { continue };
                if wanted(kind) {
                    each(&entry);
                }
                if kind == Kind::SessionEnd {
                    return Ok(());
                }
            }
            at = to;
        }
        Ok(())
    }

    /// The first event of a session. Its id says when it was made, a moment before.
    fn find_start(
        &self,
        id: SessionId,
        budget: &mut Budget,
    ) -> Result<Option<Committed>, PublicError> {
        let made_us = i64::try_from(id.unix_ms()).unwrap_or(i64::MAX).saturating_mul(1_000);
        let size = self.log.size();
        let near = self.log.position(made_us, size, budget)?;
        let needle = Finder::new(&format!("\"id\":\"{id}\"")).into_owned();
        for (from, to) in [(near, size), (0, near)] {
            let mut at = from;
            while at < to {
                let until = to.min(chunk_above(at));
                for entry in self.log.read(at, until, budget)? {
                    if needle.find(&entry.leaf).is_some()
                        && Event::parse(&entry.leaf)
                            .is_ok_and(|event| event.session.is_some_and(|place| place.id == id))
                    {
                        return Ok(Some(entry));
                    }
                }
                at = until;
            }
        }
        Ok(None)
    }
}

fn no_session(id: SessionId) -> PublicError {
    PublicError::new("not_found", Fault::Client, format!("there is no session {id}"))
        .hint("loggia session ls lists sessions")
}

/// A walk through the log along one session.
struct Walk<'a> {
    store: &'a Store,
    id: SessionId,
    needle: Finder<'static>,
    budget: Budget,
    items: Vec<Record>,
    scanned: u64,
    end: Option<Committed>,
}

impl Walk<'_> {
    /// Gives where the next page begins.
    fn walk(&mut self, from: u64, limit: usize) -> Result<Option<u64>, Stopped> {
        let mut at = from;
        loop {
            let size = self.store.end();
            if at >= size || self.end.as_ref().is_some_and(|end| at > end.index) {
                return Ok(None);
            }
            let to = match self.look_in_memory(at, limit)? {
                Some(to) => to,
                None => self.look_in_log(at, size, limit)?,
            };
            self.scanned += to - at;
            if self.items.len() >= limit {
                return Ok(self
                    .items
                    .last()
                    .filter(|last| last.index + 1 < size)
                    .map(|last| last.index + 1));
            }
            at = to;
        }
    }

    /// Looks at what is in memory from `at` on; `None` where that is not in memory.
    fn look_in_memory(&mut self, at: u64, limit: usize) -> Result<Option<u64>, Stopped> {
        self.budget.spend(0)?;
        let hot = self.store.hot.read();
        if at < hot.floor() || at >= hot.next() {
            return Ok(None);
        }
        let to = hot.next().min(at + MEMORY_STEP);
        let (items, end, id) = (&mut self.items, &mut self.end, self.id);
        let seen = hot.visit(&(at..to), false, |record| take(record, id, limit, items, end));
        Ok(seen.map(|()| to))
    }

    fn look_in_log(&mut self, at: u64, size: u64, limit: usize) -> Result<u64, Stopped> {
        let floor = self.store.hot.read().floor();
        let to = chunk_above(at).min(if at < floor { floor } else { size });
        let entries = self.store.log.read(at, to, &mut self.budget)?;
        let wanted = |entry: &Committed| self.needle.find(&entry.leaf).is_some();
        let records = self.store.records(&entries, wanted, &mut self.budget)?;
        let (items, end, id) = (&mut self.items, &mut self.end, self.id);
        let _ = records.iter().try_for_each(|record| take(record, id, limit, items, end));
        Ok(to)
    }
}

fn take(
    record: &Record,
    id: SessionId,
    limit: usize,
    items: &mut Vec<Record>,
    end: &mut Option<Committed>,
) -> ControlFlow<()> {
    // A result is shown with its action, how a recording grew with the session.
    if record.session == Some(id) && !record.beside {
        items.push(record.clone());
    }
    if record.session == Some(id) && record.kind == Some(Kind::SessionEnd) {
        *end = Some(record.entry.clone());
        return ControlFlow::Break(());
    }
    if items.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn entry_of(
    store: &Store,
    id: SessionId,
    start: &Committed,
    end: Option<Committed>,
) -> SessionEntry {
    let (mut record, opened) = Record::read(start);
    let budget = store.budget(&Arc::default());
    if store.joins.join(&mut record, opened.as_ref(), &store.log, &budget).is_err() {
        tracing::warn!(index = start.index, "the circumstances of a session could not be read");
    }
    SessionEntry {
        id,
        context: record.context,
        start: start.clone(),
        start_us: record.time_us,
        end,
    }
}

fn unknown(counters: &LiveSession) -> SessionSummary {
    let started_us = i64::try_from(counters.id.unix_ms()).unwrap_or(i64::MAX).saturating_mul(1_000);
    SessionSummary {
        id: counters.id.to_string(),
        state: SessionState::Open,
        started_us,
        started: render::rfc3339(started_us),
        actions: Some(counters.actions),
        ..SessionSummary::default()
    }
}

fn summary(entry: &SessionEntry, live: Option<&LiveSession>) -> SessionSummary {
    let mut summary = SessionSummary {
        id: entry.id.to_string(),
        started_us: entry.start_us,
        started: render::rfc3339(entry.start_us),
        index: entry.start.index,
        actions: live.map(|live| live.actions),
        ..SessionSummary::default()
    };
    let nothing = Object::new();
    let section = |name: &str| {
        entry.context.as_ref().and_then(|context| context.section(name)).unwrap_or(&nothing)
    };
    summary.resource = members(section("resource"));
    summary.source = members(section("source"));
    summary.intent = members(section("intent"));
    if let Ok(start) = Opened::read(&entry.start) {
        summary.actor = start.event.actor.map(|id| render::actor(id, section("actor")));
        summary.application = text(&start, "/detail/application");
    }
    if let Some(end) = entry.end.as_ref().and_then(|end| Opened::read(end).ok()) {
        let count = |pointer: &str| {
            end.at(pointer).and_then(Value::as_int).and_then(|number| u64::try_from(number).ok())
        };
        summary.state = SessionState::Ended;
        summary.ended_us = Some(end.event.time_us);
        summary.actions = count("/detail/actions");
        summary.bytes_in = count("/detail/bytes_in");
        summary.bytes_out = count("/detail/bytes_out");
        summary.recording_frames = count("/detail/recording_frames");
        summary.recording_bytes = count("/detail/recording_bytes");
        summary.end_reason = text(&end, "/detail/reason");
        summary.end_note = text(&end, "/detail/note");
    }
    summary
}

fn text(opened: &Opened, pointer: &str) -> Option<String> {
    opened.at(pointer).map(|value| value.display().into_owned())
}

#[cfg(test)]
mod tests;
