//! The relay: all traffic between the lab's systems passes through it, so that it can be cut,
//! delayed and throttled without root.
//!
//! A connection is two pumps, one for each way. A pump takes bytes in, holds them for the way's
//! latency, and puts them out; it stops while its way is cut. Stopping, not dropping, is what a
//! partition looks like to TCP: the ends see silence, their kernels would send again, and what was
//! on its way arrives after the heal, if both ends still want it. (Closing would be a lie: nobody
//! is told of a partition. `--reset` tells that lie, for those who want to see it.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::control::{Answer, Request, Way, WayStatus};
use super::layout::Route;

/// Two systems keep a handful of connections; more than this is a fault of theirs, and waits.
const CONNECTIONS_MAX: usize = 1024;

/// Read and delivered at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Chunks of one way of one connection that are in flight: 16 MiB, the product of 1 Gb/s and 130 ms.
const IN_FLIGHT_MAX: usize = 256;

/// Time to reach the other system, which is on this machine.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// What one way does to bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Condition {
    cut: bool,
    reset: bool,
    latency: Duration,
    /// 0: no limit.
    bytes_per_second: u64,
}

/// One way, shared by all its connections.
#[derive(Debug)]
struct Path {
    condition: watch::Sender<Condition>,
    /// When the last byte admitted by the throttle will have passed.
    busy_until: Mutex<Instant>,
    bytes: AtomicU64,
}

impl Path {
    fn new() -> Self {
        Self {
            condition: watch::Sender::default(),
            busy_until: Mutex::new(Instant::now()),
            bytes: AtomicU64::new(0),
        }
    }

    /// Waits while bytes may not pass; false when connections are to be reset instead.
    async fn open(&self) -> bool {
        let mut condition = self.condition.subscribe();
        let state = condition.wait_for(|condition| !condition.cut || condition.reset).await;
        state.is_ok_and(|state| !state.reset)
    }

    /// Returns when connections are to be reset.
    async fn reset(&self) {
        let mut condition = self.condition.subscribe();
        if condition.wait_for(|condition| condition.reset).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the throttle has room for `bytes` more.
    async fn admit(&self, bytes: usize) {
        let rate = self.condition.borrow().bytes_per_second;
        if rate == 0 {
            return;
        }
        let takes = Duration::from_nanos(
            u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000_000) / rate,
        );
        let until = {
            let mut busy_until = self.busy_until.lock().await;
            *busy_until = (*busy_until).max(Instant::now()) + takes;
            *busy_until
        };
        sleep_until(until).await;
    }
}

/// The relay of one lab.
#[derive(Debug)]
pub struct Relay {
    east_west: Path,
    west_east: Path,
    room: Arc<Semaphore>,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            east_west: Path::new(),
            west_east: Path::new(),
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }
}

impl Relay {
    fn path(&self, way: Way) -> &Path {
        match way {
            Way::EastWest => &self.east_west,
            Way::WestEast => &self.west_east,
        }
    }

    /// Does what it is asked and tells how it then is.
    pub fn obey(&self, request: &Request) -> Answer {
        match *request {
            Request::Status => {}
            Request::Heal => self.change(None, |condition| *condition = Condition::default()),
            Request::Cut { way, reset } => {
                self.change(way, |condition| (condition.cut, condition.reset) = (true, reset));
            }
            Request::Slow { way, latency_ms, bytes_per_second } => self.change(way, |condition| {
                condition.latency = Duration::from_millis(latency_ms);
                condition.bytes_per_second = bytes_per_second;
            }),
        }
        self.answer()
    }

    /// Changes one way, or both.
    fn change(&self, named: Option<Way>, change: impl Fn(&mut Condition)) {
        for way in Way::ALL.into_iter().filter(|way| named.is_none_or(|named| named == *way)) {
            self.path(way).condition.send_modify(&change);
        }
    }

    fn answer(&self) -> Answer {
        let ways = Way::ALL.map(|way| {
            let path = self.path(way);
            let condition = *path.condition.borrow();
            WayStatus {
                way,
                cut: condition.cut,
                reset: condition.reset,
                latency_ms: u64::try_from(condition.latency.as_millis()).unwrap_or(u64::MAX),
                bytes_per_second: condition.bytes_per_second,
                bytes: path.bytes.load(Ordering::Relaxed),
            }
        });
        let free = self.room.available_permits();
        Answer { ways: ways.into(), connections: (CONNECTIONS_MAX.saturating_sub(free)) as u64 }
    }

    /// Forwards what comes in on `listener` along `route`, for ever.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn forward(self: Arc<Self>, listener: TcpListener, route: Route) -> anyhow::Result<()> {
        loop {
            let permit = self.room.clone().acquire_owned().await.context("the relay is closing")?;
            let (inbound, _) =
                listener.accept().await.with_context(|| format!("accept on {}", route.listen))?;
            let (relay, way, target) = (self.clone(), Way::from_system(&route.from), route.target.clone());
            tokio::spawn(async move {
                if let Err(error) = relay.connect(inbound, way, &target).await {
                    tracing::debug!(
                        target_address = target,
                        error = format!("{error:#}"),
                        "connection ended"
                    );
                }
                drop(permit);
            });
        }
    }

    /// Carries one connection that was opened along `way`.
    async fn connect(&self, inbound: TcpStream, way: Way, target: &str) -> anyhow::Result<()> {
        inbound.set_nodelay(true)?;
        let (forth, back) = (self.path(way), self.path(way.back()));
        // Opening a connection takes a packet each way.
        if !forth.open().await || !back.open().await {
            return reset(&inbound);
        }
        // Who gave up while the cut lasted would not have been heard.
        let nothing = Duration::ZERO;
        let ready = timeout(nothing, inbound.ready(Interest::READABLE)).await;
        if ready.is_ok_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed())) {
            return reset(&inbound);
        }
        let dialled = timeout(CONNECT_TIME, TcpStream::connect(target)).await;
        let Ok(Ok(outbound)) = dialled else { return reset(&inbound) };
        outbound.set_nodelay(true)?;
        let (mut inbound, mut outbound) = (inbound, outbound);
        // Borrowed halves: the owned kind says goodbye when it is dropped, and a reset does not.
        let ((in_read, in_write), (out_read, out_write)) = (inbound.split(), outbound.split());
        let carried = tokio::select! {
            ended = async { tokio::try_join!(pump(forth, in_read, out_write), pump(back, out_read, in_write)) } => {
                ended.is_ok()
            }
            () = forth.reset() => false,
            () = back.reset() => false,
        };
        if !carried {
            reset(&inbound)?;
            reset(&outbound)?;
        }
        Ok(())
    }
}

/// Makes the drop that follows a reset: with linger 0 the kernel sends RST and discards the rest.
fn reset(stream: &TcpStream) -> anyhow::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).context("reset a connection")
}

/// Carries the bytes of one way of one connection, in order, until its source ends.
async fn pump(path: &Path, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> std::io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT_MAX);
    let take = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            path.open().await;
            let read = from.read(&mut chunk).await?;
            chunk.truncate(read);
            path.admit(read).await;
            let due = Instant::now() + path.condition.borrow().latency;
            let ended = chunk.is_empty();
            if sender.send((due, chunk)).await.is_err() || ended {
                return Ok::<_, std::io::Error>(());
            }
        }
    };
    let put = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            path.open().await;
            if chunk.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&chunk).await?;
            path.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    tokio::try_join!(take, put).map(|((), ())| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long silence is listened to before it is believed. A delay that is too short could only
    /// let a fault pass, never fail a relay that is right.
    const SILENCE: Duration = Duration::from_millis(100);

    struct Bench {
        relay: Arc<Relay>,
        address: std::net::SocketAddr,
        target: TcpListener,
    }

    async fn bench() -> Bench {
        let (listener, target) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let (address, relay) = (listener.local_addr().unwrap(), Arc::new(Relay::default()));
        let route = Route {
            from: "east".into(),
            to: "west".into(),
            listen: address.to_string(),
            target: target.local_addr().unwrap().to_string(),
        };
        tokio::spawn(relay.clone().forward(listener, route));
        Bench { relay, address, target }
    }

    async fn pair(bench: &Bench) -> (TcpStream, TcpStream) {
        let east = TcpStream::connect(bench.address).await.unwrap();
        (east, bench.target.accept().await.unwrap().0)
    }

    async fn hears(stream: &mut TcpStream, text: &[u8]) {
        let mut heard = vec![0; text.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, text);
    }

    async fn silent(stream: &mut TcpStream) -> bool {
        timeout(SILENCE, stream.read(&mut [0; 16])).await.is_err()
    }

    fn cut(way: Option<Way>, reset: bool) -> Request {
        Request::Cut { way, reset }
    }

    #[tokio::test]
    async fn a_cut_stalls_connections_and_a_heal_lets_go_on_what_was_on_its_way() {
        let bench = bench().await;
        let (mut east, mut west) = pair(&bench).await;
        east.write_all(b"before").await.unwrap();
        hears(&mut west, b"before").await;
        bench.relay.obey(&cut(None, false));
        east.write_all(b"during").await.unwrap();
        assert!(silent(&mut west).await && silent(&mut east).await);
        bench.relay.obey(&Request::Heal);
        hears(&mut west, b"during").await;
    }

    #[tokio::test]
    async fn a_one_way_cut_lets_the_other_way_pass() {
        let bench = bench().await;
        let (mut east, mut west) = pair(&bench).await;
        bench.relay.obey(&cut(Some(Way::EastWest), false));
        west.write_all(b"back").await.unwrap();
        hears(&mut east, b"back").await;
        east.write_all(b"forth").await.unwrap();
        assert!(silent(&mut west).await);
    }

    #[tokio::test]
    async fn a_new_connection_waits_for_the_heal() {
        let bench = bench().await;
        bench.relay.obey(&cut(Some(Way::WestEast), false));
        let mut east = TcpStream::connect(bench.address).await.unwrap();
        east.write_all(b"hello").await.unwrap();
        assert!(timeout(SILENCE, bench.target.accept()).await.is_err());
        bench.relay.obey(&Request::Heal);
        hears(&mut bench.target.accept().await.unwrap().0, b"hello").await;
    }

    #[tokio::test]
    async fn a_resetting_cut_ends_old_connections_and_refuses_new_ones() {
        let bench = bench().await;
        let (mut east, mut west) = pair(&bench).await;
        bench.relay.obey(&cut(None, true));
        assert!(east.read(&mut [0; 16]).await.is_err() && west.read(&mut [0; 16]).await.is_err());
        let mut new = TcpStream::connect(bench.address).await.unwrap();
        assert!(new.read(&mut [0; 16]).await.is_err());
    }

    #[tokio::test]
    async fn the_end_of_one_side_reaches_the_other_in_order() {
        let bench = bench().await;
        let (mut east, mut west) = pair(&bench).await;
        east.write_all(b"last").await.unwrap();
        east.shutdown().await.unwrap();
        let mut heard = Vec::new();
        west.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"last");
        west.write_all(b"answer").await.unwrap();
        hears(&mut east, b"answer").await;
    }

    #[tokio::test(start_paused = true)]
    async fn latency_and_rate_hold_bytes_back_by_what_they_say() {
        let path = Path::new();
        path.condition.send_modify(|condition| condition.bytes_per_second = 1_000_000);
        let start = Instant::now();
        path.admit(250_000).await;
        path.admit(250_000).await;
        assert_eq!(start.elapsed(), Duration::from_millis(500));
    }

    #[tokio::test]
    async fn delayed_bytes_arrive_in_order_and_not_before_their_time() {
        let bench = bench().await;
        let (mut east, mut west) = pair(&bench).await;
        bench.relay.obey(&Request::Slow { way: None, latency_ms: 50, bytes_per_second: 0 });
        let start = Instant::now();
        east.write_all(b"one").await.unwrap();
        east.write_all(b"two").await.unwrap();
        hears(&mut west, b"onetwo").await;
        assert!(start.elapsed() >= Duration::from_millis(50));
    }
}
