//! The engine of a simulated system: a table of its own simulated disk.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use switchback_world::disk::{Records, Table};

use super::{Backend, Family, Found, Row, Snapshot};
use crate::error::{Error, Result};

pub(super) struct Simulated(pub(super) Arc<dyn Table>);

impl Backend for Simulated {
    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(Seen(self.0.snapshot()))
    }

    fn commit(&self, rows: Vec<Row>) -> Result<()> {
        let changes = rows.into_iter().map(|(family, key, value)| (tagged(family, &key), value));
        self.0.commit(changes.collect()).map_err(|error| Error::engine("commit", error))
    }

    fn pauses(&self) -> Option<(Duration, Duration)> {
        Some(self.0.pauses())
    }
}

struct Seen(Arc<Records>);

impl Snapshot for Seen {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(&tagged(family, key)).cloned())
    }

    fn range(&self, family: Family, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Found {
        let from = match from {
            Bound::Unbounded => Bound::Included(vec![family as u8]),
            from => from.map(|from| tagged(family, &from)),
        };
        let to = match to {
            Bound::Unbounded => Bound::Excluded(vec![family as u8 + 1]),
            to => to.map(|to| tagged(family, &to)),
        };
        // Each row is looked for behind the one before it, because an iterator cannot own what it iterates.
        let (records, mut from) = (Arc::clone(&self.0), from);
        Box::new(std::iter::from_fn(move || {
            let (key, value) = records.range((from.clone(), to.clone())).next()?;
            from = Bound::Excluded(key.clone());
            Some(Ok((key[1..].to_vec(), value.clone())))
        }))
    }
}

/// A key of `family` among all keys of the table.
fn tagged(family: Family, key: &[u8]) -> Vec<u8> {
    [&[family as u8], key].concat()
}
