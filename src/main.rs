//! Thin: parse, install the crypto provider, run.

use std::process::ExitCode;

fn main() -> ExitCode {
    taffrail::cli::main()
}
