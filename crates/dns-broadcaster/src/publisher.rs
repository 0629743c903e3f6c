//! The only writer: makes a request durable, then publishes what it answers.
//!
//! Queries read the snapshot and never wait for this. Order of one request: decide, commit and
//! flush, swap the snapshot, answer the caller. So what was told to the caller survives a crash,
//! and no query sees half a request.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use switchback_kit::durable::Db;
use switchback_kit::world::time::unix_ms;

use arc_swap::ArcSwap;
use switchback_proto::dns::v1 as wire;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::config::Config;
use crate::convert;
use crate::core::apply::{self, Plan, Record, Verdict};
use crate::core::name::Name;
use crate::core::zone::{Policy, Snapshot, Zone};
use crate::store::Store;

/// See the module. Shared by the calls of one server.
pub struct Publisher {
    config: Config,
    store: Store,
    snapshot: Arc<ArcSwap<Snapshot>>,
    state: Mutex<State>,
    /// Says that the snapshot is another one.
    published: watch::Sender<()>,
    /// Cancelled when state could not be made durable: the process must end.
    broken: CancellationToken,
}

struct State {
    record: Record,
    /// Zones of links that nobody has confirmed since the start.
    held: BTreeSet<Name>,
}

impl Publisher {
    /// Reads what is on record and publishes it, the zones of links held back.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn open(config: Config) -> Result<Self, Error> {
        let store = Store::open(&config.data_dir)?;
        let record = store.load()?;
        let linked = record.tenants.values().filter(|tenant| !tenant.link.is_empty());
        let held: BTreeSet<_> = linked.map(|tenant| tenant.name.clone()).collect();
        tracing::info!(
            zones = record.tenants.len(),
            held = held.len(),
            generation = record.generation,
            "zones recovered"
        );
        let state = State { record, held };
        let snapshot = state.snapshot(&Snapshot::default(), &config.policy);
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let broken = CancellationToken::new();
        let published = watch::Sender::new(());
        Ok(Self { config, store, snapshot, state: Mutex::new(state), published, broken })
    }

    /// Where queries read.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Wakes whenever the snapshot is another one.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// The database, for the loop of a machine that remembers nothing.
    pub(crate) fn db(&self) -> Db {
        self.store.db()
    }

    /// Ends when state could not be made durable.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Replaces what is desired. Run it to its end: a caller that goes away must not leave the
    /// disk ahead of the snapshot.
    ///
    /// # Errors
    /// The request is malformed, or cannot be made durable.
    pub async fn apply(&self, request: wire::ApplyZonesRequest) -> Result<wire::ApplyZonesResponse, Error> {
        let (desired, refused_zones) = convert::desired(request, self.config.ttl)?;
        for zone in &refused_zones {
            tracing::warn!(zone = zone.name, reason = zone.reason, "zone cannot be served");
        }
        let mut state = self.state.lock().await;
        let plan = apply::decide(&state.record, desired, now_seconds());
        if plan.verdict == Verdict::Applied {
            self.store.commit(&plan).await.inspect_err(|_| self.broken.cancel())?;
        }
        log(&plan);
        let stale_zones = plan.stale.iter().map(|stale| stale.name.to_string()).collect();
        if state.take(plan) {
            self.publish(&state);
        }
        Ok(wire::ApplyZonesResponse {
            current_generation: state.record.generation,
            stale_zones,
            refused_zones,
        })
    }

    /// Everything on record.
    pub async fn list(&self) -> wire::ListZonesResponse {
        let state = self.state.lock().await;
        convert::listing(&state.record, &state.held)
    }

    /// How long the zones of links are held back after a start.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.config.hold
    }

    /// Answers what is still held, once the hold has passed. By then nobody has said that it is
    /// wrong, and a name that answers on neither side helps nobody.
    pub async fn release(&self) {
        let mut state = self.state.lock().await;
        if !state.held.is_empty() {
            let zones = state.held.len();
            tracing::warn!(zones, "zones answered from disk: nobody confirmed them since the start");
            state.held.clear();
            self.publish(&state);
        }
    }

    fn publish(&self, state: &State) {
        let next = state.snapshot(&self.snapshot.load(), &self.config.policy);
        self.snapshot.store(Arc::new(next));
        self.published.send_replace(());
    }
}

impl State {
    /// True when what is answered may have changed.
    fn take(&mut self, plan: Plan) -> bool {
        let held_before = self.held.len();
        self.held.retain(|name| plan.next.tenants.contains_key(name) && !plan.confirmed.contains(name));
        self.record = plan.next;
        plan.verdict == Verdict::Applied || self.held.len() != held_before
    }

    /// What is answered now. A zone that is under the same serial as in `before` says the same, and
    /// is taken from there.
    fn snapshot(&self, before: &Snapshot, policy: &Policy) -> Snapshot {
        let record = &self.record;
        let own = record.system.iter().map(|system| {
            let same = before.zone(&system.domain).filter(|zone| zone.serial() == record.system_serial);
            same.map_or_else(
                || {
                    let tenants = record.tenants.values();
                    following(Zone::of_system(system, record.system_serial, tenants, policy), before)
                },
                Arc::clone,
            )
        });
        let domain = record.system.as_ref().map(|system| &system.domain);
        let tenants = record.tenants.values().map(|tenant| {
            let held = self.held.contains(&tenant.name);
            let transferable = tenant.is_transferable(domain);
            let same = before.zone(&tenant.name).filter(|zone| {
                (zone.serial(), zone.is_held(), zone.is_transferable()) == (tenant.serial, held, transferable)
            });
            same.map_or_else(
                || following(Zone::of_tenant(tenant, held, transferable, policy), before),
                Arc::clone,
            )
        });
        Snapshot::new(own.chain(tenants))
    }
}

/// `zone` with the history of the one whose place it takes.
fn following(zone: Zone, before: &Snapshot) -> Arc<Zone> {
    let previous = before.zone(zone.origin()).map(AsRef::as_ref);
    Arc::new(match previous {
        Some(previous) => zone.after(previous),
        None => zone,
    })
}

fn log(plan: &Plan) {
    for stale in &plan.stale {
        tracing::warn!(
            zone = %stale.name,
            on_record = stale.on_record.0,
            offered = stale.offered.0,
            "zone not taken: what is on record has a newer serial, or the same with other content"
        );
    }
    let generation = plan.next.generation;
    match plan.verdict {
        Verdict::Applied => {
            let (changed, removed) = (plan.puts.len(), plan.removals.len());
            tracing::info!(generation, changed, removed, zones = plan.next.tenants.len(), "zones published");
        }
        Verdict::AlreadyThere => tracing::debug!(generation, "zones are as desired"),
        Verdict::Superseded => {
            tracing::warn!(generation, "request ignored: a later one was applied before it")
        }
    }
}

fn now_seconds() -> u32 {
    // Serials live on a circle of 32 bits; after 2106 the clock goes round with them.
    ((unix_ms() / 1000) & u64::from(u32::MAX)) as u32
}
