//! Where a system keeps its blobs: the section `[blobs]` of its configuration, which the data mover and
//! the gateway both read, and must read alike.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use switchback_model::SystemId;

/// A longer file holds no credentials: a key of a service account of Google has some 2,400 bytes.
const CREDENTIALS_BYTES_MAX: u64 = 16 << 10;

/// The section as it is written. A text that is empty is one that is not set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlobSection {
    /// `local`, `s3`, `azure` or `gcs`; `local` unless set.
    backend: String,
    /// The bucket, or Azure's container. It must exist.
    bucket: String,
    /// What the names of all objects begin with; the system's id unless set.
    prefix: String,
    /// Scheme, host and port; the provider's own unless set.
    endpoint: String,
    /// For signatures of S3; `us-east-1` unless set.
    region: String,
    /// Azure's storage account.
    account: String,
    /// A file with mode 0600; without one the machine's own identity is asked for.
    credentials_file: PathBuf,
}

/// Where the blobs are.
#[derive(Clone, Debug)]
pub enum BlobPlace {
    /// In a folder of this machine.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(BucketPlace),
}

/// A bucket, and how to be let in.
#[derive(Clone, Debug)]
pub struct BucketPlace {
    pub(super) provider: Provider,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: String,
    pub(super) account: String,
    pub(super) credentials: Option<Credentials>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    S3,
    Azure,
    Gcs,
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "s3" => Ok(Self::S3),
            "azure" => Ok(Self::Azure),
            "gcs" => Ok(Self::Gcs),
            _ => Err(format!("backend: expected \"local\", \"s3\", \"azure\" or \"gcs\", not {text:?}")),
        }
    }
}

impl fmt::Display for BlobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Display for BucketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = match self.provider {
            Provider::S3 => "S3",
            Provider::Azure => "Azure",
            Provider::Gcs => "GCS",
        };
        write!(f, "{provider} bucket {}, prefix {}", self.bucket, self.prefix)?;
        match &self.endpoint {
            Some(endpoint) => write!(f, ", at {endpoint}"),
            None => Ok(()),
        }
    }
}

/// What opens a bucket. Never printed.
#[derive(Clone)]
pub(super) struct Credentials(Arc<Known>);

pub(super) enum Known {
    S3 {
        access_key: String,
        secret_key: String,
        token: Option<String>,
    },
    AzureKey(String),
    AzureSas(String),
    /// As Google hands it out, in JSON.
    ServiceAccount(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl BlobSection {
    /// Judges the section for the system `system`, whose local blobs are in `folder`, and reads the
    /// credentials.
    ///
    /// # Errors
    /// The key that is wrong, and what was expected.
    pub fn judge(self, folder: PathBuf, system: SystemId) -> Result<BlobPlace, String> {
        if self.backend.is_empty() || self.backend == "local" {
            let texts = [&self.bucket, &self.prefix, &self.endpoint, &self.region, &self.account];
            let is_bare = texts.iter().all(|text| text.is_empty());
            return if is_bare && self.credentials_file.as_os_str().is_empty() {
                Ok(BlobPlace::Folder(folder))
            } else {
                Err("backend: is \"local\", which takes no other key of this section; name the backend that they are for".into())
            };
        }
        let provider = self.backend.parse()?;
        if cfg!(not(feature = "cloud")) {
            return Err(format!(
                "backend: this program was built for local blobs only; build it with the feature \"cloud\" for {:?}",
                self.backend
            ));
        }
        if self.bucket.is_empty() {
            return Err("bucket: expected the name of a bucket (or container) that exists".into());
        }
        if (provider == Provider::Azure) == self.account.is_empty() {
            return Err(
                "account: expected the storage account for \"azure\", and nothing for any other backend"
                    .into(),
            );
        }
        let endpoint = Some(self.endpoint.trim_end_matches('/').to_owned()).filter(|text| !text.is_empty());
        if endpoint.as_ref().is_some_and(|text| !is_endpoint(text)) {
            return Err(
                "endpoint: expected scheme, host and port, such as \"https://s3.example.com:9000\"".into()
            );
        }
        let prefix = if self.prefix.is_empty() { system.to_string() } else { self.prefix };
        let is_plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
                && !part.bytes().all(|byte| byte == b'.')
        };
        if prefix.len() > 256 || !prefix.split('/').all(is_plain) {
            return Err(
                "prefix: expected letters, digits, \"-\", \"_\" and \".\", parted by \"/\", such as \"switchback/east\"".into()
            );
        }
        let credentials = if self.credentials_file.as_os_str().is_empty() {
            None
        } else {
            Some(Credentials::load(&self.credentials_file, provider)?)
        };
        let region = if self.region.is_empty() { "us-east-1".into() } else { self.region };
        let (bucket, account) = (self.bucket, self.account);
        Ok(BlobPlace::Bucket(BucketPlace {
            provider,
            bucket,
            prefix,
            endpoint,
            region,
            account,
            credentials,
        }))
    }
}

fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', '@']))
}

impl Credentials {
    fn load(path: &Path, provider: Provider) -> Result<Self, String> {
        let shown = path.display();
        let refuse = |reason: &dyn fmt::Display| format!("credentials_file: {shown}: {reason}");
        let file = std::fs::File::open(path).map_err(|error| refuse(&error))?;
        let mode = file.metadata().map_err(|error| refuse(&error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let reason = format!("is open to others (mode {:o}); run `chmod 600 {shown}`", mode & 0o777);
            return Err(refuse(&reason));
        }
        let mut text = String::new();
        file.take(CREDENTIALS_BYTES_MAX).read_to_string(&mut text).map_err(|error| refuse(&error))?;
        let known = parse(&text, provider).map_err(|reason| refuse(&reason))?;
        Ok(Self(Arc::new(known)))
    }

    pub(super) fn known(&self) -> &Known {
        &self.0
    }
}

fn parse(text: &str, provider: Provider) -> Result<Known, &'static str> {
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let mut values = lines.filter(|(found, _)| found.trim() == name).map(|(_, value)| value.trim());
        let first = values.next();
        // Of two profiles in one file nobody knows which is meant.
        if values.next().is_some() { None } else { first.map(|value| value.trim_matches('"').to_owned()) }
    };
    match provider {
        Provider::S3 => match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (Some(access_key), Some(secret_key)) => {
                Ok(Known::S3 { access_key, secret_key, token: value("aws_session_token") })
            }
            _ => Err("expected one line `aws_access_key_id = ...` and one `aws_secret_access_key = ...`"),
        },
        Provider::Azure => match (value("account_key"), value("sas_token")) {
            (Some(key), None) => Ok(Known::AzureKey(key)),
            // The value has `=` in it, but its name is before the first.
            (None, Some(sas)) => Ok(Known::AzureSas(sas.trim_start_matches('?').to_owned())),
            _ => Err("expected one line `account_key = ...` or one `sas_token = ...`"),
        },
        Provider::Gcs if text.trim_start().starts_with('{') => Ok(Known::ServiceAccount(text.to_owned())),
        Provider::Gcs => Err("expected the key of a service account in JSON, as Google hands it out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: SystemId = SystemId([0xab; 16]);

    fn section() -> BlobSection {
        BlobSection { backend: "s3".into(), bucket: "blobs".into(), ..BlobSection::default() }
    }

    fn judge(section: BlobSection) -> Result<BlobPlace, String> {
        section.judge("folder".into(), SYSTEM)
    }

    #[test]
    fn nothing_said_is_the_local_folder() {
        assert!(
            matches!(judge(BlobSection::default()), Ok(BlobPlace::Folder(path)) if path == Path::new("folder"))
        );
        // A bucket whose backend was forgotten is not passed over.
        let forgotten = BlobSection { backend: String::new(), ..section() };
        assert!(judge(forgotten).unwrap_err().starts_with("backend"));
    }

    #[test]
    #[cfg(feature = "cloud")]
    fn a_bucket_without_a_prefix_gets_the_systems_own() {
        let Ok(BlobPlace::Bucket(place)) = judge(section()) else { panic!("a bucket") };
        assert_eq!(place.prefix, SYSTEM.to_string());
        assert_eq!(place.region, "us-east-1");
    }

    #[test]
    #[cfg(feature = "cloud")]
    fn what_is_wrong_is_named() {
        let wrong = |change: fn(&mut BlobSection)| {
            let mut section = section();
            change(&mut section);
            judge(section).unwrap_err()
        };
        assert!(wrong(|section| section.backend = "floppy".into()).starts_with("backend"));
        assert!(wrong(|section| section.bucket.clear()).starts_with("bucket"));
        assert!(wrong(|section| section.account = "mine".into()).starts_with("account"));
        assert!(wrong(|section| section.backend = "azure".into()).starts_with("account"));
        for prefix in ["/", "a//b", "..", "a/../b", "a b", "a/"] {
            let section = BlobSection { prefix: prefix.into(), ..section() };
            assert!(judge(section).unwrap_err().starts_with("prefix"), "{prefix}");
        }
        for endpoint in ["s3.example.com", "https://", "https://user:word@host"] {
            let section = BlobSection { endpoint: endpoint.into(), ..section() };
            assert!(judge(section).unwrap_err().starts_with("endpoint"), "{endpoint}");
        }
        let missing = wrong(|section| section.credentials_file = "/nowhere".into());
        assert!(missing.starts_with("credentials_file: /nowhere"), "{missing}");
    }

    #[test]
    fn credentials_are_private_and_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "[default]\naws_access_key_id = AKIA\naws_secret_access_key=\"se=cret\"\n")
            .unwrap();
        let open = Credentials::load(&path, Provider::S3).unwrap_err();
        assert!(open.contains("chmod 600"), "{open}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let credentials = Credentials::load(&path, Provider::S3).unwrap();
        assert!(!format!("{credentials:?}").contains("AKIA"));
        let Known::S3 { access_key, secret_key, token: None } = credentials.known() else { panic!("S3's") };
        assert_eq!((access_key.as_str(), secret_key.as_str()), ("AKIA", "se=cret"));
        // Neither another provider's nor one of two.
        let other = Credentials::load(&path, Provider::Azure).unwrap_err();
        assert!(other.contains("account_key") && !other.contains("AKIA"), "{other}");
        let two = "aws_access_key_id = a\naws_secret_access_key = b\naws_access_key_id = c\n";
        assert!(parse(two, Provider::S3).is_err());
        assert!(
            matches!(parse("sas_token = ?sv=1&sig=x=", Provider::Azure), Ok(Known::AzureSas(sas)) if sas == "sv=1&sig=x=")
        );
    }
}
