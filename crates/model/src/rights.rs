//! What a credential may do.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// One kind of deed in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// To get, to head and to list.
    Read,
    /// To put, to copy to, to upload in parts, to tag.
    Write,
    /// To delete objects.
    Delete,
    /// To make and delete the namespace, and to change what is set of it.
    Administer,
}

impl Right {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Delete, Self::Administer];

    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Administer => "administer",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Rights in one namespace, or in several.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The namespace's name; one that ends in `*` is of all whose names begin so, whether they exist yet or not.
    pub namespaces: String,
    /// What may be done there.
    pub rights: BTreeSet<Right>,
}

impl Grant {
    fn is_for(&self, namespace: &str) -> bool {
        match self.namespaces.strip_suffix('*') {
            Some(start) => namespace.starts_with(start),
            None => self.namespaces == namespace,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.namespaces)?;
        for (index, right) in self.rights.iter().enumerate() {
            write!(f, "{}{right}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// What is wrong with a [`Grant`] that somebody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseGrantError;

impl fmt::Display for ParseGrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected NAMESPACE=RIGHTS, such as photos=read,write: rights are read, write, delete, administer and all; \
             a namespace may end in \"*\"",
        )
    }
}

impl core::error::Error for ParseGrantError {}

impl FromStr for Grant {
    type Err = ParseGrantError;

    fn from_str(text: &str) -> Result<Self, ParseGrantError> {
        let (namespaces, given) = text.split_once('=').ok_or(ParseGrantError)?;
        let mut rights = BTreeSet::new();
        for name in given.split(',') {
            if name == "all" {
                rights.extend(Right::ALL);
            } else {
                rights.insert(*Right::ALL.iter().find(|right| right.name() == name).ok_or(ParseGrantError)?);
            }
        }
        let grant = Self { namespaces: namespaces.into(), rights };
        grant.is_well_formed().then_some(grant).ok_or(ParseGrantError)
    }
}

impl Grant {
    /// Whether it says where, with one `*` at most, at the end, and what.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let start = self.namespaces.strip_suffix('*').unwrap_or(&self.namespaces);
        !self.namespaces.is_empty() && !start.contains('*') && !self.rights.is_empty()
    }
}

/// All rights of one credential, in the namespaces of its tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rights {
    /// Everything: what a credential has of which nothing else is said, as none did before there were grants.
    #[default]
    All,
    /// What is granted, and nothing else.
    Granted(Vec<Grant>),
}

impl Rights {
    /// Whether `right` is held in `namespace`.
    #[must_use]
    pub fn allow(&self, right: Right, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Granted(grants) => {
                grants.iter().any(|grant| grant.rights.contains(&right) && grant.is_for(namespace))
            }
        }
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Granted(grants) if grants.is_empty() => f.write_str("none"),
            Self::Granted(grants) => grants
                .iter()
                .enumerate()
                .try_for_each(|(index, grant)| write!(f, "{}{grant}", if index == 0 { "" } else { "; " })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn granted(grants: &[&str]) -> Rights {
        Rights::Granted(grants.iter().map(|grant| grant.parse().unwrap()).collect())
    }

    #[test]
    fn a_grant_is_of_its_namespace_or_of_all_that_begin_so_and_of_its_rights_alone() {
        let rights = granted(&["photos=read,write", "logs-*=read", "logs-old=delete"]);
        let held = |namespace| Right::ALL.map(|right| rights.allow(right, namespace));
        assert_eq!(held("photos"), [true, true, false, false]);
        assert_eq!(held("photos-2"), [false; 4]);
        assert_eq!(held("logs-"), [true, false, false, false]);
        assert_eq!(held("logs-old"), [true, false, true, false]);
        assert_eq!(held("log"), [false; 4]);
        assert!(granted(&["*=all"]).allow(Right::Administer, "anything"));
        assert!(!granted(&[]).allow(Right::Read, "photos") && Rights::All.allow(Right::Administer, "photos"));
    }

    #[test]
    fn a_grant_is_read_as_it_is_written() {
        for text in ["photos=read,write", "*=read,write,delete,administer", "logs-*=delete"] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        assert_eq!("a=all".parse::<Grant>().unwrap().to_string(), "a=read,write,delete,administer");
        for malformed in ["photos", "photos=", "=read", "photos=own", "a*b=read", "**=read", "photos=read,"] {
            assert_eq!(malformed.parse::<Grant>(), Err(ParseGrantError), "{malformed}");
        }
        let shown = [Rights::All, granted(&[]), granted(&["a=read", "b=write"])];
        let shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["all", "none", "a=read; b=write"]);
    }
}
