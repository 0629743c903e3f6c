//! A small client for the command line, the lab, the demo and tests: asks name servers directly,
//! so that it sees what each of them says and no cache in between.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use crate::framed;

/// What is announced to the server and read at most (DNS Flag Day 2020).
const UDP_BYTES_MAX: u16 = 1232;
/// A lost datagram is sent again after this part of the time that is left.
const RESEND_PART: u32 = 3;

/// A server's answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// IPv4 addresses, then IPv6 addresses.
    pub addresses: Vec<IpAddr>,
    /// The name that the one asked for is an alias of, at the end of all aliases; without a final dot.
    pub alias: Option<String>,
    /// The shortest time, in seconds, that any of the records may be kept; for a negative answer
    /// how long it may be kept.
    pub ttl: u32,
    /// The response code.
    pub code: Code,
    /// Who answered.
    pub server: SocketAddr,
    /// The server has authority over the name.
    pub authoritative: bool,
    /// The zone's serial, when the answer carries a SOA.
    pub serial: Option<u32>,
}

/// A response code (RFC 6895 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// NOERROR.
    NoError,
    /// NXDOMAIN: the name does not exist.
    NxDomain,
    /// REFUSED: not a name of this server.
    Refused,
    /// SERVFAIL: the server cannot say; ask another.
    ServFail,
    /// Any other.
    Other(u16),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be asked for.
    #[error("{name:?} is not a domain name: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No server gave an answer; each is named with the reason.
    #[error("no name server answered: {}", Attempts(.0))]
    NoAnswer(Vec<(SocketAddr, Reason)>),
    /// There was nobody to ask.
    #[error("no name server was given")]
    NoServer,
}

/// Why one server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// Nothing came back in time.
    #[error("timed out")]
    TimedOut,
    /// The network refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It answered that it cannot or will not.
    #[error("answered {0}")]
    Declined(Code),
    /// It sent something that is no answer to the question.
    #[error("sent a malformed answer")]
    Malformed,
}

/// Asks for the IPv4 and IPv6 addresses of `name`. The servers are asked in order, the next one
/// after SERVFAIL, REFUSED, an error or `patience` without an answer.
///
/// # Errors
/// No server answered with NOERROR or NXDOMAIN.
pub async fn lookup(servers: &[SocketAddr], name: &str, patience: Duration) -> Result<Answer, Error> {
    let name = parse(name)?;
    let mut attempts = Vec::new();
    for &server in servers {
        let reason = match addresses(server, &name, patience).await {
            Ok(answer) if answer.is_final() => return Ok(answer),
            Ok(answer) => Reason::Declined(answer.code),
            Err(reason) => reason,
        };
        attempts.push((server, reason));
    }
    Err(if attempts.is_empty() { Error::NoServer } else { Error::NoAnswer(attempts) })
}

/// Both kinds of addresses, from one server.
async fn addresses(server: SocketAddr, name: &Name, patience: Duration) -> Result<Answer, Reason> {
    let v4 = ask(server, name, RecordType::A, patience).await?;
    if v4.code != Code::NoError {
        return Ok(v4);
    }
    let v6 = ask(server, name, RecordType::AAAA, patience).await?;
    // The time to live of a denial counts only when both are denials.
    let ttl = match (v4.addresses.is_empty(), v6.addresses.is_empty()) {
        (false, true) => v4.ttl,
        (true, false) => v6.ttl,
        (true, true) | (false, false) => v4.ttl.min(v6.ttl),
    };
    let addresses = v4.addresses.iter().chain(&v6.addresses).copied().collect();
    Ok(Answer { addresses, ttl, serial: v4.serial.or(v6.serial), alias: v4.alias.or(v6.alias), ..v4 })
}

/// Asks `server` alone for the serial of `zone`; `None` when it does not hold the zone.
///
/// # Errors
/// It gave no answer.
pub async fn soa(server: SocketAddr, zone: &str, patience: Duration) -> Result<Option<u32>, Error> {
    let name = parse(zone)?;
    match ask(server, &name, RecordType::SOA, patience).await {
        Ok(answer) if answer.code == Code::NoError => Ok(answer.serial),
        Ok(answer) if matches!(answer.code, Code::NxDomain | Code::Refused) => Ok(None),
        Ok(answer) => Err(Error::NoAnswer(vec![(server, Reason::Declined(answer.code))])),
        Err(reason) => Err(Error::NoAnswer(vec![(server, reason)])),
    }
}

impl Answer {
    /// It says that the name exists or does not; no other server needs to be asked.
    fn is_final(&self) -> bool {
        matches!(self.code, Code::NoError | Code::NxDomain)
    }
}

fn parse(text: &str) -> Result<Name, Error> {
    let mut name = Name::from_ascii(text)
        .map_err(|error| Error::Name { name: text.into(), reason: error.to_string() })?;
    name.set_fqdn(true);
    Ok(name)
}

/// One question to one server, by UDP, and by TCP when the answer does not fit.
async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    patience: Duration,
) -> Result<Answer, Reason> {
    // `Message::query` draws a random id; the socket's port is the kernel's random choice.
    let mut query = Message::query();
    query.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    query.set_edns(edns);
    let bytes = query.to_vec().map_err(|_| Reason::Malformed)?;
    let deadline = Instant::now() + patience;
    let by_udp = timeout_at(deadline, ask_udp(server, &query, &bytes, patience / RESEND_PART));
    let mut response = by_udp.await.map_err(|_| Reason::TimedOut)??;
    if response.metadata.truncation {
        let by_tcp = timeout_at(deadline, ask_tcp(server, &query, &bytes));
        response = by_tcp.await.map_err(|_| Reason::TimedOut)??;
    }
    Ok(summary(&response, server, kind))
}

async fn ask_udp(
    server: SocketAddr,
    query: &Message,
    bytes: &[u8],
    resend: Duration,
) -> Result<Message, Reason> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = [0; UDP_BYTES_MAX as usize];
    loop {
        let Ok(received) = timeout(resend, socket.recv(&mut buffer)).await else {
            socket.send(bytes).await?;
            continue;
        };
        // What does not answer this question may be forged or late: wait on.
        if let Some(response) = response_to(query, &buffer[..received?]) {
            return Ok(response);
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> Result<Message, Reason> {
    let mut stream = TcpStream::connect(server).await?;
    framed::write(&mut stream, bytes).await?;
    let mut buffer = Vec::new();
    framed::read(&mut stream, &mut buffer).await?;
    response_to(query, &buffer).ok_or(Reason::Malformed)
}

/// The message, when it answers `query`: same id, and the same question where it has one (an
/// error may come without).
fn response_to(query: &Message, bytes: &[u8]) -> Option<Message> {
    let response = Message::from_vec(bytes).ok()?;
    let echo = response.queries == query.queries
        || (response.queries.is_empty() && response.metadata.response_code != ResponseCode::NoError);
    let ours = response.metadata.id == query.metadata.id
        && response.metadata.message_type == MessageType::Response
        && response.metadata.op_code == OpCode::Query;
    (echo && ours).then_some(response)
}

fn summary(response: &Message, server: SocketAddr, kind: RecordType) -> Answer {
    let answers = response.answers.iter().filter(|record| record.record_type() == kind);
    let serial = response.all_sections().find_map(|record| match &record.data {
        RData::SOA(soa) => Some((soa.serial, record.ttl.min(soa.minimum))),
        _ => None,
    });
    let addresses = answers.clone().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    let mut aliases = response.answers.iter().filter_map(|record| match &record.data {
        RData::CNAME(name) => Some((name.0.to_ascii(), record.ttl)),
        _ => None,
    });
    let ttls = answers.map(|record| record.ttl).chain(aliases.clone().map(|(_, ttl)| ttl));
    let alias = aliases.next_back().map(|(name, _)| name.trim_end_matches('.').to_owned());
    Answer {
        addresses: addresses.collect(),
        alias,
        ttl: ttls.min().or(serial.map(|(_, ttl)| ttl)).unwrap_or(0),
        code: response.metadata.response_code.into(),
        server,
        authoritative: response.metadata.authoritative,
        serial: serial.map(|(serial, _)| serial),
    }
}

impl From<ResponseCode> for Code {
    fn from(code: ResponseCode) -> Self {
        match code {
            ResponseCode::NoError => Self::NoError,
            ResponseCode::NXDomain => Self::NxDomain,
            ResponseCode::Refused => Self::Refused,
            ResponseCode::ServFail => Self::ServFail,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoError => f.write_str("NOERROR"),
            Self::NxDomain => f.write_str("NXDOMAIN"),
            Self::Refused => f.write_str("REFUSED"),
            Self::ServFail => f.write_str("SERVFAIL"),
            Self::Other(code) => write!(f, "RCODE{code}"),
        }
    }
}

struct Attempts<'a>(&'a [(SocketAddr, Reason)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (server, reason)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{server} {reason}")?;
        }
        Ok(())
    }
}
