//! Explores the **real** link machine of `switchback-link-core`, not a copy of it: two systems with
//! a model of the mover each, a network that loses, duplicates, delays and reorders without limit,
//! crashes, rebuilt systems, and every operator's command in every state on either side.
//!
//! It promises, for the bounds it is run with, that every interleaving was looked at, and that none
//! breaks a property of [`verdict::Flaws`].
//!
//! How it is kept small enough, and why that leaves nothing out:
//!
//! - *One state for many.* States are told apart by a canonical hash: [`fingerprint`] says what it
//!   leaves out and why no decision reads it.
//! - *Steps of one system are remembered* ([`memo`]): the same pair of system and event comes up in
//!   very many states of the whole.
//! - *Time* passes by one unit at one system, at any moment (`Tick`). Every duration of the policy
//!   is one unit, so that whatever a system waits for may come to its end then; two systems' clocks
//!   have nothing to do with each other. No duration may matter for safety, so the order of
//!   time-outs is left open rather than modelled. Silence has no duration: any tick ends contact,
//!   and the next message brings it back.
//! - *Crashes* need no place inside a step: see [`site`].
//! - *Losing, duplicating and reordering* need no actions: see [`network`].
//! - With *prompt* movers (the default) a mover and its link manager deal with each other before
//!   anything else happens; `--slow` lets everything else come between them.
//!
//! What it is not: a test of the mover or of the shell. The mover is a model; its join is made of
//! the product's own order of versions, its rules are stated in [`mover`]. One link, one content and
//! one key are all there is; names and DNS are left out.
#![forbid(unsafe_code)]

pub mod bounds;
pub mod check;
pub mod fingerprint;
pub mod memo;
pub mod model;
pub mod mover;
pub mod network;
pub mod operator;
pub mod site;
pub mod store;
pub mod tell;
pub mod verdict;
pub mod walk;
pub mod world;
