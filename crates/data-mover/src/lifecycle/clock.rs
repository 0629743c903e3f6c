//! Whether the wall clock may be believed by who deletes what is old.
//!
//! A clock that is ahead makes everything look old, and what is deleted by it is lost on both systems.
//! Versions do not tell: what is written while the clock is ahead is dated ahead with it. So the clock is
//! compared with what it cannot move: with the machine's steady clock while the service runs; with the last
//! time that was believed, when it starts; and with the wall clock of the other system, of every link in
//! contact. It is doubted when it ran ahead of any of them, and believed again
//!
//! - as soon as it is back, or another system in contact shows the same time, or
//! - after it has gone on for a day without another jump, since nothing else may ever tell: a system that
//!   was down for long, and has no other to ask, would expire nothing any more. Meanwhile the operator
//!   reads why nothing expires.
//!
//! While another system in contact shows an earlier time it is not believed, however long that lasts.
//! A clock that is behind is no danger: what it says is over is over.

use std::time::Duration;

/// How far it may be ahead: versions that are further ahead are quarantined by the other system.
const AHEAD_MAX_MS: u64 = 60_000;

/// How far it may have gone on since the time that was noted before a start, which the note may be old by as
/// well: as a restart takes, and little beside the days that rules count.
const PAUSE_MAX_MS: u64 = 60 * 60 * 1000;

/// After so long without another jump it is believed without a witness.
const TRUST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of the clock.
#[derive(Debug)]
pub(super) struct Watch {
    /// What it may have shown at most, at this time of the steady clock.
    allowed_unix_ms: u64,
    at: Duration,
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// Since its last jump, by the steady clock.
    since: Duration,
    /// What it may have shown without the jump, at this time of the steady clock.
    allowed_unix_ms: u64,
    at: Duration,
}

/// Why the clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubted {
    /// It jumped ahead.
    Jumped,
    /// A system in contact shows an earlier time.
    AheadOfPeer,
}

impl Doubted {
    /// For the operator.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Jumped => {
                "the clock ran ahead of the time that is known; nothing expires until the other system shows the same time, or a day has passed: compare it with a time server"
            }
            Self::AheadOfPeer => {
                "the clock is ahead of the other system's by more than a minute; nothing expires until they agree: compare both with a time server"
            }
        }
    }
}

impl Watch {
    /// Begins with the last time that is known from before, if there was any, at `now` of the steady clock.
    pub(super) fn new(known_unix_ms: Option<u64>, now: Duration) -> Self {
        let allowed = known_unix_ms.map_or(u64::MAX, |known| known.saturating_add(PAUSE_MAX_MS));
        Self { allowed_unix_ms: allowed, at: now, doubt: None }
    }

    /// The wall clock shows `unix_ms` at `now` of the steady clock, and the clocks of systems in contact
    /// show `peers`. Call it often: a jump is told from a pause by what the steady clock did since.
    pub(super) fn look(
        &mut self,
        unix_ms: u64,
        now: Duration,
        peers: impl IntoIterator<Item = u64>,
    ) -> Result<(), Doubted> {
        let passed = |at: Duration| ms(now.saturating_sub(at));
        let allowed_unix_ms = self.allowed_unix_ms.saturating_add(passed(self.at));
        let as_shown = unix_ms.saturating_add(AHEAD_MAX_MS);
        // Of a doubt that goes on: what the clock may have shown now.
        let mut doubt = self.doubt.take().map(|doubt| Doubt {
            allowed_unix_ms: doubt.allowed_unix_ms.saturating_add(passed(doubt.at)),
            at: now,
            ..doubt
        });
        // Many small steps ahead are no better than one: what is allowed follows the clock down only.
        self.allowed_unix_ms = allowed_unix_ms.min(as_shown);
        self.at = now;
        if unix_ms > allowed_unix_ms {
            self.allowed_unix_ms = as_shown;
            let allowed_unix_ms = doubt.map_or(allowed_unix_ms, |doubt| doubt.allowed_unix_ms);
            doubt = Some(Doubt { since: now, at: now, allowed_unix_ms });
        }
        let (mut is_ahead, mut is_confirmed) = (false, false);
        for peer in peers {
            is_ahead |= unix_ms > peer.saturating_add(AHEAD_MAX_MS);
            is_confirmed |= unix_ms.abs_diff(peer) <= AHEAD_MAX_MS;
        }
        if is_ahead {
            // The day begins when that system is not heard any more.
            let allowed_unix_ms = doubt.map_or(0, |doubt| doubt.allowed_unix_ms);
            self.doubt = Some(Doubt { since: now, at: now, allowed_unix_ms });
            return Err(Doubted::AheadOfPeer);
        }
        if is_confirmed {
            self.allowed_unix_ms = as_shown;
            return Ok(());
        }
        let Some(doubt) = doubt else { return Ok(()) };
        if unix_ms <= doubt.allowed_unix_ms {
            // The jump left nothing behind: what is allowed is what was before it.
            self.allowed_unix_ms = doubt.allowed_unix_ms.min(as_shown);
            return Ok(());
        }
        if passed(doubt.since) >= ms(TRUST_TIME) {
            return Ok(());
        }
        self.doubt = Some(doubt);
        Err(Doubted::Jumped)
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const START: u64 = 1_800_000_000_000;
    const NOBODY: [u64; 0] = [];

    /// What the clock should show after `time`.
    fn right(time: Duration) -> u64 {
        START + ms(time)
    }

    #[test]
    fn a_jump_is_doubted_until_it_is_undone_confirmed_or_a_day_old() {
        let jumped = |peers: &[u64]| {
            let mut watch = Watch::new(None, Duration::ZERO);
            assert_eq!(watch.look(right(Duration::ZERO), Duration::ZERO, NOBODY), Ok(()));
            let year = ms(365 * DAY);
            (watch.look(right(HOUR) + year, HOUR, peers.iter().copied()), watch, year)
        };
        let (doubted, mut watch, year) = jumped(&[]);
        assert_eq!(doubted, Err(Doubted::Jumped));
        assert_eq!(watch.look(right(2 * HOUR), 2 * HOUR, NOBODY), Ok(()), "it is back");
        let (_, mut watch, _) = jumped(&[]);
        let confirmed = watch.look(right(2 * HOUR) + year, 2 * HOUR, [right(2 * HOUR) + year - 5]);
        assert_eq!(confirmed, Ok(()));
        assert_eq!(watch.look(right(3 * HOUR) + year, 3 * HOUR, NOBODY), Ok(()), "for good");
        let (_, mut watch, _) = jumped(&[]);
        for hour in 2..25 {
            let doubted = watch.look(right(hour * HOUR) + year, hour * HOUR, NOBODY);
            assert_eq!(doubted, Err(Doubted::Jumped), "hour {hour}");
        }
        assert_eq!(watch.look(right(25 * HOUR) + year, 25 * HOUR, NOBODY), Ok(()));
        let (doubted, ..) = jumped(&[right(HOUR)]);
        assert_eq!(doubted, Err(Doubted::AheadOfPeer));
    }

    #[test]
    fn another_jump_begins_the_day_again() {
        let mut watch = Watch::new(None, Duration::ZERO);
        watch.look(right(Duration::ZERO), Duration::ZERO, NOBODY).unwrap();
        let ahead = |hours: u32, now: Duration| right(now) + ms(hours * HOUR);
        watch.look(ahead(48, HOUR), HOUR, NOBODY).unwrap_err();
        watch.look(ahead(96, 20 * HOUR), 20 * HOUR, NOBODY).unwrap_err();
        watch.look(ahead(96, 26 * HOUR), 26 * HOUR, NOBODY).unwrap_err();
        // Half the way back is not back.
        watch.look(ahead(48, 27 * HOUR), 27 * HOUR, NOBODY).unwrap_err();
        assert_eq!(watch.look(right(28 * HOUR), 28 * HOUR, NOBODY), Ok(()));
    }

    #[test]
    fn a_start_goes_on_from_the_last_time_that_is_known() {
        let known = Some(START);
        for (known, shown, believed) in [
            (known, START + ms(HOUR), true),
            (known, START + ms(HOUR) + 1, false),
            (known, 0, true),
            (None, START, true),
        ] {
            let mut watch = Watch::new(known, HOUR);
            assert_eq!(watch.look(shown, HOUR, NOBODY).is_ok(), believed, "{shown}");
        }
        let mut watch = Watch::new(known, HOUR);
        assert_eq!(
            watch.look(START + ms(30 * DAY), HOUR, [START + ms(30 * DAY)]),
            Ok(()),
            "it was down for long"
        );
    }

    #[test]
    fn a_clock_ahead_of_the_other_systems_is_never_believed_by_waiting() {
        let mut watch = Watch::new(None, Duration::ZERO);
        for day in 0..5 {
            let now = day * DAY;
            let doubted = watch.look(right(now) + ms(HOUR), now, [right(now)]);
            assert_eq!(doubted, Err(Doubted::AheadOfPeer));
        }
        assert_eq!(watch.look(right(5 * DAY), 5 * DAY, [right(5 * DAY)]), Ok(()));
        // One that is behind is.
        assert_eq!(watch.look(right(6 * DAY) - ms(HOUR), 6 * DAY, [right(6 * DAY)]), Ok(()));
    }

    proptest! {
        /// Whatever jumps ahead and back there are, large and small: without a witness, and within a day, the
        /// clock is never believed while it is ahead by more than a minute.
        #[test]
        fn what_is_believed_is_not_ahead(
            steps in proptest::collection::vec(
                (1u64..600, prop_oneof![-100_000i64..100_000, -3_000_000_000i64..3_000_000_000]),
                1..60,
            ),
        ) {
            let (mut watch, mut now) = (Watch::new(None, Duration::ZERO), Duration::ZERO);
            watch.look(START, now, NOBODY).unwrap();
            for (seconds, off) in steps {
                now += Duration::from_secs(seconds);
                let shown = right(now).saturating_add_signed(off);
                if watch.look(shown, now, NOBODY).is_ok() && now < TRUST_TIME {
                    prop_assert!(off <= i64::try_from(AHEAD_MAX_MS).unwrap(), "{off} at {now:?}");
                }
            }
        }
    }
}
