//! Zone files (RFC 1035 section 5): the operator's own records.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use domain::base::iana::Class;
use domain::base::name::ToName;
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};

use crate::core::draft::Draft;
use crate::core::name::{Name, NameBuf};
use crate::core::own::Refusal;
use crate::core::record::Kind;
use crate::core::table::{Key, Table};

/// Some two million names.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why a zone file cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("zone file {}{}: {reason}", .path.display(), .line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, where one is to blame.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

/// What a zone file says.
#[derive(Debug)]
pub(crate) struct ZoneFile {
    path: PathBuf,
    text: String,
    domain: Name,
    /// Its records: packed nodes, by name.
    pub(crate) nodes: Table,
}

impl ZoneFile {
    /// Reads a file, into a table with this key. Names without a final dot are beneath `domain` until the file
    /// says otherwise.
    ///
    /// # Errors
    /// It cannot be read, or an entry is not understood or of a type that is not served.
    pub(crate) fn read(path: &Path, domain: &Name, key: Key) -> Result<Self, Error> {
        let of = |reason: String| Error { path: path.into(), line: None, reason };
        let bytes = std::fs::metadata(path).map_err(|error| of(error.to_string()))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(of(format!("{bytes} bytes are more than {FILE_BYTES_MAX}; split the zone")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| of(error.to_string()))?;
        let mut file = Self { path: path.into(), text, domain: domain.clone(), nodes: Table::default() };
        if let Some((line, what)) = left_open(&file.text) {
            return Err(file.error(Some(line), format!("this {what} is never closed")));
        }
        let mut draft = Draft::keyed(key);
        file.each(|record| {
            draft.push(record.owner.as_bytes(), record.kind, record.ttl, record.value);
            true
        })?;
        file.nodes = draft.finish();
        Ok(file)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The zone that the file is: the owner of its SOA record, if it has one.
    pub(crate) fn zone(&self) -> Option<Name> {
        let mut starts = self.nodes.sets().filter(|(_, set)| set.kind() == Kind::SOA);
        starts.next().map(|(owner, _)| Name::from_key(owner))
    }

    /// The refusal of a set, with the line of its first record.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Error {
        let mut line = None;
        let is_it = |record: &Record<'_>| {
            let is_it = record.owner.as_bytes() == refusal.owner.as_bytes() && record.kind == refusal.kind;
            line = is_it.then(|| self.line_after(record.behind));
            !is_it
        };
        // It was read before.
        let _ = self.each(is_it);
        self.error(line, refusal.to_string())
    }

    /// Gives `take` each record in turn, as long as it wants more.
    fn each(&self, mut take: impl FnMut(&Record<'_>) -> bool) -> Result<(), Error> {
        let mut reader = Zonefile::with_capacity(self.text.len() + 2);
        reader.extend_from_slice(self.text.as_bytes());
        reader.extend_from_slice(b"\n");
        reader.set_origin(wire_name(&self.domain));
        reader.set_default_class(Class::IN);
        let (mut owner, mut value) = (Vec::new(), Vec::new());
        loop {
            let behind = reader.current_offset();
            let refused = |line: Option<usize>, reason| {
                Err(self.error(line.or_else(|| Some(self.line_after(behind))), reason))
            };
            // It leaves its bounds for some broken files (seen in domain 0.12.3); a name server must not
            // end for one.
            let next = std::panic::catch_unwind(AssertUnwindSafe(|| reader.next_entry()));
            let Ok(next) = next else {
                return refused(None, "this entry, or one behind it, is broken".into());
            };
            let record = match next {
                Ok(None) => return Ok(()),
                Ok(Some(Entry::Record(record))) => record,
                Ok(Some(Entry::Include { .. })) => {
                    return refused(None, "$INCLUDE is not taken; name the file in zone_files".into());
                }
                Err(error) => {
                    let (line, reason) = located(&error.to_string());
                    return refused(line, reason);
                }
            };
            match Record::of(&record, behind, (&mut owner, &mut value)) {
                Ok(record) if take(&record) => {}
                Ok(_) => return Ok(()),
                Err(reason) => return refused(None, reason),
            }
        }
    }

    /// The line of the entry that begins behind so many bytes.
    fn line_after(&self, bytes: usize) -> usize {
        let behind = self.text.get(bytes..).unwrap_or_default();
        let blank = behind.split_inclusive('\n').take_while(|line| {
            let line = line.trim_start();
            line.is_empty() || line.starts_with([';', '$'])
        });
        let start = bytes + blank.map(str::len).sum::<usize>();
        1 + self.text.get(..start).unwrap_or_default().matches('\n').count()
    }

    fn error(&self, line: Option<usize>, reason: String) -> Error {
        Error { path: self.path.clone(), line, reason }
    }
}

/// The line of the parenthesis or quote that the file never closes, and which it is.
fn left_open(text: &str) -> Option<(usize, &'static str)> {
    let (mut line, mut parenthesis, mut quote) = (1, None, None);
    let (mut is_comment, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            b'\n' => (line, is_comment, is_escaped) = (line + 1, false, false),
            _ if is_escaped => is_escaped = false,
            _ if is_comment => {}
            b'\\' => is_escaped = true,
            b'"' => quote = if quote.is_some() { None } else { Some((line, "quote")) },
            _ if quote.is_some() => {}
            b';' => is_comment = true,
            b'(' => parenthesis = parenthesis.or(Some((line, "parenthesis"))),
            b')' => parenthesis = None,
            _ => {}
        }
    }
    quote.or(parenthesis)
}

/// Line and reason of what the reader says: "line:column: reason". What it misses at the end of a line it
/// misses at the beginning of the next.
fn located(text: &str) -> (Option<usize>, String) {
    let mut parts = text.splitn(3, ':').map(str::trim);
    let mut number = || parts.next()?.parse().ok();
    let (line, column): (Option<usize>, Option<usize>) = (number(), number());
    let line =
        line.map(|line| line.saturating_sub(usize::from(column.is_none_or(|column| column <= 1))).max(1));
    (line, parts.next().unwrap_or(text).to_owned())
}

struct Record<'a> {
    owner: NameBuf,
    kind: Kind,
    ttl: u32,
    /// With names uncompressed.
    value: &'a [u8],
    /// So many bytes of the file, and what is no record, come before it.
    behind: usize,
}

impl<'a> Record<'a> {
    /// The record, written into what may be used for its name and its value.
    fn of(
        record: &ScannedRecord,
        behind: usize,
        (owner, value): (&mut Vec<u8>, &'a mut Vec<u8>),
    ) -> Result<Self, String> {
        let kind = record.rtype();
        if record.class() != Class::IN {
            return Err(format!("class {} is not served, only IN", record.class()));
        }
        if !Kind(kind.to_int()).is_operators() {
            return Err(format!("records of type {kind} are not served"));
        }
        owner.clear();
        record.owner().compose(owner).unwrap_or_else(|never| match never {});
        let owner = NameBuf::read(owner).ok_or("the name is too long")?;
        value.clear();
        record.data().compose_rdata(value).unwrap_or_else(|never| match never {});
        Ok(Self { owner, kind: Kind(kind.to_int()), ttl: record.ttl().as_secs(), value, behind })
    }
}

fn wire_name(name: &Name) -> domain::base::Name<bytes::Bytes> {
    let mut bytes = Vec::new();
    name.write(&mut bytes);
    domain::base::Name::from_octets(bytes.into()).expect("a name of ours keeps the limits of the wire")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "$TTL 60\n@ SOA ns1 admin (\n 1 2 ; x\n 3 4 5 )\n NS ns1\nns1 A 192.0.2.1\n\
        t TXT \"a ; \\\"b\" c\\065 \"\"\n$ORIGIN sub\nx 5 IN MX 1 ( y )\n\\# TYPE65280 \\# 2 ab01\n";

    fn read(text: &[u8]) -> Result<ZoneFile, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        std::fs::write(&path, text).unwrap();
        ZoneFile::read(&path, &Name::parse("east.test").unwrap(), Key::default())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

        #[test]
        fn whatever_a_file_says_is_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(
                b"();\"\\\n\t $@.#0a\xc3\xa4\0".to_vec())), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut text = TEXT.as_bytes().to_vec();
            for (at, byte) in changes {
                let at = at.index(text.len());
                text[at] = byte;
            }
            text.truncate(cut.index(text.len() + 1));
            let lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
            if let Err(error) = read(&text) {
                prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{}", error);
            }
        }
    }
}
