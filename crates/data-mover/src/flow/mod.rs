//! The flows: what moves between two systems, and in which order.
//!
//! Decisions are pure and stand apart (`agree`, `window`, `body`); tasks carry them out: `exchange`
//! tells epochs and heads, `session` (opened by `sender`) and `receiver` are the two ends of one
//! content's stream, and `supervisor` starts and stops them as the link manager's wishes change.

pub(crate) mod agree;
mod body;
mod compare;
pub(crate) mod exchange;
pub(crate) mod feed;
mod incoming;
pub(crate) mod key;
pub(crate) mod limit;
mod outgoing;
pub(crate) mod receiver;
mod sender;
mod session;
pub(crate) mod supervisor;
mod window;
