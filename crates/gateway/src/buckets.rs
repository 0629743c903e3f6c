//! What buckets have set that is looked at with requests: who may do what ([`crate::guard`]), what
//! pages of other sites may do ([`crate::cors`]), and when objects expire ([`crate::s3`]). The store is asked
//! once for all.

use std::sync::Arc;

use s3s::S3Result;
use switchback_store::{LIFECYCLE, Lifecycle};
use tonic::Code;

use crate::auth::Place;
use crate::believed::Believed;
use crate::cors::{self, Rules};
use crate::guard::{Guard, POLICY, PUBLIC_ACCESS_BLOCK};
use crate::s3::setting;
use crate::status::refused;
use crate::store::Store;

/// Buckets of which it is remembered at once.
const REMEMBERED_MAX: usize = 1024;

/// What one bucket has set.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) guard: Guard,
    /// None: they cannot be read.
    rules: Option<Rules>,
    /// None: there are none, or they cannot be read.
    pub(crate) lifecycle: Option<Lifecycle>,
}

impl Default for Set {
    /// Nothing.
    fn default() -> Self {
        Self { guard: Guard::default(), rules: Some(Rules::default()), lifecycle: None }
    }
}

impl Set {
    /// What pages of other sites may do.
    ///
    /// # Errors
    /// Something else wrote it.
    pub(crate) fn rules(&self) -> S3Result<&Rules> {
        self.rules.as_ref().ok_or_else(setting::unreadable)
    }
}

/// Looks up what is set of buckets.
#[derive(Clone)]
pub(crate) struct Buckets {
    store: Store,
    /// By content and namespace.
    remembered: Believed<(String, String), Arc<Set>>,
}

impl Buckets {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, remembered: Believed::new(REMEMBERED_MAX) }
    }

    /// What is set of the bucket at `place`; nothing, where there is no bucket: whoever asks may not have
    /// signed, and is not told which buckets there are.
    ///
    /// # Errors
    /// The store does not say. Then nobody may do anything: what is denied there is not known.
    pub(crate) async fn of(&self, place: &Place) -> S3Result<Arc<Set>> {
        let name = (format!("{}/{}", place.content.kind, place.content.name), place.namespace.clone());
        if let Some(set) = self.remembered.get(&name) {
            return Ok(set);
        }
        let settings = match setting::all(&self.store, place.clone()).await {
            Ok(settings) => settings,
            // Not remembered: names that strangers make up would push out those of buckets.
            Err(status) if status.code() == Code::NotFound => return Ok(Arc::default()),
            Err(status) => return Err(refused(&status)),
        };
        let text = |setting| settings.get(setting).map(String::as_str);
        let set = Arc::new(Set {
            guard: Guard::of(&place.namespace, text(POLICY), text(PUBLIC_ACCESS_BLOCK)),
            rules: text(cors::SETTING).map_or_else(|| Some(Rules::default()), |text| Rules::read(text).ok()),
            lifecycle: text(LIFECYCLE).and_then(|text| text.parse().ok()),
        });
        self.remembered.put(name, Arc::clone(&set));
        Ok(set)
    }
}
