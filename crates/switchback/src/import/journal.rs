//! What was imported, so that the next run moves only what has changed since.
//!
//! A file of JSON, a line an object, appended to as objects arrive. Its first line names the source and the
//! target. In memory each object takes about 100 bytes: digests of its key and of what the source said of it, and
//! where its line is.
//!
//! Nothing depends on the last lines: an object that arrived and is not in the journal is found in the target
//! when it is about to be written there, and is seen to be the same. So a line is written when its object has
//! arrived, and the file is flushed to the disk at the end; a line that a crash has torn is cut off.

mod lock;
mod version;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use switchback_store::Lock;

use self::lock::KeptLock;
use super::entry::{Digest, Entry, of_key, of_version};

/// The form of the file.
const FORM: u32 = 1;

/// A file is written anew without the lines that later ones replace when those are as many as this.
const DEAD_LINES_MAX: usize = 10_000;

#[derive(Serialize, Deserialize)]
struct Head {
    journal: u32,
    source: String,
    target: String,
    /// Of all versions, and not of objects as they are now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    versions: bool,
}

/// A line: what the source said of the object, and the ETag it has in the target; or that it was deleted there.
#[derive(Default, Serialize, Deserialize)]
struct Line {
    key: String,
    /// Of a version, its id in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    marker: bool,
    /// Of a version, its id in the target; absent while it is about to be written there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    here: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    modified: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    etag: String,
    #[serde(default)]
    size: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    held: String,
    /// The lock that it was brought with, or that was brought since.
    #[serde(default, skip_serializing_if = "KeptLock::is_none")]
    lock: KeptLock,
    /// Of a version that was left out, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

struct Known {
    state: Digest,
    /// Where its line begins.
    at: u64,
    /// The source still has it.
    listed: bool,
    /// Written in this run.
    fresh: bool,
    /// False of a version that was about to be written, or was left out.
    arrived: bool,
    /// It was left out.
    skipped: bool,
}

/// What of an object was imported before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing.
    Nothing,
    /// All of it, as it is now.
    This,
    /// What it was then, with this ETag in the target.
    Another(String),
}

/// An object that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Imported {
    pub(crate) key: String,
    /// The ETag that it got in the target.
    pub(crate) held: String,
    /// Of a version, as the journal has it.
    version: Option<Entry>,
    /// Its id in the target.
    pub(crate) here: Option<String>,
}

/// What arrived of an object or a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// The ETag that it got in the target.
    pub(crate) held: String,
    /// Of a version, its id in the target.
    pub(crate) here: Option<String>,
    pub(crate) lock: Lock,
}

/// The journal of one source and one target.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    end: u64,
    known: HashMap<Digest, Known>,
    /// The versions in the target that were imported.
    ours: HashSet<Digest>,
}

impl Line {
    fn entry(&self) -> Entry {
        Entry {
            key: self.key.clone(),
            version: self.version.clone(),
            marker: self.marker,
            size: self.size,
            modified: self.modified.clone(),
            etag: self.etag.clone(),
        }
    }

    /// Of what is listed so.
    fn of(entry: &Entry) -> Self {
        let Entry { key, version, marker, size, modified, etag } = entry.clone();
        Self { key, version, marker, size, modified, etag, ..Default::default() }
    }
}

impl Journal {
    /// Opens the journal at `path`, or begins it.
    ///
    /// # Errors
    /// It is of another source or target, is in use, or is no journal.
    pub(crate) fn open(path: &Path, source: &str, target: &str, versions: bool) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.with_context(|| format!("open the journal {shown}"))?;
        if file.try_lock().is_err() {
            bail!(
                "the journal {shown} is in use by another import; wait for it, or name another one with --journal"
            );
        }
        let head = Head { journal: FORM, source: source.into(), target: target.into(), versions };
        let is_new = file.metadata().context("measure the journal")?.len() == 0;
        let mut journal = Self::empty(path, file);
        if is_new {
            journal.append(&head)?;
            return Ok(journal);
        }
        let dead = journal.load(&head)?;
        journal.file.set_len(journal.end).with_context(|| format!("cut a torn line off {shown}"))?;
        if dead > DEAD_LINES_MAX.max(journal.known.len()) {
            return journal.rewritten(&head);
        }
        Ok(journal)
    }

    fn empty(path: &Path, file: File) -> Self {
        Self { path: path.to_owned(), file, end: 0, known: HashMap::new(), ours: HashSet::new() }
    }

    /// Reads all lines, and says how many are replaced by others.
    fn load(&mut self, wanted: &Head) -> anyhow::Result<usize> {
        let shown = self.path.display().to_string();
        let mut lines = BufReader::new(self.file.try_clone().context("open the journal once more")?);
        let (mut text, mut count) = (Vec::new(), 0_usize);
        loop {
            text.clear();
            lines.read_until(b'\n', &mut text).with_context(|| format!("read the journal {shown}"))?;
            if text.last() != Some(&b'\n') {
                break;
            }
            let at = self.end;
            self.end += text.len() as u64;
            if at == 0 {
                check(&shown, &text, wanted)?;
                continue;
            }
            let line: Line = serde_json::from_slice(&text).with_context(|| {
                format!("{shown} is damaged at byte {at}; remove it to import from the start")
            })?;
            count += 1;
            self.know(&line, at, false);
        }
        if self.end == 0 {
            bail!("{shown} is no journal of an import; name another file with --journal");
        }
        Ok(count - self.known.len())
    }

    fn know(&mut self, line: &Line, at: u64, fresh: bool) {
        let (entry, here) = (line.entry(), line.here.as_deref().map(|here| of_version(&line.key, here)));
        if line.deleted {
            self.known.remove(&entry.identity());
            here.map(|here| self.ours.remove(&here));
            return;
        }
        self.ours.extend(here);
        let arrived = line.version.is_none() || line.here.is_some();
        let skipped = line.skipped.is_some();
        self.known.insert(
            entry.identity(),
            Known { state: entry.state(), at, listed: fresh, fresh, arrived, skipped },
        );
    }

    /// The same journal in a file without dead lines, which takes the place of the old one whole.
    fn rewritten(mut self, head: &Head) -> anyhow::Result<Self> {
        let mut at: Vec<u64> = self.known.values().map(|known| known.at).collect();
        at.sort_unstable();
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let path = PathBuf::from(temporary);
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
        let file = file.with_context(|| format!("write {}", path.display()))?;
        file.try_lock().with_context(|| format!("{} is in use by another import", path.display()))?;
        let mut fresh = Self::empty(&path, file);
        fresh.append(head)?;
        for at in at {
            let line = self.line(at)?;
            let begin = fresh.append(&line)?;
            fresh.know(&line, begin, false);
        }
        fresh.file.sync_all().with_context(|| format!("write {}", path.display()))?;
        fs::rename(&path, &self.path).with_context(|| format!("replace {}", self.path.display()))?;
        fresh.path = std::mem::take(&mut self.path);
        Ok(fresh)
    }

    /// False when the object or version was imported as the source lists it now, or left out, before this run.
    pub(crate) fn is_due(&self, entry: &Entry) -> bool {
        let known = self.known.get(&entry.identity());
        // A version never changes, however its time is written.
        known.is_none_or(|known| {
            let is_done = known.arrived || known.skipped;
            known.fresh || !is_done || (entry.version.is_none() && known.state != entry.state())
        })
    }

    /// Notes that the source still has the object, and says what of it was imported before.
    pub(crate) fn see(&mut self, entry: &Entry) -> anyhow::Result<Before> {
        let Some(known) = self.known.get_mut(&of_key(&entry.key)) else { return Ok(Before::Nothing) };
        known.listed = true;
        if known.state == entry.state() {
            return Ok(Before::This);
        }
        let at = known.at;
        Ok(Before::Another(self.line(at)?.held))
    }

    /// Notes that the source lists something of this name that cannot be imported: it is not gone.
    pub(crate) fn unusable(&mut self, key: &str) {
        if let Some(known) = self.known.get_mut(&of_key(key)) {
            known.listed = true;
        }
    }

    /// Notes that an object has arrived, with this ETag and lock.
    pub(crate) fn arrived(&mut self, entry: &Entry, held: &str, lock: Lock) -> anyhow::Result<()> {
        let line = Line { held: held.to_owned(), lock: lock.into(), ..Line::of(entry) };
        let at = self.append(&line)?;
        self.know(&line, at, true);
        Ok(())
    }

    /// Notes that an object or a version was deleted in the target.
    pub(crate) fn deleted(&mut self, Imported { key, version, here, .. }: &Imported) -> anyhow::Result<()> {
        let line = version.as_ref().map_or_else(|| Line { key: key.clone(), ..Default::default() }, Line::of);
        let line = Line { here: here.clone(), deleted: true, ..line };
        let at = self.append(&line)?;
        self.know(&line, at, true);
        Ok(())
    }

    /// Where the lines of the objects are that were imported once and that the source has no more.
    pub(crate) fn gone(&self) -> Vec<u64> {
        let gone = self.known.values().filter(|known| known.arrived && !known.listed);
        let mut at: Vec<u64> = gone.map(|known| known.at).collect();
        at.sort_unstable();
        at
    }

    /// The object or version of the line at `at`.
    pub(crate) fn imported(&self, at: u64) -> anyhow::Result<Imported> {
        let line = self.line(at)?;
        let version = line.version.is_some().then(|| line.entry());
        Ok(Imported { key: line.key, held: line.held, version, here: line.here })
    }

    /// Flushes to the disk.
    pub(crate) fn keep(&self) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| format!("write the journal {}", self.path.display()))
    }

    fn append<T: Serialize>(&mut self, line: &T) -> anyhow::Result<u64> {
        let mut text = serde_json::to_vec(line).context("write a line of the journal")?;
        text.push(b'\n');
        let at = self.end;
        self.file
            .write_all_at(&text, at)
            .with_context(|| format!("write the journal {}", self.path.display()))?;
        self.end += text.len() as u64;
        Ok(at)
    }

    fn line(&self, at: u64) -> anyhow::Result<Line> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at)).context("read the journal")?;
        let mut text = Vec::new();
        BufReader::new(file.take(LINE_BYTES_MAX)).read_until(b'\n', &mut text).context("read the journal")?;
        serde_json::from_slice(&text).with_context(|| format!("read the journal at byte {at}"))
    }
}

/// A key has 1,024 bytes, each of which takes six at most in JSON, and so have the two version ids, which take one;
/// the rest is short.
const LINE_BYTES_MAX: u64 = 16 * 1024;

fn check(shown: &str, text: &[u8], wanted: &Head) -> anyhow::Result<()> {
    let Ok(head) = serde_json::from_slice::<Head>(text) else {
        bail!("{shown} is no journal of an import; name another file with --journal");
    };
    if head.journal != FORM {
        bail!("the journal {shown} is of another version of this command; import with that one");
    }
    if head.versions != wanted.versions {
        let (with, without) = if head.versions { ("with", "without") } else { ("without", "with") };
        bail!(
            "the journal {shown} is of an import {with} --versions, and this one is {without}; import into another bucket, with another --journal"
        );
    }
    if (&head.source, &head.target) != (&wanted.source, &wanted.target) {
        bail!(
            "the journal {shown} is of an import from {} to {}, and not from {} to {}; name another one with --journal",
            head.source,
            head.target,
            wanted.source,
            wanted.target
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, modified: &str) -> Entry {
        Entry { key: key.into(), size: 1, modified: modified.into(), ..Default::default() }
    }

    fn open(folder: &tempfile::TempDir) -> anyhow::Result<Journal> {
        Journal::open(&folder.path().join("journal"), "here", "there", false)
    }

    #[test]
    fn what_has_arrived_is_due_again_only_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(&folder).unwrap();
        assert!(journal.is_due(&entry("a", "1")));
        journal.arrived(&entry("a", "1"), "etag-a", Lock::default()).unwrap();
        journal.arrived(&entry("line\nfeed \"é\"", "1"), "etag-b", Lock::default()).unwrap();
        drop(journal);
        let mut journal = open(&folder).unwrap();
        assert!(!journal.is_due(&entry("a", "1")));
        assert!(journal.is_due(&entry("a", "2")) && journal.is_due(&entry("c", "1")));
        assert_eq!(journal.see(&entry("a", "1")).unwrap(), Before::This);
        assert_eq!(journal.see(&entry("a", "2")).unwrap(), Before::Another("etag-a".into()));
        assert_eq!(journal.see(&entry("c", "1")).unwrap(), Before::Nothing);
        let gone: Vec<_> = journal.gone().into_iter().map(|at| journal.imported(at).unwrap()).collect();
        assert_eq!((gone.len(), gone[0].key.as_str()), (1, "line\nfeed \"é\""));
        journal.deleted(&gone[0]).unwrap();
        drop(journal);
        assert!(open(&folder).unwrap().is_due(&entry("line\nfeed \"é\"", "1")));
    }

    #[test]
    fn a_torn_line_is_cut_off_and_what_stands_before_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = open(&folder).unwrap();
        journal.arrived(&entry("a", "1"), "e", Lock::default()).unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        journal
            .arrived(&entry("a longer key than that of the next line", "1"), "e", Lock::default())
            .unwrap();
        drop(journal);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 3).unwrap();
        drop(file);
        let mut journal = open(&folder).unwrap();
        assert_eq!(journal.end, whole);
        assert!(!journal.is_due(&entry("a", "1")));
        journal.arrived(&entry("b", "1"), "e", Lock::default()).unwrap();
        drop(journal);
        let journal = open(&folder).unwrap();
        assert!(!journal.is_due(&entry("b", "1")));
    }

    #[test]
    fn a_journal_is_of_one_source_and_one_target_and_of_one_import_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let first = open(&folder).unwrap();
        assert!(open(&folder).err().unwrap().to_string().contains("in use"));
        drop(first);
        let other = Journal::open(&path, "elsewhere", "there", false).err().unwrap().to_string();
        assert!(other.contains("from here to there") && other.contains("--journal"), "{other}");
        let versions = Journal::open(&path, "here", "there", true).err().unwrap().to_string();
        assert!(versions.contains("without --versions") && versions.contains("another bucket"), "{versions}");
        fs::write(&path, "dear diary\n").unwrap();
        assert!(open(&folder).err().unwrap().to_string().contains("no journal"));
        fs::write(&path, "no line feed").unwrap();
        assert!(open(&folder).err().unwrap().to_string().contains("no journal"));
    }

    #[test]
    fn a_journal_does_not_outgrow_what_was_imported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = open(&folder).unwrap();
        for round in 0..=DEAD_LINES_MAX + 1 {
            journal.arrived(&entry("a", &round.to_string()), &round.to_string(), Lock::default()).unwrap();
        }
        drop(journal);
        let grown = fs::metadata(&path).unwrap().len();
        let mut journal = open(&folder).unwrap();
        let last = (DEAD_LINES_MAX + 1).to_string();
        assert!(fs::metadata(&path).unwrap().len() < grown / 1000);
        assert_eq!(journal.see(&entry("a", "0")).unwrap(), Before::Another(last));
        assert!(open(&folder).err().unwrap().to_string().contains("in use"));
    }
}
