//! `taffrail-loadtest report`: a recorded run, judged again by its own checks or by those of another scenario, and drawn
//! again. It sends nothing.

use std::path::Path;

use anyhow::Context;

use super::exit::ExitStatus;
use super::flags::ReportArgs;
use super::{Stop, outputs};
use crate::judge::threshold;
use crate::judge::verdict::judge_all;
use crate::recording::Recording;
use crate::report::json;
use crate::scenario::file::read_bounded;
use crate::scenario::{Outputs, Scenario};

/// Bytes of a recording: a week of seconds of some services.
const RECORDING_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Judges and draws the recording of the flags.
pub(super) fn run(args: &ReportArgs) -> Result<ExitStatus, Stop> {
    let flags = args.outputs.clone();
    let outputs = Outputs {
        json: flags.json,
        junit: flags.junit,
        html: flags.html,
        openmetrics: flags.openmetrics,
        prometheus: None,
    };
    outputs::check(&outputs).map_err(Stop::invalid)?;
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
    let reason = verdict.reason;
    outputs::write(&outputs, &[(recording, verdict)]).map_err(Stop::invalid)?;
    Ok(ExitStatus::from(reason))
}

/// Reads a recorded run.
pub(super) fn read(path: &Path) -> Result<Recording, Stop> {
    let text = read_bounded(path, RECORDING_BYTES_MAX);
    let read = text
        .context("cannot be read")
        .and_then(|text| json::read(&text).context("cannot be used"));
    read.map(|(recording, _verdict)| recording)
        .with_context(|| path.display().to_string())
        .map_err(Stop::invalid)
}
