//! Two systems on one machine, `east` (primary) and `west` (replica), every service its own process,
//! all traffic between the two through a relay that can cut, delay and throttle it.
//!
//! People try the product with it, scripts and tests drive it, the demo walks the workflow in it.
//! Nothing of the product knows that it runs in a lab. What a lab consists of stands in
//! `DIR/lab.json` ([`layout`]); any process may drive a lab by it, so the lab needs no daemon.

pub mod control;
pub mod exec;
pub mod layout;
pub mod process;
pub mod relay;
pub mod setup;
pub mod supervise;
