//! Questions, and how fast they are answered.

use std::array;
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use crate::ZONE;
use crate::server::{Server, cpu};

/// One round of one server.
const ROUND: Duration = Duration::from_millis(700);
/// Datagrams in one system call.
const BATCH: usize = 64;
/// Questions that are open at once: enough to keep a server busy, and for the latency few.
const WINDOW_BUSY: usize = 512;
const WINDOW_QUICK: usize = 16;
/// What comes back within this long was not lost.
const LOST: Duration = Duration::from_millis(200);

/// Questions, each with what its answer has to be: response code and number of answers.
pub(crate) struct Load(Vec<(Vec<u8>, (u8, u8))>);

impl Load {
    pub(crate) fn plain(names: usize) -> Self {
        Self((0..names.max(4096)).map(|number| found(names, number)).collect())
    }

    /// One in ten by a wildcard, one in ten denied.
    pub(crate) fn mixed(names: usize) -> Self {
        let one = |number: usize| match number % 10 {
            3 => (question(&format!("x{number}.wild.{ZONE}")), (0, 1)),
            7 => (question(&format!("none-{number}.{ZONE}")), (3, 0)),
            _ => found(names, number),
        };
        Self((0..names.max(4096)).map(one).collect())
    }

    /// The same, for answers with their signatures.
    pub(crate) fn signed(mut self) -> Self {
        for (question, (_, answers)) in &mut self.0 {
            // DO, of the flags of the OPT record with which the question ends.
            let flags = question.len() - 4;
            question[flags] |= 0x80;
            *answers *= 2;
        }
        self
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
    /// Questions that were never answered.
    lost: usize,
}

/// How the servers did, in all their starts.
#[derive(Default)]
pub(crate) struct Comparison(Vec<Compared>);

struct Compared {
    name: &'static str,
    rounds: Vec<Round>,
    grown: u64,
    loading: f64,
}

impl Comparison {
    /// So many rounds more, of servers that were just started.
    pub(crate) fn go_on(&mut self, servers: &[Server], load: &Load, rounds: usize) {
        if self.0.is_empty() {
            let compared = servers.iter().map(|server| Compared {
                name: server.name,
                rounds: Vec::new(),
                grown: server.grown,
                loading: server.loading,
            });
            self.0.extend(compared);
        }
        for round in 0..=rounds {
            for (server, compared) in servers.iter().zip(&mut self.0) {
                let busy = drive(server, load, WINDOW_BUSY);
                let quick = drive(server, load, WINDOW_QUICK);
                // The first one warms up.
                if round > 0 {
                    compared.rounds.push(Round { p50: quick.p50, ..busy });
                }
            }
        }
    }

    /// Prints them. A server's own CPU for each answer says more than answers a second where others use the
    /// machine too.
    pub(crate) fn print(&self, names: usize, label: &str) {
        let ours = |of: fn(&Round) -> f64| median(&self.0[0].rounds, of);
        for Compared { name, rounds, grown, loading } in &self.0 {
            let (per_second, cpu) =
                (median(rounds, |round| round.per_second), median(rounds, |round| round.cpu));
            println!(
                "{:<12} {:<9} {:>7.1} {:>7.2} {:>9.2} {:>7.2} {:>8.0} {:>8.0} {:>6} {:>7.2} {:>6}",
                format!("{names} {label}"),
                name,
                per_second / 1000.0,
                ours(|round| round.per_second) / per_second,
                cpu * 1e6,
                cpu / ours(|round| round.cpu),
                median(rounds, |round| round.p50.as_secs_f64()) * 1e6,
                median(rounds, |round| round.p99.as_secs_f64()) * 1e6,
                grown / names as u64,
                loading,
                rounds.iter().map(|round| round.lost).sum::<usize>(),
            );
        }
    }
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<_> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Keeps `window` questions open for one round.
fn drive(server: &Server, load: &Load, window: usize) -> Round {
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
    let (begun, cpu_before) = (Instant::now(), cpu(&server.folder));
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
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu(&server.folder) - cpu_before);
    latencies.sort_unstable();
    let at = |part: usize| latencies.get(latencies.len() * part / 100).copied().unwrap_or_default();
    let (p50, p99) = (at(50), at(99));
    Round { per_second: answers as f64 / took, cpu: cpu / answers.max(1) as f64, p50, p99, lost }
}
