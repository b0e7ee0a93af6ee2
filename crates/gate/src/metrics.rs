//! What the spine counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A stable code, such as that of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    /// The code.
    pub code: String,
}

/// Counters of the spine.
#[derive(Debug, Default, Clone)]
pub struct GateMetrics {
    /// Sessions open now.
    pub sessions_open: Gauge,
    /// Sessions begun.
    pub sessions: Counter,
    /// Actions recorded and handed to the writer.
    pub actions: Counter,
    /// Connections that ended before a session, by code.
    pub refused: Family<CodeLabel, Counter>,
    /// Sessions ended, by code.
    pub ended: Family<CodeLabel, Counter>,
    /// Times that a session waited for a ledger that took no events, or a recording without room.
    pub pauses: Counter,
}

impl GateMetrics {
    /// Registers everything under `loggia_gate_`.
    pub fn register(&self, registry: &mut Registry) {
        let group = registry.sub_registry_with_prefix("loggia_gate");
        group.register("sessions_open", "Sessions open now", self.sessions_open.clone());
        group.register("sessions", "Sessions begun", self.sessions.clone());
        group.register("actions", "Actions recorded before forwarding", self.actions.clone());
        group.register("refused", "Connections refused, by code", self.refused.clone());
        group.register("ended", "Sessions ended, by code", self.ended.clone());
        group.register(
            "pauses",
            "Waits for a paused ledger or a recording without room",
            self.pauses.clone(),
        );
    }

    pub(crate) fn refused_with(&self, code: &str) {
        self.refused.get_or_create(&CodeLabel { code: code.to_owned() }).inc();
    }

    pub(crate) fn ended_with(&self, code: &str) {
        self.ended.get_or_create(&CodeLabel { code: code.to_owned() }).inc();
    }
}
