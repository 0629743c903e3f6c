//! A replication server certificate, as far as decisions look into it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use switchback_model::{Incarnation, SystemId};

/// A certificate that ends within this time is announced: a month is time to plan the exchange.
pub const EXPIRY_NOTICE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Milliseconds since 1970 by the wall clock, which is the clock of certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(pub u64);

/// The SHA-256 of a certificate's DER form, as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate that names a system.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Names it.
    pub fingerprint: Fingerprint,
    /// DER.
    pub der: Vec<u8>,
    /// The distinguished name, for people.
    pub subject: String,
    /// The system's domain.
    pub domain: String,
    /// The system.
    pub system_id: SystemId,
    /// The life of the system's state that it was made for.
    pub incarnation: Incarnation,
    /// Valid from.
    pub not_before: WallTime,
    /// Valid until.
    pub not_after: WallTime,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{}, {})", self.domain, self.system_id, self.incarnation, self.fingerprint)
    }
}

impl Certificate {
    /// Whether it counts at `now`.
    #[must_use]
    pub fn validity(&self, now: WallTime) -> Validity {
        let notice = u64::try_from(EXPIRY_NOTICE.as_millis()).unwrap_or(u64::MAX);
        if now < self.not_before {
            Validity::NotYetValid
        } else if now > self.not_after {
            Validity::Expired
        } else if now.0.saturating_add(notice) >= self.not_after.0 {
            Validity::ExpiresSoon
        } else {
            Validity::Valid
        }
    }
}

/// Whether a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It counts, and will for a while.
    Valid,
    /// It counts, and ends within [`EXPIRY_NOTICE`].
    ExpiresSoon,
    /// It ended.
    Expired,
    /// It begins later: the clocks disagree.
    NotYetValid,
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::ExpiresSoon => "expires soon",
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
        })
    }
}

/// The kind and size of a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStrength {
    /// RSA with a modulus of so many bits.
    Rsa(usize),
    /// An elliptic curve over so many bits; Ed25519 counts as 256.
    Curve(usize),
    /// Something else, named.
    Other(String),
}

impl KeyStrength {
    /// NIST SP 800-57 part 1: below these, less than 112 bits of security.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        match self {
            Self::Rsa(bits) => *bits >= 2048,
            Self::Curve(bits) => *bits >= 256,
            Self::Other(_) => false,
        }
    }
}

impl fmt::Display for KeyStrength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA of {bits} bits"),
            Self::Curve(bits) => write!(f, "an elliptic curve of {bits} bits"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// What an operator uploaded, read but not judged.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Marked as a certificate authority.
    pub is_authority: bool,
    /// Its public key.
    pub key: KeyStrength,
    /// What it says of a system, or why it says nothing usable.
    pub certificate: Result<Certificate, Unsuitable>,
}

/// Why a certificate cannot stand for a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsuitable {
    /// It names no switchback system, or no domain.
    NamesNoSystem,
    /// No handshake could accept it.
    Unusable(String),
}

/// `time` as an instant in UTC, to the day: enough to plan with.
#[must_use]
pub fn day(time: WallTime) -> String {
    // Days to a civil date, after Howard Hinnant's "chrono-compatible low-level date algorithms".
    let days = time.0 / 86_400_000 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    alloc::format!("{year:04}-{month:02}-{day:02}")
}
