//! Versions of a record and their order (Parker et al., "Detection of Mutual Inconsistency in
//! Distributed Systems", 1983: version vectors).

use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use crate::{Hlc, ParseIdError, SiteId};

/// Names one write for ever: when (in hybrid logical time) and where.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// When it was written.
    pub hlc: Hlc,
    /// Where it was written.
    pub site: SiteId,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.hlc, self.site)
    }
}

impl core::str::FromStr for Version {
    type Err = ParseIdError;
    /// Only the very text that it is printed as: a client that is given a name gets no second one for it.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let (hlc, site) = text.split_once('-').ok_or(ParseIdError { digits: 16 })?;
        let hlc: SiteId = hlc.parse()?;
        let version = Self { hlc: Hlc(hlc.0), site: site.parse()? };
        (version.to_string() == text).then_some(version).ok_or(ParseIdError { digits: 16 })
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How two versions of one key stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// They are the same version.
    Same,
    /// The left one replaced the right one, directly or through others.
    Newer,
    /// The right one replaced the left one.
    Older,
    /// Neither knew of the other: a conflict.
    Concurrent,
}

/// Per site, the highest version of a key that a record replaced. It has one entry for each site
/// that ever wrote the key: two, unless a side of the link was rebuilt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VersionVector(Vec<Version>);

impl VersionVector {
    /// More sites than this means more rebuilds than one link sees in its life; the oldest entry
    /// is then dropped, which can at worst report a conflict that was none, never lose a version.
    pub const SITES_MAX: usize = 8;

    /// The vector with the given entries, in any order.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = Version>) -> Self {
        let mut vector = Self::default();
        entries.into_iter().for_each(|entry| vector.include(entry));
        vector
    }

    /// The entries, by site.
    #[must_use]
    pub fn entries(&self) -> &[Version] {
        &self.0
    }

    /// True when `version`, or a later one of the same site, was replaced.
    #[must_use]
    pub fn contains(&self, version: Version) -> bool {
        self.0.iter().any(|entry| entry.site == version.site && entry.hlc >= version.hlc)
    }

    /// Adds `version` to what was replaced.
    pub fn include(&mut self, version: Version) {
        match self.0.binary_search_by_key(&version.site, |entry| entry.site) {
            Ok(at) => self.0[at].hlc = self.0[at].hlc.max(version.hlc),
            Err(at) => self.0.insert(at, version),
        }
        if self.0.len() > Self::SITES_MAX {
            let oldest = (0..self.0.len()).min_by_key(|&at| self.0[at].hlc).unwrap_or(0);
            self.0.remove(oldest);
        }
    }

    /// Adds everything that `other` replaced.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|entry| self.include(*entry));
    }
}

impl Version {
    /// How `self`, which replaced `replaced`, stands to `other`, which replaced `other_replaced`.
    ///
    /// A site knows all that it wrote itself: its later version of a key replaced its earlier ones also when
    /// it does not say so, because it had forgotten the mark of a delete in between.
    #[must_use]
    pub fn order(self, replaced: &VersionVector, other: Self, other_replaced: &VersionVector) -> Order {
        let is_later = |left: Self, right: Self| left.site == right.site && left.hlc > right.hlc;
        if self == other {
            Order::Same
        } else if replaced.contains(other) || is_later(self, other) {
            Order::Newer
        } else if other_replaced.contains(self) || is_later(other, self) {
            Order::Older
        } else {
            Order::Concurrent
        }
    }

    /// The winner's place between concurrent versions: the later hybrid logical time, then the
    /// link's primary before any other site, then the site's number, so that the order is total.
    #[must_use]
    pub fn rank(self, other: Self, primary: SiteId) -> Ordering {
        (self.hlc, self.site == primary, self.site).cmp(&(other.hlc, other.site == primary, other.site))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(hlc: u64, site: u64) -> Version {
        Version { hlc: Hlc(hlc), site: SiteId(site) }
    }

    #[test]
    fn a_version_reads_back_what_it_prints_and_nothing_else() {
        let (one, text) = (version(0x1f, 2), "000000000000001f-0000000000000002");
        assert_eq!((one.to_string().as_str(), text.parse()), (text, Ok(one)));
        for wrong in [
            "",
            "null",
            "1f-2",
            &text[1..],
            &text.to_uppercase(),
            &text.replace('-', ""),
            "+00000000000001f-0000000000000002",
        ] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_that_did_not_know_each_other_are_concurrent() {
        let (first, left, right) = (version(1, 1), version(2, 1), version(3, 2));
        let after_first = VersionVector::new([first]);
        assert_eq!(left.order(&after_first, first, &VersionVector::default()), Order::Newer);
        assert_eq!(first.order(&VersionVector::default(), left, &after_first), Order::Older);
        assert_eq!(left.order(&after_first, right, &after_first), Order::Concurrent);
        assert_eq!(left.order(&after_first, left, &after_first), Order::Same);
    }

    #[test]
    fn a_site_knows_what_it_wrote_itself() {
        let (first, second, other) = (version(1, 1), version(2, 1), version(2, 2));
        let nothing = VersionVector::default();
        assert_eq!(second.order(&nothing, first, &nothing), Order::Newer);
        assert_eq!(first.order(&nothing, second, &nothing), Order::Older);
        assert_eq!(other.order(&nothing, first, &nothing), Order::Concurrent);
    }

    #[test]
    fn the_primary_wins_a_tie_and_only_a_tie() {
        let primary = SiteId(9);
        assert_eq!(version(5, 9).rank(version(5, 10), primary), Ordering::Greater);
        assert_eq!(version(5, 9).rank(version(6, 10), primary), Ordering::Less);
    }

    #[test]
    fn a_vector_keeps_the_highest_version_of_each_site() {
        let mut vector = VersionVector::new([version(5, 1), version(3, 2)]);
        vector.include(version(4, 1));
        assert_eq!(vector.entries(), [version(5, 1), version(3, 2)]);
        for site in 3..20 {
            vector.include(version(100 + site, site));
        }
        assert_eq!(vector.entries().len(), VersionVector::SITES_MAX);
    }
}
