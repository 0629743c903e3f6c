//! What one name more, changed, delegated or less costs in a zone of many, and what signing it whole does.
//!
//! `cargo bench -p switchback-dns --bench signing [-- NAMES...]`
//!
//! Medians in microseconds, from the zone before the change to the one that is answered, with what name servers
//! that follow are told of it; behind each how many times as long it takes as in the smallest zone. Whole: for each
//! name, on all processors.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::sync::Arc;
use std::time::Instant;

use switchback_dns::core::dnssec::key::Algorithm;
use switchback_dns::core::dnssec::sign::{Signer as _, Signing};
use switchback_dns::core::dnssec::{Denial, Lifetime, Times};
use switchback_dns::core::draft::Draft;
use switchback_dns::core::name::Name;
use switchback_dns::core::record::{Kind, Rdata, Set, Soa};
use switchback_dns::core::zone::{Serial, Zone};
use switchback_dns::signer::KeyPair;

const ZONE: &str = "bench.test";
const ROUNDS: u32 = 101;
const CHANGES: [&str; 4] = ["add", "change", "delegate", "remove"];

fn main() {
    let counts: Vec<u32> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![1_000, 100_000, 1_000_000] } else { counts };
    print!("{:<9} {:>9} {:>8}", "", "names", "whole");
    CHANGES.iter().for_each(|change| print!(" {change:>9} {:>5}", ""));
    println!();
    for denial in [None, Some(Denial::Nsec), Some(Denial::Nsec3)] {
        let mut least = None;
        for &count in &counts {
            let Costs { whole, changes } = measure(count, denial);
            let label = denial.map_or("unsigned".into(), |denial| format!("{denial:?}").to_lowercase());
            print!("{label:<9} {count:>9} {whole:>8.1}");
            let least = least.get_or_insert(changes);
            for (took, least) in changes.iter().zip(least) {
                print!(" {took:>9.1} {:>4.1}x", took / *least);
            }
            println!();
        }
    }
}

struct Costs {
    whole: f64,
    changes: [f64; 4],
}

fn name(label: &str) -> Name {
    Name::parse(&format!("{label}.{ZONE}")).unwrap()
}

fn address(last: u32) -> Set {
    Set::new(Kind::A, 60, [Rdata::from_wire(vec![192, 0, 2, last as u8])])
}

fn plain(count: u32) -> Zone {
    let origin = Name::parse(ZONE).unwrap();
    let soa = Soa {
        mname: name("ns"),
        rname: name("admin"),
        serial: Serial(1),
        refresh: 1,
        retry: 1,
        expire: 1,
        minimum: 60,
    };
    let mut draft = Draft::default();
    draft.push(origin.as_bytes(), Kind::SOA, 60, Rdata::soa(&soa).as_bytes());
    draft.push(origin.as_bytes(), Kind::NS, 60, Rdata::name(&name("ns")).as_bytes());
    for number in 0..count {
        draft.push(name(&format!("h{number}")).as_bytes(), Kind::A, 60, address(1).data[0].as_bytes());
    }
    Zone::of_own(&origin, draft.finish()).unwrap()
}

fn measure(count: u32, denial: Option<Denial>) -> Costs {
    let pair = KeyPair::generate(Algorithm::EcdsaP256).unwrap();
    let keys = [pair.key().clone()];
    let times = Times::at(1_000_000, Lifetime::of_expire(1_000));
    let number = |round: u32| round * (count / ROUNDS);
    // Those that will be delegated to zones that are signed.
    let mut children: Vec<_> =
        (0..ROUNDS).map(|round| (name(&format!("h{}x", number(round))), keys.to_vec())).collect();
    children.sort();
    let children = &Arc::new(children);
    let sign = |zone: &Zone, previous: Option<&Zone>| match denial {
        None => zone.clone(),
        Some(denial) => {
            let with = Signing { signer: &pair, keys: &keys, is_secure: true, children, denial, times };
            zone.signed(previous, &with).unwrap()
        }
    };
    let mut zone = plain(count);
    let begun = Instant::now();
    let mut signed = sign(&zone, None);
    let whole = begun.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    let mut serial = 1;
    let mut took = [const { Vec::new() }; CHANGES.len()];
    for round in 0..ROUNDS {
        let new = name(&format!("h{}x", number(round)));
        let servers = Set::new(Kind::NS, 60, [Rdata::name(&name("ns"))]);
        let changes = [vec![address(1)], vec![address(2)], vec![servers], vec![]];
        for (took, sets) in took.iter_mut().zip(changes) {
            serial += 1;
            let begun = Instant::now();
            let next = zone.laid([(&new, sets)].into_iter(), Serial(serial));
            let next_signed = sign(&next, Some(&signed)).after(&signed);
            (zone, signed) = (next, next_signed);
            took.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    let median = |mut took: Vec<f64>| {
        took.sort_by(f64::total_cmp);
        took[took.len() / 2]
    };
    Costs { whole, changes: took.map(median) }
}
