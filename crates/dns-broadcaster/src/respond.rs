//! From the bytes of a query to the bytes of its answer.
//!
//! The common query goes to the core as it came ([`plain`]). hickory reads every other one and
//! writes what is no plain answer: errors and transfers. Each message is answered from one snapshot, so
//! a query sees all of a change or nothing of it. What does not fit into a datagram goes out empty
//! with TC, and the client asks by TCP.

use std::borrow::Cow;
use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType};
use switchback_kit::world::time::unix_ms;

use crate::access::{self, Secondary};
use crate::core::answer::{Answer, answer};
use crate::core::cookie;
use crate::core::name::{Name, labels};
use crate::core::plain::{self, Frame, UDP_BYTES_MAX, UDP_BYTES_PLAIN};
use crate::core::rate::{self, Outcome, Rate, Sort};
use crate::core::receive::Code;
use crate::core::record::{Kind, Value};
use crate::core::transfer;
use crate::core::zone::{Serial, Snapshot, Zone};
use crate::primary::Notices;
use crate::receive;
use crate::tsig::{Keys, Signing, Verdict};

/// A message of a transfer: names are compressed against its first 16 KiB, so that larger ones are
/// not smaller for it (RFC 1035 section 4.1.4).
const TRANSFER_BYTES_MAX: usize = 16 * 1024;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One datagram, and one for the answer.
    Udp,
    /// A stream of messages.
    Stream,
    /// A message by itself, which nobody else can read.
    Private,
}

/// Where an answer goes.
#[derive(Clone, Copy)]
struct Way {
    source: IpAddr,
    transport: Transport,
    /// Bytes that it leaves free, for a signature.
    spare: usize,
}

/// What becomes of a query.
pub(crate) enum Response {
    /// It is no query; whoever answered it might answer an answer.
    Nothing,
    /// The answer.
    Answer(Vec<u8>),
    /// As many messages as the zone takes.
    Transfer(Box<Transfer>),
    /// An answer that has to be waited for.
    Update(Box<receive::Request>),
}

/// Answers queries. Shared by all sockets.
pub(crate) struct Responder {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) keys: Keys,
    pub(crate) secondaries: Vec<Secondary>,
    pub(crate) notices: Notices,
    pub(crate) cookies: cookie::Secret,
    pub(crate) rate: Rate,
    /// Where updates are taken in.
    pub(crate) updates: receive::Door,
}

/// Limits the answers of one thread.
pub(crate) type Limiter = rate::Limiter<RandomState>;

/// What a query proved, and how its answers are signed.
struct Proof {
    key: Name,
    signing: Signing,
}

impl Responder {
    /// A limiter of answers by UDP: for each thread one, as each is given a part of the queries.
    pub(crate) fn limiter(&self) -> Limiter {
        Limiter::new(self.rate, RandomState::new())
    }

    /// Answers a datagram into `message`, or leaves that empty. A common query takes no allocation. An
    /// update is given back, to be answered later.
    pub(crate) fn respond_udp(
        &self,
        snapshot: &Snapshot,
        bytes: &[u8],
        source: SocketAddr,
        limiter: &mut Limiter,
        now_ms: u64,
        message: &mut Vec<u8>,
    ) -> Option<Box<receive::Request>> {
        if let Some(query) = plain::Query::read(bytes) {
            let is_known = || access::is_secondary(&self.secondaries, source.ip());
            let limit =
                |found: &Answer<'_>| match limiter.judge(source.ip(), found.zone_key(), found.sort(), now_ms)
                {
                    Outcome::Send => Outcome::Send,
                    _ if is_known() => Outcome::Send,
                    outcome => outcome,
                };
            let way = Way { source: source.ip(), transport: Transport::Udp, spare: 0 };
            self.answer(snapshot, &query, way, limit, message);
            return None;
        }
        *message = match self.judged(bytes, source, Transport::Udp) {
            Response::Update(request) => {
                message.clear();
                return Some(request);
            }
            // Not longer than the query, but as many.
            Response::Answer(answer)
                if self.notices.is_primary(source.ip())
                    || limiter.judge(source.ip(), &[], Sort::Error, now_ms) == Outcome::Send =>
            {
                answer
            }
            Response::Answer(_) | Response::Nothing | Response::Transfer(_) => Vec::new(),
        };
        None
    }

    /// What `bytes` from `source` are answered with by a stream.
    pub(crate) fn respond(&self, bytes: &[u8], source: SocketAddr) -> Response {
        if let Some(query) = plain::Query::read(bytes) {
            let mut message = Vec::new();
            let snapshot = self.snapshot.load();
            let way = Way { source: source.ip(), transport: Transport::Stream, spare: 0 };
            self.answer(&snapshot, &query, way, |_| Outcome::Send, &mut message);
            return Response::Answer(message);
        }
        match self.judged(bytes, source, Transport::Stream) {
            // It could not be written or signed; that is in the log.
            Response::Answer(answer) if answer.is_empty() => Response::Nothing,
            response => response,
        }
    }

    /// What `bytes` are answered with where messages go alone and encrypted: transfers and what is signed
    /// with a key go by streams. `None` when it is no query.
    pub(crate) fn respond_alone(&self, bytes: &[u8], source: IpAddr) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        if let Some(query) = plain::Query::read(bytes) {
            let way = Way { source, transport: Transport::Private, spare: 0 };
            self.answer(&self.snapshot.load(), &query, way, |_| Outcome::Send, &mut message);
        } else {
            let (id, op_code) = question_of(bytes)?;
            message = match Message::from_vec(bytes) {
                Ok(query) => self.reply(&query, source, Transport::Private, 0),
                Err(_) => encode(&Message::error_msg(id, op_code, ResponseCode::FormErr)),
            };
        }
        (!message.is_empty()).then_some(message)
    }

    fn judged(&self, bytes: &[u8], source: SocketAddr, transport: Transport) -> Response {
        let Some((id, op_code)) = question_of(bytes) else { return Response::Nothing };
        let refused = |code| encode(&Message::error_msg(id, op_code, code));
        let (bytes, proof) = match self.keys.verify(bytes, unix_seconds()) {
            Ok(Verdict::Unsigned) => (Cow::Borrowed(bytes), None),
            Ok(Verdict::Signed { key, message, signing }) => {
                (Cow::Owned(message), Some(Proof { key, signing }))
            }
            Err(refusal) => {
                tracing::debug!(%source, reason = %refusal.reason(), "query refused");
                let mut answer = refused(ResponseCode::FormErr);
                // A header has room for a signature.
                return match refusal.answer(&mut answer) {
                    Ok(()) => Response::Answer(answer),
                    Err(_) => Response::Nothing,
                };
            }
        };
        if op_code == OpCode::Update && self.updates.is_open() {
            return self.update(bytes, source, proof);
        }
        let Ok(query) = Message::from_vec(&bytes) else {
            return Response::Answer(signed(refused(ResponseCode::FormErr), proof));
        };
        if query.metadata.op_code == OpCode::Notify {
            return self.notified(&query, source.ip(), proof);
        }
        match wanted_transfer(&query) {
            Some(kind) => self.transfer(&query, kind, source, transport, proof),
            None => {
                let reply = self.reply(&query, source.ip(), transport, signature_bytes(proof.as_ref()));
                Response::Answer(signed(reply, proof))
            }
        }
    }

    /// An update is taken from who proves to hold a key that was granted something. Nobody else is told
    /// anything; their answer is shorter than what they sent.
    fn update(&self, message: Cow<'_, [u8]>, source: SocketAddr, proof: Option<Proof>) -> Response {
        let stamp = proof.as_ref().filter(|proof| self.updates.knows(&proof.key));
        match (stamp.and_then(|proof| proof.signing.stamp()), proof) {
            (Some((stamp, until)), Some(Proof { key, signing })) => {
                let message = message.into_owned();
                Response::Update(Box::new(receive::Request { key, stamp, until, message, source, signing }))
            }
            (_, proof) => {
                tracing::debug!(%source, "update refused: it is not signed with a key of updaters");
                let spare = signature_bytes(proof.as_ref());
                Response::Answer(signed(receive::answer(&message, Code::Refused, spare), proof))
            }
        }
    }

    /// RFC 1996 section 3.7: the serial in it is a hint.
    fn notified(&self, query: &Message, source: IpAddr, proof: Option<Proof>) -> Response {
        let zone = judge_question(query).and_then(|asked| match asked.query_type() {
            RecordType::SOA => Name::from_root(asked.name().iter().rev()).ok_or(ResponseCode::FormErr),
            _ => Err(ResponseCode::NotImp),
        });
        let code = match zone {
            Err(code) => Some(code),
            Ok(zone) => {
                let key = proof.as_ref().map(|proof| &proof.key);
                self.notices.take(&zone, serial_in(&query.answers), source, key)
            }
        };
        let Some(code) = code else { return Response::Nothing };
        let mut answer = head(query, code);
        // RFC 1996 section 4.7.
        answer.metadata.authoritative = code == ResponseCode::NoError;
        Response::Answer(signed(encode(&answer), proof))
    }

    /// The answer to a query that is no transfer, with so many bytes to spare.
    pub(crate) fn reply(
        &self,
        query: &Message,
        source: IpAddr,
        transport: Transport,
        spare: usize,
    ) -> Vec<u8> {
        let asked = judge(query).and_then(|asked| judge_type(asked.query_type()));
        if let Err(code) = asked {
            return encode(&head(query, code));
        }
        let plainly = plainly(query);
        let Some(asked) = plain::Query::read(&plainly) else {
            return encode(&head(query, ResponseCode::FormErr));
        };
        let mut message = Vec::new();
        let snapshot = self.snapshot.load();
        let way = Way { source, transport, spare };
        self.answer(&snapshot, &asked, way, |_| Outcome::Send, &mut message);
        message
    }

    /// `limit` judges what is found for who does not show a cookie of this server's.
    fn answer(
        &self,
        snapshot: &Snapshot,
        query: &plain::Query<'_>,
        Way { source, transport, spare }: Way,
        limit: impl FnOnce(&Answer<'_>) -> Outcome,
        message: &mut Vec<u8>,
    ) {
        let Ok(shown) = query.cookie() else { return query.refuse(message) };
        let judged = shown.map(|shown| self.cookies.judge(shown, source, unix_seconds() as u32));
        let found = answer(snapshot, query.name(), query.kind());
        let is_known = judged.is_some_and(|(is_ours, _)| is_ours);
        let outcome = if is_known { Outcome::Send } else { limit(&found) };
        if outcome == Outcome::Drop {
            message.clear();
            return;
        }
        let bytes_max = match transport {
            Transport::Udp => query.udp_bytes_max(),
            Transport::Stream | Transport::Private => u16::MAX.into(),
        };
        let frame = Frame {
            bytes_max: bytes_max.saturating_sub(spare),
            is_cut: outcome == Outcome::Slip,
            is_padded: transport == Transport::Private,
            cookie: judged.map(|(_, given)| given),
        };
        query.write(&found, frame, message);
    }

    fn transfer(
        &self,
        query: &Message,
        kind: RecordType,
        source: SocketAddr,
        transport: Transport,
        proof: Option<Proof>,
    ) -> Response {
        let (since, zone) = match self.judge_transfer(query, kind, source, transport, proof.as_ref()) {
            Ok(taken) => taken,
            Err(code) => return Response::Answer(signed(encode(&head(query, code)), proof)),
        };
        let mut head = head(query, ResponseCode::NoError);
        head.metadata.authoritative = true;
        let signing = proof.map(|proof| proof.signing);
        let transfer = Transfer { zone, since, head, bytes_max: query.max_payload(), signing };
        match transport {
            Transport::Stream | Transport::Private => Response::Transfer(Box::new(transfer)),
            Transport::Udp => Response::Answer(transfer.datagram()),
        }
    }

    /// The serial that the client holds, if it says so, and the zone that it is given; or why it is
    /// given none.
    fn judge_transfer(
        &self,
        query: &Message,
        kind: RecordType,
        source: SocketAddr,
        transport: Transport,
        proof: Option<&Proof>,
    ) -> Result<(Option<Serial>, Arc<Zone>), ResponseCode> {
        let asked = judge(query)?;
        if !access::may_transfer(&self.secondaries, source.ip(), proof.map(|proof| &proof.key)) {
            tracing::debug!(%source, "transfer refused: no secondary of ours, or without its key");
            return Err(ResponseCode::Refused);
        }
        let name = Name::from_root(asked.name().iter().rev()).ok_or(ResponseCode::FormErr)?;
        let since = match (kind, transport) {
            // RFC 5936 section 4.2.
            (RecordType::AXFR, Transport::Udp) => return Err(ResponseCode::FormErr),
            (RecordType::AXFR, Transport::Stream | Transport::Private) => None,
            // RFC 1995 section 3: the SOA that the client holds.
            _ => Some(serial_in(&query.authorities).ok_or(ResponseCode::FormErr)?),
        };
        let snapshot = self.snapshot.load();
        // RFC 5936 section 2.2.1.
        let zone = snapshot.zone(&name).ok_or(ResponseCode::NotAuth)?;
        let key = proof.map(|proof| &proof.key);
        if !access::may_take(&self.secondaries, source.ip(), key, zone) {
            tracing::debug!(%source, zone = %name, "transfer refused: the secondary is to have other zones");
            return Err(ResponseCode::Refused);
        }
        match (zone.is_transferable(), zone.is_held()) {
            (false, _) => Err(ResponseCode::Refused),
            (true, true) => Err(ResponseCode::ServFail),
            (true, false) => Ok((since, Arc::clone(zone))),
        }
    }
}

/// The serial of the first SOA among `records`.
pub(crate) fn serial_in(records: &[Record]) -> Option<Serial> {
    records.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(Serial(soa.serial)),
        _ => None,
    })
}

pub(crate) fn unix_seconds() -> u64 {
    unix_ms() / 1000
}

/// Id and kind of a message that asks for something.
fn question_of(bytes: &[u8]) -> Option<(u16, OpCode)> {
    let &[high, low, flags, ..] = bytes.first_chunk::<HEADER_BYTES>()?;
    let is_question = flags & QR == 0;
    is_question.then(|| (u16::from_be_bytes([high, low]), OpCode::from_u8(flags >> 3 & 0xf)))
}

fn signature_bytes(proof: Option<&Proof>) -> usize {
    proof.map_or(0, |proof| proof.signing.bytes())
}

/// The answer, signed for a client that signed. One that has no room for it was made for less.
fn signed(answer: Vec<u8>, proof: Option<Proof>) -> Vec<u8> {
    sign(answer, proof.map(|proof| proof.signing).as_mut())
}

fn sign(mut answer: Vec<u8>, signing: Option<&mut Signing>) -> Vec<u8> {
    if let Some(Err(error)) = signing.map(|signing| signing.sign(&mut answer, unix_seconds())) {
        tracing::error!(%error, "an answer could not be signed");
        answer.clear();
    }
    answer
}

/// The codec's length of a header, and its bit that marks an answer.
const HEADER_BYTES: usize = 12;
const QR: u8 = 0x80;

fn encode(message: &Message) -> Vec<u8> {
    // What is read from a query, and what zones hold, keeps the limits of the wire.
    message.to_vec().unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be written");
        Vec::new()
    })
}

/// An answer to `query` without records.
fn head(query: &Message, code: ResponseCode) -> Message {
    let metadata = Metadata::response_from_request(&query.metadata);
    let mut message = Message::new(metadata.id, MessageType::Response, metadata.op_code);
    message.metadata = metadata;
    message.metadata.response_code = code;
    message.queries.clone_from(&query.queries);
    message.edns = query.edns.as_ref().map(|edns| response_edns(edns.flags().dnssec_ok));
    message
}

fn response_edns(dnssec_ok: bool) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    edns.set_dnssec_ok(dnssec_ok);
    edns
}

/// The query with nothing in it that an answer does not depend on.
fn plainly(query: &Message) -> Vec<u8> {
    let Metadata { id, recursion_desired, checking_disabled, .. } = query.metadata;
    let mut plainly = Message::new(id, MessageType::Query, OpCode::Query);
    plainly.metadata.recursion_desired = recursion_desired;
    plainly.metadata.checking_disabled = checking_disabled;
    plainly.queries.clone_from(&query.queries);
    plainly.edns = query.edns.as_ref().map(|edns| {
        let mut bare = response_edns(edns.flags().dnssec_ok);
        bare.set_max_payload(edns.max_payload());
        bare
    });
    encode(&plainly)
}

fn wanted_transfer(query: &Message) -> Option<RecordType> {
    let kind = query.queries.first()?.query_type();
    let is_query = query.metadata.op_code == OpCode::Query;
    (is_query && matches!(kind, RecordType::AXFR | RecordType::IXFR)).then_some(kind)
}

/// The one question, or why no question is answered.
fn judge(query: &Message) -> Result<&Query, ResponseCode> {
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(ResponseCode::BADVERS);
    }
    // NOTIFY and UPDATE have ways of their own, and none where nobody is our primary or granted anything, or by TLS.
    if query.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    judge_question(query)
}

fn judge_question(query: &Message) -> Result<&Query, ResponseCode> {
    // RFC 9619: a query has one question.
    let [asked] = &query.queries[..] else { return Err(ResponseCode::FormErr) };
    if asked.query_class() == DNSClass::IN { Ok(asked) } else { Err(ResponseCode::Refused) }
}

/// Why a question of this type is not answered with records.
fn judge_type(kind: RecordType) -> Result<(), ResponseCode> {
    match kind {
        RecordType::ANY => Ok(()),
        // Not by this way.
        RecordType::AXFR | RecordType::IXFR => Err(ResponseCode::Refused),
        RecordType::OPT => Err(ResponseCode::FormErr),
        // RFC 6895 section 3.1: 128 to 255 ask for something other than records.
        other if (128..=255).contains(&u16::from(other)) => Err(ResponseCode::NotImp),
        _ => Ok(()),
    }
}

/// A zone on its way to a server that takes it.
pub(crate) struct Transfer {
    zone: Arc<Zone>,
    /// The serial that the server holds; `None` for the whole zone.
    since: Option<Serial>,
    /// The first message, without records.
    head: Message,
    /// The largest datagram that the server takes.
    bytes_max: u16,
    signing: Option<Signing>,
}

impl Transfer {
    /// The whole answer in one datagram; when it does not fit, the SOA alone, and the client asks by
    /// TCP (RFC 1995 section 2).
    fn datagram(mut self) -> Vec<u8> {
        let taken = self.bytes_max.clamp(UDP_BYTES_PLAIN, UDP_BYTES_MAX);
        let mut room =
            usize::from(taken).saturating_sub(self.signature_bytes() + head_bytes_max(&self.head.queries));
        let mut answers = Vec::new();
        for record in records_of(&self.zone, self.since) {
            let Some(rest) = room.checked_sub(record_bytes_max(&record)) else {
                answers = transfer::start(&self.zone).map(wire_record).collect();
                break;
            };
            room = rest;
            answers.push(record);
        }
        self.head.answers = answers;
        sign(encode(&self.head), self.signing.as_mut())
    }

    fn signature_bytes(&self) -> usize {
        self.signing.as_ref().map_or(0, Signing::bytes)
    }

    /// The messages, in order, each made when it is asked for.
    pub(crate) fn messages(&mut self) -> impl Iterator<Item = Vec<u8>> + Send {
        let spare = self.signature_bytes();
        let Self { zone, since, head, signing, .. } = self;
        let mut records = records_of(zone, *since).peekable();
        let mut first = Some(head.clone());
        let metadata = head.metadata;
        std::iter::from_fn(move || {
            records.peek()?;
            // Only the first one repeats the question (RFC 5936 section 2.2.1).
            let mut message = first.take().unwrap_or_else(|| {
                let mut next = Message::new(metadata.id, MessageType::Response, OpCode::Query);
                next.metadata = metadata;
                next
            });
            let mut room = TRANSFER_BYTES_MAX.saturating_sub(spare + head_bytes_max(&message.queries));
            while let Some(record) = records.next_if(|next| {
                // One record always goes, however large: it fits into a message of its own.
                message.answers.is_empty() || record_bytes_max(next) <= room
            }) {
                room = room.saturating_sub(record_bytes_max(&record));
                message.answers.push(record);
            }
            Some(sign(encode(&message), signing.as_mut()))
        })
    }

    /// For the log.
    pub(crate) fn describe(&self) -> (&Name, Serial, Option<Serial>) {
        (self.zone.origin(), self.zone.serial(), self.since)
    }
}

fn records_of(zone: &Zone, since: Option<Serial>) -> impl Iterator<Item = Record> + Send {
    since.map_or_else(|| transfer::whole(zone), |serial| transfer::since(zone, serial)).map(wire_record)
}

/// Bytes before the first record, and of the OPT record, at most.
fn head_bytes_max(queries: &[Query]) -> usize {
    const OPT: usize = 11;
    const TYPE_AND_CLASS: usize = 4;
    HEADER_BYTES + OPT + queries.iter().map(|query| query.name().len() + 1 + TYPE_AND_CLASS).sum::<usize>()
}

fn record_bytes_max(record: &Record) -> usize {
    const NAME_END: usize = 1;
    const TYPE_CLASS_TTL_LENGTH: usize = 10;
    let data = match &record.data {
        RData::Unknown { rdata, .. } => rdata.anything.len(),
        _ => usize::from(u16::MAX),
    };
    record.name.len() + NAME_END + TYPE_CLASS_TTL_LENGTH + data
}

pub(crate) fn wire_record(record: transfer::Record<'_>) -> Record {
    Record::from_rdata(wire_name_of(record.owner), record.ttl, wire_data(record.kind, record.data))
}

/// As it stands, whatever its type.
fn wire_data(kind: Kind, data: Value<'_>) -> RData {
    RData::Unknown { code: RecordType::from(kind.0), rdata: NULL::with(data.as_bytes().into()) }
}

pub(crate) fn wire_name(name: &Name) -> WireName {
    wire_name_of(name.as_bytes())
}

/// The name of a key.
fn wire_name_of(key: &[u8]) -> WireName {
    let mut labels: Vec<&[u8]> = labels(key).collect();
    labels.reverse();
    WireName::from_labels(labels).expect("a name of ours keeps the limits of the wire")
}

#[cfg(test)]
pub(crate) mod fuzz;
