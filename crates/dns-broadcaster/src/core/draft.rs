//! Records on their way into a table, in any order: no more than their bytes, until all are there.

use alloc::vec::Vec;

use super::packed::{self, Row};
use super::record::Kind;
use super::table::{Builder, Key, Table};

/// See the module.
#[derive(Debug, Default)]
pub struct Draft {
    /// Names and values.
    bytes: Vec<u8>,
    records: Vec<Record>,
    key: Key,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    /// Where its name stands, with its value behind it.
    at: usize,
    ttl: u32,
    kind: Kind,
    value_bytes: u16,
    name_bytes: u8,
}

impl Draft {
    /// For a table with this key.
    #[must_use]
    pub fn keyed(key: Key) -> Self {
        Self { key, ..Self::default() }
    }

    /// Adds a record: the key of its name, and its value with names uncompressed.
    pub fn push(&mut self, name: &[u8], kind: Kind, ttl: u32, value: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend(name);
        self.bytes.extend(value);
        // A key and a value keep the limits of the wire.
        let (name_bytes, value_bytes) = (name.len() as u8, value.len() as u16);
        self.records.push(Record { at, ttl, kind, value_bytes, name_bytes });
    }

    /// The records by name, those of a name packed. What stands twice is taken once; records of one set
    /// have the lowest of their times to live (RFC 2181 section 5.2).
    #[must_use]
    pub fn finish(mut self) -> Table {
        let bytes = &self.bytes;
        let name = |record: &Record| &bytes[record.at..record.at + usize::from(record.name_bytes)];
        let row = |record: &Record| {
            let start = record.at + usize::from(record.name_bytes);
            let value = &bytes[start..start + usize::from(record.value_bytes)];
            Row { kind: record.kind, value, ttl: record.ttl }
        };
        self.records.sort_by(|one, other| name(one).cmp(name(other)).then_with(|| row(one).cmp(&row(other))));
        let mut table = Builder::keyed(self.key);
        let (mut rows, mut node) = (Vec::new(), Vec::new());
        for records in self.records.chunk_by(|one, other| name(one) == name(other)) {
            rows.clear();
            rows.extend(records.iter().map(row));
            node.clear();
            packed::pack_rows(&rows, &mut node);
            table.push(name(&records[0]), &node);
        }
        table.finish()
    }
}
