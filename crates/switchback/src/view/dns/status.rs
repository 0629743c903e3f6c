//! How far other name servers are: those that follow, those in whose zones names are put, and primaries.

use serde::Serialize;
use switchback_proto::dns::v1 as proto;

use super::primary::{self, PrimaryView};
use crate::output::{Show, dash, table};
use crate::time::duration;

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

impl NameServersView {
    /// What `answer` says of a link that is in this epoch; nothing of who follows as long as its names
    /// are not published as of then.
    #[must_use]
    pub fn of(answer: proto::ListSecondariesResponse, epoch: u64) -> Self {
        if answer.epoch.is_some_and(|published| published < epoch) {
            return Self { unpublished: true, ..Self::default() };
        }
        let SecondariesView { secondaries, update_targets, primaries: _ } = answer.into();
        Self { name_servers: secondaries, update_targets, unpublished: false }
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
    /// The names of the link do not lead yet where this epoch of it says; nobody can follow so far.
    #[serde(rename = "names_unpublished")]
    pub unpublished: bool,
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
        !self.unpublished && self.all().all(|(_, _, follows, _)| follows)
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
        if self.unpublished {
            return "name servers: none is told yet, for the DNS broadcaster has not published this epoch of the link; see `switchback dns status`\n".into();
        }
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

pub(super) fn span(ms: u64) -> String {
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
        text.push_str(&primary::show(&self.primaries));
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
        let mut view = NameServersView::of(answer, 3);
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
    fn nobody_follows_what_is_not_published() {
        let of = |epoch| {
            let secondaries = vec![secondary("good", [1, 0, 0, 0], None)];
            let answer = proto::ListSecondariesResponse { secondaries, epoch, ..Default::default() };
            NameServersView::of(answer, 3)
        };
        let early = of(Some(2));
        assert!(!early.follow() && early.line().starts_with("name servers: none is told yet"), "{early:?}");
        for published in [Some(3), Some(4), None] {
            assert_eq!(of(published).line(), "name servers: 1 of 1 follow\n");
            assert!(of(published).follow());
        }
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
