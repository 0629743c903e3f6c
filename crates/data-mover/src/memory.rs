//! What the mover remembers beside the store, in sled.
//!
//! | family    | key                                            | value                           |
//! |-----------|------------------------------------------------|---------------------------------|
//! | `link`    | link, number of the piece                      | a piece of `ApplyFlowsRequest`  |
//! | `retry`   | link, content, hash of the record's key        | `Retry`                         |
//! | `feed`    | link, content, the peer's incarnation          | the peer's feed id              |
//! | `told`    | link, content                                  | `Told`                          |
//! | `absence` | link, epoch                                    | `Absence`                       |
//! | `partial` | content, content hash, `r` for a repair        | `Partial`                       |
//! | `scrub`   | nothing                                        | `Scrub`                         |
//! | `damage`  | content, hash of the record's key              | `Damage`                        |
//! | `request` | a growing number                               | request id and meaning          |
//! | `expiry`  | content, namespace                             | `LifecyclePass`                 |
//! | `clock`   | `0`                                            | Unix milliseconds, 8 bytes      |
//!
//! A link's flows may name thousands of contents, and a record is small: they are kept in pieces.
//! The receiving cursor is not here but in the store, in the same batch as what it counts.

use prost::Message;
use switchback_kit::durable::{Batch, Db, Error};
use switchback_model::{ContentId, Epoch, FeedId, Incarnation, LinkId};
use switchback_proto::mover::record::v1::{Damage, LifecyclePass, Partial, Retry, Scrub, Told};
use switchback_proto::mover::v1::{Absence, ApplyFlowsRequest};

use crate::flow::key::KeyHash;

const LINK: &str = "link";
const RETRY: &str = "retry";
const FEED: &str = "feed";
const TOLD: &str = "told";
const ABSENCE: &str = "absence";
const PARTIAL: &str = "partial";
const EXPIRY: &str = "expiry";
const CLOCK: &str = "clock";
const SCRUB: &str = "scrub";
const DAMAGE: &str = "damage";

/// Bytes of a piece of a link's flows.
const PIECE_BYTES: usize = 32 * 1024;

/// Pieces of one link: about 15,000 contents. A batch holds a hundred operations.
const PIECES_MAX: usize = 48;

/// Removals in one batch.
const REMOVALS_MAX: usize = 96;

/// A retry that was remembered: its link and content, and the record.
pub(crate) type RememberedRetry = (LinkId, ContentId, KeyHash, Retry);

/// A damaged body that was remembered: its content, the hash of its key, and the record.
pub(crate) type RememberedDamage = ((ContentId, KeyHash), Damage);

/// Names what is here of a body on its way in. A flow and a repair may bring the same bytes at once, and one blob has
/// one writer: each remembers its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartialKey {
    /// Of a flow: the content, and the content hash.
    Flow(ContentId, [u8; 32]),
    /// Of a repair: the same.
    Repair(ContentId, [u8; 32]),
}

/// The mover's memory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Memory(Db);

impl Memory {
    pub(crate) fn new(db: Db) -> Self {
        Self(db)
    }

    /// Replaces what is desired of a link. False: too many contents to remember; nothing changed.
    pub(crate) async fn put_link(&self, link: LinkId, flows: &ApplyFlowsRequest) -> Result<bool, Error> {
        let bytes = flows.encode_to_vec();
        let pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
        if pieces.len() > PIECES_MAX {
            return Ok(false);
        }
        let mut batch = Batch::default();
        for piece in self.pieces(link)?.iter().skip(pieces.len()) {
            batch.remove(LINK, piece);
        }
        for (number, piece) in pieces.into_iter().enumerate() {
            batch.put(LINK, &piece_key(link, number), piece);
        }
        self.0.commit_async(batch).await.map(|()| true)
    }

    /// What is desired of all links. A link that cannot be decoded is left out, loudly: its content
    /// stays read-only.
    pub(crate) fn links(&self) -> Result<Vec<ApplyFlowsRequest>, Error> {
        let mut links: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (key, piece) in self.0.scan(LINK)? {
            let link = key.get(..16).unwrap_or_default();
            match links.last_mut() {
                Some((last, bytes)) if last == link => bytes.extend_from_slice(&piece),
                Some(_) | None => links.push((link.to_vec(), piece)),
            }
        }
        let decode = |(link, bytes): (Vec<u8>, Vec<u8>)| {
            ApplyFlowsRequest::decode(bytes.as_slice())
                .inspect_err(|error| {
                    tracing::error!(link = hex::encode(&link), %error, "flows of a link cannot be read")
                })
                .ok()
        };
        Ok(links.into_iter().filter_map(decode).collect())
    }

    /// Forgets everything about a link.
    pub(crate) async fn remove_link(&self, link: LinkId) -> Result<(), Error> {
        self.remove_prefix(RETRY, &link.0).await?;
        self.remove_prefix(FEED, &link.0).await?;
        self.remove_prefix(TOLD, &link.0).await?;
        self.remove_prefix(ABSENCE, &link.0).await?;
        self.remove_prefix(LINK, &link.0).await
    }

    /// Forgets what a link had with a content that it no longer protects.
    pub(crate) async fn remove_content(&self, link: LinkId, content: ContentId) -> Result<(), Error> {
        let prefix = [link.0, content.0].concat();
        self.remove_prefix(RETRY, &prefix).await?;
        self.remove_prefix(TOLD, &prefix).await?;
        self.remove_prefix(FEED, &prefix).await
    }

    pub(crate) async fn put_retries(
        &self,
        link: LinkId,
        content: ContentId,
        retries: &[(KeyHash, Retry)],
    ) -> Result<(), Error> {
        for some in retries.chunks(REMOVALS_MAX) {
            let mut batch = Batch::default();
            for (hash, retry) in some {
                batch.put(RETRY, &retry_key(link, content, hash), &retry.encode_to_vec());
            }
            self.0.commit_async(batch).await?;
        }
        Ok(())
    }

    pub(crate) async fn remove_retries(
        &self,
        link: LinkId,
        content: ContentId,
        retries: &[KeyHash],
    ) -> Result<(), Error> {
        for some in retries.chunks(REMOVALS_MAX) {
            let mut batch = Batch::default();
            for hash in some {
                batch.remove(RETRY, &retry_key(link, content, hash));
            }
            self.0.commit_async(batch).await?;
        }
        Ok(())
    }

    pub(crate) fn retries(&self) -> Result<Vec<RememberedRetry>, Error> {
        let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
            Some((
                LinkId::from_slice(key.get(..16)?)?,
                ContentId::from_slice(key.get(16..32)?)?,
                KeyHash(key.get(32..)?.try_into().ok()?),
                Retry::decode(value.as_slice()).ok()?,
            ))
        };
        Ok(self.0.scan(RETRY)?.into_iter().filter_map(decode).collect())
    }

    /// The feed that the peer had in this incarnation, as it was first heard of.
    pub(crate) fn peer_feed(
        &self,
        link: LinkId,
        content: ContentId,
        peer: Incarnation,
    ) -> Result<Option<FeedId>, Error> {
        let value = self.0.get(FEED, &feed_key(link, content, peer))?;
        Ok(value.and_then(|value| value.try_into().ok()).map(|id| FeedId(u64::from_be_bytes(id))))
    }

    pub(crate) async fn put_peer_feed(
        &self,
        link: LinkId,
        content: ContentId,
        peer: Incarnation,
        feed: FeedId,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(FEED, &feed_key(link, content, peer), &feed.0.to_be_bytes());
        self.0.commit_async(batch).await
    }

    /// What the peer last told of some contents of a link.
    pub(crate) async fn put_told(&self, link: LinkId, told: &[(ContentId, Told)]) -> Result<(), Error> {
        for some in told.chunks(REMOVALS_MAX) {
            let mut batch = Batch::default();
            for (content, told) in some {
                batch.put(TOLD, &[link.0, content.0].concat(), &told.encode_to_vec());
            }
            self.0.commit_async(batch).await?;
        }
        Ok(())
    }

    pub(crate) fn told(&self) -> Result<Vec<(LinkId, ContentId, Told)>, Error> {
        let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
            let link = LinkId::from_slice(key.get(..16)?)?;
            Some((link, ContentId::from_slice(key.get(16..)?)?, Told::decode(value.as_slice()).ok()?))
        };
        Ok(self.0.scan(TOLD)?.into_iter().filter_map(decode).collect())
    }

    /// Notes, in its epoch, what was missing here.
    pub(crate) async fn put_absence(&self, link: LinkId, absence: &Absence) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(ABSENCE, &absence_key(link, Epoch(absence.epoch)), &absence.encode_to_vec());
        self.0.commit_async(batch).await
    }

    pub(crate) async fn remove_absence(&self, link: LinkId, epoch: Epoch) -> Result<(), Error> {
        self.remove_keys(ABSENCE, vec![absence_key(link, epoch)]).await
    }

    /// By epoch.
    pub(crate) fn absences(&self, link: LinkId) -> Result<Vec<Absence>, Error> {
        let rows = self.0.scan_from(ABSENCE, &link.0, usize::MAX)?;
        let mine = rows.into_iter().take_while(|(key, _)| key.starts_with(&link.0));
        Ok(mine.filter_map(|(_, value)| Absence::decode(value.as_slice()).ok()).collect())
    }

    pub(crate) fn partial(&self, key: PartialKey) -> Result<Option<Partial>, Error> {
        let value = self.0.get(PARTIAL, &partial_key(key))?;
        Ok(value.and_then(|value| Partial::decode(value.as_slice()).ok()))
    }

    pub(crate) async fn put_partial(&self, key: PartialKey, partial: &Partial) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(PARTIAL, &partial_key(key), &partial.encode_to_vec());
        self.0.commit_async(batch).await
    }

    pub(crate) async fn remove_partial(&self, key: PartialKey) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.remove(PARTIAL, &partial_key(key));
        self.0.commit_async(batch).await
    }

    /// Forgets the partial bodies whose leases have ended: their blobs are being swept.
    pub(crate) async fn expire_partials(&self, now_unix_ms: i64) -> Result<(), Error> {
        let expired = |value: &[u8]| {
            Partial::decode(value).map_or(true, |partial| partial.leased_unix_ms <= now_unix_ms)
        };
        let keys = self.0.scan(PARTIAL)?.into_iter().filter(|(_, value)| expired(value)).map(|(key, _)| key);
        self.remove_keys(PARTIAL, keys.collect()).await
    }

    /// The last pass over each namespace that has lifecycle rules.
    pub(crate) fn passes(&self) -> Result<Vec<(ContentId, String, LifecyclePass)>, Error> {
        let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
            let content = ContentId::from_slice(key.get(..16)?)?;
            let namespace = String::from_utf8(key.get(16..)?.to_vec()).ok()?;
            Some((content, namespace, LifecyclePass::decode(value.as_slice()).ok()?))
        };
        Ok(self.0.scan(EXPIRY)?.into_iter().filter_map(decode).collect())
    }

    pub(crate) async fn put_pass(
        &self,
        content: ContentId,
        namespace: &str,
        pass: &LifecyclePass,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(EXPIRY, &pass_key(content, namespace), &pass.encode_to_vec());
        self.0.commit_async(batch).await
    }

    pub(crate) async fn remove_passes(&self, passes: &[(ContentId, String)]) -> Result<(), Error> {
        let keys = passes.iter().map(|(content, namespace)| pass_key(*content, namespace));
        self.remove_keys(EXPIRY, keys.collect()).await
    }

    /// The last time that was believed, in Unix milliseconds.
    pub(crate) fn believed_unix_ms(&self) -> Result<Option<u64>, Error> {
        let value = self.0.get(CLOCK, b"0")?;
        Ok(value.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes))
    }

    pub(crate) async fn put_believed(&self, unix_ms: u64) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(CLOCK, b"0", &unix_ms.to_be_bytes());
        self.0.commit_async(batch).await
    }

    /// How far the scrub is.
    pub(crate) fn scrub(&self) -> Result<Scrub, Error> {
        let value = self.0.get(SCRUB, &[])?;
        Ok(value.and_then(|value| Scrub::decode(value.as_slice()).ok()).unwrap_or_default())
    }

    pub(crate) async fn put_scrub(&self, scrub: &Scrub) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(SCRUB, &[], &scrub.encode_to_vec());
        self.0.commit_async(batch).await
    }

    /// The bodies that were found damaged.
    pub(crate) fn damages(&self) -> Result<Vec<RememberedDamage>, Error> {
        let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
            let content = ContentId::from_slice(key.get(..16)?)?;
            let hash = KeyHash(key.get(16..)?.try_into().ok()?);
            Some(((content, hash), Damage::decode(value.as_slice()).ok()?))
        };
        Ok(self.0.scan(DAMAGE)?.into_iter().filter_map(decode).collect())
    }

    pub(crate) async fn put_damage(
        &self,
        (content, hash): (ContentId, KeyHash),
        damage: &Damage,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(DAMAGE, &[content.0, hash.0].concat(), &damage.encode_to_vec());
        self.0.commit_async(batch).await
    }

    pub(crate) async fn remove_damages(&self, damages: &[(ContentId, KeyHash)]) -> Result<(), Error> {
        let keys = damages.iter().map(|(content, hash)| [content.0, hash.0].concat());
        self.remove_keys(DAMAGE, keys.collect()).await
    }

    /// The keys of a link's pieces, in order.
    fn pieces(&self, link: LinkId) -> Result<Vec<Vec<u8>>, Error> {
        let rows = self.0.scan_from(LINK, &link.0, PIECES_MAX)?;
        Ok(rows.into_iter().map(|(key, _)| key).filter(|key| key.starts_with(&link.0)).collect())
    }

    async fn remove_prefix(&self, family: &str, prefix: &[u8]) -> Result<(), Error> {
        let rows = self.0.scan_from(family, prefix, usize::MAX)?;
        let keys = rows.into_iter().map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).collect();
        self.remove_keys(family, keys).await
    }

    async fn remove_keys(&self, family: &str, keys: Vec<Vec<u8>>) -> Result<(), Error> {
        for some in keys.chunks(REMOVALS_MAX) {
            let mut batch = Batch::default();
            some.iter().for_each(|key| batch.remove(family, key));
            self.0.commit_async(batch).await?;
        }
        Ok(())
    }
}

fn piece_key(link: LinkId, number: usize) -> Vec<u8> {
    let number = u16::try_from(number).expect("pieces are fewer than PIECES_MAX");
    [&link.0[..], &number.to_be_bytes()].concat()
}

fn retry_key(link: LinkId, content: ContentId, hash: &KeyHash) -> Vec<u8> {
    [&link.0[..], &content.0, &hash.0].concat()
}

fn feed_key(link: LinkId, content: ContentId, peer: Incarnation) -> Vec<u8> {
    [&link.0[..], &content.0, &peer.0.to_be_bytes()].concat()
}

fn absence_key(link: LinkId, epoch: Epoch) -> Vec<u8> {
    [&link.0[..], &epoch.0.to_be_bytes()].concat()
}

fn pass_key(content: ContentId, namespace: &str) -> Vec<u8> {
    [&content.0[..], namespace.as_bytes()].concat()
}

fn partial_key(key: PartialKey) -> Vec<u8> {
    match key {
        PartialKey::Flow(content, hash) => [&content.0[..], &hash].concat(),
        PartialKey::Repair(content, hash) => [&content.0[..], &hash, b"r"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_proto::mover::v1::ContentFlow;

    fn flows(link: u8, contents: usize) -> ApplyFlowsRequest {
        ApplyFlowsRequest {
            generation: contents as u64,
            link_id: vec![link; 16].into(),
            contents: (0..contents)
                .map(|number| ContentFlow {
                    content: Some(switchback_proto::model::v1::Content {
                        kind: 1,
                        name: format!("tenant-{number}"),
                        id: vec![7; 16].into(),
                    }),
                    send: true,
                    receive: false,
                    paused: false,
                })
                .collect(),
            ..ApplyFlowsRequest::default()
        }
    }

    #[tokio::test]
    async fn the_flows_of_large_and_small_links_read_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(Db::open(folder.path()).unwrap());
        assert!(memory.put_link(LinkId([1; 16]), &flows(1, 5_000)).await.unwrap());
        assert!(memory.put_link(LinkId([2; 16]), &flows(2, 3)).await.unwrap());
        assert_eq!(memory.links().unwrap(), [flows(1, 5_000), flows(2, 3)]);
        assert!(memory.put_link(LinkId([1; 16]), &flows(1, 2)).await.unwrap());
        assert_eq!(memory.links().unwrap(), [flows(1, 2), flows(2, 3)]);
        assert!(!memory.put_link(LinkId([1; 16]), &flows(1, 100_000)).await.unwrap());
        memory.remove_link(LinkId([1; 16])).await.unwrap();
        assert_eq!(memory.links().unwrap(), [flows(2, 3)]);
    }

    #[tokio::test]
    async fn partial_bodies_go_with_their_leases() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(Db::open(folder.path()).unwrap());
        let partial = |leased_unix_ms| Partial { blobs: Vec::new(), written: 0, leased_unix_ms };
        let flow = PartialKey::Flow(ContentId([1; 16]), [2; 32]);
        let repair = PartialKey::Repair(ContentId([1; 16]), [2; 32]);
        memory.put_partial(flow, &partial(10)).await.unwrap();
        memory.put_partial(repair, &partial(20)).await.unwrap();
        memory.expire_partials(9).await.unwrap();
        assert_eq!(memory.partial(flow).unwrap(), Some(partial(10)));
        memory.expire_partials(10).await.unwrap();
        assert_eq!(memory.partial(flow).unwrap(), None);
        assert_eq!(memory.partial(repair).unwrap(), Some(partial(20)), "each has its own");
        memory.expire_partials(20).await.unwrap();
        assert_eq!(memory.partial(repair).unwrap(), None);
    }
}
