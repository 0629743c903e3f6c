//! The DNS broadcaster as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchback_kit::service::main("dns-broadcaster", switchback_dns::run)
}
