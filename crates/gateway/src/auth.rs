//! Who calls: access keys looked up at the data mover, and where what they name is.
//!
//! A credential belongs to one tenant, and the tenant's namespaces are its buckets. The reserved
//! tenant `default` has the directories as its buckets instead: each a content of its own, with
//! one namespace of its name.

use std::sync::Arc;

use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3Result, s3_error};
use switchback_model::{Right, Rights};
use switchback_proto::model::v1::{Content, ContentKind};
use switchback_proto::rights;
use switchback_proto::store::v1::LookupCredentialRequest;
use tonic::Code;

use crate::believed::Believed;
use crate::status;
use crate::store::{Store, answer};

/// Credentials remembered at once. A deleted one works, and a right that was taken away counts, for as long as
/// it is believed.
const REMEMBERED_MAX: usize = 4096;

/// Longer access keys are nobody's.
const ACCESS_KEY_MAX: usize = 255;

/// The reserved tenant whose buckets are the directories.
const DEFAULT_TENANT: &str = switchback_store::DEFAULT_TENANT;

/// On whose behalf a request is made. Put into the request when it was judged ([`crate::access`]).
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    tenant: Content,
    /// Who signed, and what that gives; nobody and nothing, when the request is anonymous.
    signer: Option<Arc<Signer>>,
}

#[derive(Debug)]
struct Signer {
    access_key: String,
    rights: Rights,
}

/// Where a bucket is in the store.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The tenant, or the directory.
    pub(crate) content: Content,
    /// The namespace inside it.
    pub(crate) namespace: String,
}

impl Caller {
    /// Nobody in particular, at the tenant of this name.
    pub(crate) fn of(tenant: &str) -> Self {
        let tenant = Content { kind: ContentKind::Tenant.into(), name: tenant.into(), ..Default::default() };
        Self { tenant, signer: None }
    }

    /// Who signed; `None` when nobody did.
    pub(crate) fn access_key(&self) -> Option<&str> {
        self.signer.as_deref().map(|signer| signer.access_key.as_str())
    }

    /// Whether the credential has `right` in `bucket`.
    pub(crate) fn may(&self, right: Right, bucket: &str) -> bool {
        self.signer.as_deref().is_some_and(|signer| signer.rights.allow(right, bucket))
    }

    /// The tenant's name: the owner that S3 clients are shown.
    pub(crate) fn name(&self) -> &str {
        &self.tenant.name
    }

    /// The tenant, if its buckets are namespaces; `None` if they are directories.
    pub(crate) fn tenant(&self) -> Option<&Content> {
        (self.tenant.name != DEFAULT_TENANT).then_some(&self.tenant)
    }

    /// Where `bucket` is, whether it exists or not.
    pub(crate) fn place(&self, bucket: &str) -> Place {
        let content = match self.tenant() {
            Some(tenant) => tenant.clone(),
            None => directory(bucket),
        };
        Place { content, namespace: bucket.into() }
    }
}

/// Names the directory `name`.
pub(crate) fn directory(name: &str) -> Content {
    Content { kind: ContentKind::Directory.into(), name: name.into(), ..Default::default() }
}

#[derive(Clone)]
struct Found {
    caller: Caller,
    secret: SecretKey,
}

/// Looks access keys up.
#[derive(Clone)]
pub(crate) struct Keys {
    store: Store,
    remembered: Believed<String, Found>,
}

impl Keys {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, remembered: Believed::new(REMEMBERED_MAX) }
    }

    /// Whose key this is, and what it gives.
    ///
    /// # Errors
    /// It is nobody's, or the store does not say.
    pub(crate) async fn find(&self, access_key: &str) -> S3Result<Caller> {
        Ok(self.lookup(access_key).await?.caller)
    }

    async fn lookup(&self, access_key: &str) -> S3Result<Found> {
        if let Some(found) = self.remembered.get(access_key) {
            return Ok(found);
        }
        if access_key.len() > ACCESS_KEY_MAX {
            return Err(unknown());
        }
        let request = LookupCredentialRequest { access_key: access_key.into() };
        let found = answer(self.store.client().lookup_credential(request)).await.map_err(|status| {
            if status.code() == Code::NotFound { unknown() } else { status::refused(&status) }
        })?;
        let (Some(tenant), Some(credential)) = (found.content, found.credential) else {
            return Err(unknown());
        };
        let rights = rights::from_wire(credential.rights);
        let signer = Some(Arc::new(Signer { access_key: access_key.into(), rights }));
        let secret = SecretKey::from(credential.secret_key);
        let found = Found { caller: Caller { tenant, signer }, secret };
        self.remembered.put(access_key.into(), found.clone());
        Ok(found)
    }
}

fn unknown() -> S3Error {
    s3_error!(InvalidAccessKeyId, "this access key does not exist on this system")
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        Ok(self.lookup(access_key).await?.secret)
    }
}
