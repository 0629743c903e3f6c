//! Answers of many messages (RFC 8945 section 5.3.1).

use std::collections::VecDeque;

use proptest::prelude::*;
use ring::hmac;
use switchback_dns::tsig::Mismatch;

use crate::{ID, NOW, OWNER, SECRET, fields, key, keys, query, response, signed, signing_of};

/// A server that signs the messages it likes, written from RFC 8945 sections 4.3 and 5.3.1 without
/// our code.
fn answers_signed_at(request: &[u8], messages: &[(String, bool)]) -> Vec<Vec<u8>> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let at = fields(request, 32, 0);
    let mut covered = [&[0, 32], &request[at.mac..at.mac + 32]].concat();
    let (class_ttl, algorithm) = ([0, 255, 0, 0, 0, 0], b"\x0bhmac-sha256\0");
    let timers = [&NOW.to_be_bytes()[2..], &300_u16.to_be_bytes()].concat();
    let mut is_first = true;
    let answer = |(text, is_signed): &(String, bool)| {
        let mut message = response(text);
        covered.extend(&message);
        if !is_signed {
            return message;
        }
        if is_first {
            covered.extend([OWNER, &class_ttl, algorithm].concat());
        }
        covered.extend(&timers);
        if is_first {
            covered.extend([0, 0, 0, 0]);
        }
        is_first = false;
        let mac = hmac::sign(&key, &covered);
        covered = [&[0, 32], mac.as_ref()].concat();
        message[11] = 1;
        let data = [&algorithm[..], &timers, &covered, &ID.to_be_bytes(), &[0, 0, 0, 0]].concat();
        let length = [0, u8::try_from(data.len()).unwrap()];
        [&message[..], OWNER, &[0, 250], &class_ttl, &length, &data].concat()
    };
    messages.iter().map(answer).collect()
}

fn texts(signed: impl IntoIterator<Item = bool>) -> Vec<(String, bool)> {
    signed.into_iter().enumerate().map(|(at, is_signed)| (format!("message {at}"), is_signed)).collect()
}

#[test]
fn up_to_99_messages_in_a_row_may_be_unsigned_and_the_last_may_not() {
    let (request, mut checking) = key().sign_request(query(), NOW).unwrap();
    let pattern = (0..=201).map(|at| at == 0 || at == 100);
    let answers = answers_signed_at(&request, &texts(pattern));
    let mut proven = 0;
    for (at, answer) in answers.iter().enumerate().take(200) {
        proven += checking.verify(answer, NOW).unwrap().len();
        assert_eq!(proven, if at < 100 { 1 } else { 101 }, "nothing is handed out before its MAC");
    }
    assert_eq!(checking.verify(&answers[200], NOW), Err(Mismatch::TooManyUnsigned));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_verifies_in_order_and_no_other_way(
        pattern in prop::collection::vec(any::<bool>(), 1..12),
        (one, other) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let messages = texts([true].into_iter().chain(pattern).chain([true]));
        let (request, mut checking) = key().sign_request(query(), NOW).unwrap();
        let answers = answers_signed_at(&request, &messages);
        let mut proven = Vec::new();
        for answer in &answers {
            proven.extend(checking.verify(answer, NOW).unwrap());
        }
        let sent: Vec<_> = messages.iter().map(|(text, _)| response(text)).collect();
        prop_assert_eq!(&proven, &sent);

        // Swapped or dropped: the proven messages end before the fault.
        let (one, other) = (one.index(answers.len()), other.index(answers.len()));
        let mut swapped = answers.clone();
        swapped.swap(one, other);
        let mut dropped: VecDeque<_> = answers.clone().into();
        dropped.remove(one);
        for (changed, fault) in [(swapped, one.min(other)), (dropped.into(), one)] {
            let (_, mut checking) = key().sign_request(query(), NOW).unwrap();
            let mut proven = Vec::new();
            for answer in &changed {
                let Ok(more) = checking.verify(answer, NOW) else { break };
                proven.extend(more);
            }
            if changed == answers {
                prop_assert_eq!(&proven, &sent);
            } else {
                prop_assert!(proven.len() <= fault);
                prop_assert_eq!(&proven[..], &sent[..proven.len()]);
            }
        }
    }

    #[test]
    fn what_we_sign_is_what_the_rfc_describes(count in 1_usize..8) {
        let messages = texts(vec![true; count]);
        let (request, _) = key().sign_request(query(), NOW).unwrap();
        let mut signing = signing_of(&keys(), &request);
        let ours: Vec<_> = messages.iter().map(|(text, _)| signed(&mut signing, response(text))).collect();
        prop_assert_eq!(ours, answers_signed_at(&request, &messages));
    }
}
