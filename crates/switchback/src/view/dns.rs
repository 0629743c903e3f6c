//! Zones and what a name answers.

mod primary;
mod record;
mod status;

use serde::Serialize;
use switchback_proto::dns::v1 as proto;

use crate::output::{Show, dash, table};
use crate::time::ago;

pub use self::primary::{CopyView, PrimaryView};
pub use self::record::{RecordView, RecordsView};
pub use self::status::{
    FollowedView, LaggingView, NameServersView, SecondariesView, SecondaryView, UpdateTargetView,
};

/// A tenant's zone.
#[derive(Clone, Debug, Serialize)]
pub struct ZoneView {
    /// `<tenant>.<domain>`.
    pub name: String,
    /// Never goes back across both systems.
    pub serial: u32,
    /// Where the names lead.
    pub addresses: Vec<String>,
    /// The host name of that gateway, which names beneath the tenant's are aliases of; empty for none.
    pub host: String,
    /// The system that they lead to.
    pub target: String,
    /// How long resolvers may keep an answer.
    pub ttl_seconds: u32,
    /// The link that moves it; empty when none does.
    pub link: String,
    /// Not answered since the last start until the link's peer was heard.
    pub held: bool,
}

/// What zone files were read.
#[derive(Clone, Debug, Serialize)]
pub struct ReloadView {
    /// The operator's own records in the system's zone.
    pub records: u32,
    /// Zones of the operator's own.
    pub zones: u32,
}

impl From<proto::ReloadZoneFilesResponse> for ReloadView {
    fn from(from: proto::ReloadZoneFilesResponse) -> Self {
        Self { records: from.records, zones: from.zones }
    }
}

impl Show for ReloadView {
    fn show(&self) -> String {
        format!("{} records of your own in the system's zone, {} zones of your own", self.records, self.zones)
    }
}

/// The catalogue of a system's zones.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogueView {
    /// The name of the zone in which name servers find it; empty when none was published.
    pub name: String,
    /// Its serial.
    pub serial: u32,
    /// Zones in it.
    pub members: u32,
    /// `published`, `withheld` or `none`.
    pub state: String,
}

impl From<Option<proto::Catalogue>> for CatalogueView {
    fn from(from: Option<proto::Catalogue>) -> Self {
        let state = match &from {
            None => "none",
            Some(catalogue) if catalogue.withheld => "withheld",
            Some(_) => "published",
        };
        let proto::Catalogue { name, serial, members, .. } = from.unwrap_or_default();
        Self { name, serial, members, state: state.into() }
    }
}

impl Show for CatalogueView {
    fn show(&self) -> String {
        let Self { name, serial, members, .. } = self;
        match &self.state[..] {
            "none" => "no catalogue is published: `switchback dns catalogue --publish`".into(),
            "withheld" => format!(
                "{name} is withheld: it was published before this system lost its state, and name servers keep the \
                 zones that they have. Once its links are restored: `switchback dns catalogue --publish`"
            ),
            _ => format!("{name} lists {members} zones, serial {serial}"),
        }
    }
}

/// A key that zones are signed with.
#[derive(Clone, Debug, Serialize)]
pub struct KeyView {
    /// Its number (RFC 4034 appendix B).
    pub tag: u32,
    /// `ecdsa-p256` or `ed25519`.
    pub algorithm: String,
    /// `active`, `next` or `retired`.
    pub stage: String,
    /// Since when, Unix milliseconds.
    pub since_unix_ms: u64,
}

/// What the zone above a signed zone has to say of it.
#[derive(Clone, Debug, Serialize)]
pub struct SecureZoneView {
    /// The zone.
    pub name: String,
    /// Values of DS records, as in a zone file.
    pub ds: Vec<String>,
}

/// The keys of a system, and what the zones above its own need.
#[derive(Clone, Debug, Serialize)]
pub struct KeysView {
    /// None: zones are not signed.
    pub keys: Vec<KeyView>,
    /// Those whose parents are not served here.
    pub zones: Vec<SecureZoneView>,
}

impl From<proto::ListKeysResponse> for KeysView {
    fn from(from: proto::ListKeysResponse) -> Self {
        let keys = from.keys.into_iter().map(|key| KeyView {
            tag: key.tag,
            algorithm: key.algorithm,
            stage: key.stage,
            since_unix_ms: key.since_unix_ms,
        });
        let zones = from.zones.into_iter().map(|zone| SecureZoneView { name: zone.name, ds: zone.ds });
        Self { keys: keys.collect(), zones: zones.collect() }
    }
}

impl Show for KeysView {
    fn show(&self) -> String {
        let rows = self.keys.iter().map(|key| {
            let since = ago(i64::try_from(key.since_unix_ms).unwrap_or(i64::MAX));
            vec![key.tag.to_string(), key.algorithm.clone(), key.stage.clone(), since]
        });
        let none = "zones are not signed; set dnssec = true in [dns_broadcaster]";
        let mut text = table(&["key", "algorithm", "stage", "since"], rows.collect(), none);
        if !self.zones.is_empty() {
            text.push_str("\nFor the zones above these, which are not served here:\n");
        }
        for SecureZoneView { name, ds } in &self.zones {
            for ds in ds {
                text.push_str(&format!("{name}. DS {ds}\n"));
            }
        }
        text
    }
}

fn leads(addresses: &[String], host: &str) -> String {
    let host = (!host.is_empty()).then_some(host);
    addresses.iter().map(String::as_str).chain(host).collect::<Vec<_>>().join(", ")
}

/// All zones of a system.
#[derive(Clone, Debug, Serialize)]
pub struct ZonesView {
    /// The system's own zone.
    pub domain: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The host name of its gateway; empty for none.
    pub host: String,
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
            host: zone.host,
            target: zone.target,
            ttl_seconds: zone.ttl_seconds,
            link: zone.link,
        });
        Self {
            domain: system.domain,
            addresses: system.addresses,
            host: system.host,
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
            leads(&self.addresses, &self.host),
            "this system".into(),
            "-".into(),
            "-".into(),
        ];
        let tenants = self.tenants.iter().map(|zone| {
            vec![
                zone.name.clone(),
                zone.serial.to_string(),
                leads(&zone.addresses, &zone.host),
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
    /// What the name is an alias of; empty when it is none.
    pub alias: String,
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
            let alias = (!answer.alias.is_empty()).then(|| format!("alias of {}", answer.alias));
            let said = match answer.error.as_str() {
                "" => answer.addresses.iter().cloned().chain(alias).collect::<Vec<_>>().join(", "),
                error => error.to_owned(),
            };
            vec![answer.name.clone(), answer.server.clone(), said, format!("{} ms", answer.took_ms)]
        });
        table(&["name", "server", "answer", "took"], rows.collect(), "no name server was asked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_with_what_to_write_above_the_zones() {
        let key =
            proto::Key { tag: 7, algorithm: "ed25519".into(), stage: "active".into(), since_unix_ms: 0 };
        let zone = proto::SecureZone { name: "east.example.com".into(), ds: vec!["7 15 2 AB".into()] };
        let view = KeysView::from(proto::ListKeysResponse { keys: vec![key], zones: vec![zone] });
        let text = view.show();
        assert!(text.contains("7    ed25519    active"), "{text}");
        assert!(text.ends_with("\neast.example.com. DS 7 15 2 AB\n"), "{text}");
        let unsigned = KeysView::from(proto::ListKeysResponse::default()).show();
        assert!(unsigned.contains("dnssec = true"), "{unsigned}");
    }
}
