//! Transfers from one primary, by TCP: connections that last from one to the next while there are more.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::RecordType;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::core::name::Name;
use crate::core::secondary::intake::{Arrived, Broken, Intake, Wanted};
use crate::core::transfer;
use crate::core::zone::Zone;
use crate::correspondent::connect;
use crate::framed;
use crate::respond::{unix_seconds, wire_name, wire_record};
use crate::tsig::{Key, Mismatch};

/// To connect, and between two messages: a primary that makes a large zone ready takes its time.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Of one transfer, however many messages come: the largest that is taken, by a line of 1 Mbit/s.
const TRANSFER_MAX: Duration = Duration::from_secs(2400);
/// A connection that is not used for so long is closed, before name servers close theirs.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// What is read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// See the module.
pub(crate) struct Lines {
    address: SocketAddr,
    from: IpAddr,
    key: Option<Key>,
    idle: Mutex<Vec<(Line, Instant)>>,
}

/// Why nothing came.
#[derive(Debug)]
pub(crate) enum Failure {
    TimedOut,
    Unreachable,
    /// Something came, and then no more.
    BrokenOff,
    Unproven(Mismatch),
    Broken(Broken),
}

struct Line(BufReader<TcpStream>);

impl Lines {
    pub(crate) fn new(address: SocketAddr, from: IpAddr, key: Option<Key>) -> Self {
        Self { address, from, key, idle: Mutex::default() }
    }

    /// What the primary has of the zone beyond `held`; all of it when `is_whole`.
    pub(crate) async fn transfer(
        self: &Arc<Self>,
        name: &Name,
        held: Option<&Zone>,
        is_whole: bool,
    ) -> Result<Arrived, Failure> {
        let taking = async {
            if let Some(line) = self.idle_line() {
                // It may have been closed from the other side, which is seen only now.
                match self.transfer_by(line, name, held, is_whole).await {
                    Err(Failure::Unreachable) => {}
                    ended => return ended,
                }
            }
            let line = timeout(SILENCE_MAX, self.connect()).await.map_err(|_| Failure::TimedOut)?;
            let line = line.map_err(|error| self.unreachable(&error))?;
            self.transfer_by(line, name, held, is_whole).await
        };
        timeout(TRANSFER_MAX, taking).await.unwrap_or(Err(Failure::BrokenOff))
    }

    async fn transfer_by(
        self: &Arc<Self>,
        mut line: Line,
        name: &Name,
        held: Option<&Zone>,
        is_whole: bool,
    ) -> Result<Arrived, Failure> {
        let serial = held.map(Zone::serial);
        let wanted = serial.filter(|_| !is_whole).map_or(Wanted::Whole, Wanted::Since);
        let question = question(name, held, wanted);
        let mut intake = Intake::new(name, question.id, wanted, serial);
        let bytes = question.to_vec().map_err(|error| self.unreachable(&io::Error::other(error)))?;
        let (bytes, mut checking) = match &self.key {
            None => (bytes, None),
            Some(key) => {
                let signed = key.sign_request(bytes, unix_seconds());
                let (bytes, checking) = signed.map_err(|error| self.unreachable(&io::Error::other(error)))?;
                (bytes, Some(checking))
            }
        };
        let silent = |intake: &Intake, failure| if intake.has_begun() { Failure::BrokenOff } else { failure };
        let mut message = Vec::new();
        match timeout(SILENCE_MAX, framed::write(line.0.get_mut(), &bytes)).await {
            Ok(written) => written.map_err(|error| self.unreachable(&error))?,
            Err(_) => return Err(Failure::TimedOut),
        }
        loop {
            match timeout(SILENCE_MAX, framed::read(&mut line.0, &mut message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(silent(&intake, self.unreachable(&error))),
                Err(_) => return Err(silent(&intake, Failure::TimedOut)),
            }
            let proven = match &mut checking {
                None => vec![std::mem::take(&mut message)],
                Some(checking) => checking.verify(&message, unix_seconds()).map_err(Failure::Unproven)?,
            };
            let mut arrived = None;
            for message in proven {
                if arrived.is_some() {
                    return Err(Failure::Broken(Broken::Behind));
                }
                arrived = intake.take(&message).map_err(Failure::Broken)?;
            }
            if let Some(arrived) = arrived {
                // Of a whole zone that nobody needs the rest is on its way still.
                let is_read = matches!(arrived, Arrived::Stream(_)) || wanted != Wanted::Whole;
                if is_read && line.0.buffer().is_empty() {
                    self.keep(line);
                }
                return Ok(arrived);
            }
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        tracing::debug!(from = %self.address, %error, "nothing transferred");
        Failure::Unreachable
    }

    fn idle_line(&self) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE_MAX);
        idle.pop().map(|(line, _)| line)
    }

    /// Keeps a connection for the next transfer, and not for long. There are no more than transfers are
    /// made at once.
    fn keep(self: &Arc<Self>, line: Line) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((line, Instant::now()));
        if idle.len() == 1 {
            let lines = Arc::clone(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(IDLE_MAX).await;
                    let mut idle = lines.idle.lock().unwrap_or_else(PoisonError::into_inner);
                    idle.retain(|(_, since)| since.elapsed() < IDLE_MAX);
                    if idle.is_empty() {
                        return;
                    }
                }
            });
        }
    }

    async fn connect(&self) -> io::Result<Line> {
        let stream = connect(self.from, self.address).await?;
        stream.set_nodelay(true)?;
        Ok(Line(BufReader::with_capacity(BUFFER_BYTES, stream)))
    }
}

/// With the SOA that is held, when what changed since is asked for (RFC 1995 section 3).
fn question(name: &Name, held: Option<&Zone>, wanted: Wanted) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    let kind = match wanted {
        Wanted::Whole => RecordType::AXFR,
        Wanted::Since(_) => RecordType::IXFR,
    };
    message.add_query(Query::query(wire_name(name), kind));
    if let (Wanted::Since(_), Some(held)) = (wanted, held) {
        message.authorities = transfer::start(held).map(wire_record).collect();
    }
    message
}
