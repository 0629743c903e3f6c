//! Operator requests by their id, so that a repeat gets the first result.
//!
//! The intention is durable before the store is asked. A repeat that finds the store's answer to
//! be "done already" is then told success, also when the service was killed in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use switchback_kit::durable::{Batch, Db, Error};

/// Requests that are remembered. An operator's client repeats within minutes; a thousand cover a
/// scripted set-up of as many tenants.
const REQUESTS_MAX: usize = 1_000;

/// Longest request id that is taken, in bytes: four times a UUID.
pub(crate) const REQUEST_ID_MAX: usize = 144;

const FAMILY: &str = "request";

/// The requests that are remembered, oldest first.
#[derive(Clone)]
pub(crate) struct Requests {
    db: Db,
    known: Arc<Mutex<VecDeque<(u64, String)>>>,
}

impl Requests {
    /// Reads what was remembered. Key: a number that grows; value: the request and what it meant.
    pub(crate) fn load(db: Db) -> Result<Self, Error> {
        let known = db
            .scan(FAMILY)?
            .into_iter()
            .filter_map(|(key, value)| {
                Some((u64::from_be_bytes(key.try_into().ok()?), String::from_utf8(value).ok()?))
            })
            .collect();
        Ok(Self { db, known: Arc::new(Mutex::new(known)) })
    }

    /// Notes, durably, that the request `id` means `what`. True when it was noted before: the
    /// caller then takes "done already" for success. An empty id is never noted.
    pub(crate) async fn note(&self, id: &str, what: &str) -> Result<bool, Error> {
        if id.is_empty() {
            return Ok(false);
        }
        let entry = format!("{id}\n{what}");
        let batch = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.iter().any(|(_, noted)| *noted == entry) {
                return Ok(true);
            }
            let number = known.back().map_or(0, |(number, _)| number + 1);
            let mut batch = Batch::default();
            batch.put(FAMILY, &number.to_be_bytes(), entry.as_bytes());
            known.push_back((number, entry));
            while known.len() > REQUESTS_MAX
                && let Some((oldest, _)) = known.pop_front()
            {
                batch.remove(FAMILY, &oldest.to_be_bytes());
            }
            batch
        };
        self.db.commit_async(batch).await.map(|()| false)
    }

    /// The request was refused: a repeat is judged anew.
    pub(crate) async fn forget(&self, id: &str, what: &str) -> Result<(), Error> {
        let entry = format!("{id}\n{what}");
        let mut batch = Batch::default();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|(number, noted)| {
                let keep = *noted != entry;
                if !keep {
                    batch.remove(FAMILY, &number.to_be_bytes());
                }
                keep
            });
        }
        if batch.is_empty() { Ok(()) } else { self.db.commit_async(batch).await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_repeated_request_is_recognised_after_a_restart_and_a_refused_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let requests = Requests::load(db.clone()).unwrap();
        assert!(!requests.note("one", "create tenant:a").await.unwrap());
        assert!(!requests.note("two", "create tenant:b").await.unwrap());
        requests.forget("two", "create tenant:b").await.unwrap();
        let again = Requests::load(db).unwrap();
        assert!(again.note("one", "create tenant:a").await.unwrap());
        assert!(!again.note("one", "create tenant:z").await.unwrap());
        assert!(!again.note("two", "create tenant:b").await.unwrap());
        assert!(!again.note("", "create tenant:c").await.unwrap());
    }

    #[tokio::test]
    async fn only_so_many_requests_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let requests = Requests::load(db.clone()).unwrap();
        requests.known.lock().unwrap().extend((0..REQUESTS_MAX as u64).map(|n| (n, format!("{n}"))));
        requests.note("new", "x").await.unwrap();
        assert_eq!(requests.known.lock().unwrap().len(), REQUESTS_MAX);
        assert_eq!(db.scan(FAMILY).unwrap().len(), 1);
    }
}
