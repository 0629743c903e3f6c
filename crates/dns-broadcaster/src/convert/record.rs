//! Records as people read and name them.

use std::str::FromStr as _;

use domain::base::iana::Rtype;
use domain::base::rdata::ParseAnyRecordData as _;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt as _};
use domain::base::{Name as WireName, ParsedName};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;
use switchback_proto::dns::v1 as wire;

use super::count;
use crate::Error;
use crate::core::name::Name;
use crate::core::receive::TakenSet;
use crate::core::record::{Kind, Rdata};

/// Sets in a listing: more than a person reads.
const LISTED_MAX: usize = 1000;

/// Sets that were taken by update, each with its zone, its name and whether it is served; all of them have so
/// many records.
pub(crate) fn records<'a>(
    sets: impl Iterator<Item = (&'a Name, &'a Name, &'a TakenSet, bool)>,
    records: usize,
) -> wire::ListRecordsResponse {
    let set = |(zone, owner, taken, is_served): (&Name, &Name, &TakenSet, bool)| wire::TakenSet {
        zone: zone.to_string(),
        name: owner.to_string(),
        r#type: type_text(taken.set.kind),
        ttl_seconds: taken.set.ttl,
        values: taken.set.data.iter().map(|data| value_text(taken.set.kind, data)).collect(),
        key: taken.key.to_string(),
        taken_unix_ms: taken.at.saturating_mul(1000),
        left_out: !is_served,
    };
    wire::ListRecordsResponse { sets: sets.take(LISTED_MAX).map(set).collect(), records: count(records) }
}

/// The name and the type that are to be removed.
pub(crate) fn set_name(request: &wire::RemoveRecordsRequest) -> Result<(Name, Kind), Error> {
    let refuse = |reason: String| Error::Malformed(reason);
    let name = WireName::<Vec<u8>>::from_str(&request.name);
    let name = name.ok().and_then(|name| {
        let labels: Vec<_> =
            name.iter().filter(|label| !label.is_root()).map(|label| label.as_slice().to_vec()).collect();
        Name::from_root(labels.iter().rev().map(Vec::as_slice))
    });
    let name = name.ok_or_else(|| refuse(format!("{:?} is no domain name", request.name)))?;
    let kind = Rtype::from_str(&request.r#type);
    let kind =
        kind.map_err(|_| refuse(format!("{:?} is no type of records, as \"TXT\" is", request.r#type)))?;
    Ok((name, Kind(kind.to_int())))
}

fn type_text(kind: Kind) -> String {
    Rtype::from_int(kind.0).to_string()
}

/// As a zone file has it; a type without a form of its own as RFC 3597 section 5 has it.
fn value_text(kind: Kind, data: &Rdata) -> String {
    let mut parser = Parser::from_ref(data.as_bytes());
    let read =
        AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(Rtype::from_int(kind.0), &mut parser);
    match read {
        Ok(read) => read.display_zonefile(DisplayKind::Simple).to_string(),
        Err(_) => format!("{data:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_in_a_zone_file() {
        let text = |kind, bytes: &[u8]| value_text(Kind(kind), &Rdata::from_wire(bytes.to_vec()));
        assert_eq!(text(1, &[192, 0, 2, 7]), "192.0.2.7");
        assert_eq!(text(16, b"\x03a\"b\x01c"), "\"a\\\"b\" \"c\"");
        assert_eq!(text(15, b"\0\x0a\x04mail\x04test\0"), "10 mail.test.");
        assert_eq!(text(65280, &[0xab, 1]), "\\# 2 ab 01");
    }

    #[test]
    fn names_are_taken_as_people_write_them() {
        let named = |name: &str, kind: &str| {
            set_name(&wire::RemoveRecordsRequest { name: name.into(), r#type: kind.into() })
        };
        let (name, kind) = named("_Acme-Challenge.s3.east.test.", "txt").unwrap();
        assert_eq!((name, kind), (Name::parse("_acme-challenge.s3.east.test").unwrap(), Kind::TXT));
        let (name, kind) = named("*.a\\032b.test", "TYPE65280").unwrap();
        assert_eq!((name.to_string(), kind), ("*.a b.test".into(), Kind(65280)));
        assert!(named("a..b", "TXT").is_err() && named("a.b", "TEXT").is_err());
    }
}
