//! What is remembered, in sled.
//!
//! | family     | key                          | value (`switchback.link.record.v1`)   |
//! |------------|------------------------------|---------------------------------------|
//! | `link`     | link id, 16 bytes            | `Link`                                |
//! | `deleted`  | link id, 16 bytes            | empty: told to who still has it       |
//! | `released` | link id, 16 bytes            | empty: its content is yet to be freed |
//! | `request`  | request id, UTF-8            | `Request`                             |
//! | `meta`     | `system`                     | `Meta`                                |
//! | `event`    | sequence, 8 bytes big-endian | `Event`: the system log               |

use anyhow::Context;
use prost::Message;
use switchback_kit::durable::{Batch, Db};
use switchback_link_core::{Change, State};
use switchback_model::RequestId;
use switchback_proto::link::record::v1 as record;
use switchback_proto::link::v1::Event;

use crate::convert::record as convert;

const LINK: &str = "link";
const DELETED: &str = "deleted";
const RELEASED: &str = "released";
const REQUEST: &str = "request";
const META: &str = "meta";
const META_KEY: &[u8] = b"system";
const EVENT: &str = "event";

/// Lines of the system log that are kept; years of an ordinary system's.
const EVENTS_MAX: u64 = 10_000;

/// Reads everything but the system log.
///
/// # Errors
/// The database failed, or holds what this version cannot read.
pub fn load(db: &Db) -> anyhow::Result<State> {
    let mut state = State::default();
    for (_, value) in db.scan(LINK)? {
        let link = convert::link(&record::Link::decode(&*value)?).context("read a link")?;
        state.links.insert(link.id, link);
    }
    for (key, _) in db.scan(DELETED)? {
        state.deleted.insert(crate::convert::peer::link_id(&key)?);
    }
    for (key, _) in db.scan(RELEASED)? {
        state.released.insert(crate::convert::peer::link_id(&key)?);
    }
    for (key, value) in db.scan(REQUEST)? {
        let request = convert::request(&record::Request::decode(&*value)?).context("read a request")?;
        state.requests.insert(RequestId(String::from_utf8(key)?), request);
    }
    state.meta =
        db.get(META, META_KEY)?.map(|value| record::Meta::decode(&*value)).transpose()?.map(convert::meta);
    state.last_event = db.scan_back(EVENT, 1)?.first().map_or(Ok(0), |(key, _)| sequence(key))?;
    Ok(state)
}

/// Adds one change to a batch.
pub fn persist(change: &Change, batch: &mut Batch) {
    match change {
        Change::PutLink(link) => {
            batch.put(LINK, link.id.as_bytes(), &convert::link_out(link).encode_to_vec())
        }
        Change::RemoveLink(id) => batch.remove(LINK, id.as_bytes()),
        Change::PutDeleted(id) => batch.put(DELETED, id.as_bytes(), &[]),
        Change::RemoveDeleted(id) => batch.remove(DELETED, id.as_bytes()),
        Change::PutReleased(id) => batch.put(RELEASED, id.as_bytes(), &[]),
        Change::RemoveReleased(id) => batch.remove(RELEASED, id.as_bytes()),
        Change::PutRequest(id, request) => {
            batch.put(REQUEST, id.0.as_bytes(), &convert::request_out(request).encode_to_vec());
        }
        Change::RemoveRequest(id) => batch.remove(REQUEST, id.0.as_bytes()),
        Change::PutMeta(meta) => batch.put(META, META_KEY, &convert::meta_out(meta).encode_to_vec()),
        Change::PutEvent(event) => {
            let stored = record::Event { event: Some(convert::event_out(event)) };
            batch.put(EVENT, &event.sequence.to_be_bytes(), &stored.encode_to_vec());
            if let Some(old) = event.sequence.checked_sub(EVENTS_MAX) {
                batch.remove(EVENT, &old.to_be_bytes());
            }
        }
    }
}

/// The newest `max` lines of the system log after `after`, oldest first.
///
/// # Errors
/// The database failed, or holds what this version cannot read.
pub(crate) fn events(db: &Db, after: u64, max: usize) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    for (key, value) in db.scan_back(EVENT, max)? {
        if sequence(&key)? <= after {
            break;
        }
        events.extend(record::Event::decode(&*value)?.event);
    }
    events.reverse();
    Ok(events)
}

fn sequence(key: &[u8]) -> anyhow::Result<u64> {
    Ok(u64::from_be_bytes(key.try_into().context("read the key of an event")?))
}
