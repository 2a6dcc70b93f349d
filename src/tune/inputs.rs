//! The files and flags of a search to what is known: which file is what, what they say of the service, and what is still
//! missing. It reads files; everything that it makes of them is pure.

mod files;
mod learned;

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use taffrail_loadtest::arrivals::trace::Trace;
use taffrail_loadtest::report::text;

use self::files::{Files, files, hpa};
use self::learned::{Learned, learn, spec_of_pods};
use super::Args;
use super::candidate::{Aims, Subject};
use super::curve::{Curve, Objective};
use super::fit::Fit;
use super::traffic::Traffic;
use super::workload::Workload;
use crate::config::autoscaler;
use crate::hpa::MetricSpec;

/// The window of a `RequestMetrics` document that says none, in seconds.
const WINDOW_DEFAULT_S: u32 = 30;

/// The interval of one that says none, in seconds.
const INTERVAL_DEFAULT_S: u32 = 5;

/// The fewest pods where no HPA says: one may go at any time.
const MIN_DEFAULT: i32 = 2;

/// The pods that an HPA should allow at least: so many times what the peak needs, as pods are not to be full.
const ROOM: f64 = 1.5;

/// The same where no HPA says: there may be days with more than this traffic.
const ROOM_DEFAULT: f64 = 2.5;

/// The most pods of any HPA.
const MAX_MOST: i32 = 10_000;

/// The metrics that are played: all of the adapter's that tell of requests.
const OURS: [&str; 4] = [
    "request_latency_ms",
    "request_rate",
    "request_concurrency",
    "slow_request_ratio",
];

/// Rounds in which the usual number of pods and what each of them can take are found from each other.
const SETTLING: usize = 8;

/// What is known of the service.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) workload: Workload,
    pub(super) aims: Aims,
    /// How what a pod takes is known.
    pub(super) source: Source,
    /// How often targets are read, in seconds.
    pub(super) interval_s: u32,
    /// The HPA there is.
    pub(super) present: Option<Value>,
    /// The `RequestMetrics` documents as they were given.
    pub(super) metrics: Option<Value>,
    /// What a reader must know.
    pub(super) notes: Vec<String>,
    /// Whether the HPA there is allows fewer pods than the peak needs.
    pub(super) max_before: Option<i32>,
}

/// How what a pod takes is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// Somebody said it.
    Told,
    /// It was fitted.
    Fitted(Box<Fit>),
}

/// Why there is nothing to search.
#[derive(Debug)]
pub(super) enum Stop {
    /// The files or flags make no sense.
    Invalid(anyhow::Error),
    /// Too little was seen: what, and what to measure.
    Unknown(String),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Invalid(error)
    }
}

/// Reads everything that the flags name.
pub(super) fn read(args: &Args) -> Result<Known, Stop> {
    check(args)?;
    let files = files(&args.files)?;
    let present = args.hpa.as_deref().map(hpa).transpose()?;
    let learned = learn(args, &files, present.as_ref())?;
    Ok(known(args, &files, present, learned)?)
}

fn check(args: &Args) -> anyhow::Result<()> {
    if !(0.0 < args.scale && args.scale.is_finite()) {
        bail!("--scale {} must be above zero", args.scale);
    }
    if args
        .quantile
        .is_some_and(|quantile| !(0.0 < quantile && quantile < 1.0))
    {
        bail!("--quantile must be between 0 and 1, as 0.95");
    }
    if args.objective.is_some_and(|objective| objective.is_zero()) {
        bail!("--objective must be above zero");
    }
    Ok(())
}

/// What is searched.
fn known(
    args: &Args,
    files: &Files,
    present: Option<Value>,
    learned: Learned,
) -> anyhow::Result<Known> {
    let Learned {
        name,
        objective,
        mut scenario,
        curve,
        cpu_percent,
        source,
        traffic,
        mut notes,
    } = learned;
    let traffic = match &files.trace {
        Some((path, text)) => {
            let of_file = || path.display().to_string();
            let trace = Trace::read(text).with_context(of_file)?;
            notes.extend(trace.gap().map(gap_told));
            Traffic::of_trace(&trace, args.scale).with_context(of_file)?
        }
        None => traffic?,
    };
    if traffic.requests() <= 0.0 {
        bail!("the traffic has no request in it, so every HPA is as good as any other");
    }
    let held = scenario
        .services
        .get_mut(&name)
        .context("the service is gone")?;
    let own = held.hpa.take();
    let present = present.or(own);
    let metrics = held.metrics.as_ref();
    let spec = metrics.and_then(spec_of_pods);
    let seconds = |field: &str| {
        let text = spec?.get(field)?.as_str()?;
        Some(
            humantime::parse_duration(text)
                .ok()?
                .as_secs_f64()
                .round()
                .max(1.0) as u32,
        )
    };
    let window_s = seconds("window").unwrap_or(WINDOW_DEFAULT_S);
    let interval_s = seconds("interval").unwrap_or(INTERVAL_DEFAULT_S);
    let (pods, limit) = settle(&curve, &objective, traffic.mean());
    if limit <= 0.0 {
        bail!(
            "even without any load the {}-quantile is {:.0} ms, which is above the {:.0} ms that were promised: no number of \
             pods keeps that; make the service faster or promise less",
            objective.quantile,
            curve.quantile(0.0, pods, objective.quantile) * 1000.0,
            objective.latency_ms()
        );
    }
    let aims = Aims {
        curve,
        objective,
        pods,
        limit,
        cpu_percent,
        window_s,
    };
    let mut subject = subject(&name, present.as_ref(), metrics, &objective)?;
    subject.cpu_percent = aims.cpu_net();
    subject.kept = present
        .as_ref()
        .map(|hpa| kept(hpa, cpu_percent.is_some()))
        .unwrap_or_default();
    let room = |times: f64| {
        (times * traffic.peak() / limit)
            .ceil()
            .clamp(1.0, f64::from(MAX_MOST)) as i32
    };
    let max_before = present
        .as_ref()
        .map(|_| subject.max)
        .filter(|max| *max < room(ROOM));
    subject.max = match &present {
        Some(_) => subject.max.max(room(ROOM)),
        None => room(ROOM_DEFAULT).max(2 * subject.min),
    };
    let present = present.filter(|hpa| {
        let why = unplayable(hpa, cpu_percent.is_some());
        notes.extend(why.clone());
        why.is_none()
    });
    let present = present.map(|hpa| with_namespace(hpa, subject.namespace.as_deref()));
    let metrics = metrics.cloned();
    let workload = Workload::new(scenario, &name, traffic, subject, limit)?;
    Ok(Known {
        workload,
        aims,
        source,
        interval_s,
        present,
        metrics,
        notes,
        max_before,
    })
}

/// What is to be known of a trace in which lines are missing.
fn gap_told(gap: Duration) -> String {
    format!(
        "For {} the trace has no line: the rate before is taken to hold until the next one.",
        text::span(gap.as_secs_f64())
    )
}

/// The usual number of pods, and what each of them can take: each follows from the other where pods are asked in turn.
fn settle(curve: &Curve, objective: &Objective, rate: f64) -> (f64, f64) {
    let mut pods = 1.0;
    let mut limit = curve.limit(pods, objective);
    for _ in 0..SETTLING {
        pods = (rate / limit.max(f64::MIN_POSITIVE)).clamp(1.0, f64::from(MAX_MOST));
        limit = curve.limit(pods, objective);
    }
    (pods, limit)
}

/// What stays of the HPA there is, and the usual where there is none.
fn subject(
    name: &str,
    present: Option<&Value>,
    metrics: Option<&Value>,
    objective: &Objective,
) -> anyhow::Result<Subject> {
    let spec = present.map(autoscaler::from_value).transpose()?;
    let text =
        |value: Option<&Value>, pointer: &str| Some(value?.pointer(pointer)?.as_str()?.to_owned());
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    let target = present.and_then(|hpa| {
        hpa.pointer("/spec/scaleTargetRef")
            .or_else(|| hpa.get("scaleTargetRef"))
    });
    Ok(Subject {
        namespace: text(present, "/metadata/namespace")
            .or_else(|| text(metrics, "/metadata/namespace")),
        name: text(present, "/metadata/name").unwrap_or_else(|| name.to_owned()),
        service: text(metrics, "/metadata/name").unwrap_or_else(|| name.to_owned()),
        scale_target: target.cloned().unwrap_or(deployment),
        min: spec.as_ref().map_or(MIN_DEFAULT, |spec| spec.min_replicas),
        max: spec.as_ref().map_or(MIN_DEFAULT, |spec| spec.max_replicas),
        objective: *objective,
        cpu_percent: None,
        kept: Vec::new(),
        says_tolerance: present.is_some_and(says_tolerance),
    })
}

/// Whether an HPA says a tolerance of its own.
fn says_tolerance(hpa: &Value) -> bool {
    let behavior = hpa.get("spec").unwrap_or(hpa).get("behavior");
    let tolerance = |direction: &str| behavior?.get(direction)?.get("tolerance");
    ["scaleUp", "scaleDown"]
        .into_iter()
        .filter_map(tolerance)
        .any(|tolerance| !tolerance.is_null())
}

/// Whether a metric can be played: CPU only where somebody knows how it grows with load.
fn is_playable(metric: &MetricSpec, is_cpu_known: bool) -> bool {
    match metric {
        MetricSpec::External { metric, .. } | MetricSpec::Pods { metric, .. } => {
            OURS.contains(&metric.as_str())
        }
        MetricSpec::Object { .. } => false,
        MetricSpec::Resource { resource, .. } => resource == "cpu" && is_cpu_known,
    }
}

/// The metrics of an HPA that cannot be played, as they are written.
fn kept(hpa: &Value, is_cpu_known: bool) -> Vec<Value> {
    let written = hpa.get("spec").unwrap_or(hpa).get("metrics");
    let written = written.and_then(Value::as_array);
    let Ok(spec) = autoscaler::from_value(hpa) else {
        return Vec::new();
    };
    // Who names none has what the API server fills in.
    let default = [
        json!({"type": "Resource", "resource": {"name": "cpu", "target":
        {"type": "Utilization", "averageUtilization": autoscaler::DEFAULT_CPU_PERCENT}}}),
    ];
    let written = match written.map_or(&[][..], Vec::as_slice) {
        [] => &default[..],
        written => written,
    };
    let both = written.iter().zip(&spec.metrics);
    let kept = both.filter(|(_, metric)| !is_playable(metric, is_cpu_known));
    kept.map(|(written, _)| written.clone()).collect()
}

/// Why the HPA there is cannot be played, where it cannot.
fn unplayable(hpa: &Value, is_cpu_known: bool) -> Option<String> {
    let spec = autoscaler::from_value(hpa).ok()?;
    let mut metrics = spec.metrics.iter();
    let foreign = metrics.find(|metric| !is_playable(metric, is_cpu_known))?;
    let why = match foreign {
        MetricSpec::Resource { resource, .. } if resource == "cpu" => {
            "it scales on CPU and nothing says how that grows with load".to_owned()
        }
        foreign => format!("{foreign} is not Taffrail's"),
    };
    Some(format!(
        "The HPA there is cannot be played, since {why}: nothing is compared with it."
    ))
}

/// The HPA in the namespace of the metrics that are played.
fn with_namespace(mut hpa: Value, namespace: Option<&str>) -> Value {
    if hpa.get("spec").is_none() {
        hpa = json!({"spec": hpa});
    }
    if let Some(namespace) = namespace {
        hpa["metadata"]["namespace"] = json!(namespace);
    }
    hpa
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hpa(metrics: &Value) -> Value {
        json!({"spec": {"maxReplicas": 5, "metrics": metrics}})
    }

    #[test]
    fn what_cannot_be_played_is_kept_and_cpu_only_where_nobody_knows_it() {
        let cpu = json!({"type": "Resource", "resource":
            {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
        let external = |name: &str| {
            json!({"type": "External", "external":
                {"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": "5"}}})
        };
        let (rate, queue) = (external("request_rate"), external("redis_backlog"));
        let of_cpu = hpa(&json!([cpu, rate]));
        assert_eq!(unplayable(&of_cpu, true), None);
        assert_eq!(kept(&of_cpu, true), Vec::<Value>::new());
        assert!(unplayable(&of_cpu, false).unwrap().contains("on CPU"));
        assert_eq!(kept(&of_cpu, false), [cpu]);
        let of_nothing = kept(&hpa(&json!([])), false);
        let percent = of_nothing[0].pointer("/resource/target/averageUtilization");
        assert_eq!((of_nothing.len(), percent), (1, Some(&json!(80))));
        let of_queue = hpa(&json!([rate, queue]));
        assert!(
            unplayable(&of_queue, true)
                .unwrap()
                .contains("redis_backlog")
        );
        assert_eq!(kept(&of_queue, true), [queue]);
    }

    #[test]
    fn a_tolerance_is_seen_in_either_direction() {
        let with = |behavior: Value| json!({"spec": {"maxReplicas": 5, "behavior": behavior}});
        assert!(says_tolerance(&with(
            json!({"scaleDown": {"tolerance": "0"}})
        )));
        assert!(!says_tolerance(&with(
            json!({"scaleUp": {"tolerance": null}})
        )));
        assert!(!says_tolerance(&hpa(&json!([]))));
    }
}
