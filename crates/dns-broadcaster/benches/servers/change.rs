//! From a change to the new answer: at this server, at each kind of name server that follows it, and at each
//! that it updates (RFC 2136).
//!
//! Beside it Knot is changed through its control socket, which is the fastest that an operator's primary
//! is known to be, with followers of its own. Its times are less what an order takes that changes nothing:
//! that is starting `knotc`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use switchback_dns::access;
use switchback_dns::core::name::Name;
use switchback_dns::core::secondary::Follow;
use switchback_dns::tsig::{Algorithm, Key};
use switchback_proto::dns::v1::ApplyZonesRequest;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::broadcaster::{Bound, FOR_EVER, request, zone};
use crate::peer::{Kind, Master, Primary, Secondary, TsigKey, address_of, eventually};

const OURS: Ipv4Addr = Ipv4Addr::new(127, 75, 9, 1);
const KNOT: Ipv4Addr = Ipv4Addr::new(127, 75, 9, 2);
const OUR_ZONE: &str = "change.west.example.com";
const KNOT_ZONE: &str = "change.test";
/// Where others master the names of this system, and what else is there.
const MASTERED: &str = "example.com";
const RECORDS: [[&str; 3]; 3] = [
    [MASTERED, "SOA", "ns1.example.com. hostmaster.example.com. 1 3600 600 86400 5"],
    [MASTERED, "NS", "ns1.example.com."],
    ["ns1.example.com", "A", "192.0.2.53"],
];
/// Knot tells of a change later that follows another within a second.
const APART: Duration = Duration::from_millis(1500);
/// How often a server is asked.
const POLL: Duration = Duration::from_micros(250);
/// What takes longer has failed.
const LATEST: Duration = Duration::from_secs(30);
/// Zones that change at once, and whom they are told to.
const ZONES: usize = 200;
const LISTENERS: u8 = 4;

/// Prints how long changes took.
pub(crate) fn compare(changes: usize) {
    // Three servers of ours share it, each of which would have two.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(6).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        followed(folder.path(), changes).await;
        told(&folder.path().join("told"), changes).await;
        published(folder.path(), changes).await;
    });
}

/// Times at one server, of one primary.
struct Times {
    server: &'static str,
    is_updated: bool,
    address: SocketAddr,
    ours: bool,
    taken: Vec<Duration>,
}

async fn followed(folder: &Path, changes: usize) {
    let homes = ["ours", "by-ours", "knot", "by-knot", "mastered"].map(|name| folder.join(name));
    for home in &homes {
        std::fs::create_dir_all(home).unwrap();
    }
    // The zone is there before anybody asks for it: who asks in vain asks again much later.
    let bound = Bound::at(&homes[0], (OURS, 0).into()).await;
    let dns = bound.dns;
    let mut ours = bound.hold(Duration::ZERO).serve();
    ours.apply(1, vec![zone(OUR_ZONE, 1, &["192.0.2.1"], "link")]).await;
    ours.stop().await;
    let mut times =
        vec![Times { server: "itself", is_updated: false, address: dns, ours: true, taken: Vec::new() }];
    let mut knot = None;
    if Kind::Knot.is_installed() {
        let text = format!(
            "$ORIGIN {KNOT_ZONE}.\n@ 3 SOA ns1 admin 1 30 10 1000 5\n@ 3 NS ns1\n@ 3 A 192.0.2.1\nns1 3 A 192.0.2.53\n"
        );
        let primary = Primary::knot(&homes[2], KNOT, KNOT_ZONE, &text, None).await;
        times.push(Times {
            server: "itself",
            is_updated: false,
            address: primary.address(),
            ours: false,
            taken: Vec::new(),
        });
        knot = Some(primary);
    }
    let anybody = access::Secondary {
        name: "anybody".into(),
        address: (Ipv4Addr::LOCALHOST, 9).into(),
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    let bound = Bound::at(&homes[0], dns).await.hold(Duration::ZERO);
    let mut ours = bound.followed_by_all(vec![anybody]).serve();
    let mut running = Vec::new();
    for (server, kind) in
        [("knot", Kind::Knot), ("bind", Kind::Bind), ("nsd", Kind::Nsd), ("powerdns", Kind::PowerDns)]
    {
        if !kind.is_installed() {
            continue;
        }
        let mut primaries = vec![(true, OUR_ZONE, dns)];
        primaries.extend(knot.as_ref().map(|knot| (false, KNOT_ZONE, knot.address())));
        for (ours, zone, primary) in primaries {
            let secondary =
                Secondary::start(kind, &homes[if ours { 1 } else { 3 }], &[zone], &[primary], None).await;
            eventually(
                "the zone is followed",
                || secondary.log(),
                async || address_of(secondary.address(), zone).await,
            )
            .await;
            times.push(Times {
                server,
                is_updated: false,
                address: secondary.address(),
                ours,
                taken: Vec::new(),
            });
            running.push(secondary);
        }
    }
    let mut own = Vec::new();
    let mut primaries = vec![(true, OUR_ZONE, dns)];
    primaries.extend(knot.as_ref().map(|knot| (false, KNOT_ZONE, knot.address())));
    for (is_ours, zone, address) in primaries {
        let follow = Follow { zones: [Name::parse(zone).unwrap()].into(), catalogue: None };
        let primary = access::Primary { name: "primary".into(), address, key: None, follow };
        // Both primaries know followers by this address.
        let at = (Ipv4Addr::LOCALHOST, 0).into();
        let bound = Bound::at(&folder.join(format!("follower-{is_ours}")), at).await;
        let follower = bound.domain("follower.test").follows(vec![primary], None).serve();
        let address = follower.dns;
        eventually("the zone is followed", String::new, async || address_of(address, zone).await).await;
        times.push(Times { server: "ours", is_updated: false, address, ours: is_ours, taken: Vec::new() });
        own.push(follower);
    }
    let (shared, key) = update_key();
    let (mut masters, mut targets) = (Vec::new(), Vec::new());
    for (server, kind) in [("knot", Kind::Knot), ("bind", Kind::Bind), ("powerdns", Kind::PowerDns)] {
        if !kind.is_installed() {
            continue;
        }
        let master = Master::start(kind, &homes[4], MASTERED, &RECORDS, &shared, OUR_ZONE).await;
        let (address, zone) = (master.address(), Name::parse(MASTERED).unwrap());
        targets.push(access::UpdateTarget { name: server.into(), address, zone, key: key.name().clone() });
        times.push(Times { server, is_updated: true, address, ours: true, taken: Vec::new() });
        masters.push(master);
    }
    // Whom to tell is known now.
    ours.stop().await;
    let known = |ours: bool| {
        let is_told = move |time: &&Times| time.ours == ours && !time.is_updated && time.server != "itself";
        times.iter().filter(is_told)
    };
    let secondaries: Vec<_> = known(true)
        .map(|time| access::Secondary {
            name: time.server.into(),
            address: time.address,
            key: None,
            catalogue: false,
            zones: Default::default(),
        })
        .collect();
    let bound = Bound::at(&homes[0], dns).await.hold(Duration::ZERO).followed_by_all(secondaries);
    ours = bound.updates(targets, &key).serve();
    if let Some(knot) = &knot {
        knot.notify(&known(false).map(|time| time.address).collect::<Vec<_>>()).await;
    }
    // The first one warms up.
    for change in 0..=changes {
        for (is_ours, zone_name) in [(true, OUR_ZONE), (false, KNOT_ZONE)] {
            tokio::time::sleep(APART).await;
            let address = Ipv4Addr::new(192, 0, 2, 2 + (change % 200) as u8);
            let waiting: Vec<_> = times
                .iter()
                .enumerate()
                .filter(|(_, time)| time.ours == is_ours)
                .map(|(at, time)| {
                    let server = time.address;
                    (at, tokio::task::spawn_blocking(move || until(server, zone_name, address)))
                })
                .collect();
            // All of them ask by now.
            tokio::time::sleep(10 * POLL).await;
            let text = address.to_string();
            let begun = match (&knot, is_ours) {
                (_, true) => {
                    let begun = Instant::now();
                    let serial = 2 + u32::try_from(change).unwrap();
                    ours.apply(u64::from(serial), vec![zone(OUR_ZONE, serial, &[&text], "link")]).await;
                    begun
                }
                (Some(knot), false) => {
                    let order = knot.stage("@", 3, "A", &text).await;
                    let begun = Instant::now();
                    knot.commit().await;
                    begun + order
                }
                (None, false) => continue,
            };
            for (at, answered) in waiting {
                let answered = answered.await.unwrap();
                if change > 0 {
                    times[at].taken.push(answered.saturating_duration_since(begun));
                }
            }
        }
    }
    ours.stop().await;
    for follower in own {
        follower.stop().await;
    }
    println!(
        "\n{:<18} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "change at", "p50 ms", "p95 ms", "Knot p50", "Knot p95", "ours/it"
    );
    for time in times.iter().filter(|time| time.ours) {
        let beside = times.iter().find(|other| !other.ours && other.server == time.server);
        let beside = |part| beside.map_or(f64::NAN, |beside| millis(&beside.taken, part));
        let (p50, p95) = (millis(&time.taken, 50), millis(&time.taken, 95));
        let way = if time.is_updated { " by update" } else { "" };
        println!(
            "{:<18} {p50:>9.2} {p95:>9.2} {:>9.2} {:>9.2} {:>9.2}",
            format!("{}{way}", time.server),
            beside(50),
            beside(95),
            p95 / beside(95)
        );
    }
}

/// What updates are signed with, as those who take them have it and as this system has.
fn update_key() -> (TsigKey, Key) {
    let shared = TsigKey {
        name: "update.example.com".into(),
        algorithm: "hmac-sha256".into(),
        secret_base64: "c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz".into(),
    };
    let name = Name::parse(&shared.name).unwrap();
    let key = Key::from_base64(&name, Algorithm::HmacSha256, &shared.secret_base64).unwrap();
    (shared, key)
}

/// When `server` answers with this address.
fn until(server: SocketAddr, name: &str, address: Ipv4Addr) -> Instant {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut question = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let (begun, mut buffer) = (Instant::now(), [0; 2048]);
    while begun.elapsed() < LATEST {
        if socket.send(&question).is_ok()
            && let Ok(length) = socket.recv(&mut buffer)
            && buffer[..length].windows(4).any(|bytes| bytes == address.octets())
        {
            return Instant::now();
        }
        thread::sleep(POLL);
    }
    panic!("{server} does not answer {address}");
}

/// From a change to NOTIFY on the wire, with many zones and whom to tell at once.
async fn told(folder: &Path, changes: usize) {
    let (sender, mut heard) = mpsc::unbounded_channel();
    let secondaries = (0..LISTENERS).map(|number| access::Secondary {
        name: format!("listener-{number}"),
        address: listen(sender.clone()),
        key: None,
        catalogue: false,
        zones: Default::default(),
    });
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

/// From a change of one tenant to its being durable and answered, in a system's zone of few and of many
/// names.
async fn published(folder: &Path, changes: usize) {
    println!("\n{:<18} {:>9} {:>9}", "one change among", "p50 ms", "p95 ms");
    for names in [1_000, 1_000_000] {
        let home = folder.join(names.to_string());
        std::fs::create_dir_all(&home).unwrap();
        let own = home.join("own.zone");
        std::fs::write(&own, (0..names).map(|n| format!("host-{n} 60 A 192.0.2.1\n")).collect::<String>())
            .unwrap();
        let mut ours = Bound::at(&home, (OURS, 0).into()).await.zone_files(vec![own]).serve();
        let (mut zones, mut taken) = (Vec::new(), Vec::new());
        for change in 0..=changes {
            zones.push(zone(&format!("t{change}.west.example.com"), 1, &["192.0.2.1"], "link"));
            let begun = Instant::now();
            ours.apply(1 + change as u64, zones.clone()).await;
            if change > 0 {
                taken.push(begun.elapsed());
            }
        }
        println!("{:<18} {:>9.2} {:>9.2}", format!("{names} names"), millis(&taken, 50), millis(&taken, 95));
        ours.stop().await;
    }
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

/// The time that so many of a hundred stay below.
fn millis(times: &[Duration], part: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * part).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
