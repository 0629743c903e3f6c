//! The gateway as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchback_kit::service::main("gateway", switchback_gateway::run)
}
