//! Bytes that are packed on their way, by the codec of the link's settings: a batch whole, a body chunk by chunk,
//! each by itself. So a body goes on at any chunk, whatever was set before, and nothing but the chunk at hand is
//! ever in memory.
//!
//! Only where it pays, which the bytes themselves tell: what does not shrink by a tenth leaves as it is, and
//! where that happened again and again only now and then is another try made. What one body teaches holds for
//! others of its kind, as far as names tell kinds.
//!
//! Packing runs beside the tasks of the service: a chunk that shrinks takes about a millisecond, and neither an
//! epoch nor a client's commit is to wait for a handful of those. Unpacking takes a quarter of that, which is what
//! deciphering took, and is done where the bytes are hashed.
//!
//! Not the compression of gRPC itself: that is one word for a whole stream, packs every message whether it pays or
//! not, and does so in the task of the connection.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message as _;
use switchback_kit::world::aside;
use switchback_model::Compression;
use switchback_proto::model::v1::Compression as Codec;
use switchback_proto::replication::v1::{Batch, Changes, Chunk, Welcome};
use switchback_store::{Object, RecordKey};
use zstd::bulk::{Compressor, Decompressor};

use super::limit::{CHUNK_BYTES, PACKED_BATCH_BYTES_MAX};
use crate::link::Link;

/// The fastest of zstd's regular levels: some hundreds of MB/s a core of text, and gigabytes of what does not shrink.
/// Level 3 is half as fast for less than a tenth of the length; the negative ones leave a tenth to a third more.
const LEVEL: i32 = 1;

/// Shorter ones gain nothing: what says whose bytes they are, and TLS, have their own length.
const BYTES_MIN: usize = 512;

/// So many tries in a row may fail to pay before something leaves without one.
const VAIN_MAX: u8 = 4;

/// Then 1, 3, 7 and always 10 leave without between two tries: what cannot be packed costs an eleventh of them, and
/// in a body that shrinks here and there hardly a place is missed. A prime distance: where parts alternate, as in a
/// database's file, the tries would fall on the same kind of part for ever if it were a multiple of their length.
const PASSED_MAX: u8 = 10;

/// Kinds of bodies that are told apart. Two that share a place teach each other wrongly, which costs tries.
const KINDS: u8 = 64;

/// What batches are, as a kind.
const OF_BATCHES: u8 = KINDS;

/// Why something packed cannot be used: its sender does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A codec that was not said to be read here.
    #[error("bytes are packed in a way that was not asked for")]
    Codec,
    /// More than such a message holds.
    #[error("packed bytes would be too many")]
    Length,
    /// Not what the codec makes, or not so many bytes as were named.
    #[error("packed bytes cannot be unpacked")]
    Bytes,
}

/// The codecs that this version reads, as a receiver tells them.
pub(crate) fn read_here() -> Vec<i32> {
    vec![Codec::Zstd.into()]
}

/// Of a body: bodies of one kind are alike, as far as a content type and the end of a name tell.
pub(crate) fn kind_of(key: &RecordKey, object: &Object) -> u8 {
    let label = key.label();
    let ending = label.rsplit_once('.').map_or("", |(_, ending)| ending);
    let mut hasher = DefaultHasher::new();
    (&object.metadata.content_type, ending).hash(&mut hasher);
    u8::try_from(hasher.finish() % u64::from(KINDS)).unwrap_or_default()
}

/// Bytes as they leave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packed {
    pub(crate) bytes: Bytes,
    pub(crate) codec: Codec,
    /// What they become again; 0 for what is not packed.
    pub(crate) length: u32,
}

impl Packed {
    fn plain(bytes: Bytes) -> Self {
        Self { bytes, codec: Codec::Unspecified, length: 0 }
    }
}

/// What packing comes to, for people: of all that was to leave while it was wished, also of what did not shrink.
#[derive(Debug, Default)]
pub(crate) struct Gain {
    plain: AtomicU64,
    packed: AtomicU64,
}

impl Gain {
    fn add(&self, plain: usize, packed: usize) {
        self.plain.fetch_add(plain as u64, Ordering::Relaxed);
        self.packed.fetch_add(packed as u64, Ordering::Relaxed);
    }

    /// Bytes as they were, and as they left.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.plain.load(Ordering::Relaxed), self.packed.load(Ordering::Relaxed))
    }
}

/// Tries in a row that did not pay.
#[derive(Clone, Copy, Debug, Default)]
struct Vain(u8);

impl Vain {
    fn learn(&mut self, pays: bool) {
        self.0 = if pays { 0 } else { self.0.saturating_add(1) };
    }

    /// So many leave without a try before the next one.
    fn to_pass(self) -> u8 {
        let doublings = u32::from(self.0.saturating_sub(VAIN_MAX - 1));
        1_u8.checked_shl(doublings).map_or(PASSED_MAX, |each| (each - 1).min(PASSED_MAX))
    }
}

/// What was seen of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Judge {
    vain: Vain,
    /// What left without a try since the last one.
    passed: u8,
}

impl Judge {
    /// One more of this kind, of a body that was tried so often in vain: whether it is tried.
    fn is_due(&mut self, vain: Vain) -> bool {
        // One that shrinks does not put off the next try of those that do not.
        if vain.to_pass() == 0 {
            return true;
        }
        let is_due = self.passed >= vain.to_pass();
        self.passed = if is_due { 0 } else { self.passed + 1 };
        is_due
    }
}

/// How one session packs: its batches, and its bodies by whichever lane they go.
pub(crate) struct Packing {
    link: Arc<Link>,
    /// Of the flow, over its sessions.
    gain: Arc<Gain>,
    /// The receiver reads it.
    is_read: bool,
    kinds: Mutex<[Judge; KINDS as usize + 1]>,
}

impl Packing {
    pub(crate) fn new(link: &Arc<Link>, gain: &Arc<Gain>, welcome: &Welcome) -> Arc<Self> {
        let is_read = welcome.codecs().any(|codec| codec == Codec::Zstd);
        let kinds = Mutex::new([Judge::default(); KINDS as usize + 1]);
        Arc::new(Self { link: Arc::clone(link), gain: Arc::clone(gain), is_read, kinds })
    }

    /// For one body of a kind.
    pub(crate) fn body(self: &Arc<Self>, kind: u8) -> Packer {
        let kind = kind % KINDS;
        Packer { vain: self.judge(kind, |judge| judge.vain), packing: Arc::clone(self), kind, zstd: None }
    }

    /// For the batches.
    pub(crate) fn batches(self: &Arc<Self>) -> Packer {
        Packer { packing: Arc::clone(self), kind: OF_BATCHES, vain: Vain::default(), zstd: None }
    }

    /// Asked for each chunk, so that another setting holds at once.
    fn is_wished(&self) -> bool {
        self.is_read && self.link.desired().compression == Compression::Zstd
    }

    fn judge<T>(&self, kind: u8, judge: impl FnOnce(&mut Judge) -> T) -> T {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        judge(&mut kinds[usize::from(kind)])
    }
}

/// Packs one thing after the other: the chunks of a body, or batches.
pub(crate) struct Packer {
    packing: Arc<Packing>,
    kind: u8,
    /// As those of the kind were, and then its own.
    vain: Vain,
    zstd: Option<Compressor<'static>>,
}

impl Packer {
    /// A chunk's bytes.
    pub(crate) async fn chunk(&mut self, bytes: Bytes) -> Packed {
        let (is_wished, length) = (self.packing.is_wished(), bytes.len());
        let packed = match self.pack(&bytes).await {
            Some(packed) => packed,
            None => Packed::plain(bytes),
        };
        if is_wished {
            self.packing.gain.add(length, packed.bytes.len());
        }
        packed
    }

    /// What a batch says.
    pub(crate) async fn batch(&mut self, batch: Batch) -> Batch {
        let Batch { number, through, .. } = batch;
        if !self.packing.is_wished() {
            return batch;
        }
        let changes = Changes { changes: batch.changes };
        let plain = changes.encoded_len();
        // One with a record that is longer than all others may be.
        let packed = match plain > PACKED_BATCH_BYTES_MAX {
            true => None,
            false => self.pack(&changes.encode_to_vec().into()).await,
        };
        self.packing.gain.add(plain, packed.as_ref().map_or(plain, |packed| packed.bytes.len()));
        match packed {
            Some(Packed { bytes, codec, length }) => {
                Batch { number, through, packed: bytes, codec: codec.into(), length, changes: Vec::new() }
            }
            None => Batch { changes: changes.changes, ..batch },
        }
    }

    /// None: not wished, or it does not pay.
    async fn pack(&mut self, bytes: &Bytes) -> Option<Packed> {
        let length = u32::try_from(bytes.len()).ok()?;
        if bytes.len() < BYTES_MIN || !self.packing.is_wished() || !self.is_tried() {
            return None;
        }
        let (zstd, plain) = (self.zstd.take(), bytes.clone());
        let (zstd, packed) = aside(move || shrink(zstd, &plain)).await.ok()?;
        self.zstd = zstd;
        self.vain.learn(packed.is_some());
        self.packing.judge(self.kind, |judge| judge.vain.learn(packed.is_some()));
        packed.map(|bytes| Packed { bytes, codec: Codec::Zstd, length })
    }

    fn is_tried(&self) -> bool {
        self.packing.judge(self.kind, |judge| judge.is_due(self.vain))
    }
}

/// The bytes shorter by a tenth at least, if they can be.
fn shrink(zstd: Option<Compressor<'static>>, bytes: &[u8]) -> (Option<Compressor<'static>>, Option<Bytes>) {
    let Some(mut zstd) = zstd.or_else(|| Compressor::new(LEVEL).ok()) else { return (None, None) };
    // It ends where there is no more room, and fails.
    let mut packed = Vec::with_capacity(bytes.len() - bytes.len() / 10);
    let is_shorter = zstd.compress_to_buffer(bytes, &mut packed).is_ok();
    packed.shrink_to_fit();
    (Some(zstd), is_shorter.then(|| packed.into()))
}

/// Bytes of the body that a chunk is, by its own word.
pub(crate) fn length(chunk: &Chunk) -> u64 {
    match chunk.codec() {
        Codec::Unspecified | Codec::None => chunk.bytes.len() as u64,
        Codec::Zstd => u64::from(chunk.length).min(CHUNK_BYTES),
    }
}

/// The bytes of the body that came in a chunk.
pub(crate) fn open_chunk(chunk: &mut Chunk) -> Result<Bytes, Malformed> {
    let bytes = std::mem::take(&mut chunk.bytes);
    let chunk_bytes_max = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
    open(bytes, chunk.codec, chunk.length, chunk_bytes_max)
}

/// The changes of a batch.
pub(crate) fn open_batch(batch: &mut Batch) -> Result<(), Malformed> {
    if is_plain(batch.codec) {
        return Ok(());
    }
    let packed = std::mem::take(&mut batch.packed);
    let bytes = open(packed, batch.codec, batch.length, PACKED_BATCH_BYTES_MAX)?;
    batch.changes = Changes::decode(bytes).map_err(|_| Malformed::Bytes)?.changes;
    Ok(())
}

fn is_plain(codec: i32) -> bool {
    matches!(Codec::try_from(codec), Ok(Codec::Unspecified | Codec::None))
}

/// No more than `length` bytes come of it, and no more are set aside for them, whatever the frame says.
fn open(bytes: Bytes, codec: i32, length: u32, length_max: usize) -> Result<Bytes, Malformed> {
    match Codec::try_from(codec) {
        Ok(Codec::Unspecified | Codec::None) => Ok(bytes),
        Ok(Codec::Zstd) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > length_max {
                return Err(Malformed::Length);
            }
            let mut opened = Vec::with_capacity(length);
            let mut zstd = Decompressor::new().map_err(|_| Malformed::Bytes)?;
            zstd.decompress_to_buffer(&bytes, &mut opened).map_err(|_| Malformed::Bytes)?;
            if opened.len() == length { Ok(opened.into()) } else { Err(Malformed::Bytes) }
        }
        Err(_) => Err(Malformed::Codec),
    }
}

#[cfg(test)]
mod tests;
