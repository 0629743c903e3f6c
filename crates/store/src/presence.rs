//! Whether the folder of the blobs is there, and is this store's own.
//!
//! A file system that is not mounted leaves an empty folder in its place. That looks like a store that lost every
//! body, a reader would say so of each, and what is written would be hidden once the file system is back. So the
//! folder bears the store's identity in a file, the catalogue notes that it does, and who is about to conclude
//! something from a blob that is not there, or to acknowledge one that was written, asks here first.
//!
//! The other way round too: an empty catalogue (its folder is not there) must not take over blobs of another
//! store, of which it knows none and would sweep all.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::blob;
use crate::catalogue::Catalogue;
use crate::engine::{Family, Rows as _, sync_folder};
use crate::error::{Error, Result};
use crate::key;
use crate::record::BlobId;

/// The file that holds the identity: hexadecimal, and a line feed.
const NAME: &str = "store";

/// Named blobs that are looked for in a folder without a mark, as folders were before there were marks.
const SAMPLE: usize = 64;

/// The folder of the blobs of one store, as it was found at the start. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Presence {
    folder: PathBuf,
    /// None in a simulation, whose disks hold no blobs, and of a bucket.
    mark: Option<Vec<u8>>,
}

impl Presence {
    /// Finds the folder `path` to be that of the blobs of `catalogue`, or makes it so where the catalogue has never
    /// had one. Call it before the blobs are opened, which makes the folder.
    ///
    /// # Errors
    /// [`Error::BlobsGone`] or [`Error::OtherBlobs`]; or the folder cannot be read or written.
    pub async fn establish(catalogue: &Catalogue, path: &Path) -> Result<Self> {
        let folder = path.to_owned();
        if switchback_world::is_simulated() {
            return Ok(Self { folder, mark: None });
        }
        let presence = Self { folder, mark: Some(format!("{:016x}\n", catalogue.store_id()).into_bytes()) };
        let is_noted = catalogue.view().row(Family::Meta, key::MARKED)?.is_some();
        match presence.check() {
            Ok(()) => {}
            Err(Error::BlobsGone { .. }) if !is_noted && !presence.has_lost(catalogue)? => {
                let marking = presence.clone();
                let marked = switchback_world::aside(move || marking.mark()).await;
                let marked = marked.unwrap_or_else(|_| Err(ErrorKind::Interrupted.into()));
                marked.map_err(|error| blob::failed("mark its folder", error))?;
            }
            Err(error) => return Err(error),
        }
        if !is_noted {
            let note = |batch: &mut crate::batch::Batch<'_>| {
                batch.set_row(Family::Meta, key::MARKED.to_vec(), Some(Vec::new()));
                Ok(())
            };
            catalogue.commit(note).await?;
        }
        Ok(presence)
    }

    /// Of blobs in a bucket, which look for its marker themselves ([`crate::Blobs::verify`]).
    #[must_use]
    pub fn of_bucket() -> Self {
        Self { folder: PathBuf::new(), mark: None }
    }

    /// The folder is there, now. One small read.
    ///
    /// # Errors
    /// [`Error::BlobsGone`] or [`Error::OtherBlobs`]; or the folder cannot be read.
    pub fn check(&self) -> Result<()> {
        let Some(mark) = &self.mark else { return Ok(()) };
        match std::fs::read(self.folder.join(NAME)) {
            Ok(found) if found == *mark => Ok(()),
            Ok(_) => Err(Error::OtherBlobs { path: self.folder.clone() }),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Err(Error::BlobsGone { path: self.folder.clone() })
            }
            Err(error) => Err(blob::failed("look at its folder", error)),
        }
    }

    /// The catalogue names blobs, and none of them is here.
    fn has_lost(&self, catalogue: &Catalogue) -> Result<bool> {
        let named = catalogue.view().first(Family::Blob, b"r", SAMPLE)?;
        let named: Vec<_> = named.iter().filter_map(|(row, _)| BlobId::from_slice(&row[1..])).collect();
        Ok(!named.is_empty() && !named.iter().any(|blob| blob::file(&self.folder, *blob).exists()))
    }

    /// Durable, and whole or not there.
    fn mark(&self) -> std::io::Result<()> {
        let Some(mark) = &self.mark else { return Ok(()) };
        std::fs::create_dir_all(&self.folder)?;
        let half = self.folder.join("store.new");
        let mut file = std::fs::File::create(&half)?;
        file.write_all(mark)?;
        file.sync_all()?;
        std::fs::rename(&half, self.folder.join(NAME))?;
        let mut folders = self.folder.ancestors().take(2).filter(|folder| !folder.as_os_str().is_empty());
        folders.try_for_each(sync_folder)
    }
}
