//! Every protocol bug that was ever found, each a case by its name: how it was found, what happened,
//! and that it cannot happen any more. New ones get a file of their own.

#[path = "../world/mod.rs"]
mod world;

mod amnesia_replay;
mod clock_was_ahead;
mod early_failover;
mod forgotten_link;
mod heard_grant;
mod lost_restore_answer;
mod paused_in_completion;
mod paused_in_failover;
mod restored_from_backup;
mod stale_seal;
mod unheard_epoch;
