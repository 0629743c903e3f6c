//! Cuts the power, for real as far as a program can: what a disk had been given and what it had
//! been told to flush is logged, block by block, and disks are made again as a power cut at any
//! moment could have left them. Each is mounted and opened by the product's own code, and compared
//! with what had been acknowledged by then.
//!
//! - [`device`]: a disk that is a file of a FUSE file system under a loop device, so that every
//!   write and every flush of a real file system on it (ext4, or xfs) passes through here.
//! - [`cut`]: which of the writes that no flush covers are left.
//! - [`workload`]: what is done meanwhile, and [`account`]: what was acknowledged at which moment.
//! - [`verify`]: what a disk is compared with.
//!
//! What it promises to notice: an acknowledgement that does not wait for its flush, in the store's
//! catalogue, in a blob, or in the state that services keep; a batch of which only a part is there;
//! a cursor that is ahead of its data; a digest that is not that of the content.
//!
//! What it is not: a test of order between services (a killed process shows that, and the page
//! cache survives it). A sector is written whole or not at all, which real disks promise; and a
//! flush that a disk answers without doing it cannot be helped by anybody.
#![forbid(unsafe_code)]

pub mod account;
pub mod cut;
pub mod device;
pub mod mount;
pub mod random;
pub mod round;
pub mod verify;
pub mod workload;
