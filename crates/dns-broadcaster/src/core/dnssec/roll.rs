//! From one key to the next (RFC 6781 section 4.1): the new one is published, and only when everybody
//! has seen it does it sign; the old one stays published until nobody holds what it signed.
//!
//! Each step is an operator's, for between them the zones above need the DS of the new key, and one of
//! them is somebody else's. How long a step takes is the time after which no name server that follows
//! answers from what was before it: with that zone goes its key set.

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Every zone is signed with it.
    Active,
    /// It is published, so that validators have it before it signs.
    Next,
    /// It is published, while validators may hold what it signed.
    Retired,
}

/// A step of a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new key is made and published.
    Publish,
    /// It signs, and the one before it is retired.
    Activate,
    /// The retired one goes.
    Withdraw,
}

/// A step would break what somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "name servers and resolvers may still hold what was before the last step; try again in {seconds} s (`--at-once` does it now, and what they hold will not validate)"
)]
pub struct TooEarly {
    /// Until it is time.
    pub seconds: u64,
}

/// The step that is next, with keys at these stages since these times, Unix seconds, when a step takes
/// `wait` seconds.
///
/// # Errors
/// It is too early for it.
pub fn next(keys: impl Iterator<Item = (Stage, u64)>, now: u64, wait: u64) -> Result<Step, TooEarly> {
    let under_way = keys.filter_map(|(stage, since)| match stage {
        Stage::Active => None,
        Stage::Next => Some((Step::Activate, since)),
        Stage::Retired => Some((Step::Withdraw, since)),
    });
    // The retired key goes before the next one signs.
    let Some((step, since)) = under_way.max_by_key(|(step, _)| *step == Step::Withdraw) else {
        return Ok(Step::Publish);
    };
    match since.saturating_add(wait).saturating_sub(now) {
        0 => Ok(step),
        seconds => Err(TooEarly { seconds }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_seen_before_it_signs_and_stays_while_it_is_needed() {
        let next = |keys: &[(Stage, u64)], now| next(keys.iter().copied(), now, 100);
        let active = (Stage::Active, 0);
        assert_eq!(next(&[active], 5), Ok(Step::Publish));
        assert_eq!(next(&[active, (Stage::Next, 10)], 109), Err(TooEarly { seconds: 1 }));
        assert_eq!(next(&[active, (Stage::Next, 10)], 110), Ok(Step::Activate));
        assert_eq!(next(&[active, (Stage::Retired, 10)], 60), Err(TooEarly { seconds: 50 }));
        assert_eq!(next(&[active, (Stage::Retired, 10)], 110), Ok(Step::Withdraw));
    }
}
