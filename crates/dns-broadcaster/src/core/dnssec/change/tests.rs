//! A zone that is signed upon the one before it is the one that is signed name by name.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::cell::Cell;

use proptest::prelude::*;

use super::super::key::Algorithm;
use super::super::sign::{Signer, Signing};
use super::super::{Denial, Lifetime};
use super::*;
use crate::core::own::Nodes;
use crate::core::record::{Rdata, Set, Soa};
use crate::core::zone::Serial;

const ZONE: &str = "z.test";
/// Ten seconds from one part to the next.
const LIFETIME: Lifetime = Lifetime { period: 2_560, margin: 500 };

/// Signs with a digest of what it signs, and counts.
struct Pen {
    key: PublicKey,
    signed: Cell<usize>,
}

impl Pen {
    fn new(number: u8) -> Self {
        Self { key: key(number), signed: Cell::new(0) }
    }
}

impl Signer for Pen {
    fn key(&self) -> &PublicKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        self.signed.set(self.signed.get() + 1);
        Ok(ring::digest::digest(&ring::digest::SHA256, message).as_ref().repeat(2))
    }
}

fn key(number: u8) -> PublicKey {
    PublicKey::new(Algorithm::Ed25519, &[number; 32]).unwrap()
}

fn name(text: &str) -> Name {
    Name::from_root(text.rsplit('.').map(str::as_bytes)).unwrap()
}

fn apex(minimum: u32, serial: u32) -> Vec<Set> {
    let origin = name(ZONE);
    let (mname, rname, serial) = (origin.clone(), origin, Serial(serial));
    let soa = Soa { mname, rname, serial, refresh: 1, retry: 1, expire: 1, minimum };
    vec![Set::new(Kind::SOA, 60, [Rdata::soa(&soa)]), Set::new(Kind::NS, 60, [Rdata::name(&name("ns.test"))])]
}

/// What a name can have; a wildcard delegates nothing.
fn content(owner: &str, number: u8) -> Vec<Set> {
    let set = |kind, ttl, byte| Set::new(kind, ttl, [Rdata::from_wire(vec![1, byte])]);
    let servers = |text| Set::new(Kind::NS, 60, [Rdata::name(&name(text))]);
    match number {
        0 => vec![],
        1 => vec![set(Kind::TXT, 60, 1)],
        2 => vec![set(Kind::TXT, 90, 1)],
        3 => vec![set(Kind::TXT, 60, 2), set(Kind::HTTPS, 60, 1)],
        _ if owner.starts_with('*') => vec![set(Kind::MX, 60, 1)],
        4 => vec![servers("ns.test")],
        5 => vec![servers("ns.z.test"), set(Kind::TXT, 60, 1)],
        _ => vec![servers("ns.test"), set(Kind::DS, 60, 1)],
    }
}

/// What one zone has beyond the one before it.
#[derive(Clone, Debug)]
struct Step {
    changes: Vec<(String, u8)>,
    children: Vec<(String, u8)>,
    seconds: u32,
    /// Whether it shares nothing with the one before it.
    is_new: bool,
    minimum: u32,
    denial: Denial,
    is_secure: bool,
    signer: u8,
}

fn owners() -> impl Strategy<Value = String> {
    let near = ("(\\*|[abc]|ns)", "(\\.[ab]){0,2}").prop_map(|(first, rest)| format!("{first}{rest}.{ZONE}"));
    prop_oneof![9 => near, 1 => Just(format!("{}.{ZONE}", ["b"; 40].join(".")))]
}

fn step(denial: Denial) -> impl Strategy<Value = Step> {
    let other = if denial == Denial::Nsec { Denial::Nsec3 } else { Denial::Nsec };
    (
        prop::collection::vec((owners(), 0_u8..7), 0..6),
        prop::collection::vec((owners(), 0_u8..3), 0..3),
        prop_oneof![4 => 0_u32..4, 2 => 5_u32..30, 1 => 1_000_u32..4_000],
        prop::bool::weighted(0.2),
        prop_oneof![9 => Just(5_u32), 1 => Just(7)],
        prop_oneof![15 => Just(denial), 1 => Just(other)],
        prop::bool::weighted(0.8),
        prop_oneof![15 => Just(1_u8), 1 => Just(2)],
    )
        .prop_map(|(changes, children, seconds, is_new, minimum, denial, is_secure, signer)| Step {
            changes,
            children,
            seconds,
            is_new,
            minimum,
            denial,
            is_secure,
            signer,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![Just(Denial::Nsec), Just(Denial::Nsec3)]
        .prop_flat_map(|denial| prop::collection::vec(step(denial), 1..12))
}

/// The names of its chain, in a circle.
fn circle(zone: &Zone) -> Vec<Vec<u8>> {
    let Some(Links::Names(chain)) = zone.signed.as_ref().map(|signed| &signed.links) else { return vec![] };
    let mut at = zone.origin.as_bytes().to_vec();
    let next = (0..chain.len()).map(|_| {
        at = chain.following(&at).unwrap().as_slice().to_vec();
        at.clone()
    });
    next.collect()
}

fn same(made: &Zone, whole: &Zone, times: Times) -> Result<(), TestCaseError> {
    for (made, whole) in [(&made.nodes, &whole.nodes), (&made.hashed, &whole.hashed)] {
        let names = |table: &Table| table.iter().map(|(name, _)| Name::from_key(name)).collect::<Vec<_>>();
        prop_assert_eq!(names(made), names(whole));
        for ((name, made), (_, whole)) in made.iter().zip(whole.iter()) {
            let sets = |node| Node::of(node).sets().map(Set::from).collect::<Vec<_>>();
            prop_assert_eq!(sets(made), sets(whole), "{}", Name::from_key(name));
        }
        prop_assert_eq!(made.bytes(), whole.bytes());
    }
    prop_assert_eq!(circle(made), circle(whole));
    let expires = |zone: &Zone| zone.signed_state().unwrap().expires();
    prop_assert!(!Serial(expires(made)).is_newer_than(Serial(expires(whole))), "none expires before it");
    prop_assert!(!times.is_renewed(expires(made)), "else it would be due at once");
    Ok(())
}

/// Signs a zone after another, upon the one before it and name by name. Of `others` it always has a TXT record.
fn compare(steps: Vec<Step>, others: &[Name]) -> Result<(), TestCaseError> {
    let origin = name(ZONE);
    let pens = [1, 2].map(Pen::new);
    let keys = pens.each_ref().map(|pen| pen.key.clone());
    let mut nodes: Nodes = others.iter().map(|other| (other.clone(), content("", 1))).collect();
    let mut children = BTreeMap::new();
    let (mut now, mut serial) = (1_000_000, 0);
    let mut last: Option<(Zone, Zone)> = None;
    for step in steps {
        (now, serial) = (now + step.seconds, serial + step.seconds.min(1));
        let mut changes: BTreeMap<_, _> =
            step.changes.iter().map(|(owner, number)| (name(owner), content(owner, *number))).collect();
        changes.insert(origin.clone(), apex(step.minimum, serial));
        for (name, sets) in &changes {
            _ = if sets.is_empty() { nodes.remove(name) } else { nodes.insert(name.clone(), sets.clone()) };
        }
        for (owner, number) in &step.children {
            let keys: Vec<_> = (1..=*number).map(key).collect();
            _ = if keys.is_empty() {
                children.remove(&name(owner))
            } else {
                children.insert(name(owner), keys)
            };
        }
        let plain = match &last {
            Some((plain, _)) if !step.is_new => {
                plain.laid(changes.iter().map(|(name, sets)| (name, sets.clone())), Serial(serial))
            }
            _ => Zone::of_nodes(&origin, Serial(serial), nodes.clone()),
        };
        let Step { denial, is_secure, .. } = step;
        let times = Times::at(now, LIFETIME);
        let signer = &pens[usize::from(step.signer) - 1];
        let children = &Arc::new(children.clone().into_iter().collect());
        let with = Signing { signer, keys: &keys, is_secure, children, denial, times };
        let previous = last.as_ref().map(|(_, signed)| signed);
        let made = plain.signed(previous, &with).unwrap();
        let whole = Seal::of(&plain, &with).whole(previous).unwrap();
        same(&made, &whole, times)?;
        last = Some((plain, made));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_small_zone_is_the_one_that_is_signed_whole(steps in steps()) {
        compare(steps, &[])?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn a_zone_that_is_renewed_in_parts_is_the_one_that_is_signed_whole(steps in steps()) {
        let others: Vec<_> = (0..=WHOLE_NAMES_MAX).map(|number| name(&format!("h{number}.{ZONE}"))).collect();
        compare(steps, &others)?;
    }
}

#[test]
fn one_name_of_many_costs_what_one_takes() {
    const COUNT: usize = 20_000;
    let origin = name(ZONE);
    let mut nodes: Nodes =
        (0..COUNT).map(|number| (name(&format!("h{number}.{ZONE}")), content("", 1))).collect();
    nodes.insert(origin, apex(5, 1));
    let pen = Pen::new(1);
    for denial in [Denial::Nsec, Denial::Nsec3] {
        let (keys, times) = ([pen.key.clone()], Times::at(1_000_000, LIFETIME));
        let with =
            Signing { signer: &pen, keys: &keys, is_secure: true, children: &Arc::default(), denial, times };
        let mut plain = Zone::of_nodes(&name(ZONE), Serial(1), nodes.clone());
        let mut signed = plain.signed(None, &with).unwrap();
        assert!(pen.signed.take() > 2 * COUNT);
        let new = name("h4711x.z.test");
        for (serial, number) in [(2, 1), (3, 2), (4, 4), (5, 0)] {
            plain = plain.laid([(&new, content("", number))].into_iter(), Serial(serial));
            let next = plain.signed(Some(&signed), &with).unwrap();
            // The SOA; and the name's set and denial, and the denial before it.
            assert!(pen.signed.take() <= 4);
            // Chunks with those names.
            let apart = next.nodes.apart(&signed.nodes).count() + next.hashed.apart(&signed.hashed).count();
            assert!(apart < 1_000, "{apart}");
            signed = next;
        }
    }
}
