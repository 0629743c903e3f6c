//! What is not proven, and what is answered to it (RFC 8945 section 5.2).

use switchback_dns::tsig::{Algorithm, Key, Keys, Malformed, Mismatch, Reason, Verdict};

use crate::{NOW, OWNER, cut, fields, key, key_with, keys, name, query, response, signed, signing_of};

/// What is answered to a request that `keys` refuse, and why they do.
fn refused(keys: &Keys, request: &[u8], now: u64) -> (Reason, Vec<u8>) {
    let refusal = keys.verify(request, now).unwrap_err();
    let reason = refusal.reason().clone();
    let mut answer = response("");
    // Whatever code the caller has in mind.
    answer[3] |= 0x0e;
    refusal.answer(&mut answer).unwrap();
    (reason, answer)
}

/// Response code, TSIG error and length of the MAC of an answer.
fn codes(answer: &[u8], mac: usize, other: usize) -> (u8, u16, u16) {
    let at = fields(answer, mac, other);
    let read = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
    (answer[3] & 0x0f, read(at.error), read(at.mac_size))
}

#[test]
fn a_key_that_is_not_known_is_answered_with_badkey_without_a_mac() {
    let (request, mut checking) = key().sign_request(query(), NOW).unwrap();
    let other_algorithm = Keys::new([key_with(Algorithm::HmacSha512)]).unwrap();
    for keys in [Keys::default(), other_algorithm] {
        let (reason, answer) = refused(&keys, &request, NOW);
        let algorithm = name("hmac-sha256");
        assert_eq!(reason, Reason::UnknownKey { key: name("xfr.example"), algorithm });
        assert_eq!(codes(&answer, 0, 0), (9, 17, 0));
        let mismatch = checking.verify(&answer, NOW).unwrap_err();
        assert!(mismatch.to_string().starts_with("the server does not know key xfr.example"), "{mismatch}");
    }
}

#[test]
fn another_secret_is_answered_with_badsig_without_a_mac() {
    let other = Key::new(&name("xfr.example"), Algorithm::HmacSha256, &[7; 16]).unwrap();
    let (request, mut checking) = other.sign_request(query(), NOW).unwrap();
    let (reason, answer) = refused(&keys(), &request, NOW);
    assert_eq!(reason, Reason::WrongMac { key: name("xfr.example") });
    assert_eq!(codes(&answer, 0, 0), (9, 16, 0));
    assert_eq!(checking.verify(&answer, NOW), Err(Mismatch::AnotherSecret { key: name("xfr.example") }));
}

#[test]
fn another_time_is_answered_with_badtime_signed_and_with_the_servers_clock() {
    for (now, says) in
        [(NOW + 301, "301 s, the server's is ahead"), (NOW - 301, "301 s, the server's is behind")]
    {
        let (request, mut checking) = key().sign_request(query(), NOW).unwrap();
        let (reason, answer) = refused(&keys(), &request, now);
        assert_eq!(reason, Reason::Time { key: name("xfr.example"), signed: NOW, now, fudge: 300 });
        assert_eq!(codes(&answer, 32, 6), (9, 18, 32));
        assert_eq!(answer[answer.len() - 6..], now.to_be_bytes()[2..]);
        // The client's own time, or else it would refuse the answer for it.
        let time = fields(&answer, 32, 6).algorithm + 13;
        assert_eq!(answer[time..time + 6], NOW.to_be_bytes()[2..]);
        let mismatch = checking.verify(&answer, NOW).unwrap_err();
        assert_eq!(mismatch, Mismatch::Clocks { server: now, now: NOW });
        assert!(mismatch.to_string().contains(says), "{mismatch}");
        // It is signed: who changes the time is found out.
        let mut forged = answer;
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(checking.verify(&forged, NOW), Err(Mismatch::WrongMac { key: name("xfr.example") }));
    }
    for now in [NOW + 300, NOW - 300] {
        let (request, _) = key().sign_request(query(), NOW).unwrap();
        assert!(matches!(keys().verify(&request, now), Ok(Verdict::Signed { .. })));
    }
}

#[test]
fn an_answer_that_is_late_is_not_taken() {
    let (request, mut checking) = key().sign_request(query(), NOW).unwrap();
    let answer = signed(&mut signing_of(&keys(), &request), response("text"));
    assert_eq!(checking.verify(&answer, NOW + 301), Err(Mismatch::Clocks { server: NOW, now: NOW + 301 }));
    assert!(checking.verify(&answer, NOW + 300).is_ok());
}

#[test]
fn a_right_mac_that_was_cut_is_answered_with_badtrunc_signed() {
    let (request, mut checking) = key().sign_request(query(), NOW).unwrap();
    for left in [16, 31] {
        let (reason, answer) = refused(&keys(), &cut(&request, left), NOW);
        assert_eq!(reason, Reason::ShortMac { key: name("xfr.example"), bytes: usize::from(left) });
        assert_eq!(codes(&answer, 32, 0), (9, 22, 32));
        // Signed over the MAC as it came, which this client sent whole.
        assert_eq!(checking.verify(&answer, NOW), Err(Mismatch::WrongMac { key: name("xfr.example") }));
    }
    // A wrong one gets no signature from us, however short it is.
    let mut wrong = cut(&request, 16);
    let at = fields(&wrong, 16, 0);
    wrong[at.mac] ^= 1;
    let (reason, answer) = refused(&keys(), &wrong, NOW);
    assert_eq!(reason, Reason::WrongMac { key: name("xfr.example") });
    assert_eq!(codes(&answer, 0, 0), (9, 16, 0));
    // Neither too few bytes nor too many are a MAC (RFC 8945 section 5.2.2.1).
    for left in [0, 9, 15] {
        let (reason, _) = refused(&keys(), &cut(&request, left), NOW);
        assert_eq!(reason, Reason::Malformed(Malformed::MacSize), "{left} bytes");
    }
    let mut long = request;
    let at = fields(&long, 32, 0);
    long.insert(at.mac, 0);
    long[at.mac_size + 1] += 1;
    long[at.length + 1] += 1;
    assert_eq!(refused(&keys(), &long, NOW).0, Reason::Malformed(Malformed::MacSize));
}

#[test]
fn an_answer_with_a_cut_mac_is_not_taken() {
    let (request, mut checking) = key().sign_request(query(), NOW).unwrap();
    let answer = signed(&mut signing_of(&keys(), &request), response("text"));
    for left in [0, 16, 31] {
        assert_eq!(
            checking.verify(&cut(&answer, left), NOW),
            Err(Mismatch::WrongMac { key: name("xfr.example") }),
            "{left} bytes"
        );
    }
}

#[test]
fn a_record_that_is_not_the_last_or_not_a_tsig_record_is_answered_with_formerr() {
    let (request, _) = key().sign_request(query(), NOW).unwrap();
    let at = fields(&request, 32, 0);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut request = request.clone();
        change(&mut request);
        request
    };
    let twice = key().sign_request(request.clone(), NOW).unwrap().0;
    let with_opt_behind = changed(&|request| {
        request[11] += 1;
        request.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    });
    // Counted as an answer, not as an additional record.
    let elsewhere = changed(&|request| (request[7], request[11]) = (1, 0));
    let followed = changed(&|request| request.push(0));
    // The header promises another record behind it.
    let promised = changed(&|request| request[11] = 2);
    for request in [twice, with_opt_behind, elsewhere, followed, promised] {
        let (reason, answer) = refused(&keys(), &request, NOW);
        assert_eq!(reason, Reason::Malformed(Malformed::NotLast));
        assert_eq!((answer[3] & 0x0f, answer.len()), (1, response("").len()), "no TSIG record is added");
    }
    let class = changed(&|request| request[at.class + 1] = 1);
    let ttl = changed(&|request| request[at.ttl + 3] = 1);
    for request in [class, ttl] {
        assert_eq!(refused(&keys(), &request, NOW).0, Reason::Malformed(Malformed::ClassOrTtl));
    }
    // The name of the algorithm may not be compressed, nor may its label be of an unknown kind.
    for kind in [0xc0, 0x40] {
        let bad = changed(&|request| request[at.algorithm] = kind);
        assert_eq!(refused(&keys(), &bad, NOW).0, Reason::Malformed(Malformed::Name));
    }
    let longer_inside = changed(&|request| request[at.mac_size + 1] += 1);
    let longer_outside = changed(&|request| {
        request.push(0);
        request[at.length + 1] += 1;
    });
    for request in [longer_inside, longer_outside] {
        assert_eq!(refused(&keys(), &request, NOW).0, Reason::Malformed(Malformed::Short));
    }
}

#[test]
fn the_name_of_the_key_may_be_compressed_but_not_endlessly() {
    let (request, _) = key().sign_request(query(), NOW).unwrap();
    let at = fields(&request, 32, 0);
    let pointing = |owner: &[u8]| [&request[..at.owner], owner, &request[at.owner + OWNER.len()..]].concat();
    for owner in [&b"\xc0\x0c"[..], b"\x03XFR\xc0\x10", b"\x03xfr\x07EXAMPLE\0"] {
        assert!(matches!(keys().verify(&pointing(owner), NOW), Ok(Verdict::Signed { .. })), "{owner:x?}");
    }
    let here = u8::try_from(at.owner).unwrap();
    // To itself, ahead, into the header where there is a loop by way of the name, and to a length
    // that leads to the pointer again.
    for owner in [[0xc0, here].to_vec(), vec![0xc0, here + 2], vec![1, b'a', 0xc0, here], vec![0xff, 0xff]] {
        assert_eq!(refused(&keys(), &pointing(&owner), NOW).0, Reason::Malformed(Malformed::Name));
    }
}
