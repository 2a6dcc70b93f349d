//! `taffrail check`: whether the adapter is installed and answers, seen from where HPAs see it, through the API server. It
//! is what the chart's test runs, since an image without a shell can run nothing else, and what a person runs after an
//! installation. Nothing is ever written, and nothing is judged that a cluster may have either way.

mod apis;
mod finding;
mod service;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use self::apis::Adapter;
use self::finding::{Finding, Report};
use crate::cluster::RequestError;
use crate::cluster::connect::{Cluster, connect_as_user};

/// What is exited with when something is not as it should be.
const EXIT_FOUND: u8 = 1;

/// How often it is looked while waiting. The API server judges an APIService anew when its endpoints change, so an
/// installation is soon seen; a look is half a dozen small requests.
const EVERY: Duration = Duration::from_secs(2);

/// Say whether the adapter is installed and answers, and what to do where it does not
///
/// Asks the API server what an HPA depends on: that it knows RequestMetrics, that the APIServices lead to the adapter and
/// are available, and that what is behind them lists its metrics. With --service, that a metric of one service can be
/// read, and in which state the service is. Any account may ask all of this but the APIServices (get) and the metric (list
/// on external.metrics.k8s.io); an APIService that may not be read is passed over. Nothing is written.
///
///   taffrail check
///
///   taffrail check --service users -n shop
///
///   taffrail check --adapter taffrail/taffrail --wait 1m -o json
///
/// Exit codes: 0 everything is as it should be, 1 something is not, 2 it could not be checked: no cluster, no answer.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A RequestMetrics object of which a metric must be readable
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub service: Option<String>,

    /// The namespace of --service; without it that of the kubeconfig's context, or of the pod
    #[arg(short, long, env = "TAFFRAIL_NAMESPACE", value_parser = name)]
    pub namespace: Option<String>,

    /// The Service that the APIServices must lead to; without it that of explain.taffrail.dev, which nobody else serves
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = adapter)]
    pub adapter: Option<Adapter>,

    /// Look again until everything is as it should be, for at most this long, such as 60s
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    pub wait: Option<Duration>,

    /// The kubeconfig of the cluster; without it a pod's service account, $KUBECONFIG or ~/.kube/config
    #[arg(long, env = "TAFFRAIL_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig
    #[arg(long)]
    pub context: Option<String>,

    /// How to print it; json is one object
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// How to print it.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A name that an object can have, so that it can stand in a path as it is.
fn name(text: &str) -> Result<String, String> {
    let may_stand =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if text.is_empty() || !text.bytes().all(may_stand) {
        return Err("no object can have this name: it has a-z, 0-9, - and .".to_owned());
    }
    Ok(text.to_owned())
}

fn adapter(text: &str) -> Result<Adapter, String> {
    let (namespace, service) = text
        .split_once('/')
        .ok_or_else(|| "must be NAMESPACE/NAME, such as taffrail/taffrail".to_owned())?;
    Ok(Adapter {
        namespace: name(namespace)?,
        service: name(service)?,
    })
}

/// Checks, once or until everything is as it should be.
///
/// # Errors
/// When it cannot be checked at all: there is no way to the API server, or no answer.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = connect_as_user(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let report = match args.wait {
        None => look(&cluster, &args).await?,
        Some(wait) => look_within(wait, &cluster, &args).await?,
    };
    print(&report, args.output)?;
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FOUND)
    })
}

/// The report of the last look: the first without a fault, or the one at the end.
async fn look_within(wait: Duration, cluster: &Cluster, args: &Args) -> anyhow::Result<Report> {
    let mut latest = None;
    let mut said = String::new();
    let looks = async {
        let mut turns = tokio::time::interval(EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let looked = look(cluster, args).await;
            let missing = match &looked {
                Ok(report) => report.failures(),
                Err(error) => format!("{error:#}"),
            };
            latest = Some(looked);
            if missing.is_empty() {
                return;
            }
            if missing != said {
                eprintln!("waiting: {missing}");
                said = missing;
            }
        }
    };
    // What was seen until then counts, so it is of no matter which of the two it was.
    let _ = tokio::time::timeout(wait, looks).await;
    latest.unwrap_or_else(|| {
        let wait = humantime::format_duration(wait);
        Err(anyhow!("no answer from the API server within {wait}"))
    })
}

/// One look at everything.
async fn look(cluster: &Cluster, args: &Args) -> anyhow::Result<Report> {
    // What anybody may ask: if this has no answer, nothing has.
    cluster
        .get::<Value>("/version")
        .await
        .context("asking the API server for its version")?;
    let mut findings = vec![definition(cluster).await];
    findings.extend(apis::look(cluster, args.adapter.as_ref()).await);
    if let Some(service) = &args.service {
        let namespace = args.namespace.as_deref().unwrap_or(&cluster.namespace);
        findings.push(service::look(cluster, namespace, service).await);
    }
    Ok(Report { findings })
}

/// Whether the API server knows `RequestMetrics`, as discovery tells everybody.
async fn definition(cluster: &Cluster) -> Finding {
    judge_definition(cluster.get("/apis/taffrail.dev/v1alpha1").await)
}

fn judge_definition(answer: Result<Value, RequestError>) -> Finding {
    let of = "requestmetrics.taffrail.dev";
    let finding = |found: &str| Finding::failed("definition", of, found);
    let apply = "taffrail crd | kubectl apply --server-side -f -";
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.is_not_found() => {
            return finding("the cluster does not have it").remedied(apply);
        }
        Err(error) => return finding(&error.to_string()),
    };
    let resources = finding::names(&answer);
    for wanted in ["requestmetrics", "requestmetrics/status"] {
        if !resources.contains(&wanted) {
            let found = format!("taffrail.dev/v1alpha1 has no {wanted}");
            return finding(&found).remedied(apply);
        }
    }
    Finding::passed("definition", of, "served as taffrail.dev/v1alpha1")
}

fn print(report: &Report, format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Text => report.text(),
        Format::Json => report.json()?,
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("printing it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_a_namespace_and_a_service() {
        let taffrail = Adapter {
            namespace: "monitoring".to_owned(),
            service: "taffrail".to_owned(),
        };
        assert_eq!(adapter("monitoring/taffrail"), Ok(taffrail));
        for text in ["taffrail", "/taffrail", "a/", "a/b/c", "A/b"] {
            assert!(adapter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_definition_without_status_is_an_old_one() {
        let of = |names: &[&str]| {
            let resources: Vec<Value> = names
                .iter()
                .map(|name| serde_json::json!({"name": name}))
                .collect();
            judge_definition(Ok(serde_json::json!({"resources": resources}))).is_failure()
        };
        assert!(!of(&["requestmetrics", "requestmetrics/status"]));
        assert!(of(&["requestmetrics"]));
        assert!(of(&[]));
    }
}
