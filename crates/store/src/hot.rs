//! The newest events, in memory: contiguous by index, bounded in bytes. Results are attached to
//! their actions as they arrive.

use crate::record::{Context, Record, ResultPart};
use loggia_model::Kind;
use loggia_model::id::{EventId, SessionId};
use loggia_model::port::Committed;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Sessions that are remembered at most; of those beyond it the ones that ended go first.
const SESSIONS_MAX: usize = 10_000;

/// A session as its first and last event tell it.
#[derive(Debug, Clone)]
pub(crate) struct SessionEntry {
    pub(crate) id: SessionId,
    pub(crate) context: Option<Arc<Context>>,
    pub(crate) start: Committed,
    pub(crate) start_us: i64,
    pub(crate) end: Option<Committed>,
}

/// The newest events.
pub(crate) struct Hot {
    records: VecDeque<Record>,
    /// Index of the first record; of the next entry where there is none.
    floor: u64,
    bytes: usize,
    bytes_max: usize,
    /// Actions in memory that have no result yet.
    waiting: HashMap<EventId, u64>,
    /// By the index of their first event.
    sessions: BTreeMap<u64, SessionEntry>,
    session_starts: HashMap<SessionId, u64>,
    /// Sessions that began from here on are in `sessions`, up to its limit.
    sessions_floor: u64,
    /// Ends of sessions that began below that, for when their beginnings are read.
    early_ends: HashMap<SessionId, Committed>,
}

impl Hot {
    /// Empty; the next entry is `next`.
    pub(crate) fn new(next: u64, bytes_max: usize) -> Self {
        Self {
            records: VecDeque::new(),
            floor: next,
            bytes: 0,
            bytes_max,
            waiting: HashMap::new(),
            sessions: BTreeMap::new(),
            session_starts: HashMap::new(),
            sessions_floor: next,
            early_ends: HashMap::new(),
        }
    }

    /// Index of the oldest record.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Index of the entry that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.floor + self.records.len() as u64
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes that the records take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the next record. Gives the index of the action to which it is the result.
    pub(crate) fn push(&mut self, record: Record) -> Option<u64> {
        self.note_session(&record);
        let mut action = None;
        if let (Some(of), Some(result)) = (record.of, record.of.and(record.as_result())) {
            action = self.attach(of, result);
        }
        if let Some(id) = record.id.filter(|_| record.is_action()) {
            self.waiting.insert(id, record.index);
        }
        self.bytes += record.bytes();
        self.records.push_back(record);
        self.evict();
        action
    }

    fn attach(&mut self, of: EventId, result: Arc<ResultPart>) -> Option<u64> {
        let index = self.waiting.remove(&of)?;
        let place = usize::try_from(index.checked_sub(self.floor)?).ok()?;
        self.records.get_mut(place)?.result = Some(result);
        Some(index)
    }

    /// The record of this index, where it is in memory.
    pub(crate) fn record(&self, index: u64) -> Option<&Record> {
        self.records.get(usize::try_from(index.checked_sub(self.floor)?).ok()?)
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max && self.records.len() > 1 {
            let Some(oldest) = self.records.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
            self.floor += 1;
            if let Some(id) = oldest.id {
                self.waiting.remove(&id);
            }
        }
    }

    fn note_session(&mut self, record: &Record) {
        let Some(session) = record.session else { return };
        match record.kind {
            Some(Kind::SessionStart) => {
                self.session_starts.insert(session, record.index);
                self.sessions.insert(
                    record.index,
                    SessionEntry {
                        id: session,
                        context: record.context.clone(),
                        start: record.entry.clone(),
                        start_us: record.time_us,
                        end: self.early_ends.remove(&session),
                    },
                );
                self.forget_sessions();
            }
            Some(Kind::SessionEnd) => {
                let start = self.session_starts.get(&session);
                match start.and_then(|start| self.sessions.get_mut(start)) {
                    Some(entry) => entry.end = Some(record.entry.clone()),
                    None if self.early_ends.len() < SESSIONS_MAX => {
                        self.early_ends.insert(session, record.entry.clone());
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }

    /// Below which index sessions have to be read from the log; `None` where no more are kept.
    pub(crate) fn older_sessions_below(&self) -> Option<u64> {
        let more = self.sessions_floor > 0 && self.sessions.len() < SESSIONS_MAX;
        more.then_some(self.sessions_floor)
    }

    /// Takes the beginnings and ends of sessions among the entries from `from` up to where older
    /// ones have to be read from; the newest first.
    pub(crate) fn take_older_sessions(&mut self, from: u64, below: u64, records: &[Record]) {
        // Somebody else may have read the same meanwhile.
        if self.sessions_floor != below {
            return;
        }
        self.sessions_floor = from;
        records.iter().for_each(|record| self.note_session(record));
    }

    fn forget_sessions(&mut self) {
        if self.sessions.len() <= SESSIONS_MAX {
            return;
        }
        let ended = self.sessions.iter().find(|(_, entry)| entry.end.is_some());
        let oldest = ended.or_else(|| self.sessions.iter().next()).map(|(start, _)| *start);
        // Nothing below it is looked for any more.
        self.sessions_floor = self.sessions_floor.max(oldest.map_or(0, |start| start + 1));
        if let Some(entry) = oldest.and_then(|start| self.sessions.remove(&start)) {
            self.session_starts.remove(&entry.id);
        }
    }

    /// Looks at the records of a range one by one, from its end where `newest_first`. `None` where
    /// some of the range are not in memory.
    pub(crate) fn visit(
        &self,
        range: &Range<u64>,
        newest_first: bool,
        mut look: impl FnMut(&Record) -> ControlFlow<()>,
    ) -> Option<()> {
        let from = usize::try_from(range.start.checked_sub(self.floor)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(self.floor)?).ok()?;
        if from > to || to > self.records.len() {
            return None;
        }
        let records = self.records.range(from..to);
        if newest_first {
            let _ = records.rev().try_for_each(&mut look);
        } else {
            let mut records = records;
            let _ = records.try_for_each(&mut look);
        }
        Some(())
    }

    /// The session, where it is remembered.
    pub(crate) fn session(&self, id: SessionId) -> Option<SessionEntry> {
        self.session_starts.get(&id).and_then(|start| self.sessions.get(start)).cloned()
    }

    /// Remembered sessions that began below an index, the newest first.
    pub(crate) fn sessions(&self, below: u64) -> impl Iterator<Item = (u64, &SessionEntry)> {
        self.sessions.range(..below).rev().map(|(start, entry)| (*start, entry))
    }
}
