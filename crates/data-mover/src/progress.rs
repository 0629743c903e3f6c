//! What a person wants to know of a flow: how fast, and as of when.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Rates are smoothed over about this time.
const SMOOTHING: Duration = Duration::from_secs(10);

/// Instants kept to say as of when the peer is up to date. At ten a second they span a minute;
/// when the peer is further behind, the list is thinned and the answer gets coarser.
const SAMPLES_MAX: usize = 600;

/// Samples closer together than this say nothing new.
const SAMPLE_INTERVAL_MS: i64 = 100;

/// Objects and bytes counted since the flow started, and their rates.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    objects_rate: f64,
    bytes_rate: f64,
    at: Instant,
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { objects: 0, bytes: 0, objects_rate: 0.0, bytes_rate: 0.0, at: now }
    }

    /// Counts what moved just now.
    pub(crate) fn add(&mut self, now: Instant, objects: u64, bytes: u64) {
        self.decay(now);
        self.objects += objects;
        self.bytes += bytes;
        let time = SMOOTHING.as_secs_f64();
        self.objects_rate += count(objects) / time;
        self.bytes_rate += count(bytes) / time;
    }

    /// Objects and bytes per second: an exponential average, so that a burst fades.
    pub(crate) fn rates(&self, now: Instant) -> (f64, f64) {
        let mut at_now = self.clone();
        at_now.decay(now);
        (at_now.objects_rate, at_now.bytes_rate)
    }

    fn decay(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at);
        let factor = (-elapsed.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
        self.objects_rate *= factor;
        self.bytes_rate *= factor;
        self.at = now;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn count(number: u64) -> f64 {
    number as f64
}

/// The instant before which every change of ours is durable on the peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Horizon {
    /// (Unix ms, head of our feed then), oldest first.
    samples: VecDeque<(i64, u64)>,
    as_of: i64,
}

impl Horizon {
    /// At `now` our feed ended at `head`.
    pub(crate) fn sample(&mut self, now_unix_ms: i64, head: u64) {
        match self.samples.back() {
            Some((at, _)) if now_unix_ms - at < SAMPLE_INTERVAL_MS => return,
            Some(_) | None => self.samples.push_back((now_unix_ms, head)),
        }
        if self.samples.len() > SAMPLES_MAX {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// The peer has everything through `sequence`.
    pub(crate) fn acknowledged(&mut self, sequence: u64) {
        while let Some((at, head)) = self.samples.front()
            && *head <= sequence
        {
            self.as_of = self.as_of.max(*at);
            self.samples.pop_front();
        }
    }

    /// At `now` the peer had everything.
    pub(crate) fn complete(&mut self, now_unix_ms: i64) {
        self.samples.clear();
        self.as_of = self.as_of.max(now_unix_ms);
    }

    /// Unix ms; 0 when never.
    pub(crate) fn as_of(&self) -> i64 {
        self.as_of
    }

    /// The feed began a new life, or the peer did: what was known counts no more.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_shows_its_rate_and_an_ended_one_fades() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for second in 1..=60 {
            meter.add(start + Duration::from_secs(second), 100, 1_000);
        }
        let (objects, bytes) = meter.rates(start + Duration::from_secs(60));
        assert!((90.0..115.0).contains(&objects), "{objects}");
        assert!((900.0..1150.0).contains(&bytes), "{bytes}");
        assert!(meter.rates(start + Duration::from_secs(160)).0 < 0.1);
        assert_eq!(meter.objects, 6_000);
    }

    #[test]
    fn up_to_date_as_of_is_when_the_acknowledged_head_was_the_head() {
        let mut horizon = Horizon::default();
        assert_eq!(horizon.as_of(), 0);
        horizon.sample(1_000, 5);
        horizon.sample(2_000, 9);
        horizon.acknowledged(7);
        assert_eq!(horizon.as_of(), 1_000);
        horizon.acknowledged(9);
        assert_eq!(horizon.as_of(), 2_000);
        // An idle flow advances with time.
        horizon.sample(3_000, 9);
        horizon.acknowledged(9);
        assert_eq!(horizon.as_of(), 3_000);
    }

    #[test]
    fn a_peer_far_behind_costs_bounded_memory() {
        let mut horizon = Horizon::default();
        for second in 0..10_000_i64 {
            horizon.sample(second * 1_000, second.unsigned_abs());
        }
        assert!(horizon.samples.len() <= SAMPLES_MAX);
        horizon.acknowledged(0);
        assert_eq!(horizon.as_of(), 0);
    }
}
