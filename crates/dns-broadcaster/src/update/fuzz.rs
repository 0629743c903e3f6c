//! Answers that no name server should give, to what targets and followers are asked: nothing panics, and where
//! there is a key nothing is taken but what was proven. See [`crate::fuzz`].

use std::net::SocketAddr;

use hickory_proto::op::Message;

use super::message;
use crate::core::name::Name;
use crate::correspondent::Correspondent;
use crate::courier::{question, served_serial};
use crate::fuzz;
use crate::respond::Response;
use crate::respond::fuzz::{key, responder};

const SAMPLE: usize = 5_000;

#[test]
fn fuzz() {
    let responder = responder();
    let tenant = Name::parse("acme.east.test").unwrap();
    let questions = message::questions(&tenant).unwrap();
    let update = message::update(&Name::parse("east.test").unwrap(), &tenant, &[], None).unwrap();
    let zone = question(&tenant);
    let asked: Vec<_> = questions.iter().chain([&update, &zone]).collect();
    let source = SocketAddr::from(([127, 0, 0, 1], 53));
    let known = [None, Some(key())].map(|key| Correspondent::new(source, &[], key));
    let answer = |bytes: &[u8]| match responder.respond(bytes, source) {
        Response::Answer(answer) => answer,
        // What an update is answered is short.
        _ => [&bytes[..2], &[0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
    };
    let others: Vec<_> = asked.iter().map(|message| answer(&message.to_vec().unwrap())).collect();
    let mut taken = 0;
    let count = fuzz::run(SAMPLE, |dice| {
        let correspondent = &known[dice.below(2)];
        let bends = dice.below(2) == 0;
        let answers: Vec<_> = asked
            .iter()
            .map(|message| {
                let mut said = None;
                let answered = correspondent.answered(message, |bytes| {
                    let right = answer(bytes);
                    if !bends {
                        return right;
                    }
                    let other = others[dice.below(others.len())].clone();
                    let bent = fuzz::bend(dice, &[right.clone(), other]);
                    said = Message::from_vec(&right).ok();
                    bent
                });
                if let (Some(said), Some(answered), true) = (said, &answered, correspondent.has_key()) {
                    let of = |message: &Message| (message.response_code, message.answers.clone());
                    assert_eq!(of(answered), of(&said), "what is proven is what was said");
                }
                answered
            })
            .collect();
        for answer in answers.iter().flatten() {
            served_serial(answer);
        }
        let found: Vec<_> = answers.into_iter().take(questions.len()).flatten().collect();
        if found.len() == questions.len() {
            taken += usize::from(message::found(&questions, &found).is_ok());
        }
    });
    assert!(count < SAMPLE || taken > 0, "no answers were as they should be");
}
