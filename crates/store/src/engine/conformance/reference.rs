//! The plainest engine there can be: a map, copied for who looks at it.

use std::ops::RangeBounds as _;
use std::sync::PoisonError;

use super::*;

type Map = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

/// What outlives the engine.
#[derive(Clone, Default)]
pub(super) struct Reference(Arc<Mutex<Kept>>);

#[derive(Clone, Default)]
struct Kept {
    rows: Arc<Map>,
    is_open: bool,
    fails: bool,
}

/// The engine over it.
pub(super) struct Opened(Reference);

impl Reference {
    pub(super) fn open(&self) -> Result<Opened> {
        let mut kept = self.lock();
        if std::mem::replace(&mut kept.is_open, true) {
            return Err(Error::InUse { path: PathBuf::from("memory") });
        }
        Ok(Opened(self.clone()))
    }

    pub(super) fn killed(&self) -> Self {
        Self(Arc::new(Mutex::new(Kept { is_open: false, ..self.lock().clone() })))
    }

    /// The next commit does not reach the disk.
    pub(super) fn fail_next(&self) {
        self.lock().fails = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.lock().is_open = false;
    }
}

impl Backend for Opened {
    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(Seen(self.0.lock().rows.clone()))
    }

    fn commit(&self, rows: Vec<Row>) -> Result<()> {
        let mut kept = self.0.lock();
        if std::mem::take(&mut kept.fails) {
            return Err(Error::engine("commit", std::io::Error::other("no disk")));
        }
        let map = Arc::make_mut(&mut kept.rows);
        for (family, key, value) in rows {
            match value {
                Some(value) => drop(map.insert((family, key), value)),
                None => drop(map.remove(&(family, key))),
            }
        }
        Ok(())
    }
}

struct Seen(Arc<Map>);

impl Snapshot for Seen {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(&(family, key.to_vec())).cloned())
    }

    fn range(&self, family: Family, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Found {
        let rows =
            self.0.iter().filter(|((of, key), _)| *of == family && (from.clone(), to.clone()).contains(key));
        let rows: Vec<_> = rows.map(|((_, key), value)| Ok((key.clone(), value.clone()))).collect();
        Box::new(rows.into_iter())
    }
}
