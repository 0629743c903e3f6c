//! Zones and what a name answers.

use serde::Serialize;
use switchback_proto::dns::v1 as proto;

use crate::output::{Show, dash, table};

/// A tenant's zone.
#[derive(Clone, Debug, Serialize)]
pub struct ZoneView {
    /// `<tenant>.<domain>`.
    pub name: String,
    /// Never goes back across both systems.
    pub serial: u32,
    /// Where the names lead.
    pub addresses: Vec<String>,
    /// The system that they lead to.
    pub target: String,
    /// How long resolvers may keep an answer.
    pub ttl_seconds: u32,
    /// The link that moves it; empty when none does.
    pub link: String,
    /// Not answered since the last start until the link's peer was heard.
    pub held: bool,
}

/// All zones of a system.
#[derive(Clone, Debug, Serialize)]
pub struct ZonesView {
    /// The system's own zone.
    pub domain: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Addresses of its name server.
    pub name_servers: Vec<String>,
    /// The tenants' zones.
    pub tenants: Vec<ZoneView>,
}

impl From<proto::ListZonesResponse> for ZonesView {
    fn from(from: proto::ListZonesResponse) -> Self {
        let system = from.system.unwrap_or_default();
        let held = from.held;
        let tenants = from.tenants.into_iter().map(|zone| ZoneView {
            held: held.contains(&zone.name),
            name: zone.name,
            serial: zone.serial,
            addresses: zone.addresses,
            target: zone.target,
            ttl_seconds: zone.ttl_seconds,
            link: zone.link,
        });
        Self {
            domain: system.domain,
            addresses: system.addresses,
            name_servers: system.name_server_addresses,
            tenants: tenants.collect(),
        }
    }
}

impl Show for ZonesView {
    fn show(&self) -> String {
        let own = vec![
            self.domain.clone(),
            "-".into(),
            self.addresses.join(", "),
            "this system".into(),
            "-".into(),
            "-".into(),
        ];
        let tenants = self.tenants.iter().map(|zone| {
            vec![
                zone.name.clone(),
                zone.serial.to_string(),
                zone.addresses.join(", "),
                if zone.held { "held back".into() } else { dash(&zone.target) },
                format!("{} s", zone.ttl_seconds),
                dash(&zone.link),
            ]
        });
        let rows = std::iter::once(own).chain(tenants).collect();
        table(&["zone", "serial", "addresses", "leads to", "ttl", "link"], rows, "no zones")
    }
}

/// What one name server answered.
#[derive(Clone, Debug, Serialize)]
pub struct LookupView {
    /// The name that was asked for.
    pub name: String,
    /// Who was asked.
    pub server: String,
    /// Addresses; empty with an error.
    pub addresses: Vec<String>,
    /// Why there was no answer; empty when there was one.
    pub error: String,
    /// From question to answer.
    pub took_ms: u64,
}

/// Answers of several name servers.
#[derive(Clone, Debug, Serialize)]
pub struct LookupsView {
    /// One each.
    pub answers: Vec<LookupView>,
}

impl Show for LookupsView {
    fn show(&self) -> String {
        let rows = self.answers.iter().map(|answer| {
            let said =
                if answer.error.is_empty() { answer.addresses.join(", ") } else { answer.error.clone() };
            vec![answer.name.clone(), answer.server.clone(), said, format!("{} ms", answer.took_ms)]
        });
        table(&["name", "server", "answer", "took"], rows.collect(), "no name server was asked")
    }
}
