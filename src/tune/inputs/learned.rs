//! What files and flags say of a service: how its pods behave, what its users were promised, what is asked of it. Each
//! kind of file says it in its own way.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use taffrail_loadtest::profile::ProfileError;
use taffrail_loadtest::recording::Recording;
use taffrail_loadtest::scenario::Scenario;

use super::super::curve::{Curve, Objective};
use super::super::fit::Fit;
use super::super::points::Observed;
use super::super::samples::{self, Samples};
use super::super::traffic::Traffic;
use super::super::{Args, advice, recorded, workload};
use super::files::Files;
use super::{OURS, Source, Stop};
use crate::model::quantity;

/// The quantile of an objective that names none.
const QUANTILE_DEFAULT: f64 = 0.95;

/// How long a pod starts of which nobody knows: an image that is there, and a process that takes its time.
const STARTUP_DEFAULT: Duration = Duration::from_secs(30);

/// No latency and no start of a pod is longer: what says so is in another unit, or broken.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What is to be done where no file has traffic.
const NO_TRAFFIC: &str =
    "nothing says what is asked of the service: add a trace with the columns t_seconds,rps";

/// What was learned of a service before anything is made of it.
pub(super) struct Learned {
    pub(super) name: String,
    pub(super) objective: Objective,
    pub(super) scenario: Scenario,
    pub(super) curve: Curve,
    pub(super) cpu_percent: Option<f64>,
    pub(super) source: Source,
    /// The traffic of the same file, or why there is none.
    pub(super) traffic: anyhow::Result<Traffic>,
    pub(super) notes: Vec<String>,
}

/// What they say, by the file that says most.
pub(super) fn learn(args: &Args, files: &Files, present: Option<&Value>) -> Result<Learned, Stop> {
    if let Some(run) = &files.run {
        return from_run(args, run);
    }
    if let Some(text) = &files.samples {
        return from_samples(args, text, present);
    }
    if let Some((path, scenario)) = &files.scenario {
        return Ok(from_scenario(args, path, scenario, files.trace.is_some())?);
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

/// The label `service` of the first external metric of requests that has one.
fn service_label(hpa: &Value) -> Option<&str> {
    let metrics = hpa
        .pointer("/spec/metrics")
        .or_else(|| hpa.get("metrics"))?
        .as_array()?;
    // Another metric may be of another service, such as the backlog of one that is waited for.
    let is_of_requests = |metric: &&Value| {
        let name = metric
            .pointer("/external/metric/name")
            .and_then(Value::as_str);
        name.is_some_and(|name| OURS.contains(&name))
    };
    let mut labels = metrics.iter().filter(is_of_requests).filter_map(|metric| {
        metric
            .pointer("/external/metric/selector/matchLabels/service")?
            .as_str()
    });
    labels.next()
}

fn objective(args: &Args, said: Option<Objective>) -> anyhow::Result<Objective> {
    let latency_s = args
        .objective
        .map(|objective| objective.as_secs_f64())
        .or(said.map(|said| said.latency_s));
    let latency_s =
        latency_s.context("nothing says what users were promised: add --objective 250ms")?;
    if !(0.0 < latency_s && latency_s <= LONGEST.as_secs_f64()) {
        bail!(
            "the objective is {latency_s} s, which must be above zero and a day at most: say --objective 250ms"
        );
    }
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
pub(super) fn spec_of_pods(metrics: &Value) -> Option<&Value> {
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

fn from_scenario(
    args: &Args,
    path: &Path,
    scenario: &Scenario,
    has_trace: bool,
) -> anyhow::Result<Learned> {
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
    let read = |file: &str| std::fs::read_to_string(beside.join(file));
    let traffic = (!has_trace).then(|| workload::traffic(&scenario, &name, args.scale, read));
    told(name, scenario, objective, traffic)
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
        traffic: traffic.unwrap_or_else(|| Err(anyhow::anyhow!(NO_TRAFFIC))),
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
    let mut learned = fitted(args, name, &observed, objective, traffic)?;
    if service.load.closed {
        let text = "The run's users waited for answers, so its latencies hide what a slow pod kept from being asked: send at a rate.";
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
    fitted(args, name, &observed, objective, traffic)
}

/// A service whose behaviour was seen.
fn fitted(
    args: &Args,
    name: String,
    observed: &Observed,
    objective: Objective,
    traffic: Result<Traffic, ProfileError>,
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
        (None, Some(seen)) => within_a_day(seen.seconds).context(
            "the time that pods took to start, as it was recorded; say it with --startup",
        )?,
        (None, None) => {
            notes.push(format!(
                "No pod was seen starting, so {} s is assumed: say --startup, or record a scale-out.",
                STARTUP_DEFAULT.as_secs()
            ));
            STARTUP_DEFAULT
        }
    };
    let curve = fit.curve();
    let service_time = within_a_day(curve.service_s)
        .context("the service time that follows from what was recorded; are its latencies in the right unit?")?;
    let traffic = match observed.traffic.is_empty() {
        true => Err(anyhow::anyhow!(NO_TRAFFIC)),
        false => traffic.context(
            "what was recorded cannot be played as traffic; add a trace with the columns t_seconds,rps",
        ),
    };
    Ok(Learned {
        scenario: workload::fitted(&name, &fit, service_time, startup),
        curve,
        cpu_percent: fit.cpu_percent,
        source: Source::Fitted(Box::new(fit)),
        name,
        objective,
        traffic,
        notes,
    })
}

/// A time that was recorded.
fn within_a_day(seconds: f64) -> anyhow::Result<Duration> {
    let time = Duration::try_from_secs_f64(seconds).ok();
    time.filter(|time| *time <= LONGEST)
        .with_context(|| format!("{seconds} s are no time within a day"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_named_by_what_tells_of_its_requests() {
        let external = |name: &str, service: &str| {
            json!({"type": "External", "external":
                {"metric": {"name": name, "selector": {"matchLabels": {"service": service}}}}})
        };
        let hpa = |metrics: &[Value]| json!({"spec": {"metrics": metrics}});
        let backlog = external("redis_backlog", "mails");
        let rate = external("request_rate", "users");
        assert_eq!(service_label(&hpa(&[backlog.clone(), rate])), Some("users"));
        assert_eq!(service_label(&hpa(&[backlog])), None);
        assert_eq!(service_label(&json!({"spec": {"maxReplicas": 3}})), None);
    }

    #[test]
    fn a_time_that_is_none_is_an_error() {
        assert_eq!(within_a_day(1.5).unwrap(), Duration::from_millis(1500));
        for seconds in [-1.0, 1e300, f64::NAN, f64::INFINITY, 86_401.0] {
            assert!(within_a_day(seconds).is_err(), "{seconds}");
        }
    }
}
