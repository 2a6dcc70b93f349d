//! What a run records, once a second, and nothing else: the demo and the simulator write it, the live picture, the
//! report and `--json` read it. Plain data. Times are seconds since the run's start, so a recording holds no clock.
//! What follows from the data (breaches, verdict, sentences) is in [`summary`].

pub mod summary;

use serde::Serialize;

pub use summary::{Breach, Fact, Summary, Verdict};
pub use taffrail_loadtest::report::{scale, text};

/// One whole run: its rules, what was seen, what was decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Run {
    /// What was run, as a heading.
    pub title: String,
    /// Whether time and pods were computed rather than measured.
    pub simulated: bool,
    /// What the service promises.
    pub objective: Objective,
    /// The HPA's CPU target, in percent of the request.
    pub cpu_target_percent: u32,
    /// The HPA's `minReplicas`.
    pub replicas_min: u32,
    /// The HPA's `maxReplicas`.
    pub replicas_max: u32,
    /// The HorizontalPodAutoscaler that decided, as YAML.
    pub hpa_yaml: String,
    /// One sample a second, in order of time.
    pub samples: Vec<Sample>,
    /// What the HPA changed, in order of time.
    pub decisions: Vec<Decision>,
    /// What else happened, in order of time.
    pub events: Vec<Event>,
    /// Requests over the whole run.
    pub totals: Totals,
}

/// A latency objective: `quantile` of the requests are answered within `latency_ms`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Objective {
    /// In 0..=1.
    pub quantile: f64,
    /// Milliseconds.
    pub latency_ms: f64,
}

/// One second of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the run's start.
    pub t_s: f64,
    /// Requests meant to be sent in this second, per second.
    pub offered_rps: f64,
    /// Requests answered well, per second.
    pub done_rps: f64,
    /// Requests that failed, per second.
    pub error_rps: f64,
    /// Half of the answers of this second came within this time, counted from when a request was meant to be sent.
    pub p50_ms: Option<f64>,
    /// The same for 95 % of them.
    pub p95_ms: Option<f64>,
    /// The same for 99 % of them.
    pub p99_ms: Option<f64>,
    /// `request_latency_ms` as the HPA could read it now; `None` when it is absent.
    pub metric_ms: Option<f64>,
    /// The state of that metric, in the adapter's word: `ok`, `no traffic`, `unknown`.
    pub metric_state: String,
    /// `request_rate` as the HPA could read it now.
    pub request_rate: Option<f64>,
    /// CPU used, in percent of the request, mean over ready pods.
    pub cpu_utilization_percent: Option<f64>,
    /// Replicas asked for in the scale target's spec.
    pub replicas_spec: u32,
    /// Pods that are ready.
    pub replicas_ready: u32,
    /// Replicas an HPA with the CPU metric alone would have asked for.
    pub cpu_only_replicas: Option<u32>,
    /// Each pod, in order of name; empty when pods are not recorded one by one.
    pub pods: Vec<Pod>,
}

/// One pod in one second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: PodState,
    /// Requests it answered, per second.
    pub rps: Option<f64>,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PodState {
    /// Not ready yet: no requests reach it.
    Starting,
    /// Takes requests.
    Ready,
    /// Takes no new requests and answers those it has.
    Draining,
}

/// The HPA changed the number of replicas.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Decision {
    /// Seconds since the run's start.
    pub t_s: f64,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
    /// Kubernetes' reason word, as `SucceededRescale` or `ScaleUpLimit`.
    pub reason: String,
    /// The same for people, in a sentence.
    pub message: String,
    /// The metric whose proposal was taken.
    pub metric: Option<String>,
    /// What each metric asked for.
    pub proposals: Vec<Proposal>,
}

/// What one metric asked for in a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposal {
    /// The metric's name; `cpu` for the resource metric.
    pub metric: String,
    /// Replicas; `None` when the metric could not be read.
    pub replicas: Option<u32>,
}

/// Something worth a line that is no decision: a stage of the load, a pod that became ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Seconds since the run's start.
    pub t_s: f64,
    /// What happened, in a sentence.
    pub text: String,
}

/// Requests over a whole run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// All that were meant to be sent.
    pub requests: u64,
    /// Those answered well within the objective's latency.
    pub within_objective: u64,
    /// Those that failed or were never answered.
    pub errors: u64,
}

/// A recorded quantile, for its name and its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// 0.5.
    P50,
    /// 0.95.
    P95,
    /// 0.99.
    P99,
}

impl Run {
    /// The recorded quantile that judges the objective: the nearest one not below it, so that what is shown errs on
    /// the strict side.
    pub fn judged(&self) -> Recorded {
        match self.objective.quantile {
            q if q <= 0.5 => Recorded::P50,
            q if q <= 0.95 => Recorded::P95,
            _ => Recorded::P99,
        }
    }

    /// The latency that is held against the objective in `sample`, in milliseconds.
    pub fn judged_ms(&self, sample: &Sample) -> Option<f64> {
        self.judged().of(sample)
    }

    /// Each sample with the seconds it stands for: until the next one, and the last as long as the one before it.
    pub fn spans(&self) -> impl Iterator<Item = (&Sample, f64)> {
        let last_s = match self.samples.as_slice() {
            [.., a, b] => b.t_s - a.t_s,
            _ => 1.0,
        };
        self.samples.iter().enumerate().map(move |(i, sample)| {
            let next = self.samples.get(i + 1);
            (sample, next.map_or(last_s, |next| next.t_s - sample.t_s))
        })
    }

    /// The end of the last sample, in seconds.
    pub fn end_s(&self) -> f64 {
        self.spans()
            .last()
            .map_or(0.0, |(last, span_s)| last.t_s + span_s)
    }

    /// The run and its summary as one JSON object on one line.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Whole<'a> {
            summary: Summary,
            #[serde(flatten)]
            run: &'a Run,
        }
        let whole = Whole {
            summary: Summary::of(self),
            run: self,
        };
        serde_json::to_string(&whole).expect("plain data with string keys is always JSON")
    }
}

impl Recorded {
    /// Its name on a chart.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// Its value in `sample`, in milliseconds.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::P50 => sample.p50_ms,
            Self::P95 => sample.p95_ms,
            Self::P99 => sample.p99_ms,
        }
    }
}
