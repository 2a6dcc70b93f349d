//! The files and flags of a search to what is known: which file is what, what they say of the service, and what is still
//! missing. It reads files; everything that it makes of them is pure.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use taffrail_loadtest::recording::Recording;
use taffrail_loadtest::report::json as report;
use taffrail_loadtest::scenario::Scenario;

use super::advice;
use super::candidate::{Aims, Subject};
use super::curve::{Curve, Objective};
use super::fit::Fit;
use super::points::Observed;
use super::samples::{self, Samples};
use super::traffic::Traffic;
use super::workload::{self, Workload};
use super::{Args, recorded};
use crate::config::autoscaler;
use crate::model::quantity;

/// Bytes of a file: a long load run.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The quantile of an objective that names none.
const QUANTILE_DEFAULT: f64 = 0.95;

/// How long a pod starts of which nobody knows: an image that is there, and a process that takes its time.
const STARTUP_DEFAULT: Duration = Duration::from_secs(30);

/// The window of a `RequestMetrics` document that says none, in seconds.
const WINDOW_DEFAULT_S: u32 = 30;

/// The interval of one that says none, in seconds.
const INTERVAL_DEFAULT_S: u32 = 5;

/// The fewest pods where no HPA says: one may go at any time.
const MIN_DEFAULT: i32 = 2;

/// The most pods where no HPA says, and the least that one should allow: so many times what the peak needs.
const ROOM: f64 = 1.5;

/// The most pods of any HPA.
const MAX_MOST: i32 = 10_000;

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

/// The files, by what is in them.
#[derive(Default)]
struct Files {
    scenario: Option<(PathBuf, Scenario)>,
    run: Option<Recording>,
    samples: Option<String>,
    trace: Option<(PathBuf, String)>,
}

/// What was learned of a service before anything is made of it.
struct Learned {
    name: String,
    objective: Objective,
    scenario: Scenario,
    curve: Curve,
    cpu_percent: Option<f64>,
    source: Source,
    /// The traffic of the same file.
    traffic: Option<Traffic>,
    notes: Vec<String>,
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

// --- Files.

fn files(paths: &[PathBuf]) -> anyhow::Result<Files> {
    let mut files = Files::default();
    for path in paths {
        add(&mut files, path).with_context(|| path.display().to_string())?;
    }
    Ok(files)
}

/// Takes in one file, as what it is.
fn add(files: &mut Files, path: &Path) -> anyhow::Result<()> {
    let text = text(path)?;
    let taken = match kind(path, &text) {
        Kind::Scenario => files
            .scenario
            .replace((path.to_owned(), Scenario::load(path)?))
            .is_some(),
        Kind::Run => files.run.replace(report::read(&text)?.0).is_some(),
        Kind::Samples => files.samples.replace(text).is_some(),
        Kind::Trace => files.trace.replace((path.to_owned(), text)).is_some(),
    };
    if taken {
        bail!(
            "is the second file of its kind; give one scenario, one run, one file of samples and one trace at most"
        );
    }
    Ok(())
}

enum Kind {
    Scenario,
    Run,
    Samples,
    Trace,
}

fn kind(path: &Path, text: &str) -> Kind {
    let is_yaml = path
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    let is_json = text.trim_start().starts_with('{');
    match () {
        () if is_json && text.contains("\"resultType\"") => Kind::Samples,
        () if is_json && !is_yaml => Kind::Run,
        () if is_yaml => Kind::Scenario,
        () if samples::is_table(text) => Kind::Samples,
        () => Kind::Trace,
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).context("cannot be opened")?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .context("cannot be read")?;
    if FILE_BYTES_MAX < text.len() as u64 {
        bail!("has more than {FILE_BYTES_MAX} bytes");
    }
    Ok(text)
}

fn hpa(path: &Path) -> anyhow::Result<Value> {
    let read = || -> anyhow::Result<Value> {
        let object = autoscaler::object_from_yaml(&text(path)?)?;
        autoscaler::from_value(&object)?;
        Ok(object)
    };
    read().with_context(|| path.display().to_string())
}

// --- What they say.

fn learn(args: &Args, files: &Files, present: Option<&Value>) -> Result<Learned, Stop> {
    if let Some(run) = &files.run {
        return from_run(args, run);
    }
    if let Some(text) = &files.samples {
        return from_samples(args, text, present);
    }
    if let Some((path, scenario)) = &files.scenario {
        return Ok(from_scenario(args, path, scenario)?);
    }
    let Some(app) = &args.app else {
        return Err(Stop::Invalid(anyhow::anyhow!(
            "a trace says what is asked, and nothing of what a pod takes: add a load run, samples or a scenario, or say \
             it, as in --app 'workers: 2, serviceTime: 40ms, startup: 20s'"
        )));
    };
    let name = name_of(args, present);
    let scenario = workload::of_app(&name, app)?;
    let objective = objective(args, None)?;
    Ok(told(name, scenario, objective, None)?)
}

/// The service's name: as the flags say, or else as the metrics of the HPA have it.
fn name_of(args: &Args, present: Option<&Value>) -> String {
    let label = present.and_then(service_label);
    let named = present
        .and_then(|hpa| hpa.pointer("/metadata/name"))
        .and_then(Value::as_str);
    let said = args.service.as_deref().or(label).or(named);
    said.unwrap_or("service").to_owned()
}

/// The label `service` of the first external metric that has one.
fn service_label(hpa: &Value) -> Option<&str> {
    let metrics = hpa
        .pointer("/spec/metrics")
        .or_else(|| hpa.get("metrics"))?
        .as_array()?;
    let label = |metric: &'_ Value| {
        metric
            .pointer("/external/metric/selector/matchLabels/service")
            .is_some()
    };
    let metric = metrics.iter().find(|metric| label(metric))?;
    metric
        .pointer("/external/metric/selector/matchLabels/service")?
        .as_str()
}

fn objective(args: &Args, said: Option<Objective>) -> anyhow::Result<Objective> {
    let latency_s = args
        .objective
        .map(|objective| objective.as_secs_f64())
        .or(said.map(|said| said.latency_s));
    let latency_s =
        latency_s.context("nothing says what users were promised: add --objective 250ms")?;
    let quantile = args
        .quantile
        .or(said.map(|said| said.quantile))
        .unwrap_or(QUANTILE_DEFAULT);
    Ok(Objective {
        quantile,
        latency_s,
    })
}

/// The objective of a scenario's service: that of its metrics, or else of its checks.
fn objective_of(scenario: &Scenario, service: &str) -> Option<Objective> {
    let metrics = scenario
        .services
        .get(service)
        .and_then(|service| service.metrics.as_ref());
    let of_metrics = || {
        let spec = spec_of_pods(metrics?)?;
        let latency = spec.pointer("/objective/latency")?.as_str()?;
        Some(Objective {
            quantile: spec.pointer("/objective/quantile")?.as_f64()?,
            latency_s: humantime::parse_duration(latency).ok()?.as_secs_f64(),
        })
    };
    let of_checks = || {
        let slo = scenario.slo?;
        Some(Objective {
            quantile: slo.quantile,
            latency_s: slo.target.seconds(),
        })
    };
    of_metrics().or_else(of_checks)
}

/// The spec of the document that reads pods.
fn spec_of_pods(metrics: &Value) -> Option<&Value> {
    let items = metrics.get("items").and_then(Value::as_array);
    let documents = items.map_or(std::slice::from_ref(metrics), Vec::as_slice);
    let spec = |document: &'_ Value| document.get("spec").is_some();
    let specs = documents.iter().map(|document| {
        if spec(document) {
            &document["spec"]
        } else {
            document
        }
    });
    specs
        .into_iter()
        .find(|spec| spec.pointer("/source/pods").is_some())
}

fn from_scenario(args: &Args, path: &Path, scenario: &Scenario) -> anyhow::Result<Learned> {
    let names: Vec<&String> = scenario.services.keys().collect();
    let scaled: Vec<&String> = scenario
        .services
        .iter()
        .filter(|(_, service)| service.hpa.is_some())
        .map(|(name, _)| name)
        .collect();
    let name = match (&args.service, names.as_slice(), scaled.as_slice()) {
        (Some(name), ..) if scenario.services.contains_key(name) => name.clone(),
        (Some(name), ..) => bail!("{} has no service {name}", path.display()),
        (None, [only], _) | (None, _, [only]) => (*only).clone(),
        _ => bail!(
            "{} has several services; choose one with --service",
            path.display()
        ),
    };
    let mut scenario = scenario.clone();
    if let Some(app) = &args.app {
        let said = workload::of_app(&name, app)?;
        let app = said
            .services
            .into_values()
            .next()
            .and_then(|service| service.app);
        if let Some(service) = scenario.services.get_mut(&name) {
            service.app = app;
        }
    }
    let objective = objective(args, objective_of(&scenario, &name))?;
    let beside = path.parent().unwrap_or(Path::new("."));
    let traffic = workload::traffic(&scenario, &name, args.scale, |file| {
        std::fs::read_to_string(beside.join(file))
    });
    told(name, scenario, objective, Some(traffic))
}

/// A service whose behaviour somebody said.
fn told(
    name: String,
    scenario: Scenario,
    objective: Objective,
    traffic: Option<anyhow::Result<Traffic>>,
) -> anyhow::Result<Learned> {
    let curve = workload::curve(&scenario, &name)?;
    let app = scenario
        .services
        .get(&name)
        .and_then(|service| service.app.as_ref());
    Ok(Learned {
        cpu_percent: app.and_then(workload::cpu_percent),
        name,
        objective,
        curve,
        source: Source::Told,
        traffic: traffic.transpose()?,
        scenario,
        notes: Vec::new(),
    })
}

fn from_run(args: &Args, run: &Recording) -> Result<Learned, Stop> {
    let names: Vec<&String> = run.services.keys().collect();
    let name = match (&args.service, names.as_slice()) {
        (Some(name), _) => name.clone(),
        (None, [only]) => (*only).clone(),
        (None, _) => {
            return Err(Stop::Invalid(anyhow::anyhow!(
                "the run is of several services; choose one with --service"
            )));
        }
    };
    let service = run
        .services
        .get(&name)
        .with_context(|| format!("the run has no service {name}"))?;
    let objective = objective(args, objective_of(&run.scenario, &name))?;
    let observed = recorded::observed(run, service, &objective);
    let traffic = Traffic::of_steps(&observed.traffic, run.about.duration_s, args.scale);
    let mut learned = fitted(args, name, &observed, objective, traffic.ok())?;
    if service.load.closed {
        let text = "the run's users waited for answers, so its latencies hide what a slow pod kept from being asked";
        learned.notes.push(text.to_owned());
    }
    Ok(learned)
}

fn from_samples(args: &Args, text: &str, present: Option<&Value>) -> Result<Learned, Stop> {
    let is_json = text.trim_start().starts_with('{');
    let read = match is_json {
        true => samples::prometheus(text, args.service.as_deref()),
        false => samples::table(text),
    };
    let read: Samples = read.context("the samples")?;
    let cpu_request = args
        .cpu_request
        .as_deref()
        .map(quantity::parse_f64)
        .transpose();
    let cpu_request = cpu_request.context("--cpu-request")?;
    let name = match (&args.service, &read.service) {
        (None, Some(name)) => name.clone(),
        _ => name_of(args, present),
    };
    let said = read.objective_s.map(|latency_s| Objective {
        quantile: args.quantile.unwrap_or(QUANTILE_DEFAULT),
        latency_s,
    });
    let mut objective = objective(args, said)?;
    if let Some(quantile) = read.quantile {
        if args.quantile.is_some_and(|wanted| wanted != quantile) {
            let error = anyhow::anyhow!(
                "the samples are of the {quantile}-quantile, and --quantile is another"
            );
            return Err(Stop::Invalid(error));
        }
        objective.quantile = quantile;
    }
    let observed = read.observed(cpu_request);
    let end_s = observed
        .traffic
        .last()
        .map_or(0.0, |(t_s, _)| t_s + observed.startup_resolution_s);
    let traffic = Traffic::of_steps(&observed.traffic, end_s, args.scale);
    fitted(args, name, &observed, objective, traffic.ok())
}

/// A service whose behaviour was seen.
fn fitted(
    args: &Args,
    name: String,
    observed: &Observed,
    objective: Objective,
    traffic: Option<Traffic>,
) -> Result<Learned, Stop> {
    let fit = Fit::new(observed, &objective).map_err(|error| {
        Stop::Unknown(advice::too_little(
            &error,
            &name,
            observed,
            objective.latency_ms(),
        ))
    })?;
    let mut notes = Vec::new();
    let startup = match (args.startup, fit.startup) {
        (Some(said), _) => said,
        (None, Some(seen)) => Duration::from_secs_f64(seen.seconds),
        (None, None) => {
            notes.push(format!(
                "no pod was seen starting, so {} s is assumed; say --startup, or record a scale-out",
                STARTUP_DEFAULT.as_secs()
            ));
            STARTUP_DEFAULT
        }
    };
    Ok(Learned {
        scenario: workload::fitted(&name, &fit, startup),
        curve: fit.curve(),
        cpu_percent: fit.cpu_percent,
        source: Source::Fitted(Box::new(fit)),
        name,
        objective,
        traffic,
        notes,
    })
}

// --- What is searched.

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
            Traffic::of_trace(text, args.scale).with_context(|| path.display().to_string())?
        }
        None => traffic.context(
            "nothing says what is asked of the service: add a trace with the columns t_seconds,rps",
        )?,
    };
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
    let need = (ROOM * traffic.peak() / limit)
        .ceil()
        .clamp(1.0, f64::from(MAX_MOST)) as i32;
    let max_before = present
        .as_ref()
        .map(|_| subject.max)
        .filter(|max| *max < need);
    subject.max = subject.max.max(need).max(subject.min);
    let present = present.filter(|hpa| {
        let why = unplayable(hpa);
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
    })
}

/// Why the HPA there is cannot be played, where it cannot.
fn unplayable(hpa: &Value) -> Option<String> {
    const OURS: [&str; 4] = [
        "request_latency_ms",
        "request_rate",
        "request_concurrency",
        "slow_request_ratio",
    ];
    let spec = autoscaler::from_value(hpa).ok()?;
    let foreign = spec.metrics.iter().find(|metric| match metric {
        crate::hpa::MetricSpec::External { metric, .. } => !OURS.contains(&metric.as_str()),
        crate::hpa::MetricSpec::Pods { metric, .. } => !OURS.contains(&metric.as_str()),
        crate::hpa::MetricSpec::Object { .. } => true,
        crate::hpa::MetricSpec::Resource { resource, .. } => resource != "cpu",
    })?;
    Some(format!(
        "the HPA there is cannot be played, since {foreign} is not Taffrail's; nothing is compared with it"
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
