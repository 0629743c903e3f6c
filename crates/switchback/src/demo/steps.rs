//! The operator's steps, as both variants take them, with what is measured on the way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use switchback_proto::link::v1 as link;
use switchback_proto::model::v1::{AccessMode, Divergence};

use super::client::{Client, Failure, Replaces, value};
use super::files::Files;
use super::ledger::{Account, Outcome, Write, account};
use super::stage::Stage;
use crate::client::{Operator, request_id};
use crate::lab::layout::{NAMESPACE, SYSTEMS, TENANT};
use crate::lab::setup::wait_for_link;
use crate::time::{bytes, duration};

/// How long anything is waited for before the demo gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Between two tries of a refused command.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// "Nearly up to date": what a completion moves in moments.
const NEARLY_OBJECTS: u64 = 100;

/// What one variant measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// From the command to the replica's first success.
    pub(crate) to_rw: Duration,
    /// From the command to the new answer of the replica's name server.
    pub(crate) to_dns: Duration,
    /// The longest time without an acknowledged write around the failover.
    pub(crate) outage_failover: Duration,
    /// The same around the end of the recovery.
    pub(crate) outage_failback: Duration,
    /// From the completion's command to the end.
    pub(crate) failback: Duration,
    /// Through the relay, from the beginning of the recovery to its end.
    pub(crate) moved_bytes: u64,
    /// What each side had and the other did not.
    pub(crate) lacked_bytes: u64,
    /// Of all writes so far.
    pub(crate) account: Account,
}

/// Writes the files through the tenant's name and waits until they are on both systems.
///
/// # Errors
/// A file cannot be read, or is not acknowledged in time.
pub(crate) async fn load(stage: &mut Stage, files: &Files) -> anyhow::Result<()> {
    let since = Instant::now();
    let mut client = Client::follow(&stage.lab)?;
    let mut total = 0;
    for name in &files.names {
        let path = files.folder.join(name);
        let body = Bytes::from(std::fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        let key = format!("files/{name}");
        let length = body.len() as u64;
        put_until_acknowledged(&mut client, &key, &body).await?;
        total += length;
        stage.ledger.record(Write {
            key,
            value: Some(value(&body)),
            replaced: None,
            acknowledged: true,
            at: Instant::now(),
            bytes: length,
            system: SYSTEMS[0].into(),
        });
    }
    in_sync(stage).await?;
    let left_out = match files.left_out {
        0 => String::new(),
        number => format!(" ({number} larger than 64 MiB left out)"),
    };
    stage.say(
        "-",
        format!(
            "loaded {} files, {}, of {}{left_out} through http://{}, replicated, in {}",
            files.names.len(),
            bytes(total),
            files.folder.display(),
            stage.tenant_host()?,
            duration(since.elapsed())
        ),
    );
    Ok(())
}

/// Writing the same bytes again changes nothing that the account looks at.
async fn put_until_acknowledged(client: &mut Client, key: &str, body: &Bytes) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let put = async {
            client.connect().await?;
            client.put(key, body.clone(), Replaces::Anything).await
        };
        match put.await {
            Ok(_) => return Ok(()),
            Err(Failure::InDoubt(reason) | Failure::NotDone(reason)) if since.elapsed() > PATIENCE => {
                bail!("{key} was not acknowledged: {reason}")
            }
            Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
}

/// Waits until both systems say that they hold the same.
///
/// # Errors
/// They do not in time.
pub(crate) async fn in_sync(stage: &Stage) -> anyhow::Result<()> {
    for operator in [&stage.east, &stage.west] {
        wait_for_link(operator, TENANT, "healthy and in sync", PATIENCE, |link| {
            link.state() == link::LinkState::Replicating && link.in_sync && link.healthy
        })
        .await?;
    }
    Ok(())
}

/// Waits until `count` more writes are acknowledged on `system`.
///
/// # Errors
/// They are not in time.
pub(crate) async fn written(stage: &Stage, system: &str, count: usize) -> anyhow::Result<()> {
    let since = Instant::now();
    while stage.ledger.acknowledged_since(since, system) < count {
        if since.elapsed() > PATIENCE {
            bail!("the clients did not get {count} writes acknowledged on {system} in time");
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Step 1: fails over on the replica; measures the time to read-write and to the new DNS answer.
///
/// # Errors
/// The replica refuses.
pub(crate) async fn fail_over(stage: &mut Stage, facts: &mut Facts) -> anyhow::Result<link::CommandResponse> {
    let moved = stage.watch_dns(SYSTEMS[1], SYSTEMS[1])?;
    let since = Instant::now();
    let id = request_id();
    let request = link::FailOverRequest { request_id: id.clone(), link: TENANT.into(), ..Default::default() };
    let answer = stage.west.command(&id, stage.west.links().fail_over(request)).await.context("fail over")?;
    facts.to_rw = since.elapsed();
    let mode = answer.link.as_ref().map(link::Link::mode);
    stage.claim("after the failover the replica is read-write", mode == Some(AccessMode::ReadWrite));
    let to_dns = moved.await.context("watch DNS")?;
    facts.to_dns = to_dns.context("the tenant's name never led to west")?;
    stage.say("1", format!("failed over: {}", answer.steps.join("; ")));
    for warning in &answer.warnings {
        stage.say("", format!("west says: {warning}"));
    }
    stage.say(
        "",
        format!(
            "west is RW after {}, DNS leads to it after {}",
            duration(facts.to_rw),
            duration(facts.to_dns)
        ),
    );
    stage.claim_time(
        "the new DNS answer after the failover",
        facts.to_dns,
        facts.to_rw + Duration::from_secs(2),
    );
    stage.say("2", "nothing to do: the link has DNS failover");
    Ok(answer)
}

/// Steps 6 to 10: recovery from its beginning to its end.
///
/// # Errors
/// The replica refuses, or the recovery does not end in time.
pub(crate) async fn recover(stage: &mut Stage, facts: &mut Facts) -> anyhow::Result<()> {
    let (before, sequence) = (stage.relayed().await?, last_event(&stage.east).await?);
    let id = request_id();
    let command = link::LinkCommand { request_id: id.clone(), plan: false, link: TENANT.into() };
    let begun = Instant::now();
    // A side that was just restored confirms that it is read-only a moment later; until then the
    // recovery is refused with "try again in a moment", which an operator would.
    while let Err(refusal) = stage.west.command(&id, stage.west.links().begin_recovery(command.clone())).await
    {
        if begun.elapsed() > Duration::from_secs(10) {
            return Err(refusal).context("begin recovery");
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    stage.say("6", "recovery has begun: west to east, and east's own tail to west");
    let since = Instant::now();
    let nearly = wait_for_link(&stage.west, TENANT, "nearly up to date", PATIENCE, |link| {
        let flows = [&link.sending, &link.receiving];
        let pending: u64 =
            flows.iter().filter_map(|flow| flow.as_ref()).map(|flow| flow.pending_objects).sum();
        let known =
            link.sending.as_ref().is_some_and(|flow| flow.active && flow.up_to_date_as_of_unix_ms > 0);
        link.state() == link::LinkState::Recovering && known && pending < NEARLY_OBJECTS
    });
    let flow = nearly.await?.sending.unwrap_or_default();
    stage.say(
        "7",
        format!(
            "nearly up to date after {}: {} objects, {} left, while clients write on",
            duration(since.elapsed()),
            flow.pending_objects,
            bytes(flow.pending_bytes)
        ),
    );
    complete(stage, facts).await?;
    facts.moved_bytes = stage.relayed().await?.saturating_sub(before);
    let said = recovery_completed(&stage.east, sequence).await?;
    stage.claim("the system log says `Replication data recovery completed`", said);
    stage.say("10", "the system log says: Replication data recovery completed");
    Ok(())
}

async fn complete(stage: &mut Stage, facts: &mut Facts) -> anyhow::Result<()> {
    let moved = stage.watch_dns(SYSTEMS[0], SYSTEMS[0])?;
    let since = Instant::now();
    let id = request_id();
    let request =
        link::CompleteRecoveryRequest { request_id: id.clone(), link: TENANT.into(), ..Default::default() };
    stage
        .west
        .command(&id, stage.west.links().complete_recovery(request))
        .await
        .context("complete recovery")?;
    stage.say("8", "completing: both sides are RO, what is left is drained");
    wait_for_link(&stage.east, TENANT, "replicating again", PATIENCE, |link| {
        link.state() == link::LinkState::Replicating && link.mode() == AccessMode::ReadWrite
    })
    .await?;
    facts.failback = since.elapsed();
    let to_dns = moved.await.context("watch DNS")?.context("the tenant's name never led back to east")?;
    stage.say(
        "9",
        format!("east is RW after {}, DNS leads to it after {}", duration(facts.failback), duration(to_dns)),
    );
    stage.claim_time("the end of the recovery", facts.failback, Duration::from_secs(10));
    Ok(())
}

async fn last_event(operator: &Operator) -> anyhow::Result<u64> {
    let request = link::ListEventsRequest { events_max: 1, ..Default::default() };
    let answer = operator.ask(operator.links().list_events(request)).await?;
    Ok(answer.events.last().map_or(0, |event| event.sequence))
}

/// The event is written in the moment in which the state is; give it one more.
async fn recovery_completed(operator: &Operator, after_sequence: u64) -> anyhow::Result<bool> {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        let request = link::ListEventsRequest { after_sequence, ..Default::default() };
        let answer = operator.ask(operator.links().list_events(request)).await?;
        if answer.events.iter().any(|event| event.text.contains("Replication data recovery completed")) {
            return Ok(true);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(false)
}

/// The old primary, back and in contact, must refuse a write and say where to go.
///
/// # Errors
/// It does not demote itself in time.
pub(crate) async fn demoted(stage: &mut Stage) -> anyhow::Result<()> {
    wait_for_link(&stage.east, TENANT, "read-only and failed over", PATIENCE, |link| {
        link.contact && link.state() == link::LinkState::FailedOver && link.mode() == AccessMode::ReadOnly
    })
    .await?;
    let mut client = Client::pinned(stage.lab.system(SYSTEMS[0])?)?;
    let mut put = async || {
        client.connect().await?;
        client.put("pinned/after-demotion", Bytes::from_static(b"must be refused"), Replaces::Anything).await
    };
    // Who came before the gateway had heard of the demotion is told to connect again.
    let mut refused = put().await;
    if matches!(refused, Err(Failure::InDoubt(_))) {
        refused = put().await;
    }
    let refused = match refused {
        Err(Failure::NotDone(reason)) => reason,
        Ok(_) => "it was accepted".into(),
        Err(Failure::Changed | Failure::InDoubt(_)) => "there was no clear answer".into(),
    };
    let domain = &stage.lab.system(SYSTEMS[1])?.domain.clone();
    stage.say("", format!("east has demoted itself; a write there is refused: {refused}"));
    stage.claim(
        "a write to the demoted primary is refused with 403 and the writable side's name",
        refused.starts_with("403") && refused.contains(domain),
    );
    Ok(())
}

/// Reads every key back from both systems through S3 and accounts for every acknowledged write.
///
/// # Errors
/// A system cannot be read.
pub(crate) async fn settle(stage: &mut Stage) -> anyhow::Result<Account> {
    in_sync(stage).await?;
    let writes = stage.ledger.writes();
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    for write in &writes {
        outcomes.entry(write.key.clone()).or_default();
    }
    let mut clients = Vec::new();
    for name in SYSTEMS {
        clients.push(Client::pinned(stage.lab.system(name)?)?);
    }
    let [east, west] = &mut clients[..] else { bail!("a lab has two systems") };
    for (key, outcome) in &mut outcomes {
        outcome.east = read(east, key).await?;
        outcome.west = read(west, key).await?;
    }
    for operator in [&stage.east, &stage.west] {
        for divergence in
            crate::cli::divergences(operator, TENANT, crate::cli::Epochs::default()).await?.divergences
        {
            let Some(outcome) = listed(&divergence, &mut outcomes) else { continue };
            outcome.delete_listed |= divergence.loser_deleted;
            if divergence.kept_at.is_empty() {
                continue;
            }
            let (first, second) =
                (read(east, &divergence.kept_at).await?, read(west, &divergence.kept_at).await?);
            // Kept means kept on both.
            if first == second {
                outcome.kept.extend(first);
            }
        }
    }
    let account = account(&writes, &outcomes);
    stage.claim(format!("no acknowledged write is lost (lost: {:?})", account.lost), account.lost.is_empty());
    stage.claim(
        format!("both systems hold the same (different: {:?})", account.different),
        account.different.is_empty(),
    );
    Ok(account)
}

/// The outcome that a divergence is about, if it is about an object of ours.
fn listed<'a>(
    divergence: &Divergence,
    outcomes: &'a mut BTreeMap<String, Outcome>,
) -> Option<&'a mut Outcome> {
    (divergence.namespace == NAMESPACE).then(|| outcomes.get_mut(&divergence.key)).flatten()
}

async fn read(client: &mut Client, key: &str) -> anyhow::Result<Option<super::client::Value>> {
    let since = Instant::now();
    loop {
        let got = async {
            client.connect().await?;
            client.get(key).await
        };
        match got.await {
            Ok(seen) => return Ok(seen.map(|seen| seen.value)),
            Err(failure) if since.elapsed() > Duration::from_secs(10) => bail!("read {key}: {failure:?}"),
            Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
}
