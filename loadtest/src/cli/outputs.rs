//! Where the results of a run go: standard output, the files that the scenario and the flags name, and the summary of a
//! GitHub step. It writes and draws nothing itself.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::Context;

use super::lines;
use crate::clock;
use crate::judge::verdict::Verdict;
use crate::recording::Recording;
use crate::report::{Report, github, html, json, junit, terminal};
use crate::scenario::Outputs;

/// The word for standard output in the place of a file.
pub const STDOUT: &str = "-";

/// Reports the last of these attempts everywhere.
pub(super) fn write(outputs: &Outputs, attempts: &[(Recording, Verdict)]) -> anyhow::Result<()> {
    files(outputs, attempts)?;
    let Some((recording, verdict)) = attempts.last() else {
        return Ok(());
    };
    let last = Report { recording, verdict };
    if outputs.json.as_deref() != Some(STDOUT) {
        let loads = lines::loads(recording);
        say(&format!("{}{loads}\n", terminal::summary(&last)))?;
    }
    tell_github(&last)
}

/// Writes to standard output. Who has closed it, as `head` does, has read enough.
///
/// # Errors
/// What else keeps the text from being written.
pub fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match said {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        said => said.context("writing to standard output"),
    }
}

/// Writes the files about the last of these attempts. Each has files of its own, so that no retry hides the run before
/// it; only JUnit has all of them in one. A file called `-` is standard output.
///
/// # Errors
/// A file that cannot be written, by its name.
pub fn files(outputs: &Outputs, attempts: &[(Recording, Verdict)]) -> anyhow::Result<()> {
    let reports: Vec<Report<'_>> = attempts
        .iter()
        .map(|(recording, verdict)| Report { recording, verdict })
        .collect();
    let Some(last) = reports.last() else {
        return Ok(());
    };
    let attempt = last.recording.about.attempt;
    if let Some(file) = &outputs.json {
        put(&numbered(file, attempt), &json::json(last))?;
    }
    if let Some(file) = &outputs.html {
        put(&numbered(file, attempt), &html::html(last))?;
    }
    if let Some(file) = &outputs.junit {
        put(file, &junit::junit(&reports))?;
    }
    Ok(())
}

/// Where GitHub runs this, the summary of the step and its annotations. Those go to stderr, which it reads too, since
/// stdout may be a JSON report.
fn tell_github(report: &Report<'_>) -> anyhow::Result<()> {
    if clock::env("GITHUB_ACTIONS").is_some() {
        eprint!("{}", github::annotations(report));
    }
    let Some(path) = clock::env("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(github::summary(report).as_bytes()))
        .with_context(|| format!("writing the step's summary to {path}"))
}

/// Writes a file, and the directories that it is to be in. A file called `-` is standard output.
///
/// # Errors
/// What cannot be written, by its name.
pub fn put(file: &str, text: &str) -> anyhow::Result<()> {
    if file == STDOUT {
        return say(text);
    }
    let path = Path::new(file);
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("creating the directory {}", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("writing {file}"))
}

/// `run.json`, and from the second attempt on `run-2.json`.
fn numbered(file: &str, attempt: u32) -> String {
    if attempt <= 1 || file == STDOUT {
        return file.to_owned();
    }
    let path = Path::new(file);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{attempt}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{attempt}"),
    };
    path.with_file_name(name).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_has_its_own_file() {
        for (file, attempt, expected) in [
            ("out/run.json", 1, "out/run.json"),
            ("out/run.json", 2, "out/run-2.json"),
            ("run.d/run", 3, "run.d/run-3"),
            ("-", 2, "-"),
        ] {
            assert_eq!(numbered(file, attempt), expected);
        }
    }
}
