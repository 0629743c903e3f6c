//! The `switchback` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchback::cli::main()
}
