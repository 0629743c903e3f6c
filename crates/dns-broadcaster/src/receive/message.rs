//! Updates as they stand on the wire (RFC 2136 section 2), and their answers.

use domain::base::iana::{Class as WireClass, Rtype};
use domain::base::message::RecordSection;
use domain::base::name::ToName;
use domain::base::rdata::ComposeRecordData;
use domain::base::{Message, ParsedName, ParsedRecord};
use domain::rdata::AllRecordData;

use crate::core::name::{Name, NameBuf};
use crate::core::plain::{UDP_BYTES_MAX, UDP_BYTES_PLAIN};
use crate::core::receive::{Class, Code, Entry, Reason, Refusal, Update};
use crate::core::record::{Kind, Rdata};

/// RFC 1035 section 4.1.1.
const HEADER_BYTES: usize = 12;
const QR: u8 = 0x80;
/// The operation, in the third byte of the header.
const OP_CODE: u8 = 0x78;

/// Reads an update.
///
/// # Errors
/// It is none: its first section must name one zone, by its SOA (section 3.1.1), and records must be such
/// as their types have them.
pub(crate) fn read(bytes: &[u8]) -> Result<Update, Refusal> {
    let malformed = || Refusal { code: Code::FormErr, reason: Reason::Malformed };
    let message = Message::from_slice(bytes).map_err(|_| malformed())?;
    let (zone, class) = zone(message).ok_or_else(malformed)?;
    if class != WireClass::IN {
        return Err(Refusal { code: Code::NotAuth, reason: Reason::NoZone(zone) });
    }
    let demands = message.prerequisite().ok().and_then(entries).ok_or_else(malformed)?;
    let edits = message.update().ok().and_then(entries).ok_or_else(malformed)?;
    Ok(Update { zone, demands, edits })
}

fn zone(message: &Message<[u8]>) -> Option<(Name, WireClass)> {
    let mut zones = message.zone();
    let zone = zones.next()?.ok()?;
    if zones.next().is_some() || zone.qtype() != Rtype::SOA {
        return None;
    }
    Some((name(zone.qname())?, zone.qclass()))
}

fn entries(section: RecordSection<'_, [u8]>) -> Option<Vec<Entry>> {
    section.map(|record| entry(&record.ok()?)).collect()
}

fn entry(record: &ParsedRecord<'_, [u8]>) -> Option<Entry> {
    let class = match record.class() {
        WireClass::IN => Class::In,
        WireClass::ANY => Class::Any,
        WireClass::NONE => Class::None,
        _ => Class::Other,
    };
    let data = match class {
        _ if record.rdlen() == 0 => None,
        Class::In | Class::None => Some(value(record)?),
        // It means nothing there.
        Class::Any | Class::Other => Some(Rdata::from_wire(Vec::new())),
    };
    let (owner, kind) = (name(&record.owner())?, Kind(record.rtype().to_int()));
    Some(Entry { owner, kind, class, ttl: record.ttl().as_secs(), data })
}

/// With names uncompressed, as zone files are read.
fn value(record: &ParsedRecord<'_, [u8]>) -> Option<Rdata> {
    let record = record.to_any_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>().ok()?;
    let mut bytes = Vec::new();
    record.data().compose_rdata(&mut bytes).unwrap_or_else(|never| match never {});
    Some(Rdata::from_wire(bytes))
}

fn name(name: &impl ToName) -> Option<Name> {
    let mut bytes = Vec::new();
    name.compose(&mut bytes).unwrap_or_else(|never| match never {});
    NameBuf::read(&bytes).as_ref().map(Name::from)
}

/// The answer to an update: its header, its zone when there is room for it beside `spare` bytes, and an OPT
/// record when it had one (RFC 6891 section 6.1.1).
pub(crate) fn answer(bytes: &[u8], code: Code, spare: usize) -> Vec<u8> {
    let [high, low, flags, ..] = *bytes else { return Vec::new() };
    let mut answer = vec![0; HEADER_BYTES];
    answer[..4].copy_from_slice(&[high, low, QR | flags & OP_CODE, code.number()]);
    let has_opt = Message::from_slice(bytes).is_ok_and(|message| message.opt().is_some());
    const OPT: usize = 11;
    const TYPE_AND_CLASS: usize = 4;
    let behind = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let zone = NameBuf::read(behind).and_then(|name| behind.get(..name.wire_bytes() + TYPE_AND_CLASS));
    let room = usize::from(UDP_BYTES_PLAIN).saturating_sub(HEADER_BYTES + OPT + spare);
    let count = bytes.get(4..6).unwrap_or_default();
    if let Some(zone) = zone.filter(|zone| count == [0, 1] && zone.len() <= room) {
        answer[5] = 1;
        answer.extend(zone);
    }
    if has_opt {
        let [high, low] = UDP_BYTES_MAX.to_be_bytes();
        answer[11] = 1;
        answer.extend([0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
    }
    answer
}
