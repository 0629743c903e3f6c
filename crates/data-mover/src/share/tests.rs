//! Time is paused: it moves only where the tests let it, or where everybody waits.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// What flows had of `total`, which work in pieces of `piece`, while clients call for `busy` of each `every`.
async fn flows_had(
    share: &Share,
    total: Duration,
    piece: Duration,
    (busy, every): (Duration, Duration),
) -> f64 {
    let clients = share.clone();
    let calling = tokio::spawn(async move {
        loop {
            let call = clients.call();
            tokio::time::sleep(busy).await;
            drop(call);
            tokio::time::sleep(every - busy).await;
        }
    });
    tokio::time::sleep(MS / 2).await;
    let (start, mut had) = (Instant::now(), Duration::ZERO);
    while start.elapsed() < total {
        let turn = share.turn().await;
        tokio::time::sleep(piece).await;
        turn.took(piece, Purpose::Replication);
        had += piece;
    }
    calling.abort();
    had.as_secs_f64() / start.elapsed().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn while_clients_call_flows_have_their_share_and_no_less() {
    for percent in [1, 10, 25, 50, 90, 100] {
        for piece in [2 * MS, 7 * MS] {
            let share = Share::new(percent);
            let had = flows_had(&share, 20_000 * MS, piece, (3 * MS, 4 * MS)).await * 100.0;
            assert!((had - f64::from(percent)).abs() < 1.0, "{percent} %, {piece:?}: {had} %");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_clients_do_not_use_flows_have() {
    let share = Share::new(25);
    let alone = flows_had(&share, 1_000 * MS, 2 * MS, (MS, 100_000 * MS)).await;
    assert!(alone > 0.98, "{alone}");
    // One call in a hundred milliseconds costs no more than the time for which another one is awaited.
    let share = Share::new(25);
    let seldom = flows_had(&share, 10_000 * MS, 2 * MS, (MS, 100 * MS)).await;
    assert!(seldom > 0.9, "{seldom}");
}

#[tokio::test(start_paused = true)]
async fn flows_share_among_themselves_what_is_theirs_in_their_order() {
    let share = Share::new(25);
    let client = share.call();
    let (told, mut turns) = tokio::sync::mpsc::unbounded_channel();
    let (start, flows) = (Instant::now(), 5_u32);
    for flow in 0..flows {
        let (share, told) = (share.clone(), told.clone());
        tokio::spawn(async move {
            loop {
                let turn = share.turn().await;
                assert!(turn.is_shared());
                told.send((flow, start.elapsed())).unwrap();
                tokio::time::sleep(3 * MS).await;
                turn.took(3 * MS, Purpose::Replication);
            }
        });
    }
    for number in 0..100_u32 {
        let (flow, at) = turns.recv().await.unwrap();
        assert_eq!(flow, number % flows);
        // The timers count in whole milliseconds.
        assert_eq!(at.as_millis() / 12, u128::from(number), "one at a time, and a rest after each");
    }
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_has_what_clients_have_otherwise() {
    for (percent, recovery) in [(25, 75), (60, 60), (1, 99)] {
        let share = Share::new(percent);
        let _client = share.call();
        share.took(100 * MS, Purpose::Recovery);
        let rest = share.rests(Instant::now()).is_some();
        let mut state = State { calls: 1, ..State::default() };
        state.took(Instant::now(), 100 * MS, recovery);
        assert_eq!(share.state().rest_until, state.rest_until);
        assert!(rest);
    }
}

#[test]
fn a_rest_is_bounded_whatever_took_how_long() {
    let now = Instant::now();
    let mut state = State { calls: 1, ..State::default() };
    for _ in 0..10 {
        state.took(now, 3_600_000 * MS, 1);
    }
    assert_eq!(state.rest_until, Some(now + REST_MAX));
    assert!(state.rests(now + REST_MAX).is_none());
}

#[test]
fn what_flows_took_while_clients_were_silent_is_not_held_against_them() {
    let now = Instant::now();
    let mut state = State::default();
    for _ in 0..10 {
        state.took(now, 10 * MS, 25);
    }
    assert!(state.rests(now).is_none());
    state.calls = 1;
    // No more than what the last one owes.
    assert_eq!(state.rest_until, Some(now + 30 * MS));
    state.took(now, 10 * MS, 25);
    assert_eq!(state.rest_until, Some(now + 70 * MS), "and now each owes");
}
