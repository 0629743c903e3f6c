//! Certificates: the system's own, and those it trusts.

use serde::Serialize;
use switchback_proto::certificate::v1 as proto;

use crate::output::{Show, dash, fields, table};
use crate::time::timestamp;

/// The digits of a fingerprint that a table shows; enough to name it to `certificate delete`.
const FINGERPRINT_SHOWN: usize = 16;

/// A replication server certificate.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateView {
    /// SHA-256 of the DER form.
    pub fingerprint: String,
    /// Its subject.
    pub subject: String,
    /// The system's domain.
    pub domain: String,
    /// The system's id.
    pub system_id: String,
    /// The life of the system that it was made for.
    pub incarnation: String,
    /// `valid`, `expires soon`, `expired`, `not yet valid`.
    pub validity: String,
    /// From.
    pub not_before_unix_ms: i64,
    /// To.
    pub not_after_unix_ms: i64,
    /// When it was uploaded here; 0 for the system's own.
    pub uploaded_unix_ms: i64,
    /// The certificate.
    pub pem: String,
}

impl From<proto::Certificate> for CertificateView {
    fn from(from: proto::Certificate) -> Self {
        Self {
            fingerprint: from.fingerprint,
            subject: from.subject,
            domain: from.domain,
            system_id: hex::encode(&from.system_id),
            incarnation: format!("{:016x}", from.incarnation),
            validity: from.validity,
            not_before_unix_ms: from.not_before_unix_ms,
            not_after_unix_ms: from.not_after_unix_ms,
            uploaded_unix_ms: from.uploaded_unix_ms,
            pem: from.pem,
        }
    }
}

impl Show for CertificateView {
    fn show(&self) -> String {
        let uploaded =
            if self.uploaded_unix_ms == 0 { String::new() } else { timestamp(self.uploaded_unix_ms) };
        fields(&[
            ("fingerprint", self.fingerprint.clone()),
            ("subject", self.subject.clone()),
            ("domain", self.domain.clone()),
            ("system id", self.system_id.clone()),
            ("incarnation", self.incarnation.clone()),
            ("validity", self.validity.clone()),
            ("not before", timestamp(self.not_before_unix_ms)),
            ("not after", timestamp(self.not_after_unix_ms)),
            ("uploaded", uploaded),
        ])
    }
}

/// The certificates that are trusted.
#[derive(Clone, Debug, Serialize)]
pub struct CertificatesView {
    /// Each names one other system.
    pub certificates: Vec<CertificateView>,
}

impl Show for CertificatesView {
    fn show(&self) -> String {
        let rows = self.certificates.iter().map(|certificate| {
            vec![
                certificate.fingerprint.chars().take(FINGERPRINT_SHOWN).collect(),
                dash(&certificate.domain),
                certificate.validity.clone(),
                timestamp(certificate.not_after_unix_ms),
                timestamp(certificate.uploaded_unix_ms),
            ]
        });
        let none = "no other system is trusted; `certificate upload FILE` trusts one";
        table(&["fingerprint", "domain", "validity", "not after", "uploaded"], rows.collect(), none)
    }
}
