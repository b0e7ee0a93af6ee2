//! The follower: takes entries as they are on disk, keeps the newest, tells those who follow.

use crate::hot::{Hot, Slot};
use crate::joins::{Joins, Referred};
use crate::log::{Budget, Log};
use crate::metrics::StoreMetrics;
use crate::outline::Outline;
use crate::record::Record;
use loggia_model::port::{Committed, Follow, ReadLog};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Events that a tail may be behind before it skips.
pub(crate) const TAIL_EVENTS_MAX: usize = 8_192;
/// What an event takes in memory, roughly; says how many to read back at the start.
const EVENT_BYTES_GUESS: usize = 2_560;
/// Entries that are taken with one lock of what is in memory.
const TAKEN_ENTRIES: usize = 256;
/// Entries read at most to find what one new entry refers to, and time taken for all that come
/// together.
const JOIN_ENTRIES_MAX: u64 = 2_000_000;
const JOIN_TIME_MAX: Duration = Duration::from_secs(20);

/// How much of the log is kept in memory and read for one answer.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bytes that the newest events may take in memory.
    pub memory_bytes_max: usize,
    /// Entries of the log that one answer may look at.
    pub scan_entries_max: u64,
    /// How long one answer may take.
    pub scan_time_max: Duration,
}

impl Default for Config {
    /// 256 MiB, twenty million entries, ten seconds.
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 << 20,
            scan_entries_max: 20_000_000,
            scan_time_max: Duration::from_secs(10),
        }
    }
}

/// What a tail is told of each new entry.
pub(crate) struct News {
    pub(crate) record: Record,
    /// Where the entry is a result: its action, with the result.
    pub(crate) action: Option<Record>,
}

/// Events made searchable. A view of the ledger: it can be dropped and built again.
pub struct Store {
    pub(crate) log: Log,
    pub(crate) joins: Joins,
    pub(crate) hot: RwLock<Hot>,
    pub(crate) news: broadcast::Sender<Arc<News>>,
    /// Whether tails are to end.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) config: Config,
    pub(crate) metrics: StoreMetrics,
    /// Held while entries are taken, so that they are taken one batch after the other.
    taking: Mutex<()>,
}

impl Store {
    /// A store over this log. It begins to follow so far back that its memory will be full.
    pub fn new(read: Arc<dyn ReadLog>, config: Config) -> Self {
        let size = read.size();
        let back = u64::try_from(config.memory_bytes_max / EVENT_BYTES_GUESS).unwrap_or(u64::MAX);
        Self {
            log: Log::new(read),
            joins: Joins::new(),
            hot: RwLock::new(Hot::new(size.saturating_sub(back), config.memory_bytes_max)),
            news: broadcast::channel(TAIL_EVENTS_MAX).0,
            closing: watch::channel(false).0,
            metrics: StoreMetrics::default(),
            taking: Mutex::new(()),
            config,
        }
    }

    /// Cursor, size and age of what is in memory, for the metrics endpoint.
    pub fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    /// Ends every tail, now and from now on: the gateway is shutting down and would wait for them.
    pub fn end_tails(&self) {
        self.closing.send_replace(true);
    }

    /// Index of the oldest event in memory; older ones are read from the log.
    pub fn oldest_in_memory(&self) -> u64 {
        self.hot.read().floor()
    }

    pub(crate) fn budget(&self, cancelled: &Arc<AtomicBool>) -> Budget {
        let config = &self.config;
        Budget::new(config.scan_entries_max, config.scan_time_max, Arc::clone(cancelled))
    }

    /// Entries that can be found: those on disk.
    pub(crate) fn end(&self) -> u64 {
        self.log.size().max(self.hot.read().next())
    }

    /// An entry with what it refers to; of a frequent kind only as far as the others need it.
    fn slot(&self, entry: &Committed, budget: &Budget) -> Slot {
        // The event is then found without its circumstances; nothing of it is lost.
        let warn = |_| tracing::warn!(entry.index, "what an event refers to could not be read");
        if let Some(outline) = Outline::of(entry) {
            let ids = (outline.context_id, outline.prepared_id);
            let referred = self.joins.referred(ids, entry.index, &self.log, budget);
            return Slot::outlined(
                entry.clone(),
                outline,
                referred.unwrap_or_else(|stopped| {
                    warn(stopped);
                    Referred::default()
                }),
            );
        }
        let (mut record, opened) = Record::read(entry);
        let joined = self.joins.join(&mut record, opened.as_ref(), &self.log, budget);
        joined.unwrap_or_else(warn);
        Slot::whole(record)
    }

    /// Takes entries that follow each other.
    fn take(&self, entries: &[Committed]) {
        let never = Arc::new(AtomicBool::new(false));
        let budget = Budget::new(JOIN_ENTRIES_MAX, JOIN_TIME_MAX, never);
        let slots: Vec<Slot> = entries.iter().map(|entry| self.slot(entry, &budget)).collect();
        let told = self.news.receiver_count() > 0;
        let mut hot = self.hot.write();
        for (entry, slot) in entries.iter().zip(slots) {
            let next = hot.next();
            if entry.index < next {
                continue;
            }
            if entry.index > next {
                // Promised not to happen. What is between stays in the log, where it is found.
                tracing::error!(next, index = entry.index, "the ledger left entries out");
                *hot = Hot::new(entry.index, self.config.memory_bytes_max);
            }
            let action = hot.push(slot);
            if told && let Some(record) = hot.record(entry.index).cloned() {
                let action = action.and_then(|index| hot.record(index).cloned());
                // An error says that the last reader has just left.
                let _ = self.news.send(Arc::new(News { record, action }));
            }
        }
    }
}

impl Follow for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn cursor(&self) -> u64 {
        self.hot.read().next()
    }

    /// Everything in memory goes: what is searched from here on is read from the log again, where
    /// what was destroyed is not any more.
    fn forget(&self) {
        let _taking = self.taking.lock();
        let mut hot = self.hot.write();
        *hot = Hot::new(hot.next(), self.config.memory_bytes_max);
        self.joins.forget();
    }

    fn apply(&self, batch: &[Committed]) {
        let _taking = self.taking.lock();
        batch.chunks(TAKEN_ENTRIES).for_each(|entries| self.take(entries));
        let hot = self.hot.read();
        self.metrics.cursor.set(i64::try_from(hot.next()).unwrap_or(i64::MAX));
        self.metrics.oldest.set(i64::try_from(hot.floor()).unwrap_or(i64::MAX));
        self.metrics.events.set(i64::try_from(hot.len()).unwrap_or(i64::MAX));
        self.metrics.bytes.set(i64::try_from(hot.bytes()).unwrap_or(i64::MAX));
    }
}

/// Says that nobody waits for an answer any more, when it is dropped.
pub(crate) struct CancelOnDrop(pub(crate) Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
