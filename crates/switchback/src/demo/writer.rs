//! Clients that write all the time: objects that are written once, objects that are rewritten again
//! and again, and some deletes. Each follows the tenant's name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Failure, Replaces, Seen, value};
use super::ledger::{Ledger, Write};
use crate::lab::layout::Lab;

/// Clients at once.
const CLIENTS: usize = 4;
/// Keys that each client rewrites.
pub const HOT_KEYS: usize = 8;
/// One write in so many is a delete.
const DELETE_EVERY: usize = 16;
/// Between two writes of one client: the machine has other things to show.
const PACE: Duration = Duration::from_millis(10);
/// After a failure.
const RETRY: Duration = Duration::from_millis(25);
/// Shortest and longest object.
const BYTES: std::ops::Range<usize> = 200..6_000;

/// The clients. They write until [`Writers::stop`].
pub struct Writers {
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Writers {
    /// Starts them. `run` makes their keys differ from those of other writers.
    ///
    /// # Errors
    /// The lab has no tenant.
    pub fn start(lab: &Lab, ledger: &Ledger, run: &str) -> anyhow::Result<Self> {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for number in 0..CLIENTS {
            let client = Client::follow(lab)?;
            let mut writer = Writer::new(client, lab, ledger.clone(), &format!("{run}/{number}"));
            let stop = stop.clone();
            tasks.spawn(async move {
                while !stop.is_cancelled() {
                    let pause = if writer.next().await { PACE } else { RETRY };
                    tokio::time::sleep(pause).await;
                }
                Ok(())
            });
        }
        Ok(Self { tasks, stop })
    }

    /// Lets each finish its write, and ends them.
    ///
    /// # Errors
    /// One panicked.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a client panicked")??;
        }
        Ok(())
    }
}

/// One client and what it knows of its keys.
pub struct Writer {
    client: Client,
    systems: BTreeMap<std::net::IpAddr, String>,
    ledger: Ledger,
    prefix: String,
    count: usize,
    /// What its keys hold on the system it is connected to.
    known: BTreeMap<String, Option<Seen>>,
    connected: Option<SocketAddr>,
}

impl Writer {
    /// A writer whose keys are below `live/PREFIX/`.
    #[must_use]
    pub fn new(client: Client, lab: &Lab, ledger: Ledger, prefix: &str) -> Self {
        let systems =
            lab.systems.iter().map(|(name, system)| (system.address.into(), name.clone())).collect();
        let (known, connected) = (BTreeMap::new(), None);
        Self { client, systems, ledger, prefix: prefix.into(), count: 0, known, connected }
    }

    /// Makes the next write; false when it was not acknowledged.
    async fn next(&mut self) -> bool {
        self.count += 1;
        let (count, prefix) = (self.count, &self.prefix);
        if count % DELETE_EVERY == 0 {
            let key = format!("live/{prefix}/deleted-{}", count / DELETE_EVERY % HOT_KEYS);
            let present = self.known.get(&key).is_some_and(Option::is_some);
            self.write(key, present).await
        } else if count % 2 == 0 {
            let key = format!("live/{prefix}/hot-{}", count / 2 % HOT_KEYS);
            self.write(key, false).await
        } else {
            let key = format!("live/{prefix}/once-{count}");
            self.write(key, false).await
        }
    }

    /// Writes or deletes one object where the name leads, and records what it replaced.
    pub async fn write(&mut self, key: String, delete: bool) -> bool {
        match self.attempt(&key, delete).await {
            Ok(()) => true,
            Err(failure) => {
                if let Failure::InDoubt(reason) | Failure::NotDone(reason) = &failure {
                    tracing::debug!(key, reason, "write not acknowledged");
                }
                // What is there now must be read again.
                self.known.remove(&key);
                false
            }
        }
    }

    async fn attempt(&mut self, key: &str, delete: bool) -> Result<(), Failure> {
        let address = self.client.connect().await?;
        if self.connected != Some(address) {
            // Another system: what we know of the first says nothing about it.
            self.known.clear();
            self.connected = Some(address);
        }
        let before = match self.known.get(key) {
            Some(before) => before.clone(),
            None => self.client.get(key).await?,
        };
        let body = if delete { Bytes::new() } else { self.body(key) };
        let written = if delete {
            self.client.delete(key).await.map(|()| None)
        } else {
            let replaces = before.as_ref().map_or(Replaces::Nothing, |seen| Replaces::This(&seen.etag));
            let put = self.client.put(key, body.clone(), replaces).await;
            put.map(|etag| Some(Seen { value: value(&body), etag }))
        };
        let acknowledged = written.is_ok();
        if acknowledged || matches!(written, Err(Failure::InDoubt(_))) {
            self.ledger.record(Write {
                key: key.into(),
                value: (!delete).then(|| value(&body)),
                replaced: before.map(|seen| seen.value),
                acknowledged,
                at: Instant::now(),
                bytes: body.len() as u64,
                system: self.systems.get(&address.ip()).cloned().unwrap_or_default(),
            });
        }
        let after = written?;
        self.known.insert(key.into(), after);
        Ok(())
    }

    /// Bytes that no other write has: the key, the count and the time in their first line.
    fn body(&self, key: &str) -> Bytes {
        let now = Instant::now();
        let line = format!("{key} {} {now:?}\n", self.count);
        // Sizes come out of the line's own hash: varied, and without a generator.
        let hash = value(line.as_bytes());
        let spread = usize::from(u16::from_be_bytes([hash[0], hash[1]]));
        let length = BYTES.start + spread % (BYTES.end - BYTES.start);
        Bytes::from(line.bytes().cycle().take(length.max(line.len())).collect::<Vec<u8>>())
    }
}
