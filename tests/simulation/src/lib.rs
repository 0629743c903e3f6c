//! Two systems on simulated time, network and disks, from a seed, in two layers.
//!
//! - [`cores`], the fast one: the decisions of the five services and the store, in one loop; many seeds
//!   in a second.
//! - [`services`], the slow one: the services that are shipped, with their gRPC and TLS.
//!
//! Both stand on [`switchback_world`]'s seam. They draw what goes wrong and what is commanded from the
//! same [`plan`], look at each commit with the same [`watch`], let an operator follow the same [`guide`]
//! back to health, and compare with the same [`check`]. The same seed gives the same run, event by event,
//! in any process.

pub mod batch;
pub mod chance;
pub mod check;
pub mod clock;
pub mod cores;
pub mod disk;
pub mod guide;
pub mod layer;
pub mod plan;
pub mod record;
pub mod services;
pub mod site;
pub mod watch;
