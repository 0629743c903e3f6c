//! What is kept beside the records of a content, counted again.

use std::collections::{BTreeMap, BTreeSet};

use switchback_model::ContentId;

use super::Look;
use crate::batch::Count;
use crate::codec::{ContentRow, Stored};
use crate::digest::{self, Sum};
use crate::engine::Family;
use crate::error::Result;
use crate::key::{self, Class};
use crate::record::{Body, Payload};

/// Grows with namespaces and with thousands of changes, not with objects.
#[derive(Default)]
pub(super) struct Recount {
    /// Rows, readable or not.
    pub(super) records: u64,
    inline: u64,
    objects: u64,
    bytes: u64,
    tombstones: u64,
    digest: Sum,
    ranges: BTreeMap<Vec<u8>, Sum>,
    /// Entries of the feed, and visible objects, by the rows that hold their counts.
    counts: BTreeMap<Vec<u8>, Count>,
}

impl Recount {
    pub(super) fn add(&mut self, id: ContentId, stored: &Stored) {
        let Stored { record, sequence, source } = stored;
        let bucket = key::bucket(id, Class::of(&record.key), *source, sequence / key::BUCKET);
        self.counts.entry(bucket).or_default().add(record.size());
        if digest::is_counted(record) {
            let hash = digest::hash(record);
            self.digest.add(&hash);
            self.ranges.entry(key::range(id, digest::range_of(&record.key))).or_default().add(&hash);
        }
        match &record.payload {
            Payload::Deleted => self.tombstones += 1,
            Payload::Object(object) => {
                self.inline += u64::from(matches!(&object.body, Body::Inline(_)));
                self.visible(id, record.key.namespace(), object.size);
            }
            Payload::DeleteMarker => self.visible(id, record.key.namespace(), 0),
            Payload::Tenant(_) | Payload::Namespace(_) | Payload::Credential(_) | Payload::Divergence(_) => {}
        }
    }

    fn visible(&mut self, id: ContentId, namespace: &str, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
        self.counts.entry(key::namespace_count(id, namespace)).or_default().add(bytes);
    }

    /// Compares with what is kept. Each record has led to its row in each index: as many rows are the same rows.
    pub(super) fn compare(self, look: &mut Look<'_>, name: &str, row: &ContentRow) -> Result<()> {
        let id = row.content.id;
        for (what, kept, counted) in [
            ("objects", row.objects, self.objects),
            ("bytes", row.bytes, self.bytes),
            ("tombstones", row.tombstones, self.tombstones),
        ] {
            if kept != counted {
                look.report(name, format!("its row says {kept} {what}, and there are {counted}"));
            }
        }
        if row.digest != self.digest {
            look.report(name, "its digest is not that of its records");
        }
        for (what, family, prefix, counted) in [
            ("entries of the feed", Family::Feed, id.0.to_vec(), self.records),
            ("inline bodies", Family::Body, id.0.to_vec(), self.inline),
            ("indexed tombstones", Family::Meta, key::tombstone_prefix(id), self.tombstones),
        ] {
            let rows =
                look.view.prefix(family, &prefix).try_fold(0, |rows, row| row.map(|_| rows + 1_u64))?;
            if rows != counted {
                look.report(name, format!("{rows} {what}, and {counted} records that have one"));
            }
        }
        self.compare_kept(look, name, id)
    }

    /// Rows with a count or a digest: none is missing, none is more than there is.
    fn compare_kept(self, look: &mut Look<'_>, name: &str, id: ContentId) -> Result<()> {
        for (tag, what) in
            [(b"b", "count of the feed"), (b"m", "count of a namespace"), (b"d", "digest of a range")]
        {
            let prefix = [&tag[..], &id.0].concat();
            let made = self.counts.iter().map(|(row, count)| (row, count.encode()));
            let made = made.chain(self.ranges.iter().map(|(row, sum)| (row, Some(sum.encode()))));
            let made: BTreeMap<_, _> = made
                .filter(|(row, _)| row.starts_with(&prefix))
                .filter_map(|(row, value)| Some((row.clone(), value?)))
                .collect();
            let mut kept = BTreeMap::new();
            for row in look.view.prefix(Family::Meta, &prefix) {
                let (row, value) = row?;
                kept.insert(row, value);
            }
            let rows: BTreeSet<_> = made.keys().chain(kept.keys()).collect();
            for row in rows {
                if made.get(row) != kept.get(row) {
                    let which = String::from_utf8_lossy(&row[prefix.len()..]).into_owned();
                    let which = if tag == b"m" { which } else { hex::encode(&row[prefix.len()..]) };
                    look.report(name, format!("the {what} ({which}) is not that of its records"));
                }
            }
        }
        Ok(())
    }
}
