//! `taffrail-loadtest lint`: everything that can be wrong with a scenario before anything is sent. HPAs are those that the
//! scenario brings itself, those of files, and those of a cluster when it is asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::Value;

use super::Stop;
use super::exit::ExitStatus;
use super::flags::LintArgs;
use super::outputs;
use super::run::plans;
use crate::arrivals::plan::Plan;
use crate::cluster::connect::connect;
use crate::judge::lint::{LintFinding, LintId, Place, Severity, Timing, lint, timings};
use crate::judge::threshold;
use crate::observe::autoscaler_of;
use crate::recording::Autoscaler;
use crate::scenario::file::{Lines, read_objects};
use crate::scenario::{ObjectName, Scenario};

/// How long the cluster may take for one HPA.
const READ_TIME_MAX: Duration = Duration::from_secs(10);

/// The kind of the objects that are looked for.
const KIND: &str = "HorizontalPodAutoscaler";

/// HPAs from elsewhere than the scenario, by where they are found.
type Given = Vec<HorizontalPodAutoscaler>;

/// Checks each scenario, and says what is wrong with every one of them.
pub(super) async fn run(args: &LintArgs) -> Result<ExitStatus, Stop> {
    let mut given = Given::new();
    for path in &args.hpa {
        given.extend(read(path).map_err(Stop::invalid)?);
    }
    let client = match args.cluster {
        true => {
            let client = connect(args.kubeconfig.as_deref(), args.context.as_deref()).await;
            let failed = |error| Stop::new(ExitStatus::ClusterUnreachable, error);
            Some(client.map_err(failed)?)
        }
        false => None,
    };
    let mut statuses = Vec::new();
    for path in &args.scenarios {
        statuses.push(match one(path, args, &given, client.as_ref()).await {
            Ok((text, status)) => {
                outputs::say(&text).map_err(Stop::invalid)?;
                status
            }
            Err(stop) => {
                eprintln!("{:#}", stop.error);
                stop.status
            }
        });
    }
    Ok(ExitStatus::heaviest(statuses))
}

/// What is to be said of one scenario.
async fn one(
    path: &Path,
    args: &LintArgs,
    given: &[HorizontalPodAutoscaler],
    client: Option<&Client>,
) -> Result<(String, ExitStatus), Stop> {
    let scenario = Scenario::load(path).map_err(Stop::invalid)?;
    let file = path.display();
    threshold::check(&scenario)
        .with_context(|| file.to_string())
        .map_err(Stop::invalid)?;
    let plans = plans(&scenario, path.parent().unwrap_or(Path::new(".")))
        .map_err(|stop| Stop::new(stop.status, stop.error.context(file.to_string())))?;
    let (mut hpas, mut findings) = own(&scenario);
    hpas.extend(matching(&scenario, given));
    if let Some(client) = client {
        hpas.extend(of_cluster(&scenario, client).await?);
    }
    for hpa in hpas.values_mut() {
        hpa.sync_period_s = args.sync_period.as_secs_f64();
    }
    let timing = Timing {
        metric_window_s: args.metric_window.map(|window| window.as_secs_f64()),
        scrape_interval_s: args.scrape_interval.map(|interval| interval.as_secs_f64()),
    };
    findings.extend(lint(&scenario, &hpas, &timings(&scenario, timing)));
    let lines = Lines::load(path);
    let mut text: String = findings
        .iter()
        .map(|finding| {
            let line = line_of(&finding.place, &lines);
            let line = line.map_or(String::new(), |line| format!(":{line}"));
            format!("{file}{line}: {}\n", sentence(finding))
        })
        .collect();
    let requests: u64 = plans.iter().filter_map(Plan::planned).sum();
    let end = plans.iter().map(Plan::end).max().unwrap_or_default();
    text += &format!(
        "{file}: {requests} requests in {}, {} checks\n",
        humantime::format_duration(end),
        scenario.assertions.len()
    );
    let status = match args.strict && impossible(&findings) {
        true => ExitStatus::Invalid,
        false => ExitStatus::Passed,
    };
    Ok((text, status))
}

fn line_of(place: &Place, lines: &Lines) -> Option<u64> {
    match place {
        Place::Hpa(service) => lines.hpa(service),
        Place::Assertion(index) => lines.assertion(*index),
    }
}

/// A finding for people.
pub(super) fn sentence(finding: &LintFinding) -> String {
    let LintFinding {
        severity,
        sentence,
        fix,
        ..
    } = finding;
    format!("{}: {sentence}; {fix}", severity.word())
}

/// What is doubtful about the checks of a scenario, by the HPAs that it brings itself. Those of a cluster are unknown
/// until they are read.
pub(super) fn doubts(scenario: &Scenario) -> Vec<LintFinding> {
    let (hpas, mut findings) = own(scenario);
    let timings = timings(scenario, Timing::default());
    findings.extend(lint(scenario, &hpas, &timings));
    findings
}

/// The HPAs that a scenario brings itself, and those of them that cannot be read.
fn own(scenario: &Scenario) -> (BTreeMap<String, Autoscaler>, Vec<LintFinding>) {
    let (mut hpas, mut findings) = (BTreeMap::new(), Vec::new());
    for (name, service) in &scenario.services {
        let Some(object) = &service.hpa else { continue };
        match HorizontalPodAutoscaler::deserialize(object) {
            Ok(hpa) => drop(hpas.insert(name.clone(), autoscaler_of(&hpa))),
            Err(why) => findings.push(LintFinding {
                id: LintId::Unreadable,
                severity: Severity::Impossible,
                place: Place::Hpa(name.clone()),
                assertion: None,
                sentence: format!("the HPA of {name} cannot be read: {why}"),
                fix: "write it as it would be applied to a cluster".to_owned(),
            }),
        }
    }
    (hpas, findings)
}

/// The HPAs of a file, which may hold other objects as well.
fn read(path: &Path) -> anyhow::Result<Given> {
    let objects = read_objects(path)?;
    // A scenario's HPA may leave its kind out, and be in a file of its own.
    let is_hpa = |object: &Value| match object.get("kind") {
        Some(kind) => kind == KIND,
        None => object.pointer("/spec/maxReplicas").is_some(),
    };
    let mut given = Given::new();
    for object in objects.into_iter().filter(is_hpa) {
        let read = HorizontalPodAutoscaler::deserialize(&object);
        given.push(read.with_context(|| format!("{}: the {KIND}", path.display()))?);
    }
    if given.is_empty() {
        bail!("{}: there is no {KIND} in it", path.display());
    }
    Ok(given)
}

/// The given HPAs by the service that each is for: the one that observes it, else the one of its name, else the only one.
fn matching<'s>(
    scenario: &'s Scenario,
    given: &'s [HorizontalPodAutoscaler],
) -> impl Iterator<Item = (String, Autoscaler)> + 's {
    let only = scenario.services.len() == 1 && given.len() == 1;
    scenario.services.iter().filter_map(move |(service, said)| {
        let wanted = said.observe.as_ref().map(|observe| &observe.hpa);
        let observed = given.iter().find(|hpa| {
            let namespace = hpa.metadata.namespace.as_deref();
            wanted.is_some_and(|wanted| {
                hpa.metadata.name.as_deref() == Some(&wanted.name)
                    // A manifest often leaves the namespace to whoever applies it.
                    && namespace.is_none_or(|namespace| namespace == wanted.namespace)
            })
        });
        let called = || {
            given
                .iter()
                .find(|hpa| hpa.metadata.name.as_ref() == Some(service))
        };
        let only = || given.first().filter(|_| only);
        let hpa = observed.or_else(called).or_else(only)?;
        Some((service.clone(), autoscaler_of(hpa)))
    })
}

/// The HPAs that a scenario observes, as they are in the cluster.
async fn of_cluster(
    scenario: &Scenario,
    client: &Client,
) -> Result<BTreeMap<String, Autoscaler>, Stop> {
    let mut hpas = BTreeMap::new();
    for (service, said) in &scenario.services {
        let Some(observe) = &said.observe else {
            continue;
        };
        let ObjectName { namespace, name } = &observe.hpa;
        let api = Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), namespace);
        let stop = |status, why: String| {
            Stop::new(status, anyhow!("reading HPA {namespace}/{name}: {why}"))
        };
        let unreachable = |why: &str| stop(ExitStatus::ClusterUnreachable, why.to_owned());
        match tokio::time::timeout(READ_TIME_MAX, api.get(name)).await {
            Ok(Ok(hpa)) => drop(hpas.insert(service.clone(), autoscaler_of(&hpa))),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                let why = "there is none; correct observe.hpa or apply it first".to_owned();
                return Err(stop(ExitStatus::Invalid, why));
            }
            Ok(Err(kube::Error::Api(status))) => {
                let why = format!("the API server answers {}", status.code);
                return Err(stop(ExitStatus::ClusterUnreachable, why));
            }
            Ok(Err(_)) | Err(_) => return Err(unreachable("the API server does not answer")),
        }
    }
    Ok(hpas)
}

/// Whether one of the checks can never hold.
pub(super) fn impossible(doubts: &[LintFinding]) -> bool {
    doubts
        .iter()
        .any(|doubt| doubt.severity == Severity::Impossible)
}

#[cfg(test)]
mod tests;
