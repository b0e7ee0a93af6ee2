//! What the store says of itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The store's metrics. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct StoreMetrics {
    /// Index of the entry that the store takes next.
    pub cursor: Gauge,
    /// Index of the oldest event in memory.
    pub oldest: Gauge,
    /// Events in memory.
    pub events: Gauge,
    /// Bytes that they take.
    pub bytes: Gauge,
    /// Searches and timelines answered.
    pub answers: Counter,
    /// Events looked at for them.
    pub scanned: Counter,
    /// Events that slow tails did not get.
    pub skipped: Counter,
}

impl StoreMetrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let store = registry.sub_registry_with_prefix("loggia_store");
        let gauges = [
            ("cursor", "Index of the entry that is taken next", &self.cursor),
            ("oldest_index", "Index of the oldest event in memory", &self.oldest),
            ("events", "Events in memory", &self.events),
            ("memory_bytes", "Bytes that the events in memory take", &self.bytes),
        ];
        for (name, help, gauge) in gauges {
            store.register(name, help, gauge.clone());
        }
        let counters = [
            ("answers", "Searches and timelines answered", &self.answers),
            ("scanned_events", "Events looked at for them", &self.scanned),
            ("tail_skipped_events", "Events that slow tails did not get", &self.skipped),
        ];
        for (name, help, counter) in counters {
            store.register(name, help, counter.clone());
        }
    }
}
