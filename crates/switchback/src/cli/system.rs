//! `switchback system`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use switchback_kit::grpc::health;
use switchback_proto::link::v1::GetSystemRequest;

use super::Context;
use crate::client::Operator;
use crate::output::{Format, Show};
use crate::system::init::{self, Plan, Ports};
use crate::system::service::Service;
use crate::view::system::{ServiceView, SystemView};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a system: its configuration, its secret and an empty data folder.
    Init(Box<Init>),
    /// Who it is, and the health of its five services.
    Show,
}

#[derive(Debug, clap::Args)]
pub struct Init {
    /// The system's folder; it must not hold a system yet.
    #[arg(long)]
    dir: PathBuf,
    /// A short name, such as `east`.
    #[arg(long)]
    name: String,
    /// Its DNS domain, such as `east.example.com`.
    #[arg(long)]
    domain: String,
    /// The address at which clients, resolvers and the other system reach it.
    #[arg(long)]
    address: IpAddr,
    /// S3.
    #[arg(long, default_value_t = 9000)]
    s3_port: u16,
    /// The other system's link manager comes in here.
    #[arg(long, default_value_t = 5748)]
    link_port: u16,
    /// The other system's data mover comes in here.
    #[arg(long, default_value_t = 5749)]
    replication_port: u16,
    /// DNS, UDP and TCP.
    #[arg(long, default_value_t = 53)]
    dns_port: u16,
    /// The first of five ports inside the system, on the loopback.
    #[arg(long, default_value_t = 7101, value_parser = clap::value_parser!(u16).range(1..=65530))]
    grpc_base_port: u16,
    /// Where the other system reaches the link port, when not at `--address`.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
}

#[derive(Serialize)]
struct Created {
    config: PathBuf,
    system_id: String,
}

impl Show for Created {
    fn show(&self) -> String {
        format!(
            "created system {} in {}\nnext: switchback up --config {}\n",
            self.system_id,
            self.config.parent().unwrap_or(&self.config).display(),
            self.config.display()
        )
    }
}

pub(crate) fn init(arguments: Init, format: Format) -> anyhow::Result<()> {
    let config = init::create(&Plan {
        dir: arguments.dir,
        name: arguments.name,
        domain: arguments.domain,
        address: arguments.address,
        ports: Ports {
            s3: arguments.s3_port,
            link: arguments.link_port,
            replication: arguments.replication_port,
            dns: arguments.dns_port,
            grpc_base: arguments.grpc_base_port,
        },
        advertise: arguments.advertise,
    })?;
    let system_id = switchback_kit::config::Source::load(&config)?.system()?.id.to_string();
    format.print(&Created { config, system_id });
    Ok(())
}

pub(crate) async fn show(context: &Context) -> anyhow::Result<()> {
    context.format.print(&view(&context.operator).await?);
    Ok(())
}

/// The system as its configuration and its services describe it. Services that do not answer are
/// shown as such; only a bad configuration is an error.
pub(crate) async fn view(operator: &Operator) -> anyhow::Result<SystemView> {
    let system = operator.source().system()?;
    let addresses = operator.source().services()?;
    let looks = Service::ALL.map(|service| {
        let grpc = service.address(&addresses).to_owned();
        async move {
            let said = health(&grpc).await;
            ServiceView {
                name: service.name(),
                serving: said.is_ok(),
                trouble: said.err().unwrap_or_default(),
                grpc,
            }
        }
    });
    let services = futures::future::join_all(looks).await;
    let told = operator.ask(operator.links().get_system(GetSystemRequest {})).await.unwrap_or_default();
    let incarnation =
        if told.incarnation == 0 { String::new() } else { format!("{:016x}", told.incarnation) };
    Ok(SystemView {
        name: system.name,
        domain: system.domain,
        system_id: system.id.to_string(),
        incarnation,
        version: told.version,
        services,
    })
}
