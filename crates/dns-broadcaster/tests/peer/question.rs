//! Questions that the crate's own client does not ask, and waiting for the answer one wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long between two looks.
pub(super) const POLL: Duration = Duration::from_millis(10);
/// How long one datagram is waited for; whoever asks asks again.
const ONE_ANSWER: Duration = Duration::from_millis(500);

/// Polls until `probe` finds something; fails with `log` when it takes longer than [`PATIENCE`].
pub(crate) async fn eventually<T>(
    what: &str,
    log: impl Fn() -> String,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; the log:\n{}", log());
        sleep(POLL).await;
    }
}

/// Asks once by UDP, for any type of record and with recursion desired; `None` when no answer came.
pub(crate) async fn question(server: SocketAddr, name: &str, kind: RecordType) -> Option<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    exchange(server, message, name, kind).await
}

/// As [`question`], and for what proves the answer: a resolver that validates says by AD whether it holds.
pub(crate) async fn secure_question(server: SocketAddr, name: &str, kind: RecordType) -> Option<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    message.edns = Some(edns);
    exchange(server, message, name, kind).await
}

/// Whether anything at all comes back. Recursion is not desired, so that a resolver answers from
/// what it knows, or refuses, at once.
pub(super) async fn is_listening(server: SocketAddr) -> bool {
    exchange(server, Message::query(), ".", RecordType::SOA).await.is_some()
}

/// Asks once for the IPv4 address of `name`; with the time, in seconds, that it may be kept. `None`
/// when no answer came or not exactly one address. Unlike the crate's own client it desires
/// recursion, without which a resolver refuses.
pub(crate) async fn address_of(server: SocketAddr, name: &str) -> Option<(Ipv4Addr, u32)> {
    let answer = question(server, name, RecordType::A).await?;
    let [record] = answer.answers.as_slice() else { return None };
    match &record.data {
        RData::A(address) => Some((address.0, record.ttl)),
        _ => None,
    }
}

/// Tells a secondary once, without a signature, that `zone` has changed (RFC 1996); `None` when it
/// did not acknowledge.
pub(crate) async fn notify(secondary: SocketAddr, zone: &str) -> Option<Message> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Notify;
    message.metadata.authoritative = true;
    exchange(secondary, message, zone, RecordType::SOA).await
}

async fn exchange(server: SocketAddr, mut message: Message, name: &str, kind: RecordType) -> Option<Message> {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // Nothing listens yet, or no longer: the kernel says so here.
    socket.connect(server).await.ok()?;
    socket.send(&message.to_vec().unwrap()).await.ok()?;
    let mut buffer = [0; 4096];
    let length = timeout(ONE_ANSWER, socket.recv(&mut buffer)).await.ok()?.ok()?;
    let answer = Message::from_vec(&buffer[..length]).ok()?;
    (answer.metadata.id == message.metadata.id).then_some(answer)
}
