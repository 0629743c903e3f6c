//! L2: whatever happened, an operator who follows what the systems say gets a healthy link.

use std::time::Duration;

use switchback_proto::link::v1::Link;

use crate::guide::{self, Advice};
use crate::plan::Command;
use crate::services::people::Operator;
use crate::services::story::Story;
use crate::site::System;

/// Between two looks. What mends itself has mended itself by then.
const LOOK: Duration = Duration::from_secs(4);

/// Looks until an operator would call for help: ten minutes. A clock that jumped takes minutes.
const LOOKS_MAX: u32 = 150;

/// Follows what both systems say until they say that all is well.
///
/// # Errors
/// They never do; what they say instead.
pub async fn heal(story: &Story) -> Result<(), String> {
    let mut said = Vec::new();
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(LOOK).await;
        let mut links = Vec::new();
        for system in System::ALL {
            let looked = look(story, system).await;
            links.push((system, looked));
        }
        if links.iter().all(|(_, link)| link.as_ref().is_ok_and(|link| link.healthy && link.in_sync)) {
            return Ok(());
        }
        said = links.iter().map(|(system, looked)| describe(*system, looked)).collect();
        for line in &said {
            story.record.event(line);
        }
        exchange(story).await;
        for (system, link) in &links {
            let Ok(link) = link else { continue };
            if let Some(text) = follow(story, *system, link).await {
                story.record.event(&format!("{system}: {text}"));
            }
        }
    }
    Err(format!("the link does not become healthy: {}", said.join(" | ")))
}

fn describe(system: System, looked: &anyhow::Result<Link>) -> String {
    match looked {
        Ok(link) => format!(
            "{system}: {:?}, epoch {}, mode {}, in sync {}, next {:?}: {}",
            link.state(),
            link.epoch,
            link.mode,
            link.in_sync,
            link.next_step,
            link.troubles.join("; ")
        ),
        Err(error) => format!("{system}: {error:#}"),
    }
}

async fn look(story: &Story, system: System) -> anyhow::Result<Link> {
    Operator::at(story, system)?.link().await
}

/// Both certificates, both ways: what is trusted already changes nothing.
async fn exchange(story: &Story) {
    for system in System::ALL {
        let exchanged =
            async { Operator::at(story, system)?.introduce(&mut Operator::at(story, system.other())?).await };
        if let Err(error) = exchanged.await {
            story.record.event(&format!("{system} cannot be introduced: {error:#}"));
        }
    }
}

/// Does what `link`, as `system` describes it, asks for; what came of it.
async fn follow(story: &Story, system: System, link: &Link) -> Option<String> {
    let is_paused = link.contents.iter().any(|content| content.paused);
    let command = match guide::advice(&link.next_step, &link.troubles.join("; "), is_paused)? {
        Advice::NewIncarnation => {
            let renewed = async { Operator::at(story, system)?.renew(true).await }.await;
            return Some(format!("renew --new-incarnation: {}", outcome(&renewed)));
        }
        Advice::Give(command) => command,
    };
    let mut text = None;
    let mut next = Some(command);
    // A refusal names what must be done first.
    for _ in 0..3 {
        let Some(command) = next else { break };
        let given = give(story, system, command).await;
        text = Some(format!("{command:?}: {}", given.as_ref().err().map_or("done", |why| why)));
        next = given.err().and_then(|why| guide::instead(&why, command));
    }
    text
}

async fn give(story: &Story, system: System, command: Command) -> Result<(), String> {
    let given = async { Operator::at(story, system)?.give(story, command).await };
    story.record.count("command: of the healing");
    given.await.map_err(|error| format!("{error:#}"))
}

fn outcome(result: &anyhow::Result<()>) -> String {
    result.as_ref().err().map_or_else(|| "done".into(), |error| format!("{error:#}"))
}
