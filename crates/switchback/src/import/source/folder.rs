//! The files of a folder and of all folders beneath it.
//!
//! A file's path is its key, its time is kept as `mtime` among the user's metadata, in seconds, as rclone and
//! s3fs write and read it, and its type follows from its name. Folders are no objects, so that empty ones are
//! not kept. Links are not followed: what they lead to may be elsewhere, or the folder itself.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use tokio::sync::mpsc::Sender;

use super::{Described, Listed};
use crate::import::entry::Entry;
use crate::import::s3::Failure;

const MTIME: HeaderName = HeaderName::from_static("x-amz-meta-mtime");

/// A folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let found = path.canonicalize().with_context(|| format!("find folder {}", path.display()))?;
        if !found.is_dir() {
            bail!("{} is no folder; name the folder it lies in", path.display());
        }
        Ok(Self(found))
    }

    pub(super) fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// Tells `sender` of every file, folder by folder, in the order of names.
    pub(super) fn list(&self, sender: &Sender<Listed>) {
        // Told or not: who takes no more has ended.
        let _ = self.list_beneath(&self.0, sender);
    }

    fn list_beneath(&self, folder: &Path, sender: &Sender<Listed>) -> Result<(), ()> {
        let say = |listed| sender.blocking_send(listed).map_err(drop);
        let unusable = |path: &Path, reason: String| {
            let key = path.strip_prefix(&self.0).unwrap_or(path).to_string_lossy().into_owned();
            say(Listed::Unusable { key, reason })
        };
        let read = fs::read_dir(folder).and_then(|found| found.map(|entry| Ok(entry?.path())).collect());
        let mut paths: Vec<PathBuf> = match read {
            Ok(paths) => paths,
            // Without the root nothing can be said of what is there; without another folder, of that one.
            Err(error) if folder == self.0 => {
                return say(Listed::Broken(Failure::Unusable(format!("read {}: {error}", folder.display()))));
            }
            Err(error) => return unusable(folder, format!("the folder cannot be read: {error}")),
        };
        paths.sort_unstable();
        for path in paths {
            match fs::symlink_metadata(&path) {
                // Gone since the folder was read: as if it had been a moment earlier.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => unusable(&path, error.to_string())?,
                Ok(found) if found.is_dir() => self.list_beneath(&path, sender)?,
                Ok(found) if found.is_file() => {
                    match path.strip_prefix(&self.0).ok().and_then(Path::to_str) {
                        Some(key) => say(Listed::Entry(Entry {
                            key: key.to_owned(),
                            size: found.len(),
                            modified: modified(&found),
                            ..Default::default()
                        }))?,
                        None => unusable(&path, "its name is not in UTF-8, as keys are; rename it".into())?,
                    }
                }
                Ok(found) if found.is_symlink() => {
                    unusable(
                        &path,
                        "it is a symbolic link, which is not followed; copy what it leads to".into(),
                    )?;
                }
                Ok(_) => unusable(&path, "it is no file".into())?,
            }
        }
        Ok(())
    }

    pub(super) fn describe(&self, entry: &Entry) -> Described {
        let mut headers = HeaderMap::new();
        if let Some(kind) = mime_guess::from_path(&entry.key).first()
            && let Ok(kind) = kind.essence_str().parse()
        {
            headers.insert(CONTENT_TYPE, kind);
        }
        if let Ok(time) = entry.modified.parse() {
            headers.insert(MTIME, time);
        }
        Described { headers, ..Default::default() }
    }

    pub(super) async fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes, Failure> {
        let (path, entry) = (self.0.join(&entry.key), entry.clone());
        let read = tokio::task::spawn_blocking(move || read(&path, &entry, range)).await;
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        read.map_err(|error| Failure::Unusable(error.to_string()))
    }
}

/// Reads some of a file, which must be the one that was listed before and after.
fn read(path: &Path, entry: &Entry, range: Range<u64>) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let ended = file.read_exact_at(&mut bytes, range.start);
    let found = file.metadata()?;
    if (found.len(), modified(&found)) != (entry.size, entry.modified.clone()) {
        return Err(io::Error::other("it changed since it was listed; import again"));
    }
    ended.map(|()| bytes.into())
}

/// Unix seconds.
fn modified(file: &Metadata) -> String {
    format!("{}.{:09}", file.mtime(), file.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::source::Source;

    #[tokio::test]
    async fn files_are_listed_and_what_is_none_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir(at("empty")).unwrap();
        fs::write(at("a/b/page.html"), "12345").unwrap();
        fs::write(at("a.txt"), "1").unwrap();
        std::os::unix::fs::symlink(at("a.txt"), at("link")).unwrap();
        let opened = Folder::open(folder.path()).unwrap();
        let mut listed = Source::Folder(opened.clone()).list();
        let (mut entries, mut unusable) = (Vec::new(), Vec::new());
        while let Some(found) = listed.recv().await {
            match found {
                Listed::Entry(entry) => entries.push(entry),
                Listed::Unusable { key, reason } => unusable.push((key, reason)),
                Listed::Broken(failure) => panic!("{failure}"),
                Listed::History(_) => panic!("a file has no versions"),
            }
        }
        let found: Vec<_> = entries.iter().map(|entry| (entry.key.as_str(), entry.size)).collect();
        assert_eq!(found, [("a/b/page.html", 5), ("a.txt", 1)]);
        assert_eq!(unusable.len(), 1);
        assert!(unusable[0].0 == "link" && unusable[0].1.contains("symbolic link"), "{unusable:?}");
        let described = opened.describe(&entries[0]);
        assert_eq!(described.headers[CONTENT_TYPE], "text/html");
        assert_eq!(described.headers[MTIME], entries[0].modified.as_str());
        assert_eq!(opened.read(&entries[0], 1..4).await.unwrap(), "234");
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_read_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("log"), "12345").unwrap();
        let opened = Folder::open(folder.path()).unwrap();
        let Some(Listed::Entry(entry)) = Source::Folder(opened.clone()).list().recv().await else {
            panic!("no file")
        };
        for changed in ["123456", "1"] {
            fs::write(folder.path().join("log"), changed).unwrap();
            let refused = opened.read(&entry, 0..5).await.unwrap_err();
            assert!(refused.to_string().contains("import again"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Folder::open(file.path()).unwrap_err().to_string().contains("no folder"));
        assert!(Folder::open(&file.path().join("none")).is_err());
    }
}
