//! Where the results of a run go: standard output, the files that the scenario and the flags name, and the summary of a
//! GitHub step. It writes and draws nothing itself.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::lines;
use crate::clock;
use crate::judge::verdict::Verdict;
use crate::recording::Recording;
use crate::report::{Report, exposition, github, html, json, junit, terminal};
use crate::scenario::Outputs;

/// What a report is written as.
#[derive(Debug, Clone, Copy)]
enum Form {
    Json,
    Junit,
    Html,
    OpenMetrics,
}

impl Form {
    /// Its flag, which is also its key in a scenario.
    fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Html => "html",
            Self::OpenMetrics => "openmetrics",
        }
    }
}

/// The word for standard output in the place of a file.
pub const STDOUT: &str = "-";

/// Finds out, before anything is sent, whether every report can be written where it is to go. What was not there before
/// is not there afterwards, but for directories.
///
/// # Errors
/// The first place that takes no report, or that two of them are to go to, by its name.
pub fn check(outputs: &Outputs) -> anyhow::Result<()> {
    let mut taken = BTreeMap::new();
    for (form, file) in places(outputs) {
        let word = form.word();
        if let Some(other) = taken.insert(file, word) {
            bail!("`{other}` and `{word}` cannot both go to {file}");
        }
        if file != STDOUT {
            try_out(Path::new(file)).with_context(|| {
                format!("the report `{word}` cannot be written; choose another place for it")
            })?;
        }
    }
    Ok(())
}

/// The reports that are wanted, and where they go.
fn places(outputs: &Outputs) -> impl Iterator<Item = (Form, &str)> {
    let all = [
        (Form::Json, outputs.json.as_deref()),
        (Form::Html, outputs.html.as_deref()),
        (Form::Junit, outputs.junit.as_deref()),
        (Form::OpenMetrics, outputs.openmetrics.as_deref()),
    ];
    all.into_iter()
        .filter_map(|(form, file)| Some((form, file?)))
}

fn try_out(path: &Path) -> anyhow::Result<()> {
    let is_special = |meta: &std::fs::Metadata| !meta.is_file() && !meta.is_dir();
    if std::fs::metadata(path).is_ok_and(|meta| is_special(&meta)) {
        // A pipe would wait for its reader, and a device takes what it takes.
        return Ok(());
    }
    make_parent(path)?;
    // A link that leads nowhere yet was there, too.
    let was_there = path.symlink_metadata().is_ok();
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("opening {}", path.display()))?;
    if !was_there {
        std::fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

/// Reports the last of these attempts everywhere: first to whoever looks on, so that a file that cannot be written costs
/// nobody the verdict.
pub(super) fn write(outputs: &Outputs, attempts: &[(Recording, Verdict)]) -> anyhow::Result<()> {
    let Some((recording, verdict)) = attempts.last() else {
        return Ok(());
    };
    let last = Report { recording, verdict };
    let summary = format!("{}{}\n", terminal::summary(&last), lines::loads(recording));
    let said = match places(outputs).any(|(_, file)| file == STDOUT) {
        true => {
            eprint!("{summary}");
            Ok(())
        }
        false => say(&summary),
    };
    let written = files(outputs, attempts);
    said.and(written).and(tell_github(&last))
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
/// Every file that cannot be written, by its name; the others have been.
pub fn files(outputs: &Outputs, attempts: &[(Recording, Verdict)]) -> anyhow::Result<()> {
    let reports: Vec<Report<'_>> = attempts
        .iter()
        .map(|(recording, verdict)| Report { recording, verdict })
        .collect();
    let Some(last) = reports.last() else {
        return Ok(());
    };
    let attempt = last.recording.about.attempt;
    let mut unwritten = Vec::new();
    for (form, file) in places(outputs) {
        let (attempt, text) = match form {
            Form::Json => (attempt, json::json(last)),
            Form::Html => (attempt, html::html(last)),
            Form::OpenMetrics => (attempt, exposition::openmetrics(last)),
            Form::Junit => (1, junit::junit(&reports)),
        };
        if let Err(error) = put(&numbered(file, attempt), &text) {
            unwritten.push(format!(
                "the report `{}` was not written: {error:#}",
                form.word()
            ));
        }
    }
    ensure!(unwritten.is_empty(), unwritten.join("; "));
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
    make_parent(path)?;
    std::fs::write(path, text).with_context(|| format!("writing {file}"))
}

fn make_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let Some(parent) = parent else { return Ok(()) };
    std::fs::create_dir_all(parent)
        .with_context(|| format!("creating the directory {}", parent.display()))
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
    use crate::report::fixture;

    /// Reports of one form alone, to this place.
    fn html(file: &Path) -> Outputs {
        Outputs {
            html: Some(file.display().to_string()),
            ..Outputs::default()
        }
    }

    #[test]
    fn what_cannot_be_written_is_found_before_a_run_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        std::fs::write(place("file"), "before").unwrap();
        for good in ["new/run.html", "file"] {
            check(&html(&place(good))).unwrap();
        }
        check(&html(Path::new("/dev/null"))).unwrap();
        assert!(!place("new/run.html").exists());
        assert_eq!(std::fs::read_to_string(place("file")).unwrap(), "before");
        for (bad, expected) in [("", "opening"), ("file/run.html", "creating the directory")] {
            let error = format!("{:#}", check(&html(&place(bad))).unwrap_err());
            assert!(
                error.starts_with("the report `html` cannot be written; choose another place"),
                "{error}"
            );
            assert!(error.contains(expected), "{error}");
        }
        let twice = Outputs {
            json: Some(STDOUT.to_owned()),
            ..html(Path::new(STDOUT))
        };
        let error = check(&twice).unwrap_err().to_string();
        assert_eq!(error, "`json` and `html` cannot both go to -");
    }

    #[test]
    fn one_file_that_cannot_be_written_keeps_no_other_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let (good, bad) = (directory.path().join("run.json"), directory.path());
        let outputs = Outputs {
            json: Some(good.display().to_string()),
            ..html(bad)
        };
        let attempt = (fixture::recording(), fixture::verdict());
        let error = files(&outputs, &[attempt]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "the report `html` was not written: writing {}: ",
                bad.display()
            )),
            "{error}"
        );
        assert!(good.exists());
    }

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
