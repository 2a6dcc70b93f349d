//! What the status of one object should say, from what discovery found of it and the newest snapshot. Pure: time is an
//! argument, and nothing is written here.
//!
//! Numbers have three significant digits, and two statuses whose numbers are close count as the same: a status is read
//! by people, who ask how it is going. What an HPA is served is never read from here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::crd::{RequestMetricsStatus, ServedValue, Targets};
use crate::cluster::discover::{Finding, PodsFound};
use crate::engine::snapshot::{Metric, ServiceView, Snapshot, State};
use crate::model::id::ServiceId;
use crate::model::quantity;
use crate::model::selector::{Operator, Requirement, Selector};
use crate::model::time::Timestamp;

use super::conditions;

/// The quantile shown of a service without an objective: the one that most objectives name.
const QUANTILE_SHOWN: f64 = 0.95;

/// Values shown of one object, as the schema allows: four of its requests and this many keys in all. Others are served
/// all the same.
pub(super) const VALUES_MAX: usize = 64;

/// Characters of a message, as the schema allows: two or three sentences.
pub(super) const MESSAGE_CHARS_MAX: usize = 512;

/// Characters of a label's value shown: a Redis key may be longer than a status should be.
const LABEL_CHARS_MAX: usize = 253;

/// A number that moved by at most this share is the same number to a person. The HPA itself ignores 10 %.
const NOISE_SHARE: f64 = 0.05;

/// What is known of one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// Which.
    pub(super) id: &'a ServiceId,
    /// What discovery found.
    pub(super) finding: &'a Finding,
    /// The newest values of all services.
    pub(super) snapshot: &'a Snapshot,
}

/// How far two statuses are apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Difference {
    /// To a person they say the same.
    None,
    /// Numbers or sentences differ.
    Values,
    /// Something happened: a condition, the state, the targets or the spec.
    Change,
}

// === impl Facts ===

impl<'a> Facts<'a> {
    /// The service's values; `None` until it was evaluated, or when no generation of its spec is right.
    pub(super) fn view(&self) -> Option<&'a ServiceView> {
        self.snapshot.service(&self.id.namespace, &self.id.name)
    }

    /// The service's state; unknown where there is no view.
    fn state(&self) -> &'static str {
        self.view()
            .map_or(UNKNOWN, |service| service.state.as_str())
    }
}

/// The name of [`State::Unknown`], for what is absent before there is a state.
const UNKNOWN: &str = "unknown";

/// The status that the object should have now.
pub(super) fn desired(
    facts: Facts<'_>,
    previous: Option<&RequestMetricsStatus>,
    now: Timestamp,
) -> RequestMetricsStatus {
    let values = values(facts, previous);
    let shown = |metric: Metric| {
        let mut of_metric = values.iter().filter(|value| value.metric == metric.name());
        of_metric.find_map(number)
    };
    let before = previous.map_or(&[][..], |status| &status.conditions);
    RequestMetricsStatus {
        observed_generation: Some(facts.finding.generation),
        state: Some(facts.state().to_owned()),
        latency: shown(Metric::RequestLatencyMs).map(|ms| format!("{ms}ms")),
        request_rate: shown(Metric::RequestRate).map(|rate| rate.to_string()),
        targets: Some(targets(facts)),
        conditions: conditions::conditions(facts, &values, before, now),
        values,
    }
}

/// How far `new` is from `old`.
pub(super) fn difference(
    old: Option<&RequestMetricsStatus>,
    new: &RequestMetricsStatus,
) -> Difference {
    let Some(old) = old else {
        return Difference::Change;
    };
    let is_change = old.observed_generation != new.observed_generation
        || old.state != new.state
        || old.targets != new.targets
        || !conditions::are_alike(&old.conditions, &new.conditions);
    if is_change {
        return Difference::Change;
    }
    let messages = |status: &RequestMetricsStatus| -> Vec<String> {
        let conditions = status.conditions.iter();
        conditions
            .map(|condition| condition.message.clone())
            .collect()
    };
    let is_same_value = |(old, new): (&ServedValue, &ServedValue)| {
        old.metric == new.metric
            && old.labels == new.labels
            && old.state == new.state
            && old.message == new.message
            && is_close(number(old), number(new))
    };
    let is_same = messages(old) == messages(new)
        && old.values.len() == new.values.len()
        && old.values.iter().zip(&new.values).all(is_same_value);
    if is_same {
        Difference::None
    } else {
        Difference::Values
    }
}

/// Whether two numbers are the same to a person.
fn is_close(old: Option<f64>, new: Option<f64>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => (old - new).abs() <= NOISE_SHARE * old.max(new),
        (old, new) => old == new,
    }
}

fn number(value: &ServedValue) -> Option<f64> {
    quantity::parse_f64(value.value.as_deref()?).ok()
}

/// The targets that are waited for, and beside them those that do not count yet or count for the last time.
fn targets(facts: Facts<'_>) -> Targets {
    let pods = facts.finding.pods.as_ref();
    let count = |of: fn(&PodsFound) -> usize| {
        pods.map_or(0, |pods| u32::try_from(of(pods)).unwrap_or(u32::MAX))
    };
    let (up, total) = facts.view().map_or_else(
        || (0, count(|pods| pods.ready)),
        |service| {
            let coverage = &service.coverage;
            let waited_for = coverage.known + coverage.starting + coverage.unknown;
            (coverage.known, waited_for)
        },
    );
    Targets::new(
        up,
        total,
        count(|pods| pods.starting),
        count(|pods| pods.leaving),
    )
}

/// Everything an HPA can read of the service, in a fixed order.
fn values(facts: Facts<'_>, previous: Option<&RequestMetricsStatus>) -> Vec<ServedValue> {
    let view = facts.view();
    let mut values = Vec::new();
    if reads_requests(facts, previous) {
        values.push(latency(facts));
        values.push(value(facts, Metric::RequestRate, None));
        values.push(value(facts, Metric::RequestConcurrency, None));
        if view.is_some_and(|service| service.objective.is_some()) {
            values.push(value(facts, Metric::SlowRequestRatio, None));
        }
    }
    let mut backlogs: Vec<ServedValue> = view
        .map_or(&[][..], |service| &service.backlogs)
        .iter()
        .map(|backlog| {
            let key = ("key", Arc::clone(&backlog.key));
            match &backlog.items {
                Ok(items) => served(Metric::RedisBacklog, [key], *items, "ok"),
                Err(failure) => absent(Metric::RedisBacklog, [key], &failure.message),
            }
        })
        .collect();
    backlogs.sort_by(|a, b| a.labels.cmp(&b.labels));
    values.extend(backlogs);
    values.truncate(VALUES_MAX);
    values
}

/// Whether the source reads requests. A Redis source may read backlogs alone, which shows once it was read; until then
/// the status says what it said.
fn reads_requests(facts: Facts<'_>, previous: Option<&RequestMetricsStatus>) -> bool {
    let is_of_requests = |value: &ServedValue| value.metric != Metric::RedisBacklog.name();
    match facts.view() {
        _ if facts.finding.pods.is_some() => true,
        Some(service) if service.base().is_some() => true,
        Some(service) if !matches!(service.state, State::Unknown(_)) => false,
        _ => previous.is_some_and(|status| status.values.iter().any(is_of_requests)),
    }
}

/// The latency at the objective's quantile.
fn latency(facts: Facts<'_>) -> ServedValue {
    let objective = facts.view().and_then(|service| service.objective);
    let quantile = objective.map_or(QUANTILE_SHOWN, |objective| objective.quantile);
    value(facts, Metric::RequestLatencyMs, Some(&quantile.to_string()))
}

/// One value, read as an HPA reads it.
fn value(facts: Facts<'_>, metric: Metric, quantile: Option<&str>) -> ServedValue {
    let label = quantile.map(|quantile| ("quantile", Arc::from(quantile)));
    let is = |key: &str, value: &str| Requirement {
        key: key.to_owned(),
        operator: Operator::In(vec![value.to_owned()]),
    };
    let of_service = is("service", &facts.id.name);
    let of_quantile = quantile.map(|quantile| is("quantile", quantile));
    let selector = Selector::new([of_service].into_iter().chain(of_quantile).collect());
    let Some(service) = facts.view() else {
        return absent(metric, label, "it was not read yet");
    };
    let items = match facts
        .snapshot
        .read(&facts.id.namespace, metric.name(), &selector)
    {
        Ok(items) => items,
        Err(refusal) => return absent(metric, label, refusal.message()),
    };
    let Some(item) = items.first() else {
        return absent(metric, label, "it has no value");
    };
    let is_widened = service.base().is_some_and(|base| base.window < item.window);
    let state = if is_widened {
        "widened"
    } else {
        service.state.as_str()
    };
    let mut value = served(metric, label, item.value, state);
    if is_widened {
        value.message = Some(format!(
            "few requests, so those of the last {} count",
            humantime::format_duration(item.window)
        ));
    }
    value
}

type Label = (&'static str, Arc<str>);

fn served(
    metric: Metric,
    labels: impl IntoIterator<Item = Label>,
    value: f64,
    state: &str,
) -> ServedValue {
    let Some(quantity) = quantity::from_value(rounded(value)) else {
        return absent(metric, labels, "its value is too large to be served");
    };
    ServedValue {
        metric: metric.name().to_owned(),
        labels: shown(labels),
        value: Some(quantity),
        state: state.to_owned(),
        message: None,
    }
}

fn absent(metric: Metric, labels: impl IntoIterator<Item = Label>, why: &str) -> ServedValue {
    ServedValue {
        metric: metric.name().to_owned(),
        labels: shown(labels),
        value: None,
        state: UNKNOWN.to_owned(),
        message: Some(cut(why, MESSAGE_CHARS_MAX)),
    }
}

fn shown(labels: impl IntoIterator<Item = Label>) -> BTreeMap<String, String> {
    let labels = labels.into_iter();
    labels
        .map(|(key, value)| (key.to_owned(), cut(&value, LABEL_CHARS_MAX)))
        .collect()
}

/// The first `max` characters.
pub(super) fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

/// `value` with three significant digits.
fn rounded(value: f64) -> f64 {
    if value.is_finite() && 0.0 < value {
        let unit = 10f64.powf(2.0 - value.log10().floor());
        (value * unit).round() / unit
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, at, mk_finding, mk_view};
    use super::*;
    use crate::engine::snapshot::BacklogView;
    use crate::model::health::{Failure, FailureReason};
    use proptest::prelude::*;
    use std::time::Duration;

    fn of(view: ServiceView) -> RequestMetricsStatus {
        fixture::status(&mk_finding(), Some(view), None, at(0))
    }

    #[test]
    fn a_service_under_load_shows_its_latency_rate_and_targets() {
        let status = of(mk_view());
        assert_eq!(status.latency.as_deref(), Some("243ms"));
        assert_eq!(status.request_rate.as_deref(), Some("41.2"));
        assert_eq!(status.state.as_deref(), Some("ok"));
        assert_eq!(status.targets, Some(Targets::new(3, 3, 0, 0)));
        assert_eq!(status.observed_generation, Some(2));
        let shown: Vec<_> = status
            .values
            .iter()
            .map(|value| (value.metric.as_str(), value.value.as_deref(), &*value.state))
            .collect();
        assert_eq!(
            shown,
            [
                ("request_latency_ms", Some("243"), "ok"),
                ("request_rate", Some("41200m"), "ok"),
                ("request_concurrency", Some("4120m"), "ok"),
                ("slow_request_ratio", Some("0"), "ok"),
            ]
        );
        assert_eq!(status.values[0].labels["quantile"], "0.95");
    }

    #[test]
    fn what_is_absent_says_why_and_shows_no_number() {
        let mut view = mk_view();
        view.state = State::Unknown("none of its 3 targets can be read (3 timeout)".to_owned());
        view.windows.clear();
        let status = of(view);
        assert_eq!((status.latency, status.request_rate), (None, None));
        for value in &status.values {
            assert_eq!((value.value.as_deref(), &*value.state), (None, "unknown"));
            let message = value.message.as_deref().unwrap_or_default();
            assert!(message.contains("3 timeout"), "{message}");
        }
    }

    #[test]
    fn a_quantile_of_a_wider_window_says_how_wide() {
        let mut view = mk_view();
        let mut wide = view.windows[0].clone();
        view.windows[0].judged = 2.0;
        (view.windows[0].requests, view.windows[0].counts) = (2.0, vec![0.0, 2.0, 2.0]);
        wide.window = Duration::from_secs(60);
        view.windows.push(wide);
        let status = of(view);
        assert_eq!(status.values[0].state, "widened");
        let message = status.values[0].message.as_deref();
        assert_eq!(message, Some("few requests, so those of the last 1m count"));
        assert_eq!(status.values[1].state, "ok");
    }

    #[test]
    fn a_quiet_service_shows_zero() {
        let mut view = mk_view();
        view.state = State::NoTraffic;
        view.windows[0].judged = 0.0;
        (view.windows[0].requests, view.windows[0].counts) = (0.0, vec![0.0; 3]);
        let status = of(view);
        assert_eq!(status.latency.as_deref(), Some("0ms"));
        assert_eq!(status.request_rate.as_deref(), Some("0"));
        assert_eq!(status.values[0].state, "no_traffic");
    }

    #[test]
    fn a_service_without_objective_shows_the_usual_quantile_and_no_slow_share() {
        let mut view = mk_view();
        view.objective = None;
        let status = of(view);
        assert_eq!(status.values.len(), 3);
        assert_eq!(status.values[0].labels["quantile"], "0.95");
        assert_eq!(status.latency.as_deref(), Some("243ms"));
    }

    #[test]
    fn backlogs_stand_in_the_order_of_their_keys_and_are_bounded() {
        let mut view = mk_view();
        let backlog = |n: usize| BacklogView {
            key: format!("queue-{:03}", 99 - n).into(),
            items: if n == 0 {
                Err(Failure::new(FailureReason::NotFound, "it is not a list"))
            } else {
                Ok(12_345.0)
            },
        };
        view.windows.clear();
        view.backlogs = (0..100).map(backlog).collect();
        let mut finding = mk_finding();
        finding.pods = None;
        let status = fixture::status(&finding, Some(view.clone()), None, at(0));
        assert_eq!(status.values.len(), VALUES_MAX);
        assert_eq!(status.values[0].labels["key"], "queue-000");
        assert_eq!(status.values[0].value.as_deref(), Some("12300"));
        assert_eq!(status.latency, None);
        view.backlogs.truncate(2);
        let status = fixture::status(&finding, Some(view), None, at(0));
        assert_eq!(
            status.values[1].message.as_deref(),
            Some("it is not a list")
        );
    }

    #[test]
    fn an_object_that_no_snapshot_has_yet_is_unknown() {
        let status = fixture::status(&mk_finding(), None, None, at(0));
        assert_eq!(status.state.as_deref(), Some("unknown"));
        assert_eq!(status.targets, Some(Targets::new(0, 3, 0, 0)));
        assert_eq!(status.values[0].value, None);
    }

    #[test]
    fn a_rollout_counts_new_and_leaving_pods_apart() {
        let mut finding = mk_finding();
        let pods = finding.pods.as_mut().expect("a source of pods");
        (pods.starting, pods.leaving) = (2, 1);
        let status = fixture::status(&finding, Some(mk_view()), None, at(0));
        assert_eq!(status.targets, Some(Targets::new(3, 3, 2, 1)));
    }

    #[test]
    fn noise_is_no_difference_and_drift_adds_up() {
        let old = of(mk_view());
        let with_rate = |requests: f64| {
            let mut view = mk_view();
            view.windows[0].requests = requests;
            of(view)
        };
        let near = with_rate(41.2 * 30.0 * 1.03);
        assert_eq!(difference(Some(&old), &near), Difference::None);
        let far = with_rate(41.2 * 30.0 * 1.06);
        assert_eq!(difference(Some(&old), &far), Difference::Values);
        assert_eq!(difference(None, &old), Difference::Change);
    }

    #[test]
    fn a_change_of_state_targets_or_generation_is_more_than_numbers() {
        let old = of(mk_view());
        let cases: [fn(&mut RequestMetricsStatus); 5] = [
            |status| status.state = Some("partial".to_owned()),
            |status| status.targets = Some(Targets::new(2, 3, 0, 0)),
            |status| status.observed_generation = Some(3),
            |status| status.conditions[0].reason = "Other".to_owned(),
            |status| status.conditions[0].status = "False".to_owned(),
        ];
        for (n, change) in cases.into_iter().enumerate() {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(difference(Some(&old), &new), Difference::Change, "{n}");
        }
        let mut new = old.clone();
        new.conditions[0].message = "another sentence".to_owned();
        assert_eq!(difference(Some(&old), &new), Difference::Values);
    }

    proptest! {
        #[test]
        fn three_digits_are_within_half_a_percent(value in 1e-3f64..1e12) {
            let shown = rounded(value);
            prop_assert!((shown - value).abs() <= 0.005 * value, "{value} is shown as {shown}");
            prop_assert!((rounded(shown) - shown).abs() <= 1e-9 * shown);
        }

        #[test]
        fn a_status_is_no_difference_to_itself_read_back(requests in 0.0f64..1e9) {
            let mut view = mk_view();
            view.windows[0].requests = requests;
            let status = of(view);
            let text = serde_json::to_string(&status).expect("a status is JSON");
            let read: RequestMetricsStatus = serde_json::from_str(&text).expect("it is read back");
            prop_assert_eq!(difference(Some(&read), &status), Difference::None);
        }
    }
}
