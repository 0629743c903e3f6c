//! Reads of a content's feed: changes for a sender, what is pending, the divergence report.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::{Bound, RangeInclusive};

use switchback_model::{ContentId, Epoch, FeedId, LinkId};

use crate::batch::Count;
use crate::catalogue::{Catalogue, DivergencePage};
use crate::codec::{ContentRow, FeedEntry, Stored};
use crate::engine::{Family, KeyValue, Rows as _, View};
use crate::error::{Error, Result};
use crate::feed::{CHANGES_MAX, Change, ChangeBatch, ChangesRequest, Pending};
use crate::key::{self, BUCKET, Class, LOCAL};
use crate::read::{content_row, load_body};
use crate::record::{Body, Payload, Record, RecordKey};

impl Catalogue {
    /// A stretch of a content's feed, in order.
    pub fn changes(&self, content: ContentId, request: &ChangesRequest) -> Result<ChangeBatch> {
        let view = self.view();
        let row = content_row(&view, content)?;
        let classes = if request.configuration_only { &Class::ALL[..1] } else { &Class::ALL[..] };
        let mut batch =
            ChangeBatch { feed: row.feed, changes: Vec::new(), through: row.head, head: row.head };
        let mut bytes = 0;
        let mut merge = Merge::new(&view, &row, classes, request.exclude, request.after)?;
        while let Some((sequence, value)) = merge.next()? {
            let entry = FeedEntry::decode(&value)?;
            let record = feed_record(&view, content, &entry)?;
            bytes += weight(&record);
            batch.changes.push(Change { sequence, record });
            let full = batch.changes.len() >= request.changes_max.clamp(1, CHANGES_MAX);
            if full || bytes >= request.bytes_max {
                // Whatever lies between this entry and the next is not for the reader.
                batch.through = merge.peek().map_or(row.head, |next| next - 1);
                break;
            }
        }
        Ok(batch)
    }

    /// What a peer of feed `exclude` has yet to get after the sequence `after`. Exact, and cheap:
    /// entries are counted in buckets of sequence numbers, and only the shorter side of one bucket is looked into.
    pub fn pending(&self, content: ContentId, exclude: Option<FeedId>, after: u64) -> Result<Pending> {
        let view = self.view();
        let row = content_row(&view, content)?;
        let mut pending = Pending::default();
        if after >= row.head {
            return Ok(pending);
        }
        let bucket = after / BUCKET;
        let is_first_half = after % BUCKET < BUCKET / 2;
        let looked_into = match is_first_half {
            true => (Bound::Included(bucket * BUCKET), after + 1),
            false => (Bound::Excluded(after), (bucket + 1) * BUCKET),
        };
        for (class, source) in orders(&row, &Class::ALL, exclude) {
            let (from, end) = looked_into;
            let from = from.map(|sequence| key::feed(content, class, source, sequence));
            let mut seen = Pending::default();
            for entry in view.scan(Family::Feed, &key::feed_prefix(content, class, source), from) {
                let (entry, value) = entry?;
                if key::last_number(&entry)? >= end {
                    break;
                }
                seen.objects += 1;
                seen.bytes += FeedEntry::decode(&value)?.bytes;
            }
            if is_first_half {
                let whole = view.row(Family::Meta, &key::bucket(content, class, source, bucket))?;
                let whole = whole.as_deref().map(Count::decode).transpose()?.unwrap_or_default();
                seen.objects = whole.entries.saturating_sub(seen.objects);
                seen.bytes = whole.bytes.saturating_sub(seen.bytes);
            }
            pending.objects += seen.objects;
            pending.bytes += seen.bytes;
            let prefix = key::bucket_prefix(content, class, source);
            let rest = Bound::Excluded(key::bucket(content, class, source, bucket));
            for count in view.scan(Family::Meta, &prefix, rest) {
                let count = Count::decode(&count?.1)?;
                pending.objects += count.entries;
                pending.bytes += count.bytes;
            }
        }
        Ok(pending)
    }

    /// One page of a link's divergence report, after the given place: by content, then by the time
    /// of the loser. Only conflicts of the given epochs are named.
    pub fn divergences(
        &self,
        link: LinkId,
        epochs: RangeInclusive<Epoch>,
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<DivergencePage> {
        let (view, prefix) = (self.view(), key::divergence_prefix(link));
        let from = match after {
            Some(after) => Bound::Excluded([&prefix, after].concat()),
            None => Bound::Included(prefix.clone()),
        };
        let corrupt = || Error::Corrupt { what: "divergence" };
        let mut page = DivergencePage::default();
        let mut last = None;
        for row in view.scan(Family::Meta, &prefix, from) {
            let place = row?.0.split_off(prefix.len());
            let (id, name) = place.split_at_checked(16).ok_or_else(corrupt)?;
            let id = ContentId::from_slice(id).ok_or_else(corrupt)?;
            let entry = FeedEntry { name: name.to_vec(), bytes: 0, deleted: false };
            let Payload::Divergence(divergence) = feed_record(&view, id, &entry)?.payload else { continue };
            if !epochs.contains(&divergence.epoch) {
                continue;
            }
            if page.divergences.len() == max.max(1) {
                page.next = last;
                break;
            }
            page.divergences.push((content_row(&view, id)?.content, *divergence));
            last = Some(place);
        }
        Ok(page)
    }

    /// The keys of at most `max` notes of conflicts of `link` in `content`, after the given one.
    pub fn notes(
        &self,
        link: LinkId,
        content: ContentId,
        after: Option<&RecordKey>,
        max: usize,
    ) -> Result<Vec<RecordKey>> {
        let (view, prefix) = (self.view(), [key::divergence_prefix(link), content.0.to_vec()].concat());
        let from = match after {
            Some(after) => Bound::Excluded(key::divergence(link, content, after)),
            None => Bound::Included(prefix.clone()),
        };
        let rows = view.scan(Family::Meta, &prefix, from).take(max);
        rows.map(|row| key::parse_name(&row?.0[prefix.len()..])).collect()
    }

    /// How many conflicts of `link` are noted in `content`. Costs what it counts.
    pub fn divergence_count(&self, link: LinkId, content: ContentId) -> Result<u64> {
        let prefix = [key::divergence_prefix(link), content.0.to_vec()].concat();
        self.view().prefix(Family::Meta, &prefix).try_fold(0, |count, row| row.map(|_| count + 1))
    }
}

/// The orders of a feed that a peer reads: those of every source but its own.
fn orders(row: &ContentRow, classes: &[Class], exclude: Option<FeedId>) -> Vec<(Class, u64)> {
    let sources = || std::iter::once(LOCAL).chain(row.sources.iter().copied());
    let wanted = |source: &u64| exclude.is_none_or(|feed| feed.0 != *source);
    classes.iter().flat_map(|class| sources().filter(wanted).map(|source| (*class, source))).collect()
}

/// The record of a feed's entry, whole. Feed and record change in one batch, so it is there.
fn feed_record(view: &View<'_>, content: ContentId, entry: &FeedEntry) -> Result<Record> {
    let row = view.row(Family::Record, &key::record_by_name(content, &entry.name))?;
    let row = row.ok_or(Error::Corrupt { what: "feed" })?;
    let mut record = Stored::decode(key::parse_name(&entry.name)?, &row)?.record;
    load_body(view, content, &mut record)?;
    Ok(record)
}

/// About how many bytes a record takes in a message.
fn weight(record: &Record) -> usize {
    /// Versions, hashes and names.
    const FIXED: usize = 256;
    let inline = record.as_object().map_or(0, |object| match &object.body {
        Body::Inline(bytes) => bytes.len(),
        Body::Segments(segments) => segments.len() * 24,
    });
    FIXED + record.key.label().len() + inline
}

type Order = std::iter::Peekable<Box<dyn Iterator<Item = Result<KeyValue>>>>;

/// Several orders of one feed as one, by sequence.
struct Merge {
    orders: Vec<Order>,
    /// The next sequence of each order.
    next: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Merge {
    fn new(
        view: &View<'_>,
        row: &ContentRow,
        classes: &[Class],
        exclude: Option<FeedId>,
        after: u64,
    ) -> Result<Self> {
        let mut merge = Self { orders: Vec::new(), next: BinaryHeap::new() };
        for (class, source) in orders(row, classes, exclude) {
            let prefix = key::feed_prefix(row.content.id, class, source);
            let from = Bound::Excluded(key::feed(row.content.id, class, source, after));
            let rows: Box<dyn Iterator<Item = _>> = Box::new(view.scan(Family::Feed, &prefix, from));
            merge.orders.push(rows.peekable());
            merge.advance(merge.orders.len() - 1)?;
        }
        Ok(merge)
    }

    /// Notes the next sequence of one order.
    fn advance(&mut self, order: usize) -> Result<()> {
        match self.orders[order].peek() {
            Some(Ok((key, _))) => self.next.push(Reverse((key::last_number(key)?, order))),
            Some(Err(error)) => return Err(error.clone()),
            None => {}
        }
        Ok(())
    }

    fn peek(&self) -> Option<u64> {
        self.next.peek().map(|Reverse((sequence, _))| *sequence)
    }

    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        let Some(Reverse((sequence, order))) = self.next.pop() else {
            return Ok(None);
        };
        let Some(row) = self.orders[order].next() else {
            return Ok(None);
        };
        let (_, value) = row?;
        self.advance(order)?;
        Ok(Some((sequence, value)))
    }
}
