//! The slower layer: two whole systems, the services that are shipped with their gRPC and TLS, on
//! simulated time, network and disks.
//!
//! A run makes two systems, a tenant and a link, lets S3 clients write on both sides while a plan of
//! faults and commands is carried out, makes everything work again, follows what the systems say until
//! the link is healthy, and compares. Libraries keep randomness and clocks of their own in statics, so a
//! process runs one seed.

pub mod check;
pub mod client;
pub mod heal;
pub mod install;
pub mod people;
pub mod run;
pub mod stage;
pub mod story;
pub mod world;
