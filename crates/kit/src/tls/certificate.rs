//! What a replication server certificate says about its system.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use switchback_model::{Incarnation, SystemId};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::verify;

/// Precedes the system id and the incarnation in a certificate's subject alternative names.
const SYSTEM_URN: &str = "urn:switchback:system:";

/// The URI under which a certificate names its system.
#[must_use]
pub fn system_urn(system_id: SystemId, incarnation: Incarnation) -> String {
    format!("{SYSTEM_URN}{system_id}:{incarnation}")
}

/// The SHA-256 of a certificate's DER form. Names the certificate everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of the certificate `der`.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, der);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes))
    }
}

/// Why a certificate is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not the DER form of an X.509 certificate.
    #[error("not an X.509 certificate")]
    NotACertificate,
    /// No `urn:switchback:system:...` among its names, or more than one, or a malformed one.
    #[error("the certificate names no switchback system")]
    NoSystem,
    /// No DNS name: the system's domain is missing.
    #[error("the certificate names no domain")]
    NoDomain,
    /// No handshake could accept it: a CA, not self-signed, or not for both ends of a connection.
    #[error("the certificate cannot be pinned ({0})")]
    Unusable(String),
}

/// A system, as its certificate names it. Where it stands in a request's extensions, or was
/// returned by a dial, the other end has proven that it is this system.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    /// Of the certificate.
    pub fingerprint: Fingerprint,
    /// The system.
    pub system_id: SystemId,
    /// The life of the system's state that this certificate was made for.
    pub incarnation: Incarnation,
    /// The system's DNS domain, lower case.
    pub domain: String,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
}

impl Peer {
    /// Reads what the certificate `der` says. This judges neither trust nor validity.
    ///
    /// # Errors
    /// It is no certificate, or names no system.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let Ok((rest, certificate)) = X509Certificate::from_der(der) else {
            return Err(Unreadable::NotACertificate);
        };
        let names = certificate.subject_alternative_name().ok().flatten();
        let (true, Some(names)) = (rest.is_empty(), names) else {
            return Err(if rest.is_empty() { Unreadable::NoSystem } else { Unreadable::NotACertificate });
        };
        let mut systems = Vec::new();
        let mut domain = None;
        for name in &names.value.general_names {
            if let GeneralName::URI(uri) = name
                && let Some(text) = uri.strip_prefix(SYSTEM_URN)
            {
                systems.push(parse_system(text).ok_or(Unreadable::NoSystem)?);
            } else if let GeneralName::DNSName(name) = name {
                domain.get_or_insert_with(|| name.to_ascii_lowercase());
            }
        }
        let [(system_id, incarnation)] = systems[..] else {
            return Err(Unreadable::NoSystem);
        };
        let validity = certificate.validity();
        Ok(Self {
            fingerprint: Fingerprint::of(der),
            system_id,
            incarnation,
            domain: domain.ok_or(Unreadable::NoDomain)?,
            not_before: instant(validity.not_before),
            not_after: instant(validity.not_after),
        })
    }
}

impl Peer {
    /// As [`Peer::read`], and checks in advance what every handshake will check but trust and
    /// validity: version, usage for both ends, no CA, signed with its own key.
    ///
    /// # Errors
    /// It is no certificate, names no system, or no handshake could accept it.
    pub fn check(der: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let peer = Self::read(der)?;
        verify::check(der, peer.not_before).map_err(|error| Unreadable::Unusable(error.to_string()))?;
        Ok(peer)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{}, {})", self.domain, self.system_id, self.incarnation, self.fingerprint)
    }
}

fn parse_system(text: &str) -> Option<(SystemId, Incarnation)> {
    let (system_id, incarnation) = text.split_once(':')?;
    Some((system_id.parse().ok()?, incarnation.parse().ok()?))
}

/// An instant before 1970 is as good as 1970: long past.
fn instant(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// `time` in UTC, for people.
pub(super) fn shown(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
        .and_then(|time| time.to_rfc2822().ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}
