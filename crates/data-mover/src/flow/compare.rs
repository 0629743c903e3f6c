//! Comparing with a peer that has content and no cursor, or that differs: by digest range, then by
//! key and version in the ranges that differ. What is equal is neither listed nor sent. What the
//! peer is known to have had and has no more is taken away here, if this store went back in time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use switchback_model::{ContentId, LinkId, Version};
use switchback_proto::replication::v1::{Manifest, ManifestEntry, Missing};
use switchback_store::{
    Catalogue, ContentDigest, Digest, Record, RecordKey, Result, Sender, VersionsPage, VersionsRequest,
};

use super::agree::differing;
use super::feed::{Draft, blocking, by_key};
use super::key::{KeyHash, from_wire, to_wire};
use super::limit::{BATCH_RECORDS_MAX, PAGE_KEYS_MAX};
use crate::convert::{version_from_wire, version_to_wire};

/// Keys of ours that one answer asks about. Should there be more, the digests still differ at the
/// end, and the next repair asks about the rest.
const EXTRA_MAX: usize = 20_000;

/// The sender's end of a comparison.
pub struct Comparison {
    ranges: [bool; 256],
    /// Our head when the digests were compared: once the comparison is done, the peer has
    /// everything up to here. 0 in a repair.
    through: u64,
    /// The peer holds nothing that counts: there is nothing to compare with, the feed tells all.
    needless: bool,
    after: Option<RecordKey>,
    /// Keys of the manifest that the peer has not answered.
    asked: Option<Vec<(RecordKey, Version)>>,
    wanted: VecDeque<RecordKey>,
    /// As whose they are taken away; `None` if this store did not go back.
    retires: Option<Sender>,
    /// Wanted by a peer that has nothing under these keys.
    absent: VecDeque<(RecordKey, Version)>,
    /// The same, of namespaces: each goes after its objects, if they all went.
    absent_namespaces: Vec<(RecordKey, Version)>,
    /// Keys that the peer shows and our manifest did not: ours may have been deleted. What was
    /// written since is in the feed, or came from the peer itself.
    extra: VecDeque<RecordKey>,
    is_listed: bool,
    /// Notes of conflicts are in no digest. All of them are sent to a peer that begins, or that went back
    /// to a backup; it takes those that it has not. `None` once they are.
    notes: Option<Notes>,
}

/// How far the notes of a link's conflicts have been sent.
struct Notes {
    link: LinkId,
    after: Option<RecordKey>,
}

/// What comes next in a comparison.
pub enum Next {
    /// Ask about a page of keys.
    Manifest(Manifest),
    /// Send what the peer asked for.
    Batch(Draft),
    /// The peer has to answer first.
    Wait,
    /// The peer has everything up to this place of our feed.
    Done(u64),
}

impl Comparison {
    /// Of what is here with the digests that a peer showed. `is_first`: the peer has applied nothing of
    /// our feed yet. `retires`: the peer, if this store went back in time. `notes`: the link whose notes
    /// the peer is given, if it was not given them before.
    #[must_use]
    pub fn new(
        ours: &ContentDigest,
        theirs: &[Digest],
        is_first: bool,
        retires: Option<Sender>,
        notes: Option<LinkId>,
    ) -> Self {
        let ranges = differing(&ours.ranges, theirs);
        Self {
            is_listed: ranges.iter().all(|differs| !differs),
            ranges,
            // A repair finds what the digest shows; the feed's own place stays what it was.
            through: if is_first { ours.position.sequence } else { 0 },
            needless: is_first && retires.is_none() && theirs.iter().all(|range| range.records == 0),
            retires,
            ..Self::of_nothing_but(notes)
        }
    }

    /// Of nothing but the notes of `link`.
    #[must_use]
    pub fn of_notes(link: LinkId) -> Self {
        Self::of_nothing_but(Some(link))
    }

    fn of_nothing_but(notes: Option<LinkId>) -> Self {
        Self {
            ranges: [false; 256],
            through: 0,
            needless: false,
            after: None,
            asked: None,
            wanted: VecDeque::new(),
            retires: None,
            absent: VecDeque::new(),
            absent_namespaces: Vec::new(),
            extra: VecDeque::new(),
            is_listed: true,
            notes: notes.map(|link| Notes { link, after: None }),
        }
    }

    /// The peer answered the manifest.
    pub fn answer(&mut self, missing: Missing) {
        let asked = self.asked.take().unwrap_or_default();
        let absent: BTreeSet<u32> = missing.absent.into_iter().collect();
        for place in missing.wanted {
            let Some((key, version)) = asked.get(place as usize).cloned() else { continue };
            if self.retires.is_none() || !absent.contains(&place) {
                self.wanted.push_back(key);
            } else if matches!(key, RecordKey::Namespace(_)) {
                self.absent_namespaces.push((key, version));
            } else {
                self.absent.push_back((key, version));
            }
        }
        self.extra.extend(missing.extra.into_iter().filter_map(from_wire));
    }

    /// There is something to send before the peer answers.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let waits = self.wanted.is_empty() && self.extra.is_empty() && self.absent.is_empty();
        self.needless || self.asked.is_none() || !waits
    }

    /// What to send next; [`Next::Wait`] only if it has no work.
    ///
    /// # Errors
    /// The store failed.
    pub async fn next(&mut self, catalogue: &Catalogue, content: ContentId) -> Result<Next> {
        if self.needless {
            return Ok(Next::Done(0));
        }
        self.retire(catalogue, content).await?;
        if let Some(draft) = next_of(&mut self.wanted, catalogue, content, |_| true).await? {
            return Ok(Next::Batch(draft));
        }
        if let Some(draft) = next_of(&mut self.extra, catalogue, content, Record::is_deleted).await? {
            return Ok(Next::Batch(draft));
        }
        if self.asked.is_some() {
            return Ok(Next::Wait);
        }
        if self.is_listed {
            self.absent.extend(std::mem::take(&mut self.absent_namespaces));
            self.retire(catalogue, content).await?;
            self.look_for_notes(catalogue, content).await?;
            let notes = next_of(&mut self.wanted, catalogue, content, |_| true).await?;
            return Ok(notes.map_or(Next::Done(self.through), Next::Batch));
        }
        let page = page(catalogue, content, self.after.clone(), None, self.ranges).await?;
        let manifest = Manifest {
            after: self.after.as_ref().map(to_wire),
            through: page.through.as_ref().map(to_wire),
            entries: page.versions.iter().map(entry).collect(),
            ranges: pack(&self.ranges).into(),
        };
        self.is_listed = page.through.is_none();
        self.after = page.through;
        self.asked = Some(page.versions);
        Ok(Next::Manifest(manifest))
    }

    /// Takes away what the peer deleted; the rest of what is absent there is sent.
    async fn retire(&mut self, catalogue: &Catalogue, content: ContentId) -> Result<()> {
        let Some(peer) = &self.retires else { return Ok(()) };
        while !self.absent.is_empty() {
            let some: Vec<_> = self.absent.iter().take(BATCH_RECORDS_MAX).cloned().collect();
            let looked_at = some.len();
            self.wanted.extend(catalogue.retire(content, peer.clone(), some).await?);
            self.absent.drain(..looked_at);
        }
        Ok(())
    }

    async fn look_for_notes(&mut self, catalogue: &Catalogue, content: ContentId) -> Result<()> {
        let Some(Notes { link, after }) = self.notes.take() else { return Ok(()) };
        let catalogue = catalogue.clone();
        let page = blocking(move || catalogue.notes(link, content, after.as_ref(), PAGE_KEYS_MAX)).await?;
        if let Some(last) = page.last() {
            self.notes = Some(Notes { link, after: Some(last.clone()) });
        }
        self.wanted.extend(page);
        Ok(())
    }
}

/// The next batch of the keys that wait, if any of them is wanted.
async fn next_of(
    keys: &mut VecDeque<RecordKey>,
    catalogue: &Catalogue,
    content: ContentId,
    is_wanted: fn(&Record) -> bool,
) -> Result<Option<Draft>> {
    while !keys.is_empty() {
        let some: Vec<_> = keys.iter().take(BATCH_RECORDS_MAX).cloned().collect();
        let draft = by_key(catalogue, content, some, is_wanted).await?;
        // What did not fit stays.
        keys.drain(..draft.looked_at());
        if !draft.is_empty() {
            return Ok(Some(draft));
        }
    }
    Ok(None)
}

fn entry((key, version): &(RecordKey, Version)) -> ManifestEntry {
    ManifestEntry { key_hash: KeyHash::of(key).0.to_vec().into(), version: Some(version_to_wire(*version)) }
}

async fn page(
    catalogue: &Catalogue,
    content: ContentId,
    after: Option<RecordKey>,
    through: Option<RecordKey>,
    ranges: [bool; 256],
) -> Result<VersionsPage> {
    let catalogue = catalogue.clone();
    blocking(move || {
        let request = VersionsRequest {
            after: after.as_ref(),
            through: through.as_ref(),
            ranges: &ranges,
            keys_max: PAGE_KEYS_MAX,
        };
        catalogue.versions(content, &request)
    })
    .await
}

/// The receiver's answer to a manifest. Its own stretch may hold more keys than a page: it is then
/// walked in several.
///
/// # Errors
/// The store failed.
pub fn answer(catalogue: &Catalogue, content: ContentId, manifest: Manifest) -> Result<Missing> {
    let ranges = unpack(&manifest.ranges);
    let mut theirs = BTreeMap::new();
    let mut here = BTreeSet::new();
    for (place, entry) in (0..).zip(&manifest.entries) {
        theirs
            .insert(entry.key_hash.to_vec(), (place, version_from_wire(&entry.version.unwrap_or_default())));
    }
    let mut missing = Missing::default();
    let through = manifest.through.and_then(from_wire);
    let mut after = manifest.after.and_then(from_wire);
    loop {
        let request = VersionsRequest {
            after: after.as_ref(),
            through: through.as_ref(),
            ranges: &ranges,
            keys_max: PAGE_KEYS_MAX,
        };
        let page = catalogue.versions(content, &request)?;
        for (key, version) in &page.versions {
            match theirs.get(KeyHash::of(key).0.as_slice()) {
                Some((_, same)) if same == version => drop(theirs.remove(KeyHash::of(key).0.as_slice())),
                Some((place, _)) => drop(here.insert(*place)),
                None if missing.extra.len() < EXTRA_MAX => missing.extra.push(to_wire(key)),
                None => {}
            }
        }
        for key in &page.tombstones {
            here.extend(theirs.get(KeyHash::of(key).0.as_slice()).map(|(place, _)| *place));
        }
        let at_end = page.through == through;
        after = page.through;
        if at_end {
            missing.wanted = theirs.into_values().map(|(place, _)| place).collect();
            missing.wanted.sort_unstable();
            missing.absent = missing.wanted.iter().copied().filter(|place| !here.contains(place)).collect();
            return Ok(missing);
        }
    }
}

fn pack(ranges: &[bool; 256]) -> Vec<u8> {
    let mut bits = vec![0; 32];
    for (range, _) in ranges.iter().enumerate().filter(|(_, differs)| **differs) {
        bits[range / 8] |= 0x80 >> (range % 8);
    }
    bits
}

fn unpack(bits: &[u8]) -> [bool; 256] {
    std::array::from_fn(|range| bits.get(range / 8).is_some_and(|byte| byte & (0x80 >> (range % 8)) != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_that_waits_for_an_answer_has_nothing_to_do() {
        let asked = (RecordKey::Namespace("photos".to_owned()), Version::default());
        let of_notes = Comparison::of_notes(LinkId([1; 16]));
        let mut comparison = Comparison { is_listed: false, ranges: [true; 256], ..of_notes };
        assert!(comparison.has_work(), "it has to ask first");
        comparison.asked = Some(vec![asked]);
        assert!(!comparison.has_work());
        comparison.answer(Missing { wanted: vec![0], ..Missing::default() });
        assert!(comparison.has_work(), "the peer wants something");
    }

    #[test]
    fn ranges_cross_the_wire_as_bits() {
        let mut ranges = [false; 256];
        for range in [0, 7, 8, 255] {
            ranges[range] = true;
        }
        assert_eq!(pack(&ranges)[0], 0b1000_0001);
        assert_eq!(unpack(&pack(&ranges)), ranges);
        assert_eq!(unpack(&[]), [false; 256]);
    }
}
