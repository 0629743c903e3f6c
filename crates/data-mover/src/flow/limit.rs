//! The limits of a flow, in one place, because they only make sense together.

use std::time::Duration;

/// Epochs and heads are exchanged this often.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// A peer that was not heard of for this long is out of contact: three heartbeats lost, and some.
pub(crate) const CONTACT_TIME: Duration = Duration::from_secs(2);

/// First and longest pause before a peer is dialled again. In contact a flow must start within a
/// second; a peer that is away costs one dial a second.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
pub(crate) const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Records of one batch. The receiver applies a batch in one commit; more would delay the commits
/// of its own clients.
pub(crate) const BATCH_RECORDS_MAX: usize = 1_000;

/// Bytes of small bodies and metadata in one batch: large enough to be efficient frames, small
/// enough that a window of batches is a few MiB.
pub(crate) const BATCH_BYTES_MAX: usize = 512 * 1024;

/// Bytes of bodies that follow one batch, unless its only body is larger: acknowledgements, and
/// with them the cursor, then come every second even at 64 MB/s.
pub(crate) const BATCH_FOLLOWING_MAX: u64 = 64 << 20;

/// Batches on their way without an acknowledgement, so that the line is busy for a round trip.
pub(crate) const WINDOW_BATCHES: usize = 8;

/// Bytes of one chunk of a body; equal to the frame, see the facts on gRPC.
pub(crate) const CHUNK_BYTES: u64 = 256 * 1024;

/// Messages between a flow and its stream: two chunks, one on its way and one ready.
pub(crate) const QUEUE: usize = 2;

/// A receiver cuts a body into blobs of at least this size and resumes after the last whole one.
pub(crate) const PIECE_BYTES_MIN: u64 = 8 << 20;

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
