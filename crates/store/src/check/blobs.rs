//! Blobs: who names each, whether that is counted, and whether it is there.
//!
//! They are counted [`AT_ONCE`] at a time, by the first byte of their identifiers, so that memory does not
//! grow with them; each round reads the records once more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;

use super::{Look, body};
use crate::codec::{self, Stored};
use crate::engine::{Family, Rows as _};
use crate::error::{Error, Result};
use crate::key;
use crate::record::{BlobId, Segment};
use crate::upload::UploadId;

/// Blobs that are counted at once: some 400 MB.
const AT_ONCE: u64 = 4 << 20;

/// How often a blob is named, and how many bytes whoever does says that it has.
#[derive(Clone, Copy, Default)]
struct Named {
    times: u64,
    size: u64,
    differs: bool,
}

pub(super) fn check(look: &mut Look<'_>) -> Result<()> {
    let uploads = uploads(look)?;
    leases(look)?;
    let kept = look.view.prefix(Family::Blob, b"r").try_fold(0_u64, |rows, row| row.map(|_| rows + 1))?;
    let rounds = u16::try_from(kept.div_ceil(AT_ONCE).clamp(1, 256)).unwrap_or(256);
    for round in 0..rounds {
        let shard = |round: u16| u8::try_from(round * 256 / rounds);
        let first = shard(round).unwrap_or(u8::MAX);
        let last = shard(round + 1).map_or(u8::MAX, |next| next - 1);
        check_shards(look, &uploads, first..=last)?;
    }
    Ok(())
}

/// The open uploads: their rows can be read and are of a content that is here.
fn uploads(look: &mut Look<'_>) -> Result<HashSet<UploadId>> {
    let mut open = HashSet::new();
    for row in look.view.prefix(Family::Upload, key::UPLOADS) {
        let (row, value) = row?;
        let place = format!("upload {}", hex::encode(&row));
        let Some(id) = look.readable(&place, key::last_upload(&row))? else { continue };
        look.readable(&place, codec::decode_upload(id, String::new(), &value))?;
        let content = row.get(1..17).map(|id| [&b"c"[..], id].concat());
        if content.is_none_or(|row| !matches!(look.view.row(Family::Meta, &row), Ok(Some(_)))) {
            look.report(place, "it is of no content");
        }
        open.insert(id);
    }
    Ok(open)
}

/// Each lease has its place in the order of their ends, and each place its lease.
fn leases(look: &mut Look<'_>) -> Result<()> {
    for row in look.view.prefix(Family::Blob, b"l") {
        let (row, value) = row?;
        let place = format!("lease {}", hex::encode(&row[1..]));
        let (Some(blob), Some(ends)) =
            (BlobId::from_slice(&row[1..]), look.readable(&place, key::number(&value))?)
        else {
            continue;
        };
        if look.view.row(Family::Blob, &key::lease_end(ends, blob))?.is_none() {
            look.report(place, "nothing will end it");
        }
    }
    for row in look.view.prefix(Family::Blob, key::LEASE_ENDS) {
        let (row, _) = row?;
        let place = format!("end of a lease {}", hex::encode(&row[1..]));
        let Some((ends, blob)) = look.readable(&place, key::parse_timed_blob(&row))? else { continue };
        if look.view.row(Family::Blob, &key::lease(blob))?.as_deref() != Some(&ends.to_be_bytes()[..]) {
            look.report(place, "there is no such lease");
        }
    }
    Ok(())
}

fn check_shards(look: &mut Look<'_>, uploads: &HashSet<UploadId>, shards: RangeInclusive<u8>) -> Result<()> {
    let mut named = HashMap::new();
    let mut count = |segments: &[Segment]| {
        for Segment { blob, size } in segments.iter().filter(|segment| shards.contains(&segment.blob.0[0])) {
            let entry = named.entry(*blob).or_insert(Named { size: *size, ..Named::default() });
            entry.times += 1;
            entry.differs |= entry.size != *size;
        }
    };
    for row in look.view.prefix(Family::Record, &[]) {
        let (row, value) = row?;
        let stored =
            row.get(16..).map(|name| key::parse_name(name).and_then(|key| Stored::decode(key, &value)));
        // Those that cannot be read were reported.
        if let Some(Ok(Stored { record, .. })) = &stored
            && let Some(object) = record.as_object()
        {
            count(object.body.segments());
        }
    }
    for row in look.view.prefix(Family::Upload, b"p") {
        let (row, value) = row?;
        let place = format!("part {}", hex::encode(&row[1..]));
        let is_first = *shards.start() == 0;
        match (codec::decode_part(0, &value), is_first) {
            (Ok(part), _) => {
                count(&part.segments);
                if is_first && look.request.read {
                    read(look, &place, &part.segments);
                }
            }
            (Err(error @ Error::Corrupt { .. }), true) => look.report(&place, error.to_string()),
            (Err(Error::Corrupt { .. }), false) => {}
            (Err(error), _) => return Err(error),
        }
        let upload = row.get(1..17).and_then(|id| id.try_into().ok()).map(UploadId);
        if is_first && upload.is_none_or(|upload| !uploads.contains(&upload)) {
            look.report(place, "its upload is not open");
        }
    }
    look.checked.blobs += named.len() as u64;
    counted(look, &named, &shards)?;
    files(look, &named, shards)
}

/// Reads a part of an open upload, whose bytes nothing but their checksums tells of here.
fn read(look: &mut Look<'_>, place: &str, segments: &[Segment]) {
    let mut pieces = segments.iter().flat_map(|segment| body::pieces(&look.wait, &look.blobs, *segment));
    let failed = pieces.find_map(std::result::Result::err);
    drop(pieces);
    if let Some(error) = failed {
        look.report_unread(place, &error);
    }
}

/// As many names are counted as there are.
fn counted(look: &mut Look<'_>, named: &HashMap<BlobId, Named>, shards: &RangeInclusive<u8>) -> Result<()> {
    let mut rows = 0;
    for shard in shards.clone() {
        for row in look.view.prefix(Family::Blob, &[b'r', shard]) {
            let (row, value) = row?;
            rows += 1;
            let place = format!("blob {}", hex::encode(&row[1..]));
            let Some(kept) = look.readable(&place, key::number(&value))? else { continue };
            let times = BlobId::from_slice(&row[1..])
                .and_then(|blob| named.get(&blob))
                .map_or(0, |named| named.times);
            if kept != times {
                look.report(place, format!("it is counted as named {kept} times, and is {times} times"));
            }
        }
    }
    if rows < named.len() {
        look.report("blobs", format!("{} are named, and {rows} are counted", named.len()));
    }
    Ok(())
}

/// Each blob that is named is there, with its size; what else is there is told as orphans.
fn files(look: &mut Look<'_>, named: &HashMap<BlobId, Named>, shards: RangeInclusive<u8>) -> Result<()> {
    let mut missing: BTreeMap<_, _> = named.iter().collect();
    for shard in shards {
        let blobs = look.blobs.clone();
        // In order, so that two checks say the same.
        let found: BTreeMap<_, _> =
            look.wait.until(async move { blobs.list(shard).await })?.into_iter().collect();
        for (blob, bytes) in found {
            match missing.remove(&blob) {
                Some(named) if named.size != bytes => {
                    look.report(format!("blob {blob}"), format!("{bytes} bytes of {} are here", named.size));
                }
                Some(_) => {}
                None => {
                    let is_leased = look.view.row(Family::Blob, &key::lease(blob))?.is_some();
                    look.checked.orphans += u64::from(!is_leased);
                }
            }
        }
    }
    for blob in missing.into_keys() {
        look.report(format!("blob {blob}"), "it is named, and is not there");
    }
    let unlike: BTreeSet<_> =
        named.iter().filter(|(_, named)| named.differs).map(|(blob, _)| *blob).collect();
    for blob in unlike {
        look.report(format!("blob {blob}"), "those who name it do not agree on its size");
    }
    Ok(())
}
