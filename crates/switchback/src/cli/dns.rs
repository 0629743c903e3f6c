//! `switchback dns`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use switchback_dns::client::{self, Answer};
use switchback_proto::dns::v1::{
    ListKeysRequest, ListRecordsRequest, ListSecondariesRequest, ListZonesRequest, ListZonesResponse,
    PublishCatalogueRequest, ReloadZoneFilesRequest, RemoveRecordsRequest, RollKeyRequest,
};

use super::Context;
use crate::client::Operator;
use crate::view::dns::{
    CatalogueView, KeysView, LookupView, LookupsView, RecordsView, ReloadView, SecondariesView, ZonesView,
};

/// How long a name server is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What this system's name server holds.
    Zones,
    /// How far the name servers that follow this one have followed, and those in whose zones names are
    /// kept: who serves what changed, and who does not.
    Status,
    /// The keys that zones are signed with (DNSSEC), and the DS records that the zones above them need.
    Keys,
    /// Take the next step from the present key to a new one: the new key is published, then it signs, then the
    /// old one is withdrawn. Before the second step the zones above need the DS records that are shown.
    Roll {
        /// Also when name servers and resolvers may still hold what was before the last step, and will find
        /// that it does not validate.
        #[arg(long)]
        at_once: bool,
    },
    /// Read the zone files of this system's own records again. What cannot be served is refused with file
    /// and line, and then everything stays as it was.
    Reload,
    /// The records that were taken by dynamic update: what, with whose key and when.
    Records {
        /// Remove the records of this type at this name, such as `_acme-challenge.s3.east.example.com TXT`.
        #[arg(long, num_args = 2, value_names = ["NAME", "TYPE"])]
        remove: Vec<String>,
    },
    /// The catalogue from which the name servers that follow pick up tenants by themselves.
    Catalogue {
        /// Give it to them from now on. What it does not list they remove: on a system that was rebuilt,
        /// restore its links first.
        #[arg(long)]
        publish: bool,
    },
    /// Ask this system's name server, and the other system's, what a name answers now.
    Lookup {
        /// The name, such as `acme.east.example.com`.
        name: String,
        /// Ask this name server instead; may be repeated.
        #[arg(long, value_name = "ADDRESS:PORT")]
        server: Vec<SocketAddr>,
    },
}

pub(crate) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let operator = &context.operator;
    match command {
        Command::Zones => {
            let answer = operator.ask(operator.dns().list_zones(ListZonesRequest {})).await?;
            context.format.print(&ZonesView::from(answer));
        }
        Command::Status => {
            let answer =
                operator.ask(operator.dns().list_secondaries(ListSecondariesRequest::default())).await?;
            context.format.print(&SecondariesView::from(answer));
        }
        Command::Keys => {
            let answer = operator.ask(operator.dns().list_keys(ListKeysRequest {})).await?;
            context.format.print(&KeysView::from(answer));
        }
        Command::Roll { at_once } => {
            let answer = operator.ask(operator.dns().roll_key(RollKeyRequest { at_once })).await?;
            context.format.print(&KeysView::from(answer.keys.unwrap_or_default()));
        }
        Command::Reload => {
            let answer = operator.ask(operator.dns().reload_zone_files(ReloadZoneFilesRequest {})).await?;
            context.format.print(&ReloadView::from(answer));
        }
        Command::Records { remove } => {
            if let [name, kind] = &remove[..] {
                let request = RemoveRecordsRequest { name: name.clone(), r#type: kind.clone() };
                operator.ask(operator.dns().remove_records(request)).await?;
            }
            let answer = operator.ask(operator.dns().list_records(ListRecordsRequest {})).await?;
            context.format.print(&RecordsView::from(answer));
        }
        Command::Catalogue { publish } => {
            let catalogue = if publish {
                operator.ask(operator.dns().publish_catalogue(PublishCatalogueRequest {})).await?.catalogue
            } else {
                operator.ask(operator.dns().list_zones(ListZonesRequest {})).await?.catalogue
            };
            context.format.print(&CatalogueView::from(catalogue));
        }
        Command::Lookup { name, server } => {
            let servers = if server.is_empty() { servers(operator, &name).await? } else { server };
            let asked = servers.into_iter().map(|server| ask(&name, server));
            let answers = futures::future::join_all(asked).await;
            let silent = answers.iter().all(|answer| !answer.error.is_empty());
            context.format.print(&LookupsView { answers });
            if silent {
                bail!("no name server answered for {name}");
            }
        }
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct Section {
    dns_listen: Vec<SocketAddr>,
}

/// Our own listeners, and the name servers that the name's zone is delegated to, on our port.
async fn servers(operator: &Operator, name: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let section: Section = operator.source().section("dns_broadcaster")?;
    let mut servers = section.dns_listen;
    let port = servers.first().context("dns_broadcaster.dns_listen is empty; name a --server")?.port();
    // A system that is half down still has its listeners; the others are then not known.
    let zones = operator.ask(operator.dns().list_zones(ListZonesRequest {})).await.unwrap_or_default();
    for address in delegated(&zones, name) {
        let server = SocketAddr::new(address, port);
        let listens = |own: &SocketAddr| *own == server || own.ip().is_unspecified();
        if !servers.iter().any(listens) {
            servers.push(server);
        }
    }
    Ok(servers)
}

fn delegated(zones: &ListZonesResponse, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let within = |zone: &str| name == zone || name.ends_with(&format!(".{zone}"));
    let zone = zones.tenants.iter().find(|zone| within(&zone.name));
    let servers = zone.into_iter().flat_map(|zone| &zone.name_servers);
    servers.flat_map(|server| &server.addresses).filter_map(|address| address.parse().ok()).collect()
}

async fn ask(name: &str, server: SocketAddr) -> LookupView {
    let asked = Instant::now();
    let answer = client::lookup(&[server], name, PATIENCE).await;
    let (addresses, alias, error) = match answer {
        Ok(Answer { addresses, alias, code, .. }) => {
            let error =
                if addresses.is_empty() && alias.is_none() { code.to_string() } else { String::new() };
            (addresses.iter().map(ToString::to_string).collect(), alias.unwrap_or_default(), error)
        }
        Err(error) => (Vec::new(), String::new(), error.to_string()),
    };
    let took_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
    LookupView { name: name.into(), server: server.to_string(), addresses, alias, error, took_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_proto::dns::v1::{NameServer, TenantZone};

    #[test]
    fn a_lookup_asks_the_name_servers_of_the_zone_that_holds_the_name() {
        let zone = |name: &str, address: &str| TenantZone {
            name: name.into(),
            name_servers: vec![NameServer { name: "ns".into(), addresses: vec![address.into()] }],
            ..Default::default()
        };
        let zones = ListZonesResponse {
            tenants: vec![zone("acme.e.com", "127.0.0.1"), zone("cme.e.com", "127.0.0.2")],
            ..Default::default()
        };
        let address = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
        assert_eq!(delegated(&zones, "photos.Acme.e.com."), address("127.0.0.1"));
        assert_eq!(delegated(&zones, "cme.e.com"), address("127.0.0.2"));
        assert!(delegated(&zones, "e.com").is_empty());
    }
}
