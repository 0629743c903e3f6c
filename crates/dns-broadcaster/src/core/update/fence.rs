//! What stands between two systems that write one name.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::core::name::Name;
use crate::core::record::Rdata;
use crate::core::zone::{Place, Serial, WATCH_LABEL, state};

/// What the text begins with.
const MARK: &str = "switchback";

/// Under which serial a tenant's names stand in somebody else's zone, and who put them there.
///
/// Where the tenant's own zone says the same, and as there, so that people watch all alike:
/// `_switchback.acme TXT "switchback serial=253455873 epoch=1 generation=0 system=west.example.com"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Of the tenant's own zone.
    pub serial: Serial,
    /// What that stands for, for people.
    pub place: Option<Place>,
    /// The domain of the system.
    pub system: Name,
}

/// What stands at the name of a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    /// Nothing.
    Nothing,
    /// A fence.
    Fence(Fence),
    /// Something that no system put there.
    Foreign,
}

impl Fence {
    /// Where the fence of `tenant` stands, when that is a name.
    #[must_use]
    pub fn owner(tenant: &Name) -> Option<Name> {
        tenant.child(WATCH_LABEL)
    }

    /// A TXT record's.
    #[must_use]
    pub fn rdata(&self) -> Rdata {
        Rdata::text(&format!("{} system={}", state(self.serial, self.place), self.system))
    }

    /// The fence that a TXT record is. Words that a later version adds are passed over.
    fn parse(data: &Rdata) -> Option<Self> {
        let mut text = Vec::new();
        let mut rest = data.as_bytes();
        while let Some((&length, behind)) = rest.split_first() {
            let (string, behind) = behind.split_at_checked(length.into())?;
            text.extend(string);
            rest = behind;
        }
        let text = String::from_utf8(text).ok()?;
        let mut words = text.split(' ');
        if words.next() != Some(MARK) {
            return None;
        }
        let words: Vec<_> = words.filter_map(|word| word.split_once('=')).collect();
        let value =
            |key: &str| words.iter().find(|(found, _)| *found == key).map(|(_, value)| value.to_owned());
        let serial = Serial(value("serial")?.parse().ok()?);
        let place = value("epoch").zip(value("generation")).and_then(|(epoch, generation)| {
            Some(Place { epoch: epoch.parse().ok()?, generation: generation.parse().ok()? })
        });
        Some(Self { serial, place, system: Name::parse(value("system")?).ok()? })
    }
}

impl Stands {
    /// What these TXT records are together.
    #[must_use]
    pub fn of(records: &[Rdata]) -> Self {
        match records {
            [] => Self::Nothing,
            [record] => Fence::parse(record).map_or(Self::Foreign, Self::Fence),
            // A system replaces the whole set.
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn txt(strings: &[&str]) -> Rdata {
        let mut bytes = Vec::new();
        for string in strings {
            bytes.push(string.len() as u8);
            bytes.extend(string.bytes());
        }
        Rdata::from_wire(bytes)
    }

    #[test]
    fn a_fence_is_read_as_it_was_written() {
        let east = Name::parse("east.example.com").unwrap();
        let long = Name::parse(&vec!["abcdefghi"; 25].join(".")).unwrap();
        for system in [east.clone(), long] {
            let place = Some(Place { epoch: 3, generation: 1 });
            let fence = Fence { serial: Serial(u32::MAX), place, system };
            assert_eq!(Stands::of(&[fence.rdata()]), Stands::Fence(fence));
        }
        let fence = Fence { serial: Serial(7), place: None, system: east };
        assert_eq!(fence.rdata(), txt(&["switchback serial=7 system=east.example.com"]));
        let later = txt(&["switchback until=9 serial=7 sys", "tem=east.example.com note"]);
        assert_eq!(Stands::of(&[later]), Stands::Fence(fence), "from a later version");
    }

    #[test]
    fn what_is_no_fence_is_somebody_elses() {
        let fence =
            Fence { serial: Serial(7), place: None, system: Name::parse("east.example.com").unwrap() };
        let broken = Rdata::from_wire(vec![9, b's']);
        for foreign in [
            vec![txt(&["v=spf1 -all"])],
            vec![txt(&["switchback serial=x system=east.example.com"])],
            vec![txt(&["switchback serial=7 epoch=1 generation=0"])],
            vec![broken],
            vec![fence.rdata(), txt(&["and a note"])],
        ] {
            assert_eq!(Stands::of(&foreign), Stands::Foreign, "{foreign:?}");
        }
        assert_eq!(Stands::of(&[]), Stands::Nothing);
    }
}
