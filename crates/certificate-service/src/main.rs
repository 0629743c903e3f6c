//! The certificate service as a program of its own.

fn main() -> std::process::ExitCode {
    switchback_kit::service::main("certificate-service", switchback_certificate::run)
}
