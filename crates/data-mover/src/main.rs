//! The data mover as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchback_kit::service::main("data-mover", switchback_mover::run)
}
