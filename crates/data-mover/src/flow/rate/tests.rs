use proptest::prelude::*;
use switchback_model::Epoch;
use switchback_proto::replication::v1::sender_message::Body;
use switchback_proto::replication::v1::{Chunk, SenderMessage};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::desired::Desired;
use crate::desired::tests::desired;

const RATE: u64 = 1_000_000;
const LIMITED: Rate = Rate::BytesPerSecond(RATE);

/// Senders that always want to send, on a clock of its own.
struct Crowd {
    state: State,
    now: Instant,
    senders: Vec<u64>,
}

impl Crowd {
    fn new(as_of: &[i64]) -> Self {
        let mut crowd = Self { state: State::default(), now: Instant::now(), senders: Vec::new() };
        as_of.iter().for_each(|as_of| crowd.join(*as_of));
        crowd
    }

    fn join(&mut self, as_of: i64) {
        let number = self.state.enter(self.now);
        self.state.wants(self.now, number, false, Some(as_of));
        self.state.wait(number, true);
        self.senders.push(number);
    }

    /// Who is next, by its place, and sends so many bytes; time passes until then.
    fn next(&mut self, rate: Rate, priority: Priority, bytes: u64) -> usize {
        for _ in 0..1_000 {
            let waiting = |(_, number): &(usize, &u64)| self.state.senders[number].waiting > 0;
            let waiting: Vec<_> = self.senders.iter().enumerate().filter(waiting).collect();
            for (place, number) in waiting {
                if self.state.judge(self.now, rate, priority, *number) == Verdict::Next {
                    self.state.settle(self.now, *number, bytes);
                    self.state.wait(*number, false);
                    self.state.wait(*number, true);
                    return place;
                }
            }
            self.now += Duration::from_millis(10);
        }
        panic!("nobody may send");
    }
}

#[test]
fn fair_turns_give_each_the_same_bytes_and_nobody_waits_for_much() {
    let mut crowd = Crowd::new(&[0, 0]);
    let mut sent = [0_u64; 3];
    for _ in 0..200 {
        // The first sends chunks, the second messages of a tenth.
        let place = crowd.next(LIMITED, Priority::Fair, 0);
        let bytes = if place == 0 { 200_000 } else { 20_000 };
        crowd.state.settle(crowd.now, crowd.senders[place], bytes + MESSAGE_BYTES);
        sent[place] += bytes;
    }
    assert!(sent[0].abs_diff(sent[1]) <= 400_000, "{sent:?}");
    // Who comes has no credit for the time before, and waits for no debt.
    crowd.join(0);
    let turns: Vec<usize> = (0..9).map(|_| crowd.next(LIMITED, Priority::Fair, 100_000)).collect();
    for place in 0..3 {
        let had = turns.iter().filter(|turn| **turn == place).count();
        assert!((2..=4).contains(&had), "{turns:?}");
    }
}

#[test]
fn those_in_one_place_have_together_what_one_has() {
    let mut crowd = Crowd::new(&[0, 0]);
    // A lane of the first.
    let first = crowd.senders[0];
    crowd.state.join(first);
    crowd.state.wants(crowd.now, first, false, Some(0));
    crowd.state.wait(first, true);
    crowd.senders.push(first);
    let turns: Vec<usize> = (0..300).map(|_| crowd.next(LIMITED, Priority::Fair, 100_000)).collect();
    let second = turns.iter().filter(|turn| **turn == 1).count();
    assert!((145..=155).contains(&second), "{second} of 300");
    assert!(!crowd.state.wants(crowd.now, first, true, None), "the other one still has something");
    crowd.state.leave(first);
    assert!(crowd.state.wants(crowd.now, first, true, None));
    crowd.state.leave(first);
    assert!(!crowd.state.senders.contains_key(&first));
}

#[test]
fn the_content_that_is_furthest_behind_goes_first_with_a_limit_and_without() {
    for rate in [LIMITED, Rate::Unlimited] {
        let mut crowd = Crowd::new(&[3_000, 1_000, 2_000]);
        for _ in 0..5 {
            assert_eq!(crowd.next(rate, Priority::OldestFirst, 200_000), 1);
        }
        // It has nothing left, or is as far as the others.
        let second = crowd.senders[1];
        crowd.state.wants(crowd.now, second, true, None);
        crowd.state.wait(second, false);
        assert_eq!(crowd.next(rate, Priority::OldestFirst, 200_000), 2);
    }
}

#[test]
fn one_that_stands_still_holds_others_for_a_second_and_no_longer() {
    let mut crowd = Crowd::new(&[1_000, 2_000]);
    assert_eq!(crowd.next(Rate::Unlimited, Priority::OldestFirst, 0), 0);
    // Its stream takes no more: it has something to send, and does not ask.
    let (first, second) = (crowd.senders[0], crowd.senders[1]);
    crowd.state.wait(first, false);
    let began = crowd.now;
    assert_eq!(
        crowd.state.judge(began, Rate::Unlimited, Priority::OldestFirst, second),
        Verdict::Wait(Some(STANDS_ASIDE_TIME))
    );
    let late = began + STANDS_ASIDE_TIME;
    assert_eq!(crowd.state.judge(late, Rate::Unlimited, Priority::OldestFirst, second), Verdict::Next);
}

#[test]
fn nothing_leaves_at_a_rate_of_nothing_and_nothing_was_saved_for_later() {
    let mut crowd = Crowd::new(&[0]);
    let number = crowd.senders[0];
    crowd.next(LIMITED, Priority::Fair, 100);
    for priority in [Priority::Fair, Priority::OldestFirst] {
        for _ in 0..100 {
            crowd.now += Duration::from_secs(60);
            let judged = crowd.state.judge(crowd.now, Rate::BytesPerSecond(0), priority, number);
            assert_eq!(judged, Verdict::Wait(None));
        }
    }
    let began = crowd.now;
    for _ in 0..10 {
        crowd.next(LIMITED, Priority::Fair, 100_000);
    }
    assert!(crowd.now - began >= Duration::from_millis(790), "{:?}", crowd.now - began);
}

proptest! {
    #[test]
    fn on_the_average_the_rate_is_kept_whatever_the_messages_are(
        rate in 10_000..1_000_000_000_u64,
        messages in prop::collection::vec(1..2_000_000_u64, 1..200),
    ) {
        let mut crowd = Crowd::new(&[0]);
        let (began, mut sent) = (crowd.now, 0);
        for bytes in &messages {
            let number = crowd.senders[0];
            // Who waits as long as it is told is let through then.
            let mut waits = 0;
            while let Verdict::Wait(time) = crowd.state.judge(crowd.now, Rate::BytesPerSecond(rate), Priority::Fair, number) {
                crowd.now += time.unwrap();
                waits += 1;
                prop_assert!(waits <= 2);
            }
            let passed = (crowd.now - began).as_secs_f64();
            let most = float(rate) * (passed + BURST_TIME.as_secs_f64()) + 1.0;
            prop_assert!(float(sent) <= most, "{sent} in {passed} s before the last message");
            crowd.state.settle(crowd.now, number, *bytes);
            sent += bytes;
        }
        // No slower than the rate, but for what timers round.
        let passed = (crowd.now - began).as_secs_f64();
        let least = float(rate) * (passed - 0.002 * float(messages.len() as u64));
        prop_assert!(float(sent) >= least, "{sent} in {passed} s");
    }
}

fn link(schedule: &str) -> Arc<Link> {
    let desired = Desired { schedule: schedule.parse().unwrap(), ..desired(true, false) };
    Arc::new(Link::new(desired, Epoch(0), CancellationToken::new()))
}

fn chunk() -> SenderMessage {
    let chunk = Chunk { bytes: vec![0; 100_000].into(), ..Chunk::default() };
    SenderMessage { body: Some(Body::Chunk(chunk)) }
}

/// Sends chunks as a session does, until nobody wants them.
async fn send(link: Arc<Link>, outbound: Sender<SenderMessage>) {
    let mut turn = Turn::new(link);
    loop {
        turn.wants(Some(0));
        let Ok(permit) = turn.take(&outbound, false).await else { return };
        let message = chunk();
        turn.sent(100_000);
        permit.send(message);
    }
}

#[tokio::test(start_paused = true)]
async fn all_senders_of_a_link_share_one_rate() {
    let link = link("1MB/s");
    let (outbound, mut sent) = mpsc::channel(1);
    for _ in 0..5 {
        tokio::spawn(send(Arc::clone(&link), outbound.clone()));
    }
    let began = Instant::now();
    for _ in 0..300 {
        sent.recv().await.unwrap();
    }
    let took = began.elapsed();
    assert!((28_000..31_000).contains(&took.as_millis()), "thirty megabytes took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn another_schedule_holds_at_once_and_what_is_awaited_is_never_held() {
    let link = link("0");
    // Who waits for its turn has a place on the line already.
    let (outbound, mut sent) = mpsc::channel(2);
    tokio::spawn(send(Arc::clone(&link), outbound.clone()));
    let held = tokio::time::timeout(Duration::from_secs(3_600), sent.recv()).await;
    assert!(held.is_err(), "an hour of nothing");
    let mut turn = Turn::new(Arc::clone(&link));
    turn.take(&outbound, true).await.unwrap().send(chunk());
    turn.sent(100_000);
    sent.recv().await.unwrap();
    let began = Instant::now();
    link.desire(desired(true, false));
    sent.recv().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    // A failover was heard of that this system's link manager does not know yet.
    let desired = Desired { schedule: "0".parse().unwrap(), ..desired(true, false) };
    link.desire(desired);
    while tokio::time::timeout(Duration::from_secs(60), sent.recv()).await.is_ok() {}
    link.learn_epoch(Epoch(1));
    tokio::time::timeout(LOOK_INTERVAL * 2, sent.recv()).await.unwrap().unwrap();
}
