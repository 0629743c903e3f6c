//! From a change at a primary of ours to the new answer at a system that holds copies of its zones, of one zone and
//! of two hundred at once.
//!
//! `cargo bench -p switchback-dns --bench copies`
//!
//! Beside it stands the part of the primary's own: until the change is durable and answered there.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

#[path = "../tests/broadcaster/mod.rs"]
mod broadcaster;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use broadcaster::{Bound, Broadcaster, request_of, zone};
use switchback_dns::access::{Primary, Secondary};
use switchback_dns::core::name::Name;
use switchback_dns::core::secondary::Follow;
use switchback_proto::dns::v1::TenantZone;

const WEST: &str = "west.example.com";
/// Servers know each other by their addresses.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 78, 200, 1), Ipv4Addr::new(127, 78, 200, 2)];

fn main() {
    // Two servers share it, each of which would have two.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    println!("{:<10} {:<20} {:>9} {:>9}", "zones", "ms until", "p50", "p95");
    for (zones, changes) in [(1, 50), (200, 10)] {
        runtime.block_on(measure(zones, changes));
    }
}

fn tenants(count: u32, serial: u32, last: u8) -> Vec<TenantZone> {
    let address = format!("192.0.2.{last}");
    (0..count).map(|number| zone(&format!("t{number}.{WEST}"), serial, &[&address], "link")).collect()
}

async fn apply(west: &Broadcaster, generation: u32, tenants: Vec<TenantZone>) {
    west.client.clone().apply_zones(request_of(WEST, generation.into(), tenants)).await.unwrap();
}

/// When all of these zones lead there, asked one after the other.
fn until(server: SocketAddr, zones: u32, last: u8) -> Instant {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut buffer = [0; 512];
    for number in 0..zones {
        let mut question = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in format!("t{number}.{WEST}").split('.') {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(label.bytes());
        }
        question.extend([0, 0, 1, 0, 1]);
        loop {
            socket.send(&question).unwrap();
            let received = socket
                .recv(&mut buffer)
                .is_ok_and(|length| buffer[..length].windows(4).any(|bytes| bytes == [192, 0, 2, last]));
            if received {
                break;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    Instant::now()
}

fn print(zones: u32, what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part).div_ceil(100) - 1].as_secs_f64() * 1e3;
    println!("{zones:<10} {what:<20} {:>9.2} {:>9.2}", at(50), at(95));
}

async fn measure(zones: u32, changes: u8) {
    let folder = tempfile::tempdir().unwrap();
    let [west, east] = ADDRESSES.map(|address| SocketAddr::from((address, 0)));
    let west = Bound::at(&folder.path().join("west"), west).await.domain(WEST);
    let east = Bound::at(&folder.path().join("east"), east).await.domain("east.example.com");
    let (at_west, at_east) = (west.dns, east.dns);
    let follower = Secondary {
        name: "east".into(),
        address: at_east,
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    let names = (0..zones).map(|number| Name::parse(&format!("t{number}.{WEST}")).unwrap());
    let follow = Follow { zones: names.collect(), catalogue: None };
    let primary = Primary { name: "west".into(), address: at_west, key: None, follow };
    let west = west.followed_by_all(vec![follower]).serve();
    apply(&west, 1, tenants(zones, 1, 1)).await;
    let east = east.follows(vec![primary], None).serve();
    tokio::task::spawn_blocking(move || until(at_east, zones, 1)).await.unwrap();
    let (mut followed, mut own) = (Vec::new(), Vec::new());
    for change in 0..changes {
        // Whoever asks each other about the last one has ended.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let last = 2 + change;
        let answered = tokio::task::spawn_blocking(move || until(at_east, zones, last));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let serial = 2 + u32::from(change);
        let begun = Instant::now();
        apply(&west, serial, tenants(zones, serial, last)).await;
        own.push(begun.elapsed());
        followed.push(answered.await.unwrap().saturating_duration_since(begun));
    }
    print(zones, "the primary's reply", own);
    print(zones, "the copy's answer", followed);
    east.stop().await;
    west.stop().await;
}
