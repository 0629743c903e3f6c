//! When a backlog will be gone, with an interval, from how it moved lately.
//!
//! A backlog is looked at once a second. That it shrank by `net` a second, on the average of a
//! window, says when it is gone; how much single seconds differed from that says how sure this is.
//! What the next T seconds bring lies around T times `net` with a variance of T times that of one second,
//! and the average of a window of W seconds is itself off by a variance of 1/W of it. The bounds are
//! the times T at which the backlog lies just at the edge of what may have been moved by then:
//!
//! ```text
//! (backlog - net T)² = z² variance (T + T²/W)
//! ```
//!
//! Where one second says little of the next, the bounds hold nine times in ten; where clients write in
//! bursts of several seconds, they are wider, and hold in more than eight of ten after a minute.
//!
//! New writes are part of `net`: it is what was moved less what came. So one that does not grow
//! smaller is not caught up with, at the present rates.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Between two looks that are kept.
const LOOK: Duration = Duration::from_secs(1);

/// Looks that are kept: what was more than a minute ago says little of the next minutes.
const LOOKS_MAX: usize = 61;

/// With fewer differences than this, nothing can be said of how far they vary.
const DIFFERENCES_MIN: usize = 5;

/// Bursts of clients, and acknowledgements of batches, last longer than one look. So seconds are also
/// judged in runs of this part of the window: what lasts no longer is seen to vary.
const RUNS: usize = 4;

/// Nine in ten of a normal distribution lie within so many standard deviations.
const CERTAINTY: f64 = 1.645;

/// A backlog of no more than so many seconds of what is moved is being kept up with, whether it grew a
/// little just now or not.
const IN_BALANCE_SECONDS: f64 = 5.0;

/// A thousandth of a second is the error of the arithmetic, not another second.
const ROUNDING: f64 = 0.001;

/// What waits, or what was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Objects.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// How objects, or bytes, moved in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flux {
    /// What is left.
    pub left: f64,
    /// Moved a second.
    pub moved: f64,
    /// By how much the backlog shrank a second; negative when it grew.
    pub net: f64,
    /// The variance of that in one second, and of its sum over T seconds T times as much.
    pub variance: f64,
}

/// How a backlog moved in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Length of the window; 0: nothing is known yet.
    pub seconds: f64,
    /// In objects.
    pub objects: Flux,
    /// In bytes.
    pub bytes: Flux,
}

/// When it will be gone, in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eta {
    /// At the average rates of the window.
    pub seconds: u64,
    /// Nine times in ten it takes at least `low` and at most `high`, if the rates go on as they were.
    pub low: u64,
    /// None: the rates vary so much that no end is certain.
    pub high: Option<u64>,
}

/// What can be said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outlook {
    /// Nothing yet: it was not watched for long enough, or nothing moves.
    Unknown,
    /// It will be gone.
    Ends(Eta),
    /// It grows at least as fast as it is moved.
    FallsBehind,
}

impl Flux {
    fn outlook(&self, window: f64) -> Outlook {
        if self.left <= 0.0 {
            return Outlook::Ends(Eta { high: Some(0), ..Eta::default() });
        }
        if window <= 0.0 || self.moved <= 0.0 {
            return Outlook::Unknown;
        }
        let in_balance = self.left <= self.moved * IN_BALANCE_SECONDS;
        let net = if in_balance { self.net.max(self.moved) } else { self.net };
        if net <= 0.0 {
            return Outlook::FallsBehind;
        }
        // z² variance, and the two roots of the equation above, as a quadratic in T.
        let spread = CERTAINTY * CERTAINTY * self.variance.max(0.0);
        let a = net * net - spread / window;
        let b = 2.0 * net * self.left + spread;
        let c = self.left * self.left;
        let root = sqrt((b * b - 4.0 * a * c).max(0.0));
        let low = 2.0 * c / (b + root);
        let high = if a > 0.0 { Some(up((b + root) / (2.0 * a))) } else { None };
        // However the arithmetic rounds, the average lies between the bounds.
        let seconds = up(self.left / net);
        let (low, high) = (down(low).min(seconds), high.map(|high| high.max(seconds)));
        Outlook::Ends(Eta { seconds, low, high })
    }

    /// The flow of several together; they vary each by itself.
    fn join(self, other: Self) -> Self {
        Self {
            left: self.left + other.left,
            moved: self.moved + other.moved,
            net: self.net + other.net,
            variance: self.variance + other.variance,
        }
    }

    /// Written a second while the rest was moved.
    #[must_use]
    pub fn added(&self) -> f64 {
        (self.moved - self.net).max(0.0)
    }
}

impl Pace {
    /// When all of it is gone. What does not move in objects may in bytes, one large body for example.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        match (self.objects.outlook(self.seconds), self.bytes.outlook(self.seconds)) {
            (Outlook::FallsBehind, _) | (_, Outlook::FallsBehind) => Outlook::FallsBehind,
            (Outlook::Unknown, bytes) if self.bytes.left > 0.0 => bytes,
            (objects, Outlook::Unknown) if self.objects.left > 0.0 => objects,
            (Outlook::Ends(objects), Outlook::Ends(bytes)) => {
                Outlook::Ends(if objects.seconds > bytes.seconds { objects } else { bytes })
            }
            (Outlook::Unknown, _) | (_, Outlook::Unknown) => Outlook::Unknown,
        }
    }

    /// The same if nothing new were written.
    #[must_use]
    pub fn without_new_writes(&self) -> Self {
        let alone = |flux: Flux| Flux { net: flux.moved, ..flux };
        Self { objects: alone(self.objects), bytes: alone(self.bytes), ..*self }
    }

    /// Several flows of one line, together: what one leaves the others use.
    #[must_use]
    pub fn join(paces: impl IntoIterator<Item = Self>) -> Self {
        let busy = paces.into_iter().filter(|pace| pace.objects.left > 0.0 || pace.bytes.left > 0.0);
        let joined = busy.fold(None, |joined: Option<Self>, pace| {
            Some(joined.map_or(pace, |joined| Self {
                seconds: joined.seconds.min(pace.seconds),
                objects: joined.objects.join(pace.objects),
                bytes: joined.bytes.join(pace.bytes),
            }))
        });
        joined.unwrap_or_default()
    }
}

/// One look at a backlog.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Duration,
    left: Backlog,
    moved: Backlog,
}

/// Watches one backlog, from when it began to wait until it is gone.
#[derive(Clone, Debug, Default)]
pub struct Gauge {
    looks: VecDeque<Look>,
    left: Backlog,
}

impl Gauge {
    /// At `at`, of any clock that does not go back, `left` was left and `moved` moved since ever.
    pub fn look(&mut self, at: Duration, left: Backlog, moved: Backlog) {
        self.left = left;
        if left == Backlog::default() {
            // What comes next is another backlog; how fast a few writes pass by says nothing of it.
            return self.looks.clear();
        }
        if self.looks.back().is_some_and(|last| at.saturating_sub(last.at) < LOOK) {
            return;
        }
        if self.looks.len() == LOOKS_MAX {
            self.looks.pop_front();
        }
        self.looks.push_back(Look { at, left, moved });
    }

    /// What was before says nothing of what comes: another rate is in force, or nothing flowed.
    pub fn forget(&mut self) {
        self.looks.clear();
    }

    /// How it moved.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let skipped = self.before_the_peak();
        let (Some(first), Some(last)) = (self.looks.get(skipped), self.looks.back()) else {
            return self.only_left();
        };
        let seconds = last.at.saturating_sub(first.at).as_secs_f64();
        if self.looks.len() - skipped <= DIFFERENCES_MIN || seconds <= 0.0 {
            return self.only_left();
        }
        let flux = |of: fn(&Backlog) -> u64| self.flux(skipped, seconds, of);
        Pace { seconds, objects: flux(|backlog| backlog.objects), bytes: flux(|backlog| backlog.bytes) }
    }

    fn only_left(&self) -> Pace {
        let left = |left| Flux { left: count(left), ..Flux::default() };
        Pace { seconds: 0.0, objects: left(self.left.objects), bytes: left(self.left.bytes) }
    }

    /// Looks from before the backlog was largest: a burst that is over says nothing of what comes. None when
    /// that was just now.
    fn before_the_peak(&self) -> usize {
        let size = |(_, look): &(usize, &Look)| (look.left.bytes, look.left.objects);
        let peak = self.looks.iter().enumerate().max_by_key(size).map_or(0, |(place, _)| place);
        if self.looks.len() > peak + DIFFERENCES_MIN { peak } else { 0 }
    }

    fn flux(&self, skipped: usize, seconds: f64, of: fn(&Backlog) -> u64) -> Flux {
        let at = |look: &Look| (look.at.as_secs_f64(), count(of(&look.left)), count(of(&look.moved)));
        let looks = self.looks.iter().skip(skipped).map(at);
        let pairs = || looks.clone().zip(looks.clone().skip(1));
        let (shrunk, moved) = pairs().fold((0.0, 0.0), |(shrunk, moved), (before, after)| {
            (shrunk + before.1 - after.1, moved + (after.2 - before.2).max(0.0))
        });
        let net = shrunk / seconds;
        // How far each second was off the average.
        let off: Vec<f64> =
            pairs().map(|(before, after)| before.1 - after.1 - net * (after.0 - before.0)).collect();
        let look_seconds = seconds / count_of(off.len());
        let variance = f64::max(variance(&off, 1), variance(&off, off.len() / RUNS)) / look_seconds;
        Flux { left: count(of(&self.left)), moved: moved / seconds, net, variance }
    }
}

/// Of one of these, seen in all runs of `length` of them, and taken larger for how few they are: for the
/// average that was taken out, to which they lie closer than others would, and for what is not known of
/// the variance itself (Student's distribution, its first terms).
fn variance(off: &[f64], length: usize) -> f64 {
    let length = length.max(1);
    let runs = off.windows(length).map(|run| run.iter().sum::<f64>());
    let squares: f64 = runs.clone().map(|run| run * run).sum();
    let apart = count_of(off.len()) / count_of(length);
    let freedom = apart - 1.0;
    let student = 1.0 + (CERTAINTY * CERTAINTY + 1.0) / (4.0 * freedom);
    squares / count_of(runs.count() * length) * apart / freedom * student * student
}

/// Rounded up; what does not fit is the largest number.
fn up(seconds: f64) -> u64 {
    let whole = down(seconds);
    if seconds - count(whole) > ROUNDING { whole.saturating_add(1) } else { whole }
}

/// Rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float's cast saturates, and is 0 for what is no number"
)]
fn down(seconds: f64) -> u64 {
    (seconds + ROUNDING) as u64
}

/// The square root, which `core` does not have: Newton's method from above goes down to it.
fn sqrt(number: f64) -> f64 {
    if number <= 0.0 || !number.is_finite() {
        return number.max(0.0);
    }
    // Half of the exponent: within a factor of two.
    let mut root = f64::from_bits((number.to_bits() >> 1) + (1023 << 51));
    for _ in 0..6 {
        root = 0.5 * (root + number / root);
    }
    root
}

#[expect(clippy::cast_precision_loss, reason = "an estimate for people; 52 bits are plenty")]
fn count(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "a handful of looks")]
fn count_of(number: usize) -> f64 {
    number as f64
}
