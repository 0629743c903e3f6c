//! gRPC between systems: mutual TLS 1.3, pinned to the certificates that operators uploaded.
//!
//! There is no authority above the two systems. Each end trusts exactly the certificates (by their
//! DER form) that its certificate service holds, and the other end must prove that it owns the key
//! of one of them. The certificate names its system (see [`Peer`]), so who calls is never a claim
//! in a message.
//!
//! - [`IdentityWatch`] holds what a system is and whom it trusts *now*. A change counts from the
//!   next handshake on; connections that rest on a withdrawn pin, on an expired certificate or on
//!   an identity that is ours no more are cut.
//! - [`serve()`] answers other systems. A request carries its [`Peer`] in the extensions.
//! - [`connect`] dials another system at once and says who answered; [`channel`] dials when it is
//!   used, and again after a failure.
//! - [`Trouble`] says why two systems do not talk, and what the operator does about it.
//!
//! Sessions are never resumed: a resumed one would skip the check of the pin. Chains are refused:
//! a certificate signed by a pinned key is not the pinned certificate.

mod certificate;
mod client;
mod connection;
mod identity;
mod public;
mod server;
mod trouble;
mod verify;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use certificate::{Fingerprint, Peer, Unreadable, system_urn};
pub use client::{Dial, Expect, channel, connect};
pub use identity::{Identity, IdentityError, IdentityKeeper, IdentityWatch};
pub use public::{PublicError, public};
pub use rustls::ServerConfig;
pub use server::{serve, serve_with};
pub use trouble::Trouble;

/// What a connection between systems may take. The defaults suit a wide-area link.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time for the TCP connection.
    pub connect_time: Duration,
    /// Time for the TLS handshake, on either end. One that takes longer is a peer that hangs.
    pub handshake_time: Duration,
    /// A silent connection is probed this often (HTTP/2 PING), also while idle.
    pub keepalive_interval: Duration,
    /// A probe that is not answered in this time ends the connection. Nothing else finds a silent
    /// partition under an open stream.
    pub keepalive_time: Duration,
    /// Size of an HTTP/2 frame. 256 KiB reach nearly the rate of bare TLS; the default of 16 KiB
    /// half of it.
    pub frame_bytes: u32,
    /// Bytes in flight on one stream.
    pub stream_window_bytes: u32,
    /// Bytes in flight on one connection: 1 Gb/s at 80 ms are 10 MiB.
    pub connection_window_bytes: u32,
    /// Streams at once on one connection. Each flow of each tenant holds one.
    pub streams_max: u32,
    /// Handshakes at once; more wait in the listener's queue.
    pub handshakes_max: usize,
    /// Connections at once; more wait in the listener's queue. A peer holds a handful.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_time: Duration::from_secs(5),
            handshake_time: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(10),
            keepalive_time: Duration::from_secs(5),
            frame_bytes: 256 * 1024,
            stream_window_bytes: 4 * 1024 * 1024,
            connection_window_bytes: 16 * 1024 * 1024,
            streams_max: 4096,
            handshakes_max: 64,
            connections_max: 1024,
        }
    }
}
