//! Copies on the disk.
//!
//! | family | key | value |
//! |---|---|---|
//! | `copy` | the zone's name, as maps of names have it | [`CopyRecord`]: which parts are the copy |
//! | `part` | generation and number | bytes of transfers, one behind the other ([`Stream`]) |
//! | `word` | as in `copy` | [`WordRecord`]: when the primary last said that this is the zone |
//!
//! A copy is the whole zone once and what changed since, as it came: a change costs what it is long. When
//! the changes have become longer than the zone it is written whole again, under another generation,
//! and the record of the copy changes from the one to the other in one commit. What a crash leaves
//! behind belongs to no copy, and goes with the next start.
//!
//! In a database of its own: names that move must not wait until somebody else's zone is on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message;
use switchback_kit::durable::{self, Batch, Db};
use switchback_machine::Timestamp;
use switchback_proto::dns::record::v1::{CopyRecord, WordRecord};

use crate::core::name::Name;
use crate::core::secondary::members::Label;
use crate::core::secondary::stream::Stream;
use crate::core::table::Key;
use crate::core::zone::Zone;

const COPY: &str = "copy";
const PART: &str = "part";
const WORD: &str = "word";

/// Below the largest value that the database takes.
const PART_BYTES: usize = 60 * 1024;
/// Operations in one commit; the engine takes a hundred, and the last commit adds two.
const COMMIT_OPERATIONS_MAX: usize = 90;
/// Changes of one copy that are read one by one at a start, however short.
const CHANGES_MAX: u32 = 1024;
/// A copy shorter than this is written whole for a change only when the changes are longer.
const WHOLE_BYTES_MIN: usize = 64 * 1024;

/// A copy as it is on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    generation: u64,
    parts: u32,
    /// Parts and bytes of the whole zone, with which it begins.
    whole_parts: u32,
    whole_bytes: usize,
    /// Bytes of what changed since.
    changed_bytes: usize,
}

/// A copy that was read.
pub(crate) struct Found {
    pub(crate) zone: Zone,
    pub(crate) label: Option<Label>,
    pub(crate) word: Timestamp,
}

/// See the module.
pub(crate) struct Archive {
    db: Db,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: BTreeMap<Name, Kept>,
    generation: u64,
}

impl Archive {
    /// What is in `folder`, names hashed with `key`. A copy that cannot be read is left out, and taken anew.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn open(folder: &Path, table: Key) -> Result<(Self, BTreeMap<Name, Found>), durable::Error> {
        let db = Db::open(folder)?;
        let (mut state, mut copies) = (State::default(), BTreeMap::new());
        for (key, value) in db.scan(COPY)? {
            let read = Name::of_key(&key).zip(CopyRecord::decode(&*value).ok());
            let Some((name, record)) = read else { continue };
            let parts = db.scan_from(PART, &part_key(record.generation, 0), record.parts as usize)?;
            let word = db.get(WORD, &key)?.and_then(|word| WordRecord::decode(&*word).ok());
            let word = Timestamp(word.map_or(0, |word| word.unix_ms));
            let lengths: Vec<_> = parts.iter().map(|(_, part)| part.len()).collect();
            let bytes: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part).collect();
            let Some((zone, whole_bytes)) = read_copy(&name, &bytes, table) else {
                tracing::error!(zone = %name, "the copy on the disk is damaged; it is taken anew");
                continue;
            };
            let ends = lengths.iter().scan(0, |end, length| {
                *end += length;
                Some(*end)
            });
            let kept = Kept {
                generation: record.generation,
                parts: record.parts,
                whole_parts: ends.take_while(|end| *end < whole_bytes).count() as u32 + 1,
                whole_bytes,
                changed_bytes: bytes.len() - whole_bytes,
            };
            state.kept.insert(name.clone(), kept);
            copies.insert(name, Found { zone, label: record.label.map(|label| Label(label.into())), word });
        }
        let last = db.scan_back(PART, 1)?;
        let last = last.first().and_then(|(key, _)| key.first_chunk()).copied();
        state.generation = last.map_or(0, u64::from_be_bytes);
        let archive = Self { db, state: Mutex::new(state) };
        archive.sweep()?;
        Ok((archive, copies))
    }

    pub(crate) fn db(&self) -> Db {
        self.db.clone()
    }

    /// Removes parts of no copy.
    fn sweep(&self) -> Result<(), durable::Error> {
        let kept: BTreeSet<u64> = self.state().kept.values().map(|kept| kept.generation).collect();
        let mut from = Vec::new();
        loop {
            let parts = self.db.scan_from(PART, &from, COMMIT_OPERATIONS_MAX)?;
            let Some((last, _)) = parts.last() else { return Ok(()) };
            from = [last.as_slice(), &[0]].concat();
            let mut batch = Batch::default();
            for (key, _) in &parts {
                let generation = key.first_chunk().copied().map(u64::from_be_bytes);
                if generation.is_none_or(|generation| !kept.contains(&generation)) {
                    batch.remove(PART, key);
                }
            }
            if !batch.is_empty() {
                self.db.commit(batch)?;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `zone`, which `stream` has made, as of `word`. One at a time of each zone.
    ///
    /// # Errors
    /// It could not be made durable.
    pub(crate) async fn keep(
        &self,
        zone: &Zone,
        stream: &Stream,
        label: Option<&Label>,
        word: Timestamp,
    ) -> Result<(), durable::Error> {
        let name = zone.origin();
        let before = self.state().kept.get(name).cloned();
        let added = stream.written_bytes();
        let goes_on = before.clone().filter(|kept| {
            let changes = kept.parts - kept.whole_parts;
            let room = kept.whole_bytes.max(WHOLE_BYTES_MIN);
            !stream.is_whole && changes < CHANGES_MAX && kept.changed_bytes + added <= room
        });
        let mut bytes = Vec::with_capacity(added);
        let (first, mut kept) = match goes_on {
            Some(kept) => {
                stream.write(&mut bytes);
                let changed_bytes = kept.changed_bytes + bytes.len();
                (kept.parts, Kept { changed_bytes, ..kept })
            }
            None => {
                match stream.is_whole {
                    true => stream.write(&mut bytes),
                    false => Stream::of(zone).write(&mut bytes),
                }
                let mut state = self.state();
                state.generation += 1;
                let (generation, whole_bytes) = (state.generation, bytes.len());
                let whole_parts = bytes.len().div_ceil(PART_BYTES) as u32;
                (0, Kept { generation, parts: 0, whole_parts, whole_bytes, changed_bytes: 0 })
            }
        };
        let parts: Vec<_> = (first..).zip(bytes.chunks(PART_BYTES)).collect();
        kept.parts = first + parts.len() as u32;
        let mut batches = parts.chunks(COMMIT_OPERATIONS_MAX).peekable();
        while let Some(parts) = batches.next() {
            let mut batch = Batch::default();
            for (number, part) in parts {
                batch.put(PART, &part_key(kept.generation, *number), part);
            }
            if batches.peek().is_none() {
                let label = label.map(|label| label.0.clone().into());
                let record = CopyRecord { generation: kept.generation, parts: kept.parts, label };
                batch.put(COPY, name.as_bytes(), &record.encode_to_vec());
                remember_word(&mut batch, name, word);
            }
            self.db.commit_async(batch).await?;
        }
        let generation = kept.generation;
        self.state().kept.insert(name.clone(), kept);
        match before.filter(|before| before.generation != generation) {
            Some(before) => self.remove_parts(&before).await,
            None => Ok(()),
        }
    }

    /// Lets go of a copy, whose record is gone. Its parts are to be removed.
    pub(crate) fn forget(&self, name: &Name) -> Option<Kept> {
        self.state().kept.remove(name)
    }

    /// Removes the parts of a copy that is none any more.
    ///
    /// # Errors
    /// It could not be made durable.
    pub(crate) async fn remove_parts(&self, kept: &Kept) -> Result<(), durable::Error> {
        let numbers: Vec<u32> = (0..kept.parts).collect();
        for numbers in numbers.chunks(COMMIT_OPERATIONS_MAX) {
            let mut batch = Batch::default();
            for number in numbers {
                batch.remove(PART, &part_key(kept.generation, *number));
            }
            self.db.commit_async(batch).await?;
        }
        Ok(())
    }
}

/// The primary has said at `at` that the copy of `zone` is the zone.
pub(crate) fn remember_word(batch: &mut Batch, zone: &Name, at: Timestamp) {
    batch.put(WORD, zone.as_bytes(), &WordRecord { unix_ms: at.0 }.encode_to_vec());
}

/// There is no copy of `zone` any more.
pub(crate) fn forget_copy(batch: &mut Batch, zone: &Name) {
    batch.remove(COPY, zone.as_bytes());
    batch.remove(WORD, zone.as_bytes());
}

fn part_key(generation: u64, number: u32) -> Vec<u8> {
    [&generation.to_be_bytes()[..], &number.to_be_bytes()].concat()
}

/// The zone that these bytes make, and how many of them are the whole zone that it began as.
fn read_copy(name: &Name, bytes: &[u8], table: Key) -> Option<(Zone, usize)> {
    let (whole, mut rest) = Stream::read(bytes)?;
    let whole_bytes = whole.written_bytes();
    let mut zone = Zone::of_stream(name, &whole, None, table).ok()?;
    while !rest.is_empty() {
        let (stream, behind) = Stream::read(rest)?;
        zone = Zone::of_stream(name, &stream, Some(&zone), table).ok()?;
        rest = behind;
    }
    Some((zone, whole_bytes))
}

#[cfg(test)]
mod tests;
