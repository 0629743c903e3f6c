//! Second variant: the primary is about to die. The operator fails over while the two still talk, so
//! that its tail is drained; then it is destroyed, and rebuilt empty with a new identity.
//!
//! Why in this order: a write that was acknowledged by one system and had not yet reached the other
//! when the first was destroyed exists nowhere, and no product can bring it back. The demo shows
//! what can be had, which is a failover that leaves nothing behind.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use switchback_proto::certificate::v1::{DeleteCertificateRequest, ListCertificatesRequest};
use switchback_proto::link::v1 as link;

use super::returned::finish;
use super::stage::Stage;
use super::steps::{self, Facts};
use super::writer::Writers;
use crate::client::request_id;
use crate::lab::layout::{SYSTEMS, TENANT};
use crate::lab::setup::{self, wait_for_link};
use crate::lab::supervise::{self, Tie};
use crate::system::service::Service;
use crate::time::duration;

/// Writes before the failover, and after the failback.
const BEFORE: usize = 60;
/// Writes on the replica after the failover.
const AFTER: usize = 150;

/// Plays it.
///
/// # Errors
/// A step failed.
pub(crate) async fn play(stage: &mut Stage, tie: &mut Tie<'_>) -> anyhow::Result<Facts> {
    stage.heading("2. The primary is destroyed, and rebuilt empty");
    let mut facts = Facts::default();
    let [east, west] = SYSTEMS;
    let writers = Writers::start(&stage.lab, &stage.ledger, "second")?;
    steps::written(stage, east, BEFORE).await?;
    let failed_over = Instant::now();
    let answer = steps::fail_over(stage, &mut facts).await?;
    stage.claim_time("read-write, the primary fenced and drained", facts.to_rw, Duration::from_secs(1));
    if !answer.warnings.is_empty() {
        bail!("the failover left something behind: {}", answer.warnings.join("; "));
    }
    steps::written(stage, west, BEFORE).await?;
    facts.outage_failover = stage.ledger.longest_gap(failed_over, Instant::now());
    stage.say("", format!("clients went without a success for {}", duration(facts.outage_failover)));

    let killed = supervise::kill_services(&mut stage.lab, east, &Service::ALL).await?;
    setup::wipe(&mut stage.lab, east)?;
    stage.say("-", format!("killed the {killed} processes of east and destroyed its data and identity"));
    steps::written(stage, west, AFTER).await?;
    supervise::start_services(&mut stage.lab, east, &Service::ALL, tie).await?;
    stage.reopen_east()?;
    trust(stage).await?;
    restore(stage).await?;

    steps::recover(stage, &mut facts).await?;
    facts.lacked_bytes = stage.ledger.bytes_current();
    let completed = Instant::now();
    steps::written(stage, east, BEFORE).await?;
    facts.outage_failback =
        stage.ledger.longest_gap(completed.checked_sub(facts.failback).unwrap_or(completed), Instant::now());
    writers.stop().await?;
    finish(stage, &mut facts).await?;
    Ok(facts)
}

/// Step 3: the rebuilt system's certificate goes to west, and west's to it; the certificate of the
/// system that is gone is no longer trusted.
async fn trust(stage: &Stage) -> anyhow::Result<()> {
    let mut certificates = stage.west.certificates();
    let domain = stage.lab.system(SYSTEMS[0])?.domain.clone();
    let trusted = stage.west.ask(certificates.list_certificates(ListCertificatesRequest {})).await?;
    for old in trusted.certificates.into_iter().filter(|certificate| certificate.domain == domain) {
        let id = request_id();
        let request = DeleteCertificateRequest { request_id: id.clone(), fingerprint: old.fingerprint };
        stage.west.command(&id, certificates.delete_certificate(request)).await?;
    }
    setup::exchange_certificates(&stage.lab).await?;
    stage.say("3", "certificates exchanged both ways; the destroyed system's is no longer trusted");
    stage.say("4", "nothing to do: the address is the same");
    Ok(())
}

/// Step 5: the link is made again on the rebuilt system.
async fn restore(stage: &Stage) -> anyhow::Result<()> {
    let since = Instant::now();
    wait_for_link(&stage.west, TENANT, "known to be broken", steps::PATIENCE, |link| link.broken).await?;
    let id = request_id();
    let request = link::LinkCommand { request_id: id.clone(), plan: false, link: TENANT.into() };
    stage.west.command(&id, stage.west.links().restore_link(request)).await.context("restore the link")?;
    let took = duration(since.elapsed());
    stage.say("5", format!("west saw that east has lost the link, and restored it there, in {took}"));
    Ok(())
}
