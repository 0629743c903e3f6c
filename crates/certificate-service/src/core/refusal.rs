//! Why a command is refused, and what the operator does next.

use alloc::string::String;

use super::certificate::{Fingerprint, KeyStrength, WallTime, day};

/// Why a command is refused. Each names the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The upload holds no PEM certificate.
    #[error(
        "this is no certificate in PEM form; upload what `switchback certificate show` prints on the other system"
    )]
    NotPem,
    /// The upload holds a private key.
    #[error(
        "this file holds a private key, which must never leave its system; upload only the certificate, and renew the other system's certificate if the key was copied"
    )]
    HoldsPrivateKey,
    /// The upload holds several certificates.
    #[error(
        "this file holds {found} certificates; upload exactly one, the other system's own: chains are not used"
    )]
    SeveralCertificates {
        /// How many.
        found: usize,
    },
    /// The upload is larger than any certificate of ours.
    #[error("this file is too large for one certificate")]
    TooLarge,
    /// The upload is PEM, but holds no X.509 certificate.
    #[error("the certificate is damaged; copy it again from the other system")]
    Damaged,
    /// A certificate authority.
    #[error(
        "this is the certificate of a certificate authority; trust is given to one system at a time: upload the other system's own certificate"
    )]
    Authority,
    /// No system identity.
    #[error(
        "this certificate names no switchback system; upload what `switchback certificate show` prints on the other system"
    )]
    NamesNoSystem,
    /// No handshake could accept it.
    #[error("no connection could accept this certificate ({reason}); renew it on the other system")]
    Unusable {
        /// What is wrong with it.
        reason: String,
    },
    /// The key can be broken.
    #[error(
        "the key is too weak ({key}); at least RSA of 2048 bits or a curve of 256 bits: renew the certificate on the other system"
    )]
    WeakKey {
        /// The key.
        key: KeyStrength,
    },
    /// This system's own certificate, or one that claims this system's id.
    #[error(
        "this is this system's own certificate; upload it on the other system, and the other system's certificate here"
    )]
    OwnCertificate,
    /// It has expired.
    #[error(
        "the certificate of {domain} expired on {}; renew it there (switchback certificate renew) and upload the new one",
        day(*not_after)
    )]
    Expired {
        /// Whose.
        domain: String,
        /// When.
        not_after: WallTime,
    },
    /// The limit of trusted certificates is reached.
    #[error(
        "{limit} certificates are trusted already, the most there can be; delete those not needed any more"
    )]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Not a fingerprint or a beginning of one.
    #[error("expected a fingerprint, or at least the first 8 hexadecimal digits of one")]
    NotAFingerprint,
    /// Nothing trusted has this fingerprint.
    #[error("no trusted certificate has the fingerprint {fingerprint}; see `switchback certificate list`")]
    Unknown {
        /// What was asked for.
        fingerprint: String,
    },
    /// Several trusted certificates begin so.
    #[error("{count} trusted certificates begin with {fingerprint}; give more digits")]
    Ambiguous {
        /// What was asked for.
        fingerprint: String,
        /// How many.
        count: usize,
    },
    /// It is not trusted but shown, and cannot be deleted.
    #[error("{fingerprint} is this system's own certificate; to replace it: switchback certificate renew")]
    DeletesOwn {
        /// Ours.
        fingerprint: Fingerprint,
    },
    /// No usable request id.
    #[error("expected a request id of 1 to 128 characters, new for each command and repeated with it")]
    BadRequestId,
    /// The request id was used for another command.
    #[error("the request id was used for another command; take a new one")]
    ReusedRequestId,
}

impl Refusal {
    /// A constant for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotPem => "NOT_PEM",
            Self::HoldsPrivateKey => "HOLDS_PRIVATE_KEY",
            Self::SeveralCertificates { .. } => "SEVERAL_CERTIFICATES",
            Self::TooLarge => "TOO_LARGE",
            Self::Damaged => "DAMAGED",
            Self::Authority => "CERTIFICATE_AUTHORITY",
            Self::NamesNoSystem => "NAMES_NO_SYSTEM",
            Self::Unusable { .. } => "UNUSABLE",
            Self::WeakKey { .. } => "WEAK_KEY",
            Self::OwnCertificate => "OWN_CERTIFICATE",
            Self::Expired { .. } => "EXPIRED",
            Self::TooMany { .. } => "TOO_MANY",
            Self::NotAFingerprint => "NOT_A_FINGERPRINT",
            Self::Unknown { .. } => "UNKNOWN_CERTIFICATE",
            Self::Ambiguous { .. } => "AMBIGUOUS_FINGERPRINT",
            Self::DeletesOwn { .. } => "DELETES_OWN",
            Self::BadRequestId => "BAD_REQUEST_ID",
            Self::ReusedRequestId => "REUSED_REQUEST_ID",
        }
    }
}
