//! The log: where it goes, how a line looks, what is left out.

use std::io::IsTerminal;

use anyhow::Context;

/// How log lines look.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

pub(super) fn start_log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    // What the API server refuses is said once by whoever asked, and would be said here at every attempt.
    let filter = format!("kube_client=off,kube_runtime=off,{filter}");
    let filter = tracing_subscriber::EnvFilter::try_new(filter).context("--log")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // The module's name would be a second `target` beside that of a source.
        .with_target(false)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("starting the log: {error}"))
}
