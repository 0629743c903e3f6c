//! Random zones, and names to ask them for.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a generator that cannot go on fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const LABELS: [&str; 8] = ["a", "b", "c", "*", "ns", "x-1", "_tcp", "d"];

/// A name beneath `zone`, of one to four labels.
pub(crate) fn owner(dice: &mut Dice, zone: &str, asked: bool) -> String {
    let depth = 1 + dice.below(if asked { 4 } else { 3 });
    let labels: Vec<&str> = (0..depth).map(|_| *dice.pick(&LABELS)).collect();
    // A wildcard is the first label, or no wildcard; that too is asked for.
    let labels: Vec<&str> = labels
        .iter()
        .enumerate()
        .map(|(at, label)| if at > 0 && !asked && *label == "*" { "w" } else { label })
        .collect();
    format!("{}.{zone}", labels.join("."))
}

/// The text of a zone.
pub(crate) fn zone_text(dice: &mut Dice, zone: &str) -> String {
    let mut nodes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..3 + dice.below(14) {
        let name = owner(dice, zone, false);
        let is_wildcard = name.starts_with("*.");
        let target = if dice.one_in(4) { "out.example.net".to_owned() } else { owner(dice, zone, false) };
        let number = dice.below(250);
        let records = nodes.entry(name.clone()).or_default();
        match dice.below(12) {
            0..=2 => _ = records.insert(format!("A 192.0.2.{number}")),
            3 => _ = records.insert(format!("AAAA 2001:db8::{number:x}")),
            4 => _ = records.insert(format!("TXT \"t{number}\" \"second; string\"")),
            5 => _ = records.insert(format!("MX {number} {target}.")),
            6 => _ = records.insert(format!("SRV 1 2 {number} {target}.")),
            7 => _ = records.insert("CAA 0 issue \"ca.example.net\"".to_owned()),
            8 | 9 => *records = [format!("CNAME {target}.")].into(),
            // A wildcard that delegates is undefined (RFC 4592 section 4.2).
            10 | 11 if !is_wildcard => {
                let server = if dice.one_in(2) { format!("ns.{name}") } else { target };
                records.insert(format!("NS {server}."));
                if server.ends_with(&format!(".{name}")) {
                    nodes.entry(server).or_default().insert(format!("A 192.0.2.{number}"));
                }
            }
            _ => _ = records.insert(format!("A 192.0.2.{number}")),
        }
    }
    // An alias is alone.
    for records in nodes.values_mut() {
        if records.len() > 1 {
            records.retain(|record| !record.starts_with("CNAME"));
        }
    }
    let ttl = 60 + dice.below(100);
    let mut text = format!(
        "$ORIGIN {zone}.\n$TTL {ttl}\n@ 300 SOA ns1 admin 1 3600 600 86400 {}\n",
        5 + dice.below(400)
    );
    text += "@ NS ns1\n@ NS ns.elsewhere.test.\nns1 A 192.0.2.53\n";
    for (name, records) in nodes {
        for record in records {
            writeln!(text, "{name}. {record}").unwrap();
        }
    }
    text
}
