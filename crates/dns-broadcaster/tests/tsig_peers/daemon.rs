//! Real name servers, each primary of one zone and secondary of ours.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::{ALGORITHMS, PATIENCE, SECRET, key_name, ours, program, wire};

/// The zone that it is primary of.
pub(crate) const ZONE: &str = "theirs.example";
/// Records that a transfer of it has: the SOA twice, an NS, its address, and text.
pub(crate) const TRANSFERRED: usize = TEXTS + 4;
/// Enough for several dozens of messages.
const TEXTS: usize = 5000;
/// Another process may take the port that was free a moment ago.
const STARTS_MAX: u32 = 5;

/// Which name server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Bind,
    Knot,
    Nsd,
}

/// A running name server; it ends when it is dropped.
pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Kind {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Bind => "named",
            Self::Knot => "knotd",
            Self::Nsd => "nsd",
        }
    }

    /// What it has printed tells that it found a signature wrong.
    pub(crate) fn says_broken(self, log: &str) -> bool {
        log.contains(match self {
            Self::Bind => "tsig verify failure",
            Self::Knot => "failed to verify TSIG",
            Self::Nsd => "bad tsig signature",
        })
    }

    fn arguments(self, config: &Path) -> Vec<&str> {
        let config = config.to_str().unwrap();
        match self {
            Self::Bind => vec!["-g", "-n", "1", "-c", config],
            Self::Knot => vec!["-c", config],
            Self::Nsd => vec!["-d", "-c", config],
        }
    }

    fn config(self, folder: &Path, port: u16, ours: SocketAddr) -> String {
        let (at, theirs, our_zone) = (folder.display(), ZONE, ours::ZONE);
        let [short, long] = ALGORITHMS.map(key_name);
        let (ip, from) = (ours.ip(), ours.port());
        let keys: String = ALGORITHMS.map(|algorithm| self.key_clause(algorithm.to_string())).concat();
        match self {
            Self::Bind => format!(
                r#"options {{ directory "{at}"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};
                     pid-file none; session-keyfile none; lock-file none; managed-keys-directory "{at}";
                     recursion no; dnssec-validation no; notify no; allow-transfer {{ none; }}; }};
                   controls {{ }};
                   {keys}
                   zone "{theirs}" {{ type primary; file "theirs.zone";
                     allow-transfer {{ key "{short}"; key "{long}"; }}; }};
                   zone "{our_zone}" {{ type secondary; file "ours.zone"; masterfile-format text;
                     primaries {{ {ip} port {from} key "{long}"; }}; allow-notify {{ key "{short}"; }}; }};"#
            ),
            Self::Knot => format!(
                "server:\n  rundir: {at}\n  listen: {ip}@{port}\n\
                 control:\n  listen: {at}/control\n\
                 database:\n  storage: {at}/database\n\
                 log:\n  - target: stderr\n    any: info\n\
                 key:\n{keys}\
                 remote:\n  - id: ours\n    address: {ip}@{from}\n    key: {long}\n\
                 acl:\n  - id: transfer\n    key: [{short}, {long}]\n    action: transfer\n  \
                   - id: notify\n    key: {short}\n    action: notify\n\
                 template:\n  - id: default\n    storage: {at}\n\
                 zone:\n  - domain: {theirs}\n    file: theirs.zone\n    acl: transfer\n  \
                   - domain: {our_zone}\n    master: ours\n    acl: notify\n"
            ),
            Self::Nsd => format!(
                "server:\n  ip-address: {ip}@{port}\n  server-count: 1\n  username: \"\"\n  zonesdir: {at}\n  \
                   database: \"\"\n  pidfile: {at}/nsd.pid\n  xfrdfile: {at}/xfrd.state\n  \
                   zonelistfile: {at}/zone.list\n  xfrdir: {at}\n  xfrd-reload-timeout: 0\n\
                 remote-control:\n  control-enable: no\n\
                 {keys}\
                 zone:\n  name: {theirs}\n  zonefile: theirs.zone\n  provide-xfr: {ip} {short}\n  \
                   provide-xfr: {ip} {long}\n\
                 zone:\n  name: {our_zone}\n  zonefile: ours.zone\n  request-xfr: AXFR {ip}@{from} {long}\n  \
                   allow-notify: {ip} {short}\n"
            ),
        }
    }

    fn key_clause(self, algorithm: String) -> String {
        let (name, secret) = (format!("{algorithm}.key.example"), STANDARD.encode(SECRET));
        match self {
            Self::Bind => format!("key \"{name}\" {{ algorithm {algorithm}; secret \"{secret}\"; }};\n"),
            Self::Knot => format!("  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}\n"),
            Self::Nsd => format!("key:\n  name: {name}\n  algorithm: {algorithm}\n  secret: \"{secret}\"\n"),
        }
    }
}

impl Daemon {
    /// A name server that answers, and whose primary for our zone is at `ours`.
    pub(crate) async fn start(kind: Kind, ours: SocketAddr) -> Self {
        for _ in 0..STARTS_MAX {
            let (udp, tcp) = crate::bind().await;
            let address = tcp.local_addr().unwrap();
            drop((udp, tcp));
            let mut daemon = Self::spawn(kind, address, ours);
            if daemon.is_answering().await {
                return daemon;
            }
            eprintln!("{kind:?} did not start at {address}:\n{}", daemon.log());
        }
        panic!("{kind:?} does not start");
    }

    fn spawn(kind: Kind, address: SocketAddr, ours: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("database")).unwrap();
        fs::write(path.join("theirs.zone"), zone()).unwrap();
        let config = path.join("config");
        fs::write(&config, kind.config(path, address.port(), ours)).unwrap();
        let log = File::create(path.join("log")).unwrap();
        let child = Command::new(program(kind.program()).unwrap())
            .args(kind.arguments(&config))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { address, child, folder }
    }

    /// Waits until it answers anything; false when it ended instead.
    async fn is_answering(&mut self) -> bool {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        let question = wire::question(1, false, ZONE, wire::SOA);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            // Before it listens the kernel refuses, at once.
            let mut buffer = [0; 512];
            if socket.send(&question).await.is_ok()
                && let Ok(Ok(_)) = timeout(Duration::from_millis(500), socket.recv(&mut buffer)).await
                && wire::code(&buffer) == 0
            {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    /// First in order, so that it ends its own children too.
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // Not yet waited for, so the id is still its own.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(pid, Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn zone() -> String {
    let text = "x".repeat(200);
    let head = format!("$ORIGIN {ZONE}.\n$TTL 5\n@ SOA ns ns 7 3600 600 86400 5\n@ NS ns\nns A 192.0.2.1\n");
    let texts = (0..TEXTS).map(|record| format!("r{record} TXT \"{text}\"\n"));
    std::iter::once(head).chain(texts).collect()
}
