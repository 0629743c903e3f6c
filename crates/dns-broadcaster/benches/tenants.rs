//! What one tenant's failover costs among many tenants, from the link manager's call to its answer.
//!
//! `cargo bench -p switchback-dns --bench tenants [-- TENANTS...]`
//!
//! Medians in milliseconds, and how much more that is than among the fewest tenants. Calls that say everything:
//! one that says what is on record; one that moves one tenant; one that moves all of them. Then calls that
//! say what is different: nothing, as one does every two seconds; one tenant that moves; one more, and
//! without it again. The disk's share is part of it.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

#[path = "../tests/broadcaster/mod.rs"]
mod broadcaster;

use std::time::{Duration, Instant};

use broadcaster::{Broadcaster, request, zone};
use switchback_proto::dns::v1::{ApplyZonesRequest, TenantZone};

const ROUNDS: usize = 15;
const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

const CASES: [&str; 7] =
    ["repeat", "one moves", "all move", "no change", "one moves", "one comes", "one goes"];

fn main() {
    let counts: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![100, 1_000, 10_000, 50_000] } else { counts };
    println!("{:>8} {:>47} | {:>63}", "", "everything", "what is different");
    println!("{:>8} {}", "tenants", CASES.map(|case| format!("{case:>15}")).join(" "));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut first = None;
    for count in counts {
        let times = runtime.block_on(measure(count));
        let base: [f64; 7] = *first.get_or_insert(times);
        let shown = times.iter().zip(base).map(|(time, base)| format!("{time:>8.2} {:>5.1}x", time / base));
        println!("{count:>8} {}", shown.collect::<Vec<_>>().join(" "));
    }
}

async fn measure(count: usize) -> [f64; 7] {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), Duration::ZERO).await;
    let name = |number| format!("tenant-{number}.west.example.com");
    let mut tenants: Vec<_> =
        (0..count).map(|number| zone(&name(number), 64, &ADDRESSES[..1], "link")).collect();
    let (mut times, mut generation) = ([const { Vec::new() }; 7], 0);
    // What comes after all have moved is not measured in the first round, nor is the first call, which makes all
    // zones.
    for cases in [0..3, 3..CASES.len()] {
        for (round, case) in (0..=ROUNDS).flat_map(|round| cases.clone().map(move |case| (round, case))) {
            let moved = round % count;
            let different = |tenants: Vec<TenantZone>, gone: Vec<String>| {
                let next = generation + u64::from(!tenants.is_empty() || !gone.is_empty());
                ApplyZonesRequest { base: generation, gone, ..request(next, tenants) }
            };
            let moving = match case {
                1 | 4 => moved..moved + 1,
                2 => 0..count,
                _ => 0..0,
            };
            tenants[moving].iter_mut().for_each(moves);
            let request = match case {
                0..3 => request(generation + 1, tenants.clone()),
                3 => different(Vec::new(), Vec::new()),
                4 => different(vec![tenants[moved].clone()], Vec::new()),
                5 => different(vec![zone(&name(count), 64, &ADDRESSES[..1], "link")], Vec::new()),
                _ => different(Vec::new(), vec![name(count)]),
            };
            generation = request.generation;
            let begun = Instant::now();
            let applied = server.client.apply_zones(request).await.unwrap().into_inner();
            let took = begun.elapsed();
            assert!(
                applied.stale_zones.is_empty() && applied.refused_zones.is_empty() && !applied.incomplete
            );
            if round > 0 {
                times[case].push(took);
            }
        }
    }
    server.stop().await;
    times.map(median_ms)
}

/// To the other system, under the next serial.
fn moves(tenant: &mut TenantZone) {
    tenant.serial += 1;
    tenant.addresses = vec![ADDRESSES[tenant.serial as usize % 2].into()];
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}
