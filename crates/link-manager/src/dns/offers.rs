//! What is said to the broadcaster: everything at first, and then what is different from what it has
//! acknowledged. So a repeat costs next to nothing, and a link that fails over what its own tenants do.
//!
//! The broadcaster takes a difference only from the very state that it leads on from. One that was started
//! again, or whose answer was lost on the way, says so, and is told everything once more.

use std::cmp::Ordering;
use std::sync::Arc;

use switchback_proto::dns::v1::{ApplyZonesRequest, ApplyZonesResponse, SystemZone, TenantZone};

use super::Desired;

/// See the module. Of one run of the link manager.
#[derive(Debug)]
pub struct Offers {
    system: SystemZone,
    run: String,
    /// Of what was said last.
    generation: u64,
    said: Option<Desired>,
    /// What of it the broadcaster has taken, and its generation.
    acknowledged: Option<(u64, Desired)>,
}

impl Offers {
    /// Nothing was said. `run` names this run of the link manager: generations are compared only within one.
    #[must_use]
    pub fn new(system: SystemZone, run: String) -> Self {
        Self { system, run, generation: 0, said: None, acknowledged: None }
    }

    /// The request that says `desired`.
    pub fn request(&mut self, desired: &Desired) -> ApplyZonesRequest {
        if self.said.as_ref() != Some(desired) {
            self.generation += 1;
            self.said = Some(desired.clone());
        }
        let (base, tenants, gone) = match &self.acknowledged {
            Some((base, before)) => {
                let (tenants, gone) = difference(&before.tenants, &desired.tenants);
                (*base, tenants, gone)
            }
            None => (0, desired.tenants.iter().map(|zone| TenantZone::clone(zone)).collect(), Vec::new()),
        };
        ApplyZonesRequest {
            generation: self.generation,
            system: Some(self.system.clone()),
            tenants,
            run: self.run.clone(),
            life: desired.life.clone(),
            base,
            gone,
        }
    }

    /// Takes the answer to the request of this generation. Whether the same is to be said again at once,
    /// because something before it was not heard.
    #[must_use]
    pub fn answered(&mut self, generation: u64, answer: &ApplyZonesResponse) -> bool {
        if generation != self.generation {
            return false;
        }
        let is_base = !answer.incomplete && answer.heard == generation;
        self.acknowledged = self.said.clone().filter(|_| is_base).map(|said| (generation, said));
        answer.incomplete
    }
}

/// Zones that are others in `after`, or new, and the names of those that are not there any more. Both are by
/// name.
fn difference(before: &[Arc<TenantZone>], after: &[Arc<TenantZone>]) -> (Vec<TenantZone>, Vec<String>) {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return (changed, gone),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(was), Some(is)) if Arc::ptr_eq(was, is) => Ordering::Equal,
            (Some(was), Some(is)) => was.name.cmp(&is.name),
        };
        let was = before.next_if(|_| order.is_le());
        match (was, after.next_if(|_| order.is_ge())) {
            (was, Some(is)) if was != Some(is) => changed.push(TenantZone::clone(is)),
            (Some(was), None) => gone.push(was.name.clone()),
            (_, Some(_)) | (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What the contract has a broadcaster do.
    #[derive(Default)]
    struct Broadcaster {
        heard: Option<(String, u64)>,
        zones: BTreeMap<String, TenantZone>,
        life: String,
        /// Zones that requests named.
        named: usize,
        /// Whether it knows of no differences.
        is_old: bool,
    }

    impl Broadcaster {
        fn apply(&mut self, request: ApplyZonesRequest) -> ApplyZonesResponse {
            let ApplyZonesRequest { generation, tenants, run, life, base, gone, .. } = request;
            self.named += tenants.len() + gone.len();
            if base == 0 {
                self.zones.clear();
            } else if self.heard != Some((run.clone(), base)) {
                return ApplyZonesResponse { incomplete: true, ..ApplyZonesResponse::default() };
            }
            for name in gone {
                self.zones.remove(&name).expect("what goes was there");
            }
            self.zones.extend(tenants.into_iter().map(|zone| (zone.name.clone(), zone)));
            (self.heard, self.life) = (Some((run, generation)), life);
            let heard = if self.is_old { 0 } else { generation };
            ApplyZonesResponse { current_generation: generation, heard, ..ApplyZonesResponse::default() }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Serials by name.
        Desire(BTreeMap<u8, u32>, u8),
        Repeat,
        LoseRequest,
        LoseAnswer,
        Restart,
    }

    fn desired(zones: &BTreeMap<u8, u32>, life: u8) -> Desired {
        let zone = |(name, serial): (&u8, &u32)| {
            Arc::new(TenantZone { name: format!("t{name}"), serial: *serial, ..TenantZone::default() })
        };
        Desired { tenants: zones.iter().map(zone).collect(), life: life.to_string() }
    }

    fn tell(offers: &mut Offers, broadcaster: &mut Broadcaster, desired: &Desired) -> usize {
        let mut requests = 0;
        loop {
            requests += 1;
            let request = offers.request(desired);
            let generation = request.generation;
            if !offers.answered(generation, &broadcaster.apply(request)) {
                return requests;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_lost_the_broadcaster_comes_to_what_is_desired(steps in prop::collection::vec(
            prop_oneof![
                4 => (prop::collection::btree_map(0_u8..6, 0_u32..3, 0..5), 0_u8..2)
                    .prop_map(|(zones, life)| Step::Desire(zones, life)),
                2 => Just(Step::Repeat),
                1 => Just(Step::LoseRequest),
                1 => Just(Step::LoseAnswer),
                1 => Just(Step::Restart),
            ],
            1..40,
        )) {
            let mut offers = Offers::new(SystemZone::default(), "run".into());
            let mut broadcaster = Broadcaster::default();
            let mut wanted = desired(&BTreeMap::new(), 0);
            for step in steps {
                match step {
                    Step::Desire(zones, life) => wanted = desired(&zones, life),
                    Step::Repeat => {}
                    Step::LoseRequest => _ = offers.request(&wanted),
                    Step::LoseAnswer => _ = broadcaster.apply(offers.request(&wanted)),
                    Step::Restart => broadcaster.heard = None,
                }
                prop_assert!(tell(&mut offers, &mut broadcaster, &wanted) <= 2);
                prop_assert!(broadcaster.zones.values().eq(wanted.tenants.iter().map(AsRef::as_ref)));
                prop_assert_eq!(&broadcaster.life, &wanted.life);
                broadcaster.named = 0;
                prop_assert_eq!(tell(&mut offers, &mut broadcaster, &wanted), 1);
                prop_assert_eq!(broadcaster.named, 0, "a repeat names no zone");
            }
        }
    }

    #[test]
    fn what_stays_is_not_said_again() {
        let mut offers = Offers::new(SystemZone::default(), "run".into());
        let mut broadcaster = Broadcaster::default();
        let mut zones: BTreeMap<_, _> = (0..100).map(|name| (name, 1)).collect();
        tell(&mut offers, &mut broadcaster, &desired(&zones, 0));
        broadcaster.named = 0;
        zones.insert(7, 2);
        zones.remove(&8);
        zones.insert(200, 1);
        tell(&mut offers, &mut broadcaster, &desired(&zones, 0));
        assert_eq!(broadcaster.named, 3);
    }

    #[test]
    fn a_broadcaster_that_knows_of_no_differences_is_told_everything_each_time() {
        let mut offers = Offers::new(SystemZone::default(), "run".into());
        let mut broadcaster = Broadcaster { is_old: true, ..Broadcaster::default() };
        for serial in 1..4 {
            let request = offers.request(&desired(&[(1, serial), (2, 1)].into(), 0));
            assert_eq!((request.base, request.tenants.len()), (0, 2));
            let generation = request.generation;
            assert!(!offers.answered(generation, &broadcaster.apply(request)));
        }
    }

    #[test]
    fn a_newer_request_is_not_taken_for_acknowledged_by_an_old_answer() {
        let mut offers = Offers::new(SystemZone::default(), "run".into());
        let mut broadcaster = Broadcaster::default();
        let first = offers.request(&desired(&[(1, 1)].into(), 0));
        let generation = first.generation;
        let answer = broadcaster.apply(first);
        let second = offers.request(&desired(&[(2, 1)].into(), 0));
        assert!(!offers.answered(generation, &answer));
        assert_eq!((second.base, offers.request(&desired(&[(2, 1)].into(), 0)).base), (0, 0));
    }
}
