//! The link manager as a service of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchback_kit::service::main("link-manager", switchback_link::run)
}
