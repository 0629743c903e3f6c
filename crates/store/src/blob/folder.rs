//! Blobs as files of a folder.
//!
//! Those of one piece `object_store` writes, and with `with_fsync(true)` flushes a file before it is renamed into
//! place and the folder after (seen with strace, and in its source: `finish_staged_rename`); larger ones are written
//! by [`staging`](super::staging), to the same end: a finished blob is durable, and an unfinished one has no name.
//!
//! Reads do not use its stream, which hops to a blocking thread for every 8 KiB: the file is read
//! here, a MiB at a time.
//!
//! 256 folders, made once, and no second level: a blob is larger than 32 KiB, so a folder of many
//! thousands is far away, and a folder made on the way would cost two flushes more.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use object_store::local::LocalFileSystem;

use super::frame::{FRAME_BYTES, Unframing};
use super::{READ_BYTES, failed};
use crate::engine::sync_folder;
use crate::error::{Error, Result};
use crate::record::BlobId;

/// Opens the folder `path`, or creates it, durably.
pub(super) fn open(path: &Path) -> Result<LocalFileSystem> {
    let io = |error| failed("open its folder", error);
    for shard in 0..=u8::MAX {
        std::fs::create_dir_all(path.join(format!("{shard:02x}"))).map_err(io)?;
    }
    for folder in path.ancestors().take(2).filter(|folder| !folder.as_os_str().is_empty()) {
        sync_folder(folder).map_err(io)?;
    }
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| failed("open its folder", error))?;
    Ok(store.with_fsync(true))
}

/// All blobs in `root` whose identifiers begin with the byte `shard`, with their sizes, after halves of blobs
/// that a crash left there more than a lease ago were removed, if they are to be.
pub(super) async fn list(root: &Path, shard: u8, remove_halves: bool) -> Result<Vec<(BlobId, u64)>> {
    let folder = root.join(format!("{shard:02x}"));
    blocking("list", move || {
        let mut blobs = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(blob) = super::named(name.as_encoded_bytes()) {
                match entry.metadata() {
                    Ok(file) => blobs.push((blob, file.len())),
                    // Deleted since.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            } else if remove_halves && name.to_string_lossy().contains('#') && is_abandoned(&entry) {
                // Another process may have finished or removed it in the meantime.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(blobs)
    })
    .await
}

/// True for a staging file that nobody has written to for as long as a lease lasts.
fn is_abandoned(entry: &std::fs::DirEntry) -> bool {
    let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
    matches!(age, Ok(Ok(age)) if age.as_millis() > u128::from(crate::sweep::LEASE_MS))
}

/// Reads the pieces at `stored` of an open file, whose place is of no account. They are compared where they are read,
/// while they are in the processor's cache.
pub(super) fn read(
    file: std::fs::File,
    stored: Range<u64>,
    unframing: Unframing,
) -> impl futures::Stream<Item = Result<Bytes>> + Send + 'static {
    let start = (Some((file, unframing)), stored, Vec::new().into_iter());
    futures::stream::try_unfold(start, |(mut reader, mut stored, mut pieces)| async move {
        loop {
            if let Some(piece) = pieces.next() {
                return Ok::<_, Error>(Some((piece?, (reader, stored, pieces))));
            }
            let (Some((file, mut unframing)), false) = (reader.take(), stored.is_empty()) else {
                return Ok(None);
            };
            let length = usize::try_from(stored.end - stored.start).unwrap_or(usize::MAX).min(READ_BYTES);
            let start = stored.start;
            let (file, unframing, read) = blocking("read", move || {
                let mut read = Vec::with_capacity(length);
                (&file).seek(SeekFrom::Start(start))?;
                if (&file).take(length as u64).read_to_end(&mut read)? < length {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                let mut read = Bytes::from(read);
                let mut pieces = Vec::with_capacity(length.div_ceil(FRAME_BYTES));
                while !read.is_empty() {
                    pieces.push(unframing.take(read.split_to(read.len().min(FRAME_BYTES))));
                }
                Ok((file, unframing, pieces))
            })
            .await?;
            stored.start += length as u64;
            reader = Some((file, unframing));
            pieces = read.into_iter();
        }
    })
}

/// Lets the machine forget what it remembers of a file that is durable.
pub(super) async fn forget(file: PathBuf) {
    let forget = move || {
        let file = std::fs::File::open(file)?;
        Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    };
    let _ = blocking("forget", forget).await;
}

/// Runs `work` where blocking is allowed.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = switchback_world::aside(work).await.map_err(|error| failed(operation, error))?;
    done.map_err(|error| failed(operation, error))
}
