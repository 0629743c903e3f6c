//! The versions of one key: their order as listings tell it, and what of them the target has already.
//!
//! Nothing is asked of anybody here. S3 lists the versions of a key from the newest to the oldest, and that
//! order is what counts, not the times: an upload in parts may have the time at which it began. But some endpoints
//! write all delete markers of a page apart from its versions. Their places among each other then follow from
//! the times, where those leave no doubt; otherwise one asks for pages of one version each, whose order nothing
//! hides.

use std::collections::BTreeMap;

use super::entry::Entry;
use super::s3::After;

/// A version or delete marker, and the page of the listing that it stood on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) page: u64,
    pub(crate) entry: Entry,
}

/// Puts the versions of each key together that the pages of a listing have.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    page: u64,
    open: BTreeMap<String, Vec<Found>>,
}

impl Gathering {
    /// Takes a page in, and returns what is complete with it: key by key, in the order of the listing.
    pub(crate) fn take(&mut self, entries: Vec<Entry>, next: Option<&After>) -> Vec<Vec<Found>> {
        self.page += 1;
        for entry in entries {
            let found = self.open.entry(entry.key.clone()).or_default();
            found.push(Found { page: self.page, entry });
        }
        let mut done = std::mem::take(&mut self.open);
        if let Some(next) = next {
            // The next page may go on with the key that its place is named by, whether that is what stood last or what
            // stands next.
            self.open.extend(done.remove_entry(&next.key));
        }
        done.into_values().collect()
    }

    /// The most that is known of one key which is not complete.
    pub(crate) fn longest(&self) -> usize {
        self.open.values().map(Vec::len).max().unwrap_or(0)
    }
}

/// The versions of a key, the newest first; nothing where the listing leaves that open.
pub(crate) fn ordered(found: &[Found]) -> Option<Vec<Entry>> {
    let pages = found.chunk_by(|one, other| one.page == other.page);
    pages.map(of_page).collect::<Option<Vec<_>>>().map(|pages| pages.concat())
}

fn of_page(page: &[Found]) -> Option<Vec<Entry>> {
    let entries = page.iter().map(|found| found.entry.clone());
    let (markers, versions): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.marker);
    if markers.is_empty() || versions.is_empty() {
        return Some(if markers.is_empty() { versions } else { markers });
    }
    // Where the two kinds alternate, none is apart.
    let changes = page.windows(2).filter(|pair| pair[0].entry.marker != pair[1].entry.marker).count();
    if changes > 1 {
        return Some(page.iter().map(|found| found.entry.clone()).collect());
    }
    // As text they are in order only when they are written alike.
    let length = page[0].entry.modified.len();
    let are_plain = page.iter().all(|found| {
        let time = found.entry.modified.as_bytes();
        time.len() == length && time.last() == Some(&b'Z') && found.entry.parts().is_none()
    });
    let fall = |entries: &[Entry]| entries.is_sorted_by(|newer, older| newer.modified >= older.modified);
    if !are_plain || !fall(&markers) || !fall(&versions) {
        return None;
    }
    let (mut markers, mut versions) = (markers.into_iter().peekable(), versions.into_iter().peekable());
    let mut ordered = Vec::with_capacity(page.len());
    loop {
        let next = match (markers.peek(), versions.peek()) {
            (Some(marker), Some(version)) if marker.modified == version.modified => return None,
            (Some(marker), Some(version)) if marker.modified > version.modified => markers.next(),
            (Some(_), None) => markers.next(),
            _ => versions.next(),
        };
        match next {
            Some(entry) => ordered.push(entry),
            None => return Some(ordered),
        }
    }
}

/// What is known of a version that is due: enough to know it again in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) marker: bool,
    pub(crate) size: u64,
    /// That it has there, or would have.
    pub(crate) etag: String,
}

/// How a key stands in the target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Of what is due, from the oldest on, what arrived and is not in the journal: its version ids in the target.
    pub(crate) landed: Vec<String>,
    /// Somebody else has written or deleted it since.
    pub(crate) foreign: bool,
}

/// Compares what the target lists of a key, the newest first, with what is due, the oldest first.
///
/// `ours` knows the version ids that the journal has. Whatever is above those arrived later: it is what an
/// earlier run wrote and could not note, or somebody else's. With `overwrite`, what is ours may be above that.
pub(crate) fn standing(
    held: &[Entry],
    ours: impl Fn(&str) -> bool,
    due: &[Due],
    overwrite: bool,
) -> Standing {
    let version = |entry: &Entry| entry.version.clone().unwrap_or_default();
    let above = held.iter().take_while(|entry| !ours(&version(entry))).count();
    let (mut landed, mut foreign) = (Vec::new(), false);
    for entry in held[..above].iter().rev() {
        let is_due = due.get(landed.len()).is_some_and(|due| {
            due.marker == entry.marker && (entry.marker || (due.size, &due.etag) == (entry.size, &entry.etag))
        });
        if is_due && (overwrite || !foreign) {
            landed.push(version(entry));
        } else {
            foreign = true;
        }
    }
    Standing { landed, foreign }
}

#[cfg(test)]
mod tests;
