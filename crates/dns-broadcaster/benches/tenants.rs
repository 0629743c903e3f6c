//! What one tenant's failover costs among many tenants, from the link manager's call to its answer.
//!
//! `cargo bench -p switchback-dns --bench tenants [-- TENANTS...]`
//!
//! Medians in milliseconds: a call that says what is on record, as one does every two seconds; one that moves one
//! tenant; one that moves all of them. The disk's share is part of it.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

#[path = "../tests/broadcaster/mod.rs"]
mod broadcaster;

use std::time::{Duration, Instant};

use broadcaster::{Broadcaster, request, zone};
use switchback_proto::dns::v1::TenantZone;

const ROUNDS: usize = 9;
const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

fn main() {
    let counts: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![100, 1_000, 10_000, 50_000] } else { counts };
    println!("{:>8} {:>10} {:>10} {:>10}", "tenants", "repeat", "one moves", "all move");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for count in counts {
        let [repeat, one, all] = runtime.block_on(measure(count));
        println!("{count:>8} {repeat:>10.2} {one:>10.2} {all:>10.2}");
    }
}

async fn measure(count: usize) -> [f64; 3] {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), Duration::ZERO).await;
    let name = |number| format!("tenant-{number}.west.example.com");
    let mut tenants: Vec<_> =
        (0..count).map(|number| zone(&name(number), 64, &ADDRESSES[..1], "link")).collect();
    let (mut times, mut generation) = ([const { Vec::new() }; 3], 0);
    for round in 0..=ROUNDS {
        let moved = round % count;
        for (times, moving) in times.iter_mut().zip([0..0, moved..moved + 1, 0..count]) {
            tenants[moving].iter_mut().for_each(moves);
            generation += 1;
            let request = request(generation, tenants.clone());
            let begun = Instant::now();
            let applied = server.client.apply_zones(request).await.unwrap().into_inner();
            let took = begun.elapsed();
            assert!(applied.stale_zones.is_empty() && applied.refused_zones.is_empty());
            // In the first one all zones are made.
            if round > 0 {
                times.push(took);
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
