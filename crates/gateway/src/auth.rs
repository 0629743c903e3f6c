//! Who calls: access keys looked up at the data mover, and what they may name.
//!
//! A credential belongs to one tenant, and the tenant's namespaces are its buckets. The reserved
//! tenant `default` has the directories as its buckets instead: each a content of its own, with
//! one namespace of its name.

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use switchback_proto::model::v1::{Content, ContentKind};
use switchback_proto::store::v1::LookupCredentialRequest;
use tonic::Code;

use crate::believed::Believed;
use crate::host::Domains;
use crate::status;
use crate::store::{Store, answer};

/// Credentials remembered at once. A deleted one works for as long as it is believed.
const REMEMBERED_MAX: usize = 4096;

/// Longer access keys are nobody's.
const ACCESS_KEY_MAX: usize = 255;

/// The reserved tenant whose buckets are the directories.
const DEFAULT_TENANT: &str = switchback_store::DEFAULT_TENANT;

/// The tenant on whose behalf a request is made. Put into the request by [`Keys::check`].
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    tenant: Content,
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
    /// Whoever is the tenant of this name.
    pub(crate) fn of(tenant: &str) -> Self {
        let tenant = Content { kind: ContentKind::Tenant.into(), name: tenant.into(), ..Default::default() };
        Self { tenant }
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

/// Looks access keys up, and decides what their owners may name.
#[derive(Clone)]
pub(crate) struct Keys {
    store: Store,
    domains: Domains,
    remembered: Believed<String, Found>,
}

impl Keys {
    pub(crate) fn new(store: Store, domains: Domains) -> Self {
        Self { store, domains, remembered: Believed::new(REMEMBERED_MAX) }
    }

    /// Whose key this is, if anybody's.
    pub(crate) async fn caller(&self, access_key: &str) -> Option<Caller> {
        Some(self.find(access_key).await.ok()?.caller)
    }

    async fn find(&self, access_key: &str) -> S3Result<Found> {
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
        let found = Found { caller: Caller { tenant }, secret: SecretKey::from(credential.secret_key) };
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
        Ok(self.find(access_key).await?.secret)
    }
}

#[async_trait::async_trait]
impl S3Access for Keys {
    /// The signature was checked before this is called.
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = cx.credentials() else {
            return Err(s3_error!(AccessDenied, "anonymous access is not offered: sign the request"));
        };
        let caller = self.find(&credentials.access_key).await?.caller;
        let host = cx.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
        let named = self.domains.named(host.unwrap_or_default());
        if named.tenant.is_some_and(|tenant| tenant != caller.tenant.name) {
            return Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                "the host name is another tenant's: use this access key at its own tenant's name",
            ));
        }
        cx.extensions_mut().insert(caller);
        Ok(())
    }
}
