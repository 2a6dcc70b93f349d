//! An HPA that may be better: what it scales on, at which target, over which window, and how soon it follows. Numbers are
//! whole, so that equal candidates are equal and come in one order; they become a HorizontalPodAutoscaler here.

use serde::Serialize;
use serde_json::{Value, json};

use super::curve::{Curve, Objective};
use crate::hpa;
use crate::model::quantity;

/// Kubernetes' tolerance, in thousandths.
pub(super) const TOLERANCE_DEFAULT: u32 = 100;

/// Kubernetes' stabilization before it shrinks, in seconds.
pub(super) const DOWN_DEFAULT_S: u32 = 300;

/// CPU above which a pod is as good as busy, in per cent: the highest target that still leaves room to be above it.
const CPU_PERCENT_MAX: f64 = 90.0;

/// CPU at the highest load below which it tells nothing of it, in per cent of the request.
const CPU_TELLS_PERCENT: f64 = 20.0;

/// The usual target of CPU, which stays as a net where CPU says nothing of load.
const CPU_NET_PERCENT: i32 = 80;

/// How far a target of latency is above what there is without load, at least: beyond Kubernetes' tolerance.
const ABOVE_UNLOADED: f64 = 1.15;

/// What an HPA scales on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Signal {
    /// Requests per second on a pod, and latency where that does not keep the objective.
    RateAndLatency,
    /// Requests per second on a pod.
    Rate,
    /// Requests in flight on a pod.
    Concurrency,
    /// A quantile of latency.
    Latency,
    /// The share of slow requests.
    SlowShare,
    /// CPU alone.
    Cpu,
}

/// How fast it may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Growth {
    /// As Kubernetes has it: by four pods or to the double in 15 s.
    Free,
    /// To the double in a minute, so that new pods show their effect first.
    DoubleInAMinute,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Candidate {
    pub(super) signal: Signal,
    /// In thousandths of the signal's unit: requests per second, requests, milliseconds, a share, per cent.
    pub(super) target_milli: i64,
    /// The metric's window, in seconds.
    pub(super) window_s: u32,
    /// `scaleDown.stabilizationWindowSeconds`.
    pub(super) down_s: u32,
    /// `scaleUp.tolerance`, in thousandths.
    pub(super) tolerance_milli: u32,
    pub(super) growth: Growth,
}

/// Whom an HPA is for, and what stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subject {
    pub(super) namespace: Option<String>,
    /// The HPA's name.
    pub(super) name: String,
    /// The `service` label of the metrics.
    pub(super) service: String,
    /// `scaleTargetRef`.
    pub(super) scale_target: Value,
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) objective: Objective,
    /// Beside every signal, the utilization of CPU, in per cent; `None` where nobody knows how it grows with load.
    pub(super) cpu_percent: Option<i32>,
    /// Metrics of the HPA there is that cannot be played. They are not for a search to take away, so they are written as
    /// they are.
    pub(super) kept: Vec<Value>,
    /// Whether the HPA there is says a tolerance: a patch must then say it as well, and its cluster knows the field.
    pub(super) says_tolerance: bool,
}

/// What targets are taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aims {
    pub(super) curve: Curve,
    pub(super) objective: Objective,
    /// The usual number of pods.
    pub(super) pods: f64,
    /// The load on a pod at which the objective is just met.
    pub(super) limit: f64,
    /// CPU of a pod in per cent of its request, for one request per second.
    pub(super) cpu_percent: Option<f64>,
    /// The metric's window at first, in seconds.
    pub(super) window_s: u32,
}

// === impl Signal ===

impl Signal {
    /// All of them, the simplest that may do first.
    pub(super) const ALL: [Self; 6] = [
        Self::RateAndLatency,
        Self::Rate,
        Self::Concurrency,
        Self::Latency,
        Self::SlowShare,
        Self::Cpu,
    ];

    /// Whether it explodes near the objective rather than growing with the load.
    pub(super) fn is_steep(self) -> bool {
        matches!(self, Self::RateAndLatency | Self::Latency | Self::SlowShare)
    }

    /// Whether it tells of load when nobody waits; what does not is deaf without CPU beside it.
    pub(super) fn hears_load(self) -> bool {
        !matches!(self, Self::Latency | Self::SlowShare)
    }

    pub(super) fn told(self) -> &'static str {
        match self {
            Self::RateAndLatency => "rate + latency",
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
            Self::Latency => "latency",
            Self::SlowShare => "slow share",
            Self::Cpu => "CPU",
        }
    }
}

// === impl Aims ===

impl Aims {
    /// A candidate that keeps pods at this share of the load they can take; `None` where the signal cannot say that.
    pub(super) fn at(&self, signal: Signal, share: f64) -> Option<Candidate> {
        let load = self.limit * share;
        let target = match signal {
            Signal::Rate | Signal::RateAndLatency => load,
            Signal::Concurrency => load * self.curve.mean(load, self.pods),
            Signal::Latency => {
                let target_ms = self.objective.latency_ms() * share;
                let unloaded_ms =
                    self.curve.quantile(0.0, self.pods, self.objective.quantile) * 1000.0;
                // What an HPA cannot get to with any number of pods it would run after for ever.
                (ABOVE_UNLOADED * unloaded_ms < target_ms).then_some(target_ms)?
            }
            Signal::SlowShare => self.objective.budget() * share,
            Signal::Cpu => (self.cpu_percent? * load).round().min(CPU_PERCENT_MAX),
        };
        let target_milli = match signal {
            Signal::Cpu => target.max(1.0) as i64 * 1000,
            _ => neat((target * 1000.0).round() as i64),
        };
        let candidate = Candidate {
            signal,
            target_milli,
            window_s: self.window_s,
            down_s: DOWN_DEFAULT_S,
            tolerance_milli: TOLERANCE_DEFAULT,
            growth: Growth::Free,
        };
        (0 < target_milli).then_some(candidate.braked())
    }

    /// The load on a pod that a candidate's target stands for, where it stands for one.
    pub(super) fn load(&self, candidate: &Candidate) -> Option<f64> {
        let target = candidate.target();
        match candidate.signal {
            Signal::Rate | Signal::RateAndLatency => Some(target),
            Signal::Cpu => Some(target / self.cpu_percent?),
            Signal::Latency => {
                let load = self
                    .curve
                    .load_at(self.pods, self.objective.quantile, target / 1000.0);
                (0.0 < load).then_some(load)
            }
            Signal::SlowShare | Signal::Concurrency => None,
        }
    }

    /// The utilization of CPU that is a net beside other signals: what a pod uses at the highest load it can take.
    pub(super) fn cpu_net(&self) -> Option<i32> {
        let at_limit = self.cpu_percent? * self.limit;
        if at_limit < CPU_TELLS_PERCENT {
            return Some(CPU_NET_PERCENT);
        }
        Some(((at_limit / 5.0).ceil() * 5.0).clamp(50.0, CPU_PERCENT_MAX) as i32)
    }
}

// === impl Candidate ===

impl Candidate {
    /// The target in the signal's unit.
    pub(super) fn target(&self) -> f64 {
        self.target_milli as f64 / 1000.0
    }

    /// The same with a target so many times as high.
    pub(super) fn scaled(&self, times: f64) -> Self {
        let target = self.target_milli as f64 * times;
        let target_milli = match self.signal {
            Signal::Cpu => {
                ((target / 1000.0).round() as i64).clamp(1, CPU_PERCENT_MAX as i64) * 1000
            }
            _ => neat(target.round() as i64).max(1),
        };
        Self {
            target_milli,
            ..*self
        }
    }

    /// The same with latency beside the rate, or without it.
    pub(super) fn twin(&self) -> Option<Self> {
        let signal = match self.signal {
            Signal::Rate => Signal::RateAndLatency,
            Signal::RateAndLatency => Signal::Rate,
            _ => return None,
        };
        Some(Self { signal, ..*self }.braked())
    }

    /// The same with the brake that its signal needs: one that an HPA looks at twice within its window is answered twice
    /// before the first answer shows, and `taffrail lint` says so. What is proportional to load needs none.
    pub(super) fn braked(self) -> Self {
        let looks_twice = 2 * hpa::SYNC_PERIOD.as_secs() <= u64::from(self.window_s);
        let growth = match (self.signal.is_steep(), looks_twice) {
            (true, true) => Growth::DoubleInAMinute,
            (true, false) => self.growth,
            (false, _) => Growth::Free,
        };
        Self { growth, ..self }
    }

    /// The target for people.
    pub(super) fn target_told(&self, objective: &Objective) -> String {
        let target = self.target();
        match self.signal {
            Signal::Rate => format!("{target}/s per pod"),
            Signal::RateAndLatency => {
                format!("{target}/s per pod and {} ms", objective.latency_ms())
            }
            Signal::Concurrency => format!("{target} per pod"),
            Signal::Latency => format!("{target} ms"),
            Signal::SlowShare => format!("{} %", trimmed(target * 100.0)),
            Signal::Cpu => format!("{target} %"),
        }
    }

    /// Beside its target, whatever is not as Kubernetes has it.
    pub(super) fn rest_told(&self) -> String {
        let mut told = match self.signal {
            // CPU is measured by others, who have their own window.
            Signal::Cpu => String::new(),
            _ => format!("window {} s, ", self.window_s),
        };
        told += &format!("down after {} s", self.down_s);
        if self.tolerance_milli != TOLERANCE_DEFAULT {
            told += &format!(
                ", tolerance {} %",
                trimmed(f64::from(self.tolerance_milli) / 10.0)
            );
        }
        if self.growth == Growth::DoubleInAMinute {
            told += ", at most double in 60 s";
        }
        told
    }
}

// === impl Subject ===

impl Subject {
    /// The whole HPA as it is written: what is played, and beside it the metrics that cannot be.
    pub(super) fn written(&self, candidate: &Candidate) -> Value {
        let mut hpa = self.hpa(candidate);
        if let Some(metrics) = hpa["spec"]["metrics"].as_array_mut() {
            metrics.extend(self.kept.iter().cloned());
        }
        hpa
    }

    /// The HPA there is, as a whole object, whatever of it was given.
    pub(super) fn whole(&self, present: &Value) -> Value {
        let mut metadata = json!({"name": self.name});
        if let Some(namespace) = &self.namespace {
            metadata["namespace"] = json!(namespace);
        }
        let mut spec = present.get("spec").unwrap_or(present).clone();
        if spec.get("scaleTargetRef").is_none() {
            spec["scaleTargetRef"] = self.scale_target.clone();
        }
        json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata,
            "spec": spec,
        })
    }

    /// The whole HPA as it is played.
    pub(super) fn hpa(&self, candidate: &Candidate) -> Value {
        let mut metadata = json!({"name": self.name});
        if let Some(namespace) = &self.namespace {
            metadata["namespace"] = json!(namespace);
        }
        json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata,
            "spec": {
                "scaleTargetRef": self.scale_target,
                "minReplicas": self.min,
                "maxReplicas": self.max,
                "metrics": self.metrics(candidate),
                "behavior": behavior(candidate, self.says_tolerance),
            }
        })
    }

    fn metrics(&self, candidate: &Candidate) -> Vec<Value> {
        let cpu = match candidate.signal {
            Signal::Cpu => i32::try_from(candidate.target_milli / 1000).ok(),
            _ => self.cpu_percent,
        };
        let cpu = cpu.map(|percent| {
            let target = json!({"type": "Utilization", "averageUtilization": percent});
            json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
        });
        let amount = quantity::from_milli(candidate.target_milli);
        let average = json!({"type": "AverageValue", "averageValue": amount});
        let value = json!({"type": "Value", "value": amount});
        let promised = quantity::from_milli((self.objective.latency_ms() * 1000.0).round() as i64);
        let promised = json!({"type": "Value", "value": promised});
        let others = match candidate.signal {
            Signal::Rate => vec![self.external("request_rate", &average)],
            Signal::RateAndLatency => vec![
                self.external("request_rate", &average),
                self.external("request_latency_ms", &promised),
            ],
            Signal::Concurrency => vec![self.external("request_concurrency", &average)],
            Signal::Latency => vec![self.external("request_latency_ms", &value)],
            Signal::SlowShare => vec![self.external("slow_request_ratio", &value)],
            Signal::Cpu => Vec::new(),
        };
        cpu.into_iter().chain(others).collect()
    }

    fn external(&self, metric: &str, target: &Value) -> Value {
        let mut labels = json!({"service": self.service});
        if metric == "request_latency_ms" {
            labels["quantile"] = json!(self.objective.quantile.to_string());
        }
        let metric = json!({"name": metric, "selector": {"matchLabels": labels}});
        json!({"type": "External", "external": {"metric": metric, "target": target}})
    }
}

/// Both directions as a whole, Kubernetes' defaults, too: a merge patch would else leave in force what the HPA there is says
/// of them, and that was not played. A tolerance that is the default is said only where one was said before, since clusters
/// before 1.35 refuse the field.
fn behavior(candidate: &Candidate, says_tolerance: bool) -> Value {
    let growth = match candidate.growth {
        Growth::Free => json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]),
        Growth::DoubleInAMinute => json!([{"type": "Percent", "value": 100, "periodSeconds": 60}]),
    };
    let mut behavior = json!({
        "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": growth},
        "scaleDown": {
            "stabilizationWindowSeconds": candidate.down_s,
            "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
    });
    if says_tolerance || candidate.tolerance_milli != TOLERANCE_DEFAULT {
        behavior["scaleUp"]["tolerance"] =
            json!(quantity::from_milli(candidate.tolerance_milli.into()));
    }
    if says_tolerance {
        behavior["scaleDown"]["tolerance"] = json!(quantity::from_milli(TOLERANCE_DEFAULT.into()));
    }
    behavior
}

/// The number with two digits, as people choose targets: a third one would promise more than is known.
fn neat(milli: i64) -> i64 {
    let mut step = 1;
    while 100 * step <= milli {
        step *= 10;
    }
    (milli + step / 2) / step * step
}

/// A number with at most one decimal.
fn trimmed(value: f64) -> String {
    format!("{}", (value * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::super::curve::Balancing;
    use super::*;
    use crate::config::autoscaler;
    use crate::hpa::{MetricSpec, Rules, Target};

    fn aims() -> Aims {
        Aims {
            curve: Curve {
                workers: 2,
                service_s: 0.04,
                service_cv: 1.0,
                balancing: Balancing::InTurn,
            },
            objective: Objective {
                quantile: 0.95,
                latency_s: 0.25,
            },
            pods: 5.0,
            limit: 40.0,
            cpu_percent: Some(2.0),
            window_s: 30,
        }
    }

    fn subject() -> Subject {
        Subject {
            namespace: Some("shop".to_owned()),
            name: "users-hpa".to_owned(),
            service: "users".to_owned(),
            scale_target: json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "users"}),
            min: 2,
            max: 10,
            objective: aims().objective,
            cpu_percent: aims().cpu_net(),
            kept: Vec::new(),
            says_tolerance: false,
        }
    }

    #[test]
    fn both_directions_are_written_whole_as_they_are_played() {
        let usual = aims().at(Signal::Rate, 0.8).unwrap();
        let played = autoscaler::from_value(&subject().hpa(&usual)).unwrap();
        let behavior = played.behavior.unwrap();
        assert_eq!(behavior.scale_up, Rules::scale_up());
        assert_eq!(behavior.scale_down.policies, Rules::scale_down().policies);
        let object = subject().hpa(&usual);
        assert_eq!(object.pointer("/spec/behavior/scaleUp/tolerance"), None);
        let said = Subject {
            says_tolerance: true,
            ..subject()
        };
        let object = said.hpa(&usual);
        for direction in ["scaleUp", "scaleDown"] {
            assert_eq!(object["spec"]["behavior"][direction]["tolerance"], "100m");
        }
    }

    #[test]
    fn metrics_that_cannot_be_played_are_written_and_not_played() {
        let queue = json!({"type": "External", "external": {
            "metric": {"name": "redis_backlog"}, "target": {"type": "AverageValue", "averageValue": "5"}}});
        let subject = Subject {
            kept: vec![queue.clone()],
            ..subject()
        };
        let usual = aims().at(Signal::Rate, 0.8).unwrap();
        let metrics = |hpa: Value| hpa["spec"]["metrics"].as_array().unwrap().clone();
        let (played, written) = (
            metrics(subject.hpa(&usual)),
            metrics(subject.written(&usual)),
        );
        assert!(!played.contains(&queue));
        assert_eq!(written.last(), Some(&queue));
        assert_eq!(written.len(), played.len() + 1);
        autoscaler::from_value(&subject.written(&usual)).unwrap();
    }

    #[test]
    fn every_candidate_is_an_hpa_that_kubernetes_takes() {
        for signal in Signal::ALL {
            let candidate = aims().at(signal, 0.8).unwrap();
            let object = subject().hpa(&Candidate {
                growth: Growth::DoubleInAMinute,
                tolerance_milli: 25,
                ..candidate
            });
            let spec = autoscaler::from_value(&object).unwrap();
            let selectors = autoscaler::selectors(&object).unwrap();
            assert_eq!((spec.min_replicas, spec.max_replicas), (2, 10));
            assert_eq!(selectors.len(), spec.metrics.len());
            let behavior = spec.behavior.unwrap();
            assert_eq!(behavior.scale_up.tolerance, 0.025);
            assert_eq!(behavior.scale_up.policies.len(), 1);
            let expected = match signal {
                Signal::Cpu => 1,
                Signal::RateAndLatency => 3,
                _ => 2,
            };
            assert_eq!(spec.metrics.len(), expected, "{signal:?}");
        }
        let spec = autoscaler::from_value(&subject().hpa(&aims().at(Signal::Rate, 0.8).unwrap()));
        let rate = MetricSpec::External {
            metric: "request_rate".to_owned(),
            target: Target::AverageValue(32_000),
        };
        assert_eq!(spec.unwrap().metrics[1], rate);
    }

    #[test]
    fn targets_have_two_digits() {
        for (milli, expected) in [
            (31_415, 31_000),
            (99_700, 100_000),
            (250_000, 250_000),
            (37, 37),
            (5, 5),
        ] {
            assert_eq!(neat(milli), expected);
        }
        let rate = aims().at(Signal::Rate, 0.8).unwrap();
        assert_eq!(rate.scaled(1.07).target_milli, 34_000);
        assert_eq!(
            aims()
                .at(Signal::Cpu, 0.8)
                .unwrap()
                .scaled(9.0)
                .target_milli,
            90_000
        );
    }

    #[test]
    fn cpu_is_a_net_at_the_highest_load_and_unknown_where_nobody_knows_it() {
        assert_eq!(aims().cpu_net(), Some(80));
        let of = |cpu_percent| {
            Aims {
                cpu_percent,
                ..aims()
            }
            .cpu_net()
        };
        assert_eq!(
            (of(Some(0.1)), of(Some(1.6)), of(None)),
            (Some(80), Some(65), None)
        );
    }
}
