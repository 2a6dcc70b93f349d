//! What must hold: a check, its limit, and which part of the run it looks at. In a file an assertion is one item of a
//! list, `- time_to_first_scale_out: { from: stage(high).start, max: 60s }`, with `service: NAME` beside the check where
//! there are several. Here checks are words and numbers; [`judge`](crate::judge) holds a run against them.
//!
//! The formulas below use these names: `desired(t)`, `spec(t)` and `ready(t)` are the replicas that the HPA wants, that
//! the scale target is told, and that are ready; `m(t)` is the metric, `p_q(a, b)` the `q`-quantile of the response times
//! of requests that should have started within `a` and `b`, `n*(t)` the replicas that the load needs.

mod bounds;
mod cost;
mod health;
mod reaction;
mod slo;
mod stability;

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
};
use serde::{Deserialize, Deserializer, Serialize};

pub use self::bounds::{
    PeakReplicas, Reference, ReplicaRatio, ReplicasWithin, SettlingTime, Whole,
};
pub use self::cost::{Cost, PodSeconds, PodSecondsRatio, Provisioning};
pub use self::health::{HpaConditions, MetricAccuracy, MetricHealth};
pub use self::reaction::{
    DecisionLatency, NoScaleInBefore, TimeToFirstScaleOut, TimeToMetricBreach, TimeToReady,
    TimeToReplicas, TimeToScaleIn, TimeToTraffic,
};
pub use self::slo::{
    ColdStartPenalty, ErrorBudget, ErrorRate, FailureClass, Failures, Latency, ScaleEventErrors,
    SloRecoveryTime, SloViolation,
};
pub use self::stability::{
    Churn, Direction, FailSafe, FlapCount, Monotonic, NoReaction, ScaleEvents, ScaleStep,
};

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Assertion {
    /// The service it is about; `None` for the only one, or the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What must hold of it.
    #[serde(flatten)]
    pub check: Check,
}

/// What must hold, with its limit. The number before each is that of the list of checks in the documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// (1) How long the metric took to tell: `min{t >= from: m(t) > target * (1 + tolerance)} - from <= max`.
    TimeToMetricBreach(TimeToMetricBreach),
    /// (2) How long the HPA took to act on it: `min{t >= b: desired(t) > desired(b)} - b <= max`, where `b` is the first
    /// moment from `from` on at which the metric is above its target.
    DecisionLatency(DecisionLatency),
    /// (3) `min{t >= from: desired(t) > desired(from)} - from <= max`.
    TimeToFirstScaleOut(TimeToFirstScaleOut),
    /// (4) For each scale-out at `e` by `n`: `min{t: ready(t) >= ready(e) + n} - e`; of these `stat` is at most `max`.
    TimeToReady(TimeToReady),
    /// (5) For each backend that became ready after `from`: its first good answer's moment minus that of its becoming
    /// ready; the worst is at most `max`.
    TimeToTraffic(TimeToTraffic),
    /// (6) `min{t >= from: ready(t) >= n} - from <= max`.
    TimeToReplicas(TimeToReplicas),
    /// (7) `min{t >= from: desired(u) <= to for all u from t to until} - from <= max`.
    TimeToScaleIn(TimeToScaleIn),
    /// (8) The first decrease of `desired` after `from`, minus `from`, is at least `min`; it holds where there is none.
    NoScaleInBefore(NoScaleInBefore),

    /// (9) `min{t >= b: p_q(u - window, u) <= target for all u from t to t + hold} - b <= max`, where `b` is the first
    /// breach from `from` on; 0 where there is none.
    SloRecoveryTime(SloRecoveryTime),
    /// (10) The seconds whose trailing window has `p_q > target` or an error rate above `max_error`, or in which requests
    /// should have started and none had a good answer; at most `max`.
    SloViolationSeconds(SloViolation),
    /// (11) The same as a share of the seconds that could be told.
    SloViolationRatio(SloViolation),
    /// (12) `bad / offered <= 1 - objective`, where a request is bad that failed, was dropped or took longer than `target`.
    ErrorBudget(ErrorBudget),
    /// (13) The quantile of the stretch without its first `settle` is at most `max`.
    Latency(Latency),
    /// (14) The share of requests that failed, of those offered.
    ErrorRate(ErrorRate),
    /// (15) Failed requests that should have started within `within` of a scale-in or of a backend's becoming ready.
    ScaleEventErrors(ScaleEventErrors),
    /// (16) The 0.95-quantile of answers of pods in their first 30 s of traffic, by that of the others in the same seconds.
    ColdStartPenalty(ColdStartPenalty),

    /// (17) `max spec <= maxReplicas`, `max desired <= maxReplicas`, `max ready <= maxReplicas + maxSurge`. Always checked.
    NeverAboveMax(Whole),
    /// (18) The same with `minReplicas`: `spec`, `desired` and `ready` never below it. Always checked.
    NeverBelowMin(Whole),
    /// (19) `max desired` is between the two.
    PeakReplicas(PeakReplicas),
    /// (20) `ready` is between the two in every known second after `settle`.
    ReplicasWithin(ReplicasWithin),
    /// (21) `max desired / n* - 1 <= max`.
    OvershootRatio(ReplicaRatio),
    /// (22) `1 - min desired / n* <= max`, from the first moment on at which `desired >= n*`.
    UndershootRatio(ReplicaRatio),
    /// (23) `min{t >= start: |desired(u) - desired(end)| <= band for all u from t to end} - start <= max`.
    SettlingTime(SettlingTime),

    /// (24) Neighbouring scale events of opposite direction at most `window` apart. None means that nothing flaps.
    FlapCount(FlapCount),
    /// (25) How often the HPA wanted another number.
    ScaleEvents(ScaleEvents),
    /// (26) The sum of all changes of `desired`, without their signs.
    ReplicaChurn(Churn),
    /// (26) That sum less `|desired(end) - desired(start)|`: 0 when it only ever went one way.
    ChurnExcess(Churn),
    /// (27) No change of `desired` against this direction.
    Monotonic(Monotonic),
    /// (28) The largest sum of changes in one direction within any `period`: the policies of an HPA were honoured.
    ScaleStep(ScaleStep),
    /// (29) No scale event from the beginning of the stretch until `after` past its end.
    NoReaction(NoReaction),
    /// (30) While the metric is unavailable, `desired` does not decrease.
    FailSafe(FailSafe),

    /// (31) `ready` integrated over the stretch, in pods times seconds.
    PodSeconds(PodSeconds),
    /// (31) That, at a price.
    Cost(Cost),
    /// (32) That, by the integral of `n*`: above 1 is waste, below 1 is starvation.
    PodSecondsRatio(PodSecondsRatio),
    /// (33) The mean of `max(n* - ready, 0) / n*`, and the share of time in which that is above 0.
    UnderProvisioning(Provisioning),
    /// (33) The mean of `max(ready - n*, 0) / n*`, and the share of time in which that is above 0.
    OverProvisioning(Provisioning),

    /// (34) The oldest value, the longest time without a good read, and how many reads failed.
    MetricHealth(MetricHealth),
    /// (34) The share of seconds in which `m(t) / p_q(t - window, t)` is within the band.
    MetricAccuracy(MetricAccuracy),
    /// (35) `ScalingActive` and `AbleToScale` are True in all known seconds after `settle`, no reason is
    /// `FailedGetExternalMetric`, and `ScalingLimited` is True for at most `max_limited`.
    HpaConditions(HpaConditions),
}

impl Check {
    /// Its name in a file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TimeToMetricBreach(_) => "time_to_metric_breach",
            Self::DecisionLatency(_) => "decision_latency",
            Self::TimeToFirstScaleOut(_) => "time_to_first_scale_out",
            Self::TimeToReady(_) => "time_to_ready",
            Self::TimeToTraffic(_) => "time_to_traffic",
            Self::TimeToReplicas(_) => "time_to_replicas",
            Self::TimeToScaleIn(_) => "time_to_scale_in",
            Self::NoScaleInBefore(_) => "no_scale_in_before",
            Self::SloRecoveryTime(_) => "slo_recovery_time",
            Self::SloViolationSeconds(_) => "slo_violation_seconds",
            Self::SloViolationRatio(_) => "slo_violation_ratio",
            Self::ErrorBudget(_) => "error_budget",
            Self::Latency(_) => "latency",
            Self::ErrorRate(_) => "error_rate",
            Self::ScaleEventErrors(_) => "scale_event_errors",
            Self::ColdStartPenalty(_) => "cold_start_penalty",
            Self::NeverAboveMax(_) => "never_above_max",
            Self::NeverBelowMin(_) => "never_below_min",
            Self::PeakReplicas(_) => "peak_replicas",
            Self::ReplicasWithin(_) => "replicas_within",
            Self::OvershootRatio(_) => "overshoot_ratio",
            Self::UndershootRatio(_) => "undershoot_ratio",
            Self::SettlingTime(_) => "settling_time",
            Self::FlapCount(_) => "flap_count",
            Self::ScaleEvents(_) => "scale_events",
            Self::ReplicaChurn(_) => "replica_churn",
            Self::ChurnExcess(_) => "churn_excess",
            Self::Monotonic(_) => "monotonic",
            Self::ScaleStep(_) => "scale_step",
            Self::NoReaction(_) => "no_reaction",
            Self::FailSafe(_) => "fail_safe",
            Self::PodSeconds(_) => "pod_seconds",
            Self::Cost(_) => "cost",
            Self::PodSecondsRatio(_) => "pod_seconds_ratio",
            Self::UnderProvisioning(_) => "under_provisioning",
            Self::OverProvisioning(_) => "over_provisioning",
            Self::MetricHealth(_) => "metric_health",
            Self::MetricAccuracy(_) => "metric_accuracy",
            Self::HpaConditions(_) => "hpa_conditions",
        }
    }

    /// The moment or stretch that it speaks of.
    fn place(&self) -> String {
        match self {
            Self::TimeToMetricBreach(check) => check.from.tag(),
            Self::DecisionLatency(check) => check.from.tag(),
            Self::TimeToFirstScaleOut(check) => check.from.tag(),
            Self::TimeToReady(check) => check.scope.tag(),
            Self::TimeToTraffic(check) => check.from.tag(),
            Self::TimeToReplicas(check) => check.from.tag(),
            Self::TimeToScaleIn(check) => check.from.tag(),
            Self::NoScaleInBefore(check) => check.from.tag(),
            Self::SloRecoveryTime(check) => check.from.tag(),
            Self::SloViolationSeconds(check) | Self::SloViolationRatio(check) => check.scope.tag(),
            Self::ErrorBudget(check) => check.scope.tag(),
            Self::Latency(check) => check.scope.tag(),
            Self::ErrorRate(check) => check.scope.tag(),
            Self::ScaleEventErrors(check) => check.scope.tag(),
            Self::ColdStartPenalty(check) => check.scope.tag(),
            Self::NeverAboveMax(check) | Self::NeverBelowMin(check) => check.scope.tag(),
            Self::PeakReplicas(check) => check.scope.tag(),
            Self::ReplicasWithin(check) => check.scope.tag(),
            Self::OvershootRatio(check) | Self::UndershootRatio(check) => check.scope.tag(),
            Self::SettlingTime(check) => check.scope.tag(),
            Self::FlapCount(check) => check.scope.tag(),
            Self::ScaleEvents(check) => check.scope.tag(),
            Self::ReplicaChurn(check) | Self::ChurnExcess(check) => check.scope.tag(),
            Self::Monotonic(check) => check.scope.tag(),
            Self::ScaleStep(check) => check.scope.tag(),
            Self::NoReaction(check) => check.scope.tag(),
            Self::FailSafe(check) => check.during.tag(),
            Self::PodSeconds(check) => check.scope.tag(),
            Self::Cost(check) => check.scope.tag(),
            Self::PodSecondsRatio(check) => check.scope.tag(),
            Self::UnderProvisioning(check) | Self::OverProvisioning(check) => check.scope.tag(),
            Self::MetricHealth(check) => check.scope.tag(),
            Self::MetricAccuracy(check) => check.scope.tag(),
            Self::HpaConditions(check) => check.scope.tag(),
        }
    }

    /// What it counts, where checks of its name may count different things.
    fn counted(&self) -> String {
        match self {
            Self::Latency(check) => check.stat.map(|stat| stat.to_string()).unwrap_or_default(),
            Self::ErrorRate(check) => check.class.tag(),
            Self::ScaleEvents(check) => check.direction.tag(),
            Self::Monotonic(check) => check.direction.tag(),
            Self::ScaleStep(check) => check.direction.tag(),
            _ => String::new(),
        }
    }

    /// Its name in reports, as `latency[high, p(95)]`.
    #[must_use]
    pub fn title(&self) -> String {
        let tags = [self.place(), self.counted()];
        let tags: Vec<_> = tags.into_iter().filter(|tag| !tag.is_empty()).collect();
        match tags.is_empty() {
            true => self.name().into(),
            false => format!("{}[{}]", self.name(), tags.join(", ")),
        }
    }
}

impl<'de> Deserialize<'de> for Assertion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AssertionVisitor)
    }
}

/// Serde's own `flatten` would take keys that nobody knows, and would not say which check is misspelt.
struct AssertionVisitor;

impl<'de> Visitor<'de> for AssertionVisitor {
    type Value = Assertion;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a check and its limit, as `flap_count: { max: 0 }`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Assertion, A::Error> {
        let mut keys = WithoutService {
            map,
            service: None,
            found: None,
        };
        keys.found = keys.next_key()?;
        if keys.found.is_none() {
            return Err(A::Error::custom(
                "there is no check; write one as `flap_count: { max: 0 }`",
            ));
        }
        let check = Check::deserialize(MapAccessDeserializer::new(&mut keys))?;
        if keys.next_key::<IgnoredAny>()?.is_some() {
            let text = format!(
                "`{}` is followed by another key; an assertion is one check",
                check.name()
            );
            return Err(A::Error::custom(text));
        }
        let service = keys.service;
        Ok(Assertion { service, check })
    }
}

/// A map whose `service` is put aside.
struct WithoutService<A> {
    map: A,
    service: Option<String>,
    /// A key that was looked at and is still to be given.
    found: Option<String>,
}

impl<'de, A: MapAccess<'de>> WithoutService<A> {
    fn next_name(&mut self) -> Result<Option<String>, A::Error> {
        match self.found.take() {
            Some(name) => Ok(Some(name)),
            None => self.map.next_key(),
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutService<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.next_name()? {
            if key != "service" {
                let key: StringDeserializer<A::Error> = key.into_deserializer();
                return seed.deserialize(key).map(Some);
            }
            if self.service.replace(self.map.next_value()?).is_some() {
                return Err(de::Error::duplicate_field("service"));
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests;
