//! Records that were taken by dynamic update.

use serde::Serialize;
use switchback_proto::dns::v1 as proto;

use crate::output::{Show, table};
use crate::time::ago;

/// A set of records.
#[derive(Clone, Debug, Serialize)]
pub struct RecordView {
    /// The name, without a final dot.
    pub name: String,
    /// Its type, such as `TXT`.
    pub r#type: String,
    /// Values, as in a zone file.
    pub values: Vec<String>,
    /// How long resolvers may keep an answer.
    pub ttl_seconds: u32,
    /// The zone that it is in.
    pub zone: String,
    /// The TSIG key that was last to change it.
    pub key: String,
    /// When that was, Unix milliseconds.
    pub taken_unix_ms: u64,
    /// Not served: a zone file says others there, the name belongs to a tenant, or the zone is not served.
    pub left_out: bool,
}

/// All that was taken.
#[derive(Clone, Debug, Serialize)]
pub struct RecordsView {
    /// By zone and name, a thousand at most.
    pub sets: Vec<RecordView>,
    /// Records of all sets, also of those that are not listed.
    pub records: u32,
}

impl From<proto::ListRecordsResponse> for RecordsView {
    fn from(from: proto::ListRecordsResponse) -> Self {
        let sets = from.sets.into_iter().map(|set| RecordView {
            name: set.name,
            r#type: set.r#type,
            values: set.values,
            ttl_seconds: set.ttl_seconds,
            zone: set.zone,
            key: set.key,
            taken_unix_ms: set.taken_unix_ms,
            left_out: set.left_out,
        });
        Self { sets: sets.collect(), records: from.records }
    }
}

impl Show for RecordsView {
    fn show(&self) -> String {
        let row = |set: &RecordView, value: &String| {
            let state = if set.left_out { "left out" } else { "served" };
            let taken = ago(i64::try_from(set.taken_unix_ms).unwrap_or(i64::MAX));
            let ttl = format!("{} s", set.ttl_seconds);
            [&set.name, &set.r#type, value, &ttl, &set.key, &taken, state].map(Into::into).to_vec()
        };
        let rows: Vec<_> =
            self.sets.iter().flat_map(|set| set.values.iter().map(move |value| row(set, value))).collect();
        let listed = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let none = "no record was taken by update; who may is said by updaters in [dns_broadcaster]";
        let mut text = table(&["name", "type", "value", "ttl", "key", "taken", "state"], rows, none);
        if let more @ 1.. = self.records.saturating_sub(listed) {
            text.push_str(&format!("and {more} records more\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_is_shown_with_whose_it_is() {
        let set = |name: &str, left_out| proto::TakenSet {
            name: name.into(),
            r#type: "TXT".into(),
            values: vec!["\"one\"".into(), "\"two\"".into()],
            key: "acme.example.com".into(),
            left_out,
            ..Default::default()
        };
        let sets =
            vec![set("_acme-challenge.s3.east.example.com", false), set("hidden.east.example.com", true)];
        let text = RecordsView::from(proto::ListRecordsResponse { sets, records: 7 }).show();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].contains("\"one\"") && lines[1].contains("acme.example.com"), "{text}");
        assert!(lines[1].ends_with("served") && lines[3].ends_with("left out"), "{text}");
        assert_eq!(lines[5], "and 3 records more");
        let none = RecordsView::from(proto::ListRecordsResponse::default()).show();
        assert!(none.contains("updaters"), "{none}");
    }
}
