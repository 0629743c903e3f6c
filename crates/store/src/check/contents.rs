//! Each record of each content, with its place in the feed, its body and its hash.

use std::collections::BTreeMap;

use switchback_model::{ContentId, Hlc};

use super::derived::Recount;
use super::{Look, body, place_of};
use crate::codec::{ContentRow, FeedEntry, Stored};
use crate::engine::{Family, Rows as _, prefix_end};
use crate::error::{Error, Result};
use crate::key::{self, Class, LOCAL};
use crate::record::{Body, Object, Payload, Record, RecordKey};

/// Contents, the names that lead to them, and rows that belong to none.
pub(super) fn check(look: &mut Look<'_>) -> Result<()> {
    let clock = look.clock()?;
    let mut known = BTreeMap::new();
    for row in look.view.prefix(Family::Meta, b"c") {
        let (row, value) = row?;
        let id = ContentId::from_slice(&row[1..]);
        let place = format!("content {}", hex::encode(&row[1..]));
        let Some(content) = look.readable(&place, ContentRow::decode(&value))? else { continue };
        if id != Some(content.content.id) {
            look.report(place, "its row says that it is another");
            continue;
        }
        let name = key::content_name(content.content.kind, &content.content.name);
        known.insert(content.content.id, name);
        look.checked.contents += 1;
        Content { clock, name: content.content.to_string(), row: content }.check(look)?;
    }
    names(look, &known)?;
    indexes(look)?;
    strays(look, &known)
}

/// What leads to credentials and to the notes of conflicts leads to one that is there.
fn indexes(look: &mut Look<'_>) -> Result<()> {
    for tag in [b"k", b"v"] {
        for row in look.view.prefix(Family::Meta, tag) {
            let (row, _) = row?;
            let record = if tag == b"k" {
                row[1..].split_last_chunk::<16>().and_then(|(access_key, id)| {
                    let access_key = String::from_utf8(access_key.strip_suffix(&[0])?.to_vec()).ok()?;
                    Some(key::record(ContentId(*id), &RecordKey::Credential(access_key)))
                })
            } else {
                row.get(17..).map(<[u8]>::to_vec)
            };
            let is_there = record.map(|record| look.view.row(Family::Record, &record)).transpose()?.flatten();
            if is_there.is_none() {
                look.report(format!("index {}", hex::encode(&row)), "it leads to no record");
            }
        }
    }
    Ok(())
}

/// Contents by their identifiers, with the row by which each is found.
type Known = BTreeMap<ContentId, Vec<u8>>;

/// Each content is found by its name, and nothing else is.
fn names(look: &mut Look<'_>, known: &Known) -> Result<()> {
    for (id, name) in known {
        if look.view.row(Family::Meta, name)?.as_deref() != Some(&id.0) {
            look.report(format!("content {id}"), "its name does not lead to it");
        }
    }
    for row in look.view.prefix(Family::Meta, b"n") {
        let (row, value) = row?;
        if ContentId::from_slice(&value).and_then(|id| known.get(&id)) != Some(&row) {
            let name = String::from_utf8_lossy(row.get(2..).unwrap_or_default()).into_owned();
            look.report(format!("name {name:?}"), "it leads to no content of this name");
        }
    }
    Ok(())
}

/// Rows of records, bodies and feeds begin with their content.
fn strays(look: &mut Look<'_>, known: &Known) -> Result<()> {
    for family in [Family::Record, Family::Body, Family::Feed] {
        let mut from = Vec::new();
        loop {
            let next = look.view.scan(family, &[], std::ops::Bound::Included(from)).next().transpose()?;
            let Some((row, _)) = next else { break };
            let id = row.get(..16).and_then(ContentId::from_slice);
            if id.is_none_or(|id| !known.contains_key(&id)) {
                look.report(format!("{family:?} rows"), format!("{} is of no content", hex::encode(&row)));
            }
            match row.get(..16).and_then(prefix_end) {
                Some(end) => from = end,
                None => break,
            }
        }
    }
    Ok(())
}

/// One content under check.
struct Content {
    clock: Hlc,
    name: String,
    row: ContentRow,
}

impl Content {
    fn check(&self, look: &mut Look<'_>) -> Result<()> {
        let id = self.row.content.id;
        let mut recount = Recount::default();
        for row in look.view.prefix(Family::Record, &id.0) {
            let (row, value) = row?;
            look.checked.records += 1;
            recount.records += 1;
            let place = || format!("{}: record {}", self.name, hex::encode(&row[16..]));
            let stored = key::parse_name(&row[16..]).and_then(|key| Stored::decode(key, &value));
            let Some(stored) = look.readable(&place(), stored)? else { continue };
            self.record(look, &stored)?;
            recount.add(id, &stored);
        }
        recount.compare(look, &self.name, &self.row)
    }

    fn record(&self, look: &mut Look<'_>, stored: &Stored) -> Result<()> {
        let Stored { record, sequence, source } = stored;
        let (id, place) = (self.row.content.id, place_of(&self.name, &record.key));
        if *sequence == 0 || *sequence > self.row.head {
            look.report(&place, format!("its sequence {sequence} is outside the feed"));
        }
        if *source != LOCAL && !self.row.sources.contains(source) {
            look.report(&place, "it came from a feed that the content does not know");
        }
        if record.version.hlc > self.clock {
            look.report(&place, "it is of a time that the store has not seen");
        }
        let row = key::feed(id, Class::of(&record.key), *source, *sequence);
        let entry = look.view.row(Family::Feed, &row)?;
        match look.readable(&place, entry.as_deref().map(FeedEntry::decode).transpose())?.flatten() {
            None => look.report(&place, "it is not in the feed where its row says"),
            Some(entry) => {
                let is_it = entry.name == key::name(&record.key)
                    && entry.bytes == record.size()
                    && entry.deleted == record.is_deleted();
                if !is_it {
                    look.report(&place, "its entry in the feed says something else");
                }
            }
        }
        self.indexes(look, &place, stored)?;
        match record.as_object() {
            Some(object) => self.object(look, &place, record, object),
            None => Ok(()),
        }
    }

    /// The rows by which a record is found otherwise than by its name.
    fn indexes(&self, look: &mut Look<'_>, place: &str, stored: &Stored) -> Result<()> {
        let (id, record) = (self.row.content.id, &stored.record);
        let (row, value) = match &record.payload {
            Payload::Deleted => (key::tombstone(id, stored.sequence), key::name(&record.key)),
            Payload::Credential(credential) => (key::credential(&credential.access_key, id), Vec::new()),
            Payload::Divergence(divergence) => {
                (key::divergence(divergence.link, id, &record.key), Vec::new())
            }
            Payload::Tenant(_) | Payload::Namespace(_) | Payload::Object(_) | Payload::DeleteMarker => {
                return Ok(());
            }
        };
        if look.view.row(Family::Meta, &row)? != Some(value) {
            look.report(place, "the index does not lead to it");
        }
        Ok(())
    }

    fn object(&self, look: &mut Look<'_>, place: &str, record: &Record, object: &Object) -> Result<()> {
        look.checked.objects += 1;
        look.checked.bytes += object.size;
        let parts: u64 = object.part_sizes.iter().sum();
        if !object.part_sizes.is_empty() && parts != object.size {
            look.report(place, format!("its parts add up to {parts} bytes of {}", object.size));
        }
        let row = key::record(self.row.content.id, &record.key);
        let inline = look.view.row(Family::Body, &row)?;
        let size = match &object.body {
            Body::Inline(_) => inline.as_ref().map_or(0, Vec::len) as u64,
            Body::Segments(_) => object.body.len(),
        };
        if size != object.size {
            look.report(place, format!("{size} bytes of {} are here", object.size));
        } else if look.request.read {
            let hash = match &object.body {
                Body::Inline(_) => body::hash(object, [Ok(inline.unwrap_or_default().into())]),
                Body::Segments(segments) => {
                    let blobs = &look.blobs;
                    let pieces =
                        segments.iter().flat_map(|segment| body::pieces(&look.wait, blobs, *segment));
                    body::hash(object, pieces)
                }
            };
            match hash {
                Ok(hash) if hash == object.content_hash => {}
                Ok(_) => look.report_unread(place, &Error::Damaged),
                Err(error) => look.report_unread(place, &error),
            }
        }
        Ok(())
    }
}
