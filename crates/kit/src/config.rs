//! One TOML file describes a system; each service reads the parts that are its own.
//!
//! A key can be overridden from the environment: `SWITCHBACK__DATA_MOVER__LISTEN` sets `listen` in
//! `[data_mover]`. Configuration is parsed and judged before anything is opened or bound.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use switchback_model::SystemId;

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is missing, unreadable or not TOML.
    #[error("cannot read configuration {}; `switchback system init` writes one", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<config::ConfigError>,
    },
    /// A section is missing or holds something it should not.
    #[error("configuration {}, section [{section}]: {reason}", path.display())]
    Section {
        /// The file.
        path: PathBuf,
        /// The section.
        section: String,
        /// What is wrong and what was expected.
        reason: String,
    },
}

/// A configuration file with the environment laid over it.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    table: config::Config,
}

/// `[system]`: what all services of a system agree on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSystem {
    name: String,
    domain: String,
    id: String,
    secret_file: PathBuf,
    data_dir: PathBuf,
}

/// The system that a service belongs to.
#[derive(Clone, Debug)]
pub struct System {
    /// Short name for people, e.g. `east`.
    pub name: String,
    /// Its DNS domain, lower case, without a final dot.
    pub domain: String,
    /// Its id, random at creation.
    pub id: SystemId,
    /// The file that holds the secret which every call inside the system carries.
    pub secret_file: PathBuf,
    /// Where services keep state, each in a folder of its own name.
    pub data_dir: PathBuf,
}

/// `[services]`: where each service's internal gRPC listener is reached, `host:port`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Services {
    /// Store, flows.
    pub data_mover: String,
    /// Links.
    pub link_manager: String,
    /// DNS.
    pub dns_broadcaster: String,
    /// Identity and trust.
    pub certificate_service: String,
    /// The gateway's internal listener, which forwards to all of them.
    pub gateway: String,
}

impl Source {
    /// Reads `path` and the environment.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML.
    pub fn load(path: &Path) -> Result<Self, Error> {
        config::Config::builder()
            .add_source(config::File::from(path).format(config::FileFormat::Toml))
            .add_source(
                config::Environment::with_prefix("SWITCHBACK")
                    .prefix_separator("__")
                    .separator("__")
                    .try_parsing(true)
                    .list_separator(",")
                    .with_list_parse_key("data_mover.replication_listen")
                    .with_list_parse_key("dns_broadcaster.dns_listen")
                    .with_list_parse_key("dns_broadcaster.https_listen")
                    .with_list_parse_key("dns_broadcaster.quic_listen")
                    .with_list_parse_key("dns_broadcaster.tls_listen")
                    .with_list_parse_key("dns_broadcaster.tsig_key_files")
                    .with_list_parse_key("dns_broadcaster.zone_files")
                    .with_list_parse_key("gateway.s3_listen")
                    .with_list_parse_key("link_manager.peer_listen")
                    .with_list_parse_key("link_manager.gateway_addresses")
                    .with_list_parse_key("link_manager.gateway_https_alpn")
                    .with_list_parse_key("link_manager.name_server_addresses"),
            )
            .build()
            .map(|table| Self { path: path.into(), table })
            .map_err(|source| Error::Unreadable { path: path.into(), source: source.into() })
    }

    /// Parses the section `name`. Use `#[serde(deny_unknown_fields)]`, so that a misspelt key is an
    /// error and not a surprise.
    ///
    /// # Errors
    /// The section is missing, or a key in it is missing, unknown or of the wrong form.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        self.table.get(name).map_err(|error| self.refuse(name, &error.to_string()))
    }

    /// As [`Source::section`], of one that may be left out with all that it holds.
    ///
    /// # Errors
    /// See [`Source::section`]; only that it is missing is none.
    pub fn optional_section<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, Error> {
        match self.table.get(name) {
            Err(config::ConfigError::NotFound(_)) => Ok(T::default()),
            found => found.map_err(|error| self.refuse(name, &error.to_string())),
        }
    }

    /// An error about the section `name`, for checks beyond the form of single keys.
    #[must_use]
    pub fn refuse(&self, name: &str, reason: &str) -> Error {
        Error::Section { path: self.path.clone(), section: name.into(), reason: reason.into() }
    }

    /// `[system]`.
    ///
    /// # Errors
    /// See [`Source::section`]; also a malformed domain or id.
    pub fn system(&self) -> Result<System, Error> {
        let raw: RawSystem = self.section("system")?;
        let id = raw.id.parse().map_err(|error| self.refuse("system", &format!("id: {error}")))?;
        let domain = raw.domain.trim_end_matches('.').to_ascii_lowercase();
        if !is_domain(&domain) {
            return Err(self.refuse("system", "domain: expected a DNS domain such as \"east.example.com\""));
        }
        if raw.name.is_empty() {
            return Err(self.refuse("system", "name: expected a short name such as \"east\""));
        }
        Ok(System { name: raw.name, domain, id, secret_file: raw.secret_file, data_dir: raw.data_dir })
    }

    /// `[services]`.
    ///
    /// # Errors
    /// See [`Source::section`].
    pub fn services(&self) -> Result<Services, Error> {
        self.section("services")
    }
}

/// RFC 1035 section 2.3.1, host names only.
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchback.toml");
        std::fs::write(&path, text).unwrap();
        Source::load(&path).unwrap()
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let text = "[services]\ndata_mover='a:1'\nlink_manager='a:2'\ndns_broadcaster='a:3'\ncertificate_service='a:4'\ngateway='a:5'\ngatway='a:6'\n";
        let error = source(text).services().unwrap_err().to_string();
        assert!(error.contains("[services]") && error.contains("gatway"), "{error}");
    }

    #[test]
    fn a_bad_system_id_or_domain_is_refused() {
        let text = |id: &str, domain: &str| {
            format!("[system]\nname='east'\ndomain='{domain}'\nid='{id}'\nsecret_file='s'\ndata_dir='d'\n")
        };
        let id = "00112233445566778899aabbccddeeff";
        assert!(
            source(&text(id, "East.example.com."))
                .system()
                .is_ok_and(|system| system.domain == "east.example.com")
        );
        assert!(source(&text("12", "east.example.com")).system().is_err());
        assert!(source(&text(id, "-.com")).system().is_err());
    }
}
