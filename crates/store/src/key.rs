//! Keys of the catalogue's rows. Numbers are big-endian, so that byte order is their order.
//!
//! | family | key | value |
//! |---|---|---|
//! | meta | `s` | `Store`: one life of the catalogue |
//! | meta | `f` | empty: the folder of the blobs is marked as this store's |
//! | meta | `h` | the highest hybrid logical time seen, 8 bytes |
//! | meta | `c` content | `Content`: name, access, feed head, counts, digest, cursors |
//! | meta | `n` kind name | the content's identifier |
//! | meta | `k` access-key `0` content | empty: whose credential this is |
//! | meta | `d` content range | the digest of one range: count 8, sum 32 |
//! | meta | `m` content namespace | visible objects 8, their bytes 8 |
//! | meta | `b` content class source bucket | feed entries 8, their bytes 8, per [`BUCKET`] numbers |
//! | meta | `t` content sequence | a tombstone's record name |
//! | meta | `v` link content record-name | empty: a divergence record |
//! | record | content record-name | `Record`, without an inline body |
//! | body | content record-name | the inline body |
//! | feed | content class source sequence | `FeedEntry`: the record changed last at this number |
//! | upload | `u` content namespace `0` escaped-key upload | `Upload` |
//! | upload | `p` upload part-number | `Part` |
//! | blob | `l` blob | end of its lease, 8 bytes |
//! | blob | `e` time blob | empty: the lease ends then |
//! | blob | `r` blob | how many records and parts name it, 8 bytes |
//! | blob | `g` time blob | empty: nothing names it since then |
//!
//! A record-name is `01` (tenant), `02` name (namespace), `03` access-key (credential), `10`
//! namespace `00` key (object), `11` namespace `00` escaped-key `0001` time site (version; both numbers
//! inverted) or `20` loser's-time loser's-site record-name (divergence). A namespace holds no zero
//! byte, so objects are ordered by namespace and key, and versions also by age, the newest first.
//!
//! A class is `0` (configuration) or `1` (the rest): two orders in one feed, so that a sender can
//! take configuration first. A source is `0` for what was written here, else the feed of the peer
//! that it came from: a sender reads the families of all sources but the receiver's, so that it
//! costs what changed and echoes nothing.

use switchback_model::{ContentId, ContentKind, Hlc, LinkId, SiteId, Version};

use crate::error::{Error, Result};
use crate::multipart::Place;
use crate::record::{BlobId, RecordKey};
use crate::upload::UploadId;

/// Sequence numbers that share one counter of pending entries.
pub(crate) const BUCKET: u64 = 4096;

/// The source of what was written on this system.
pub(crate) const LOCAL: u64 = 0;

/// The two orders of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Configuration = 0,
    Object = 1,
}

impl Class {
    pub(crate) const ALL: [Self; 2] = [Self::Configuration, Self::Object];

    pub(crate) fn of(key: &RecordKey) -> Self {
        if key.is_configuration() { Self::Configuration } else { Self::Object }
    }
}

/// Joins the parts of a key.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(crate) const STORE: &[u8] = b"s";
pub(crate) const HLC: &[u8] = b"h";
pub(crate) const MARKED: &[u8] = b"f";

pub(crate) fn content(id: ContentId) -> Vec<u8> {
    join(&[b"c", &id.0])
}

pub(crate) fn content_name(kind: ContentKind, name: &str) -> Vec<u8> {
    join(&[b"n", &[crate::codec::kind_number(kind)], name.as_bytes()])
}

/// All contents that hold this access key; the content's identifier follows.
pub(crate) fn credential_prefix(access_key: &str) -> Vec<u8> {
    join(&[b"k", access_key.as_bytes(), &[0]])
}

pub(crate) fn credential(access_key: &str, id: ContentId) -> Vec<u8> {
    join(&[&credential_prefix(access_key), &id.0])
}

pub(crate) fn range(id: ContentId, range: u8) -> Vec<u8> {
    join(&[b"d", &id.0, &[range]])
}

pub(crate) fn namespace_count(id: ContentId, namespace: &str) -> Vec<u8> {
    join(&[b"m", &id.0, namespace.as_bytes()])
}

/// The counters of one order of a feed.
pub(crate) fn bucket_prefix(id: ContentId, class: Class, source: u64) -> Vec<u8> {
    join(&[b"b", &id.0, &[class as u8], &source.to_be_bytes()])
}

pub(crate) fn bucket(id: ContentId, class: Class, source: u64, bucket: u64) -> Vec<u8> {
    join(&[&bucket_prefix(id, class, source), &bucket.to_be_bytes()])
}

pub(crate) fn tombstone_prefix(id: ContentId) -> Vec<u8> {
    join(&[b"t", &id.0])
}

pub(crate) fn tombstone(id: ContentId, sequence: u64) -> Vec<u8> {
    join(&[b"t", &id.0, &sequence.to_be_bytes()])
}

pub(crate) fn divergence_prefix(link: LinkId) -> Vec<u8> {
    join(&[b"v", &link.0])
}

pub(crate) fn divergence(link: LinkId, id: ContentId, key: &RecordKey) -> Vec<u8> {
    join(&[b"v", &link.0, &id.0, &name(key)])
}

/// A record's row, and its inline body's.
pub(crate) fn record(id: ContentId, key: &RecordKey) -> Vec<u8> {
    join(&[&id.0, &name(key)])
}

/// A record's row by its name.
pub(crate) fn record_by_name(id: ContentId, name: &[u8]) -> Vec<u8> {
    join(&[&id.0, name])
}

/// All objects of a namespace; the key follows.
pub(crate) fn objects(id: ContentId, namespace: &str) -> Vec<u8> {
    join(&[&id.0, &[OBJECT], namespace.as_bytes(), &[0]])
}

/// All versions of a namespace's objects; the escaped key follows.
pub(crate) fn versions(id: ContentId, namespace: &str) -> Vec<u8> {
    join(&[&id.0, &[VERSION], namespace.as_bytes(), &[0]])
}

/// All versions of one object, the newest first.
pub(crate) fn versions_of(id: ContentId, namespace: &str, key: &str) -> Vec<u8> {
    join(&[&versions(id, namespace), &escape(key), &ESCAPE_END])
}

/// All records of one configuration kind; the name follows.
pub(crate) fn namespaces(id: ContentId) -> Vec<u8> {
    join(&[&id.0, &[NAMESPACE]])
}

/// All credentials of a content; the access key follows.
pub(crate) fn credentials(id: ContentId) -> Vec<u8> {
    join(&[&id.0, &[CREDENTIAL]])
}

/// One order of a feed.
pub(crate) fn feed_prefix(id: ContentId, class: Class, source: u64) -> Vec<u8> {
    join(&[&id.0, &[class as u8], &source.to_be_bytes()])
}

pub(crate) fn feed(id: ContentId, class: Class, source: u64, sequence: u64) -> Vec<u8> {
    join(&[&feed_prefix(id, class, source), &sequence.to_be_bytes()])
}

/// All uploads.
pub(crate) const UPLOADS: &[u8] = b"u";

/// All uploads of a content.
pub(crate) fn content_uploads(id: ContentId) -> Vec<u8> {
    join(&[UPLOADS, &id.0])
}

/// All uploads of a namespace; the escaped key follows.
pub(crate) fn uploads(id: ContentId, namespace: &str) -> Vec<u8> {
    join(&[UPLOADS, &id.0, namespace.as_bytes(), &[0]])
}

pub(crate) fn upload(id: ContentId, namespace: &str, key: &str, upload: UploadId) -> Vec<u8> {
    join(&[&uploads(id, namespace), &escape(key), &ESCAPE_END, &upload.0])
}

/// The key and identifier at the end of an upload's row, whose first part has `prefix` bytes.
pub(crate) fn parse_upload(row: &[u8], prefix: usize) -> Result<(String, UploadId)> {
    let corrupt = || Error::Corrupt { what: "upload key" };
    let rest = row.get(prefix..).ok_or_else(corrupt)?;
    let split = rest.len().checked_sub(16 + ESCAPE_END.len()).ok_or_else(corrupt)?;
    let id = rest[split + ESCAPE_END.len()..].try_into().map_err(|_| corrupt())?;
    Ok((unescape(&rest[..split]).ok_or_else(corrupt)?, UploadId(id)))
}

/// All that an upload's row names.
pub(crate) fn parse_upload_row(row: &[u8]) -> Result<Place> {
    let corrupt = || Error::Corrupt { what: "upload key" };
    let content = row.get(1..17).and_then(ContentId::from_slice).ok_or_else(corrupt)?;
    let namespace = row[17..].split(|byte| *byte == 0).next().unwrap_or_default();
    let (key, upload) = parse_upload(row, 17 + namespace.len() + 1)?;
    let namespace = std::str::from_utf8(namespace).map_err(|_| corrupt())?.to_owned();
    Ok(Place { content, namespace, key, upload })
}

/// The identifier at the end of an upload's row.
pub(crate) fn last_upload(row: &[u8]) -> Result<UploadId> {
    row.last_chunk().copied().map(UploadId).ok_or(Error::Corrupt { what: "upload key" })
}

pub(crate) fn parts(upload: UploadId) -> Vec<u8> {
    join(&[b"p", &upload.0])
}

pub(crate) fn part(upload: UploadId, number: u32) -> Vec<u8> {
    join(&[b"p", &upload.0, &number.to_be_bytes()])
}

pub(crate) fn lease(blob: BlobId) -> Vec<u8> {
    join(&[b"l", &blob.0])
}

pub(crate) const LEASE_ENDS: &[u8] = b"e";

pub(crate) fn lease_end(unix_ms: u64, blob: BlobId) -> Vec<u8> {
    join(&[LEASE_ENDS, &unix_ms.to_be_bytes(), &blob.0])
}

pub(crate) fn references(blob: BlobId) -> Vec<u8> {
    join(&[b"r", &blob.0])
}

pub(crate) const GARBAGE: &[u8] = b"g";

pub(crate) fn garbage(unix_ms: u64, blob: BlobId) -> Vec<u8> {
    join(&[GARBAGE, &unix_ms.to_be_bytes(), &blob.0])
}

/// The time and blob of a [`lease_end`] or [`garbage`] row.
pub(crate) fn parse_timed_blob(row: &[u8]) -> Result<(u64, BlobId)> {
    let corrupt = || Error::Corrupt { what: "blob key" };
    let blob = BlobId::from_slice(row.get(9..).ok_or_else(corrupt)?).ok_or_else(corrupt)?;
    Ok((number(&row[1..9])?, blob))
}

/// The number that a row's last bytes, or a small value, hold.
pub(crate) fn number(bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| Error::Corrupt { what: "number" })
}

/// The sequence at the end of a feed, bucket or tombstone row.
pub(crate) fn last_number(row: &[u8]) -> Result<u64> {
    number(row.get(row.len().saturating_sub(8)..).unwrap_or_default())
}

const TENANT: u8 = 0x01;
const NAMESPACE: u8 = 0x02;
const CREDENTIAL: u8 = 0x03;
const OBJECT: u8 = 0x10;
const VERSION: u8 = 0x11;
const DIVERGENCE: u8 = 0x20;

/// A record's name inside its content.
pub(crate) fn name(key: &RecordKey) -> Vec<u8> {
    match key {
        RecordKey::Tenant => vec![TENANT],
        RecordKey::Namespace(name) => join(&[&[NAMESPACE], name.as_bytes()]),
        RecordKey::Credential(access_key) => join(&[&[CREDENTIAL], access_key.as_bytes()]),
        RecordKey::Object { namespace, key } => {
            join(&[&[OBJECT], namespace.as_bytes(), &[0], key.as_bytes()])
        }
        RecordKey::Version { namespace, key, id } => join(&[
            &[VERSION],
            namespace.as_bytes(),
            &[0],
            &escape(key),
            &ESCAPE_END,
            &(!id.hlc.0).to_be_bytes(),
            &(!id.site.0).to_be_bytes(),
        ]),
        RecordKey::Divergence { of, loser } => {
            join(&[&[DIVERGENCE], &loser.hlc.0.to_be_bytes(), &loser.site.0.to_be_bytes(), &name(of)])
        }
    }
}

/// Reads what [`name`] wrote.
pub(crate) fn parse_name(bytes: &[u8]) -> Result<RecordKey> {
    let corrupt = || Error::Corrupt { what: "record key" };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| corrupt());
    let (tag, rest) = bytes.split_first().ok_or_else(corrupt)?;
    match *tag {
        TENANT if rest.is_empty() => Ok(RecordKey::Tenant),
        NAMESPACE => Ok(RecordKey::Namespace(text(rest)?)),
        CREDENTIAL => Ok(RecordKey::Credential(text(rest)?)),
        OBJECT => {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(corrupt)?;
            Ok(RecordKey::Object { namespace: text(&rest[..end])?, key: text(&rest[end + 1..])? })
        }
        VERSION => {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(corrupt)?;
            let (namespace, rest) = (text(&rest[..end])?, &rest[end + 1..]);
            let (rest, site) = rest.split_last_chunk().ok_or_else(corrupt)?;
            let (rest, hlc) = rest.split_last_chunk().ok_or_else(corrupt)?;
            let key = rest.strip_suffix(&ESCAPE_END).and_then(unescape).ok_or_else(corrupt)?;
            let (hlc, site) = (Hlc(!u64::from_be_bytes(*hlc)), SiteId(!u64::from_be_bytes(*site)));
            Ok(RecordKey::Version { namespace, key, id: Version { hlc, site } })
        }
        DIVERGENCE => {
            let (hlc, rest) = rest.split_at_checked(8).ok_or_else(corrupt)?;
            let (site, rest) = rest.split_at_checked(8).ok_or_else(corrupt)?;
            let loser = Version { hlc: Hlc(number(hlc)?), site: SiteId(number(site)?) };
            // One level only: a hostile name must not recurse.
            if rest.first() == Some(&DIVERGENCE) {
                return Err(corrupt());
            }
            Ok(RecordKey::Divergence { of: Box::new(parse_name(rest)?), loser })
        }
        _ => Err(corrupt()),
    }
}

/// Ends an escaped key: sorts before every byte that may follow in a longer one.
const ESCAPE_END: [u8; 2] = [0, 1];

/// A key that may hold zero bytes, so that it can be followed by something else and still sort.
pub(crate) fn escape(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 2);
    for byte in key.bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes
}

fn unescape(bytes: &[u8]) -> Option<String> {
    let mut key = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        key.push(*byte);
        if *byte == 0 && *rest.next()? != 0xff {
            return None;
        }
    }
    String::from_utf8(key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain_key() -> impl Strategy<Value = RecordKey> {
        prop_oneof![
            Just(RecordKey::Tenant),
            "[a-z.-]{1,12}".prop_map(RecordKey::Namespace),
            "[A-Z0-9]{1,20}".prop_map(RecordKey::Credential),
            ("[a-z]{1,3}", any::<String>()).prop_map(|(namespace, key)| RecordKey::object(namespace, key)),
            ("[a-z]{1,3}", any::<String>(), any::<(u64, u64)>()).prop_map(|(namespace, key, (hlc, site))| {
                RecordKey::Version { namespace, key, id: Version { hlc: Hlc(hlc), site: SiteId(site) } }
            }),
        ]
    }

    fn any_key() -> impl Strategy<Value = RecordKey> {
        (plain_key(), any::<Option<(u64, u64)>>()).prop_map(|(key, loser)| match loser {
            Some((hlc, site)) => RecordKey::Divergence {
                of: Box::new(key),
                loser: Version { hlc: Hlc(hlc), site: SiteId(site) },
            },
            None => key,
        })
    }

    proptest! {
        #[test]
        fn a_record_key_reads_back(key in any_key()) {
            prop_assert_eq!(parse_name(&name(&key)).unwrap(), key);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse_name(&bytes);
            let _ = parse_upload(&bytes, 3);
            let _ = parse_upload_row(&bytes);
            let _ = parse_timed_blob(&bytes);
        }

        #[test]
        fn objects_are_ordered_by_namespace_then_key(
            left in ("[a-c.-]{1,3}", "[\u{0}a-c/]{0,4}"),
            right in ("[a-c.-]{1,3}", "[\u{0}a-c/]{0,4}"),
        ) {
            let bytes = |(namespace, key): &(String, String)| name(&RecordKey::object(namespace, key));
            prop_assert_eq!(bytes(&left).cmp(&bytes(&right)), left.cmp(&right));
        }

        #[test]
        fn versions_are_ordered_by_key_then_from_the_newest(
            left in ("[\u{0}\u{1}a-c]{0,4}", 0u64..3, 0u64..3),
            right in ("[\u{0}\u{1}a-c]{0,4}", 0u64..3, 0u64..3),
        ) {
            let row = |(key, hlc, site): &(String, u64, u64)| {
                let (namespace, id) = ("ns".to_owned(), Version { hlc: Hlc(*hlc), site: SiteId(*site) });
                name(&RecordKey::Version { namespace, key: key.clone(), id })
            };
            let place = |(key, hlc, site): &(String, u64, u64)| (key.clone(), u64::MAX - hlc, u64::MAX - site);
            prop_assert_eq!(row(&left).cmp(&row(&right)), place(&left).cmp(&place(&right)));
            let of_left = versions_of(ContentId([7; 16]), "ns", &left.0);
            let right_row = record_by_name(ContentId([7; 16]), &row(&right));
            prop_assert_eq!(right_row.starts_with(&of_left), left.0 == right.0);
        }

        #[test]
        fn uploads_are_ordered_by_key_then_identifier(
            left in ("[\u{0}\u{1}a-c]{0,4}", any::<[u8; 16]>()),
            right in ("[\u{0}\u{1}a-c]{0,4}", any::<[u8; 16]>()),
        ) {
            let content = ContentId([7; 16]);
            let row = |(key, id): &(String, [u8; 16])| upload(content, "ns", key, UploadId(*id));
            prop_assert_eq!(row(&left).cmp(&row(&right)), left.cmp(&right));
            let (key, id) = parse_upload(&row(&left), uploads(content, "ns").len()).unwrap();
            let place = parse_upload_row(&row(&left)).unwrap();
            let Place { content: of, namespace, key: same, upload } = place;
            prop_assert_eq!((of, namespace.as_str(), &same, upload), (content, "ns", &key, id));
            prop_assert_eq!((key, id.0), left);
        }
    }
}
