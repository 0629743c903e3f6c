//! From a change at a primary of ours to the new answer at one that follows, printed and not judged:
//!
//! `cargo test --release -p switchback-dns --test primaries speed -- --ignored --nocapture`

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use switchback_proto::dns::v1::{PublishCatalogueRequest, TenantZone};

use crate::broadcaster::{Bound, Broadcaster, request_of, zone};
use crate::{address, knows, primary, secondary};

const WEST: &str = "west.example.com";
const CATALOGUE: &str = "_catalog.west.example.com";
const CHANGES: u32 = 50;

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

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part).div_ceil(100) - 1];
    println!("{what}: p50 {:.2?}, p95 {:.2?} of {}", at(50), at(95), times.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures and asserts nothing"]
async fn how_soon_a_change_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let east = Bound::at(&folder.path().join("east"), address()).await.domain("east.example.com");
    let west = Bound::at(&folder.path().join("west"), address()).await.domain(WEST);
    let (at, at_west) = (east.dns, west.dns);
    let west = west.followed_by_all(vec![secondary(at, true, None)]).serve();
    let east = east.follows(vec![primary(at_west, &[], Some(CATALOGUE), None)], None).serve();
    let mut serial = 1;
    for count in [1, 200] {
        let (mut times, mut own) = (Vec::new(), Vec::new());
        apply(&west, serial, tenants(count, serial, 1)).await;
        west.client.clone().publish_catalogue(PublishCatalogueRequest {}).await.unwrap();
        let all = |primary: &switchback_proto::dns::v1::Primary| primary.held == count + 2;
        knows(&east, "everything is held", String::new, all).await;
        for change in 0..if count == 1 { CHANGES } else { CHANGES / 5 } {
            tokio::time::sleep(Duration::from_millis(200)).await;
            serial += 1;
            let last = 2 + u8::try_from(change).unwrap();
            let answered = tokio::task::spawn_blocking(move || until(at, count, last));
            tokio::time::sleep(Duration::from_millis(5)).await;
            let begun = Instant::now();
            apply(&west, serial, tenants(count, serial, last)).await;
            own.push(begun.elapsed());
            times.push(answered.await.unwrap().saturating_duration_since(begun));
        }
        print(&format!("{count} zones changed at their primary"), own);
        print(&format!("{count} zones followed"), times);
    }
    east.stop().await;
    west.stop().await;
}
