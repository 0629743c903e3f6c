//! Work that blocks.

use tokio::task::{JoinError, spawn_blocking};

/// Does `work`, which blocks, on a thread made for that. In a simulation it is done here and now:
/// another thread would bring the machine's own order of things in.
///
/// # Errors
/// The work panicked, or the runtime is ending.
pub async fn aside<T, W>(work: W) -> Result<T, JoinError>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    if crate::is_simulated() { Ok(work()) } else { spawn_blocking(work).await }
}
