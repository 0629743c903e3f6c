//! Prerequisites (RFC 2136 section 3.2).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::edit::{has_name, held};
use super::{Class, Code, Entry};
use crate::core::dnssec::canonical;
use crate::core::name::Name;
use crate::core::record::{Kind, Rdata};
use crate::core::zone::Zone;

/// Whether `zone` is as `demands` say, judged in the RFC's order (section 3.2.5).
///
/// # Errors
/// It is not, or a demand is none.
pub(super) fn check(zone: &Zone, demands: &[Entry]) -> Result<(), Code> {
    let mut sets: BTreeMap<(&Name, Kind), Vec<&Rdata>> = BTreeMap::new();
    for demand in demands {
        let Entry { owner, kind, class, ttl, data } = demand;
        if *ttl != 0 {
            return Err(Code::FormErr);
        }
        if !owner.is_within(zone.origin()) {
            return Err(Code::NotZone);
        }
        let exists = || held(zone, owner, *kind).is_some();
        match (class, data) {
            (Class::Any, None) if *kind == Kind::ANY => is(has_name(zone, owner), Code::NxDomain)?,
            (Class::Any, None) => is(exists(), Code::NxRrset)?,
            (Class::None, None) if *kind == Kind::ANY => is(!has_name(zone, owner), Code::YxDomain)?,
            (Class::None, None) => is(!exists(), Code::YxRrset)?,
            (Class::In, Some(data)) => sets.entry((owner, *kind)).or_default().push(data),
            (Class::In, None) | (Class::Any | Class::None, Some(_)) | (Class::Other, _) => {
                return Err(Code::FormErr);
            }
        }
    }
    // The whole set, in whatever order and whatever its time to live.
    for ((owner, kind), wanted) in sets {
        let held = held(zone, owner, kind).map(|set| set.data).unwrap_or_default();
        is(sorted(kind, &mut held.iter()) == sorted(kind, &mut wanted.into_iter()), Code::NxRrset)?;
    }
    Ok(())
}

fn is(holds: bool, otherwise: Code) -> Result<(), Code> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn sorted(kind: Kind, data: &mut dyn Iterator<Item = &Rdata>) -> Vec<Vec<u8>> {
    let mut values: Vec<_> = data.map(|data| canonical::value(kind, data.as_bytes())).collect();
    values.sort();
    values.dedup();
    values
}
