//! The decisions: upload, delete, renew.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use switchback_model::RequestId;

use super::certificate::{Certificate, Offered, Unsuitable, Validity, WallTime, day};
use super::refusal::Refusal;
use super::state::{Answer, Change, Command, Own, State, Trusted};

/// Each trusted certificate is a system that can reach in; a system has links to a few others.
pub const TRUSTED_MAX: usize = 256;

/// Remembered so that their owners are told "withdrawn"; the oldest are forgotten.
pub const WITHDRAWN_MAX: usize = 256;

/// Answers kept for repeats: far more commands than an operator gives while one is retried.
pub const ANSWERS_MAX: usize = 256;

const REQUEST_ID_LENGTH_MAX: usize = 128;

/// Shorter beginnings of a fingerprint are typing mistakes waiting to happen.
const PREFIX_DIGITS_MIN: usize = 8;

/// What follows from a command: make `changes` durable, then give `answer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In order, as one unit. Empty for a repeat.
    pub changes: Vec<Change>,
    /// The answer.
    pub answer: Answer,
}

/// Trusts `offered` from now on.
///
/// A second certificate for a system that is trusted already is welcome: that is how a renewal or
/// a rebuild overlaps with what was before.
///
/// # Errors
/// The reason and the next step.
pub fn upload(
    state: &State,
    request: &RequestId,
    offered: Offered,
    now: WallTime,
) -> Result<Decision, Refusal> {
    check_id(request)?;
    let key = offered.key.clone();
    if offered.is_authority {
        return Err(Refusal::Authority);
    }
    let certificate = offered.certificate.map_err(|unsuitable| match unsuitable {
        Unsuitable::NamesNoSystem => Refusal::NamesNoSystem,
        Unsuitable::Unusable(_) if !key.is_enough() => Refusal::WeakKey { key: key.clone() },
        Unsuitable::Unusable(reason) => Refusal::Unusable { reason },
    })?;
    if !key.is_enough() {
        return Err(Refusal::WeakKey { key });
    }
    let subject = certificate.fingerprint.to_string();
    if let Some(answer) = repeated(state, request, Command::Upload, &subject)? {
        return Ok(Decision { changes: Vec::new(), answer });
    }
    if state.own.as_ref().is_some_and(|own| own.certificate.system_id == certificate.system_id) {
        return Err(Refusal::OwnCertificate);
    }
    let known = state.trusted.get(&certificate.fingerprint);
    let uploaded = known.map_or(now, |trusted| trusted.uploaded);
    let already_trusted = known.is_some();
    let mut changes = Vec::new();
    if !already_trusted {
        admit(state, &certificate, now)?;
        if state.withdrawn.contains_key(&certificate.fingerprint) {
            changes.push(Change::RemoveWithdrawn(certificate.fingerprint.clone()));
        }
        changes.push(Change::PutTrusted(Trusted { certificate: certificate.clone(), uploaded }));
    }
    let answer = Answer { command: Command::Upload, subject, certificate, uploaded, already_trusted };
    Ok(remember(state, request, answer, changes))
}

fn admit(state: &State, certificate: &Certificate, now: WallTime) -> Result<(), Refusal> {
    if certificate.validity(now) == Validity::Expired {
        let domain = certificate.domain.clone();
        return Err(Refusal::Expired { domain, not_after: certificate.not_after });
    }
    if state.trusted.len() >= TRUSTED_MAX {
        return Err(Refusal::TooMany { limit: TRUSTED_MAX });
    }
    Ok(())
}

/// Ends the trust in the certificate whose fingerprint begins with `fingerprint`.
///
/// # Errors
/// The reason and the next step.
pub fn delete(
    state: &State,
    request: &RequestId,
    fingerprint: &str,
    now: WallTime,
) -> Result<Decision, Refusal> {
    check_id(request)?;
    let wanted = fingerprint.replace(':', "").to_ascii_lowercase();
    // First of all: a repeat must not fail because the first time succeeded.
    if let Some(answer) = repeated(state, request, Command::Delete, &wanted)? {
        return Ok(Decision { changes: Vec::new(), answer });
    }
    let digits = wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits || !(PREFIX_DIGITS_MIN..=64).contains(&wanted.len()) {
        return Err(Refusal::NotAFingerprint);
    }
    let mut found =
        state.trusted.values().filter(|trusted| trusted.certificate.fingerprint.0.starts_with(&wanted));
    let Some(trusted) = found.next() else {
        let own = state.own.as_ref().map(|own| &own.certificate.fingerprint);
        return Err(match own.filter(|own| own.0.starts_with(&wanted)) {
            Some(own) => Refusal::DeletesOwn { fingerprint: own.clone() },
            None => Refusal::Unknown { fingerprint: wanted },
        });
    };
    let count = 1 + found.count();
    if count > 1 {
        return Err(Refusal::Ambiguous { fingerprint: wanted, count });
    }
    let gone = trusted.certificate.fingerprint.clone();
    let mut changes = alloc::vec![Change::RemoveTrusted(gone.clone()), Change::PutWithdrawn(gone, now)];
    if state.withdrawn.len() >= WITHDRAWN_MAX {
        let oldest = state.withdrawn.iter().min_by_key(|(_, until)| **until);
        changes.extend(oldest.map(|(fingerprint, _)| Change::RemoveWithdrawn(fingerprint.clone())));
    }
    let answer = Answer {
        command: Command::Delete,
        subject: wanted,
        certificate: trusted.certificate.clone(),
        uploaded: trusted.uploaded,
        already_trusted: false,
    };
    Ok(remember(state, request, answer, changes))
}

/// Takes `made`, a fresh key and certificate, into use. `new_incarnation` is what was asked for.
///
/// # Errors
/// The reason and the next step.
pub fn renew(
    state: &State,
    request: &RequestId,
    new_incarnation: bool,
    made: Own,
) -> Result<Decision, Refusal> {
    check_id(request)?;
    let subject = String::from(if new_incarnation { "new incarnation" } else { "" });
    if let Some(answer) = repeated(state, request, Command::Renew, &subject)? {
        return Ok(Decision { changes: Vec::new(), answer });
    }
    let answer = Answer {
        command: Command::Renew,
        subject,
        certificate: made.certificate.clone(),
        uploaded: made.made,
        already_trusted: false,
    };
    Ok(remember(state, request, answer, alloc::vec![Change::PutOwn(made)]))
}

/// What an operator should know beside the success of an upload.
#[must_use]
pub fn note(state: &State, certificate: &Certificate, now: WallTime) -> String {
    let mut notes = Vec::new();
    if certificate.validity(now) == Validity::NotYetValid {
        notes.push(format!(
            "it is valid from {} on only: compare the clocks of the two systems",
            day(certificate.not_before)
        ));
    }
    if certificate.validity(now) == Validity::ExpiresSoon {
        notes.push(format!("it expires on {}", day(certificate.not_after)));
    }
    let others = state.trusted.values().map(|trusted| &trusted.certificate);
    for other in others.filter(|other| other.fingerprint != certificate.fingerprint) {
        let begin = other.fingerprint.0.get(..PREFIX_DIGITS_MIN).unwrap_or_default();
        if other.system_id == certificate.system_id {
            notes.push(format!("{begin} of the same system stays trusted; delete it when it is not in use"));
        } else if other.domain == certificate.domain {
            notes.push(format!(
                "{begin} of another system at {} stays trusted; delete it if that one was rebuilt",
                other.domain
            ));
        }
    }
    notes.join("; ")
}

fn check_id(request: &RequestId) -> Result<(), Refusal> {
    let fits = (1..=REQUEST_ID_LENGTH_MAX).contains(&request.0.len());
    if fits { Ok(()) } else { Err(Refusal::BadRequestId) }
}

fn repeated(
    state: &State,
    request: &RequestId,
    command: Command,
    subject: &str,
) -> Result<Option<Answer>, Refusal> {
    match state.answer(request) {
        Some(answer) if answer.command == command && answer.subject == subject => Ok(Some(answer.clone())),
        Some(_) => Err(Refusal::ReusedRequestId),
        None => Ok(None),
    }
}

/// Adds the answer to the changes, and forgets the oldest one when there are too many.
fn remember(state: &State, request: &RequestId, answer: Answer, mut changes: Vec<Change>) -> Decision {
    let next = state.answers.last_key_value().map_or(0, |(number, _)| number + 1);
    if state.answers.len() >= ANSWERS_MAX {
        changes.extend(state.answers.keys().next().map(|oldest| Change::RemoveAnswer(*oldest)));
    }
    changes.push(Change::PutAnswer(next, request.clone(), answer.clone()));
    Decision { changes, answer }
}
