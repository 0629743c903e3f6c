//! Questions and answers, beside the name servers that people run.
//!
//! `cargo bench -p switchback-dns --bench servers [-- --rounds N]`
//!
//! This server as it is shipped, BIND, NSD, Knot and PowerDNS hold the same zone, which they take from
//! it. Each has one core, the questions come from another; the servers take turns, medians of the
//! rounds are compared, and every answer is looked at. Needs two cores and the servers' packages; those that
//! are not installed are named and left out.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

#[path = "../tests/peer/mod.rs"]
mod peer;

use std::array;
use std::fmt::Write as _;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use nix::unistd::Pid;
use peer::{Kind, PATIENCE, Secondary, eventually, processes};
use switchback_dns::client;
use switchback_kit::secret::Secret;

const ZONE: &str = "bench.test";
/// Where the servers are, and where the questions come from.
const SERVERS_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// One round of one server.
const ROUND: Duration = Duration::from_millis(700);
/// Datagrams in one system call.
const BATCH: usize = 64;
/// Questions that are open at once: enough to keep a server busy, and for the latency few.
const WINDOW_BUSY: usize = 512;
const WINDOW_QUICK: usize = 16;
/// What comes back within this long was not lost.
const LOST: Duration = Duration::from_millis(200);

fn main() {
    let rounds = rounds();
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        println!("two cores are needed: one for the server, one for the questions");
        return;
    }
    pin(Pid::from_raw(0), CLIENT_CORE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "{:<9} {:<9} {:>7} {:>7} {:>9} {:>8} {:>8} {:>6}",
        "names", "server", "k/s", "ours/it", "us CPU", "p50 us", "p99 us", "B/name"
    );
    for names in [1_000, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let servers = runtime.block_on(start(folder.path(), names));
        for (label, load) in [("plain", Load::plain(names)), ("mixed", Load::mixed(names))] {
            compare(&format!("{names} {label}"), &servers, &load, rounds);
        }
    }
}

fn rounds() -> usize {
    let words: Vec<_> = std::env::args().collect();
    let given = words.windows(2).find(|pair| pair[0] == "--rounds");
    given.map_or(7, |pair| pair[1].parse().expect("--rounds N"))
}

/// A server that runs in a folder of its own.
struct Server {
    name: &'static str,
    folder: PathBuf,
    address: SocketAddr,
    /// Bytes that it holds more than with hardly a name.
    grown: u64,
    /// Seconds of CPU that it took for them: this server from the file, the others from it.
    loading: f64,
    _running: Running,
}

enum Running {
    Ours(#[allow(dead_code, reason = "ends when it is dropped")] Ours),
    Peer(#[allow(dead_code, reason = "ends when it is dropped")] Secondary),
}

async fn start(folder: &Path, names: usize) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    let (few, all) = (started(&folder.join("few"), 1).await, started(&folder.join("all"), names).await);
    for (few, mut server) in few.into_iter().zip(all) {
        server.grown = memory(&server.folder).saturating_sub(memory(&few.folder));
        server.loading = cpu(&server.folder) - cpu(&few.folder);
        servers.push(server);
    }
    for server in &servers {
        for process in processes(&server.folder) {
            pin(process, SERVERS_CORE);
        }
    }
    servers
}

/// All servers with a zone of so many names.
async fn started(folder: &Path, names: usize) -> Vec<Server> {
    let home = folder.join("ours");
    let ours = Ours::start(&home, names);
    let primary = ours.address;
    let serves = async |address, log: &dyn Fn() -> String| {
        eventually("the zone is served", log, async || {
            client::soa(address, ZONE, PATIENCE).await.ok().flatten()
        })
        .await
    };
    serves(primary, &|| fs::read_to_string(home.join("log")).unwrap_or_default()).await;
    let mut servers = vec![Server {
        name: "ours",
        folder: home,
        address: primary,
        grown: 0,
        loading: 0.0,
        _running: Running::Ours(ours),
    }];
    for (name, kind) in
        [("nsd", Kind::Nsd), ("knot", Kind::Knot), ("bind", Kind::Bind), ("powerdns", Kind::PowerDns)]
    {
        if !kind.is_installed() {
            continue;
        }
        let home = folder.join(name);
        fs::create_dir_all(&home).unwrap();
        let peer = Secondary::start(kind, &home, &[ZONE], &[primary], None).await;
        serves(peer.address(), &|| peer.log()).await;
        servers.push(Server {
            name,
            folder: home,
            address: peer.address(),
            grown: 0,
            loading: 0.0,
            _running: Running::Peer(peer),
        });
    }
    servers
}

/// This server, as a process of its own.
struct Ours {
    child: Child,
    address: SocketAddr,
}

impl Ours {
    fn start(home: &Path, names: usize) -> Self {
        fs::create_dir_all(home).unwrap();
        Secret::create(&home.join("secret")).unwrap();
        fs::write(home.join("bench.zone"), zone(names)).unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, grpc) = (free(), free());
        let config = format!(
            "[system]\nname = \"bench\"\ndomain = \"system.test\"\nid = \"0123456789abcdef0123456789abcdef\"\n\
             secret_file = {:?}\ndata_dir = {:?}\n[dns_broadcaster]\nlisten = \"{grpc}\"\n\
             dns_listen = [\"{address}\"]\nresponses_per_second = 0\nzone_files = [{:?}]\n\
             secondaries = [{{ name = \"all\", address = \"127.0.0.1:9\" }}]\n",
            home.join("secret"),
            home.join("data"),
            home.join("bench.zone"),
        );
        fs::write(home.join("switchback.toml"), config).unwrap();
        let log = fs::File::create(home.join("log")).unwrap();
        // On its core before it counts the cores there are.
        let child = Command::new("taskset")
            .args(["-c", &SERVERS_CORE.to_string(), env!("CARGO_BIN_EXE_switchback-dns-broadcaster")])
            .args(["--config", "switchback.toml"])
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, address }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn zone(names: usize) -> String {
    let mut text = format!(
        "$ORIGIN {ZONE}.\n$TTL 60\n@ SOA ns1 admin 1 3600 600 86400 60\n@ NS ns1\nns1 A 127.0.0.1\n*.wild A 192.0.2.1\n"
    );
    for number in 0..names {
        writeln!(text, "host-{number} A 192.0.{}.{}", number / 250 % 250, number % 250).unwrap();
    }
    text
}

/// Every thread of a process on one core.
fn pin(process: Pid, core: usize) {
    let mut set = CpuSet::new();
    set.set(core).unwrap();
    if process.as_raw() == 0 {
        sched_setaffinity(process, &set).unwrap();
        return;
    }
    for task in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        let id = task.file_name().to_str().and_then(|id| id.parse().ok()).map(Pid::from_raw);
        // A thread may have ended meanwhile.
        let _ = id.map(|id| sched_setaffinity(id, &set));
    }
}

/// Bytes in memory, what is shared counted in parts.
fn memory(folder: &Path) -> u64 {
    let of = |process: &Pid| {
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    processes(folder).iter().map(of).sum()
}

/// Seconds of CPU so far.
fn cpu(folder: &Path) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let of = |process: &Pid| {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let (_, rest) = text.rsplit_once(") ").unwrap_or_default();
        rest.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
    };
    processes(folder).iter().map(of).sum::<f64>() / TICKS_PER_SECOND
}

/// Questions, each with what its answer has to be: response code and number of answers.
struct Load(Vec<(Vec<u8>, (u8, u8))>);

impl Load {
    fn plain(names: usize) -> Self {
        Self((0..names.max(4096)).map(|number| found(names, number)).collect())
    }

    /// One in ten by a wildcard, one in ten denied.
    fn mixed(names: usize) -> Self {
        let one = |number: usize| match number % 10 {
            3 => (question(&format!("x{number}.wild.{ZONE}")), (0, 1)),
            7 => (question(&format!("none-{number}.{ZONE}")), (3, 0)),
            _ => found(names, number),
        };
        Self((0..names.max(4096)).map(one).collect())
    }
}

fn found(names: usize, number: usize) -> (Vec<u8>, (u8, u8)) {
    // Neighbours in the zone are not asked one after the other.
    (question(&format!("host-{}.{ZONE}", number.wrapping_mul(7919) % names)), (0, 1))
}

fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    // EDNS, 1232 bytes.
    bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[derive(Clone, Copy)]
struct Round {
    per_second: f64,
    /// Seconds of the server's CPU for each answer.
    cpu: f64,
    p50: Duration,
    p99: Duration,
}

fn compare(label: &str, servers: &[Server], load: &Load, rounds: usize) {
    let mut all: Vec<Vec<Round>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (server, rounds) in servers.iter().zip(&mut all) {
            let before = cpu(&server.folder);
            let busy = drive(server, load, WINDOW_BUSY);
            let cpu = (cpu(&server.folder) - before) / busy.0 as f64;
            let quick = drive(server, load, WINDOW_QUICK);
            // The first one warms up.
            if round > 0 {
                rounds.push(Round {
                    per_second: busy.0 as f64 / ROUND.as_secs_f64(),
                    cpu,
                    p50: quick.1,
                    p99: quick.2,
                });
            }
        }
    }
    let ours = median(&all[0], |round| round.per_second);
    for (server, rounds) in servers.iter().zip(&all) {
        let per_second = median(rounds, |round| round.per_second);
        let names: u64 = label.split(' ').next().unwrap().parse().unwrap();
        println!(
            "{label:<9} {:<9} {:>7.1} {:>7.2} {:>9.2} {:>8.0} {:>8.0} {:>6} {:>7.2}",
            server.name,
            per_second / 1000.0,
            ours / per_second,
            median(rounds, |round| round.cpu) * 1e6,
            median(rounds, |round| round.p50.as_secs_f64()) * 1e6,
            median(rounds, |round| round.p99.as_secs_f64()) * 1e6,
            server.grown / names,
            server.loading,
        );
    }
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<_> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Keeps `window` questions open for one round: answers, and the latency that half and 99 of a hundred
/// stay below.
fn drive(server: &Server, load: &Load, window: usize) -> (u64, Duration, Duration) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    socket.set_read_timeout(Some(LOST)).unwrap();
    let mut headers = (
        MultiHeaders::<SockaddrIn>::preallocate(BATCH, None),
        MultiHeaders::<SockaddrIn>::preallocate(BATCH, None),
    );
    let mut outgoing = vec![[0_u8; 128]; BATCH];
    let mut lengths = [0; BATCH];
    let mut incoming = vec![[0_u8; 2048]; BATCH];
    // By the id of the question.
    let mut asked: Vec<Option<(Instant, (u8, u8))>> = vec![None; 1 << 16];
    let mut latencies = Vec::with_capacity(1 << 20);
    let (mut next, mut id, mut open, mut answers, mut lost) = (0, 0_u16, 0_usize, 0_u64, 0);
    let begun = Instant::now();
    while begun.elapsed() < ROUND {
        while open + BATCH.min(window) <= window {
            let now = Instant::now();
            let count = BATCH.min(window);
            for (place, length) in outgoing.iter_mut().zip(&mut lengths).take(count) {
                let (bytes, expected) = &load.0[next];
                next = (next + 1) % load.0.len();
                id = id.wrapping_add(1);
                place[..bytes.len()].copy_from_slice(bytes);
                place[..2].copy_from_slice(&id.to_be_bytes());
                *length = bytes.len();
                asked[usize::from(id)] = Some((now, *expected));
            }
            let slices: [_; BATCH] = array::from_fn(|at| [IoSlice::new(&outgoing[at][..lengths[at]])]);
            let none: [ControlMessage<'_>; 0] = [];
            let peers = [None; BATCH];
            let sent = sendmmsg(
                socket.as_raw_fd(),
                &mut headers.0,
                &slices[..count],
                &peers[..count],
                none,
                MsgFlags::empty(),
            );
            open += sent.unwrap().count();
        }
        let mut places = incoming.iter_mut();
        let mut slices: [_; BATCH] = array::from_fn(|_| [IoSliceMut::new(places.next().unwrap())]);
        let taken = recvmmsg(socket.as_raw_fd(), &mut headers.1, &mut slices, MsgFlags::MSG_WAITFORONE, None);
        let Ok(taken) = taken.map(|taken| taken.count()) else {
            lost += open;
            open = 0;
            continue;
        };
        let now = Instant::now();
        for answer in &incoming[..taken] {
            let id = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
            let Some((at, expected)) = asked[id].take() else { continue };
            assert_eq!((answer[3] & 15, answer[7]), expected, "{} answered wrongly", server.name);
            latencies.push(now - at);
            answers += 1;
            open = open.saturating_sub(1);
        }
    }
    assert!(lost < 1000, "{} lost {lost} questions", server.name);
    latencies.sort_unstable();
    let at = |part: usize| latencies.get(latencies.len() * part / 100).copied().unwrap_or_default();
    (answers, at(50), at(99))
}
