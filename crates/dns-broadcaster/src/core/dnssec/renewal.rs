//! Under which serial a zone is served that is signed again and again.
//!
//! A name server that follows takes a zone when its serial is newer, so a zone whose signatures were
//! renewed needs a newer serial than it was given: the next one. It is remembered, because signatures
//! outlive a run, and with it when the first of them expires, because a name server may hold them long
//! after this one has started again and made others.
//!
//! Three parties give serials. The operator, in zone files, and this service give one whenever they
//! like: a given serial that is not ahead of the one that is served is one more than that. The
//! link manager's must mean the same on both systems, and be ahead of all that went before it from
//! either side, or a stale side would overrule the other. So it leaves some numbers free behind
//! each of its serials, which are ours. The two systems sign with keys of their own,
//! hence under one serial a zone of a link says the same and carries other signatures; a name server
//! must take all of it from one side, and is given no differences ([`Zone::is_unique`]).
//!
//! [`Zone::is_unique`]: super::super::zone::Zone::is_unique

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::super::name::Name;
use super::super::zone::Serial;
use super::key::PublicKey;
use super::{Denial, PARTS, Times};

/// Serials from each of a link's to the next one that it may give: those between are not the link
/// manager's. With 24 weeks from one renewal to the next, some four years in which nothing moves, and a
/// roll of the key on each side in them. More would cost the link manager: a link that is made anew has to
/// be ahead of the one before it, whose serials have grown by no more than the seconds between them.
const RENEWALS_MAX: u32 = 16;

/// What a zone is signed with and for, without saying what it is: a part of a digest (SHA-256), or zero
/// for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Basis(pub u64);

impl Basis {
    /// That of a zone that is signed with `signer` and has these keys, is secure or not, denies so, and
    /// delegates to these.
    #[must_use]
    pub fn of(
        signer: &PublicKey,
        keys: &[PublicKey],
        is_secure: bool,
        denial: Denial,
        children: &[(Name, Vec<PublicKey>)],
    ) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let is_hashed = denial == Denial::Nsec3;
        context.update(&[u8::from(is_secure) | u8::from(is_hashed) << 1]);
        context.update(&signer.rdata());
        for key in keys {
            context.update(&key.rdata());
        }
        for (child, keys) in children {
            context.update(&[0]);
            context.update(child.as_bytes());
            for key in keys {
                context.update(&key.rdata());
            }
        }
        let digest = context.finish();
        let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
        // Zero is for no keys.
        Self(u64::from_be_bytes(first).max(1))
    }
}

/// What is remembered of a zone that is signed, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The serial that the zone was given.
    pub given: Serial,
    /// The serial that it is served under.
    pub served: Serial,
    /// When the first of the signatures expires that went out, at the earliest: seconds since 1970 on
    /// the circle of RFC 1982. Means nothing without a basis.
    pub expires: u32,
    /// What it was signed with.
    pub basis: Basis,
}

/// A zone that is to be served.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a Name,
    /// The serial that it is given.
    pub given: Serial,
    /// What it is to be signed with.
    pub basis: Basis,
    /// Whether the serial is a link's.
    pub is_linked: bool,
}

/// What is remembered of all zones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewals(BTreeMap<Name, Renewal>);

/// What to remember of zones from now on, or nothing any more.
pub type Changes = BTreeMap<Name, Option<Renewal>>;

impl Renewals {
    /// Those that are on record.
    #[must_use]
    pub fn new(record: BTreeMap<Name, Renewal>) -> Self {
        Self(record)
    }

    /// The serial that a zone is served under which was given this one.
    #[must_use]
    pub fn served(&self, name: &Name, given: Serial) -> Serial {
        self.0.get(name).map_or(given, |renewal| renewal.served)
    }

    /// What changes when the zones are to be these. `is_start`: they may have gone out in an
    /// earlier run without being remembered, which is unsigned.
    #[must_use]
    pub fn settle(&self, wanted: &[Wanted<'_>], times: Times, is_start: bool) -> Changes {
        let wanted_names: BTreeSet<&Name> = wanted.iter().map(|zone| zone.name).collect();
        let gone = self.0.keys().filter(|name| !wanted_names.contains(*name));
        self.settled(wanted, gone, times, is_start)
    }

    /// The same, when all zones were settled before and none is due: then what is remembered changes only of
    /// zones that are wanted in another way, which are `wanted`, and of those that are `gone`.
    #[must_use]
    pub fn settle_some<'a>(
        &self,
        wanted: &[Wanted<'_>],
        gone: impl Iterator<Item = &'a Name>,
        times: Times,
    ) -> Changes {
        self.settled(wanted, gone.filter(|name| self.0.contains_key(*name)), times, false)
    }

    fn settled<'a>(
        &self,
        wanted: &[Wanted<'_>],
        gone: impl Iterator<Item = &'a Name>,
        times: Times,
        is_start: bool,
    ) -> Changes {
        let mut changes = Changes::new();
        for zone in wanted {
            let current = self.0.get(zone.name);
            let next = zone.settled(current, times, is_start);
            if next.as_ref() != current {
                changes.insert(zone.name.clone(), next);
            }
        }
        changes.extend(gone.map(|name| (name.clone(), None)));
        changes
    }

    /// Takes changes over.
    pub fn take(&mut self, changes: Changes) {
        for (name, change) in changes {
            match change {
                Some(renewal) => _ = self.0.insert(name, renewal),
                None => _ = self.0.remove(&name),
            }
        }
    }

    /// Seconds until the first zone is due; `None` when none is signed.
    #[must_use]
    pub fn due_in(&self, times: Times) -> Option<u32> {
        let signed = self.0.values().filter(|renewal| renewal.basis != Basis::default());
        signed.map(|renewal| times.due_in(renewal.expires)).min()
    }
}

impl Renewal {
    /// Notes that one of the zone's signatures expires at `expires`.
    pub fn expire_by(&mut self, expires: u32) {
        if Serial(self.expires).is_newer_than(Serial(expires)) {
            self.expires = expires;
        }
    }
}

impl Wanted<'_> {
    fn settled(&self, current: Option<&Renewal>, times: Times, is_start: bool) -> Option<Renewal> {
        let is_signed = self.basis != Basis::default();
        let times = if self.is_linked { times.seldom() } else { times };
        let fresh =
            |served| Renewal { given: self.given, served, expires: times.end(PARTS), basis: self.basis };
        let Some(current) = current else {
            let served = if is_start { self.after(self.given) } else { self.given };
            return is_signed.then(|| fresh(served));
        };
        let is_newer = self.given.is_newer_than(current.served);
        if !is_signed && is_newer {
            return None;
        }
        let is_due = is_signed && times.is_due(current.expires);
        let served = if is_newer {
            self.given
        } else if self.given != current.given || self.basis != current.basis || is_due {
            self.after(current.served)
        } else {
            current.served
        };
        // Signatures of what stays are kept; those that are due, and what was unsigned, are not.
        let is_kept = current.basis != Basis::default() && !is_due;
        let expires = match (is_signed, is_kept) {
            (false, _) => 0,
            (true, true) => current.expires,
            (true, false) => times.end(PARTS),
        };
        Some(Renewal { expires, ..fresh(served) })
    }

    /// The serial after `served`, unless it is no longer ours.
    fn after(&self, served: Serial) -> Serial {
        let next = Serial(served.0.wrapping_add(1));
        let taken = next.0.wrapping_sub(self.given.0);
        if self.is_linked && taken >= RENEWALS_MAX { served } else { next }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Lifetime;
    use super::*;
    use proptest::prelude::*;

    const LIFETIME: Lifetime = Lifetime { period: 1000, margin: 500 };

    /// What happens to one zone.
    #[derive(Clone, Debug)]
    enum Event {
        Pass(u32),
        Give(u32),
        Key(u64),
        Restart,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            (0_u32..3000).prop_map(Event::Pass),
            (0_u32..20).prop_map(Event::Give),
            (0_u64..3).prop_map(Event::Key),
            Just(Event::Restart),
        ];
        prop::collection::vec(event, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2048) })]

        #[test]
        fn what_is_signed_anew_has_a_newer_serial(events in events(), given in any::<u32>(), is_linked: bool) {
            let name = Name::parse("a.test").unwrap();
            let (mut now, mut given, mut basis) = (1_u32 << 31, Serial(given), Basis(1));
            let mut renewals = Renewals::default();
            let mut last: Option<(Serial, Serial, Basis)> = None;
            for event in [Event::Pass(0)].into_iter().chain(events) {
                let mut is_start = false;
                match event {
                    Event::Pass(seconds) => now = now.wrapping_add(seconds),
                    // A link leaves room behind each of its serials.
                    Event::Give(more) if is_linked => given = Serial(given.0.wrapping_add(more * RENEWALS_MAX)),
                    Event::Give(more) => given = Serial(given.0.wrapping_add(more)),
                    Event::Key(other) => {
                        // Whether zones are signed is read at a start.
                        is_start = (other == 0) != (basis == Basis::default());
                        basis = Basis(other);
                    }
                    Event::Restart => is_start = true,
                }
                let times = Times::at(now, LIFETIME);
                let was_due = renewals.due_in(times) == Some(0) && basis != Basis::default();
                let wanted = Wanted { name: &name, given, basis, is_linked };
                let changes = renewals.settle(&[wanted], times, is_start);
                renewals.take(changes);
                prop_assert!(renewals.settle(&[wanted], times, false).is_empty(), "once is enough");
                let served = renewals.served(&name, given);
                if let Some((before, given_before, basis_before)) = last {
                    prop_assert!(served == before || served.is_newer_than(before), "{before:?} {served:?}");
                    let is_other = given != given_before || basis != basis_before || was_due;
                    let is_exhausted = is_linked && served.0.wrapping_sub(given.0) == RENEWALS_MAX - 1;
                    prop_assert_eq!(served != before, is_other && !(is_exhausted && served == before));
                }
                if is_linked {
                    prop_assert!(served.0.wrapping_sub(given.0) < RENEWALS_MAX, "it is the link manager's");
                }
                if basis != Basis::default() {
                    prop_assert!(renewals.due_in(times).is_some_and(|seconds| seconds > 0));
                }
                last = Some((served, given, basis));
            }
        }
    }

    #[test]
    fn a_zone_that_went_out_unsigned_has_another_serial_when_it_is_signed() {
        let name = Name::parse("a.test").unwrap();
        let wanted = |basis| Wanted { name: &name, given: Serial(7), basis: Basis(basis), is_linked: false };
        let times = Times::at(0, LIFETIME);
        let settled = |is_start| {
            let mut renewals = Renewals::default();
            renewals.take(renewals.settle(&[wanted(1)], times, is_start));
            renewals
        };
        assert_eq!(settled(false).served(&name, Serial(7)), Serial(7), "nobody has seen it");
        let mut renewals = settled(true);
        assert_eq!(renewals.served(&name, Serial(7)), Serial(8));
        renewals.take(renewals.settle(&[wanted(0)], times, true));
        assert_eq!(renewals.served(&name, Serial(7)), Serial(9), "unsigned again");
        renewals.take(renewals.settle(&[], times, false));
        assert_eq!(renewals, Renewals::default(), "of a zone that is gone nothing is remembered");
    }

    #[test]
    fn what_went_out_is_renewed_in_time_after_a_restart() {
        let name = Name::parse("a.test").unwrap();
        let wanted = Wanted { name: &name, given: Serial(7), basis: Basis(1), is_linked: false };
        let mut renewals = Renewals::default();
        renewals.take(renewals.settle(&[wanted], Times::at(0, LIFETIME), false));
        let first = renewals.due_in(Times::at(0, LIFETIME)).unwrap();
        let restarted = Times::at(first - 1, LIFETIME);
        renewals.take(renewals.settle(&[wanted], restarted, true));
        assert_eq!(renewals.due_in(restarted), Some(1), "name servers have what the earlier run signed");
    }
}
