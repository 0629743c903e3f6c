//! First variant: the primary is cut off while clients write, then killed; it comes back as it was,
//! still cut off, and takes writes of clients that do not follow DNS. So both sides hold writes that
//! the other has not seen.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use switchback_proto::link::v1::LinkState;
use switchback_proto::model::v1::AccessMode;

use super::client::Client;
use super::ledger::PINNED;
use super::stage::Stage;
use super::steps::{self, Facts, PATIENCE};
use super::writer::{HOT_KEYS, Writer, Writers};
use crate::lab::control::Request;
use crate::lab::layout::{SYSTEMS, TENANT};
use crate::lab::setup::wait_for_link;
use crate::lab::supervise::{self, Tie};
use crate::system::service::Service;
use crate::time::{bytes, duration};

/// Writes on the primary that the replica has not seen when the primary is killed.
const TAIL: usize = 60;
/// Writes on the replica after the failover.
const AFTER: usize = 150;

/// Plays it.
///
/// # Errors
/// A step failed.
pub(crate) async fn play(stage: &mut Stage, tie: &mut Tie<'_>) -> anyhow::Result<Facts> {
    stage.heading("1. The primary fails, and comes back as it was, with writes on both sides");
    let mut facts = Facts::default();
    let [east, west] = SYSTEMS;
    let writers = Writers::start(&stage.lab, &stage.ledger, "first")?;
    steps::written(stage, east, TAIL).await?;
    let cut_at = Instant::now();
    stage.relay(&Request::Cut { way: None, reset: false }).await?;
    steps::written(stage, east, TAIL).await?;
    let killed_at = Instant::now();
    let killed = supervise::kill_services(&mut stage.lab, east, &Service::ALL).await?;
    let tail = stage.ledger.acknowledged_since(cut_at, east);
    stage.say("-", format!("cut the two apart; {tail} writes later, killed the {killed} processes of east"));

    steps::fail_over(stage, &mut facts).await?;
    let limit = Duration::from_secs(3);
    stage.claim_time("read-write although the primary does not answer", facts.to_rw, limit);
    steps::written(stage, west, AFTER).await?;
    facts.outage_failover = stage.ledger.longest_gap(killed_at, Instant::now());
    stage.say("", format!("clients went without a success for {}", duration(facts.outage_failover)));

    pinned_writes(stage, tie).await?;
    stage.say("3-5", "nothing to do: the primary is the same system, at the same address");
    stage.relay(&Request::Heal).await?;
    steps::demoted(stage).await?;

    steps::recover(stage, &mut facts).await?;
    facts.lacked_bytes = stage.ledger.bytes_changed_since(cut_at);
    let completed = Instant::now();
    steps::written(stage, east, TAIL).await?;
    facts.outage_failback =
        stage.ledger.longest_gap(completed.checked_sub(facts.failback).unwrap_or(completed), Instant::now());
    writers.stop().await?;
    finish(stage, &mut facts).await?;
    if facts.account.kept == 0 {
        bail!("no write was superseded and kept: the demo did not produce the conflict it is about");
    }
    Ok(facts)
}

/// East comes back while it is still cut off. It knows nothing of the failover, so in the default
/// mode it accepts writes again; a client that does not follow DNS makes some, on keys that the
/// other clients rewrite on west.
async fn pinned_writes(stage: &mut Stage, tie: &mut Tie<'_>) -> anyhow::Result<()> {
    let east = SYSTEMS[0];
    supervise::start_services(&mut stage.lab, east, &Service::ALL, tie).await?;
    wait_for_link(&stage.east, TENANT, "read-write on its own", PATIENCE, |link| {
        link.state() == LinkState::Replicating && !link.contact && link.mode() == AccessMode::ReadWrite
    })
    .await?;
    let client = Client::pinned(stage.lab.system(east)?)?;
    let mut writer = Writer::new(client, &stage.lab, stage.ledger.clone(), "pinned");
    let mut acknowledged = 0;
    for number in 0..HOT_KEYS {
        for key in [format!("live/first/0/hot-{number}"), format!("{PINNED}{number}")] {
            acknowledged += usize::from(writer.write(key, false).await);
        }
    }
    stage.say(
        "-",
        format!(
            "east came back, cut off: it does not know of the failover, and took {acknowledged} writes of a client that does not follow DNS"
        ),
    );
    stage.claim("an isolated primary stays read-write by default", acknowledged == 2 * HOT_KEYS);
    Ok(())
}

/// What both variants say at their end.
///
/// # Errors
/// A system cannot be read.
pub(crate) async fn finish(stage: &mut Stage, facts: &mut Facts) -> anyhow::Result<()> {
    stage.say(
        "",
        format!(
            "clients went without a success for {} at the failback; {} crossed between the systems, for {} that the other side lacked",
            duration(facts.outage_failback),
            bytes(facts.moved_bytes),
            bytes(facts.lacked_bytes)
        ),
    );
    facts.account = steps::settle(stage).await.context("account for the writes")?;
    stage.say(
        "",
        format!(
            "all {} acknowledged writes read back: {} current on both, {} superseded, {} superseded and kept, {} lost",
            facts.account.total(),
            facts.account.current,
            facts.account.superseded,
            facts.account.kept,
            facts.account.lost.len()
        ),
    );
    Ok(())
}
