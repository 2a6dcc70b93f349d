//! The scenarios of `loadtest/scenarios` on the real control plane: its own HPA controller scales real pods, the adapter
//! tells it what they take, and the same checks judge it as in virtual time and on one machine. Where those have a model
//! of the HPA and of a Deployment, this shows that the scenarios hold of the originals.
//!
//! Everything but the requests runs [`SPEED`] times as fast, so that a run takes two minutes; recordings are in the
//! scenario's time.

mod cast;
mod orders;
mod pace;
mod play;

use std::path::Path;

use anyhow::{Context, bail};
use taffrail_loadtest::judge::Outcome;
use taffrail_loadtest::judge::verdict::judge_all;
use taffrail_loadtest::report::{Report, terminal};
use taffrail_loadtest::scenario::Scenario;

use crate::adapter;
use crate::harness::{Cluster, Table, table};

/// How many times as fast as the scenario says. More, and a second of the HPA's behaviour would be less than one.
const SPEED: f64 = 3.0;

/// A machine that stands still in the wrong moment fails a run of a system that is well, and hardly two.
const ATTEMPTS: u32 = 2;

/// Where the scenarios are.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/loadtest/scenarios");

pub(crate) fn tests() -> Table {
    table!("seeds";
        a_good_rollout_and_a_bad_one_that_is_undone_move_nobody_else,
        redis_that_is_stopped_scales_nothing_in,
        a_slow_service_does_not_drive_its_callers_to_their_most,
    )
}

async fn a_good_rollout_and_a_bad_one_that_is_undone_move_nobody_else(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    passes(cluster, "users-and-shifts").await
}

async fn redis_that_is_stopped_scales_nothing_in(cluster: &Cluster) -> anyhow::Result<()> {
    passes(cluster, "visits").await
}

async fn a_slow_service_does_not_drive_its_callers_to_their_most(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    passes(cluster, "invoices").await
}

/// Plays the scenario of this name until it passes once.
async fn passes(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let file = Path::new(SCENARIOS).join(format!("{name}.yaml"));
    let scenario = Scenario::load(&file).context("the scenario")?;
    let mut said = String::new();
    for attempt in 1..=ATTEMPTS {
        let recording = play::play(cluster, &scenario, attempt).await?;
        let verdict = judge_all(&recording, None);
        if verdict.outcome == Outcome::Pass {
            return Ok(());
        }
        let report = Report {
            recording: &recording,
            verdict: &verdict,
        };
        said += &terminal::summary(&report);
        eprintln!("seeds: {name}, run {attempt}: {}", verdict.sentence);
    }
    bail!("{name} did not pass in {ATTEMPTS} runs:\n{said}")
}
