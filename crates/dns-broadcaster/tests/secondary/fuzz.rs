//! Messages that no primary should send: nothing panics, and what is made of them is a zone that answers,
//! newer than the one that is held, or nothing. A test run has some thousand of them; for longer:
//!
//! `SWITCHBACK_FUZZ_SECONDS=3600 [SWITCHBACK_SEED=1] cargo test --release -p switchback-dns --test secondary fuzz -- --nocapture`

use std::env;
use std::time::{Duration, Instant};

use switchback_dns::core::dnssec::Denial;
use switchback_dns::core::record::Kind;
use switchback_dns::core::secondary::Times;
use switchback_dns::core::secondary::intake::{Arrived, Wanted};
use switchback_dns::core::secondary::members::members;
use switchback_dns::core::table::Key;
use switchback_dns::core::transfer;
use switchback_dns::core::zone::Zone;

use crate::random::Dice;
use crate::take::answers;
use crate::zones::{Model, OWNERS, arrived, key, messages, published};

const SAMPLE: usize = 3_000;

/// Streams that are as they should be: whole zones and differences, in messages of any size.
fn seeds(dice: &mut Dice) -> Vec<(Wanted, Vec<Vec<u8>>, Zone)> {
    let mut seeds = Vec::new();
    for number in 0..24 {
        let mut versions = Vec::new();
        for _ in 0..3 {
            let record = |dice: &mut Dice| (dice.below(OWNERS.len()), dice.below(6), dice.below(5) as u8);
            let changes: Model = (0..10).map(|_| record(dice)).collect();
            versions.push((changes, 1 + dice.below(2) as u32));
        }
        let zones = published(&versions, [None, Some(Denial::Nsec), Some(Denial::Nsec3)][number / 3 % 3]);
        let (before, latest) = (&zones[0], &zones[2]);
        let wanted = if number % 3 == 0 { Wanted::Whole } else { Wanted::Since(before.serial()) };
        let records = match wanted {
            Wanted::Whole => transfer::whole(latest),
            Wanted::Since(serial) => transfer::since(latest, serial),
        };
        seeds.push((wanted, messages(records, wanted, 1 + dice.below(30)), before.clone()));
    }
    seeds
}

fn bend(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = dice.below(bytes.len());
    match dice.below(7) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = [0, 1, 6, 0x3f, 0x40, 0x80, 0xc0, 0xff][dice.below(8)],
        2 => bytes.truncate(at.max(1)),
        3 => bytes.insert(at, dice.below(256) as u8),
        4 if bytes.len() > 1 => drop(bytes.remove(at)),
        5 => {
            bytes.truncate(at.max(1));
            bytes.extend(&other[dice.below(other.len())..]);
        }
        // A pointer into the header, the question or the first record.
        _ => bytes.splice(at..(at + 2).min(bytes.len()), [0xc0, dice.below(60) as u8]).for_each(drop),
    }
}

#[test]
fn fuzz() {
    let number = |key: &str| env::var(key).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seconds = number("SWITCHBACK_FUZZ_SECONDS");
    let seed = number("SWITCHBACK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let seeds = seeds(&mut dice);
    let (begun, mut count, mut zones) = (Instant::now(), 0_usize, 0_usize);
    loop {
        let is_over = match seconds {
            Some(seconds) => count.is_multiple_of(256) && begun.elapsed() > Duration::from_secs(seconds),
            None => count == SAMPLE,
        };
        if is_over {
            break;
        }
        count += 1;
        let (wanted, messages, held) = dice.pick(&seeds);
        let mut messages = messages.clone();
        for _ in 0..1 + dice.below(4) {
            let other = dice.pick(&messages).clone();
            let at = dice.below(messages.len());
            match dice.below(8) {
                0 if messages.len() > 1 => drop(messages.remove(at)),
                1 => messages.insert(at, other),
                _ => bend(&mut dice, &mut messages[at], &other),
            }
        }
        let Ok(Some(Arrived::Stream(stream))) = arrived(&messages, *wanted, Some(held.serial())) else {
            continue;
        };
        let Ok(zone) = Zone::of_stream(&key(""), &stream, Some(held), Key::new(1, 2)) else { continue };
        zones += 1;
        assert!(zone.serial().is_newer_than(held.serial()));
        answers(&zone);
        // It might be listed as a catalogue.
        let _ = members(&zone);
        let soa = transfer::start(&zone).next().unwrap();
        assert!(soa.kind == Kind::SOA && Times::of(soa.data).is_some());
        // And be given on.
        assert!(transfer::whole(&zone).count() >= 3);
    }
    println!("{count} transfers in {:.0?}, of which {zones} made a zone", begun.elapsed());
}
