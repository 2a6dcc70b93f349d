//! Flags and subcommands: one list, from which help, environment variables and shell completions are made.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::cluster::crd;
use crate::{check, demo, explain, lint, replay, serve, simulate, tune};

/// What a command that could not do its work exits with; 1 is a verdict, not a failure.
const EXIT_FAILED: u8 = 2;

/// Latency-based scaling for Kubernetes: how many pods does this service need to answer in time?
///
/// Taffrail reads request latency and request rate from pods and from Redis, and serves them to the
/// HorizontalPodAutoscaler as external metrics. Start with `taffrail demo`, which needs no cluster.
#[derive(Parser, Debug)]
#[command(name = "taffrail", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(Box<serve::Args>),
    Demo(demo::Args),
    Replay(replay::Args),
    Simulate(simulate::Args),
    Lint(lint::Args),
    Check(check::Args),
    Explain(explain::Args),
    Tune(Box<tune::Args>),
    /// Print the definition of RequestMetrics objects
    ///
    /// YAML for a cluster, which the chart and deploy/manifests/install.yaml hold as well: taffrail crd | kubectl apply --server-side -f -
    Crd,
    /// Print a shell's completion script, such as: taffrail completions bash > /etc/bash_completion.d/taffrail
    Completions {
        /// The shell
        shell: Shell,
    },
    #[command(hide = true)]
    DemoPod(Box<demo::PodArgs>),
}

/// Parses the command line, runs it, and says what went wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two providers in one process make rustls panic, so the one is chosen here, before any connection.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("error: a TLS provider is installed already");
        return ExitCode::from(EXIT_FAILED);
    }
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => threads()?.block_on(serve::run(*args)),
        Command::Demo(args) => threads()?.block_on(demo::run(args)),
        // One thread serves, and few burn CPU: ten pods share two cores with everything else.
        Command::DemoPod(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .max_blocking_threads(4)
                .enable_all()
                .build()?;
            let code = runtime.block_on(demo::pod(*args));
            // Standard input is read on a thread that nothing can interrupt.
            runtime.shutdown_background();
            code
        }
        Command::Replay(args) => replay::run(&args, &mut std::io::stdout().lock()),
        Command::Simulate(args) => threads()?.block_on(simulate::run(args)),
        Command::Lint(args) => threads()?.block_on(lint::run(&args, &mut std::io::stdout().lock())),
        Command::Check(args) => threads()?.block_on(check::run(args)),
        Command::Explain(args) => threads()?.block_on(explain::run(args)),
        Command::Tune(args) => tune::run(&args),
        Command::Crd => {
            std::io::stdout()
                .write_all(crd::yaml()?.as_bytes())
                .context("writing the definition")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "taffrail", &mut script);
            std::io::stdout()
                .write_all(&script)
                .context("writing the completion script")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn threads() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_sound() {
        Cli::command().debug_assert();
    }
}
