//! What every service needs around its core: configuration, telemetry, health, drain, durable
//! state and channels.
//!
//! It promises three things that nobody else may do again: state is on the disk when
//! [`durable::Db::commit`] returns; a call inside a system carries the system's secret; a call
//! between systems runs over mutual TLS 1.3 pinned to uploaded certificates.
//!
//! sled and rustls are named in this crate only. It knows no service and no core.

pub mod background;
pub mod config;
pub mod drive;
pub mod durable;
pub mod grpc;
pub mod secret;
pub mod service;
pub mod telemetry;
pub mod tls;

/// What a service asks of the machine, or of a simulation instead.
pub use switchback_world as world;
