//! A large blob on its way into a folder: a file of another name until it is whole and durable.
//!
//! `object_store`'s own upload leaves all of the flushing to the end, where the disk then works while nothing else
//! does, and up to 5 GiB of one blob wait in memory for it. Here the disk begins while bytes come, and a writer that
//! is faster than it waits for it. The name is given in the same order: the file is flushed, then renamed, then its
//! folder is flushed.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart};
use switchback_world::aside;
use tokio::task::JoinHandle;

use crate::engine::sync_folder;

/// Bytes after which they are flushed, while others come. Less would cost more flushes than it spares at the end,
/// which waits for as many at most.
const FLUSH_BYTES: u64 = 16 << 20;

/// The file. Dropped before it is complete, it is removed.
#[derive(Debug)]
pub(super) struct Staging {
    /// `None` once it is complete.
    path: Option<PathBuf>,
    blob: PathBuf,
    file: Arc<File>,
    size: u64,
    /// Bytes of it that are durable, or will be when the flush in flight has ended.
    flushed: u64,
    /// A failure of it is told once, by the kernel too: whoever takes it must fail.
    flush: Option<Flush>,
}

type Flush = JoinHandle<object_store::Result<()>>;

impl Staging {
    /// Begins the file that is to become `blob`, which must not be there.
    pub(super) async fn begin(blob: PathBuf) -> object_store::Result<Self> {
        let mut name = blob.clone().into_os_string();
        name.push("#");
        let path = PathBuf::from(name);
        let created = {
            let path = path.clone();
            blocking(move || File::create_new(path)).await?
        };
        Ok(Self { path: Some(path), blob, file: Arc::new(created), size: 0, flushed: 0, flush: None })
    }
}

#[async_trait]
impl MultipartUpload for Staging {
    /// Parts are written in the order in which they are given: the one before must have ended.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let is_due = self.size - self.flushed >= FLUSH_BYTES;
        let before = self.flush.take_if(|flush| is_due || flush.is_finished());
        if is_due {
            let file = Arc::clone(&self.file);
            self.flush = Some(tokio::spawn(blocking(move || file.sync_data())));
            self.flushed = self.size;
        }
        let (file, mut at) = (Arc::clone(&self.file), self.size);
        self.size += data.content_length() as u64;
        let write = move || {
            for bytes in &data {
                file.write_all_at(bytes, at)?;
                at += bytes.len() as u64;
            }
            Ok(())
        };
        async move {
            settle(before).await?;
            blocking(write).await
        }
        .boxed()
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        settle(self.flush.take()).await?;
        let Some(path) = self.path.clone() else { return Err(over()) };
        let (file, blob) = (Arc::clone(&self.file), self.blob.clone());
        let publish = move || {
            file.sync_all()?;
            std::fs::rename(path, &blob)?;
            blob.parent().map_or(Ok(()), sync_folder)
        };
        blocking(publish).await?;
        self.path = None;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        let Some(path) = self.path.take() else { return Err(over()) };
        blocking(move || std::fs::remove_file(path)).await
    }
}

impl Drop for Staging {
    /// What is left of it, should this fail, the sweep removes.
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        let remove = move || drop(std::fs::remove_file(path));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

async fn settle(flush: Option<Flush>) -> object_store::Result<()> {
    match flush {
        Some(flush) => flush.await?,
        None => Ok(()),
    }
}

fn over() -> object_store::Error {
    failed(std::io::Error::other("the blob is complete, or was given up"))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "blobs", source: Box::new(error) }
}

/// Runs `work` where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> object_store::Result<T> {
    aside(work).await?.map_err(failed)
}
