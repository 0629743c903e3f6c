//! Messages that nobody should send, of which a test run sees some thousand. For longer:
//!
//! `SWITCHBACK_FUZZ_SECONDS=3600 [SWITCHBACK_SEED=1] cargo test --release -p switchback-dns --lib fuzz -- --nocapture`

use std::env;
use std::time::{Duration, Instant};

/// Does something `sample` times, or for as long as the environment says; how often it was.
pub(crate) fn run(sample: usize, mut once: impl FnMut(&mut Dice)) -> usize {
    let number = |key: &str| env::var(key).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seconds = number("SWITCHBACK_FUZZ_SECONDS");
    let seed = number("SWITCHBACK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let (begun, mut count) = (Instant::now(), 0_usize);
    loop {
        let is_over = match seconds {
            Some(seconds) => count.is_multiple_of(1024) && begun.elapsed() > Duration::from_secs(seconds),
            None => count == sample,
        };
        if is_over {
            println!("{count} messages in {:.0?}", begun.elapsed());
            return count;
        }
        count += 1;
        once(&mut dice);
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

/// One of `seeds`, with up to five faults.
pub(crate) fn bend(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..dice.below(6) {
        let at = dice.below(bytes.len());
        match dice.below(7) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff][dice.below(8)],
            2 => bytes.truncate(at.max(1)),
            3 => bytes.insert(at, dice.below(256) as u8),
            4 => drop(bytes.remove(at)),
            5 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len());
                bytes.truncate(at.max(1));
                bytes.extend(&other[from..]);
            }
            // A pointer into the header or the question.
            _ => bytes.splice(at..(at + 2).min(bytes.len()), [0xc0, dice.below(40) as u8]).for_each(drop),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}
