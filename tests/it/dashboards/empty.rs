//! Which queries of the boards give nothing, and when: everything else must give data.

use super::findings::Phase::{self, AdapterLost, TargetsLost, Well};
use super::{names, promql};
use crate::rules::runbooks;

/// A query that gives nothing in these phases, and why that is right.
pub(super) struct Empty {
    pub(super) place: &'static str,
    phases: &'static [Phase],
    pub(super) why: &'static str,
}

/// What goes missing with the pods, and stays so.
const LOST: &[Phase] = &[TargetsLost, AdapterLost];

pub(super) const NO_FAILURE: &str = "nothing has failed, and what never failed is not counted";
const NO_VALUE: &str = "nothing is known of the requests, and what is not known is absent";
const NO_APP: &str = "the app itself is not there to be scraped";
const NOT_READ: &str = "the HPA could not read the metric, and its status then has no value for it";

/// Every query that gives nothing in some phase. When the adapter is lost, so is everything that it says of itself: that is a
/// rule ([`is_expected`]) and not listed.
pub(super) const EMPTY: &[Empty] = &[
    Empty {
        place: "adapter: Failed reads by reason A",
        phases: &[Well],
        why: NO_FAILURE,
    },
    Empty {
        place: "adapter: API unavailable, by reason A",
        phases: &[Well, TargetsLost],
        why: NO_FAILURE,
    },
    Empty {
        place: "fleet: Metrics that an HPA could not read A",
        phases: &[Well],
        why: NO_FAILURE,
    },
    Empty {
        place: "hpa: Scrape failures A",
        phases: &[Well],
        why: NO_FAILURE,
    },
    Empty {
        place: "slo: Failed reads by replica A",
        phases: &[Well],
        why: NO_FAILURE,
    },
    Empty {
        place: "hpa: The adapter's value beside the HPA's last read A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: The adapter's value beside the HPA's last read B",
        phases: LOST,
        why: NOT_READ,
    },
    Empty {
        place: "adapter: Age of the data in answers A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "adapter: Age of the data in answers B",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: Age of each value A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: From load to a decision A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: Request rate A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: Request rate B",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: Latency A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: Latency C",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: Slow requests A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: Requests in flight A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: CPU of each request A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: Items waiting A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "hpa: Requests by code A",
        phases: LOST,
        why: NO_APP,
    },
    Empty {
        place: "hpa: Latency quantiles A",
        phases: LOST,
        why: NO_APP,
    },
    Empty {
        place: "hpa: Latency quantiles B",
        phases: LOST,
        why: NO_APP,
    },
    Empty {
        place: "hpa: Latency quantiles C",
        phases: LOST,
        why: NO_APP,
    },
    Empty {
        place: "hpa: Latency quantiles D",
        phases: LOST,
        why: NO_APP,
    },
    Empty {
        place: "hpa: Share of errors A",
        phases: LOST,
        why: NO_APP,
    },
    Empty {
        place: "hpa: Traffic of each pod A",
        phases: LOST,
        why: NO_APP,
    },
    Empty {
        place: "slo: Burn rate of the services A",
        phases: LOST,
        why: NO_VALUE,
    },
    Empty {
        place: "slo: Services A",
        phases: LOST,
        why: NO_VALUE,
    },
];

/// Queries on the adapter's own series that still give data when it is lost, since they look back further.
const REMEMBERED: [&str; 0] = [];

/// Whether a query should give nothing in a phase. Of rules that is known for those that record, when all is well: whether
/// an alert holds is for the tests of the rules. A runbook's is asked when its alert has called.
pub(super) fn is_expected(phase: Phase, place: &str, expr: &str) -> Option<bool> {
    if let Some(alert) = runbooks::alert(place) {
        return (runbooks::phase(alert) == phase).then_some(false);
    }
    if !place.contains(": ") {
        let is_record = place.contains(':');
        return (phase == Well && is_record).then_some(false);
    }
    let mut selectors = promql::selectors(expr).into_iter();
    let is_of_adapter = selectors.any(|selector| names::is_own(&selector.metric));
    let is_gone = phase == AdapterLost && is_of_adapter && !REMEMBERED.contains(&place);
    let mut listed = EMPTY.iter().filter(|empty| empty.place == place);
    Some(is_gone || listed.any(|empty| empty.phases.contains(&phase)))
}

/// Why a listed query gives nothing.
pub(super) fn why(place: &str) -> &'static str {
    let listed = EMPTY.iter().find(|empty| empty.place == place);
    listed.map_or(
        "the adapter is gone, and with it what it says of itself",
        |empty| empty.why,
    )
}
