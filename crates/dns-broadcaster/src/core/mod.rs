//! What names answer, decided without a socket, a disk or a clock.
//!
//! [`apply::decide`] compares what is desired with what is on record; a [`zone::Snapshot`] is
//! built from the outcome; [`answer::answer`] is a pure function of that snapshot and a question, which
//! [`plain`] reads and writes, and [`transfer`] of a zone and what a server holds of it. [`follow`] decides whom to tell and to ask,
//! [`update`] what to put into zones of others, [`secondary`] what to take from them, [`own`] what an operator may add, [`receive`] what others may, [`catalogue`] what name
//! servers pick up by themselves, [`dnssec`] what proves that an answer is the zone's, and
//! [`cookie`] and [`rate`] who is given how much.
//! Nothing here knows the DNS library: names and records are plain values.

pub mod answer;
pub mod apply;
pub mod catalogue;
pub mod contact;
pub mod cookie;
pub mod dnssec;
pub mod draft;
pub mod follow;
pub mod gateway;
pub mod heard;
pub mod history;
mod layout;
pub mod map;
pub mod name;
mod nodes;
pub mod own;
pub mod packed;
pub mod plain;
pub mod rate;
pub mod receive;
pub mod record;
pub mod secondary;
pub mod table;
pub mod transfer;
pub mod update;
pub mod zone;
