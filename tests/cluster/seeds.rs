//! The scenarios of `loadtest/scenarios` on the real control plane: its own HPA controller scales real pods, the adapter
//! tells it what they take, and the same checks judge it as in virtual time and on one machine. Where those have a model
//! of the HPA and of a Deployment, this shows that the scenarios hold of the originals.
//!
//! Everything but the requests runs [`SPEED`] times as fast, so that a run takes two minutes; recordings are in the
//! scenario's time. A busy machine makes requests late and answers slow, which hardly changes how many replicas are right:
//! what is said of replicas must hold, unless the machine stood still for so long that the pods were slow indeed. What is
//! said of answers must hold where the requests were sent in time.

mod cast;
mod pace;
mod play;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::Api;
use taffrail_loadtest::judge::validity::Premise;
use taffrail_loadtest::judge::verdict::{Verdict, judge_all};
use taffrail_loadtest::judge::{Finding, Group, Outcome, judge};
use taffrail_loadtest::recording::Recording;
use taffrail_loadtest::report::{Report, terminal};
use taffrail_loadtest::scenario::Scenario;

use self::play::Stage;
use crate::adapter;
use crate::harness::{Cluster, Table, hpa, table, until};
use crate::service;

/// How many times as fast as the scenario says. More, and a second of the HPA's behaviour would be less than one.
const SPEED: f64 = 3.0;

/// Where the scenarios are.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/loadtest/scenarios");

/// Enough for load to be felt, measured and acted upon on a slow machine.
const SCALED: Duration = Duration::from_secs(90);

/// Longer than the HPA of `stale` keeps its highest recommendation, a third of 60 s, and than its window of 5 s, by a few
/// looks of the controller: who took the want of a value for a want of load would have scaled in by then.
const OUTLASTS_STABILIZATION: Duration = Duration::from_secs(32);

/// A generator that takes up a request so late stood still, and the pods beside it: it is half of the latency that most
/// services here scale at.
const STOOD_STILL: Duration = Duration::from_millis(500);

/// What clearly takes more than the two pods that `stale` has, at 14 requests a second for each.
const BUSY: f64 = 38.0;

pub(crate) fn tests() -> Table {
    table!("seeds";
        a_wrong_token_is_told_and_holds_the_replicas_until_it_is_mended,
        redis_that_is_stopped_scales_nothing_in,
        a_slow_service_does_not_drive_its_callers_to_their_most,
        a_good_rollout_and_a_bad_one_that_is_undone_move_nobody_else,
    )
}

async fn a_good_rollout_and_a_bad_one_that_is_undone_move_nobody_else(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    holds(cluster, "users-and-shifts").await
}

async fn redis_that_is_stopped_scales_nothing_in(cluster: &Cluster) -> anyhow::Result<()> {
    holds(cluster, "visits").await
}

async fn a_slow_service_does_not_drive_its_callers_to_their_most(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    holds(cluster, "invoices").await
}

/// Beyond what the scenario says: who mends the token is scaled, and who breaks it again keeps what was scaled out.
async fn a_wrong_token_is_told_and_holds_the_replicas_until_it_is_mended(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let scenario = scenario("hello")?;
    let mut stage = Stage::set(cluster, &scenario).await?;
    judged(&stage.run().await?)?;
    refused(&stage).await?;

    let stale = stage.role("stale")?;
    let (wrong, right) = (stale.metrics()?, stale.metrics_with_token()?);
    stage.apply(&right).await?;
    let load = stage.crowd("stale", BUSY).await?;
    replicas(&stage, |replicas| 2 < replicas).await?;
    stage.apply(&wrong).await?;
    refused(&stage).await?;
    let held = replicas(&stage, |replicas| 2 < replicas).await?;
    drop(load);
    tokio::time::sleep(OUTLASTS_STABILIZATION).await;
    let now = replicas(&stage, |_| true).await?;
    ensure!(now == held, "{now} replicas, {held} before");
    stage.apply(&right).await?;
    replicas(&stage, |replicas| replicas == 2).await?;
    Ok(())
}

/// Plays the scenario of this name, which must hold.
async fn holds(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let scenario = scenario(name)?;
    let recording = Stage::set(cluster, &scenario).await?.run().await?;
    judged(&recording)
}

fn scenario(name: &str) -> anyhow::Result<Scenario> {
    let file = Path::new(SCENARIOS).join(format!("{name}.yaml"));
    Scenario::load(&file).context("the scenario")
}

/// An error with the whole report, where something does not hold.
fn judged(recording: &Recording) -> anyhow::Result<()> {
    let verdict = judge_all(recording, None);
    let has_stood_still = has_stood_still(recording);
    // The verdict leaves open what late requests put in doubt; without them nothing of replicas may be left open.
    let findings = match has_stood_still {
        true => verdict.findings.clone(),
        false => judge(recording),
    };
    let is_wrong = |finding: &&Finding| match (finding.group, finding.outcome) {
        (Group::Slo, outcome) => {
            outcome == Outcome::Fail && !has_stood_still && !is_late(&verdict, finding)
        }
        (_, outcome) if has_stood_still => outcome == Outcome::Fail,
        (_, outcome) => outcome != Outcome::Pass,
    };
    let wrong: Vec<&Finding> = findings.iter().filter(is_wrong).collect();
    let report = Report {
        recording,
        verdict: &verdict,
    };
    if verdict.outcome != Outcome::Pass {
        eprintln!("seeds: {}", verdict.sentence);
    }
    if !wrong.is_empty() {
        bail!("{wrong:#?}\n{}", terminal::summary(&report));
    }
    Ok(())
}

/// Whether the whole machine was so busy that pods, too, took long enough for an HPA to scale on it, and rightly.
fn has_stood_still(recording: &Recording) -> bool {
    let mut services = recording.services.values();
    services.any(|service| {
        let latest = service.load.lag.max();
        latest.is_some_and(|latest| STOOD_STILL <= latest)
    })
}

/// Whether answers may have been slow or failed because the machine was too busy to send the requests in time.
fn is_late(verdict: &Verdict, finding: &Finding) -> bool {
    verdict.findings.iter().any(|premise| {
        let is_sending = matches!(
            Premise::of(premise),
            Some(Premise::OfferedLoad | Premise::SendLag)
        );
        is_sending && premise.outcome != Outcome::Pass && premise.service == finding.service
    })
}

/// Waits until everybody says that the pods of `stale` refuse the token: its RequestMetrics, and the HPA, which from then
/// on decides nothing.
async fn refused(stage: &Stage<'_>) -> anyhow::Result<()> {
    let wanted = ["SourcesReachable", "False", "Unauthorized"];
    let said = service::condition(stage.cluster, &stage.namespace, "stale", wanted).await?;
    ensure!(said.contains("are the headers right?"), "{said}");
    let hpas = Api::<HorizontalPodAutoscaler>::namespaced(stage.cluster.admin(), &stage.namespace);
    until("the HPA to say why", SCALED, async || {
        let hpa = hpas.get("stale").await?;
        let active = hpa::condition(&hpa, "ScalingActive").context("no condition yet")?;
        let message = active.message.as_deref().unwrap_or_default();
        ensure!(
            active.status == "False" && message.contains("unauthorized"),
            "{active:?}"
        );
        Ok(())
    })
    .await
}

/// Waits until `stale` is to have as many replicas as is wanted, and says how many.
async fn replicas(stage: &Stage<'_>, is_wanted: impl Fn(i32) -> bool) -> anyhow::Result<i32> {
    until("other replicas of stale", SCALED, async || {
        let stale = service::deployment(stage.cluster, &stage.namespace, "stale").await?;
        let replicas = hpa::replicas(&stale);
        ensure!(is_wanted(replicas), "{replicas}");
        Ok(replicas)
    })
    .await
}
