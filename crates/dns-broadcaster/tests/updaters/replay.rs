//! The same bytes again: from a client whose answer was lost, and from somebody who has listened.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::{PATIENCE, System, WEST, key};

const NAME: &str = "x.west.example.com";
/// More than may wait.
const MANY: usize = 100;

fn wire(text: &str) -> WireName {
    WireName::from_ascii(format!("{text}.")).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Puts a text where nothing stands, or takes away what stands there.
fn update(text: Option<&str>) -> Vec<u8> {
    update_of(NAME, text)
}

fn update_of(name: &str, text: Option<&str>) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(wire(WEST), RecordType::SOA));
    let of_class = |class| {
        let mut record = Record::update0(wire(name), 0, RecordType::TXT);
        record.dns_class = class;
        record
    };
    message.authorities = match text {
        Some(text) => vec![Record::from_rdata(wire(name), 60, RData::TXT(TXT::new(vec![text.into()])))],
        None => vec![of_class(DNSClass::ANY)],
    };
    if text.is_some() {
        message.answers = vec![of_class(DNSClass::NONE)];
    }
    message.to_vec().unwrap()
}

async fn send(system: &System, bytes: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(bytes, system.dns).await.unwrap();
    let mut buffer = [0; 4096];
    let (length, source) =
        tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(source, system.dns);
    buffer[..length].to_vec()
}

async fn send_by_stream(dns: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(dns).await.unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

fn code(answer: &[u8]) -> ResponseCode {
    Message::from_vec(answer).unwrap().response_code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_once_is_carried_out_once_and_answered_as_often_as_it_comes() {
    let mut system = System::new().await;
    let key = key("all.key");
    let (put, mut checking) = key.sign_request(update(Some("one")), now()).unwrap();
    let answer = send(&system, &put).await;
    assert_eq!(code(&answer), ResponseCode::NoError);
    assert_eq!(checking.verify(&answer, now()).unwrap().len(), 1, "the answer is signed");
    assert_eq!(system.texts(NAME, RecordType::TXT).await, ["60 one"]);
    let serial = system.serial(WEST).await;
    // Its prerequisite does not hold any more: so it is not carried out again.
    assert_eq!(code(&send(&system, &put).await), ResponseCode::NoError);
    assert_eq!(code(&send_by_stream(system.dns, &put).await), ResponseCode::NoError);
    let (again, _) = key.sign_request(update(Some("two")), now()).unwrap();
    assert_eq!(code(&send(&system, &again).await), ResponseCode::YXRRSet);
    assert_eq!(system.serial(WEST).await, serial);

    // Somebody who has listened sends it when the name is gone; and what failed, when it would not fail.
    let (take, _) = key.sign_request(update(None), now()).unwrap();
    assert_eq!(code(&send(&system, &take).await), ResponseCode::NoError);
    let serial = system.serial(WEST).await;
    for restart in [false, true] {
        if restart {
            system.restart().await;
        }
        assert_eq!(code(&send(&system, &put).await), ResponseCode::NoError);
        assert_eq!(code(&send(&system, &again).await), ResponseCode::YXRRSet);
        assert!(system.texts(NAME, RecordType::TXT).await.is_empty());
        assert_eq!(system.serial(WEST).await, serial);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_counts_for_as_long_as_it_is_good_and_unsigned_nothing_is_taken() {
    let mut system = System::new().await;
    let key = key("all.key");
    let (late, _) = key.sign_request(update(Some("late")), now() - 310).unwrap();
    assert_eq!(code(&send(&system, &late).await), ResponseCode::NotAuth);
    let (early, _) = key.sign_request(update(Some("early")), now() + 310).unwrap();
    assert_eq!(code(&send(&system, &early).await), ResponseCode::NotAuth);
    for unsigned in
        [send(&system, &update(Some("x"))).await, send_by_stream(system.dns, &update(Some("x"))).await]
    {
        assert_eq!(code(&unsigned), ResponseCode::Refused);
        assert!(unsigned.len() <= update(Some("x")).len(), "nobody is flooded by it");
    }
    assert!(system.texts(NAME, RecordType::TXT).await.is_empty());
    // Within the time clocks may differ by, in either direction.
    let (slow, _) = key.sign_request(update(Some("slow")), now() - 200).unwrap();
    assert_eq!(code(&send(&system, &slow).await), ResponseCode::NoError);
    let (fast, _) = key.sign_request(update(None), now() + 200).unwrap();
    assert_eq!(code(&send(&system, &fast).await), ResponseCode::NoError);
    assert!(system.texts(NAME, RecordType::TXT).await.is_empty());
    system.restart().await;
    assert_eq!(code(&send(&system, &slow).await), ResponseCode::NoError);
    assert!(system.texts(NAME, RecordType::TXT).await.is_empty());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_is_told_so() {
    let mut system = System::new().await;
    let key = key("all.key");
    let sends = async |change: fn(&mut Message)| {
        let mut message = Message::from_vec(&update(Some("x"))).unwrap();
        change(&mut message);
        let (bytes, _) = key.sign_request(message.to_vec().unwrap(), now()).unwrap();
        code(&send(&system, &bytes).await)
    };
    let no_zone = |message: &mut Message| message.queries.clear();
    assert_eq!(sends(no_zone).await, ResponseCode::FormErr);
    let no_start = |message: &mut Message| {
        message.queries[0].set_query_type(RecordType::A);
    };
    assert_eq!(sends(no_start).await, ResponseCode::FormErr);
    let other_class = |message: &mut Message| {
        message.queries[0].set_query_class(DNSClass::CH);
    };
    assert_eq!(sends(other_class).await, ResponseCode::NotAuth);
    let with_time = |message: &mut Message| message.answers[0].ttl = 1;
    assert_eq!(sends(with_time).await, ResponseCode::FormErr);
    let odd_class = |message: &mut Message| message.authorities[0].dns_class = DNSClass::HS;
    assert_eq!(sends(odd_class).await, ResponseCode::FormErr);
    assert!(system.texts(NAME, RecordType::TXT).await.is_empty());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_come_at_once_are_taken_one_after_another_while_queries_are_answered() {
    let mut system = System::new().await;
    let key = key("all.key");
    let name = |number: usize| format!("h{number}.west.example.com");
    let before = system.serial(WEST).await;
    let sent: Vec<_> = (0..MANY)
        .map(|number| key.sign_request(update_of(&name(number), Some("x")), now()).unwrap().0)
        .collect();
    let dns = system.dns;
    let answers =
        sent.into_iter().map(|bytes| tokio::spawn(async move { send_by_stream(dns, &bytes).await }));
    let answers: Vec<_> = answers.collect();
    for _ in 0..MANY {
        assert_eq!(system.texts("www.west.example.com", RecordType::A).await.len(), 1);
    }
    for answer in answers {
        assert_eq!(code(&answer.await.unwrap()), ResponseCode::NoError);
    }
    for number in 0..MANY {
        assert_eq!(system.texts(&name(number), RecordType::TXT).await, ["60 x"]);
    }
    assert!(system.serial(WEST).await.wrapping_sub(before) >= MANY as u32, "each under a serial of its own");
    system.stop().await;
}
