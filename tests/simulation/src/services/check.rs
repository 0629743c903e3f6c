//! What must be true at the end: what the systems hold, where their names lead, what clients read.

use std::time::Duration;

use http::StatusCode;
use rusty_s3::Credentials;

use crate::check;
use crate::services::client::{Answer, Connection};
use crate::services::story::Story;
use crate::site::System;
use crate::watch::{self, Contents, Kind};

/// A client tries again so often, with this between two tries.
const TRIES: u32 = 20;
const RETRY: Duration = Duration::from_secs(1);

/// Compares everything once the link is healthy.
pub async fn check(story: &Story) {
    let of = |system| Contents::of(&story.disks.read(&story.folder(system), Kind::Catalogue));
    let (east, west) = (of(System::East), of(System::West));
    check::compare(&story.record, &story.watch, &east, &west);
    names_lead_to_the_primary(story).await;
    for system in System::ALL {
        if let Err(error) = readable(story, system, &east).await {
            story.record.violation(&format!("{system} cannot be read: {error:#}"));
        }
    }
}

/// DNS follows authority: in both systems the link's names lead to the primary again.
async fn names_lead_to_the_primary(story: &Story) {
    let mut stray = Vec::new();
    for _ in 0..TRIES {
        let zones = System::ALL.into_iter().flat_map(|system| {
            let rows = story.disks.read(&story.folder(system), Kind::Zones);
            watch::zones(&rows).into_iter().map(move |zone| (system, zone))
        });
        stray = check::stray(zones);
        if stray.is_empty() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
    story.record.violation(&format!("names lead elsewhere: {stray:?}"));
}

/// What the catalogue holds is what a client reads.
async fn readable(story: &Story, system: System, contents: &Contents) -> anyhow::Result<()> {
    let credentials =
        story.credentials.borrow().clone().unwrap_or_else(|| unreachable!("made in the set-up"));
    let mut connection = None;
    for (key, held) in &contents.objects {
        let answer = read(system, &credentials, &mut connection, key).await?;
        let expected = if held.etag.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
        if answer.status != expected || (expected == StatusCode::OK && answer.etag != held.etag) {
            let text =
                format!("{system} shows {key} as {} {}, and holds {held:?}", answer.status, answer.etag);
            story.record.violation(&text);
        }
    }
    Ok(())
}

/// Reads as a client does who tries again: a gateway that was cut off from its services finds them.
async fn read(
    system: System,
    credentials: &Credentials,
    connection: &mut Option<Connection>,
    key: &str,
) -> anyhow::Result<Answer> {
    let mut last = anyhow::anyhow!("never tried");
    for _ in 0..TRIES {
        let answer = async {
            let open = match connection.take() {
                Some(open) => open,
                None => Connection::open(system, credentials).await?,
            };
            connection.insert(open).get(key).await
        };
        match answer.await {
            Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE => return Ok(answer),
            Ok(answer) => last = anyhow::anyhow!("{}", answer.status),
            Err(error) => last = error,
        }
        *connection = None;
        tokio::time::sleep(RETRY).await;
    }
    Err(last)
}
