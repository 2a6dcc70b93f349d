//! `taffrail-loadtest report`: a recorded run, judged again by its own checks or by those of another scenario, and drawn
//! again. It sends nothing.

use std::path::Path;

use anyhow::{Context, anyhow};

use super::exit::ExitStatus;
use super::flags::ReportArgs;
use super::run::status_of;
use super::{Stop, lines, outputs};
use crate::judge::threshold;
use crate::judge::verdict::judge_all;
use crate::recording::{Recording, SCHEMA_VERSION};
use crate::scenario::file::read_bounded;
use crate::scenario::{Outputs, Scenario};

/// Bytes of a recording: a week of seconds of some services.
const RECORDING_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Judges and draws the recording of the flags.
pub(super) fn run(args: &ReportArgs) -> Result<ExitStatus, Stop> {
    let mut recording = read(&args.recording)?;
    if let Some(path) = &args.scenario {
        let other = Scenario::load(path).map_err(Stop::invalid)?;
        threshold::check(&other).map_err(Stop::invalid)?;
        let scenario = &mut recording.scenario;
        scenario.assertions = other.assertions;
        scenario.thresholds = other.thresholds;
        scenario.slo = other.slo;
    }
    let baseline = args.baseline.as_deref().map(read).transpose()?;
    let verdict = judge_all(&recording, baseline.as_ref());
    let flags = args.outputs.clone();
    let outputs = Outputs {
        json: flags.json,
        junit: flags.junit,
        html: flags.html,
        prometheus: None,
    };
    outputs::write(&outputs, &recording, &verdict).map_err(Stop::invalid)?;
    if outputs.json.as_deref() != Some(outputs::STDOUT) {
        println!(
            "{}",
            lines::summary(&recording, &verdict.findings, &verdict.sentence)
        );
    }
    Ok(status_of(verdict.reason))
}

/// Reads a recorded run.
pub(super) fn read(path: &Path) -> Result<Recording, Stop> {
    let read = || -> anyhow::Result<Recording> {
        let text = read_bounded(path, RECORDING_BYTES_MAX)?;
        let recording: Recording = serde_json::from_str(&text).context("it is no recorded run")?;
        if recording.schema_version != SCHEMA_VERSION {
            let found = recording.schema_version;
            return Err(anyhow!(
                "it has version {found}, and this program reads {SCHEMA_VERSION}"
            ));
        }
        Ok(recording)
    };
    read()
        .with_context(|| format!("reading {}", path.display()))
        .map_err(Stop::invalid)
}
