//! Why two systems do not talk, in the words of the operator who has to mend it.

use std::error::Error as StdError;
use std::io;
use std::time::SystemTime;

use rustls::AlertDescription;
use tonic::Status;

use super::certificate::{Fingerprint, Peer, shown};

/// Why a connection to another system was not made. Each says what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The other end shows a certificate that was not uploaded here, or was withdrawn.
    #[error(
        "the other system's certificate is not trusted here{}; if {} is the fingerprint that \
         `switchback certificate show` prints there, upload it here: switchback certificate upload",
        after(domain, *withdrawn), fingerprint
    )]
    PeerNotTrusted {
        /// Of the certificate that was shown.
        fingerprint: Fingerprint,
        /// What that certificate claims to be; empty when it names no system.
        domain: String,
        /// It was trusted once, and deleted.
        withdrawn: bool,
    },
    /// The other end refused our certificate as unknown or withdrawn.
    #[error(
        "the other system {} our certificate {fingerprint}; upload it there: `switchback certificate \
         show` here, `switchback certificate upload` there",
        if *withdrawn { "has withdrawn its trust in" } else { "does not trust" }
    )]
    NotTrustedByPeer {
        /// Of our certificate.
        fingerprint: Fingerprint,
        /// It was trusted there once, and deleted.
        withdrawn: bool,
    },
    /// The other end's certificate is trusted and has expired.
    #[error(
        "the certificate of {domain} expired on {}; renew it there (switchback certificate renew) and \
         upload the new one here", shown(*not_after)
    )]
    PeerExpired {
        /// The other system's domain.
        domain: String,
        /// When it expired.
        not_after: SystemTime,
    },
    /// Our own certificate has expired, by our clock or by the other end's.
    #[error(
        "our own certificate {} (valid until {}); renew it (switchback certificate renew) and upload \
         the new one to the other system",
        if *by_our_clock { "has expired" } else { "is not valid by the other system's clock: compare the clocks, or if it has expired" },
        shown(*not_after)
    )]
    OurCertificateExpired {
        /// Until when it is valid.
        not_after: SystemTime,
        /// False: only the other end says so, and the two clocks disagree.
        by_our_clock: bool,
    },
    /// A certificate is valid only from a later time on: the clocks disagree.
    #[error(
        "the certificate of {domain} is not valid before {}; compare the clocks of the two systems",
        shown(*not_before)
    )]
    NotYetValid {
        /// Whose certificate.
        domain: String,
        /// From when it is valid.
        not_before: SystemTime,
    },
    /// The other end is trusted, and is not the system that was asked for.
    #[error("expected the system {expected}, but {found} answered; check the address of the link")]
    WrongSystem {
        /// Who was asked for.
        expected: String,
        /// Who answered.
        found: String,
    },
    /// No answer, or one that is not ours.
    #[error("the other system cannot be reached: {0}; check its address, that it runs, and the network")]
    Unreachable(String),
    /// This system has no certificate yet: its certificate service was not reached since the start.
    #[error("this system's identity is not known yet; check that its certificate service runs")]
    NoIdentity,
}

fn after(domain: &str, withdrawn: bool) -> String {
    let claim = if domain.is_empty() { String::new() } else { format!(" (it names {domain})") };
    if withdrawn { format!("{claim} any more: it was deleted") } else { claim }
}

impl Trouble {
    /// A short constant for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PeerNotTrusted { .. } => "PEER_NOT_TRUSTED",
            Self::NotTrustedByPeer { .. } => "NOT_TRUSTED_BY_PEER",
            Self::PeerExpired { .. } => "PEER_EXPIRED",
            Self::OurCertificateExpired { .. } => "OUR_CERTIFICATE_EXPIRED",
            Self::NotYetValid { .. } => "NOT_YET_VALID",
            Self::WrongSystem { .. } => "WRONG_SYSTEM",
            Self::Unreachable(_) => "UNREACHABLE",
            Self::NoIdentity => "NO_IDENTITY",
        }
    }

    /// True when certificates, and not the network, keep the two systems apart.
    #[must_use]
    pub fn is_about_trust(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::NoIdentity)
    }

    /// The trouble behind a failed call on a channel of ours, if the connection is what failed.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        status.source().and_then(Self::find)
    }

    /// Looks through the causes of `error`, into those too that hide in an [`io::Error`].
    pub(super) fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
        causes(error).find_map(|cause| cause.downcast_ref::<Self>().cloned())
    }

    /// What a failed handshake means for us, whose certificate is `own`. Our own judgement of the
    /// other end is not in it: that was noted by the verifier.
    pub(super) fn of_handshake(error: &io::Error, own: &Peer, now: SystemTime) -> Self {
        let refused = causes(error).find_map(|cause| match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
            _ => None,
        });
        match refused {
            Some(AlertDescription::CertificateExpired) => {
                Self::OurCertificateExpired { not_after: own.not_after, by_our_clock: own.not_after < now }
            }
            Some(alert @ (AlertDescription::UnknownCA | AlertDescription::CertificateRevoked)) => {
                Self::NotTrustedByPeer {
                    fingerprint: own.fingerprint,
                    withdrawn: alert == AlertDescription::CertificateRevoked,
                }
            }
            // What a server of ours answers while it has no certificate to show.
            Some(AlertDescription::AccessDenied) => {
                Self::Unreachable("it runs, but does not know its own identity yet".into())
            }
            Some(alert) => Self::Unreachable(format!("it refused the handshake ({alert:?})")),
            None => Self::Unreachable(format!("the handshake failed ({error})")),
        }
    }
}

/// `error` and everything beneath it. `io::Error::source` skips the error it wraps, hence the detour.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    /// Deeper chains are loops.
    const DEPTH_MAX: usize = 32;
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error: &'a (dyn StdError + 'static) = next?;
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
        Some(error)
    })
    .take(DEPTH_MAX)
}
