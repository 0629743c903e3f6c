//! Zones that are signed (RFC 4033, 4034, 4035).
//!
//! A [`key`] is published by each zone, [`sign`] makes the signatures in the form that `canonical`
//! gives (`seal`), over the records and the `chain` of the names, or of their hashes (`hash`), from which `proof`
//! picks what an answer has to prove. Of a zone that was signed before, `change` signs what is different. A zone that somebody else has signed is [`taken`] as it is. [`renewal`] says under which serial a zone is signed again, [`roll`] what becomes of keys.

pub(super) mod canonical;
mod chain;
mod change;
mod hash;
pub mod key;
pub(crate) mod proof;
pub mod renewal;
pub mod roll;
mod seal;
pub mod sign;
pub mod taken;

use super::zone::Serial;

const DAY: u32 = 86_400;

/// Validators' clocks may be behind by so many seconds.
const CLOCKS_BEHIND: u32 = 3_600;

/// Seconds that a zone's keys, and the digests of them above it, may be kept. They change by a roll
/// only, which has to wait for so long; for a validator five minutes are as good as a day.
const KEY_TTL: u32 = 300;

/// Seventeen years: what RFC 1982 can still compare.
const MARGIN_MAX: u32 = i32::MAX as u32 / 4;

/// Signatures of a zone of more names end in so many parts, and so do those of many zones: they are
/// never all renewed at once.
const PARTS: u32 = 64;

/// Zones of up to so many names are renewed whole: signing takes some 30 us a name.
const WHOLE_NAMES_MAX: usize = 1_000;

/// From what is denied that there are a name or its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denial {
    /// The names themselves (RFC 4034 section 4): the least to ask for and to answer, and anybody can list
    /// the zone.
    #[default]
    Nsec,
    /// Their hashes (RFC 5155): who would list the zone has to guess its names.
    Nsec3,
}

/// How long signatures last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Seconds from the signing until a signature is renewed, at most; at least three quarters of it.
    pub period: u32,
    /// Seconds that a signature is valid after that.
    pub margin: u32,
}

impl Lifetime {
    /// For zones whose SOA EXPIRE is `expire`: a name server that follows and has lost both systems
    /// ends to answer before the signatures that it has do (RFC 6781 section 4.4.2.1), with a day to
    /// spare for TTLs and for who has to be called. Within four weeks an old answer is worth little to
    /// who replays it: it leads to where a name was.
    #[must_use]
    pub fn of_expire(expire: u32) -> Self {
        Self { period: 28 * DAY, margin: expire.saturating_add(DAY).min(MARGIN_MAX) }
    }
}

/// The times of signatures that are made now: seconds since 1970, on the circle of RFC 1982.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    now: u32,
    lifetime: Lifetime,
    key_ttl: u32,
}

impl Times {
    /// Seconds after which no name server that follows and has heard nothing answers any more, nor any
    /// resolver from what it said.
    #[must_use]
    pub fn margin(self) -> u32 {
        self.lifetime.margin
    }

    /// Those of `now`.
    #[must_use]
    pub fn at(now: u32, lifetime: Lifetime) -> Self {
        Self { now, lifetime, key_ttl: KEY_TTL }
    }

    /// Those of a zone whose serials are few: its signatures last six times as long before they are
    /// renewed.
    #[must_use]
    pub fn seldom(self) -> Self {
        let Lifetime { period, margin } = self.lifetime;
        Self { lifetime: Lifetime { period: period.saturating_mul(6).min(MARGIN_MAX), margin }, ..self }
    }

    fn start(self) -> u32 {
        self.now.wrapping_sub(CLOCKS_BEHIND)
    }

    /// When a signature of this part ends.
    fn end(self, part: u32) -> u32 {
        let Lifetime { period, margin } = self.lifetime;
        let earlier = self.step() * part;
        self.now.wrapping_add(period).wrapping_add(margin).wrapping_sub(earlier)
    }

    /// Seconds until what ends at `expires` is due.
    fn due_in(self, expires: u32) -> u32 {
        if self.is_due(expires) {
            0
        } else {
            expires.wrapping_sub(self.lifetime.margin).wrapping_sub(self.now)
        }
    }

    /// Seconds between two parts.
    fn step(self) -> u32 {
        self.lifetime.period / 4 / PARTS
    }

    /// Of which part a signature is.
    fn part(self, origin: &[u8], owner: &[u8], names: usize) -> u32 {
        let name = if names > WHOLE_NAMES_MAX { owner } else { origin };
        // FNV-1a: where it falls does not matter, only that it spreads and stays.
        let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        name.iter().fold(0x811c_9dc5, fold) % PARTS
    }

    /// Whether what ends at `expires` is renewed with those that are due: a part at a time.
    fn is_renewed(self, expires: u32) -> bool {
        let before = self.now.wrapping_add(self.lifetime.margin).wrapping_add(self.step());
        !Serial(expires).is_newer_than(Serial(before))
    }

    /// Whether signatures of which the first ends at `expires` are due.
    fn is_due(self, expires: u32) -> bool {
        !Serial(expires).is_newer_than(Serial(self.now.wrapping_add(self.lifetime.margin)))
    }
}
