//! Who trusts whom: the certificate service's commands, on certificates as plain values, and what a
//! handshake makes of them, as the verifier of connections does.

use std::time::{Duration, UNIX_EPOCH};

use switchback_certificate::core::{
    Certificate, Change, Decision, Fingerprint, KeyStrength, Offered, Own, PrivateKey, State, Validity,
    WallTime, delete, renew, upload,
};
use switchback_kit::tls::{self, Trouble};
use switchback_model::{Incarnation, RequestId, SystemId};
use switchback_world::{random, time};

use crate::site::System;

/// A certificate counts from this long before it was made, for clocks that are behind.
const BACKDATED_MS: u64 = 60 * 60 * 1_000;

/// What a connection rests on: the two certificates that its ends showed, by system.
pub type Basis = [Certificate; 2];

/// The wall time where the caller is.
#[must_use]
pub fn now() -> WallTime {
    WallTime(time::unix_ms())
}

/// A random number that is not 0.
///
/// # Panics
/// The simulation gives none.
pub fn number() -> u64 {
    random::number().unwrap_or_else(|_| unreachable!("a simulation gives random numbers")).max(1)
}

fn request() -> RequestId {
    RequestId(format!("{:016x}", number()))
}

/// A new certificate of `system`, which counts for `life_ms`.
#[must_use]
pub fn make(system: System, id: SystemId, incarnation: Incarnation, life_ms: u64) -> Own {
    let mut fingerprint = [0; 32];
    for part in fingerprint.chunks_mut(8) {
        part.copy_from_slice(&number().to_be_bytes());
    }
    let now = now();
    let certificate = Certificate {
        fingerprint: Fingerprint(hex::encode(fingerprint)),
        der: Vec::new(),
        subject: system.domain(),
        domain: system.domain(),
        system_id: id,
        incarnation,
        not_before: WallTime(now.0.saturating_sub(BACKDATED_MS)),
        not_after: WallTime(now.0 + life_ms),
    };
    Own { certificate, key: PrivateKey(Vec::new()), made: now }
}

/// What `state` becomes when it trusts `certificate`.
///
/// # Errors
/// Why it does not.
pub fn uploaded(state: &State, certificate: &Certificate) -> Result<Vec<Change>, String> {
    let offered =
        Offered { is_authority: false, key: KeyStrength::Curve(256), certificate: Ok(certificate.clone()) };
    changes(upload(state, &request(), offered, now()))
}

/// What `state` becomes when it trusts `fingerprint` no more.
///
/// # Errors
/// Why it does not change.
pub fn withdrawn(state: &State, fingerprint: &Fingerprint) -> Result<Vec<Change>, String> {
    changes(delete(state, &request(), &fingerprint.0, now()))
}

/// What `state` becomes when `own` is the system's certificate.
///
/// # Errors
/// Why it does not change.
pub fn renewed(state: &State, new_incarnation: bool, own: Own) -> Result<Vec<Change>, String> {
    changes(renew(state, &request(), new_incarnation, own))
}

fn changes(decision: Result<Decision, switchback_certificate::core::Refusal>) -> Result<Vec<Change>, String> {
    decision.map(|decision| decision.changes).map_err(|refusal| refusal.to_string())
}

/// Why the system that knows `state` does not take `shown` from the other end, if it does not.
#[must_use]
pub fn objection(state: &State, shown: &Certificate) -> Option<Trouble> {
    let mut bytes = [0; 32];
    if hex::decode_to_slice(&shown.fingerprint.0, &mut bytes).is_err() {
        return Some(Trouble::NoIdentity);
    }
    let at = |time: WallTime| UNIX_EPOCH + Duration::from_millis(time.0);
    let Some(trusted) = state.trusted.get(&shown.fingerprint) else {
        return Some(Trouble::PeerNotTrusted {
            fingerprint: tls::Fingerprint(bytes),
            domain: shown.domain.clone(),
            withdrawn: state.withdrawn.contains_key(&shown.fingerprint),
        });
    };
    let domain = shown.domain.clone();
    match trusted.certificate.validity(now()) {
        Validity::Valid | Validity::ExpiresSoon => None,
        Validity::Expired => Some(Trouble::PeerExpired { domain, not_after: at(shown.not_after) }),
        Validity::NotYetValid => Some(Trouble::NotYetValid { domain, not_before: at(shown.not_before) }),
    }
}

/// True when a connection that rests on `basis` must end, as `system`, which knows `state`, sees it.
#[must_use]
pub fn is_lost(system: System, state: &State, basis: &Basis) -> bool {
    let (own, peer) = (&basis[system as usize], &basis[system.other() as usize]);
    let replaced = state.own.as_ref().is_none_or(|present| {
        (present.certificate.system_id, present.certificate.incarnation) != (own.system_id, own.incarnation)
    });
    !state.trusted.contains_key(&peer.fingerprint) || replaced || now() >= own.not_after.min(peer.not_after)
}
