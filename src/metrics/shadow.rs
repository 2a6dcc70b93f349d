//! What is counted of the HPAs that are watched: how the decisions beside theirs come out, and what is kept.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use prometheus_client::encoding::EncodeLabelSet;

use super::{Metrics, Outcome};

/// Counters of the shadow.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    decisions: Family<Outcome, Counter>,
    changes_by_others: Counter,
    dropped: Family<What, Counter>,
    syncs: Gauge,
    bytes: Gauge,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct What {
    what: &'static str,
}

impl Shadow {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "taffrail_shadow_decisions",
            "Syncs of HPAs, by how the decision worked out here stands to the real one",
            self.decisions.clone(),
        );
        registry.register(
            "taffrail_shadow_changes_by_others",
            "Syncs of HPAs before which somebody else had changed the replicas",
            self.changes_by_others.clone(),
        );
        registry.register(
            "taffrail_shadow_dropped",
            "What is not known of HPAs for want of room: reads, syncs before their hour, whole autoscalers",
            self.dropped.clone(),
        );
        registry.register(
            "taffrail_shadow_syncs",
            "Syncs of HPAs that are kept",
            self.syncs.clone(),
        );
        registry.register(
            "taffrail_shadow_bytes",
            "Memory of the syncs that are kept",
            self.bytes.clone(),
        );
    }
}

impl Metrics {
    /// Syncs of HPAs were seen. `outcome` is of a fixed set.
    pub fn shadow_decided(&self, outcome: &'static str, syncs: u64) {
        let outcome = Outcome { outcome };
        self.shadow.decisions.get_or_create(&outcome).inc_by(syncs);
    }

    /// Replicas were found that somebody else had changed.
    pub fn shadow_changed_by_others(&self, changes: u64) {
        self.shadow.changes_by_others.inc_by(changes);
    }

    /// Something could not be kept; `what` is of a fixed set: `reads`, `syncs`, and `autoscalers` with what comes after.
    pub fn shadow_dropped(&self, what: &'static str, n: u64) {
        self.shadow.dropped.get_or_create(&What { what }).inc_by(n);
    }

    /// How much is kept.
    pub fn shadow_held(&self, syncs: usize, bytes: usize) {
        let whole = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.shadow.syncs.set(whole(syncs));
        self.shadow.bytes.set(whole(bytes));
    }
}
