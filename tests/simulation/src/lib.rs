//! Two whole systems on simulated time, network and disks, from a seed: the services that are
//! shipped, with their gRPC and TLS, on [`switchback_world`]'s seam.
//!
//! A run makes two systems, a tenant and a link, lets clients write on both sides while a plan of
//! faults and commands is carried out, makes everything work again, follows what the systems say until
//! the link is healthy, and compares. The same seed gives the same run, event by event, in any
//! process.

pub mod batch;
pub mod chance;
pub mod check;
pub mod client;
pub mod disk;
pub mod heal;
pub mod people;
pub mod plan;
pub mod record;
pub mod run;
pub mod site;
pub mod stage;
pub mod story;
pub mod watch;
pub mod world;
