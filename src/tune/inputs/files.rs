//! Files to what they are, told apart by what is in them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;
use taffrail_loadtest::recording::Recording;
use taffrail_loadtest::report::json as report;
use taffrail_loadtest::scenario::Scenario;

use super::super::samples;
use crate::config::autoscaler;

/// Bytes of a file: a long load run.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The kind of what is to be better.
const HPA: &str = "HorizontalPodAutoscaler";

/// The files, by what is in them.
#[derive(Default)]
pub(super) struct Files {
    pub(super) scenario: Option<(PathBuf, Scenario)>,
    pub(super) run: Option<Recording>,
    pub(super) samples: Option<String>,
    pub(super) trace: Option<(PathBuf, String)>,
}

/// Reads these files, of each kind one at most.
pub(super) fn files(paths: &[PathBuf]) -> anyhow::Result<Files> {
    let mut files = Files::default();
    for path in paths {
        add(&mut files, path).with_context(|| path.display().to_string())?;
    }
    Ok(files)
}

/// Takes in one file, as what it is.
fn add(files: &mut Files, path: &Path) -> anyhow::Result<()> {
    let text = text(path)?;
    let kind = kind(path, &text);
    let text = match kind {
        Kind::Trace if is_json(&text) => samples::rates(&text)?,
        _ => text,
    };
    let taken = match kind {
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

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

#[derive(Clone, Copy)]
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
    let is_json = is_json(text);
    // Prometheus', or what it says where it has none.
    let is_answer = ["\"resultType\"", "\"errorType\""]
        .iter()
        .any(|key| text.contains(key));
    match () {
        () if is_json && is_answer && text.contains("\"taffrail_") => Kind::Samples,
        () if is_json && is_answer => Kind::Trace,
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

/// Reads an HPA.
pub(super) fn hpa(path: &Path) -> anyhow::Result<Value> {
    let read = || -> anyhow::Result<Value> {
        let object = autoscaler::object_from_yaml(&text(path)?)?;
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or(HPA);
        if kind != HPA {
            bail!("is a {kind}, and a {HPA} is wanted");
        }
        autoscaler::from_value(&object)?;
        Ok(object)
    };
    read().with_context(|| path.display().to_string())
}
