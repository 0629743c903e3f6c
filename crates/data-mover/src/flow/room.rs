//! How much of bodies may be on its way into one system at once, of one link. A body is demanded when it
//! has its place, and gives it back when it is durable: what the disk has not taken yet is bounded,
//! however many bodies there are. Places come in the order in which they were asked for, and each flow
//! asks for one at a time, so that none of them stands still because another has many bodies. They are
//! a link's own, because a slow line holds them for long.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limit::{BODIES_BYTES_MAX, LARGE_BODIES_MAX, PIECE_BYTES_MIN};

/// What one permit of the small bodies stands for. A body counts for one at least: it has a task.
const UNIT_BYTES: u64 = 64 << 10;

/// The room of a link.
pub(crate) struct Room {
    /// For bodies of one piece, by their bytes.
    small: Arc<Semaphore>,
    /// For bodies of several pieces, which take long, and are written as they come.
    large: Arc<Semaphore>,
}

/// May be demanded; held until the body is durable or will not come.
pub(crate) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        let units = usize::try_from(BODIES_BYTES_MAX / UNIT_BYTES).unwrap_or(Semaphore::MAX_PERMITS);
        Self { small: Arc::new(Semaphore::new(units)), large: Arc::new(Semaphore::new(LARGE_BODIES_MAX)) }
    }
}

impl Room {
    fn of(&self, bytes: u64) -> (Arc<Semaphore>, u32) {
        if bytes > PIECE_BYTES_MIN {
            return (Arc::clone(&self.large), 1);
        }
        let units = bytes.div_ceil(UNIT_BYTES).max(1);
        (Arc::clone(&self.small), u32::try_from(units).unwrap_or(u32::MAX))
    }

    /// A place for a body of which `bytes` are to come, if there is one now and nobody asked before.
    pub(crate) fn try_take(&self, bytes: u64) -> Option<Place> {
        let (permits, count) = self.of(bytes);
        permits.try_acquire_many_owned(count).ok().map(|permit| Place { _permit: Some(permit) })
    }

    /// The same, as soon as there is one.
    pub(crate) fn take(&self, bytes: u64) -> impl Future<Output = Place> + Send + use<> {
        let (permits, count) = self.of(bytes);
        // The semaphores are never closed.
        async move { Place { _permit: permits.acquire_many_owned(count).await.ok() } }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const LARGE: u64 = PIECE_BYTES_MIN + 1;

    #[test]
    fn what_is_on_its_way_is_bounded_by_bytes_and_large_bodies_by_number() {
        let room = Room::default();
        let small: Vec<_> = std::iter::from_fn(|| room.try_take(PIECE_BYTES_MIN)).collect();
        assert_eq!(small.len() as u64 * PIECE_BYTES_MIN, BODIES_BYTES_MAX);
        let large: Vec<_> = std::iter::from_fn(|| room.try_take(u64::MAX)).collect();
        assert_eq!(large.len(), LARGE_BODIES_MAX);
        drop(small);
        assert!(room.try_take(1).is_some() && room.try_take(LARGE).is_none());
    }

    #[test]
    fn who_asked_first_is_next_and_large_bodies_keep_no_small_one_waiting() {
        let room = Room::default();
        let mut large: Vec<_> = std::iter::from_fn(|| room.try_take(LARGE)).collect();
        let (mut first, mut second) = (Box::pin(room.take(LARGE)), Box::pin(room.take(LARGE)));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert!(room.take(PIECE_BYTES_MIN).now_or_never().is_some());
        large.pop();
        assert!(room.try_take(LARGE).is_none(), "it is promised");
        assert!(second.as_mut().now_or_never().is_none() && first.as_mut().now_or_never().is_some());
    }
}
