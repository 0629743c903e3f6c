//! Links and what commands on them did.

use std::fmt::Write as _;

use serde::Serialize;
use switchback_model::Rate;
use switchback_proto::link::v1 as proto;
use switchback_proto::model::v1::{Compression, ConflictPolicy, FlowPriority, Side};

pub use super::progress::ProgressView;
use super::{kind_name, mode_name, mode_short};
use crate::output::{Show, dash, fields, table, yes};
use crate::time::{ago, timestamp};

/// A tenant or directory on a link.
#[derive(Clone, Debug, Serialize)]
pub struct LinkContentView {
    /// `tenant` or `directory`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Nothing of it flows, by an operator's word.
    pub paused: bool,
    /// `read_write` or `read_only`, here; `unknown` while the mover has not confirmed it.
    pub mode: &'static str,
    /// Ours to the peer.
    pub sending: ProgressView,
    /// The peer's to us.
    pub receiving: ProgressView,
    /// Both sides hold the same.
    pub in_sync: bool,
    /// What is wrong; empty when nothing is.
    pub trouble: String,
}

/// A link, as this system sees it.
#[derive(Clone, Debug, Serialize)]
pub struct LinkView {
    /// 32 hexadecimal digits, the same on both systems.
    pub id: String,
    /// The operator's name for it.
    pub name: String,
    /// `primary` or `replica`: this system's side.
    pub side: &'static str,
    /// `replicating`, `failing_over`, `failed_over`, `recovering`, `completing`.
    pub state: &'static str,
    /// Even: the primary may write; odd: the replica.
    pub epoch: u64,
    /// Grows with each change within an epoch.
    pub revision: u64,
    /// By an operator's word.
    pub suspended: bool,
    /// `host:port` of the other system's link listener.
    pub peer_address: String,
    /// The other system's name.
    pub peer_name: String,
    /// The other system's domain.
    pub peer_domain: String,
    /// The other system's id.
    pub peer_system_id: String,
    /// Names move with authority.
    pub dns_failover: bool,
    /// `newest_wins`, `replica_wins`, `keep_both`.
    pub conflict_policy: &'static str,
    /// 0: the default of 2,000.
    pub fence_time_ms: u64,
    /// 0: the default of 10,000.
    pub drain_time_ms: u64,
    /// How much each side may send while replicating, by the hour of the week.
    pub schedule: String,
    /// What the schedule lets through a second now; absent: all that the line takes.
    pub rate_bytes_per_second: Option<u64>,
    /// When the schedule changes that; 0: never.
    pub rate_until_unix_ms: i64,
    /// There is a schedule, and the state overrides it: only replicating obeys it.
    pub schedule_overridden: bool,
    /// Whose changes leave first: `fair`, `oldest_first`.
    pub priority: &'static str,
    /// What is done to bytes before they leave: `none`, `zstd`.
    pub compression: &'static str,
    /// The operator's words.
    pub description: String,
    /// What the link protects.
    pub contents: Vec<LinkContentView>,
    /// `read_write` or `read_only`, here; `unknown` while the mover has not confirmed it.
    pub mode: &'static str,
    /// The same, there, as last told.
    pub peer_mode: &'static str,
    /// The two systems talk.
    pub contact: bool,
    /// Since when `contact` has its value.
    pub contact_since_unix_ms: i64,
    /// `trusted`, or why not and what to do.
    pub trust: String,
    /// The other system has no record of the link, or was rebuilt.
    pub broken: bool,
    /// Both sides agree on epoch, state and digest.
    pub healthy: bool,
    /// Both sides hold the same now.
    pub in_sync: bool,
    /// They once did since the link was made or restored.
    pub was_in_sync: bool,
    /// What is wrong and what to do, most urgent first.
    pub troubles: Vec<String>,
    /// What an operator usually does next, as a command.
    pub next_step: String,
    /// Ours to the peer.
    pub sending: ProgressView,
    /// The peer's to us.
    pub receiving: ProgressView,
    /// Failing objects.
    pub retries: u64,
    /// Conflicts that were decided.
    pub divergences: u64,
}

fn state_name(state: proto::LinkState) -> &'static str {
    match state {
        proto::LinkState::Unspecified => "unknown",
        proto::LinkState::Replicating => "replicating",
        proto::LinkState::FailingOver => "failing_over",
        proto::LinkState::FailedOver => "failed_over",
        proto::LinkState::Recovering => "recovering",
        proto::LinkState::Completing => "completing",
    }
}

fn policy_name(policy: ConflictPolicy) -> &'static str {
    match policy {
        ConflictPolicy::Unspecified | ConflictPolicy::NewestWins => "newest_wins",
        ConflictPolicy::ReplicaWins => "replica_wins",
        ConflictPolicy::KeepBoth => "keep_both",
    }
}

fn priority_name(priority: FlowPriority) -> &'static str {
    match priority {
        FlowPriority::Unspecified | FlowPriority::Fair => "fair",
        FlowPriority::OldestFirst => "oldest_first",
    }
}

fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::Unspecified | Compression::None => "none",
        Compression::Zstd => "zstd",
    }
}

impl From<proto::LinkContent> for LinkContentView {
    fn from(from: proto::LinkContent) -> Self {
        let content = from.content.unwrap_or_default();
        Self {
            kind: kind_name(content.kind),
            name: content.name,
            id: hex::encode(&content.id),
            paused: from.paused,
            mode: mode_name(from.mode),
            sending: from.sending.unwrap_or_default().into(),
            receiving: from.receiving.unwrap_or_default().into(),
            in_sync: from.in_sync,
            trouble: from.trouble,
        }
    }
}

impl From<proto::Link> for LinkView {
    fn from(from: proto::Link) -> Self {
        let (side, state) = (from.side(), from.state());
        let settings = from.settings.unwrap_or_default();
        let (policy, priority) = (settings.conflict_policy(), settings.priority());
        let compression = settings.compression();
        Self {
            id: hex::encode(&from.id),
            name: from.name,
            side: if side == Side::Primary { "primary" } else { "replica" },
            state: state_name(state),
            epoch: from.epoch,
            revision: from.revision,
            suspended: from.suspended,
            peer_address: from.peer_address,
            peer_name: from.peer_name,
            peer_domain: from.peer_domain,
            peer_system_id: hex::encode(&from.peer_system_id),
            dns_failover: settings.dns_failover,
            conflict_policy: policy_name(policy),
            fence_time_ms: settings.fence_time_ms,
            drain_time_ms: settings.drain_time_ms,
            schedule: if settings.schedule.is_empty() { "unlimited".into() } else { settings.schedule },
            rate_bytes_per_second: from.rate_bytes_per_second,
            rate_until_unix_ms: from.rate_until_unix_ms,
            schedule_overridden: from.schedule_overridden,
            priority: priority_name(priority),
            compression: compression_name(compression),
            description: settings.description,
            contents: from.contents.into_iter().map(Into::into).collect(),
            mode: mode_name(from.mode),
            peer_mode: mode_name(from.peer_mode),
            contact: from.contact,
            contact_since_unix_ms: from.contact_since_unix_ms,
            trust: from.trust,
            broken: from.broken,
            healthy: from.healthy,
            in_sync: from.in_sync,
            was_in_sync: from.was_in_sync,
            troubles: from.troubles,
            next_step: from.next_step,
            sending: from.sending.unwrap_or_default().into(),
            receiving: from.receiving.unwrap_or_default().into(),
            retries: from.retries,
            divergences: from.divergences,
        }
    }
}

impl LinkView {
    /// The state as people read it, with what lies beside it.
    #[must_use]
    pub fn state_line(&self) -> String {
        let mut line = self.state.replace('_', " ");
        for (flag, word) in
            [(self.suspended, "suspended"), (self.broken, "broken"), (!self.contact, "no contact")]
        {
            if flag {
                let _ = write!(line, ", {word}");
            }
        }
        line
    }

    /// What the schedule lets through now; empty where there is none.
    fn rate_line(&self) -> String {
        if self.schedule_overridden {
            return "unlimited: neither a failover nor a recovery is held by the schedule".into();
        }
        let rate = match self.rate_bytes_per_second {
            None if self.schedule == "unlimited" => return String::new(),
            None => "unlimited".into(),
            Some(rate) => Rate::BytesPerSecond(rate).to_string(),
        };
        match self.rate_until_unix_ms {
            0 => rate,
            until => format!("{rate} until {}", timestamp(until)),
        }
    }

    /// With what it comes to here.
    fn compression_line(&self) -> String {
        match (self.compression, self.sending.gain_line()) {
            (compression @ "none", _) => compression.into(),
            (compression, gain) if gain.is_empty() => compression.into(),
            (compression, gain) => format!("{compression}: {gain}"),
        }
    }

    fn row(&self) -> Vec<String> {
        let pending = self.sending.pending_objects + self.receiving.pending_objects;
        vec![
            self.name.clone(),
            self.side.into(),
            dash(&self.peer_name),
            self.state_line(),
            format!("{}/{}", mode_short(self.mode), mode_short(self.peer_mode)),
            self.epoch.to_string(),
            pending.to_string(),
            if self.healthy { "healthy".into() } else { "needs a look".into() },
        ]
    }
}

impl Show for LinkView {
    fn show(&self) -> String {
        let peer = if self.peer_name.is_empty() {
            self.peer_address.clone()
        } else {
            format!("{} ({}) at {}", self.peer_name, self.peer_domain, self.peer_address)
        };
        let contact = if self.contact { "yes, since " } else { "none since " }.to_owned();
        let mut out = fields(&[
            ("link", self.name.clone()),
            ("id", self.id.clone()),
            ("description", self.description.clone()),
            ("this side", format!("{}, {}", self.side, mode_short(self.mode))),
            ("other side", format!("{peer}, {}", mode_short(self.peer_mode))),
            ("state", self.state_line()),
            ("epoch", format!("{} (revision {})", self.epoch, self.revision)),
            ("healthy", yes(self.healthy)),
            ("in sync", yes(self.in_sync)),
            ("contact", contact + &ago(self.contact_since_unix_ms)),
            ("trust", self.trust.clone()),
            ("DNS failover", yes(self.dns_failover)),
            ("conflicts", self.conflict_policy.replace('_', " ")),
            ("schedule", self.schedule.clone()),
            ("rate now", self.rate_line()),
            ("priority", self.priority.replace('_', " ")),
            ("compression", self.compression_line()),
            ("sending", self.sending.line()),
            ("receiving", self.receiving.line()),
            ("retries", self.retries.to_string()),
            ("divergences", self.divergences.to_string()),
        ]);
        let rows = self.contents.iter().map(|content| {
            vec![
                format!("{} {}", content.kind, content.name),
                mode_short(content.mode).into(),
                yes(content.in_sync),
                yes(content.paused),
                content.sending.pending_objects.to_string(),
                content.receiving.pending_objects.to_string(),
                dash(&content.trouble),
            ]
        });
        let head = ["content", "mode", "in sync", "paused", "to send", "to receive", "trouble"];
        out += "\n";
        out += &table(&head, rows.collect(), "no content");
        for trouble in &self.troubles {
            let _ = writeln!(out, "! {trouble}");
        }
        if !self.next_step.is_empty() {
            let _ = writeln!(out, "next: {}", self.next_step);
        }
        out
    }
}

/// Links, a line each.
#[derive(Clone, Debug, Serialize)]
pub struct LinksView {
    /// In the order of their names.
    pub links: Vec<LinkView>,
}

impl From<Vec<proto::Link>> for LinksView {
    fn from(links: Vec<proto::Link>) -> Self {
        Self { links: links.into_iter().map(Into::into).collect() }
    }
}

impl Show for LinksView {
    fn show(&self) -> String {
        let head = ["link", "side", "peer", "state", "mode/peer", "epoch", "pending", "health"];
        table(&head, self.links.iter().map(LinkView::row).collect(), "no links")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_a_link_keeps_its_keys() {
        let link = proto::Link {
            id: vec![0xab; 16].into(),
            state: proto::LinkState::FailedOver.into(),
            side: Side::Replica.into(),
            mode: 2,
            contents: vec![proto::LinkContent::default()],
            ..Default::default()
        };
        let json = serde_json::to_value(LinkView::from(link)).unwrap();
        assert_eq!(json["id"], "ab".repeat(16));
        assert_eq!((&json["state"], &json["side"]), (&"failed_over".into(), &"replica".into()));
        assert_eq!((&json["mode"], &json["peer_mode"]), (&"read_write".into(), &"unknown".into()));
        for key in [
            "name",
            "epoch",
            "contact",
            "healthy",
            "in_sync",
            "troubles",
            "next_step",
            "sending",
            "schedule",
            "priority",
            "compression",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert!(json["contents"][0]["receiving"]["pending_objects"].is_u64());
    }
}
