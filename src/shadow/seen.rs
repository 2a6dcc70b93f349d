//! What reaches the shadow: an HPA's object, what was read for it, and the pods there were. Plain data; the status of
//! an object is read from its JSON here, since the recordings of real HPAs have it in the same words.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::hpa::{Current, MetricSpec, Pod, Spec};
use crate::model::quantity::parse_milli;
use crate::model::time::Timestamp;
use crate::story::facts::{ConditionFacts, ScaleTarget};

/// An HPA.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// An HPA as its object says it.
#[derive(Clone, Debug)]
pub struct Object {
    /// Tells it from one of the same name later.
    pub uid: Box<str>,
    /// What it is to do.
    pub wanted: Wanted,
    /// What it says it did.
    pub status: Status,
}

/// What an HPA is to do.
#[derive(Clone, PartialEq, Debug)]
pub struct Wanted {
    /// What it scales.
    pub target: ScaleTarget,
    /// Its spec.
    pub spec: Spec,
    /// The selector of each metric of the spec as it is sent; empty where it has none.
    pub selectors: Vec<String>,
}

/// What an HPA's status says. It is written once at the end of a sync, and only where something of it is new.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Status {
    /// `currentReplicas`: the scale's `spec.replicas` when the last sync began. `None` before the first, and where only
    /// failures to read the scale are told.
    pub current: Option<i32>,
    /// `desiredReplicas`: what that sync decided, where it could.
    pub desired: i32,
    /// `lastScaleTime`.
    pub last_scale: Option<Timestamp>,
    /// `currentMetrics`, in the order of the spec; `None` for one that failed. Empty where none was read.
    pub metrics: Vec<Option<Current>>,
    /// `conditions`.
    pub conditions: Arc<[ConditionFacts]>,
}

/// A metric that was read here by the HPA controller.
#[derive(Clone, Debug)]
pub struct Read {
    /// When it was answered.
    pub at: Timestamp,
    /// In which namespace.
    pub namespace: Arc<str>,
    /// The metric's name.
    pub metric: &'static str,
    /// Its selector, in canonical form.
    pub selector: String,
    /// What was answered: the items, or the message of the refusal.
    pub answer: Result<Served, Arc<str>>,
}

/// What was served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// Each item's value in thousandths, as the HPA reads it.
    pub values_milli: Box<[i64]>,
    /// When the oldest read behind them was made.
    pub oldest: Option<Timestamp>,
    /// How much is known of it, in the snapshot's word.
    pub state: Option<&'static str>,
}

/// The pods that a target's selector matches. Those of one list that are as they were in the list before are the same
/// in memory.
pub type Pods = Arc<[Arc<Pod>]>;

// === impl Id ===

impl Id {
    /// The HPA `namespace/name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Wanted ===

impl Wanted {
    /// The heap and the place that it takes, in bytes, without the allocator's own share.
    pub fn bytes(&self) -> usize {
        let Spec {
            metrics, behavior, ..
        } = &self.spec;
        let names = metrics
            .iter()
            .map(|metric| metric.name().len() + metric.container().map_or(0, str::len));
        let selectors = self.selectors.iter();
        let selectors = selectors.map(|selector| size_of::<String>() + selector.len());
        let rules = behavior
            .iter()
            .flat_map(|behavior| [&behavior.scale_up, &behavior.scale_down]);
        let policies = rules.map(|rules| size_of_val(&*rules.policies));
        size_of::<Self>()
            + self.target.kind.len()
            + self.target.name.len()
            + size_of_val(&**metrics)
            + names.chain(selectors).chain(policies).sum::<usize>()
    }

    /// Which of its metrics a read of `metric` with `selector` is of: the first, should it have it twice.
    pub fn metric(&self, metric: &str, selector: &str) -> Option<usize> {
        self.metrics(metric, selector).next()
    }

    /// How often it has a metric of this name and selector.
    pub(super) fn times(&self, metric: &str, selector: &str) -> usize {
        self.metrics(metric, selector).count()
    }

    /// The metrics of this name and selector, by their places in the spec.
    pub(super) fn metrics(&self, metric: &str, selector: &str) -> impl Iterator<Item = usize> {
        let is_of = move |(index, of): &(usize, &MetricSpec)| {
            // The HPA asks in lower case, however its object has it.
            matches!(of, MetricSpec::External { metric: name, .. } if name.eq_ignore_ascii_case(metric))
                && self.selectors.get(*index).map_or("", String::as_str) == selector
        };
        let metrics = self.spec.metrics.iter().enumerate();
        metrics.filter(is_of).map(|(index, _)| index)
    }
}

// === impl Status ===

impl Status {
    /// Reads the `status` of an HPA's JSON. What is not there or of another kind is taken for absent: the API server
    /// writes nothing else.
    pub fn of(status: &Value) -> Self {
        let int = |key: &str| {
            let number = status.get(key).and_then(Value::as_i64);
            number.and_then(|number| i32::try_from(number).ok())
        };
        let list = |key: &str| {
            let list = status.get(key).and_then(Value::as_array);
            list.map(Vec::as_slice).unwrap_or_default()
        };
        let last_scale = status.get("lastScaleTime").and_then(Value::as_str);
        let mut read = Self {
            current: int("currentReplicas"),
            desired: int("desiredReplicas").unwrap_or(0),
            last_scale: last_scale.and_then(Timestamp::from_rfc3339),
            metrics: list("currentMetrics").iter().map(current).collect(),
            conditions: list("conditions").iter().map(condition).collect(),
        };
        // A zero is left out, as of a target that somebody scaled to none. A status that nobody wrote has neither of these.
        let is_written = int("observedGeneration").is_some() || !read.conditions.is_empty();
        if is_written && read.scale_is_read() {
            read.current = read.current.or(Some(0));
        }
        read
    }

    /// What the last sync of an HPA that is to do `spec` made of the replicas; `None` where it did not get so far, or where
    /// there was none yet.
    pub fn decided(&self, spec: &Spec) -> Option<i32> {
        let current = self.current?;
        // A target that cannot be read or scaled stays as it is, whatever was wanted.
        if self.failure("AbleToScale").is_some() {
            return self.scale_is_read().then_some(current);
        }
        // Out of its bounds it is brought into them whatever the metrics say, and their condition stays as it was.
        let is_within = (spec.min_replicas..=spec.max_replicas).contains(&current);
        if current != 0 && !is_within {
            return Some(self.desired);
        }
        match self.failure("ScalingActive") {
            // With too few metrics nothing is decided, and `desiredReplicas` stays that of an earlier sync.
            Some(condition) if condition.reason != "ScalingDisabled" => Some(current),
            _ => Some(self.desired),
        }
    }

    /// Whether the last sync could read its target's scale.
    fn scale_is_read(&self) -> bool {
        let failure = self.failure("AbleToScale");
        failure.is_none_or(|condition| condition.reason == "FailedUpdateScale")
    }

    /// The condition of this type, where it does not hold.
    pub(super) fn failure(&self, kind: &str) -> Option<&ConditionFacts> {
        let mut conditions = self.conditions.iter();
        conditions.find(|condition| condition.kind == kind && condition.status == "False")
    }

    /// Its value of a metric of the spec; `None` where that metric failed or was not read.
    pub(super) fn metric(&self, index: usize) -> Option<Current> {
        self.metrics.get(index).copied().flatten()
    }
}

/// One of `currentMetrics`, whatever its type: a metric that failed has none.
fn current(metric: &Value) -> Option<Current> {
    let kinds = [
        "external",
        "resource",
        "containerResource",
        "pods",
        "object",
    ];
    let of_kind = kinds.iter().find_map(|kind| metric.get(kind))?;
    let current = of_kind.get("current")?;
    let milli = |key: &str| parse_milli(current.get(key)?.as_str()?).ok();
    if let Some(percent) = current.get("averageUtilization").and_then(Value::as_i64) {
        return Some(Current::Utilization {
            percent: i32::try_from(percent).ok()?,
            average_milli: milli("averageValue").unwrap_or(0),
        });
    }
    // Of an average both may be there, and the total is then nothing that anybody measured.
    match milli("averageValue") {
        Some(average) => Some(Current::AverageValue(Some(average))),
        None => milli("value").map(Current::Value),
    }
}

fn condition(condition: &Value) -> ConditionFacts {
    let text = |key: &str| {
        let text = condition.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    ConditionFacts {
        kind: text("type"),
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_read_as_the_controller_writes_it() {
        let status = Status::of(&json!({
            "currentReplicas": 3, "desiredReplicas": 5, "observedGeneration": 1,
            "lastScaleTime": "2026-11-21T10:00:00Z",
            "currentMetrics": [
                {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 71, "averageValue": "355m"}}},
                {"type": "External", "external": {"metric": {"name": "a"}, "current": {"value": "412500m"}}},
                {"type": "External", "external": {"metric": {"name": "b"}, "current": {"averageValue": "2867m"}}},
                {"type": ""},
            ],
            "conditions": [{"type": "AbleToScale", "status": "True", "reason": "SucceededRescale", "message": "m",
                            "lastTransitionTime": "2026-11-21T10:00:00Z"}],
        }));
        assert_eq!((status.current, status.desired), (Some(3), 5));
        assert_eq!(
            status.metrics,
            [
                Some(Current::Utilization {
                    percent: 71,
                    average_milli: 355
                }),
                Some(Current::Value(412_500)),
                Some(Current::AverageValue(Some(2_867))),
                None,
            ]
        );
        assert_eq!(status.decided(&spec(1, 9)), Some(5));
        assert_eq!(status.conditions[0].reason, "SucceededRescale");
        assert_eq!(Status::of(&Value::Null), Status::default());
    }

    /// What an HPA of these bounds is to do.
    fn spec(min_replicas: i32, max_replicas: i32) -> Spec {
        Spec {
            min_replicas,
            max_replicas,
            metrics: Vec::new(),
            behavior: None,
        }
    }

    #[test]
    fn a_target_without_replicas_is_told_from_an_hpa_that_never_synced() {
        let condition = |kind: &str, status: &str, reason: &str| json!([{"type": kind, "status": status, "reason": reason}]);
        let off = condition("ScalingActive", "False", "ScalingDisabled");
        for (status, current, decided) in [
            (
                json!({"desiredReplicas": 0, "conditions": off}),
                Some(0),
                Some(0),
            ),
            (
                json!({"desiredReplicas": 0, "observedGeneration": 1}),
                Some(0),
                Some(0),
            ),
            (
                json!({"desiredReplicas": 0, "currentMetrics": null}),
                None,
                None,
            ),
            (json!({}), None, None),
            // Whether there are replicas is not known.
            (
                json!({"conditions": condition("AbleToScale", "False", "FailedGetScale")}),
                None,
                None,
            ),
        ] {
            let read = Status::of(&status);
            assert_eq!(read.current, current, "{status}");
            assert_eq!(read.decided(&spec(1, 9)), decided, "{status}");
        }
    }

    #[test]
    fn a_sync_that_did_not_decide_leaves_the_replicas_as_they_were() {
        let failing = |kind: &str, reason: &str| Status {
            current: Some(4),
            desired: 9,
            conditions: Arc::new([ConditionFacts {
                kind: kind.to_owned(),
                status: "False".to_owned(),
                reason: reason.to_owned(),
                message: String::new(),
            }]),
            ..Status::default()
        };
        for (kind, reason, decided) in [
            ("ScalingActive", "FailedGetExternalMetric", Some(4)),
            ("ScalingActive", "ScalingDisabled", Some(9)),
            ("ScalingLimited", "DesiredWithinRange", Some(9)),
            ("AbleToScale", "FailedUpdateScale", Some(4)),
            ("AbleToScale", "FailedGetScale", None),
        ] {
            let status = failing(kind, reason);
            assert_eq!(status.decided(&spec(1, 9)), decided, "{reason}");
        }
        assert_eq!(Status::default().decided(&spec(1, 9)), None);
        // Bounds come before metrics, so what was said of those is of an earlier sync.
        let stale = failing("ScalingActive", "FailedGetExternalMetric");
        for bounds in [spec(1, 3), spec(9, 10)] {
            assert_eq!(stale.decided(&bounds), Some(9), "{bounds:?}");
        }
    }
}
