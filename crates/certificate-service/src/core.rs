//! What is decided about certificates: which are trusted, which are refused and why.
//!
//! Pure: certificates arrive read, keys arrive made, the time arrives as an argument. A decision
//! is a list of changes and an answer; the shell makes the changes durable, applies them by
//! [`State::apply`] and only then answers.

pub mod certificate;
pub mod command;
pub mod refusal;
pub mod state;

#[cfg(test)]
mod tests;

pub use certificate::{Certificate, Fingerprint, KeyStrength, Offered, Validity, WallTime};
pub use command::{Decision, delete, renew, upload};
pub use refusal::Refusal;
pub use state::{Answer, Change, Command, Own, PrivateKey, State, Trusted};
