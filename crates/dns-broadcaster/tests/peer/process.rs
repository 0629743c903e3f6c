//! A server as a child process: its port, its log, its end.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::TcpStream;

use super::LOOPBACK;
use super::question::{POLL, eventually, is_listening};

/// How often another port is tried when somebody was faster.
const ATTEMPTS: u32 = 5;
/// How long a server may take to end by itself; all of them take less than a second when idle.
const GRACE: Duration = Duration::from_secs(10);
/// What servers say whose port another one has, in lower case; the last two are BIND's ways.
const TAKEN: [&str; 3] =
    ["address already in use", "address in use", "unable to listen on any configured interfaces"];
/// Ports are reserved at this address, where nobody serves or asks.
const RESERVE: Ipv4Addr = Ipv4Addr::new(127, 254, 254, 254);

/// A port chosen by the kernel and kept from others for as long as this lives.
///
/// Between the choice and the moment when the server listens, the kernel would give the port to
/// another server of this harness (and several of them listen with SO_REUSEPORT, so that both
/// would go on and share what arrives) or to a client's socket. Holding the same port at an
/// address that no server uses prevents both: the kernel then chooses it neither for the harness,
/// in whatever process, nor for a socket that is bound to all addresses.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    _udp: UdpSocket,
    _tcp: TcpListener,
}

impl Port {
    pub(super) fn reserve(ip: Ipv4Addr) -> Self {
        loop {
            let udp = UdpSocket::bind((RESERVE, 0)).unwrap();
            let number = udp.local_addr().unwrap().port();
            let address = SocketAddr::from((ip, number));
            let is_free = UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok();
            match TcpListener::bind((RESERVE, number)) {
                Ok(tcp) if is_free => return Self { address, _udp: udp, _tcp: tcp },
                _ => {}
            }
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// How a server is started, and spoken to once it runs.
pub(super) struct Setup {
    /// Runs in the foreground and writes its log to its standard output or error.
    pub(super) server: Command,
    pub(super) control: Option<Control>,
}

/// The program that gives a running server orders.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) program: &'static str,
    /// What comes before the order.
    pub(super) arguments: Vec<String>,
    /// Where it listens for them, if that is a port.
    pub(super) port: Option<Port>,
}

/// A server that runs; asked to end, and at last killed, when dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    port: Port,
    home: PathBuf,
    control: Option<Control>,
}

/// Starts a server at 127.0.0.1, whose configuration `configure` writes into a new folder of its own
/// below `folder`, and waits until it answers at the address that `configure` was given.
pub(super) async fn start(
    name: &str,
    folder: &Path,
    configure: impl Fn(&Path, SocketAddr) -> Setup,
) -> Running {
    start_at(LOOPBACK, name, folder, configure).await
}

/// As [`start`], at another address.
pub(super) async fn start_at(
    ip: Ipv4Addr,
    name: &str,
    folder: &Path,
    configure: impl Fn(&Path, SocketAddr) -> Setup,
) -> Running {
    let mut refused = String::new();
    for _ in 0..ATTEMPTS {
        let port = Port::reserve(ip);
        let home = folder.join(format!("{name}-{}", port.address.port()));
        fs::create_dir(&home).unwrap();
        let Setup { mut server, control } = configure(&home, port.address());
        let log = File::create(home.join("log")).unwrap();
        let child = server
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{server:?}: {error}"));
        let mut running = Running { child, port, home, control };
        if running.answers().await {
            return running;
        }
        refused = running.log();
    }
    panic!("{name} found no port in {ATTEMPTS} attempts; the last one said:\n{refused}");
}

impl Running {
    /// True as soon as it answers anything at all by UDP and by TCP; false when its port is taken.
    async fn answers(&mut self) -> bool {
        let address = self.address();
        let log = self.home.join("log");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let child = &mut self.child;
        eventually("the server answers", said, async || {
            // Looked at first, since the reason is written by then.
            let ended = child.try_wait().unwrap();
            // Also while it runs: without TCP, or the port for its orders, BIND goes on.
            let said = said().to_lowercase();
            if TAKEN.iter().any(|words| said.contains(words)) {
                return Some(false);
            }
            if let Some(status) = ended {
                panic!("the server ended with {status} before it answered:\n{said}");
            }
            is_listening(address).await.then_some(())?;
            TcpStream::connect(address).await.ok().map(|_| true)
        })
        .await
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// All that it said so far.
    pub(super) fn log(&self) -> String {
        let bytes = fs::read(self.home.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Gives it an order and returns the reply.
    pub(super) async fn control(&self, order: &[&str]) -> String {
        let control = self.control.as_ref().expect("a server that takes orders");
        let mut command = super::command(control.program);
        command.args(&control.arguments).args(order).current_dir(&self.home).stdin(Stdio::null());
        // Awaited, because the server may have to ask a primary that runs in this thread.
        let done = tokio::process::Command::from(command).output().await.unwrap();
        let reply = [done.stdout, done.stderr].concat();
        let reply = String::from_utf8_lossy(&reply).into_owned();
        assert!(done.status.success(), "{} {order:?}: {reply}\n{}", control.program, self.log());
        reply
    }

    /// To all of its processes.
    pub(super) fn signal(&self, signal: Signal) {
        processes(&self.home).into_iter().for_each(|id| kill(id, signal).unwrap());
    }

    fn end(&mut self) -> io::Result<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("the kernel's ids are small"));
        if self.child.try_wait()?.is_none() {
            kill(id, Signal::SIGTERM)?;
            // One that stands still does not hear it.
            kill(id, Signal::SIGCONT)?;
        }
        // NSD's children outlive it by a moment, and by more when it was killed.
        let has_ended = |child: &mut Child| {
            Ok::<_, io::Error>(child.try_wait()?.is_some() && processes(&self.home).is_empty())
        };
        let deadline = Instant::now() + GRACE;
        while !has_ended(&mut self.child)? {
            if Instant::now() > deadline {
                eprintln!("{} did not end in {GRACE:?} and is killed", self.home.display());
                self.child.kill()?;
                self.child.wait()?;
                for left in processes(&self.home) {
                    kill(left, Signal::SIGKILL)?;
                }
                break;
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

/// The processes whose working directory is `folder` or below: all that a server there has started.
pub(crate) fn processes(folder: &Path) -> Vec<Pid> {
    let Ok(folder) = folder.canonicalize() else { return Vec::new() };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let ours = entries.filter(|entry| {
        // That of a process that has just ended, or is another user's, cannot be read.
        fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder))
    });
    ours.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw)).collect()
}

impl Drop for Running {
    fn drop(&mut self) {
        // Said, not raised: a panic in a drop would hide why the test fails.
        if let Err(error) = self.end() {
            eprintln!("{} could not be ended: {error}", self.home.display());
        }
    }
}
