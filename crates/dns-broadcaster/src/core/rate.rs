//! Response rate limiting: whoever forges the source of queries must not have this server flood it.
//!
//! Answers to one network, about one zone and of one sort, share a bucket of tokens. When it is empty
//! most answers are left out, and of each few one goes out cut (TC), so that a client that is really
//! there comes back by TCP, which nobody forges. A fixed table, no lock: each thread has one.

use alloc::boxed::Box;
use alloc::vec;
use core::hash::{BuildHasher, Hash, Hasher};
use core::net::IpAddr;

/// What the answer is. A flood of one sort does not keep the others from being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sort {
    /// Records.
    Found,
    /// Name servers to ask.
    Referral,
    /// No records of this type.
    Empty,
    /// No such name.
    Absent,
    /// A refusal or an error.
    Error,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is sent.
    Send,
    /// It is sent without what was asked for, and cut.
    Slip,
    /// It is left out.
    Drop,
}

/// How much is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Answers a second to one network, about one zone, of one sort; as many may come at once. Zero: no
    /// limit.
    pub per_second: u32,
    /// Of the answers beyond it one in so many is cut, and the others are left out. Zero: none is cut.
    pub slip: u32,
}

/// Buckets of the same few hash bits, of which the fullest makes room.
const WAYS: usize = 4;
/// So many networks can be limited at once: an attack on more has no single victim.
const SETS: usize = 1 << 14;
/// Of a token.
const PARTS: u64 = 1000;

/// The buckets of one thread.
#[derive(Debug)]
pub struct Limiter<S> {
    rate: Rate,
    hasher: S,
    buckets: Box<[[Bucket; WAYS]]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Whose it is; zero: nobody's.
    tag: u32,
    /// Thousandths of answers that are left.
    parts: u32,
    /// When that was, milliseconds on a circle.
    at_ms: u32,
    /// Answers beyond the limit since it was full.
    beyond: u32,
}

impl<S: BuildHasher> Limiter<S> {
    /// Every bucket full. `hasher` must be keyed with something that nobody knows, or buckets could be
    /// aimed at.
    #[must_use]
    pub fn new(rate: Rate, hasher: S) -> Self {
        let sets = if rate.per_second == 0 { 0 } else { SETS };
        Self { rate, hasher, buckets: vec![[Bucket::default(); WAYS]; sets].into() }
    }

    /// What becomes of an answer to `client` about the zone whose key is `zone`, at `now_ms` on a clock
    /// that only goes forward.
    pub fn judge(&mut self, client: IpAddr, zone: &[u8], sort: Sort, now_ms: u64) -> Outcome {
        if self.buckets.is_empty() {
            return Outcome::Send;
        }
        let mut hasher = self.hasher.build_hasher();
        network(client).hash(&mut hasher);
        zone.hash(&mut hasher);
        sort.hash(&mut hasher);
        let hash = hasher.finish();
        let tag = ((hash >> 32) as u32).max(1);
        let Rate { per_second, slip } = self.rate;
        let (full, now) = (u64::from(per_second) * PARTS, now_ms as u32);
        let set = &mut self.buckets[hash as usize % SETS];
        let parts = |bucket: &Bucket| {
            // One token a second for each in `per_second`: so many parts a millisecond.
            let since = u64::from(now.wrapping_sub(bucket.at_ms));
            (u64::from(bucket.parts) + since.min(PARTS) * u64::from(per_second)).min(full)
        };
        let place = set.iter().position(|bucket| bucket.tag == tag).unwrap_or_else(|| {
            let fullest =
                (0..WAYS).max_by_key(|&way| if set[way].tag == 0 { u64::MAX } else { parts(&set[way]) });
            let fullest = fullest.unwrap_or(0);
            set[fullest] = Bucket { tag, parts: full as u32, at_ms: now, beyond: 0 };
            fullest
        });
        let bucket = &mut set[place];
        let left = parts(bucket);
        bucket.at_ms = now;
        if let Some(rest) = left.checked_sub(PARTS) {
            bucket.parts = rest as u32;
            if rest + PARTS >= full {
                bucket.beyond = 0;
            }
            return Outcome::Send;
        }
        bucket.parts = left as u32;
        bucket.beyond = bucket.beyond.wrapping_add(1);
        if slip > 0 && bucket.beyond.is_multiple_of(slip) { Outcome::Slip } else { Outcome::Drop }
    }
}

/// Who is flooded together: a forger can choose any address of a victim's network.
fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        // /24, and no IPv6 network.
        IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
        // /56.
        IpAddr::V6(address) => (address.to_bits() >> 72) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::hash::BuildHasherDefault;
    use std::hash::DefaultHasher;

    const RATE: Rate = Rate { per_second: 10, slip: 2 };

    fn limiter(rate: Rate) -> Limiter<BuildHasherDefault<DefaultHasher>> {
        Limiter::new(rate, BuildHasherDefault::default())
    }

    fn client(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn sent(outcomes: &[Outcome]) -> [usize; 3] {
        [Outcome::Send, Outcome::Slip, Outcome::Drop]
            .map(|outcome| outcomes.iter().filter(|other| **other == outcome).count())
    }

    #[test]
    fn beyond_the_rate_each_second_answer_is_cut_and_the_others_left_out() {
        let mut limiter = limiter(RATE);
        let mut flood = |from: u64, count: u64| -> Vec<_> {
            // A network is limited together, whichever of its addresses is named.
            (0..count)
                .map(|n| limiter.judge(client(&format!("192.0.2.{}", n % 200)), b"\x01z", Sort::Found, from))
                .collect()
        };
        assert_eq!(sent(&flood(5_000, 30)), [10, 10, 10], "a second's worth at once");
        assert_eq!(sent(&flood(5_500, 30)), [5, 12, 13], "half a second later half as much");
        assert_eq!(
            sent(&flood(99_000, 30))[0],
            10,
            "no more than a second's worth, however long it was quiet"
        );
    }

    #[test]
    fn others_are_not_limited_with_it() {
        let mut limiter = limiter(RATE);
        for _ in 0..100 {
            limiter.judge(client("192.0.2.1"), b"\x01z", Sort::Found, 7);
        }
        for (who, zone, sort) in [
            ("198.51.100.1", b"\x01z", Sort::Found),
            ("192.0.3.1", b"\x01z", Sort::Found),
            ("2001:db8::1", b"\x01z", Sort::Found),
            ("192.0.2.1", b"\x01y", Sort::Found),
            ("192.0.2.1", b"\x01z", Sort::Absent),
        ] {
            assert_eq!(limiter.judge(client(who), zone, sort, 7), Outcome::Send, "{who}");
        }
        assert_ne!(
            limiter.judge(client("::ffff:192.0.2.9"), b"\x01z", Sort::Found, 7),
            Outcome::Send,
            "it is the same"
        );
    }

    #[test]
    fn a_flood_from_everywhere_frees_nobody_who_is_limited() {
        let mut limiter = limiter(RATE);
        for _ in 0..100 {
            limiter.judge(client("192.0.2.1"), b"\x01z", Sort::Found, 7);
        }
        for n in 0..1_000_000_u32 {
            limiter.judge(IpAddr::from((0x2000_0000 + (n << 8)).to_be_bytes()), b"\x01z", Sort::Found, 7);
        }
        assert_ne!(limiter.judge(client("192.0.2.1"), b"\x01z", Sort::Found, 7), Outcome::Send);
    }

    #[test]
    fn the_clock_goes_round() {
        let mut limiter = limiter(RATE);
        let end = u64::from(u32::MAX);
        for _ in 0..20 {
            limiter.judge(client("192.0.2.1"), b"", Sort::Found, end - 100);
        }
        assert_eq!(limiter.judge(client("192.0.2.1"), b"", Sort::Found, end + 900), Outcome::Send);
    }

    #[test]
    fn without_a_rate_nothing_is_limited() {
        let mut limiter = limiter(Rate { per_second: 0, slip: 2 });
        assert!((0..1000).all(|_| limiter.judge(client("192.0.2.1"), b"", Sort::Error, 1) == Outcome::Send));
    }
}
