//! Primaries whose zones this system holds copies of.

use serde::Serialize;
use switchback_proto::dns::v1 as proto;

use super::status::span;
use crate::output::{dash, table};

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

/// Primaries and what is copied of them, as tables; nothing when nobody is followed.
pub(super) fn show(primaries: &[PrimaryView]) -> String {
    if primaries.is_empty() {
        return String::new();
    }
    let head = ["primary", "address", "state", "heard before", "held", "missing", "expired", "published"];
    let servers = table(&head, primaries.iter().map(PrimaryView::row).collect(), "");
    let copies = primaries
        .iter()
        .flat_map(|primary| primary.zones.iter().map(move |copy| copy.row(&primary.name)))
        .collect();
    let head = ["primary", "zone", "serial", "last word", "asked in", "expires in", "why not taken"];
    format!("\n{servers}\n{}", table(&head, copies, "no zone is named or listed"))
}

#[cfg(test)]
mod tests {
    use switchback_proto::dns::v1 as proto;

    use super::super::SecondariesView;
    use crate::output::Show as _;

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
}
