//! Blobs as objects in a bucket: of S3 or what speaks it, of Azure (a container), of Google's cloud storage.
//!
//! `PREFIX/xx/BLOB` is a blob, as in a folder, and `PREFIX/switchback-system` is the marker: it names the system that
//! the prefix belongs to. It is made once, if nobody was there before, by the data mover of a system that has no blobs
//! yet. Without it nothing is written, read, swept or taken for lost: a bucket that is empty where there should be blobs
//! has vanished, or is another one.
//!
//! A failure costs the request that met it, after some attempts. Nothing is remembered of it: the next
//! request finds the backend as it is then.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::azure::{MicrosoftAzureBuilder, split_sas};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Location;
use object_store::{
    BackoffConfig, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::sync::OnceCell;

use super::connector::Connector;
use super::place::{BucketPlace, Known, Provider};
use super::uploads::Uploads;
use super::{BlobClaim, failed, named};
use crate::error::{Error, Result};
use crate::record::BlobId;

/// The marker's name behind the prefix.
const MARKER: &str = "switchback-system";

/// A longer one is none of ours.
const MARKER_BYTES_MAX: u64 = 1024;

/// How a request is repeated: six attempts in about six seconds. Then its client is told, which has a patience of
/// its own, as a rule of a minute.
fn retries() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(4),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_secs(15) }
}

pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// Of S3: Azure forgets blocks that nobody put together after a week, and GCS is told to by a rule of the bucket.
    uploads: Option<Uploads>,
    prefix: Location,
    shown: String,
    claim: BlobClaim,
    verified: OnceCell<()>,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// What the marker says.
enum Marker {
    Ours,
    /// Another system's, or nothing that can be read.
    Foreign(String),
    Missing,
}

impl Bucket {
    /// Nothing is asked yet.
    pub(super) fn new(place: &BucketPlace, claim: BlobClaim) -> Result<Self> {
        let shown = place.to_string();
        let connector = Connector::new().map_err(|error| failed("read the certificates it trusts", error))?;
        let (store, uploads) = client(place, connector).map_err(|error| Error::BlobPlace {
            place: shown.clone(),
            reason: format!("it cannot be asked for: {error}"),
        })?;
        let prefix = Location::from(place.prefix.as_str());
        Ok(Self { store, uploads, prefix, shown, claim, verified: OnceCell::new() })
    }

    /// As [`Bucket::new`], of a store that is there.
    #[cfg(test)]
    fn over(store: Arc<dyn ObjectStore>, prefix: &str, claim: BlobClaim) -> Self {
        let (prefix, shown) = (Location::from(prefix), format!("bucket, prefix {prefix}"));
        Self { store, uploads: None, prefix, shown, claim, verified: OnceCell::new() }
    }

    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    pub(super) fn location<const N: usize>(&self, names: [String; N]) -> Location {
        names.into_iter().fold(self.prefix.clone(), |location, name| location.join(name))
    }

    fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::BlobPlace { place: self.shown.clone(), reason: reason.into() }
    }

    /// What an answer means that is an error.
    fn judge(&self, operation: &'static str, error: object_store::Error) -> Error {
        // A listing's status is in its words only.
        let is_unlisted = matches!(error, object_store::Error::Generic { .. })
            && error.to_string().contains("404 Not Found");
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                self.refuse(format!("it does not let us in; look at [blobs] credentials_file: {error}"))
            }
            error if is_unlisted || matches!(error, object_store::Error::NotFound { .. }) => {
                self.refuse("there is no such bucket; create it, or correct [blobs] bucket and endpoint")
            }
            error => failed(operation, error),
        }
    }

    /// Once for all requests: whether the bucket lets us in and is this system's. Asked again as long as it
    /// is not known.
    pub(super) async fn verify(&self) -> Result<()> {
        self.verified.get_or_try_init(|| self.claim()).await.map(|_| ())
    }

    async fn claim(&self) -> Result<()> {
        match self.marker().await? {
            Marker::Missing if self.claim.has_blobs == Some(false) => self.begin().await,
            marker => self.expect(marker),
        }
    }

    /// Whether it is still there, when a blob is not.
    pub(super) async fn is_ours(&self) -> Result<()> {
        let marker = self.marker().await?;
        self.expect(marker)
    }

    fn expect(&self, marker: Marker) -> Result<()> {
        match marker {
            Marker::Ours => Ok(()),
            Marker::Foreign(owner) => Err(self.refuse(format!(
                "it belongs to {owner}, and this is {}; give this system a [blobs] prefix of its own",
                self.claim.system
            ))),
            Marker::Missing if self.verified.initialized() || self.claim.has_blobs == Some(true) => {
                Err(self.refuse(format!(
                    "this system has blobs, and the object {MARKER} that names it is not there: the bucket was emptied \
                     or is another one; bring its objects back, or correct [blobs] bucket, prefix and endpoint"
                )))
            }
            // As a rule the data mover of a new system has not been here yet.
            Marker::Missing => Err(failed(
                "find out whose it is",
                std::io::Error::other(format!(
                    "{} has no object {MARKER}; the data mover of a new system makes it, and of any other the bucket \
                     was emptied or is another one",
                    self.shown
                )),
            )),
        }
    }

    async fn marker(&self) -> Result<Marker> {
        let found = match self.store.get(&self.location([MARKER.into()])).await {
            Err(object_store::Error::NotFound { .. }) => {
                // Of a bucket that is not there the same is said of each object, but it cannot be listed.
                let mut listed = self.store.list(Some(&self.prefix));
                listed.try_next().await.map_err(|error| self.judge("look into it", error))?;
                return Ok(Marker::Missing);
            }
            found => found.map_err(|error| self.judge("find out whose it is", error))?,
        };
        if found.meta.size > MARKER_BYTES_MAX {
            return Ok(Marker::Foreign("nobody that can be read".into()));
        }
        let bytes = found.bytes().await.map_err(|error| self.judge("find out whose it is", error))?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(match text.lines().find_map(|line| line.strip_prefix("system ")) {
            Some(id) if id.trim() == self.claim.system.to_string() => Marker::Ours,
            Some(id) => Marker::Foreign(format!("system {}", id.trim())),
            None => Marker::Foreign("nobody that can be read".into()),
        })
    }

    /// Takes an empty prefix for this system.
    async fn begin(&self) -> Result<()> {
        let mut found = self.store.list(Some(&self.prefix));
        let first = found.try_next().await.map_err(|error| self.judge("look into it", error))?;
        if let Some(first) = first {
            return Err(self.refuse(format!(
                "there are objects beneath its prefix, such as {}, and no {MARKER} that says whose they are; give this \
                 system a [blobs] prefix of its own",
                first.location
            )));
        }
        let text = format!("switchback blobs\nsystem {}\n", self.claim.system);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(&self.location([MARKER.into()]), PutPayload::from(text), options).await;
        match put {
            // Somebody was there in between, perhaps ourselves by an answer that was lost.
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(self.judge("name the system in it", error)),
        }
        // Read again: not everything that speaks S3 heeds the condition.
        let marker = self.marker().await?;
        self.expect(marker)
    }

    pub(super) async fn list(&self, shard: u8) -> Result<Vec<(BlobId, u64)>> {
        self.verify().await?;
        let found = self.store.list(Some(&self.location([format!("{shard:02x}")])));
        let blobs = found.try_filter_map(|object| async move {
            let blob = object.location.filename().and_then(|name| named(name.as_bytes()));
            Ok(blob.map(|blob| (blob, object.size)))
        });
        blobs.try_collect().await.map_err(|error| failed("list", error))
    }

    pub(super) async fn end_uploads(&self, age: Duration) -> Result<()> {
        self.verify().await?;
        match &self.uploads {
            Some(uploads) => uploads.end(&self.prefix, age).await,
            None => Ok(()),
        }
    }
}

type Client = (Arc<dyn ObjectStore>, Option<Uploads>);

fn client(place: &BucketPlace, connector: Connector) -> object_store::Result<Client> {
    let known = place.credentials.as_ref().map(|credentials| credentials.known());
    match place.provider {
        Provider::S3 => {
            let mut builder = AmazonS3Builder::new()
                .with_bucket_name(&place.bucket)
                .with_region(&place.region)
                .with_retry(retries())
                // Not everything that speaks S3 has it, and one blob is deleted at a time.
                .with_disable_bulk_delete(true)
                .with_http_connector(connector.clone());
            if let Some(endpoint) = &place.endpoint {
                builder = builder.with_endpoint(endpoint).with_allow_http(true);
            }
            if let Some(Known::S3 { access_key, secret_key, token }) = known {
                builder = builder.with_access_key_id(access_key).with_secret_access_key(secret_key);
                builder = token.iter().fold(builder, AmazonS3Builder::with_token);
            }
            let store = Arc::new(builder.build()?);
            let endpoint = match &place.endpoint {
                Some(endpoint) => endpoint.clone(),
                None => format!("https://s3.{}.amazonaws.com", place.region),
            };
            let uploads = Uploads::new(store.clone(), connector, &endpoint, &place.bucket, &place.region);
            Ok((store, Some(uploads)))
        }
        Provider::Azure => {
            let mut builder = MicrosoftAzureBuilder::new()
                .with_container_name(&place.bucket)
                .with_account(&place.account)
                .with_retry(retries())
                .with_http_connector(connector);
            if let Some(endpoint) = &place.endpoint {
                builder = builder.with_endpoint(endpoint.clone()).with_allow_http(true);
            }
            match known {
                Some(Known::AzureKey(key)) => builder = builder.with_access_key(key),
                Some(Known::AzureSas(sas)) => builder = builder.with_sas_authorization(split_sas(sas)?),
                _ => {}
            }
            Ok((Arc::new(builder.build()?), None))
        }
        Provider::Gcs => {
            let mut builder = GoogleCloudStorageBuilder::new()
                .with_bucket_name(&place.bucket)
                .with_retry(retries())
                .with_http_connector(connector);
            if let Some(endpoint) = &place.endpoint {
                builder = builder.with_base_url(endpoint);
            }
            if let Some(Known::ServiceAccount(key)) = known {
                builder = builder.with_service_account_key(key);
            }
            Ok((Arc::new(builder.build()?), None))
        }
    }
}

#[cfg(test)]
mod tests;
