//! The servers: each a process in a folder of its own, on a core of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hickory_proto::rr::RecordType;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switchback_kit::secret::Secret;

use crate::peer::{Kind, Secondary, eventually, processes, secure_question};
use crate::{ZONE, argument};

/// Where the servers are, and where the questions come from.
const SERVERS_CORE: usize = 0;
pub(crate) const CLIENT_CORE: usize = 1;

/// A server that runs in a folder of its own.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) folder: PathBuf,
    pub(crate) address: SocketAddr,
    /// Bytes that it holds more than with hardly a name.
    pub(crate) grown: u64,
    /// Seconds of CPU that it took for them: this server from the file, the others from it.
    pub(crate) loading: f64,
    _running: Running,
}

enum Running {
    Child(#[allow(dead_code, reason = "ends when it is dropped")] Started),
    Peer(#[allow(dead_code, reason = "ends when it is dropped")] Secondary),
}

/// Whether the zone is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signed {
    No,
    Yes,
}

pub(crate) async fn start(folder: &Path, names: usize, signed: Signed) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    let few = started(&folder.join("few"), 1, signed).await;
    let all = started(&folder.join("all"), names, signed).await;
    for (few, mut server) in few.into_iter().zip(all) {
        server.grown = memory(&server.folder).saturating_sub(memory(&few.folder));
        server.loading -= few.loading;
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
async fn started(folder: &Path, names: usize, signed: Signed) -> Vec<Server> {
    let ours = env!("CARGO_BIN_EXE_switchback-dns-broadcaster");
    let mut servers = vec![
        child("ours", &folder.join("ours"), signed, |home| Started::ours(ours, home, names, signed)).await,
    ];
    let primary = servers[0].address;
    if let Some(program) = argument("--beside") {
        servers.push(
            child("beside", &folder.join("beside"), signed, |home| {
                Started::ours(&program, home, names, signed)
            })
            .await,
        );
    }
    let only = argument("--only");
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only.split(',').any(|other| other == name));
    if wanted("hickory") && signed == Signed::No {
        servers.push(
            child("hickory", &folder.join("hickory"), signed, |home| Started::hickory(home, names)).await,
        );
    }
    for (name, kind) in
        [("nsd", Kind::Nsd), ("knot", Kind::Knot), ("bind", Kind::Bind), ("powerdns", Kind::PowerDns)]
    {
        if !wanted(name) || !kind.is_installed() {
            continue;
        }
        let home = folder.join(name);
        fs::create_dir_all(&home).unwrap();
        let peer = match signed {
            Signed::No => Secondary::start(kind, &home, &[ZONE], &[primary], None).await,
            Signed::Yes => Secondary::of_signed(kind, &home, &[ZONE], &[primary]).await,
        };
        serves(peer.address(), signed, &|| peer.log()).await;
        let address = peer.address();
        servers.push(Server {
            name,
            loading: cpu(&home),
            folder: home,
            address,
            grown: 0,
            _running: Running::Peer(peer),
        });
    }
    servers
}

async fn child(
    name: &'static str,
    home: &Path,
    signed: Signed,
    start: impl FnOnce(&Path) -> Started,
) -> Server {
    fs::create_dir_all(home).unwrap();
    let started = start(home);
    let address = started.address;
    serves(address, signed, &|| fs::read_to_string(home.join("log")).unwrap_or_default()).await;
    // Before anybody takes the zone from it.
    let loading = cpu(home);
    Server { name, folder: home.into(), address, grown: 0, loading, _running: Running::Child(started) }
}

/// Waits for the zone, and where it is signed for its signatures: a server that was asked before it had any
/// may remember that there are none.
async fn serves(address: SocketAddr, signed: Signed, log: &dyn Fn() -> String) {
    let records = if signed == Signed::Yes { 2 } else { 1 };
    eventually("the zone is served as it is", log, async || {
        let answer = secure_question(address, ZONE, RecordType::SOA).await?;
        (answer.answers.len() == records).then_some(())
    })
    .await;
}

/// A server that is started here.
struct Started {
    child: Child,
    address: SocketAddr,
}

impl Started {
    /// This server, built as `program`.
    fn ours(program: &str, home: &Path, names: usize, signed: Signed) -> Self {
        Secret::create(&home.join("secret")).unwrap();
        fs::write(home.join("bench.zone"), zone(names)).unwrap();
        let (address, grpc) = (free(), free());
        let config = format!(
            "[system]\nname = \"bench\"\ndomain = \"system.test\"\nid = \"0123456789abcdef0123456789abcdef\"\n\
             secret_file = {:?}\ndata_dir = {:?}\n[dns_broadcaster]\nlisten = \"{grpc}\"\n\
             dns_listen = [\"{address}\"]\nresponses_per_second = 0\nzone_files = [{:?}]\n\
             secondaries = [{{ name = \"all\", address = \"127.0.0.1:9\" }}]\ndnssec = {}\n",
            home.join("secret"),
            home.join("data"),
            home.join("bench.zone"),
            signed == Signed::Yes,
        );
        fs::write(home.join("switchback.toml"), config).unwrap();
        Self::at(home, address, program, &["--config", "switchback.toml"])
    }

    /// Plain hickory, in another process of this program.
    fn hickory(home: &Path, names: usize) -> Self {
        let (program, address) = (std::env::current_exe().unwrap(), free());
        let (names, at) = (names.to_string(), address.to_string());
        Self::at(home, address, program.to_str().unwrap(), &["--hickory", &at, "--names", &names])
    }

    /// On its core before it counts the cores there are.
    fn at(home: &Path, address: SocketAddr, program: &str, arguments: &[&str]) -> Self {
        let log = fs::File::create(home.join("log")).unwrap();
        let child = Command::new("taskset")
            .args(["-c", &SERVERS_CORE.to_string(), program])
            .args(arguments)
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, address }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
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
pub(crate) fn pin(process: Pid, core: usize) {
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
pub(crate) fn cpu(folder: &Path) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let of = |process: &Pid| {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let (_, rest) = text.rsplit_once(") ").unwrap_or_default();
        rest.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
    };
    processes(folder).iter().map(of).sum::<f64>() / TICKS_PER_SECOND
}
