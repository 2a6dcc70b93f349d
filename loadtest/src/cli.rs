//! The command line of `taffrail-loadtest`: runs scenarios and says by its exit code whether everything holds, checks
//! files, and judges and draws recorded runs again. Progress goes to stderr, results to stdout.

mod exit;
mod flags;
mod given;
mod lines;
mod lint;
pub mod outputs;
mod play;
mod report;
mod run;

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tokio::signal::unix::{SignalKind, signal};

pub use self::exit::{ExitMap, ExitStatus};
use self::flags::{Cli, SchemaOf};
pub use self::flags::{Command, ExitArgs, LintArgs, OneLoad, OutputArgs, ReportArgs, RunArgs};
use crate::report::json;
use crate::scenario::Scenario;

/// A command that could not do what it was asked for.
#[derive(Debug)]
struct Stop {
    status: ExitStatus,
    error: anyhow::Error,
}

impl Stop {
    fn new(status: ExitStatus, error: impl Into<anyhow::Error>) -> Self {
        Self {
            status,
            error: error.into(),
        }
    }

    /// What is wrong with files or flags.
    fn invalid(error: impl Into<anyhow::Error>) -> Self {
        Self::new(ExitStatus::Invalid, error)
    }
}

/// Reads the flags. On an error, or when help was asked for, it has been printed and the exit code is returned.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    Cli::try_parse_from(args)
        .map(|cli| cli.command)
        .map_err(|error| {
            // Help and version are errors to clap, but not to the one who asked for them.
            let status = if error.use_stderr() {
                ExitStatus::Invalid
            } else {
                ExitStatus::Passed
            };
            let _ = error.print();
            status.into()
        })
}

/// Does what was asked for, and returns the exit code.
pub async fn run(command: Command) -> ExitCode {
    let map = match &command {
        Command::Run(args) => args.exit.exit_map.clone(),
        Command::Report(args) => args.exit.exit_map.clone(),
        _ => ExitMap::default(),
    };
    let done = match command {
        Command::Run(args) => run::run(&args).await,
        Command::Lint(args) => lint::run(&args).await,
        Command::Report(args) => report::run(&args),
        Command::Schema { of } => schema(of),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "taffrail-loadtest", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    };
    let status = done.unwrap_or_else(|stop| {
        eprintln!("error: {:#}", stop.error);
        stop.status
    });
    ExitCode::from(map.code(status))
}

/// A future that completes at SIGTERM or ctrl-c.
///
/// # Errors
/// When the signals cannot be listened for.
pub fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn schema(of: SchemaOf) -> Result<ExitStatus, Stop> {
    let schema = match of {
        SchemaOf::Scenario => schemars::schema_for!(Scenario),
        SchemaOf::Report => json::schema(),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(Stop::invalid)?;
    print(&(text + "\n"))
}

fn print(text: &str) -> Result<ExitStatus, Stop> {
    outputs::say(text).map_err(Stop::invalid)?;
    Ok(ExitStatus::Passed)
}

#[cfg(test)]
mod tests;
