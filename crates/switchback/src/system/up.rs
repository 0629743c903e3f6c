//! Runs services in this process until a signal, and says when they are ready.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use switchback_kit::config::Source;
use switchback_kit::grpc::health;
use switchback_kit::service::cancel_on_signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::service::Service;

/// Between two looks at the health of services that are starting.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How this process relates to the one that started it.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Attachment {
    /// End when standard input closes: the lab that started this process is gone.
    #[arg(long, hide = true)]
    pub until_eof: bool,
    /// Leave the terminal's session, so that its end is not ours.
    #[arg(long, hide = true)]
    pub new_session: bool,
}

impl Attachment {
    /// Does what the flags say; `shutdown` is cancelled when standard input closes.
    pub fn apply(self, shutdown: &CancellationToken) {
        if self.new_session {
            // Fails only for the leader of a process group, which then has what it wants.
            let _ = nix::unistd::setsid();
        }
        if self.until_eof {
            let shutdown = shutdown.clone();
            // A thread of its own: a blocked read would hold up the end of the runtime.
            std::thread::spawn(move || {
                let mut sink = [0; 64];
                while std::io::stdin().read(&mut sink).is_ok_and(|read| read > 0) {}
                shutdown.cancel();
            });
        }
    }
}

/// Runs all five services of the system that `config` describes.
///
/// # Errors
/// A service could not start, or failed.
pub async fn up(config: &Path) -> anyhow::Result<()> {
    let source = Source::load(config)?;
    let system = source.system()?;
    let services = source.services()?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    let mut running = JoinSet::new();
    for service in Service::ALL {
        let (source, shutdown) = (source.clone(), shutdown.clone());
        running.spawn(async move {
            let ended = service.run(source, shutdown.clone()).await;
            let asked = shutdown.is_cancelled();
            // One service alone is no system: the others end with it.
            shutdown.cancel();
            match ended {
                Ok(()) if asked => Ok(()),
                Ok(()) => anyhow::bail!("{service} ended by itself"),
                Err(error) => Err(error.context(format!("{service} failed"))),
            }
        });
    }
    let ready = async {
        for service in Service::ALL {
            while health(service.address(&services)).await.is_err() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    };
    tokio::select! {
        () = ready => println!("{}", greeting(&source, &system.name, &system.domain)),
        () = shutdown.cancelled() => {}
    }
    let mut result = Ok(());
    while let Some(ended) = running.join_next().await {
        let ended = ended.context("a service panicked").and_then(|ended| ended);
        // The first failure is the cause; the rest are its consequences.
        if result.is_ok() {
            result = ended;
        }
    }
    result
}

/// Runs one service of the system that `config` describes.
///
/// # Errors
/// The service could not start, or failed.
pub async fn one(service: Service, config: &Path, attachment: Attachment) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    attachment.apply(&shutdown);
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    let source = Source::load(config)?;
    service.run(source, shutdown).await
}

#[derive(serde::Deserialize)]
struct GatewayEdge {
    s3_listen: Vec<String>,
}

#[derive(serde::Deserialize)]
struct DnsEdge {
    dns_listen: Vec<String>,
}

fn greeting(source: &Source, name: &str, domain: &str) -> String {
    let s3 = source.section("gateway").map(|edge: GatewayEdge| edge.s3_listen).unwrap_or_default();
    let dns = source.section("dns_broadcaster").map(|edge: DnsEdge| edge.dns_listen).unwrap_or_default();
    let gateway = source.services().map(|services| services.gateway).unwrap_or_default();
    format!(
        "system {name} is ready\n  S3         {}   (tenants: http://<tenant>.{domain})\n  DNS        {}\n  operators  {gateway}",
        s3.join(", "),
        dns.join(", "),
    )
}
