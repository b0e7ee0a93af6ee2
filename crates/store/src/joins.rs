//! What events refer to: the circumstances of their session, the text of a prepared statement.
//! What was needed lately is kept; anything else is read from the log again.

use crate::log::{Budget, Log, Stopped};
use crate::record::{Context, Opened, Prepared, Record};
use loggia_model::Kind;
use loggia_model::id::EventId;
use loggia_model::port::Committed;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Contexts and texts that are kept, of each at most; those in use by records live on their own.
const KEPT_MAX: usize = 20_000;
/// A `session.context` refers to another at most so often.
const CONTEXT_DEPTH_MAX: usize = 32;
/// Entries read at most to find one event that another refers to.
const LOOKUP_ENTRIES_MAX: u64 = 1_000_000;

/// What was used lately: two generations, the older of which goes when the younger is full.
struct Lately<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Copy + Eq + Hash, V: Clone> Lately<K, V> {
    fn new() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }

    fn get(&mut self, key: K) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(value.clone());
        }
        let value = self.old.remove(&key)?;
        self.put(key, value.clone());
        Some(value)
    }

    fn put(&mut self, key: K, value: V) {
        if self.young.len() >= KEPT_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

/// `None` inside: it was looked for and is not in the log.
type Known<T> = Mutex<Lately<EventId, Option<Arc<T>>>>;

/// What one event refers to.
#[derive(Debug, Default)]
pub(crate) struct Referred {
    pub(crate) context: Option<Arc<Context>>,
    pub(crate) prepared: Option<Arc<Prepared>>,
}

/// Everything that events refer to.
pub(crate) struct Joins {
    contexts: Known<Context>,
    prepared: Known<Prepared>,
}

impl Joins {
    pub(crate) fn new() -> Self {
        Self { contexts: Mutex::new(Lately::new()), prepared: Mutex::new(Lately::new()) }
    }

    /// Lets go of all that is kept.
    pub(crate) fn forget(&self) {
        *self.contexts.lock() = Lately::new();
        *self.prepared.lock() = Lately::new();
    }

    /// Gives a record that was just read what it refers to.
    pub(crate) fn join(
        &self,
        record: &mut Record,
        opened: Option<&Opened>,
        log: &Log,
        budget: &Budget,
    ) -> Result<(), Stopped> {
        let ids = (record.context_id, record.prepared_id);
        let referred = self.referred(ids, record.index, log, budget)?;
        record.context = referred.context;
        record.prepared = referred.prepared;
        let (Some(id), Some(opened)) = (record.id, opened) else { return Ok(()) };
        match record.kind {
            Some(Kind::SessionStart | Kind::SessionContext) => {
                let context = Arc::new(Context::of(opened, record.context.as_deref()));
                self.contexts.lock().put(id, Some(Arc::clone(&context)));
                // The event itself is told by what it says, not by what was so before.
                record.context = Some(context);
            }
            Some(Kind::SqlPrepare) => {
                self.prepared.lock().put(id, Some(Arc::new(Prepared::of(opened))));
            }
            _ => {}
        }
        Ok(())
    }

    /// What an event at `index` refers to: its context and its prepared statement, by their ids.
    pub(crate) fn referred(
        &self,
        (context, prepared): (Option<EventId>, Option<EventId>),
        index: u64,
        log: &Log,
        budget: &Budget,
    ) -> Result<Referred, Stopped> {
        let mut referred = Referred::default();
        if let Some(id) = context {
            referred.context = self.context(id, index, log, budget, 0)?;
        }
        if let Some(id) = prepared {
            referred.prepared = self.prepared(id, index, log, budget)?;
        }
        Ok(referred)
    }

    fn context(
        &self,
        id: EventId,
        below: u64,
        log: &Log,
        budget: &Budget,
        depth: usize,
    ) -> Result<Option<Arc<Context>>, Stopped> {
        if let Some(known) = self.contexts.lock().get(id) {
            return Ok(known);
        }
        let mut found = None;
        if let Some(entry) = look_up(id, below, log, budget)?
            && let Ok(opened) = Opened::read(&entry)
        {
            let before = opened.event.session.and_then(|place| place.context);
            let base = match before.filter(|_| depth < CONTEXT_DEPTH_MAX) {
                Some(before) => self.context(before, entry.index, log, budget, depth + 1)?,
                None => None,
            };
            found = Some(Arc::new(Context::of(&opened, base.as_deref())));
        }
        self.contexts.lock().put(id, found.clone());
        Ok(found)
    }

    fn prepared(
        &self,
        id: EventId,
        below: u64,
        log: &Log,
        budget: &Budget,
    ) -> Result<Option<Arc<Prepared>>, Stopped> {
        if let Some(known) = self.prepared.lock().get(id) {
            return Ok(known);
        }
        let opened = look_up(id, below, log, budget)?.and_then(|entry| Opened::read(&entry).ok());
        let found = opened.map(|opened| Arc::new(Prepared::of(&opened)));
        self.prepared.lock().put(id, found.clone());
        Ok(found)
    }
}

/// The event, as far as a bounded look finds it: one missing event must not stop a search.
fn look_up(
    id: EventId,
    below: u64,
    log: &Log,
    budget: &Budget,
) -> Result<Option<Committed>, Stopped> {
    match log.find(id, below, &mut budget.part(LOOKUP_ENTRIES_MAX)) {
        Err(Stopped::Budget) if !budget.is_over() => Ok(None),
        found => found,
    }
}
