//! A primary of ours for one zone, which it gives to nobody without a key.

use std::net::SocketAddr;
use std::sync::Arc;

use switchback_dns::tsig::{Keys, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::{bind, now, wire};

/// The zone.
pub(crate) const ZONE: &str = "ours.example";
/// Its messages with text, between one with the SOA and the NS and one with the SOA again.
pub(crate) const TEXT_MESSAGES: usize = 30;
/// Records in each of those.
pub(crate) const TEXTS: usize = 100;
/// Messages of a transfer.
pub(crate) const MESSAGES: usize = TEXT_MESSAGES + 2;
/// Records of a transfer: the SOA twice, an NS, its address, and text.
pub(crate) const TRANSFERRED: usize = TEXT_MESSAGES * TEXTS + 4;
const REFUSED: u8 = 5;
/// RFC 1995: answered like AXFR.
const IXFR: u16 = 251;

/// What the server does wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    /// Flips a bit of the MAC of the message with this number.
    Mac(usize),
    /// Leaves the message with this number out.
    Lost(usize),
}

/// A server; it ends when it is dropped.
pub(crate) struct Ours {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

struct Shared {
    keys: Keys,
    ahead: u64,
    fault: Fault,
}

impl Ours {
    /// With a clock that is `ahead` by so many seconds.
    pub(crate) async fn start(keys: Keys, ahead: u64, fault: Fault) -> Self {
        let (udp, tcp) = bind().await;
        let address = tcp.local_addr().unwrap();
        let shared = Arc::new(Shared { keys, ahead, fault });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&shared)));
        tasks.spawn(serve_tcp(tcp, shared));
        Self { address, _tasks: tasks }
    }
}

async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        for answer in shared.answer(&buffer[..length]) {
            socket.send_to(&answer, client).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        // A client that goes away ends its connection with an error, which is all right.
        connections.spawn(async move { serve_connection(stream, &shared).await.unwrap_or_default() });
    }
}

async fn serve_connection(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    loop {
        let mut request = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut request).await?;
        for answer in shared.answer(&request) {
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await?;
            stream.write_all(&answer).await?;
        }
    }
}

impl Shared {
    fn answer(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let now = now() + self.ahead;
        let mut response = wire::response(request);
        let (message, mut signing) = match self.keys.verify(request, now) {
            Ok(Verdict::Signed { message, signing, .. }) => (message, signing),
            Ok(Verdict::Unsigned) => {
                response[3] |= REFUSED;
                return vec![response];
            }
            Err(refusal) => {
                refusal.answer(&mut response).unwrap();
                return vec![response];
            }
        };
        let mut answers = answers(&message, response);
        for (at, answer) in answers.iter_mut().enumerate() {
            signing.sign(answer, now).unwrap();
            if matches!(self.fault, Fault::Mac(broken) if broken == at) {
                // Behind the MAC are the original id, the error and the length of other data.
                let last = answer.len() - 7;
                answer[last] ^= 1;
            }
        }
        if let Fault::Lost(at) = self.fault
            && at < answers.len()
        {
            answers.remove(at);
        }
        answers
    }
}

fn answers(request: &[u8], response: Vec<u8>) -> Vec<Vec<u8>> {
    let (zone, kind) = wire::asked(request);
    if !zone.eq_ignore_ascii_case(&wire::name(ZONE)) {
        return vec![{
            let mut response = response;
            response[3] |= REFUSED;
            response
        }];
    }
    let origin = [0xc0, 12];
    let server = [&b"\x02ns"[..], &origin].concat();
    let times = [7, 3600, 600, 86_400, 5_u32].map(u32::to_be_bytes).concat();
    let soa = [&server[..], &server, &times].concat();
    let mut first = response.clone();
    wire::push(&mut first, &origin, wire::SOA, &soa);
    if ![wire::AXFR, IXFR].contains(&kind) {
        return vec![first];
    }
    wire::push(&mut first, &origin, wire::NS, &server);
    wire::push(&mut first, &server, 1, &[192, 0, 2, 1]);
    let mut messages = vec![first];
    for message in 0..TEXT_MESSAGES {
        let mut texts = response.clone();
        for record in 0..TEXTS {
            let label = format!("r{message}-{record}");
            let owner = [&[label.len() as u8], label.as_bytes(), &origin].concat();
            wire::push(&mut texts, &owner, wire::TXT, &[&[60], &[b'x'; 60][..]].concat());
        }
        messages.push(texts);
    }
    let mut last = response;
    wire::push(&mut last, &origin, wire::SOA, &soa);
    messages.push(last);
    messages
}
