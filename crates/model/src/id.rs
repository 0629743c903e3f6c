//! Identifiers. Each is a newtype, so that one can never be handed in for another; each reads and
//! prints as lower-case hexadecimal.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// Text that is not the hexadecimal form of an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseIdError {
    /// Number of hexadecimal digits that were expected.
    pub digits: usize,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hexadecimal digits", self.digits)
    }
}

impl core::error::Error for ParseIdError {}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The identifier held in `bytes`, if there are exactly sixteen of them.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The sixteen bytes, as the wire carries them.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let number = (text.len() == 32)
                    .then(|| u128::from_str_radix(text, 16).ok())
                    .flatten()
                    .ok_or(ParseIdError { digits: 32 })?;
                Ok(Self(number.to_be_bytes()))
            }
        }
    };
}

macro_rules! id64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                (text.len() == 16)
                    .then(|| u64::from_str_radix(text, 16).ok())
                    .flatten()
                    .map(Self)
                    .ok_or(ParseIdError { digits: 16 })
            }
        }
    };
}

id128! {
    /// A system: one site. Random, made when the system is created; a rebuilt system has another.
    SystemId
}

id128! {
    /// A link. Random, made by the primary when the link is created; both systems use it.
    LinkId
}

id64! {
    /// One life of a system's state. Random, made with the state; certified in the replication
    /// server certificate, and learnt by a peer only when that certificate is uploaded.
    Incarnation
}

id64! {
    /// One life of one content's change feed on one system. Random at creation, so that a store
    /// that was rebuilt or restored from a backup is recognised.
    FeedId
}

id64! {
    /// Where a version was written: the first eight bytes of the [`SystemId`], big-endian.
    SiteId
}

impl From<SystemId> for SiteId {
    fn from(system: SystemId) -> Self {
        let mut head = [0; 8];
        head.copy_from_slice(&system.0[..8]);
        Self(u64::from_be_bytes(head))
    }
}

/// Names one operator command, so that a repeat gets the first result. Chosen by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub String);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn identifiers_read_back_what_they_print() {
        let link = LinkId([0xab; 16]);
        assert_eq!(link.to_string().parse(), Ok(link));
        let incarnation = Incarnation(0x0123_4567_89ab_cdef);
        assert_eq!(incarnation.to_string().parse(), Ok(incarnation));
        assert_eq!("abc".parse::<FeedId>(), Err(ParseIdError { digits: 16 }));
    }
}
