//! One service under load, for tests.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::crd::RequestMetricsStatus;
use crate::cluster::discover::{Finding, PodsFound};
use crate::engine::Objective;
use crate::engine::snapshot::{Coverage, Merged, ServiceView, Snapshot, State};
use crate::model::id::ServiceId;
use crate::model::time::Timestamp;

use super::desired::{Facts, desired};

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(seconds * 1000)
}

pub(super) fn users() -> ServiceId {
    ServiceId::new("shop", "users")
}

/// Three ready pods of a right spec.
pub(super) fn mk_finding() -> Finding {
    Finding {
        uid: "uid-of-users".into(),
        generation: 2,
        in_force: Some(2),
        problem: None,
        pods: Some(PodsFound {
            is_synced: true,
            matched: 3,
            ready: 3,
            ..PodsFound::default()
        }),
        secrets: Vec::new(),
    }
}

/// Three targets with 41.2 requests a second, whose 0.95-quantile is 243 ms: between 100 and 300 ms that lies where
/// 71.5 % of the bucket's requests are passed, and the share below the bucket follows.
pub(super) fn mk_view() -> ServiceView {
    let requests = 41.2 * 30.0;
    let below = (0.95 - 0.715) / (1.0 - 0.715);
    ServiceView {
        id: users(),
        objective: Some(Objective {
            quantile: 0.95,
            latency: Duration::from_millis(300),
        }),
        at: at(0),
        state: State::Ok,
        coverage: Coverage {
            known: 3,
            ..Coverage::default()
        },
        windows: vec![Merged {
            window: Duration::from_secs(30),
            requests,
            judged: requests,
            busy_s: Some(4.12 * 30.0),
            cpu_s: None,
            bounds: vec![0.1, 0.3, f64::INFINITY].into(),
            counts: vec![requests * below, requests, requests],
            layouts: 1,
        }],
        in_flight: None,
        backlogs: Vec::new(),
        pods: Vec::new(),
    }
}

/// The status of [`users`].
pub(super) fn status(
    finding: &Finding,
    view: Option<ServiceView>,
    previous: Option<&RequestMetricsStatus>,
    now: Timestamp,
) -> RequestMetricsStatus {
    let snapshot = Arc::new(Snapshot::new(now, view.into_iter().collect()));
    let facts = Facts {
        id: &users(),
        finding,
        snapshot: &snapshot,
    };
    desired(facts, previous, now)
}
