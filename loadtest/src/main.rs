//! `taffrail-loadtest`: runs a profile of load and prints what came of it. Everything is in the library.

use std::process::ExitCode;

use taffrail_loadtest::cli;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match cli::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(code) => return code,
    };
    cli::run(args).await
}
