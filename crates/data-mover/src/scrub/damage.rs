//! The list of damaged bodies: what is wrong, since when, and what came of it. Pure; what changes here is made
//! durable by the caller.

use std::collections::BTreeMap;
use std::time::Duration;

use switchback_model::{ContentId, Version};
use switchback_proto::mover::record::v1::Damage as Record;
use switchback_proto::mover::v1::damage::State;
use switchback_store::{BlobId, Fault, RecordKey, StoredBody, UploadId};

use crate::convert::{version_from_wire, version_to_wire};
use crate::flow::key::{KeyHash, from_wire, to_wire};

/// Bodies on the list that are not repaired. A disk that has damaged more is beyond repair one by one.
pub(crate) const DAMAGES_MAX: usize = 10_000;

/// Repaired bodies that stay on the list for people to read.
const REPAIRED_MAX: usize = 100;

/// First and longest pause before a repair that waits is tried again.
const WAIT_PAUSE: Duration = Duration::from_secs(1);
const WAIT_PAUSE_MAX: Duration = Duration::from_secs(15);

/// The pause where no copy is known: the other system may have been repaired meanwhile, but its operator tells ours.
const UNREPAIRABLE_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Names a body on the list.
pub(crate) type Id = (ContentId, KeyHash);

/// A part of an open upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartOf {
    pub(crate) upload: UploadId,
    pub(crate) number: u32,
}

/// The name of `body`, or of the part whose bytes it is.
pub(crate) fn id_of(body: &StoredBody, part: Option<PartOf>) -> Id {
    let hash = match part {
        Some(PartOf { upload, number }) => KeyHash::of_part(upload, number),
        None => KeyHash::of(&body.key),
    };
    (body.content, hash)
}

/// One body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) content: ContentId,
    /// Of a part: that of the object to be.
    pub(crate) key: RecordKey,
    pub(crate) part: Option<PartOf>,
    pub(crate) version: Version,
    pub(crate) size: u64,
    pub(crate) fingerprint: [u8; 16],
    pub(crate) blob: Option<BlobId>,
    pub(crate) fault: String,
    pub(crate) found_unix_ms: i64,
    pub(crate) state: State,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    pub(crate) next_attempt_unix_ms: i64,
    pub(crate) repaired_unix_ms: i64,
}

/// What became of a finding.
#[derive(Debug)]
pub(crate) enum Noted {
    /// To be made durable.
    New(Id, Box<Record>),
    /// It is on the list, and is tried now.
    Known,
    /// There is no room.
    Full,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Repaired,
    Waits(String),
    Unrepairable(String),
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct Damages(BTreeMap<Id, Entry>);

impl Damages {
    /// Takes in what was remembered.
    pub(crate) fn recall(&mut self, id: Id, record: Record) {
        if let Some(entry) = Entry::parse(id.0, record) {
            self.0.insert(id, entry);
        }
    }

    /// Notes that `body`, which may be that of a part, is damaged.
    pub(crate) fn note(
        &mut self,
        now_unix_ms: i64,
        body: &StoredBody,
        part: Option<PartOf>,
        fault: &Fault,
    ) -> Noted {
        let id = id_of(body, part);
        let fingerprint = body.fingerprint();
        if let Some(known) = self.0.get_mut(&id)
            && known.is_open()
            && known.fingerprint == fingerprint
        {
            known.next_attempt_unix_ms = now_unix_ms;
            return Noted::Known;
        }
        if self.0.values().filter(|entry| entry.is_open()).count() >= DAMAGES_MAX {
            return Noted::Full;
        }
        let entry = Entry {
            content: body.content,
            key: body.key.clone(),
            part,
            version: body.version,
            size: body.object.size,
            fingerprint,
            blob: fault.blob(),
            fault: fault.to_string(),
            found_unix_ms: now_unix_ms,
            state: State::Waiting,
            reason: String::new(),
            attempts: 0,
            next_attempt_unix_ms: now_unix_ms,
            repaired_unix_ms: 0,
        };
        let record = entry.to_record();
        self.0.insert(id, entry);
        Noted::New(id, Box::new(record))
    }

    /// Notes what came of an attempt; answers what to remember if that changed, and what to forget.
    pub(crate) fn tried(&mut self, id: Id, now_unix_ms: i64, outcome: Outcome) -> (Option<Record>, Vec<Id>) {
        let Some(entry) = self.0.get_mut(&id) else { return (None, Vec::new()) };
        let before = (entry.state, entry.reason.clone());
        entry.attempts = entry.attempts.saturating_add(1);
        let pause = match outcome {
            Outcome::Repaired => {
                (entry.state, entry.reason, entry.repaired_unix_ms) =
                    (State::Repaired, String::new(), now_unix_ms);
                Duration::ZERO
            }
            Outcome::Waits(reason) => {
                (entry.state, entry.reason) = (State::Waiting, reason);
                (WAIT_PAUSE * (1 << entry.attempts.min(8))).min(WAIT_PAUSE_MAX)
            }
            Outcome::Unrepairable(reason) => {
                (entry.state, entry.reason) = (State::Unrepairable, reason);
                UNREPAIRABLE_PAUSE
            }
        };
        let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        entry.next_attempt_unix_ms = now_unix_ms.saturating_add(pause);
        let changed = (entry.state, entry.reason.clone()) != before;
        let record = changed.then(|| entry.to_record());
        (record, self.prune())
    }

    /// Lets the oldest of the repaired ones go.
    fn prune(&mut self) -> Vec<Id> {
        let mut repaired: Vec<_> = self
            .0
            .iter()
            .filter(|(_, entry)| !entry.is_open())
            .map(|(id, entry)| (entry.repaired_unix_ms, *id))
            .collect();
        repaired.sort_unstable();
        let gone = repaired.len().saturating_sub(REPAIRED_MAX);
        let gone: Vec<_> = repaired.into_iter().take(gone).map(|(_, id)| id).collect();
        gone.iter().for_each(|id| drop(self.0.remove(id)));
        gone
    }

    /// False: it was not on the list.
    pub(crate) fn remove(&mut self, id: &Id) -> bool {
        self.0.remove(id).is_some()
    }

    /// The body is on the list, with these bytes, and not repaired.
    pub(crate) fn open(&self, id: &Id, fingerprint: &[u8; 16]) -> bool {
        self.0.get(id).is_some_and(|entry| entry.is_open() && entry.fingerprint == *fingerprint)
    }

    /// The body whose time came first.
    pub(crate) fn due(&self, now_unix_ms: i64) -> Option<(Id, Entry)> {
        let open = self.0.iter().filter(|(_, entry)| entry.is_open());
        let due = open.filter(|(_, entry)| entry.next_attempt_unix_ms <= now_unix_ms);
        due.min_by_key(|(_, entry)| entry.next_attempt_unix_ms).map(|(id, entry)| (*id, entry.clone()))
    }

    /// When the next body's time comes.
    pub(crate) fn next_unix_ms(&self) -> Option<i64> {
        let open = self.0.values().filter(|entry| entry.is_open());
        open.map(|entry| entry.next_attempt_unix_ms).min()
    }

    /// The parts of this upload that are damaged, with their fingerprints.
    pub(crate) fn parts_of(&self, upload: UploadId) -> Vec<(u32, [u8; 16])> {
        let open = self.0.values().filter(|entry| entry.is_open());
        let named = open.filter_map(|entry| entry.part.map(|part| (part, entry.fingerprint)));
        let of_this = named.filter(|(part, _)| part.upload == upload);
        of_this.map(|(part, fingerprint)| (part.number, fingerprint)).collect()
    }

    /// The parts of this upload are looked at now. False: none of them is on the list.
    pub(crate) fn hurry_parts(&mut self, upload: UploadId, now_unix_ms: i64) -> bool {
        let mut is_any = false;
        for entry in self.0.values_mut() {
            if entry.is_open() && entry.part.is_some_and(|part| part.upload == upload) {
                entry.next_attempt_unix_ms = now_unix_ms;
                is_any = true;
            }
        }
        is_any
    }

    /// Everything is tried now.
    pub(crate) fn hurry(&mut self, now_unix_ms: i64) {
        for entry in self.0.values_mut() {
            entry.next_attempt_unix_ms = entry.next_attempt_unix_ms.min(now_unix_ms);
        }
    }

    /// How many wait, and how many cannot be repaired.
    pub(crate) fn counts(&self, of: impl Fn(&Entry) -> bool) -> (u64, u64) {
        let count = |state| self.0.values().filter(|entry| entry.state == state && of(entry)).count() as u64;
        (count(State::Waiting), count(State::Unrepairable))
    }

    /// What cannot be repaired first, then what waits, then what was repaired, each by its time.
    pub(crate) fn listed(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.0.values().cloned().collect();
        entries.sort_by_key(|entry| {
            let urgency = match entry.state {
                State::Unrepairable => 0,
                State::Waiting | State::Unspecified => 1,
                State::Repaired => 2,
            };
            (urgency, entry.found_unix_ms)
        });
        entries
    }
}

impl Entry {
    fn is_open(&self) -> bool {
        self.state != State::Repaired
    }

    fn to_record(&self) -> Record {
        Record {
            key: Some(to_wire(&self.key)),
            version: Some(version_to_wire(self.version)),
            size: self.size,
            fingerprint: self.fingerprint.to_vec().into(),
            blob_id: self.blob.map(|blob| blob.as_bytes().to_vec().into()).unwrap_or_default(),
            fault: self.fault.clone(),
            found_unix_ms: self.found_unix_ms,
            state: self.state.into(),
            reason: self.reason.clone(),
            attempts: self.attempts,
            next_attempt_unix_ms: self.next_attempt_unix_ms,
            repaired_unix_ms: self.repaired_unix_ms,
            upload_id: self.part.map(|part| part.upload.0.to_vec().into()).unwrap_or_default(),
            part_number: self.part.map_or(0, |part| part.number),
        }
    }

    fn parse(content: ContentId, record: Record) -> Option<Self> {
        let state = record.state();
        let part = match &record.upload_id[..] {
            [] => None,
            upload => Some(PartOf { upload: UploadId(upload.try_into().ok()?), number: record.part_number }),
        };
        Some(Self {
            content,
            key: record.key.and_then(from_wire)?,
            part,
            version: version_from_wire(&record.version.unwrap_or_default()),
            size: record.size,
            fingerprint: record.fingerprint.as_ref().try_into().ok()?,
            blob: BlobId::from_slice(&record.blob_id),
            fault: record.fault,
            found_unix_ms: record.found_unix_ms,
            state,
            reason: record.reason,
            attempts: record.attempts,
            next_attempt_unix_ms: record.next_attempt_unix_ms,
            repaired_unix_ms: record.repaired_unix_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_store::{Body, Object, Segment};

    fn body(number: u64) -> StoredBody {
        let key = RecordKey::object("photos", format!("k/{number}"));
        let segment = Segment { blob: BlobId([7; 16]), size: number };
        let object = Object { size: number, body: Body::Segments(vec![segment]), ..Object::default() };
        StoredBody { content: ContentId([1; 16]), key, version: Version::default(), object }
    }

    fn note(damages: &mut Damages, now: i64, number: u64) -> Option<(Id, Record)> {
        match damages.note(now, &body(number), None, &Fault::Hash) {
            Noted::New(id, record) => Some((id, *record)),
            Noted::Known | Noted::Full => None,
        }
    }

    #[test]
    fn a_body_stays_on_the_list_until_it_is_repaired_and_is_tried_again_and_again() {
        let mut damages = Damages::default();
        let (id, record) = note(&mut damages, 100, 1).unwrap();
        assert!(note(&mut damages, 200, 1).is_none(), "it is known");
        assert_eq!(damages.due(200).unwrap().0, id);
        let (changed, _) = damages.tried(id, 200, Outcome::Waits("no contact".into()));
        assert_eq!(changed.unwrap().found_unix_ms, 100);
        assert!(damages.due(200).is_none());
        let mut now = damages.next_unix_ms().unwrap();
        for _ in 0..40 {
            let (changed, _) = damages.tried(id, now, Outcome::Waits("no contact".into()));
            assert!(changed.is_none(), "nothing new to remember");
            let next = damages.next_unix_ms().unwrap();
            assert!(next > now && next <= now + 15_000);
            now = next;
        }
        damages.tried(id, now, Outcome::Unrepairable("no copy".into()));
        assert_eq!(damages.counts(|_| true), (0, 1));
        assert!(damages.due(now + 60_000).is_none());
        damages.hurry(now);
        assert!(damages.due(now).is_some(), "an operator may ask");
        damages.tried(id, now, Outcome::Repaired);
        assert_eq!((damages.counts(|_| true), damages.next_unix_ms()), ((0, 0), None));
        assert!(note(&mut damages, now, 1).is_some(), "it can be damaged anew");
        let mut recalled = Damages::default();
        recalled.recall(id, record);
        assert!(recalled.open(&id, &body(1).fingerprint()));
        assert!(!recalled.open(&id, &body(2).fingerprint()));
    }

    #[test]
    fn a_part_is_listed_beside_the_object_of_its_key_and_is_remembered_as_a_part() {
        let mut damages = Damages::default();
        let (upload, other) = (UploadId([4; 16]), UploadId([5; 16]));
        let mut remembered = Vec::new();
        for part in [None, Some(1), Some(2)].map(|number| number.map(|number| PartOf { upload, number })) {
            let Noted::New(id, record) = damages.note(1, &body(1), part, &Fault::Hash) else {
                panic!("{part:?}")
            };
            assert_eq!(id, id_of(&body(1), part));
            remembered.push((id, *record));
        }
        let mut recalled = Damages::default();
        remembered.into_iter().for_each(|(id, record)| recalled.recall(id, record));
        assert_eq!(recalled.listed(), damages.listed());
        let mut parts = recalled.parts_of(upload);
        parts.sort_unstable();
        assert_eq!(parts, [1, 2].map(|number| (number, body(1).fingerprint())));
        assert_eq!(recalled.parts_of(other), []);

        let ids = [1, 2].map(|number| id_of(&body(1), Some(PartOf { upload, number })));
        for id in ids {
            recalled.tried(id, 1, Outcome::Unrepairable("no copy".into()));
        }
        recalled.tried(id_of(&body(1), None), 1, Outcome::Unrepairable("no copy".into()));
        assert!(!recalled.hurry_parts(other, 2) && recalled.due(2).is_none());
        assert!(recalled.hurry_parts(upload, 2));
        for id in ids {
            let (due, _) = recalled.due(2).unwrap();
            assert!(ids.contains(&due), "{due:?}");
            assert!(recalled.remove(&due), "{id:?}");
        }
        assert!(recalled.due(2).is_none(), "the object waits for its time");
    }

    #[test]
    fn the_list_is_bounded_and_drops_only_what_is_repaired() {
        let mut damages = Damages::default();
        let ids: Vec<_> = (0..DAMAGES_MAX as u64).map(|n| note(&mut damages, 1, n).unwrap().0).collect();
        assert!(matches!(damages.note(1, &body(u64::MAX), None, &Fault::Hash), Noted::Full));
        let mut dropped = 0;
        for (now, id) in ids.iter().take(REPAIRED_MAX + 5).enumerate() {
            dropped += damages.tried(*id, now as i64, Outcome::Repaired).1.len();
        }
        assert_eq!((dropped, damages.listed().len()), (5, DAMAGES_MAX - 5));
        assert!(note(&mut damages, 1, u64::MAX).is_some());
    }
}
