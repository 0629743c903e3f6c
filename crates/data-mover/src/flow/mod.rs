//! The flows: what moves between two systems, and in which order.
//!
//! Decisions are pure and stand apart ([`agree`], [`window`], `arrival`, `body`, `gather`), as does what a batch is made of
//! ([`feed`], [`compare`]): those four are public for who moves batches without these tasks. Tasks carry them out: `exchange`
//! tells epochs and heads, `session` (opened by `sender`) and `receiver` are the two ends of one
//! content's stream, `lane` and `inlet` those of its large bodies' ways beside it, `demand` and `room` say
//! which bodies come when, `lease` keeps what has come of them, `pack` shortens what leaves, `apply` makes
//! durable what came by turns with the store's clients, `rate` holds what a session and its lanes may send to
//! the link's schedule, and `supervisor` starts and stops them as the link manager's wishes change.

pub mod agree;
mod apply;
mod arrival;
pub(crate) mod body;
pub mod compare;
mod demand;
pub(crate) mod exchange;
pub mod feed;
mod gather;
pub(crate) mod incoming;
pub(crate) mod inlet;
pub(crate) mod key;
pub(crate) mod lane;
pub(crate) mod lease;
pub(crate) mod limit;
mod outgoing;
mod pace;
pub(crate) mod pack;
pub(crate) mod rate;
pub(crate) mod receiver;
pub(crate) mod room;
mod sender;
mod session;
pub(crate) mod supervisor;
pub mod window;
