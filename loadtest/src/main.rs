//! `taffrail-loadtest`: load over HTTP that checks autoscaling. Everything is in the library.

use std::process::ExitCode;

use taffrail_loadtest::cli::{self, ExitStatus};

#[tokio::main]
async fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(code) => return code,
    };
    // A task of its own: what panics in it has been printed, and ends as a code that is not a verdict.
    let done = tokio::spawn(cli::run(command)).await;
    done.unwrap_or_else(|_| ExitStatus::Panicked.into())
}
