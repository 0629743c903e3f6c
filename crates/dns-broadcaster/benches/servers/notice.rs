//! From a change to NOTIFY on the wire, with many zones and whom to tell at once.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Instant;

use switchback_proto::dns::v1::ApplyZonesRequest;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::broadcaster::{Bound, FOR_EVER, request, zone};
use crate::change::{APART, LATEST, OURS, millis, told};

/// Zones that change at once, and whom they are told to.
const ZONES: usize = 200;
const LISTENERS: u8 = 4;

/// Prints how long it took, from the call and from its reply.
pub(crate) async fn measure(folder: &Path, changes: usize) {
    let (sender, mut heard) = mpsc::unbounded_channel();
    let secondaries =
        (0..LISTENERS).map(|number| told(&format!("listener-{number}"), listen(sender.clone())));
    let bound = Bound::at(folder, (OURS, 0).into()).await.hold(FOR_EVER);
    let mut ours = bound.followed_by_all(secondaries.collect()).serve();
    println!("\n{:<12} {:>9} {:>9} {:>12} {:>9}", "NOTIFY after", "p50 ms", "p99 ms", "of reply p50", "p99");
    let (mut serials, mut generation) = (vec![0; ZONES], 0);
    for (label, changed) in [("1 zone", 1), ("200 zones", ZONES)] {
        let (mut sent, mut replied) = (Vec::new(), Vec::new());
        // The first one makes the zones.
        for change in 0..=changes {
            let moving = if generation == 0 { ZONES } else { changed };
            generation += 1;
            serials[..moving].fill(generation);
            let zones = serials[..moving].iter().enumerate();
            let zones = zones
                .map(|(n, serial)| zone(&format!("t{n}.west.example.com"), *serial, &["192.0.2.1"], "link"));
            // As the link manager does: everything at first, and then what has changed.
            let base = u64::from(generation - 1);
            let request = ApplyZonesRequest { base, ..request(u64::from(generation), zones.collect()) };
            while heard.try_recv().is_ok() {}
            let begun = Instant::now();
            let applied = ours.client.apply_zones(request).await.unwrap().into_inner();
            let reply = Instant::now();
            assert!(!applied.incomplete && applied.stale_zones.is_empty());
            for _ in 0..moving * usize::from(LISTENERS) {
                let at: Instant = timeout(LATEST, heard.recv()).await.expect("everybody is told").unwrap();
                if change > 0 {
                    sent.push(at.saturating_duration_since(begun));
                    replied.push(at.saturating_duration_since(reply));
                }
            }
            // Whoever is asked has answered by then.
            tokio::time::sleep(APART / 10).await;
        }
        println!(
            "{label:<12} {:>9.2} {:>9.2} {:>12.2} {:>9.2}",
            millis(&sent, 50),
            millis(&sent, 99),
            millis(&replied, 50),
            millis(&replied, 99)
        );
    }
    ours.stop().await;
}

/// A name server that says when it is told something, and to have it.
fn listen(told: mpsc::UnboundedSender<Instant>) -> SocketAddr {
    const NOTIFY: u8 = 4 << 3;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        let mut serials = HashMap::new();
        while let Ok((length, source)) = socket.recv_from(&mut buffer) {
            let at = Instant::now();
            let message = &mut buffer[..length];
            let name = message[12..].iter().position(|byte| *byte == 0).unwrap();
            let question = 12 + name + 1 + 4;
            let owner = message[12..question].to_vec();
            let is_notify = message[2] & 0x78 == NOTIFY;
            message[2] |= 0x84;
            let mut answer = message[..question].to_vec();
            answer[6..12].fill(0);
            if is_notify {
                let serial = message[length - 20..length - 16].to_vec();
                if serials.insert(owner, serial.clone()) != Some(serial) && told.send(at).is_err() {
                    return;
                }
            } else if let Some(serial) = serials.get(&owner) {
                answer[7] = 1;
                answer.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 5, 0, 22, 0, 0]);
                answer.extend(serial);
                answer.extend([0; 16]);
            }
            let _ = socket.send_to(&answer, source);
        }
    });
    address
}
