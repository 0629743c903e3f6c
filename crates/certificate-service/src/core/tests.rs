//! Decisions: what leads to which changes and answers.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use switchback_model::{Incarnation, RequestId, SystemId};

use super::certificate::{Unsuitable, day};
use super::command::{ANSWERS_MAX, TRUSTED_MAX, WITHDRAWN_MAX, note};
use super::*;

const DAY: u64 = 24 * 60 * 60 * 1000;
const NOW: WallTime = WallTime(1_000 * DAY);

fn certificate(number: u8) -> Certificate {
    Certificate {
        fingerprint: Fingerprint(format!("{number:02x}").repeat(32)),
        der: alloc::vec![number],
        subject: String::new(),
        domain: format!("system{number}.example.com"),
        system_id: SystemId([number; 16]),
        incarnation: Incarnation(1),
        not_before: WallTime(NOW.0 - DAY),
        not_after: WallTime(NOW.0 + 800 * DAY),
    }
}

fn offer(certificate: Certificate) -> Offered {
    Offered { is_authority: false, key: KeyStrength::Curve(256), certificate: Ok(certificate) }
}

fn id(text: &str) -> RequestId {
    RequestId(text.into())
}

/// A system whose own certificate is number 1.
fn system() -> State {
    let own = Own { certificate: certificate(1), key: PrivateKey(alloc::vec![9]), made: NOW };
    State::recover([Change::PutOwn(own)])
}

fn obey(state: &mut State, decision: Decision) -> Answer {
    decision.changes.into_iter().for_each(|change| state.apply(change));
    decision.answer
}

#[test]
fn an_uploaded_certificate_is_trusted_and_a_second_upload_changes_nothing() {
    let mut state = system();
    let first = upload(&state, &id("a"), offer(certificate(2)), NOW).unwrap();
    assert!(!obey(&mut state, first).already_trusted);
    assert!(state.trusted.contains_key(&certificate(2).fingerprint));
    let later = WallTime(NOW.0 + DAY);
    let second = upload(&state, &id("b"), offer(certificate(2)), later).unwrap();
    assert!(second.changes.iter().all(|change| matches!(change, Change::PutAnswer(..))));
    let answer = obey(&mut state, second);
    assert!(answer.already_trusted && answer.uploaded == NOW);
}

#[test]
fn each_unfit_upload_is_refused_with_its_reason_and_changes_nothing() {
    let refused = |offered: Offered| upload(&system(), &id("a"), offered, NOW).unwrap_err();
    let unsuitable = |reason| Offered { certificate: Err(reason), ..offer(certificate(2)) };
    assert_eq!(refused(Offered { is_authority: true, ..offer(certificate(2)) }), Refusal::Authority);
    assert_eq!(refused(unsuitable(Unsuitable::NamesNoSystem)), Refusal::NamesNoSystem);
    assert_eq!(
        refused(unsuitable(Unsuitable::Unusable("x".into()))),
        Refusal::Unusable { reason: "x".into() }
    );
    let key = KeyStrength::Rsa(1024);
    assert_eq!(
        refused(Offered { key: key.clone(), ..offer(certificate(2)) }),
        Refusal::WeakKey { key: key.clone() }
    );
    let unusable = Err(Unsuitable::Unusable("signature".into()));
    assert_eq!(
        refused(Offered { key: key.clone(), certificate: unusable, ..offer(certificate(2)) }),
        Refusal::WeakKey { key },
        "the weak key is why the signature cannot be checked"
    );
    assert_eq!(refused(offer(certificate(1))), Refusal::OwnCertificate);
    let older_of_ours = Certificate { fingerprint: certificate(3).fingerprint, ..certificate(1) };
    assert_eq!(refused(offer(older_of_ours)), Refusal::OwnCertificate);
    let not_after = WallTime(NOW.0 - 1);
    let expired = refused(offer(Certificate { not_after, ..certificate(2) }));
    assert_eq!(expired, Refusal::Expired { domain: certificate(2).domain, not_after });
    assert!(expired.to_string().contains("switchback certificate renew"));
}

#[test]
fn a_renewed_or_rebuilt_system_is_trusted_beside_its_old_certificate_and_the_operator_is_told() {
    let mut state = system();
    let old = upload(&state, &id("a"), offer(certificate(2)), NOW).unwrap();
    obey(&mut state, old);
    let renewed = Certificate { system_id: SystemId([2; 16]), ..certificate(3) };
    let decision = upload(&state, &id("b"), offer(renewed.clone()), NOW).unwrap();
    obey(&mut state, decision);
    assert_eq!(state.trusted.len(), 2);
    assert!(note(&state, &renewed, NOW).contains("02020202 of the same system stays trusted"));
    let rebuilt = Certificate { domain: certificate(2).domain, ..certificate(4) };
    assert!(note(&state, &rebuilt, NOW).contains("02020202 of another system at system2.example.com"));
    assert_eq!(note(&state, &certificate(5), NOW), "");
}

#[test]
fn a_certificate_from_the_future_is_trusted_with_a_word_about_the_clocks() {
    let future = Certificate { not_before: WallTime(NOW.0 + DAY), ..certificate(2) };
    assert!(upload(&system(), &id("a"), offer(future.clone()), NOW).is_ok());
    assert!(note(&system(), &future, NOW).contains("clocks"));
}

#[test]
fn trust_has_a_limit() {
    let mut state = system();
    for number in 0..TRUSTED_MAX {
        let fingerprint = Fingerprint(format!("{number:064x}"));
        let trusted = Trusted { certificate: Certificate { fingerprint, ..certificate(2) }, uploaded: NOW };
        state.apply(Change::PutTrusted(trusted));
    }
    let refused = upload(&state, &id("a"), offer(certificate(3)), NOW).unwrap_err();
    assert_eq!(refused, Refusal::TooMany { limit: TRUSTED_MAX });
}

#[test]
fn trust_ends_by_the_beginning_of_a_fingerprint_and_is_remembered_as_withdrawn() {
    let mut state = system();
    for number in [2, 3] {
        let decision = upload(&state, &id(&number.to_string()), offer(certificate(number)), NOW).unwrap();
        obey(&mut state, decision);
    }
    let refused = |text: &str| delete(&state, &id("d"), text, NOW).unwrap_err();
    assert_eq!(refused("0202020"), Refusal::NotAFingerprint);
    assert_eq!(refused("system2!"), Refusal::NotAFingerprint);
    assert_eq!(refused("ffffffff"), Refusal::Unknown { fingerprint: "ffffffff".into() });
    assert_eq!(refused("01010101"), Refusal::DeletesOwn { fingerprint: certificate(1).fingerprint });
    let gone = delete(&state, &id("d"), "02:02:02:02", NOW).unwrap();
    assert_eq!(obey(&mut state, gone).certificate, certificate(2));
    assert_eq!(state.trusted.keys().collect::<Vec<_>>(), [&certificate(3).fingerprint]);
    assert!(state.withdrawn.contains_key(&certificate(2).fingerprint));
    let again = upload(&state, &id("u"), offer(certificate(2)), NOW).unwrap();
    obey(&mut state, again);
    assert!(state.withdrawn.is_empty(), "trusted anew, no longer withdrawn");
}

#[test]
fn a_beginning_that_fits_two_certificates_deletes_neither() {
    let mut state = system();
    for end in ["0", "1"] {
        let fingerprint = Fingerprint(format!("{}{end}", "a".repeat(63)));
        let certificate = Certificate { fingerprint, ..certificate(2) };
        state.apply(Change::PutTrusted(Trusted { certificate, uploaded: NOW }));
    }
    let refused = delete(&state, &id("d"), "aaaaaaaa", NOW).unwrap_err();
    assert_eq!(refused, Refusal::Ambiguous { fingerprint: "aaaaaaaa".into(), count: 2 });
}

#[test]
fn a_repeated_command_gets_the_first_answer_and_changes_nothing() {
    let mut state = system();
    let first = upload(&state, &id("u"), offer(certificate(2)), NOW).unwrap();
    let first = obey(&mut state, first);
    let deleted = delete(&state, &id("d"), "02020202", NOW).unwrap();
    let deleted = obey(&mut state, deleted);
    let later = WallTime(NOW.0 + 2_000 * DAY);
    let repeat = upload(&state, &id("u"), offer(certificate(2)), later).unwrap();
    assert_eq!(repeat, Decision { changes: alloc::vec![], answer: first });
    let repeat = delete(&state, &id("d"), "02020202", later).unwrap();
    assert_eq!(repeat, Decision { changes: alloc::vec![], answer: deleted });
    let own = || Own { certificate: certificate(6), key: PrivateKey(alloc::vec![]), made: later };
    let renewed = renew(&state, &id("r"), false, own()).unwrap();
    let renewed = obey(&mut state, renewed);
    let other = Own { certificate: certificate(7), ..own() };
    assert_eq!(renew(&state, &id("r"), false, other.clone()).unwrap().answer, renewed);
    assert_eq!(renew(&state, &id("r"), true, other), Err(Refusal::ReusedRequestId));
    let another = upload(&state, &id("u"), offer(certificate(3)), NOW);
    assert_eq!(another, Err(Refusal::ReusedRequestId));
    assert_eq!(upload(&state, &id(""), offer(certificate(3)), NOW), Err(Refusal::BadRequestId));
}

#[test]
fn what_is_remembered_for_repeats_and_of_withdrawals_has_a_limit() {
    let mut state = system();
    for number in 0..ANSWERS_MAX + WITHDRAWN_MAX {
        let fingerprint = Fingerprint(format!("{number:064x}"));
        let certificate = Certificate { fingerprint: fingerprint.clone(), ..certificate(2) };
        let now = WallTime(NOW.0 + u64::try_from(number).unwrap());
        let decision = upload(&state, &id(&format!("u{number}")), offer(certificate), now).unwrap();
        obey(&mut state, decision);
        let decision = delete(&state, &id(&format!("d{number}")), &fingerprint.0, now).unwrap();
        obey(&mut state, decision);
    }
    assert_eq!((state.answers.len(), state.withdrawn.len()), (ANSWERS_MAX, WITHDRAWN_MAX));
    assert!(state.answer(&id("u0")).is_none() && state.answer(&id("d511")).is_some());
    assert!(!state.withdrawn.contains_key(&Fingerprint(format!("{:064x}", 0))));
}

#[test]
fn validity_is_told_a_month_ahead() {
    let certificate = certificate(2);
    let at = |offset: u64| certificate.validity(WallTime(offset)).to_string();
    assert_eq!(at(certificate.not_before.0 - 1), "not yet valid");
    assert_eq!(at(NOW.0), "valid");
    assert_eq!(at(certificate.not_after.0 - 29 * DAY), "expires soon");
    assert_eq!(at(certificate.not_after.0), "expires soon");
    assert_eq!(at(certificate.not_after.0 + 1), "expired");
    assert_eq!(day(WallTime(951_782_400_000)), "2000-02-29");
    assert_eq!(day(WallTime(1_798_761_599_000)), "2026-12-31");
}

#[test]
fn a_private_key_is_never_printed() {
    let text = format!("{:?}", system());
    assert!(text.contains("PrivateKey(..)") && !text.contains("[9]"), "{text}");
}
