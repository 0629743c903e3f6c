//! Says in time that a certificate ends.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::certificate::day;
use crate::core::{Certificate, Fingerprint, State, Validity, WallTime};
use crate::keeper::Keeper;
use crate::read;

/// How often certificates are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// A warning is repeated after this time: seen each day, without drowning the rest of the log.
const REPEAT_INTERVAL_MS: u64 = 24 * 60 * 60 * 1000;

/// Looks at every certificate each minute, for ever.
pub(crate) async fn warn_each_minute(keeper: Keeper) {
    let mut warned = BTreeMap::new();
    let mut ticks = tokio::time::interval(CHECK_INTERVAL);
    loop {
        ticks.tick().await;
        let now = read::now();
        for Notice { certificate, validity, own } in due(&keeper.state(), &mut warned, now) {
            let (until, domain) = (day(certificate.not_after), &certificate.domain);
            let fingerprint = &certificate.fingerprint;
            if own {
                tracing::warn!(%fingerprint, %validity, until, "this system's own certificate ends; renew it and upload it to the other systems");
            } else {
                tracing::warn!(%fingerprint, domain, %validity, until, "a trusted certificate ends; renew it on its system and upload it here, or delete it");
            }
        }
    }
}

struct Notice {
    certificate: Certificate,
    validity: Validity,
    own: bool,
}

/// The certificates to warn of now. `warned` holds when that was last done, and what was said.
fn due(
    state: &State,
    warned: &mut BTreeMap<Fingerprint, (Validity, WallTime)>,
    now: WallTime,
) -> Vec<Notice> {
    let own = state.own.iter().map(|own| (&own.certificate, true));
    let trusted = state.trusted.values().map(|trusted| (&trusted.certificate, false));
    let ending: Vec<Notice> = own
        .chain(trusted)
        .map(|(certificate, own)| Notice {
            certificate: certificate.clone(),
            validity: certificate.validity(now),
            own,
        })
        .filter(|notice| matches!(notice.validity, Validity::ExpiresSoon | Validity::Expired))
        .collect();
    warned
        .retain(|fingerprint, _| ending.iter().any(|notice| notice.certificate.fingerprint == *fingerprint));
    let mut fresh = |notice: &Notice| {
        let said = warned.get(&notice.certificate.fingerprint).copied();
        let repeated = said.is_some_and(|(validity, at)| {
            validity == notice.validity && now.0.saturating_sub(at.0) < REPEAT_INTERVAL_MS
        });
        if !repeated {
            warned.insert(notice.certificate.fingerprint.clone(), (notice.validity, now));
        }
        !repeated
    };
    ending.into_iter().filter(|notice| fresh(notice)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Change, Trusted};
    use switchback_model::SystemId;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn an_ending_certificate_is_named_once_a_day_and_at_once_when_it_has_ended() {
        let (made, domain) = (WallTime(0), "east.example.com");
        let incarnation = crate::signer::new_incarnation().unwrap();
        let own = crate::signer::make(SystemId([1; 16]), incarnation, domain, made).unwrap();
        let west = crate::signer::make(SystemId([2; 16]), incarnation, "west.example.com", made).unwrap();
        let certificate = Certificate { not_after: WallTime(10 * DAY), ..west.certificate };
        let mut state = State::recover([Change::PutOwn(own)]);
        state.apply(Change::PutTrusted(Trusted { certificate, uploaded: made }));
        let mut warned = BTreeMap::new();
        let mut at = |time: u64| -> Vec<(String, Validity, bool)> {
            let notices = due(&state, &mut warned, WallTime(time));
            notices.into_iter().map(|due| (due.certificate.domain, due.validity, due.own)).collect()
        };
        let soon = [("west.example.com".into(), Validity::ExpiresSoon, false)];
        assert_eq!(at(DAY), soon);
        assert_eq!(at(DAY + 60_000), [], "said already");
        assert_eq!(at(2 * DAY), soon, "a day later again");
        assert_eq!(at(10 * DAY + 1), [("west.example.com".into(), Validity::Expired, false)]);
        let both = at(800 * DAY);
        assert!(both.contains(&("east.example.com".into(), Validity::ExpiresSoon, true)), "{both:?}");
    }
}
