//! A disk of which every write and every flush is known.
//!
//! It is a file of a FUSE file system; a loop device above it makes it a disk, and writes and
//! flushes of that disk arrive here as writes and fsyncs of the file. They are handled one after
//! the other: what was logged before a flush was completed before the flush was answered.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// A disk tries more than once before it gives up; whoever waits for the write is waiting by then.
const RETRY_TIME: Duration = Duration::from_millis(20);

/// Nothing about the file changes but its bytes.
const FOREVER: Duration = Duration::from_secs(3600);

/// One thing that the disk was asked to do.
#[derive(Clone, Debug)]
pub enum Entry {
    /// These bytes at this place.
    Write {
        /// In bytes, a multiple of the sector.
        offset: usize,
        /// A whole number of sectors.
        bytes: Arc<[u8]>,
    },
    /// Everything written before is to stay.
    Flush,
}

struct State {
    bytes: Vec<u8>,
    log: Option<Vec<Entry>>,
    /// What was there before, while changes are to be reverted.
    undo: Option<Vec<(usize, Vec<u8>)>>,
    /// After so many log entries the next write that holds these bytes fails.
    fails: Option<(usize, &'static [u8])>,
}

impl State {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        let place = offset..offset + bytes.len();
        if let Some(undo) = &mut self.undo {
            undo.push((offset, self.bytes[place.clone()].to_vec()));
        }
        self.bytes[place].copy_from_slice(bytes);
    }
}

/// The disk's bytes, and what was done to them. Cheap to clone.
#[derive(Clone)]
pub struct Device {
    state: Arc<Mutex<State>>,
    size: usize,
}

impl Device {
    /// An empty disk of `size` bytes that logs what is done to it.
    #[must_use]
    pub fn logged(size: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                bytes: vec![0; size],
                log: Some(Vec::new()),
                undo: None,
                fails: None,
            })),
            size,
        }
    }

    /// An empty disk that logs nothing.
    #[must_use]
    pub fn plain(size: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State { bytes: vec![0; size], log: None, undo: None, fails: None })),
            size,
        }
    }

    /// Entries logged so far.
    #[must_use]
    pub fn now(&self) -> usize {
        self.lock().log.as_ref().map_or(0, Vec::len)
    }

    /// The log; nothing is logged from now on.
    #[must_use]
    pub fn take_log(&self) -> Vec<Entry> {
        self.lock().log.take().unwrap_or_default()
    }

    /// Writes to the disk behind everybody's back: for a disk that is not mounted.
    pub fn put(&self, offset: usize, bytes: &[u8]) {
        self.lock().put(offset, bytes);
    }

    /// From now on changes can be reverted.
    pub fn mark(&self) {
        self.lock().undo = Some(Vec::new());
    }

    /// Undoes what was done since [`Device::mark`]. The disk must not be mounted.
    pub fn revert(&self) {
        let mut state = self.lock();
        for (offset, bytes) in state.undo.take().unwrap_or_default().into_iter().rev() {
            state.put(offset, &bytes);
        }
    }

    /// The first write after `moment` that holds `needle` fails, and no other: what was to be written
    /// is gone, as it is when a disk reports an error once.
    pub fn fail_once(&self, moment: usize, needle: &'static [u8]) {
        self.lock().fails = Some((moment, needle));
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        let end = offset.checked_add(bytes.len());
        if end.is_none_or(|end| end > self.size) {
            return Err(Errno::ENOSPC);
        }
        let mut state = self.lock();
        let now = state.log.as_ref().map_or(0, Vec::len);
        let hit = |(moment, needle): &mut (usize, &'static [u8])| {
            *moment <= now && bytes.windows(needle.len()).any(|window| window == *needle)
        };
        if state.fails.take_if(hit).is_some() {
            drop(state);
            std::thread::sleep(RETRY_TIME);
            return Err(Errno::EIO);
        }
        state.put(offset, bytes);
        if let Some(log) = &mut state.log {
            log.push(Entry::Write { offset, bytes: bytes.into() });
        }
        Ok(())
    }

    fn flush(&self) {
        if let Some(log) = &mut self.lock().log {
            log.push(Entry::Flush);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device that can be reached as a file, until it is dropped.
pub struct Served {
    folder: PathBuf,
    session: Option<BackgroundSession>,
}

impl Served {
    /// Serves `device` as files in the empty folder `folder`: any number as a name is the device,
    /// under an inode of its own, so that no loop device takes another's place.
    ///
    /// # Errors
    /// FUSE is not to be had here.
    pub fn new(device: Device, folder: &Path) -> anyhow::Result<Self> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("power-cut".into())];
        let session = fuser::spawn_mount(Files { device }, folder, &config)
            .with_context(|| format!("mount a FUSE file system on {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), session: Some(session) })
    }

    /// The device as a file.
    #[must_use]
    pub fn file(&self, number: u64) -> PathBuf {
        self.folder.join(number.to_string())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            drop(session);
        }
    }
}

struct Files {
    device: Device,
}

impl Files {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let root = inode == INodeNo::ROOT;
        let size = if root { 0 } else { self.device.size as u64 };
        FileAttr {
            ino: inode,
            size,
            blocks: size / SECTOR as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if root { FileType::Directory } else { FileType::RegularFile },
            perm: if root { 0o700 } else { 0o600 },
            nlink: if root { 2 } else { 1 },
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str().and_then(|name| name.parse::<u64>().ok()) {
            Some(number) => {
                let attributes = self.attributes(INodeNo(INodeNo::ROOT.0 + 1 + number));
                reply.entry(&FOREVER, &attributes, Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // No page cache between the loop device and us: it would hold writes back.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.device.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(state.bytes.len());
        let end = start.saturating_add(size as usize).min(state.bytes.len());
        reply.data(&state.bytes[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        match (self.device.write(offset, data), u32::try_from(data.len())) {
            (Ok(()), Ok(length)) => reply.written(length),
            (Err(error), _) => reply.error(error),
            (Ok(()), Err(_)) => reply.error(Errno::EINVAL),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.device.flush();
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // The close of a file, not a flush of the disk.
        reply.ok();
    }
}

#[cfg(test)]
impl Device {
    /// One byte.
    pub(crate) fn get(&self, offset: usize) -> u8 {
        self.lock().bytes[offset]
    }
}
