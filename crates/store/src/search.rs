//! Searching: through memory where the events are there, through the log where they are not.
//! Both give the same events; a border between them does not show.

use crate::log::{Budget, CHUNK, Stopped, chunk_above, chunk_below};
use crate::matching::{Matcher, needles};
use crate::query::Query;
use crate::record::{Record, stamped_us};
use crate::render;
use crate::store::Store;
use loggia_api::audit::{AuditEvent, Order};
use loggia_model::event::Event;
use loggia_model::id::{EventId, SessionId};
use loggia_model::port::Committed;
use loggia_model::{Kind, PublicError};
use memchr::memmem::Finder;
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Events looked at in memory before writers get their turn.
const MEMORY_STEP: u64 = 8_192;
/// Entries looked at for the result of an action that has none within reach.
const AHEAD_ENTRIES_MAX: u64 = 200_000;
/// The same for actions that mostly have none, such as `sql.prepare`.
const AHEAD_SHORT_ENTRIES_MAX: u64 = 512;
/// Times are ordered but for what the machine's clock was set back by. A search by time goes on
/// for so long past its end; a larger step is an event itself (`clock.stepped`).
const CLOCK_MARGIN_US: i64 = 3_600_000_000;

/// What to search for, and where to begin.
#[derive(Debug, Clone)]
pub struct Request {
    /// The query.
    pub query: Query,
    /// At most so many events.
    pub limit: usize,
    /// Where the page before ended: `newest`: below this index; `oldest`: from it on.
    pub from: Option<u64>,
    /// Which end comes first.
    pub order: Order,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The events.
    pub items: Vec<AuditEvent>,
    /// Where the next page begins.
    pub next: Option<u64>,
    /// Events that were looked at.
    pub scanned: u64,
    /// Whether it went on until the page was full or the log at its end.
    pub complete: bool,
    /// Entries in the log when the search began.
    pub log_size: u64,
}

/// Part of the log that is looked at in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    range: Range<u64>,
    in_memory: bool,
}

/// A search under way.
struct Search<'a> {
    store: &'a Store,
    matcher: Matcher,
    needles: Vec<Finder<'static>>,
    newest_first: bool,
    limit: usize,
    budget: Budget,
    hits: Vec<Record>,
    scanned: u64,
}

impl Store {
    /// The first page of what the query finds, from where the request says. Blocks while it reads
    /// the log, at most as long as the configuration allows; `cancelled` ends it sooner.
    ///
    /// Fails where the log cannot be read.
    pub fn search(
        &self,
        request: &Request,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Found, PublicError> {
        let newest_first = request.order == Order::Newest;
        let mut search = Search {
            store: self,
            matcher: Matcher::new(&request.query),
            needles: needles(&request.query),
            newest_first,
            limit: request.limit.max(1),
            budget: self.budget(cancelled),
            hits: Vec::new(),
            scanned: 0,
        };
        let log_size = self.end();
        let (next, complete) = match search.run(request, log_size) {
            Ok(next) => (next, true),
            Err((at, Stopped::Budget)) => (Some(at), false),
            Err((_, error)) => return Err(error.into()),
        };
        self.metrics.answers.inc();
        self.metrics.scanned.inc_by(search.scanned);
        let items = search.hits.iter().map(render::event).collect();
        Ok(Found { items, next, scanned: search.scanned, complete, log_size })
    }
}

impl Search<'_> {
    /// Gives where the next page begins; on an error, how far it came.
    fn run(&mut self, request: &Request, size: u64) -> Result<Option<u64>, (u64, Stopped)> {
        let since_us = request.query.since_us();
        let until_us = request.query.until_us();
        let mut at = match request.from {
            Some(from) => from.min(size),
            None if self.newest_first => size,
            None => 0,
        };
        if request.from.is_none() {
            at = self.begin(at, size, since_us, until_us).map_err(|stopped| (at, stopped))?;
        }
        while let Some(window) = self.window(at, size) {
            let (earliest, latest) = self.look(&window).map_err(|stopped| (at, stopped))?;
            if self.hits.len() >= self.limit {
                return Ok(self.next_page(size));
            }
            at = if self.newest_first { window.range.start } else { window.range.end };
            let past = if self.newest_first {
                since_us.is_some_and(|since| latest < since.saturating_sub(CLOCK_MARGIN_US))
            } else {
                until_us.is_some_and(|until| earliest > until.saturating_add(CLOCK_MARGIN_US))
            };
            if past {
                break;
            }
        }
        Ok(None)
    }

    fn next_page(&self, size: u64) -> Option<u64> {
        let last = self.hits.last()?.index;
        if self.newest_first { Some(last) } else { Some(last + 1) }
            .filter(|next| if self.newest_first { *next > 0 } else { *next < size })
    }

    /// Skips what the time asked for cannot hold, where that saves reading the log.
    fn begin(
        &mut self,
        at: u64,
        size: u64,
        since_us: Option<i64>,
        until_us: Option<i64>,
    ) -> Result<u64, Stopped> {
        let edge = if self.newest_first {
            until_us.map(|until| until.saturating_add(CLOCK_MARGIN_US))
        } else {
            since_us.map(|since| since.saturating_sub(CLOCK_MARGIN_US))
        };
        match edge {
            // `size` may be ahead of what the log has on disk by what memory holds already.
            Some(edge) => {
                let below = self.store.log.size().min(size);
                let place = self.store.log.position(edge, below, &mut self.budget)?;
                Ok(if place == below { at.max(place) } else { place })
            }
            None => Ok(at),
        }
    }

    /// The next part to look at, from `at` downwards or upwards.
    fn window(&self, at: u64, size: u64) -> Option<Window> {
        let (floor, next) = {
            let hot = self.store.hot.read();
            (hot.floor(), hot.next())
        };
        let part = |range, in_memory| Some(Window { range, in_memory });
        if self.newest_first {
            match at {
                0 => None,
                _ if at > next => part(next.max(chunk_below(at))..at, false),
                _ if at > floor => part(floor.max(at.saturating_sub(MEMORY_STEP))..at, true),
                _ => part(chunk_below(at)..at, false),
            }
        } else {
            match at {
                _ if at >= size => None,
                _ if at < floor => part(at..floor.min(chunk_above(at)).min(size), false),
                _ if at < next => part(at..next.min(at + MEMORY_STEP).min(size), true),
                _ => part(at..size.min(chunk_above(at)), false),
            }
        }
    }

    /// Looks at one part; gives the earliest and the latest time in it.
    fn look(&mut self, window: &Window) -> Result<(i64, i64), Stopped> {
        let mut times = (i64::MAX, i64::MIN);
        let mut scanned = 0;
        let (matcher, hits, limit) = (&self.matcher, &mut self.hits, self.limit);
        let mut consider = |record: &Record| {
            scanned += 1;
            times = (times.0.min(record.time_us), times.1.max(record.time_us));
            if matcher.finds(record) {
                hits.push(record.clone());
            }
            if hits.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if window.in_memory {
            self.budget.spend(0)?;
            let hot = self.store.hot.read();
            if hot.visit(&window.range, self.newest_first, &mut consider).is_some() {
                self.scanned += scanned;
                return Ok(times);
            }
            // It was put out of memory meanwhile; the log has it.
        }
        let entries =
            self.store.log.read(window.range.start, window.range.end, &mut self.budget)?;
        let wanted = |entry: &Committed| {
            self.needles.iter().all(|needle| needle.find(&entry.leaf).is_some())
        };
        let mut records = self.store.records(&entries, wanted, &mut self.budget)?;
        if self.newest_first {
            records.reverse();
        }
        let looked_at = records.iter().try_for_each(&mut consider);
        let stamps = entries.iter().filter_map(|entry| stamped_us(&entry.leaf));
        let times = stamps.fold(times, |(min, max), us| (min.min(us), max.max(us)));
        self.scanned += match looked_at {
            ControlFlow::Continue(()) => entries.len() as u64,
            ControlFlow::Break(()) => {
                let last = self.hits.last().map_or(0, |hit| hit.index);
                if self.newest_first {
                    window.range.end - last
                } else {
                    last + 1 - window.range.start
                }
            }
        };
        Ok(times)
    }
}

impl Store {
    /// Records of the wanted entries among these (which have no gaps), with all that they refer
    /// to, and their results where those stand within reach, here or further on.
    pub(crate) fn records(
        &self,
        entries: &[Committed],
        wanted: impl Fn(&Committed) -> bool,
        budget: &mut Budget,
    ) -> Result<Vec<Record>, Stopped> {
        let mut records = Vec::new();
        for entry in entries.iter().filter(|entry| wanted(entry)) {
            let (mut record, opened) = Record::read(entry);
            self.joins.join(&mut record, opened.as_ref(), &self.log, budget)?;
            records.push(record);
        }
        let mut waiting = Waiting::of(&records);
        waiting.take(entries, &mut records);
        let Some(last) = entries.last() else { return Ok(records) };
        self.read_ahead(&mut waiting, &mut records, last.index + 1, budget)?;
        Ok(records)
    }

    /// Reads on until every action has its result or can have none any more.
    fn read_ahead(
        &self,
        waiting: &mut Waiting,
        records: &mut [Record],
        from: u64,
        budget: &mut Budget,
    ) -> Result<(), Stopped> {
        let size = self.log.size();
        let mut at = from;
        let mut step = 64;
        while at < size {
            let read = at - from;
            let max =
                if waiting.has_urgent() { AHEAD_ENTRIES_MAX } else { AHEAD_SHORT_ENTRIES_MAX };
            if waiting.actions.is_empty() || read >= max {
                break;
            }
            let to = size.min(at + step);
            waiting.take(&self.log.read(at, to, budget)?, records);
            at = to;
            step = (step * 2).min(CHUNK * 4);
        }
        Ok(())
    }
}

/// Actions whose results are being looked for.
struct Waiting {
    /// To the place in the list of records.
    actions: HashMap<EventId, usize>,
    /// How many of each session must have a result.
    urgent: HashMap<SessionId, u64>,
    result: Finder<'static>,
    end: Finder<'static>,
}

impl Waiting {
    fn of(records: &[Record]) -> Self {
        let code = |kind: Kind| {
            Finder::new(format!("\"kind\":\"{}\"", kind.code()).as_bytes()).into_owned()
        };
        let mut waiting = Self {
            actions: HashMap::new(),
            urgent: HashMap::new(),
            // Of every kind of result; what else ends so is looked at and is none.
            result: Finder::new(b".result\"").into_owned(),
            end: code(Kind::SessionEnd),
        };
        for (place, record) in records.iter().enumerate() {
            if let Some(id) = record.id.filter(|_| record.is_action()) {
                waiting.actions.insert(id, place);
                if let Some(session) = record.session.filter(|_| record.awaits_result()) {
                    *waiting.urgent.entry(session).or_default() += 1;
                }
            }
        }
        waiting
    }

    fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Attaches the results among these entries; after the end of a session none come.
    fn take(&mut self, entries: &[Committed], records: &mut [Record]) {
        for entry in entries {
            if self.actions.is_empty() {
                return;
            }
            if self.result.find(&entry.leaf).is_some() {
                self.take_result(entry, records);
            } else if self.end.find(&entry.leaf).is_some() {
                self.take_end(entry, records);
            }
        }
    }

    fn take_result(&mut self, entry: &Committed, records: &mut [Record]) {
        let (result, _) = Record::read(entry);
        let place = result.of.and_then(|of| self.actions.remove(&of));
        let Some(action) = place.and_then(|place| records.get_mut(place)) else { return };
        action.result = result.as_result();
        if let Some(session) = action.session.filter(|_| action.awaits_result())
            && let Some(left) = self.urgent.get_mut(&session)
        {
            *left -= 1;
            if *left == 0 {
                self.urgent.remove(&session);
            }
        }
    }

    fn take_end(&mut self, entry: &Committed, records: &[Record]) {
        let Ok(event) = Event::parse(&entry.leaf) else { return };
        if event.kind != Kind::SessionEnd.code() {
            return;
        }
        let Some(ended) = event.session.map(|place| place.id) else { return };
        self.urgent.remove(&ended);
        // An action after the end of its session there is none.
        self.actions.retain(|_, place| {
            records.get(*place).is_some_and(|record| record.session != Some(ended))
        });
    }
}

#[cfg(test)]
mod tests;
