//! The time from a metric that is over its target to an answer of a new pod, in its parts, for each time the HPA scaled
//! out. It is what a table shows; the limits on it are checks.

use std::ops::Range;

use crate::recording::{Metric, Service};
use crate::steps::Change;

/// One scale-out. Moments are in seconds; `None` is one that was not seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Reaction {
    /// What was decided, and when.
    pub decision: Change,
    /// When the metric began to be over the target, of the stretch in which the decision fell.
    pub breach_s: Option<f64>,
    /// When as many replicas were ready as were decided upon.
    pub ready_s: Option<f64>,
    /// When the first of the new pods gave its first good answer.
    pub traffic_s: Option<f64>,
}

impl Reaction {
    /// From breach to decision: the controller's own period.
    #[must_use]
    pub fn deciding_s(&self) -> Option<f64> {
        Some(self.decision.t_s - self.breach_s?)
    }

    /// From decision to ready: scheduling, pulling, starting.
    #[must_use]
    pub fn starting_s(&self) -> Option<f64> {
        Some(self.ready_s? - self.decision.t_s)
    }

    /// From the decision to the first answer of a new pod.
    #[must_use]
    pub fn serving_s(&self) -> Option<f64> {
        Some(self.traffic_s? - self.decision.t_s)
    }

    /// From breach to the first answer of a new pod.
    #[must_use]
    pub fn whole_s(&self) -> Option<f64> {
        Some(self.traffic_s? - self.breach_s?)
    }
}

/// The scale-outs of a service within `range`, in order.
#[must_use]
pub fn reactions(service: &Service, range: Range<f64>) -> Vec<Reaction> {
    let mut answers = first_answers(service).into_iter().peekable();
    let ups = service
        .replicas
        .desired
        .changes(range)
        .filter(Change::is_up);
    ups.map(|decision| {
        // Pods answered before this decision are not of its making.
        while answers.next_if(|t_s| *t_s < decision.t_s).is_some() {}
        let traffic_s = answers.peek().copied();
        // The pods of this decision are not those of the next.
        for _ in 0..decision.delta() {
            answers.next();
        }
        Reaction {
            decision,
            breach_s: breach(service, decision.t_s),
            ready_s: ready(service, &decision),
            traffic_s,
        }
    })
    .collect()
}

/// When each endpoint gave its first good answer, in order of time.
fn first_answers(service: &Service) -> Vec<f64> {
    let endpoints = service.load.endpoints.values();
    let mut answers: Vec<f64> = endpoints.filter_map(|counts| counts.first_ok_s).collect();
    answers.sort_by(f64::total_cmp);
    answers
}

fn ready(service: &Service, decision: &Change) -> Option<f64> {
    let ready = &service.replicas.ready;
    let enough = |known: Option<u32>| known.is_some_and(|known| decision.to <= known);
    if enough(ready.at(decision.t_s)) {
        return Some(decision.t_s);
    }
    let mut after = ready.steps().iter().filter(|step| decision.t_s <= step.t_s);
    after.find(|step| enough(step.value)).map(|step| step.t_s)
}

/// The beginning of the stretch of reads over the target that lasted when the decision fell; the earliest of all metrics.
fn breach(service: &Service, decision_s: f64) -> Option<f64> {
    let tolerance = service
        .autoscaler
        .as_ref()
        .map_or(0.0, |hpa| hpa.tolerance_up);
    let breaches = service.metrics.iter();
    let breaches = breaches.filter_map(|metric| breach_of(metric, tolerance, decision_s));
    breaches.min_by(f64::total_cmp)
}

fn breach_of(metric: &Metric, tolerance: f64, decision_s: f64) -> Option<f64> {
    let limit = metric.target * (1.0 + tolerance);
    let known = metric
        .reads
        .iter()
        .filter_map(|read| Some((read.t_s, read.value?)));
    let mut began = None;
    for (t_s, value) in known.take_while(|(t_s, _)| *t_s <= decision_s) {
        began = if limit < value {
            began.or(Some(t_s))
        } else {
            None
        };
    }
    began
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_scale_out_is_split_into_its_parts() {
        let recording = fixture::recording();
        let reactions = reactions(&recording.services["users"], 0.0..900.0);
        let parts: Vec<_> = reactions
            .iter()
            .map(|r| {
                (
                    r.decision.from,
                    r.decision.to,
                    r.deciding_s(),
                    r.starting_s(),
                    r.serving_s(),
                )
            })
            .collect();
        assert_eq!(
            parts,
            [
                (2, 4, Some(13.0), Some(8.0), Some(9.0)),
                (4, 6, Some(28.0), Some(8.0), Some(9.0))
            ]
        );
        assert_eq!(reactions[0].whole_s(), Some(22.0));
    }

    #[test]
    fn what_was_not_seen_is_not_told() {
        let mut recording = fixture::recording();
        let service = recording.services.get_mut("users").unwrap();
        service.metrics.clear();
        service.load.endpoints.clear();
        let reactions = reactions(service, 0.0..900.0);
        assert_eq!(
            (reactions[0].breach_s, reactions[0].traffic_s),
            (None, None)
        );
        assert_eq!(reactions[0].starting_s(), Some(8.0));
    }
}
