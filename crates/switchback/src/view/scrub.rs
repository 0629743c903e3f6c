//! What `switchback store scrub` says.

use std::time::Duration;

use serde::Serialize;
use switchback_proto::mover::v1::damage::State;
use switchback_proto::mover::v1::{Damage, GetScrubResponse, ScrubRound};

use super::kind_name;
use crate::output::{Show, dash, fields, table};
use crate::time::{ago, bytes, duration, timestamp};

/// The scrub, and what was found damaged.
#[derive(Debug, Serialize)]
pub struct ScrubView {
    /// Read in a second, as configured; 0: off.
    pub bytes_per_second: u64,
    /// Why it stands still; empty while it does not.
    pub trouble: String,
    /// The round that is under way.
    pub round: Option<RoundView>,
    /// Of it, in ms, at the rate that is configured.
    pub left_ms: u64,
    /// The last round that came to its end.
    pub last: Option<RoundView>,
    /// When the next one begins; 0 while one is under way.
    pub next_unix_ms: i64,
    /// What is stored.
    pub objects: u64,
    /// Its bytes.
    pub bytes: u64,
    /// That a whole round takes, in ms, at the rate that is configured.
    pub round_ms: u64,
    /// Objects that wait for their repair.
    pub waiting: u64,
    /// Objects of which no whole copy is known.
    pub unrepairable: u64,
    /// Found damaged since the store was made.
    pub found: u64,
    /// Repaired since then.
    pub repaired: u64,
    /// The first 1,000, the most urgent ones first; of those repaired, the last 100.
    pub damages: Vec<DamageView>,
}

/// One round.
#[derive(Debug, Serialize)]
pub struct RoundView {
    /// When.
    pub began_unix_ms: i64,
    /// 0 while it is under way.
    pub ended_unix_ms: i64,
    /// Objects that were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Parts of open uploads that were read.
    pub parts: u64,
    /// Their bytes.
    pub part_bytes: u64,
    /// Of all of them, found damaged.
    pub damaged: u64,
    /// Could not be read now.
    pub skipped: u64,
    /// Records that could not be decoded.
    pub unreadable: u64,
}

/// One damaged object.
#[derive(Debug, Serialize)]
pub struct DamageView {
    /// `tenant` or `directory`; `unknown` if it is gone.
    pub kind: &'static str,
    /// Its name.
    pub content: String,
    /// The namespace.
    pub namespace: String,
    /// The object's key.
    pub key: String,
    /// Hybrid logical clock of the version's first write, 16 hexadecimal digits; empty where it has no name of
    /// its own.
    pub version: String,
    /// Of the open upload, if it is a part of one; else empty.
    pub upload: String,
    /// Which part; 0 if it is none.
    pub part: u32,
    /// Bytes.
    pub size: u64,
    /// The blob at fault, if it is known.
    pub blob: String,
    /// What is wrong.
    pub fault: String,
    /// `waiting`, `unrepairable` or `repaired`.
    pub state: &'static str,
    /// Why it is not repaired, and what to do.
    pub reason: String,
    /// Since when.
    pub found_unix_ms: i64,
    /// 0 before.
    pub repaired_unix_ms: i64,
}

impl From<ScrubRound> for RoundView {
    fn from(from: ScrubRound) -> Self {
        Self {
            began_unix_ms: from.began_unix_ms,
            ended_unix_ms: from.ended_unix_ms,
            objects: from.bodies,
            bytes: from.bytes,
            parts: from.parts,
            part_bytes: from.part_bytes,
            damaged: from.damaged,
            skipped: from.skipped,
            unreadable: from.unreadable,
        }
    }
}

impl From<Damage> for DamageView {
    fn from(from: Damage) -> Self {
        let state = match from.state() {
            State::Waiting | State::Unspecified => "waiting",
            State::Unrepairable => "unrepairable",
            State::Repaired => "repaired",
        };
        let content = from.content.unwrap_or_default();
        Self {
            kind: kind_name(content.kind),
            content: content.name,
            namespace: from.namespace,
            key: from.key,
            version: from.version_id.map(|version| format!("{:016x}", version.hlc)).unwrap_or_default(),
            upload: from.upload_id,
            part: from.part_number,
            size: from.size,
            blob: hex::encode(&from.blob_id),
            fault: from.fault,
            state,
            reason: from.reason,
            found_unix_ms: from.found_unix_ms,
            repaired_unix_ms: from.repaired_unix_ms,
        }
    }
}

impl DamageView {
    fn name(&self) -> String {
        let object = format!("{}/{}/{}", self.content, self.namespace, self.key);
        if self.part == 0 { object } else { format!("{object} (part {})", self.part) }
    }
}

impl From<GetScrubResponse> for ScrubView {
    fn from(from: GetScrubResponse) -> Self {
        Self {
            bytes_per_second: from.bytes_per_second,
            trouble: from.trouble,
            round: from.round.map(Into::into),
            left_ms: from.left_ms,
            last: from.last.map(Into::into),
            next_unix_ms: from.next_unix_ms,
            objects: from.objects,
            bytes: from.bytes,
            round_ms: from.round_ms,
            waiting: from.waiting,
            unrepairable: from.unrepairable,
            found: from.found,
            repaired: from.repaired,
            damages: from.damages.into_iter().map(Into::into).collect(),
        }
    }
}

impl RoundView {
    fn words(&self) -> String {
        let mut words = format!("{} objects, {}", self.objects, bytes(self.bytes));
        if self.parts > 0 {
            words += &format!(", and {} parts of open uploads, {}", self.parts, bytes(self.part_bytes));
        }
        words += &format!(", {} damaged", self.damaged);
        if self.skipped > 0 {
            words += &format!(", {} could not be read now", self.skipped);
        }
        if self.unreadable > 0 {
            words += &format!(", {} records that `switchback store check` must look at", self.unreadable);
        }
        words
    }
}

fn time(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}

impl Show for ScrubView {
    fn show(&self) -> String {
        let rate = match self.bytes_per_second {
            0 => "off: set scrub_bytes_per_second in [data_mover]".into(),
            rate => {
                let all = format!("{} objects, {}", self.objects, bytes(self.bytes));
                format!("{}/s; a round of all {all} takes {}", bytes(rate), time(self.round_ms))
            }
        };
        let round = self.round.as_ref().map(|round| {
            format!("began {}; {}; {} left", ago(round.began_unix_ms), round.words(), time(self.left_ms))
        });
        let next = if self.next_unix_ms == 0 { String::new() } else { timestamp(self.next_unix_ms) };
        let last =
            self.last.as_ref().map(|last| format!("ended {}; {}", ago(last.ended_unix_ms), last.words()));
        let counts = format!(
            "{} wait for their repair, {} cannot be repaired; of {} ever found, {} were repaired",
            self.waiting, self.unrepairable, self.found, self.repaired
        );
        let mut text = fields(&[
            ("rate", rate),
            ("trouble", self.trouble.clone()),
            ("round", round.unwrap_or_default()),
            ("next round", next),
            ("last round", last.unwrap_or_else(|| "none yet".into())),
            ("damaged", counts),
        ]);
        if !self.damages.is_empty() {
            let row = |damage: &DamageView| {
                vec![
                    damage.state.to_owned(),
                    damage.name(),
                    damage.version.clone(),
                    bytes(damage.size),
                    ago(damage.found_unix_ms),
                    damage.fault.clone(),
                    dash(&damage.reason),
                ]
            };
            let head = ["state", "object", "version", "size", "found", "fault", "why not repaired"];
            text += "\n";
            text += &table(&head, self.damages.iter().map(row).collect(), "");
        }
        text
    }
}
