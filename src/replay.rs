//! `taffrail replay`: recorded HPA decisions against our HPA model.
//!
//! Reads recordings of real HorizontalPodAutoscalers, gives [`crate::hpa`] what each of them saw, and compares what it
//! decides with what they did. A file that cannot be read is named and costs that file; the others are replayed.

pub mod compare;
pub mod recording;
pub mod syncs;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use self::compare::{RecordedConditions, Verdict, compare, listed};
use self::recording::Recording;
use self::syncs::Decided;

/// The largest recording that is read, in bytes: one HPA's day is 6 MB.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Replay recorded decisions of real HorizontalPodAutoscalers and compare them with the model
///
/// Exit codes: 0 enough decisions agree, 1 too few do or a file could not be read, 2 nothing could be replayed, for
/// whatever reason, so that 2 goes before 1.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Recordings: JSON files, or directories of them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Fail when fewer decisions than this agree, in per cent
    #[arg(long, default_value_t = 99.9, value_name = "PERCENT", value_parser = percent)]
    pub min_agreement: f64,

    /// Print one JSON object in place of text
    #[arg(long, conflicts_with = "verbose")]
    pub json: bool,

    /// Print a line for every decision
    #[arg(short, long)]
    pub verbose: bool,
}

/// The exit code when not one decision could be replayed: no verdict, but a failure.
const EXIT_NOTHING: u8 = 2;

/// A share in per cent from the command line.
fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok();
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "must be a number from 0 to 100, in per cent".to_owned())
}

/// What a replay found.
#[derive(Debug, Default, Serialize)]
struct Report {
    files: usize,
    /// Decisions made on metrics.
    decisions: Tally,
    /// Decisions made on bounds alone, without reading a metric.
    unread: Tally,
    /// Syncs after which all conditions are as recorded, of those with recorded ones.
    conditions: Tally,
    /// Syncs whose outcome somebody else's change hides.
    unclear: usize,
    differences: Vec<Difference>,
    unreadable: Vec<Unreadable>,
}

/// How many agree, of how many.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Tally {
    agree: usize,
    total: usize,
}

/// A sync in which model and HPA differ.
#[derive(Debug, Serialize)]
struct Difference {
    file: String,
    /// Seconds since the recording's start.
    time: f64,
    /// `replicas` or `conditions`.
    what: &'static str,
    current: i32,
    hpa: String,
    model: String,
    why: String,
}

/// A file that could not be replayed.
#[derive(Debug, Serialize)]
struct Unreadable {
    file: String,
    error: String,
}

/// Replays what `args` names and prints the comparison to `out`; the exit code is a failure when too few decisions agree
/// or a file could not be replayed.
///
/// # Errors
///
/// When nothing can be printed.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    for path in &args.paths {
        match files(path) {
            Ok(files) => {
                for file in files {
                    replay(&file, args.verbose, &mut report, out)?;
                }
            }
            Err(error) => report.unreadable(path, &error),
        }
    }
    if args.json {
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        report.print(out)?;
    }
    Ok(if report.is_empty() {
        ExitCode::from(EXIT_NOTHING)
    } else if report.passes(args.min_agreement) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The recordings that `path` names: itself, or the JSON files in it by name.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(file);
        }
    }
    anyhow::ensure!(!files.is_empty(), "no .json files in this directory");
    files.sort();
    Ok(files)
}

/// Replays one file into `report`.
fn replay(
    file: &Path,
    verbose: bool,
    report: &mut Report,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let verdicts = match load(file) {
        Ok(verdicts) => verdicts,
        Err(error) => {
            report.unreadable(file, &error);
            return Ok(());
        }
    };
    report.files += 1;
    let file = file.display().to_string();
    for verdict in verdicts {
        if verbose {
            print_verdict(&file, &verdict, out)?;
        }
        report.add(&file, &verdict);
    }
    Ok(())
}

/// Reads and compares one file. An error of the syntax has its line and column.
fn load(file: &Path) -> anyhow::Result<Vec<Verdict>> {
    let bytes = fs::metadata(file)?.len();
    anyhow::ensure!(
        bytes <= FILE_BYTES_MAX,
        "{bytes} bytes are more than the {FILE_BYTES_MAX} that are read"
    );
    let recording = Recording::parse(&fs::read_to_string(file)?)?;
    Ok(compare(&recording)?)
}

fn print_verdict(file: &str, verdict: &Verdict, out: &mut impl Write) -> anyhow::Result<()> {
    let Verdict {
        at, decision, why, ..
    } = verdict;
    let mark = match (verdict.agrees(), &verdict.conditions) {
        (Some(true), RecordedConditions::Other(_)) => "reasons",
        (Some(true), _) => "agree  ",
        (Some(false), _) => "DIFFER ",
        (None, _) => "unclear",
    };
    let (from, to, hpa) = (decision.current, decision.desired, shown(verdict.decided));
    writeln!(
        out,
        "{mark} {file} {at} s: {from} -> {hpa}, model {to}: {why}"
    )?;
    Ok(())
}

fn shown(decided: Decided) -> String {
    match decided {
        Decided::Replicas(replicas) => replicas.to_string(),
        Decided::Unclear => "?".to_owned(),
    }
}

// === impl Report ===

impl Report {
    fn add(&mut self, file: &str, verdict: &Verdict) {
        let Some(agrees) = verdict.agrees() else {
            self.unclear += 1;
            return;
        };
        let tally = if verdict.read {
            &mut self.decisions
        } else {
            &mut self.unread
        };
        tally.count(agrees);
        if verdict.conditions != RecordedConditions::Unrecorded {
            self.conditions
                .count(verdict.conditions == RecordedConditions::Same);
        }
        let decision = &verdict.decision;
        let mut differ = |what, hpa, model| {
            self.differences.push(Difference {
                file: file.to_owned(),
                time: verdict.at.seconds(),
                what,
                current: decision.current,
                hpa,
                model,
                why: verdict.why.clone(),
            });
        };
        if !agrees {
            differ(
                "replicas",
                shown(verdict.decided),
                decision.desired.to_string(),
            );
        }
        if let RecordedConditions::Other(theirs) = &verdict.conditions {
            differ("conditions", theirs.clone(), listed(&decision.conditions));
        }
    }

    fn unreadable(&mut self, file: &Path, error: &anyhow::Error) {
        self.unreadable.push(Unreadable {
            file: file.display().to_string(),
            error: format!("{error:#}"),
        });
    }

    fn is_empty(&self) -> bool {
        self.decisions.total + self.unread.total == 0
    }

    fn passes(&self, min_percent: f64) -> bool {
        self.unreadable.is_empty()
            && self.decisions.reaches(min_percent)
            && self.unread.reaches(min_percent)
    }

    fn print(&self, out: &mut impl Write) -> anyhow::Result<()> {
        for Difference {
            file,
            time,
            what,
            current,
            hpa,
            model,
            why,
        } in &self.differences
        {
            writeln!(
                out,
                "{file} at {time} s: from {current}, {what}: the HPA {hpa}, the model {model}: {why}"
            )?;
        }
        for Unreadable { file, error } in &self.unreadable {
            writeln!(out, "{file}: {error}")?;
        }
        let Tally { agree, total } = self.decisions;
        writeln!(out, "{agree} of {total} decisions agree")?;
        if 0 < self.unclear {
            writeln!(
                out,
                "{} more are not counted: somebody else scaled right after the reads",
                self.unclear
            )?;
        }
        let Tally { agree, total } = self.unread;
        writeln!(
            out,
            "{agree} of {total} changes to keep minReplicas and maxReplicas agree"
        )?;
        let Tally { agree, total } = self.conditions;
        writeln!(
            out,
            "{agree} of {total} syncs end with the recorded conditions"
        )?;
        Ok(())
    }
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, agrees: bool) {
        self.total += 1;
        self.agree += usize::from(agrees);
    }

    /// Whether at least `percent` agree. Of none, all do.
    fn reaches(self, percent: f64) -> bool {
        percent * self.total as f64 <= 100.0 * self.agree as f64
    }
}
