//! Zones and what a name answers.

mod record;

use serde::Serialize;
use switchback_proto::dns::v1 as proto;

use crate::output::{Show, dash, table};
use crate::time::{ago, duration};

pub use self::record::{RecordView, RecordsView};

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

/// A name server that follows this one.
#[derive(Clone, Debug, Serialize)]
pub struct SecondaryView {
    /// As configured.
    pub name: String,
    /// `address:port`.
    pub address: String,
    /// Zones that it serves as this system does.
    pub converged: u32,
    /// Zones of which it serves an older serial.
    pub behind: u32,
    /// Zones of which it serves a newer serial, from the other system.
    pub ahead: u32,
    /// Zones that it does not serve.
    pub not_held: u32,
    /// Zones of which it has not said anything yet.
    pub unknown: u32,
    /// How long it has been silent; absent while it answers.
    pub unreachable_ms: Option<u64>,
    /// Since it was last heard; absent: never.
    pub heard_ms: Option<u64>,
    /// The slowest answer to what changed last; absent when none has come.
    pub last_change_slowest_ms: Option<u64>,
    /// Zones of the last change that it does not serve yet.
    pub last_change_open: u32,
    /// Zones that it does not serve as this system does, a hundred at most.
    pub lagging: Vec<LaggingView>,
}

/// A zone that a name server does not serve as this system does.
#[derive(Clone, Debug, Serialize)]
pub struct LaggingView {
    /// The zone.
    pub name: String,
    /// This system's serial.
    pub serial: u32,
    /// The name server's, if it has one.
    pub served_serial: Option<u32>,
    /// Since the oldest change that it misses.
    pub behind_ms: Option<u64>,
    /// What keeps it.
    pub reason: String,
}

/// A name server that masters a zone in which tenants' names are kept.
#[derive(Clone, Debug, Serialize)]
pub struct UpdateTargetView {
    /// As configured.
    pub name: String,
    /// `address:port`.
    pub address: String,
    /// The zone.
    pub zone: String,
    /// Tenants whose names stand there as they should.
    pub converged: u32,
    /// Tenants whose names stand there under an older serial, or not at all.
    pub behind: u32,
    /// Tenants whose names stand there under a newer serial: this system is the stale one.
    pub overtaken: u32,
    /// Tenants in whose place stands what somebody else has put there.
    pub blocked: u32,
    /// Tenants whose names are to go.
    pub leaving: u32,
    /// Tenants of which nothing is known yet.
    pub unknown: u32,
    /// How long it has been silent; absent while it answers.
    pub unreachable_ms: Option<u64>,
    /// Since it was last heard; absent: never.
    pub heard_ms: Option<u64>,
    /// The slowest answer to what changed last; absent when none has come.
    pub last_change_slowest_ms: Option<u64>,
    /// Tenants of the last change that do not stand there yet.
    pub last_change_open: u32,
    /// Tenants whose names do not stand there as they should, a hundred at most.
    pub lagging: Vec<LaggingView>,
}

/// A name server whose zones this system holds copies of.
#[derive(Clone, Debug, Serialize)]
pub struct PrimaryView {
    /// As configured.
    pub name: String,
    /// `address:port`.
    pub address: String,
    /// The catalogue that lists zones; empty for none.
    pub catalogue: String,
    /// Zones that are answered from a copy.
    pub held: u32,
    /// Zones of which there is no copy yet.
    pub missing: u32,
    /// Zones whose copy is too old to be answered from.
    pub expired: u32,
    /// Zones that this system publishes itself.
    pub published: u32,
    /// How long it has been silent; absent while it answers.
    pub unreachable_ms: Option<u64>,
    /// Since it was last heard; absent: never.
    pub heard_ms: Option<u64>,
    /// Those in trouble first, a hundred at most.
    pub zones: Vec<CopyView>,
}

/// A copy of a zone, or what should be one.
#[derive(Clone, Debug, Serialize)]
pub struct CopyView {
    /// The zone.
    pub name: String,
    /// Absent before there is a copy.
    pub serial: Option<u32>,
    /// Since the primary last said that this is the zone.
    pub word_ms: Option<u64>,
    /// Until the primary is asked again; absent while it is, or is not at all.
    pub due_ms: Option<u64>,
    /// Until nothing is answered any more unless the primary is heard.
    pub expires_ms: Option<u64>,
    /// Nothing is answered.
    pub expired: bool,
    /// This system publishes the zone itself.
    pub published: bool,
    /// Why it was not taken the last time.
    pub reason: String,
}

/// All of them.
#[derive(Clone, Debug, Serialize)]
pub struct SecondariesView {
    /// By name.
    pub secondaries: Vec<SecondaryView>,
    /// By name.
    pub update_targets: Vec<UpdateTargetView>,
    /// By name.
    pub primaries: Vec<PrimaryView>,
}

impl From<proto::Primary> for PrimaryView {
    fn from(primary: proto::Primary) -> Self {
        Self {
            name: primary.name,
            address: primary.address,
            catalogue: primary.catalogue,
            held: primary.held,
            missing: primary.missing,
            expired: primary.expired,
            published: primary.published,
            unreachable_ms: primary.unreachable_ms,
            heard_ms: primary.heard_ms,
            zones: primary.zones.into_iter().map(CopyView::from).collect(),
        }
    }
}

impl From<proto::Copy> for CopyView {
    fn from(copy: proto::Copy) -> Self {
        Self {
            name: copy.name,
            serial: copy.serial,
            word_ms: copy.word_ms,
            due_ms: copy.due_ms,
            expires_ms: copy.expires_ms,
            expired: copy.expired,
            published: copy.published,
            reason: copy.reason,
        }
    }
}

impl From<proto::LaggingZone> for LaggingView {
    fn from(zone: proto::LaggingZone) -> Self {
        Self {
            name: zone.name,
            serial: zone.serial,
            served_serial: zone.served_serial,
            behind_ms: zone.behind_ms,
            reason: zone.reason,
        }
    }
}

impl From<proto::UpdateTarget> for UpdateTargetView {
    fn from(target: proto::UpdateTarget) -> Self {
        Self {
            name: target.name,
            address: target.address,
            zone: target.zone,
            converged: target.converged,
            behind: target.behind,
            overtaken: target.overtaken,
            blocked: target.blocked,
            leaving: target.leaving,
            unknown: target.unknown,
            unreachable_ms: target.unreachable_ms,
            heard_ms: target.heard_ms,
            last_change_slowest_ms: target.last_change.and_then(|change| change.slowest_ms),
            last_change_open: target.last_change.map_or(0, |change| change.open),
            lagging: target.lagging.into_iter().map(LaggingView::from).collect(),
        }
    }
}

impl From<proto::ListSecondariesResponse> for SecondariesView {
    fn from(from: proto::ListSecondariesResponse) -> Self {
        let secondaries = from.secondaries.into_iter().map(|secondary| SecondaryView {
            name: secondary.name,
            address: secondary.address,
            converged: secondary.converged,
            behind: secondary.behind,
            ahead: secondary.ahead,
            not_held: secondary.not_held,
            unknown: secondary.unknown,
            unreachable_ms: secondary.unreachable_ms,
            heard_ms: secondary.heard_ms,
            last_change_slowest_ms: secondary.last_change.and_then(|change| change.slowest_ms),
            last_change_open: secondary.last_change.map_or(0, |change| change.open),
            lagging: secondary.lagging.into_iter().map(LaggingView::from).collect(),
        });
        Self {
            secondaries: secondaries.collect(),
            update_targets: from.update_targets.into_iter().map(UpdateTargetView::from).collect(),
            primaries: from.primaries.into_iter().map(PrimaryView::from).collect(),
        }
    }
}

impl SecondaryView {
    /// Nothing of what this system published is missing there, as far as it has said.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.unreachable_ms.is_none() && (self.behind, self.not_held, self.unknown) == (0, 0, 0)
    }

    fn state(&self) -> String {
        if let Some(ms) = self.unreachable_ms {
            return format!("silent for {}", span(ms));
        }
        match (self.behind, self.not_held, self.unknown) {
            (0, 0, 0) => "converged".into(),
            (0, 0, _) => "not heard yet".into(),
            (0, lacking, _) => format!("lacks {lacking} zones"),
            _ => "behind".into(),
        }
    }
}

/// A link, or what a command on it did, and how far the name servers that follow have followed it.
#[derive(Clone, Debug, Serialize)]
pub struct FollowedView<V> {
    /// The link.
    #[serde(flatten)]
    pub view: V,
    /// Those of this system, for the zones of the link alone; none when names do not move with it.
    #[serde(flatten)]
    pub name_servers: NameServersView,
}

/// How far name servers have followed one link.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NameServersView {
    /// Those that take zones from this system.
    pub name_servers: Vec<SecondaryView>,
    /// Those in whose zones this system keeps names.
    pub update_targets: Vec<UpdateTargetView>,
}

impl From<SecondariesView> for NameServersView {
    fn from(from: SecondariesView) -> Self {
        Self { name_servers: from.secondaries, update_targets: from.update_targets }
    }
}

impl<V: Show> Show for FollowedView<V> {
    fn show(&self) -> String {
        self.view.show() + &self.name_servers.line()
    }
}

impl NameServersView {
    /// Nothing of what this system says of the link is missing anywhere, as far as they have said.
    #[must_use]
    pub fn follow(&self) -> bool {
        self.all().all(|(_, _, follows, _)| follows)
    }

    /// Of each: its name, its state, whether it follows, and how long that took.
    fn all(&self) -> impl Iterator<Item = (&str, String, bool, Option<u64>)> {
        let servers = self.name_servers.iter().map(|server| {
            (&server.name[..], server.state(), server.follows(), server.last_change_slowest_ms)
        });
        let targets = self.update_targets.iter().map(|target| {
            (&target.name[..], target.state(), target.follows(), target.last_change_slowest_ms)
        });
        servers.chain(targets)
    }

    /// One line; nothing when there are none.
    fn line(&self) -> String {
        let (follow, others): (Vec<_>, Vec<_>) = self.all().partition(|(_, _, follows, _)| *follows);
        let slowest = follow.iter().filter_map(|(.., slowest)| *slowest).max();
        let slowest = slowest.map_or_else(String::new, |ms| format!(", the slowest after {}", span(ms)));
        let lag: String = others.iter().map(|(name, state, ..)| format!("; {name}: {state}")).collect();
        match follow.len() + others.len() {
            0 => String::new(),
            all => format!("name servers: {} of {all} follow{slowest}{lag}\n", follow.len()),
        }
    }
}

impl UpdateTargetView {
    /// Nothing of what this system says is missing there, as far as it has said.
    #[must_use]
    pub fn follows(&self) -> bool {
        let missing = [self.behind, self.blocked, self.leaving, self.unknown];
        self.unreachable_ms.is_none() && missing == [0; 4]
    }

    fn state(&self) -> String {
        if let Some(ms) = self.unreachable_ms {
            return format!("silent for {}", span(ms));
        }
        match (self.blocked, self.behind + self.leaving, self.overtaken, self.unknown) {
            (0, 0, 0, 0) => "converged".into(),
            (0, 0, 0, _) => "not heard yet".into(),
            (0, 0, overtaken, _) => format!("overtaken in {overtaken}"),
            (0, ..) => "behind".into(),
            (blocked, ..) => format!("blocked in {blocked}"),
        }
    }

    fn row(&self) -> Vec<String> {
        let took = self.last_change_slowest_ms.map_or_else(|| "-".into(), span);
        let tenants = [self.converged, self.behind, self.overtaken, self.blocked, self.leaving, self.unknown];
        [self.name.clone(), self.address.clone(), self.zone.clone(), self.state(), took]
            .into_iter()
            .chain(tenants.iter().map(u32::to_string))
            .collect()
    }
}

impl PrimaryView {
    fn state(&self) -> String {
        match (self.unreachable_ms, self.expired, self.missing) {
            (Some(ms), ..) => format!("silent for {}", span(ms)),
            (None, 0, 0) => "followed".into(),
            (None, 0, missing) => format!("lacks {missing} zones"),
            (None, expired, _) => format!("expired in {expired}"),
        }
    }

    fn row(&self) -> Vec<String> {
        let zones = [self.held, self.missing, self.expired, self.published];
        let heard = self.heard_ms.map_or_else(|| "never".into(), span);
        [self.name.clone(), self.address.clone(), self.state(), heard]
            .into_iter()
            .chain(zones.iter().map(u32::to_string))
            .collect()
    }
}

impl CopyView {
    fn row(&self, primary: &str) -> Vec<String> {
        let time = |ms: Option<u64>| ms.map_or_else(|| "-".into(), span);
        let end = match (self.expired, self.published) {
            (_, true) => "published here".into(),
            (true, false) => "EXPIRED".into(),
            (false, false) => time(self.expires_ms),
        };
        vec![
            primary.into(),
            self.name.clone(),
            self.serial.map_or_else(|| "-".into(), |serial| serial.to_string()),
            time(self.word_ms),
            time(self.due_ms),
            end,
            dash(&self.reason),
        ]
    }
}

impl LaggingView {
    fn row(&self, server: &str) -> Vec<String> {
        vec![
            server.into(),
            self.name.clone(),
            self.serial.to_string(),
            self.served_serial.map_or_else(|| "-".into(), |serial| serial.to_string()),
            self.behind_ms.map_or_else(|| "-".into(), span),
            dash(&self.reason),
        ]
    }
}

fn span(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { duration(std::time::Duration::from_millis(ms)) }
}

impl Show for SecondariesView {
    fn show(&self) -> String {
        let rows = self.secondaries.iter().map(|secondary| {
            let zones = [secondary.converged, secondary.behind, secondary.ahead];
            let zones = zones.iter().chain([&secondary.not_held, &secondary.unknown]).map(u32::to_string);
            let took = secondary.last_change_slowest_ms.map_or_else(|| "-".into(), span);
            [secondary.name.clone(), secondary.address.clone(), secondary.state(), took]
                .into_iter()
                .chain(zones)
                .collect()
        });
        let head = [
            "name server",
            "address",
            "state",
            "last change",
            "converged",
            "behind",
            "ahead",
            "not held",
            "unknown",
        ];
        let none = "no name server follows this one; name them in [[dns_broadcaster.secondaries]]";
        let mut text = table(&head, rows.collect(), none);
        if !self.update_targets.is_empty() {
            let head = [
                "updated",
                "address",
                "zone",
                "state",
                "last change",
                "converged",
                "behind",
                "overtaken",
                "blocked",
                "leaving",
                "unknown",
            ];
            text.push('\n');
            text.push_str(&table(&head, self.update_targets.iter().map(UpdateTargetView::row).collect(), ""));
        }
        if !self.primaries.is_empty() {
            let head =
                ["primary", "address", "state", "heard before", "held", "missing", "expired", "published"];
            text.push('\n');
            text.push_str(&table(&head, self.primaries.iter().map(PrimaryView::row).collect(), ""));
            let copies = self.primaries.iter().flat_map(|primary| {
                primary.zones.iter().map(|copy| copy.row(&primary.name)).collect::<Vec<_>>()
            });
            let head = ["primary", "zone", "serial", "last word", "asked in", "expires in", "why not taken"];
            text.push('\n');
            text.push_str(&table(&head, copies.collect(), "no zone is named or listed"));
        }
        // Of one that is silent, that line says all.
        let secondaries = self.secondaries.iter().filter(|secondary| secondary.unreachable_ms.is_none());
        let secondaries = secondaries.map(|secondary| (&secondary.name, &secondary.lagging));
        let targets = self.update_targets.iter().filter(|target| target.unreachable_ms.is_none());
        let targets = targets.map(|target| (&target.name, &target.lagging));
        let lagging = secondaries.chain(targets);
        let lagging = lagging.flat_map(|(server, zones)| zones.iter().map(|zone| zone.row(server)));
        let lagging: Vec<_> = lagging.collect();
        if !lagging.is_empty() {
            text.push('\n');
            text.push_str(&table(
                &["name server", "zone", "serial", "serves", "behind for", "why"],
                lagging,
                "",
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secondary(name: &str, zones: [u32; 4], unreachable_ms: Option<u64>) -> proto::Secondary {
        let [converged, behind, not_held, unknown] = zones;
        let lagging = proto::LaggingZone { name: format!("zone-of-{name}"), serial: 7, ..Default::default() };
        proto::Secondary {
            name: name.into(),
            converged,
            behind,
            not_held,
            unknown,
            unreachable_ms,
            lagging: vec![lagging],
            ..Default::default()
        }
    }

    #[test]
    fn of_a_link_it_is_said_who_follows_and_how_fast_and_who_does_not() {
        let slowest = |ms| Some(proto::LastChange { slowest_ms: Some(ms), ..Default::default() });
        let secondaries = vec![
            proto::Secondary { last_change: slowest(9), ..secondary("quick", [1, 0, 0, 0], None) },
            proto::Secondary { last_change: slowest(14), ..secondary("good", [1, 0, 0, 0], None) },
            secondary("dead", [0, 0, 0, 1], Some(4200)),
        ];
        let answer = proto::ListSecondariesResponse { secondaries, ..Default::default() };
        let mut view = NameServersView::from(SecondariesView::from(answer));
        let target = |blocked| proto::UpdateTarget { name: "flat".into(), blocked, ..Default::default() };
        view.update_targets.push(target(1).into());
        let missing = "; dead: silent for 4.2 s; flat: blocked in 1\n";
        assert_eq!(view.line(), format!("name servers: 2 of 4 follow, the slowest after 14 ms{missing}"));
        assert!(!view.follow());
        view.name_servers.pop();
        view.update_targets = vec![target(0).into()];
        assert!(view.follow() && view.line().starts_with("name servers: 3 of 3 follow"), "{}", view.line());
        assert_eq!(NameServersView::default().line(), "");
    }

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

    #[test]
    fn each_name_server_is_told_by_what_keeps_it() {
        let secondaries = vec![
            secondary("good", [3, 0, 0, 0], None),
            secondary("slow", [2, 1, 0, 0], None),
            secondary("partial", [1, 0, 2, 0], None),
            secondary("new", [0, 0, 0, 3], None),
            secondary("dead", [0, 0, 0, 3], Some(4200)),
        ];
        let answer = proto::ListSecondariesResponse { secondaries, ..Default::default() };
        let text = SecondariesView::from(answer).show();
        for (name, state) in [
            ("good", "converged"),
            ("slow", "behind"),
            ("partial", "lacks 2 zones"),
            ("new", "not heard yet"),
            ("dead", "silent for 4.2 s"),
        ] {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(line.contains(state), "{line}");
        }
        assert!(text.contains("zone-of-slow") && !text.contains("zone-of-dead"), "{text}");
    }

    #[test]
    fn each_copy_is_shown_with_its_age_and_what_keeps_it() {
        let copy = |name: &str, expired: bool, reason: &str| proto::Copy {
            name: name.into(),
            serial: Some(7),
            word_ms: Some(61_000),
            due_ms: Some(4_000),
            expires_ms: Some(0).filter(|_| expired).or(Some(86_400_000)),
            expired,
            reason: reason.into(),
            ..Default::default()
        };
        let primary = proto::Primary {
            name: "west".into(),
            held: 1,
            expired: 1,
            zones: vec![copy("old.example.com", true, "it is older"), copy("new.example.com", false, "")],
            ..Default::default()
        };
        let answer = proto::ListSecondariesResponse { primaries: vec![primary], ..Default::default() };
        let text = SecondariesView::from(answer).show();
        let line = |what: &str| text.lines().find(|line| line.contains(what)).unwrap();
        assert!(line("expired in 1").starts_with("west"), "{text}");
        let old = line("old.example.com");
        assert!(
            old.contains("EXPIRED") && old.contains("it is older") && old.contains("1 min 1 s"),
            "{text}"
        );
        assert!(!line("new.example.com").contains("EXPIRED"), "{text}");
        let none = SecondariesView::from(proto::ListSecondariesResponse::default()).show();
        assert!(!none.contains("PRIMARY"), "{none}");
    }

    #[test]
    fn each_target_of_updates_is_told_by_what_keeps_it() {
        let target = |name: &str, [converged, behind, overtaken, blocked, unknown]: [u32; 5]| {
            let reason = format!("why-{name}");
            proto::UpdateTarget {
                name: name.into(),
                converged,
                behind,
                overtaken,
                blocked,
                unknown,
                unreachable_ms: (name == "dead").then_some(4200),
                lagging: vec![proto::LaggingZone { reason, ..Default::default() }],
                ..Default::default()
            }
        };
        let update_targets = vec![
            target("good", [3, 0, 0, 0, 0]),
            target("slow", [2, 1, 1, 0, 0]),
            target("stale", [1, 0, 2, 0, 0]),
            target("foreign", [1, 1, 1, 1, 1]),
            target("new", [0, 0, 0, 0, 3]),
            target("dead", [0, 0, 0, 0, 3]),
        ];
        let answer = proto::ListSecondariesResponse { update_targets, ..Default::default() };
        let text = SecondariesView::from(answer).show();
        for (name, state) in [
            ("good", "converged"),
            ("slow", "behind"),
            ("stale", "overtaken in 2"),
            ("foreign", "blocked in 1"),
            ("new", "not heard yet"),
            ("dead", "silent for 4.2 s"),
        ] {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(line.contains(state), "{line}");
        }
        assert!(text.contains("why-slow") && !text.contains("why-dead"), "{text}");
    }
}
