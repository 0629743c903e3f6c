//! The limits of a flow, in one place, because they only make sense together.

use std::time::Duration;

use switchback_kit::tls::Limits;
use switchback_store::BLOB_PIECE_BYTES;

/// Epochs and heads are exchanged this often.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// A peer that was not heard of for this long is out of contact: three heartbeats lost, and some.
pub(crate) const CONTACT_TIME: Duration = Duration::from_secs(2);

/// First and longest pause before a peer is dialled again. In contact a flow must start within a
/// second; a peer that is away costs one dial a second.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
pub(crate) const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Records of one batch. The receiver applies a batch in one commit while it has no clients.
pub(crate) const BATCH_RECORDS_MAX: usize = 1_000;

/// Bytes of small bodies and metadata in one batch: large enough to be efficient frames, small
/// enough that a window of batches is a few MiB.
pub(crate) const BATCH_BYTES_MAX: usize = 512 * 1024;

/// Bytes of bodies that follow one batch, unless its only body is larger: acknowledgements, and
/// with them the cursor, then come every second even at 64 MB/s.
pub(crate) const BATCH_FOLLOWING_MAX: u64 = 64 << 20;

/// Batches on their way without an acknowledgement, so that the line is busy for a round trip: 16 MiB
/// of small objects, which is 1 Gb/s over 130 ms.
pub(crate) const WINDOW_BATCHES: usize = 32;

/// The same with a receiver that does not say how many it takes.
pub(crate) const WINDOW_BATCHES_UNTOLD: usize = 8;

/// Batches on their way on one link, of all its contents together: 64 MiB. Each content may have one
/// besides, so that none stands still because others are busy.
pub(crate) const LINK_BATCHES_MAX: usize = 128;

/// Records, and bytes of small bodies, that a receiver makes durable in one commit, unless a single
/// batch has more.
pub(crate) const COMMIT_RECORDS_MAX: usize = BATCH_RECORDS_MAX;
pub(crate) const COMMIT_BYTES_MAX: u64 = 4 << 20;

/// The same while clients use the store: a few milliseconds, which a client may have to wait for one.
pub(crate) const SHARED_RECORDS_MAX: usize = 128;
pub(crate) const SHARED_BYTES_MAX: u64 = 512 << 10;

/// Connections of one link on which bodies travel, beside the one for batches; and streams of one flow on
/// them. Two keep two cores busy at either end, and four are what a far line needs that is shared fairly
/// by connection.
pub(crate) const LANES_MAX: usize = 4;

/// A body goes by a lane if it has so many bytes left.
pub(crate) const LANE_BYTES_MIN: u64 = 1 << 20;

/// Bytes on their way on one connection between movers, and on one of its streams: the window of
/// batches fits into a stream's.
const STREAM_BYTES: u32 = 20 << 20;
const CONNECTION_BYTES: u32 = 64 << 20;

/// A chunk and what says whose it is: one frame.
const FRAME_BYTES: u32 = (256 + 4) << 10;
const _: () = assert!(CHUNK_BYTES < FRAME_BYTES as u64);

/// Of the connections between movers.
pub(crate) fn limits() -> Limits {
    Limits {
        frame_bytes: FRAME_BYTES,
        stream_window_bytes: STREAM_BYTES,
        connection_window_bytes: CONNECTION_BYTES,
        ..Limits::default()
    }
}

/// Bytes of one chunk of a body, as the store reads it; with its header a frame.
pub(crate) const CHUNK_BYTES: u64 = BLOB_PIECE_BYTES as u64;

/// Bytes of what a packed batch says: twice what is usual, because its last record may be a long one. A batch
/// with a longer one is not packed. The receiver sets aside as much, whatever it was sent.
pub(crate) const PACKED_BATCH_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// Chunks of a body that are read before they are sent.
pub(crate) const CHUNKS_AHEAD: usize = 4;

/// Bodies of one flow that are read before they are sent, the one that is being sent included.
pub(crate) const BODIES_AHEAD: usize = 4;

/// Messages between a flow and its stream: two chunks, one on its way and one ready.
pub(crate) const QUEUE: usize = 2;

/// A receiver cuts a body into blobs of at least this size and resumes after the last whole one.
pub(crate) const PIECE_BYTES_MIN: u64 = 8 << 20;

/// Pieces of one body that are being made durable while the next one comes: the disk is kept busy.
pub(crate) const PIECES_ENDING_MAX: usize = 3;

/// Bytes of bodies of one piece that a receiver has demanded and that are not durable yet, of one link:
/// 1 Gb/s over a quarter of a second. They may all be in memory, if the disk is behind.
pub(crate) const BODIES_BYTES_MAX: u64 = 32 << 20;

/// Bodies of several pieces that are demanded and not durable yet, of one link. In memory is a few MiB of
/// each: chunks that wait, and what its blobs' writers hold.
pub(crate) const LARGE_BODIES_MAX: usize = 8;

/// Chunks of one body between the stream and the task that hashes and writes them.
pub(crate) const CHUNKS_WAITING: usize = 4;

/// Blobs that are being flushed at once, of one system: many flushes at once cost a disk little more than
/// one, and each is a thread.
pub(crate) const FLUSHES_MAX: usize = 32;

/// A stream that ended makes durable what came on it, for so long: less than a mover's drain.
pub(crate) const LEAVING_TIME: Duration = Duration::from_millis(1_500);

/// A receiver with bodies that wait for their turn says that it lives this often, and looks at the leases of
/// those that it waits for.
pub(crate) const ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A lease of the store, which is for a day, is renewed when less is left: a receiver that is away for as long
/// finds what it had.
pub(crate) const LEASE_LEFT_MIN: Duration = Duration::from_secs(12 * 60 * 60);

/// Blobs of one body: what is known of a partial body must stay a small record.
pub(crate) const PIECES_MAX: u64 = 1_000;

/// Objects on one content's retry list. A flow whose list is full stops and says so: a receiver
/// that refuses this much has another trouble than bad objects.
pub(crate) const RETRIES_MAX: usize = 10_000;

/// First and longest pause before a failed object is tried again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(1);
pub(crate) const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Both sides say that nothing is left and yet differ: this long at least before it is believed,
/// and between two repairs.
pub(crate) const DIFFERENCE_TIME: Duration = Duration::from_secs(2);
pub(crate) const REPAIR_INTERVAL: Duration = Duration::from_secs(30);

/// A receiver that hears nothing after a stream was opened closes it.
pub(crate) const HELLO_TIME: Duration = Duration::from_secs(10);

/// A sender whose batch is not acknowledged and whose receiver demands nothing for this long
/// begins again on a new connection.
pub(crate) const STALL_TIME: Duration = Duration::from_secs(30);

/// Largest message between movers: a batch, with room for one record of many segments.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Keys of one page of a comparison.
pub(crate) const PAGE_KEYS_MAX: usize = 4_000;
