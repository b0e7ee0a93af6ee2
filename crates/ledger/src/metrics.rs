//! What the ledger counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of the ledger.
#[derive(Clone)]
pub struct LedgerMetrics {
    /// Events appended.
    pub events: Counter,
    /// fsync and fdatasync calls for the write-ahead log.
    pub syncs: Counter,
    /// From write to disk, in seconds.
    pub sync_lag_seconds: Histogram,
    /// Entries below the last durable checkpoint.
    pub checkpoint_size: Gauge,
    /// Appends that were refused because the ledger is paused.
    pub paused: Counter,
    /// Followers that broke and are fed no more.
    pub followers_dead: Gauge,
    lag_us_max: Arc<AtomicU64>,
}

impl Default for LedgerMetrics {
    fn default() -> Self {
        Self {
            events: Counter::default(),
            syncs: Counter::default(),
            sync_lag_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 12)),
            checkpoint_size: Gauge::default(),
            paused: Counter::default(),
            followers_dead: Gauge::default(),
            lag_us_max: Arc::default(),
        }
    }
}

impl LedgerMetrics {
    /// Registers everything under `loggia_ledger_`.
    pub fn register(&self, registry: &mut Registry) {
        let group = registry.sub_registry_with_prefix("loggia_ledger");
        group.register("events", "Events appended", self.events.clone());
        group.register("syncs", "fsync calls for the write-ahead log", self.syncs.clone());
        let lag = self.sync_lag_seconds.clone();
        group.register("sync_lag_seconds", "From write to disk", lag);
        let size = self.checkpoint_size.clone();
        group.register("checkpoint_size", "Entries below the last checkpoint", size);
        let dead = self.followers_dead.clone();
        group.register("followers_dead", "Followers that broke", dead);
        group.register("paused", "Appends refused by a paused ledger", self.paused.clone());
    }

    pub(crate) fn note_lag(&self, lag: Duration) {
        self.sync_lag_seconds.observe(lag.as_secs_f64());
        let lag_us = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        self.lag_us_max.fetch_max(lag_us, Ordering::Relaxed);
    }

    /// The largest lag since the last call, in microseconds.
    pub fn take_lag_us_max(&self) -> u64 {
        self.lag_us_max.swap(0, Ordering::Relaxed)
    }
}
