//! `taffrail explain`: why an HPA of a cluster has the replicas it has, and what would change that.
//!
//! What the HPA saw and remembers is asked of the adapter, which watches it. Where the adapter does not answer, everything
//! is read here as the HPA reads it, but for what only the HPA knows: what it asked for before, and when it scaled. Nothing
//! is ever written.

mod adapter;
mod ask;
mod events;
mod metrics;
mod object;
mod pods;
mod report;
mod scale;
mod sight;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use self::report::Report;
use crate::clock;
use crate::cluster::connect::{Cluster, connect_as_user};
use crate::model::time::Timestamp;
use crate::story::Cause;

/// How often a watch looks at most: a look is half a dozen requests.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// Say why an HPA has the replicas it has, and what would change that
///
/// Reads the HPA, what it scales, its pods, events and metrics, and asks the adapter what the HPA saw and remembers. With
/// the adapter's memory the seconds that stabilization and policies still hold are exact, and --at looks back; without it
/// they are known only as far as the HPA's status tells.
///
///   taffrail explain hpa/users -n shop
///
///   taffrail explain users -n shop --at 20m
///
///   taffrail explain users -n shop --watch
///
/// Exit codes: 0 it was explained, 2 it could not be: no such HPA, not allowed, nobody answers.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The HPA: NAME or hpa/NAME
    #[arg(value_name = "HPA", value_parser = name)]
    pub name: String,

    /// The HPA's namespace; without it that of the kubeconfig's context, or of the pod
    #[arg(short, long, env = "TAFFRAIL_NAMESPACE")]
    pub namespace: Option<String>,

    /// The kubeconfig of the cluster; without it a pod's service account, $KUBECONFIG or ~/.kube/config
    #[arg(long, env = "TAFFRAIL_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig
    #[arg(long)]
    pub context: Option<String>,

    /// Explain the sync at this time: RFC 3339, or how long ago, such as 5m. Each replica of the adapter keeps the hour
    /// that it saw; all are tried
    #[arg(long, value_name = "TIME", value_parser = at)]
    pub at: Option<At>,

    /// Go on, and say so each time the reason is another
    #[arg(short, long, conflicts_with = "at")]
    pub watch: bool,

    /// How often to look, when watching; the HPA decides every 15 s
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = every)]
    pub every: Duration,

    /// How to print it; of json, one object in a line
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

/// When.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// Then.
    Time(Timestamp),
    /// So long ago.
    Ago(Duration),
}

/// The HPA's name, without what `kubectl` writes before it.
fn name(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        None => text,
        Some((
            "hpa"
            | "horizontalpodautoscaler"
            | "horizontalpodautoscalers"
            | "horizontalpodautoscaler.autoscaling"
            | "horizontalpodautoscalers.autoscaling",
            name,
        )) => name,
        Some((kind, _)) => return Err(format!("{kind} is no HPA: write NAME or hpa/NAME")),
    };
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    {
        return Err("no object can have this name: write NAME or hpa/NAME".to_owned());
    }
    Ok(name.to_owned())
}

/// A time, or how long ago it was.
fn at(text: &str) -> Result<At, String> {
    if let Some(time) = Timestamp::from_rfc3339(text) {
        return Ok(At::Time(time));
    }
    let ago = text.trim_end_matches("ago").trim();
    humantime::parse_duration(ago).map(At::Ago).map_err(|_| {
        "must be a time of RFC 3339, such as 2026-11-21T10:15:00Z, or how long ago, such as 5m"
            .to_owned()
    })
}

/// How often to look.
fn every(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).ok();
    every
        .filter(|every| EVERY_MIN <= *every)
        .ok_or_else(|| "must be 1s or longer, such as 15s".to_owned())
}

/// Explains, once or until it is told to stop.
///
/// # Errors
/// What could not be read, and what to do about it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = connect_as_user(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let namespace = args
        .namespace
        .clone()
        .unwrap_or_else(|| cluster.namespace.clone());
    if args.watch {
        tokio::select! {
            () = watch(&cluster, &namespace, &args) => {}
            stopped = tokio::signal::ctrl_c() => stopped.context("listening for an interrupt")?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let report = Report::read(&cluster, &namespace, &args).await?;
    print(&report, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Looks again and again, and prints when the reason has changed. What fails is said once, until it fails otherwise.
async fn watch(cluster: &Cluster, namespace: &str, args: &Args) {
    let mut looks = tokio::time::interval(args.every);
    let mut last: Option<Cause> = None;
    let mut failed = String::new();
    loop {
        looks.tick().await;
        match Report::read(cluster, namespace, args).await {
            Ok(report) => {
                failed.clear();
                let cause = Cause::of(&report.facts);
                let is_first = last.is_none();
                if last.as_ref() != Some(&cause) {
                    if !is_first && args.output == Format::Text {
                        println!("\n---");
                    }
                    last = Some(cause);
                    // Nobody reads any more.
                    if print(&report, args.output).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let said = format!("{error:#}");
                if said != failed {
                    eprintln!(
                        "error: {said}; it is tried again every {}",
                        humantime::format_duration(args.every)
                    );
                    failed = said;
                }
            }
        }
    }
}

fn print(report: &Report, format: Format) -> anyhow::Result<()> {
    let mut text = match format {
        Format::Text => report.text(clock::now()),
        Format::Json => serde_json::to_string(report)?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("printing it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hpa_is_named_as_kubectl_names_it() {
        for (text, expected) in [
            ("users", Some("users")),
            ("hpa/users", Some("users")),
            ("horizontalpodautoscaler.autoscaling/users", Some("users")),
            ("deployment/users", None),
            ("hpa/", None),
            ("hpa/a/b", None),
            ("Users", None),
            ("../secrets", None),
        ] {
            assert_eq!(name(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_time_is_an_instant_or_a_span_ago() {
        let time = Timestamp::from_rfc3339("2026-11-21T10:15:00Z").unwrap();
        assert_eq!(at("2026-11-21T10:15:00Z"), Ok(At::Time(time)));
        assert_eq!(at("2026-11-21T12:15:00+02:00"), Ok(At::Time(time)));
        for text in ["5m", "5m ago", "300s"] {
            assert_eq!(at(text), Ok(At::Ago(Duration::from_secs(300))), "{text}");
        }
        assert!(at("yesterday").unwrap_err().contains("RFC 3339"));
    }
}
