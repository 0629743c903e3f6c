//! Who may update what.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

use crate::core::name::{InvalidName, Name};
use crate::core::record::Kind;

/// Names: one, or all beneath one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This very name.
    Name(Name),
    /// All names beneath this one, however deep, without it.
    Beneath(Name),
}

/// Why a text stands for no names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {reason}; expected a name, or \"*.\" and a name for all that is beneath it")]
pub struct InvalidPattern {
    text: String,
    reason: InvalidName,
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let (beneath, bare) = text.strip_prefix("*.").map_or((false, text), |bare| (true, bare));
        let name = Name::parse(bare).map_err(|reason| InvalidPattern { text: text.into(), reason })?;
        Ok(if beneath { Self::Beneath(name) } else { Self::Name(name) })
    }
}

impl Pattern {
    /// The name that it is made of.
    #[must_use]
    pub fn name(&self) -> &Name {
        match self {
            Self::Name(name) | Self::Beneath(name) => name,
        }
    }

    fn matches(&self, name: &Name) -> bool {
        match self {
            Self::Name(one) => name == one,
            Self::Beneath(above) => name != above && name.is_within(above),
        }
    }
}

/// What the holder of a key may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The TSIG key.
    pub key: Name,
    /// The zone.
    pub zone: Name,
    /// Names in it.
    pub names: Vec<Pattern>,
    /// Types of records at them.
    pub kinds: BTreeSet<Kind>,
}

/// All grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(pub Vec<Grant>);

impl Grants {
    /// Whether the holder of this key may change anything anywhere.
    #[must_use]
    pub fn know(&self, key: &Name) -> bool {
        self.0.iter().any(|grant| grant.key == *key)
    }

    /// Whether the holder of this key may change anything in this zone.
    #[must_use]
    pub fn know_in(&self, key: &Name, zone: &Name) -> bool {
        self.of(key, zone).next().is_some()
    }

    /// Whether the holder of this key may change sets of this type at this name; with [`Kind::ANY`], of
    /// any.
    #[must_use]
    pub fn allow(&self, key: &Name, zone: &Name, name: &Name, kind: Kind) -> bool {
        let mut at = self.of(key, zone).filter(|grant| grant.names.iter().any(|names| names.matches(name)));
        at.any(|grant| kind == Kind::ANY || grant.kinds.contains(&kind))
    }

    fn of<'a>(&'a self, key: &'a Name, zone: &'a Name) -> impl Iterator<Item = &'a Grant> {
        self.0.iter().filter(move |grant| grant.key == *key && grant.zone == *zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_key_may_change_what_it_was_granted_and_nothing_else() {
        let grant = |names: &[&str], kinds: &[Kind]| Grant {
            key: name("key"),
            zone: name("east.test"),
            names: names.iter().map(|text| text.parse().unwrap()).collect(),
            kinds: kinds.iter().copied().collect(),
        };
        let grants = Grants(vec![
            grant(&["_acme-challenge.s3.east.test"], &[Kind::TXT]),
            grant(&["*.hosts.east.test"], &[Kind::A, Kind::AAAA]),
        ]);
        let may = |owner: &str, kind| grants.allow(&name("key"), &name("east.test"), &name(owner), kind);
        assert!(
            may("_acme-challenge.s3.east.test", Kind::TXT) && may("_Acme-Challenge.s3.east.test", Kind::ANY)
        );
        assert!(may("a.hosts.east.test", Kind::A) && may("a.b.hosts.east.test", Kind::AAAA));
        for (owner, kind) in [
            ("_acme-challenge.s3.east.test", Kind::A),
            ("x._acme-challenge.s3.east.test", Kind::TXT),
            ("a.hosts.east.test", Kind::TXT),
            ("hosts.east.test", Kind::A),
            ("ahosts.east.test", Kind::A),
            ("east.test", Kind::ANY),
        ] {
            assert!(!may(owner, kind), "{owner} {kind}");
        }
        let owner = name("a.hosts.east.test");
        assert!(!grants.allow(&name("other"), &name("east.test"), &owner, Kind::A));
        assert!(!grants.allow(&name("key"), &name("test"), &owner, Kind::A), "of another zone");
        assert!("*".parse::<Pattern>().is_err() && "a.*.b".parse::<Pattern>().is_err());
    }
}
