//! Logs. `SWITCHBACK_LOG` filters as `RUST_LOG` does elsewhere (default `info`);
//! `SWITCHBACK_LOG_FORMAT=json` writes a line of JSON an event.

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. A second call in the same process changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("SWITCHBACK_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,sled=warn,fjall=warn,hickory_server=warn,s3s=off"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let json = std::env::var("SWITCHBACK_LOG_FORMAT").is_ok_and(|format| format == "json");
    let started = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
