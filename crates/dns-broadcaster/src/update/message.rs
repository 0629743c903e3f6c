//! Updates (RFC 2136 section 2) and questions as they stand on the wire, and what answers say.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::core::name::Name;
use crate::core::plain::UDP_BYTES_MAX;
use crate::core::record::{Kind, Rdata};
use crate::core::update::{Declined, Fence, Found, Leads, Put, Trouble};
use crate::respond::wire_name;

/// What is asked of a tenant's names, in the order in which [`found`] takes the answers. `None` when there
/// are no such names.
pub(super) fn questions(tenant: &Name) -> Option<[Message; 5]> {
    let (fence, wildcard) = (Fence::owner(tenant)?, tenant.child("*")?);
    Some([
        question(&fence, RecordType::TXT),
        question(tenant, RecordType::A),
        question(tenant, RecordType::AAAA),
        question(&wildcard, RecordType::A),
        question(&wildcard, RecordType::AAAA),
    ])
}

fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(wire_name(name), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    message.set_edns(edns);
    message
}

/// What the answers to these questions say.
pub(super) fn found(questions: &[Message; 5], answers: &[Message]) -> Result<Found, Trouble> {
    let [fence, v4, v6, wild_v4, wild_v6] = answers else { return Err(Trouble::Malformed) };
    for answer in answers {
        let code = answer.response_code;
        if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
            return Err(Trouble::Declined(Declined::Question(code.into())));
        }
        if !answer.authoritative {
            return Err(Trouble::Declined(Declined::NotMaster));
        }
    }
    let [_, at_tenant, _, at_wildcard, _] = questions;
    let mut texts: Vec<_> = own_records(&questions[0], fence).filter_map(text).collect();
    texts.sort();
    Ok(Found {
        fence: texts,
        tenant: leads(at_tenant, [v4, v6]),
        wildcard: leads(at_wildcard, [wild_v4, wild_v6]),
    })
}

/// The records of the very name that was asked for, without those of what it may be an alias of.
fn own_records<'a>(question: &'a Message, answer: &'a Message) -> impl Iterator<Item = &'a RData> {
    let asked = question.queries.first().map(Query::name);
    answer.answers.iter().filter(move |record| Some(&record.name) == asked).map(|record| &record.data)
}

fn leads(question: &Message, answers: [&Message; 2]) -> Leads {
    let mut leads = Leads::default();
    for data in answers.into_iter().flat_map(|answer| own_records(question, answer)) {
        match data {
            RData::A(address) => leads.addresses.push(IpAddr::V4(address.0)),
            RData::AAAA(address) => leads.addresses.push(IpAddr::V6(address.0)),
            RData::CNAME(name) => leads.alias = Name::from_root(name.0.iter().rev()),
            _ => {}
        }
    }
    leads.addresses.sort();
    leads.addresses.dedup();
    leads
}

fn text(data: &RData) -> Option<Rdata> {
    let RData::TXT(text) = data else { return None };
    let mut bytes = Vec::new();
    for string in &text.txt_data {
        bytes.push(u8::try_from(string.len()).ok()?);
        bytes.extend(&**string);
    }
    Some(Rdata::from_wire(bytes))
}

/// An update of `zone` for as long as `demand` is the fence of `tenant`. `None` when there are no such
/// names.
pub(super) fn update(zone: &Name, tenant: &Name, demand: &[Rdata], put: Option<&Put>) -> Option<Message> {
    let (fence, wildcard) = (Fence::owner(tenant)?, tenant.child("*")?);
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(wire_name(zone), RecordType::SOA));
    // Section 2.4.3, or 2.4.2: the whole set, with a TTL of zero.
    message.answers = if demand.is_empty() {
        vec![any(&fence, RecordType::TXT, DNSClass::NONE)]
    } else {
        demand.iter().map(|data| record(&fence, 0, RecordType::TXT, data)).collect()
    };
    // Section 2.5.2: all that stands there goes. One after the other, what comes stands there alone.
    let mut updates = vec![any(&fence, RecordType::TXT, DNSClass::ANY)];
    for name in [tenant, &wildcard] {
        updates.extend(
            [RecordType::A, RecordType::AAAA, RecordType::CNAME].map(|kind| any(name, kind, DNSClass::ANY)),
        );
    }
    if let Some(Put { fence: data, content }) = put {
        updates.push(record(&fence, content.ttl, RecordType::TXT, data));
        for name in [tenant, &wildcard] {
            let Leads { addresses, alias } = &content.leads;
            let addresses = addresses.iter().map(|address| Rdata::address(*address));
            let alias = alias.iter().map(|alias| (Kind::CNAME, Rdata::name(alias)));
            let records = addresses.chain(alias);
            updates.extend(
                records.map(|(kind, data)| record(name, content.ttl, RecordType::from(kind.0), &data)),
            );
        }
    }
    message.authorities = updates;
    Some(message)
}

/// Stands for a set without naming a value.
fn any(name: &Name, kind: RecordType, class: DNSClass) -> Record {
    let mut record = Record::update0(wire_name(name), 0, kind);
    record.dns_class = class;
    record
}

fn record(name: &Name, ttl: u32, kind: RecordType, data: &Rdata) -> Record {
    let data = RData::Unknown { code: kind, rdata: NULL::with(data.as_bytes().into()) };
    Record::from_rdata(wire_name(name), ttl, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::update::Content;
    use crate::core::zone::Serial;
    use std::sync::Arc;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// (name, class, type, TTL, bytes of its value), as the wire has them.
    fn sections(message: &Message) -> (Vec<String>, Vec<String>) {
        let read = Message::from_vec(&message.to_vec().unwrap()).unwrap();
        let show = |record: &Record| {
            let (class, kind) = (record.dns_class, record.record_type());
            format!("{} {} {class} {kind} {}", record.name, record.ttl, record.data)
        };
        (read.answers.iter().map(show).collect(), read.authorities.iter().map(show).collect())
    }

    #[test]
    fn an_update_demands_the_fence_and_replaces_all_that_is_ours() {
        let (zone, tenant) = (name("example.com"), name("acme.east.example.com"));
        let fence =
            |serial| Fence { serial: Serial(serial), place: None, system: name("west.example.com") }.rdata();
        let addresses = vec!["192.0.2.2".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        let leads = Leads { addresses, alias: None };
        let content = Content { serial: Serial(128), place: None, leads, ttl: 5 };
        let put = Put { fence: fence(128), content: Arc::new(content) };
        let (demand, updates) = sections(&update(&zone, &tenant, &[fence(64)], Some(&put)).unwrap());
        assert_eq!(
            demand,
            ["_switchback.acme.east.example.com. 0 IN TXT switchback serial=64 system=west.example.com"]
        );
        assert_eq!(
            updates,
            [
                "_switchback.acme.east.example.com. 0 ANY TXT UPDATE",
                "acme.east.example.com. 0 ANY A UPDATE",
                "acme.east.example.com. 0 ANY AAAA UPDATE",
                "acme.east.example.com. 0 ANY CNAME UPDATE",
                "*.acme.east.example.com. 0 ANY A UPDATE",
                "*.acme.east.example.com. 0 ANY AAAA UPDATE",
                "*.acme.east.example.com. 0 ANY CNAME UPDATE",
                "_switchback.acme.east.example.com. 5 IN TXT switchback serial=128 system=west.example.com",
                "acme.east.example.com. 5 IN A 192.0.2.2",
                "acme.east.example.com. 5 IN AAAA 2001:db8::2",
                "*.acme.east.example.com. 5 IN A 192.0.2.2",
                "*.acme.east.example.com. 5 IN AAAA 2001:db8::2",
            ]
        );
        let (demand, updates) = sections(&update(&zone, &tenant, &[], None).unwrap());
        assert_eq!(demand, ["_switchback.acme.east.example.com. 0 NONE TXT UPDATE"]);
        assert_eq!(updates.len(), 7, "{updates:?}");
    }

    #[test]
    fn what_is_answered_by_hearsay_or_for_another_name_does_not_count() {
        let tenant = name("acme.east.example.com");
        let asked = questions(&tenant).unwrap();
        let answer = |question: &Message| {
            let mut answer = question.clone();
            answer.metadata.authoritative = true;
            answer
        };
        let mut answers: Vec<_> = asked.iter().map(answer).collect();
        assert_eq!(found(&asked, &answers), Ok(Found::default()));
        let address = Rdata::address("192.0.2.1".parse().unwrap()).1;
        let of = |name: &Name| {
            let bytes = record(name, 5, RecordType::A, &address);
            let mut message = Message::query();
            message.answers.push(bytes);
            Message::from_vec(&message.to_vec().unwrap()).unwrap().answers
        };
        answers[1].answers = of(&name("elsewhere.example.com"));
        assert_eq!(found(&asked, &answers), Ok(Found::default()), "an alias leads there");
        answers[1].answers = of(&tenant);
        assert_eq!(
            found(&asked, &answers).unwrap().tenant.addresses,
            ["192.0.2.1".parse::<IpAddr>().unwrap()]
        );
        answers[4].metadata.authoritative = false;
        assert_eq!(found(&asked, &answers), Err(Trouble::Declined(Declined::NotMaster)));
        answers[4].metadata.response_code = ResponseCode::Refused;
        assert_eq!(found(&asked, &answers), Err(Trouble::Declined(Declined::Question(5))));
    }
}
