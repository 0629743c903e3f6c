//! From a change to the new answer: at this server, at each kind of name server that follows it, and at each
//! that it updates (RFC 2136).
//!
//! Beside it Knot is changed through its control socket, which is the fastest that an operator's primary
//! is known to be, with followers of its own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use switchback_dns::access;
use switchback_dns::core::name::Name;
use switchback_dns::core::secondary::Follow;
use switchback_dns::tsig::{Algorithm, Key};

use crate::broadcaster::{Bound, zone};
use crate::notice;
use crate::peer::{Kind, Master, Primary, Secondary, TsigKey, address_of, eventually};

pub(crate) const OURS: Ipv4Addr = Ipv4Addr::new(127, 75, 9, 1);
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
pub(crate) const APART: Duration = Duration::from_millis(1500);
/// How often a server is asked.
const POLL: Duration = Duration::from_micros(250);
/// What takes longer has failed.
pub(crate) const LATEST: Duration = Duration::from_secs(30);

/// Prints how long changes took.
pub(crate) fn compare(changes: usize) {
    // Three servers of ours share it, each of which would have two.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(6).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        followed(folder.path(), changes).await;
        notice::measure(&folder.path().join("notified"), changes).await;
        published(folder.path(), changes).await;
    });
}

/// How a change reaches those who are asked for it. Each way has its turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// This server tells those who follow it.
    Told,
    /// Knot does, changed through its control socket.
    ByKnot,
    /// This server updates those who master its names.
    Updated,
}

impl Way {
    fn zone(self) -> &'static str {
        if self == Self::ByKnot { KNOT_ZONE } else { OUR_ZONE }
    }
}

/// Times at one server, by one way.
struct Times {
    way: Way,
    /// It is where the change is made.
    is_primary: bool,
    address: SocketAddr,
    taken: Vec<Duration>,
}

impl Times {
    fn of(way: Way, address: SocketAddr) -> Self {
        Self { way, is_primary: false, address, taken: Vec::new() }
    }

    fn primary(way: Way, address: SocketAddr) -> Self {
        Self { is_primary: true, ..Self::of(way, address) }
    }
}

/// One server after the other, by itself: those that run at the same time here have a machine each elsewhere.
async fn followed(folder: &Path, changes: usize) {
    println!(
        "\n{:<18} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "change at", "p50 ms", "p95 ms", "Knot p50", "Knot p95", "ours/it"
    );
    let mut primaries = Vec::new();
    for (server, kind) in [
        ("knot", Some(Kind::Knot)),
        ("bind", Some(Kind::Bind)),
        ("nsd", Some(Kind::Nsd)),
        ("powerdns", Some(Kind::PowerDns)),
        ("ours", None),
    ] {
        if kind.is_none_or(Kind::is_installed) {
            let times = at_one(&folder.join(server), changes, kind).await;
            let (itself, others): (Vec<_>, _) = times.into_iter().partition(|time| time.is_primary);
            compared(server, &others);
            primaries.extend(itself);
        }
    }
    compared("itself", &primaries);
}

/// Prints what the ways took, beside Knot's.
fn compared(server: &str, times: &[Times]) {
    let of = |way: Way| -> Vec<_> {
        times.iter().filter(|time| time.way == way).flat_map(|time| &time.taken).copied().collect()
    };
    let beside = of(Way::ByKnot);
    for (way, by) in [(Way::Told, ""), (Way::Updated, " by update")] {
        let taken = of(way);
        if taken.is_empty() {
            continue;
        }
        let [p50, p95, knot_p50, knot_p95] = [(&taken, 50), (&taken, 95), (&beside, 50), (&beside, 95)]
            .map(|(times, part)| millis(times, part));
        println!(
            "{:<18} {p50:>9.2} {p95:>9.2} {knot_p50:>9.2} {knot_p95:>9.2} {:>9.2}",
            format!("{server}{by}"),
            p95 / knot_p95
        );
    }
}

/// Changes at each primary and at a server of this kind (none: one of ours) that follows it, or is updated.
async fn at_one(folder: &Path, changes: usize, kind: Option<Kind>) -> Vec<Times> {
    let homes = ["ours", "by-ours", "knot", "by-knot", "mastered", "updater"].map(|name| folder.join(name));
    for home in &homes {
        std::fs::create_dir_all(home).unwrap();
    }
    // The zone is there before anybody asks for it: who asks in vain asks again much later.
    let bound = Bound::at(&homes[0], (OURS, 0).into()).await;
    let dns = bound.dns;
    let mut ours = bound.hold(Duration::ZERO).serve();
    ours.apply(1, vec![zone(OUR_ZONE, 1, &["192.0.2.1"], "link")]).await;
    ours.stop().await;
    let mut times = vec![Times::primary(Way::Told, dns)];
    let mut knot = None;
    if Kind::Knot.is_installed() {
        let text = format!(
            "$ORIGIN {KNOT_ZONE}.\n@ 3 SOA ns1 admin 1 30 10 1000 5\n@ 3 NS ns1\n@ 3 A 192.0.2.1\nns1 3 A 192.0.2.53\n"
        );
        let primary = Primary::knot(&homes[2], KNOT, KNOT_ZONE, &text, None).await;
        times.push(Times::primary(Way::ByKnot, primary.address()));
        knot = Some(primary);
    }
    let anybody = told("anybody", (Ipv4Addr::LOCALHOST, 9).into());
    let bound = Bound::at(&homes[0], dns).await.hold(Duration::ZERO);
    let mut ours = bound.followed_by_all(vec![anybody]).serve();
    let primaries: Vec<_> = times.iter().map(|time| (time.way, time.address)).collect();
    let (mut secondaries, mut own) = (Vec::new(), Vec::new());
    for (way, primary) in primaries {
        let (home, zone) = (&homes[if way == Way::Told { 1 } else { 3 }], way.zone());
        let address = if let Some(kind) = kind {
            let secondary = Secondary::start(kind, home, &[zone], &[primary], None).await;
            let address = secondary.address();
            secondaries.push(secondary);
            address
        } else {
            let follow = Follow { zones: [Name::parse(zone).unwrap()].into(), catalogue: None };
            let primary = access::Primary { name: "primary".into(), address: primary, key: None, follow };
            // Both primaries know followers by this address.
            let bound = Bound::at(home, (Ipv4Addr::LOCALHOST, 0).into()).await;
            let follower = bound.domain("follower.test").follows(vec![primary], None).serve();
            let address = follower.dns;
            own.push(follower);
            address
        };
        let log = || secondaries.last().map(Secondary::log).unwrap_or_default();
        eventually("the zone is followed", log, async || address_of(address, zone).await).await;
        times.push(Times::of(way, address));
    }
    // Whom to tell is known now.
    ours.stop().await;
    let followers = |way: Way| times.iter().filter(move |time| time.way == way && !time.is_primary);
    let bound = Bound::at(&homes[0], dns).await.hold(Duration::ZERO);
    ours = bound.followed_by_all(followers(Way::Told).map(|time| told("it", time.address)).collect()).serve();
    if let Some(knot) = &knot {
        knot.notify(&followers(Way::ByKnot).map(|time| time.address).collect::<Vec<_>>()).await;
    }
    let mut updating = None;
    if let Some(kind) = kind.filter(|kind| *kind != Kind::Nsd) {
        let (shared, key) = update_key();
        let master = Master::start(kind, &homes[4], MASTERED, &RECORDS, &shared, OUR_ZONE).await;
        let (address, zone) = (master.address(), Name::parse(MASTERED).unwrap());
        let target = access::UpdateTarget { name: "it".into(), address, zone, key: key.name().clone() };
        let bound = Bound::at(&homes[5], (OURS, 0).into()).await.hold(Duration::ZERO);
        updating = Some((bound.updates(vec![target], &key).serve(), master));
        times.push(Times::of(Way::Updated, address));
    }
    let ways: Vec<_> = [Way::Told, Way::ByKnot, Way::Updated]
        .into_iter()
        .filter(|way| times.iter().any(|time| time.way == *way))
        .collect();
    // The first one warms up.
    for change in 0..=changes {
        for way in &ways {
            tokio::time::sleep(APART / u32::try_from(ways.len()).unwrap()).await;
            let address = Ipv4Addr::new(192, 0, 2, 2 + (change % 200) as u8);
            let text = address.to_string();
            if let (Way::ByKnot, Some(knot)) = (way, &knot) {
                knot.stage("@", 3, "A", &text).await;
            }
            let waiting: Vec<_> = times
                .iter()
                .enumerate()
                .filter(|(_, time)| time.way == *way)
                .map(|(at, time)| {
                    let (server, zone) = (time.address, way.zone());
                    (at, tokio::task::spawn_blocking(move || until(server, zone, address)))
                })
                .collect();
            // All of them ask by now.
            tokio::time::sleep(10 * POLL).await;
            let serial = 2 + u32::try_from(change).unwrap();
            let zones = vec![zone(OUR_ZONE, serial, &[&text], "link")];
            let begun = Instant::now();
            // Kept until everybody has answered: whoever hangs up may be heard no more.
            let mut _reply = None;
            match (way, &knot, &mut updating) {
                (Way::Told, ..) => drop(ours.apply(serial.into(), zones).await),
                (Way::ByKnot, Some(knot), _) => _reply = Some(knot.commit()),
                (Way::Updated, _, Some((updater, _))) => drop(updater.apply(serial.into(), zones).await),
                (Way::ByKnot, None, _) | (Way::Updated, _, None) => unreachable!("only what runs is asked"),
            }
            for (at, answered) in waiting {
                let answered = answered.await.unwrap();
                if change > 0 {
                    times[at].taken.push(answered.saturating_duration_since(begun));
                }
            }
        }
    }
    ours.stop().await;
    if let Some((updater, _master)) = updating {
        updater.stop().await;
    }
    for follower in own {
        follower.stop().await;
    }
    times
}

/// Whoever is told of changes at `address`.
pub(crate) fn told(name: &str, address: SocketAddr) -> access::Secondary {
    access::Secondary { name: name.into(), address, key: None, catalogue: false, zones: Default::default() }
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

/// The time that so many of a hundred stay below.
pub(crate) fn millis(times: &[Duration], part: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * part).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
