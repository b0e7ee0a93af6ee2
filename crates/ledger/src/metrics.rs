//! What the ledger counts.

use loggia_model::port::AppendError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Which witness.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WitnessLabel {
    witness: String,
}

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
    /// Since when no checkpoint could be published, in seconds; 0 where all is well.
    pub checkpoint_lag_s: Gauge,
    /// Times that the log's key did not sign.
    pub signer_failures: Counter,
    /// Appends that were refused because the ledger is paused.
    pub paused: Counter,
    /// Followers that broke and are fed no more.
    pub followers_dead: Gauge,
    /// Entries below the last checkpoint that enough witnesses have cosigned.
    pub cosigned_size: Gauge,
    /// Checkpoints that a witness refused, or answered falsely.
    pub witness_refusals: Counter,
    /// Requests that a witness did not answer.
    pub witness_silences: Counter,
    witness_lag_s: Family<WitnessLabel, Gauge>,
    lag_us_max: Arc<AtomicU64>,
}

impl Default for LedgerMetrics {
    fn default() -> Self {
        Self {
            events: Counter::default(),
            syncs: Counter::default(),
            sync_lag_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 12)),
            checkpoint_size: Gauge::default(),
            checkpoint_lag_s: Gauge::default(),
            signer_failures: Counter::default(),
            paused: Counter::default(),
            followers_dead: Gauge::default(),
            cosigned_size: Gauge::default(),
            witness_refusals: Counter::default(),
            witness_silences: Counter::default(),
            witness_lag_s: Family::default(),
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
        let lag = self.checkpoint_lag_s.clone();
        group.register("checkpoint_lag_seconds", "Since when no checkpoint was published", lag);
        let failures = self.signer_failures.clone();
        group.register("signer_failures", "Times that the log's key did not sign", failures);
        let dead = self.followers_dead.clone();
        group.register("followers_dead", "Followers that broke", dead);
        let (size, refused) = (self.cosigned_size.clone(), self.witness_refusals.clone());
        group.register("cosigned_size", "Entries below the last cosigned checkpoint", size);
        group.register("witness_refusals", "Checkpoints that a witness refused", refused);
        let silences = self.witness_silences.clone();
        group.register("witness_silences", "Requests that a witness did not answer", silences);
        let lag = self.witness_lag_s.clone();
        group.register("witness_lag_seconds", "Age of what a witness has not cosigned", lag);
        group.register("paused", "Appends refused by a paused ledger", self.paused.clone());
    }

    pub(crate) fn set_witness_lag(&self, witness: &str, lag_s: u64) {
        let label = WitnessLabel { witness: witness.to_owned() };
        let lag_s = i64::try_from(lag_s).unwrap_or(i64::MAX);
        self.witness_lag_s.get_or_create(&label).set(lag_s);
    }

    pub(crate) fn note_refusal(&self, error: &AppendError) {
        if matches!(error, AppendError::Paused(_)) {
            self.paused.inc();
        }
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
