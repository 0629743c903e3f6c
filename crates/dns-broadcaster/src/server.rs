//! DNS on the wire: hickory reads and writes messages, the core answers.
//!
//! One snapshot is loaded for each message, so a query sees all of a change or nothing of it. The
//! library's own server truncates wherever the buffer ends and may lose the OPT record there; so
//! sizes are judged here: what does not fit goes out empty with TC, and the client asks by TCP.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Edns, Header, HeaderCounts, LowerQuery, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use crate::core::answer::{Code, answer};
use crate::core::name::Name;
use crate::core::record::{Kind, Rdata, Set};
use crate::core::zone::Snapshot;

/// No UDP answer is larger: it would be fragmented on some path, and fragments are lost or forged
/// (DNS Flag Day 2020).
const UDP_BYTES_MAX: u16 = 1232;
/// RFC 1035 section 2.3.4: what a client without EDNS takes.
const UDP_BYTES_PLAIN: u16 = 512;
/// Answers of one TCP connection that wait to be written; beyond it the client does not read.
const TCP_ANSWERS_MAX: usize = 32;

/// A server on these sockets, answering from `snapshot` until it is shut down.
pub(crate) fn start(
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    tcp_idle: Duration,
) -> Server<Handler> {
    let mut server = Server::new(Handler { snapshot });
    for socket in udp {
        server.register_socket(socket);
    }
    for listener in tcp {
        server.register_listener(listener, tcp_idle, TCP_ANSWERS_MAX);
    }
    server
}

pub(crate) struct Handler {
    snapshot: Arc<ArcSwap<Snapshot>>,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        let edns = request.edns.is_some().then(|| response_edns(request));
        let limit = match request.protocol() {
            Protocol::Udp => edns.as_ref().map_or(UDP_BYTES_PLAIN, Edns::max_payload),
            _ => u16::MAX,
        };
        let mut reply = reply(&self.snapshot.load(), request);
        reply.fit(request, limit);
        let mut builder = MessageResponseBuilder::new(&request.queries, None);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response =
            builder.build(reply.metadata, &reply.answers, &reply.authorities, [], &reply.additionals);
        handle.send_response(response).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "answer not sent");
            ResponseInfo::from(Header { metadata: reply.metadata, counts: HeaderCounts::default() })
        })
    }
}

/// The size that both ends take.
fn response_edns(request: &Request) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(request.max_payload().clamp(UDP_BYTES_PLAIN, UDP_BYTES_MAX));
    edns
}

struct Reply {
    metadata: Metadata,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

fn reply(snapshot: &Snapshot, request: &Request) -> Reply {
    let mut reply = Reply {
        metadata: Metadata::response_from_request(&request.metadata),
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
    };
    match judge(request) {
        Ok(query) => reply.fill(snapshot, query),
        Err(code) => reply.metadata.response_code = code,
    }
    reply
}

/// What is asked, or why it is not answered.
fn judge(request: &Request) -> Result<&LowerQuery, ResponseCode> {
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(ResponseCode::BADVERS);
    }
    // NOTIFY and UPDATE too: nobody is our primary, and zones change by the link manager only.
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    // RFC 9619: a query has one question.
    let [query] = request.queries.queries() else { return Err(ResponseCode::FormErr) };
    if query.query_class() != DNSClass::IN {
        return Err(ResponseCode::Refused);
    }
    match query.query_type() {
        RecordType::ANY => Ok(query),
        RecordType::AXFR | RecordType::IXFR => Err(ResponseCode::Refused),
        RecordType::OPT => Err(ResponseCode::FormErr),
        // RFC 6895 section 3.1: 128 to 255 ask for something other than records.
        other if (128..=255).contains(&u16::from(other)) => Err(ResponseCode::NotImp),
        _ => Ok(query),
    }
}

impl Reply {
    fn fill(&mut self, snapshot: &Snapshot, query: &LowerQuery) {
        // The client's own spelling: it is the owner of what is found (and some clients compare).
        let asked = query.original().name();
        let Some(name) = Name::from_root(asked.iter().rev()) else {
            self.metadata.response_code = ResponseCode::FormErr;
            return;
        };
        let found = answer(snapshot, &name, Kind(query.query_type().into()));
        self.metadata.response_code = match found.code {
            Code::NoError => ResponseCode::NoError,
            Code::NxDomain => ResponseCode::NXDomain,
            Code::Refused => ResponseCode::Refused,
            Code::ServFail => ResponseCode::ServFail,
        };
        self.metadata.authoritative = found.is_authoritative();
        self.answers = found.answer.map(|set| records(asked, set)).unwrap_or_default();
        self.authorities =
            found.authority.map(|(origin, set)| records(&wire_name(origin), set)).unwrap_or_default();
        self.additionals =
            found.additional.iter().flat_map(|(owner, set)| records(&wire_name(owner), set)).collect();
    }

    /// Leaves out what does not fit: first what is only helpful, then everything, with TC.
    fn fit(&mut self, request: &Request, limit: u16) {
        let limit = usize::from(limit);
        if self.size(request) > limit {
            self.additionals.clear();
        }
        if self.size(request) > limit {
            self.answers.clear();
            self.authorities.clear();
            self.metadata.truncation = true;
        }
    }

    /// An upper bound: names count in full, as if none were compressed.
    fn size(&self, request: &Request) -> usize {
        const HEADER: usize = 12;
        const OPT: usize = 11;
        let records = self.answers.iter().chain(&self.authorities).chain(&self.additionals);
        HEADER + request.queries.as_bytes().len() + OPT + records.map(record_bytes_max).sum::<usize>()
    }
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

fn records(owner: &WireName, set: &Set) -> Vec<Record> {
    let record = |data| Record::from_rdata(owner.clone(), set.ttl, wire_data(set.kind, data));
    set.data.iter().map(record).collect()
}

/// As it stands, whatever its type.
fn wire_data(kind: Kind, data: &Rdata) -> RData {
    RData::Unknown { code: RecordType::from(kind.0), rdata: NULL::with(data.as_bytes().into()) }
}

fn wire_name(name: &Name) -> WireName {
    let mut labels: Vec<&[u8]> = name.from_the_root().collect();
    labels.reverse();
    WireName::from_labels(labels).expect("a name of ours keeps the limits of the wire")
}
