//! Blobs are read and listed by asynchronous calls, and a check waits for each in its place.

use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Result};

/// A thread that does what is waited for: so a check may be called from anywhere, from another runtime too.
pub(super) struct Wait(Option<Runtime>);

impl Wait {
    pub(super) fn new() -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self(Some(runtime.map_err(|error| Error::engine("start a thread", error))?)))
    }

    pub(super) fn until<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let Some(runtime) = &self.0 else { return Err(Error::Poisoned) };
        runtime.spawn(async move {
            // Nobody waits for long enough to be gone.
            let _ = sender.send(work.await);
        });
        receiver.recv().map_err(|error| Error::engine("wait for blobs", error))?
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // Dropped as it is, it would wait, which is not allowed on another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
