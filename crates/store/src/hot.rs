//! The newest events, in memory: contiguous by index, bounded in bytes. Results are attached to
//! their actions as they arrive.
//!
//! Of most events only an outline is read as they come; the rest when somebody looks at them, and
//! is then kept. The room for that counts from the beginning, so that a search never makes memory
//! outgrow its bound.

use crate::joins::Referred;
use crate::outline::Outline;
use crate::record::{Context, KINDS_WITH_RESULT, Prepared, Record};
use loggia_model::Kind;
use loggia_model::id::{EventId, SessionId};
use loggia_model::port::Committed;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};

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

/// An entry in memory: with its record, or with what it takes to make that.
pub(crate) struct Slot {
    entry: Committed,
    id: Option<EventId>,
    /// Of a result: its action.
    of: Option<EventId>,
    is_action: bool,
    context: Option<Arc<Context>>,
    prepared: Option<Arc<Prepared>>,
    /// Index of its result.
    result: Option<u64>,
    record: OnceLock<Box<Record>>,
}

impl Slot {
    /// An entry that was read as a whole, with all that it refers to.
    pub(crate) fn whole(record: Record) -> Self {
        Self {
            entry: record.entry.clone(),
            id: record.id,
            of: record.of,
            is_action: record.is_action(),
            context: record.context.clone(),
            prepared: record.prepared.clone(),
            result: None,
            record: OnceLock::from(Box::new(record)),
        }
    }

    /// An entry of which only the outline was read, with what it refers to.
    pub(crate) fn outlined(entry: Committed, outline: Outline, referred: Referred) -> Self {
        Self {
            entry,
            id: Some(outline.id),
            of: outline.of,
            is_action: KINDS_WITH_RESULT.contains(&outline.kind),
            context: referred.context,
            prepared: referred.prepared,
            result: None,
            record: OnceLock::new(),
        }
    }

    /// Bytes that it takes, its record included whether that is made yet or not.
    fn bytes(&self) -> usize {
        size_of::<Self>() + Record::bytes_max(&self.entry)
    }
}

/// The newest events.
pub(crate) struct Hot {
    slots: VecDeque<Slot>,
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
            slots: VecDeque::new(),
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
        self.floor + self.slots.len() as u64
    }

    /// Number of events.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes that the events take once all of them were looked at.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the next entry. Gives the index of the action to which it is the result.
    pub(crate) fn push(&mut self, slot: Slot) -> Option<u64> {
        let index = slot.entry.index;
        if let Some(record) = slot.record.get() {
            self.note_session(record);
        }
        let action = slot.of.and_then(|of| self.attach(of, index));
        if let Some(id) = slot.id.filter(|_| slot.is_action) {
            self.waiting.insert(id, index);
        }
        self.bytes += slot.bytes();
        self.slots.push_back(slot);
        self.evict();
        action
    }

    fn attach(&mut self, of: EventId, result: u64) -> Option<u64> {
        let index = self.waiting.remove(&of)?;
        let place = self.place(index)?;
        let slot = self.slots.get_mut(place)?;
        slot.result = Some(result);
        // Whoever looked at the action already looked at it without a result.
        slot.record.take();
        Some(index)
    }

    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.floor)?).ok()
    }

    /// The record of this index, where it is in memory.
    pub(crate) fn record(&self, index: u64) -> Option<&Record> {
        self.slots.get(self.place(index)?).map(|slot| self.read(slot))
    }

    fn read<'a>(&'a self, slot: &'a Slot) -> &'a Record {
        slot.record.get_or_init(|| {
            let (mut record, _) = Record::read(&slot.entry);
            record.context.clone_from(&slot.context);
            record.prepared.clone_from(&slot.prepared);
            // A result is younger than its action, so it is in memory too, and has none itself.
            let result = slot.result.and_then(|index| self.record(index));
            record.result = result.and_then(Record::as_result);
            Box::new(record)
        })
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max && self.slots.len() > 1 {
            let Some(oldest) = self.slots.pop_front() else { return };
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
        if from > to || to > self.slots.len() {
            return None;
        }
        let records = self.slots.range(from..to).map(|slot| self.read(slot));
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
