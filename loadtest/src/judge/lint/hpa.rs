//! What is wrong with an HPA itself for a scenario, whatever its checks are.

use super::{LintFinding, LintId, Place, Severity};
use crate::judge::demand;
use crate::recording::Autoscaler;
use crate::scenario::Scenario;

/// Bounds that Kubernetes refuses.
pub(super) fn reversed(name: &str, hpa: &Autoscaler) -> Option<LintFinding> {
    let (min, max) = (hpa.min_replicas, hpa.max_replicas);
    (max < min).then(|| LintFinding {
        id: LintId::Bounds,
        severity: Severity::Impossible,
        place: Place::Hpa(name.to_owned()),
        assertion: None,
        sentence: format!("the HPA of {name} has minReplicas {min} above maxReplicas {max}, which Kubernetes refuses"),
        fix: "give minReplicas the smaller number".to_owned(),
    })
}

/// Whether what must be so before the first request can be so.
pub(super) fn declared(scenario: &Scenario, name: &str, hpa: &Autoscaler) -> Option<LintFinding> {
    let (min, max) = (hpa.min_replicas, hpa.max_replicas);
    let declared = *scenario.preconditions.replicas.get(name)?;
    (min <= max && !(min..=max).contains(&declared)).then(|| LintFinding {
        id: LintId::OutOfBounds,
        severity: Severity::Impossible,
        place: Place::Hpa(name.to_owned()),
        assertion: None,
        sentence: format!("{declared} replicas of {name} are wanted before the first request, and its HPA has {min} to {max}"),
        fix: format!("want {min} to {max} in preconditions.replicas"),
    })
}

/// A load that needs more than there may be.
pub(super) fn above_max(scenario: &Scenario, name: &str, hpa: &Autoscaler) -> Option<LintFinding> {
    let needed = demand::peak(scenario, name, f64::INFINITY)?;
    (hpa.max_replicas < needed).then(|| LintFinding {
        id: LintId::DemandAboveMax,
        severity: Severity::Doubtful,
        place: Place::Hpa(name.to_owned()),
        assertion: None,
        sentence: format!(
            "the load on {name} needs {needed} replicas at its peak, and its HPA has {} at most",
            hpa.max_replicas
        ),
        fix: format!("set maxReplicas to {needed} or more, or lower the load"),
    })
}
