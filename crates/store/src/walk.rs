//! The versions of a namespace's objects in the order of listings: by key, and of one key the newest
//! first, delete markers among them.
//!
//! `null` versions and the others lie in two places, each in that order; two scans are read as one. A
//! place without versions costs the one seek that finds nothing. What is not wanted (older versions, what
//! a common prefix stands for) is passed over by a seek, however much it is. No row is read before it is
//! asked for, since a seek often comes first.

use std::ops::Bound;

use switchback_model::{ContentId, Version};

use crate::codec::Stored;
use crate::engine::{Family, KeyValue, View, prefix_end};
use crate::error::Result;
use crate::key;
use crate::record::{Record, RecordKey};

/// Versions of a key that are stepped over before a seek is worth it.
const STEPS_MAX: usize = 8;

/// Where to go on. A walk goes forward only.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// At this key, or the next after it.
    At(&'a str),
    /// Behind all versions of this key.
    Behind(&'a str),
    /// Behind all keys that begin so.
    Beyond(&'a str),
    /// Behind the version of this key that came into being then, among its older ones.
    Among(&'a str, Version),
}

/// One version.
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) born: Version,
    /// Without its inline body; no tombstone.
    pub(crate) record: Record,
}

pub(crate) struct Walk<'a> {
    view: &'a View<'a>,
    content: ContentId,
    namespace: &'a str,
    nulls: Source,
    others: Source,
    /// The key whose other versions are not wanted.
    passed: Option<String>,
}

/// One of the two scans.
struct Source {
    /// What all rows that are wanted begin with.
    span: Vec<u8>,
    rows: Box<dyn Iterator<Item = Result<KeyValue>>>,
    next: Option<Entry>,
    /// `next` was taken, and the row behind it not read yet.
    is_due: bool,
    ended: bool,
}

impl Source {
    fn new(span: Vec<u8>) -> Self {
        Self { span, rows: Box::new(std::iter::empty()), next: None, is_due: false, ended: false }
    }

    /// Goes on at `from`, unless there is nothing more in any case.
    fn seek(&mut self, view: &View<'_>, content: ContentId, from: Bound<Vec<u8>>) -> Result<()> {
        (self.next, self.is_due) = (None, false);
        if self.ended {
            return Ok(());
        }
        self.rows = view.scan(Family::Record, &self.span, from);
        self.advance(content)
    }

    fn advance(&mut self, content: ContentId) -> Result<()> {
        self.next = None;
        for row in self.rows.by_ref() {
            let (row, value) = row?;
            let name = key::parse_name(&row[content.0.len()..])?;
            let (RecordKey::Object { key, .. } | RecordKey::Version { key, .. }) = &name else { continue };
            let key = key.clone();
            let record = Stored::decode(name, &value)?.record;
            if !record.is_deleted() {
                self.next = Some(Entry { key, born: record.born(), record });
                return Ok(());
            }
        }
        self.ended = true;
        Ok(())
    }

    /// Reads the row that is due.
    fn settle(&mut self, content: ContentId) -> Result<()> {
        if std::mem::take(&mut self.is_due) { self.advance(content) } else { Ok(()) }
    }

    fn is_at(&self, key: &str) -> bool {
        self.next.as_ref().is_some_and(|next| next.key == key)
    }
}

impl<'a> Walk<'a> {
    /// Of the keys that begin with `prefix`, from `place` on.
    pub(crate) fn new(
        view: &'a View<'a>,
        content: ContentId,
        namespace: &'a str,
        prefix: &str,
        place: Place<'_>,
    ) -> Result<Self> {
        let nulls = [key::objects(content, namespace), prefix.as_bytes().to_vec()].concat();
        let others = [key::versions(content, namespace), key::escape(prefix)].concat();
        let (nulls, others) = (Source::new(nulls), Source::new(others));
        let mut walk = Self { view, content, namespace, nulls, others, passed: None };
        walk.seek(place)?;
        Ok(walk)
    }

    /// Goes on at `place`.
    pub(crate) fn seek(&mut self, place: Place<'_>) -> Result<()> {
        self.passed = None;
        let Self { view, content, namespace, .. } = *self;
        let null = |key: &str| [key::objects(content, namespace), key.as_bytes().to_vec()].concat();
        let other = |key: &str| [key::versions(content, namespace), key::escape(key)].concat();
        let beyond = |prefix: Vec<u8>| prefix_end(&prefix).map_or(Bound::Unbounded, Bound::Included);
        let (nulls, others) = match place {
            Place::At(key) => (Bound::Included(null(key)), Bound::Included(other(key))),
            Place::Behind(key) => {
                (Bound::Excluded(null(key)), beyond(key::versions_of(content, namespace, key)))
            }
            Place::Beyond(prefix) => (beyond(null(prefix)), beyond(other(prefix))),
            Place::Among(key, id) => {
                let version = RecordKey::Version { namespace: namespace.into(), key: key.into(), id };
                (Bound::Included(null(key)), Bound::Excluded(key::record(content, &version)))
            }
        };
        self.nulls.seek(view, content, within(&self.nulls.span, nulls))?;
        self.others.seek(view, content, within(&self.others.span, others))?;
        if let Place::Among(key, born) = place
            && self.nulls.next.as_ref().is_some_and(|next| next.key == key && next.born >= born)
        {
            self.nulls.advance(content)?;
        }
        Ok(())
    }

    /// The next version.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        self.nulls.settle(self.content)?;
        self.others.settle(self.content)?;
        if let Some(key) = self.passed.take() {
            self.skip(&key)?;
        }
        let is_null = match (&self.nulls.next, &self.others.next) {
            (Some(null), Some(other)) => {
                null.key < other.key || null.key == other.key && null.born > other.born
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        let source = if is_null { &mut self.nulls } else { &mut self.others };
        let entry = source.next.take();
        source.is_due = entry.is_some();
        Ok(entry)
    }

    /// Passes over what is left of `key`, of which the walk has shown the first version.
    pub(crate) fn pass(&mut self, key: &str) {
        // A null version has no other beside it but among the others.
        if !self.others.ended {
            self.passed = Some(key.to_owned());
        }
    }

    fn skip(&mut self, key: &str) -> Result<()> {
        if self.nulls.is_at(key) {
            self.nulls.advance(self.content)?;
        }
        let mut steps = 0;
        while self.others.is_at(key) {
            if steps == STEPS_MAX {
                let end = prefix_end(&key::versions_of(self.content, self.namespace, key));
                let end = end.map_or(Bound::Unbounded, Bound::Included);
                self.others.seek(self.view, self.content, end)?;
            } else {
                self.others.advance(self.content)?;
            }
            steps += 1;
        }
        Ok(())
    }
}

/// Not before the span that is wanted.
fn within(span: &[u8], from: Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    match from {
        Bound::Included(row) | Bound::Excluded(row) if row.as_slice() < span => {
            Bound::Included(span.to_vec())
        }
        from => from,
    }
}
