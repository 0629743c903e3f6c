//! The link protocol: a deterministic state machine that decides who may write.
//!
//! It decides, for each link of a system, the epoch and the state, what access mode and which
//! flows the data mover shall have, what the other system is told, and what the names of the
//! link's tenants answer. It remembers links, the system log and the commands it accepted.
//!
//! It promises that:
//! - an epoch never goes back, and a higher one is applied before anything else is done;
//! - a side takes an epoch that names itself only by minting it (a failover, a declaration of
//!   loss) or by the grant it asked for, with a fresh nonce, on the current stream;
//! - the replica is read-only and has recorded the grant before the primary learns of it;
//! - a message is obeyed only between the two incarnations that were agreed when the link was
//!   made or restored.
//!
//! Why so: who writes is one number, so there is nothing to infer after a crash. Everything else
//! (access modes, flows, names) is *desired* state, computed from that number and the state, and
//! offered to the data mover until it confirms it: a crash at any point is driven on by the same
//! code that drove it in the first place.
//!
//! What it is not: a failure detector. Contact, trust and brokenness are observations beside the
//! state; they change what is allowed and shown, never who may write.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod access;
mod adopt;
mod change;
mod command;
mod damage;
mod error;
mod failover;
mod farewell;
mod flow;
mod health;
mod input;
mod invariants;
mod machine;
mod message;
mod output;
mod policy;
mod proposal;
mod recovery;
mod state;
mod transfer;
mod view;
mod zone;

pub use access::{Access, Writer};
pub use change::Change;
pub use error::Error;
pub use flow::{ContentFlow, FlowSpec};
pub use health::Health;
pub use input::{
    Command, CommandKind, ContentView, Create, DamageView, DigestView, FlowView, Hello, Input, LinkFlowsView,
    MoverView, Overdue, Position, Token, Update,
};
pub use invariants::{Violation, check};
pub use machine::LinkMachine;
pub use message::{Header, Heartbeat, Message, Proposal, Sealed};
pub use output::{Done, Output};
pub use policy::Policy;
pub use state::{
    ConflictPolicy, Event, Goal, Identity, Link, LinkState, Meta, Peer, Proposing, RequestRecord, Settings,
    Severity, Shared, State, ZoneRecord,
};
pub use view::LinkView;
pub use zone::{DnsKey, Gateway, Https, NameServer, TenantZone};
