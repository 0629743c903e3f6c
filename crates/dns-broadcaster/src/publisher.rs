//! The only writer: makes a request durable, then publishes what it answers.
//!
//! Queries read the snapshot and never wait for this. Order of one request: decide, commit and
//! flush, swap the snapshot, answer the caller. So what was told to the caller survives a crash,
//! and no query sees half a request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use switchback_kit::durable::Db;
use switchback_kit::world::time::unix_ms;

use arc_swap::ArcSwap;
use switchback_proto::dns::v1 as wire;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::core::apply::{self, Plan, Record, Verdict};
use crate::core::catalogue;
use crate::core::name::Name;
use crate::core::own::{self, Digest};
use crate::core::record::Value;
use crate::core::update::{self, Wish};
use crate::core::zone::{Policy, Snapshot, System, Tenant, Zone};
use crate::store::Store;
use crate::zone_file::ZoneFile;
use crate::{Error, convert};

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
    own: Own,
    /// What the system's zone in the snapshot was made of.
    shown: Option<Shown>,
}

/// See [`State::shown`].
struct Shown {
    system: System,
    tenants: BTreeMap<Name, Tenant>,
}

/// The operator's own records, as they were read last.
#[derive(Default)]
struct Own {
    /// In the system's zone.
    records: own::Records,
    digest: Digest,
    /// Zones by themselves.
    zones: BTreeMap<Name, Arc<Zone>>,
}

impl Publisher {
    /// Reads what is on record and the operator's zone files, and publishes them, the zones of links
    /// held back. Records whose names were published meanwhile are left out: a restart must not fail
    /// for them.
    ///
    /// # Errors
    /// The record or a zone file cannot be read.
    pub fn open(config: Config) -> Result<Self, Error> {
        let store = Store::open(&config.data_dir)?;
        let mut record = store.load()?;
        let files = read_all(&config.zone_files, &config.domain)?;
        let own = Own::of(files, &config.domain, None)?;
        if let Some(plan) = apply::with_own(&record, own.digest, own.zones.keys(), now_seconds()) {
            store.commit_blocking(&plan)?;
            record = plan.next;
        }
        let linked = record.tenants.values().filter(|tenant| !tenant.link.is_empty());
        let held: BTreeSet<_> = linked.map(|tenant| tenant.name.clone()).collect();
        tracing::info!(
            zones = record.tenants.len(),
            held = held.len(),
            generation = record.generation,
            "zones recovered"
        );
        let mut state = State { record, held, own, shown: None };
        state.log_left_out(&config.domain);
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

    /// The database, for the loops of other machines: for what they remember, if anything.
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
        let mut state = self.state.lock().await;
        let (desired, refused_zones) = convert::desired(request, self.config.ttl, state.own.digest)?;
        for zone in &refused_zones {
            tracing::warn!(zone = zone.name, reason = zone.reason, "zone cannot be served");
        }
        let plan = apply::decide(&state.record, desired, state.own.zones.keys(), now_seconds());
        if plan.verdict == Verdict::Applied {
            self.store.commit(&plan).await.inspect_err(|_| self.broken.cancel())?;
        }
        log(&plan);
        let stale_zones = plan.stale.iter().map(|stale| stale.name.to_string()).collect();
        let tenants_before = state.record.tenants.len();
        if state.take(plan) {
            if state.record.tenants.len() > tenants_before {
                state.log_left_out(&self.config.domain);
            }
            self.publish(&mut state);
        }
        Ok(wire::ApplyZonesResponse {
            current_generation: state.record.generation,
            stale_zones,
            refused_zones,
            overdue: Vec::new(),
        })
    }

    /// Reads the operator's zone files again, and publishes what they say. Run it to its end, as
    /// [`Publisher::apply`].
    ///
    /// # Errors
    /// A file cannot be read, or says what cannot be served; then all of them are as they were. Or the
    /// change cannot be made durable.
    pub async fn reload(&self) -> Result<wire::ReloadZoneFilesResponse, Error> {
        // Long files take seconds, for which no name that moves may wait.
        let (paths, domain) = (self.config.zone_files.clone(), self.config.domain.clone());
        let files = tokio::task::spawn_blocking(move || read_all(&paths, &domain)).await;
        let files = files.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let mut state = self.state.lock().await;
        let own = Own::of(files, &self.config.domain, Some(&state))?;
        if let Some(plan) = apply::with_own(&state.record, own.digest, own.zones.keys(), now_seconds()) {
            self.store.commit(&plan).await.inspect_err(|_| self.broken.cancel())?;
            state.record = plan.next;
        }
        state.own = own;
        self.publish(&mut state);
        let (records, zones) =
            (state.own.records.sets().map(|(_, set)| set.len()).sum::<usize>(), state.own.zones.len());
        tracing::info!(records, zones, "zone files read");
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(wire::ReloadZoneFilesResponse { records: count(records), zones: count(zones) })
    }

    /// Publishes the catalogue in this life of the system. Run it to its end, as [`Publisher::apply`].
    ///
    /// # Errors
    /// It would lack zones, or it cannot be made durable.
    pub async fn publish_catalogue(&self) -> Result<wire::PublishCatalogueResponse, Error> {
        let mut state = self.state.lock().await;
        let plan = apply::with_catalogue(&state.record, state.own.zones.keys(), now_seconds())?;
        if let Some(plan) = plan {
            self.store.commit(&plan).await.inspect_err(|_| self.broken.cancel())?;
            state.record = plan.next;
            self.publish(&mut state);
        }
        let catalogue = convert::catalogue(&state.record, state.own.zones.keys());
        tracing::info!(
            members = catalogue.as_ref().map(|catalogue| catalogue.members),
            "catalogue published"
        );
        Ok(wire::PublishCatalogueResponse { catalogue })
    }

    /// Everything on record.
    pub async fn list(&self) -> wire::ListZonesResponse {
        let state = self.state.lock().await;
        let catalogue = convert::catalogue(&state.record, state.own.zones.keys());
        convert::listing(&state.record, &state.held, catalogue)
    }

    /// Those that follow this link.
    pub async fn zones_of(&self, link: &str) -> BTreeSet<Name> {
        let state = self.state.lock().await;
        let tenants = state.record.tenants.values().filter(|tenant| tenant.link == link);
        tenants.map(|tenant| tenant.name.clone()).collect()
    }

    /// What is wished of the tenants within `zones`, which others master.
    pub(crate) async fn wishes(&self, zones: &BTreeSet<Name>) -> BTreeMap<Name, Wish> {
        let state = self.state.lock().await;
        update::wishes(&state.record, &state.held, zones)
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
            self.publish(&mut state);
        }
    }

    fn publish(&self, state: &mut State) {
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
    fn snapshot(&mut self, before: &Snapshot, policy: &Policy) -> Snapshot {
        let own = self.system_zone(before, policy);
        let record = &self.record;
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
        let catalogue = self.catalogue(before, policy);
        // What is published takes the place of a zone of that name.
        Snapshot::new(self.own.zones.values().map(Arc::clone).chain(own).chain(tenants).chain(catalogue))
    }

    fn catalogue(&self, before: &Snapshot, policy: &Policy) -> Option<Arc<Zone>> {
        let serial = self.record.catalogue()?.serial;
        let domain = &self.record.system.as_ref()?.domain;
        let same = before.zone(&catalogue::origin(domain)?).filter(|zone| zone.serial() == serial);
        if let Some(same) = same {
            return Some(Arc::clone(same));
        }
        let members = self.record.members(self.own.zones.keys());
        Some(following(Zone::of_catalogue(domain, serial, members, policy)?, before))
    }

    /// The system's zone: what is there already, or that with other tenants, or a new one.
    fn system_zone(&mut self, before: &Snapshot, policy: &Policy) -> Option<Arc<Zone>> {
        let Record { system: Some(system), system_serial: serial, tenants, .. } = &self.record else {
            return None;
        };
        let (serial, own) = (*serial, &self.own.records);
        let previous = before.zone(&system.domain);
        if let Some(same) = previous.filter(|zone| zone.serial() == serial) {
            return Some(Arc::clone(same));
        }
        let zone = match (previous, self.shown.take()) {
            (Some(previous), Some(shown)) if shown.system == *system => {
                previous.with_tenants(&shown.tenants, (system, serial), tenants, own, policy)
            }
            _ => Zone::of_system(system, serial, tenants, own, policy),
        };
        self.shown = Some(Shown { system: system.clone(), tenants: tenants.clone() });
        Some(following(zone, before))
    }

    fn log_left_out(&self, domain: &Name) {
        let left_out = self.own.records.left_out(domain, &self.record.tenants);
        let zones = self.own.zones.keys().filter_map(|zone| {
            let reason = own::zone_taken(zone, domain, &self.record.tenants)?;
            Some(own::Refusal::of_zone(zone, reason))
        });
        for refusal in left_out.chain(zones) {
            tracing::warn!(%refusal, "a record of a zone file is left out");
        }
    }
}

impl Own {
    /// What zone files say. Beside what is published `now`, if that is given, nothing in them may have to
    /// be left out, and no zone may change under one serial.
    fn of(files: Vec<ZoneFile>, domain: &Name, now: Option<&State>) -> Result<Self, Error> {
        let mut read = Self::default();
        let nobody = BTreeMap::new();
        let tenants = now.map_or(&nobody, |state| &state.record.tenants);
        for mut file in files {
            match file.zone() {
                None => {
                    own::judge(&file.nodes, domain, tenants).map_err(|refusal| file.refuse(&refusal))?;
                    read.records.add(domain, std::mem::take(&mut file.nodes));
                }
                Some(origin) => {
                    let nodes = std::mem::take(&mut file.nodes);
                    let zone = Zone::of_own(&origin, nodes).map_err(|refusal| file.refuse(&refusal))?;
                    let taken = own::zone_taken(&origin, domain, tenants)
                        .or_else(|| read.zones.contains_key(&origin).then_some(own::Reason::SecondZone));
                    let current = now.and_then(|state| state.own.zones.get(&origin));
                    let judged = match (taken, current) {
                        (Some(reason), _) => Err(own::Refusal::of_zone(&origin, reason)),
                        (None, Some(current)) => zone.judge_after(current),
                        (None, None) => Ok(()),
                    };
                    judged.map_err(|refusal| file.refuse(&refusal))?;
                    let zone = match current {
                        Some(current) => zone.after(current),
                        None => zone,
                    };
                    read.zones.insert(origin, Arc::new(zone));
                }
            }
        }
        read.digest = digest(&read.records);
        Ok(read)
    }
}

fn read_all(paths: &[PathBuf], domain: &Name) -> Result<Vec<ZoneFile>, Error> {
    paths.iter().map(|path| Ok(ZoneFile::read(path, domain)?)).collect()
}

/// SHA-256 of all that is said; zeros when nothing is.
fn digest(records: &own::Records) -> Digest {
    let mut context = None;
    for (owner, set) in records.sets() {
        let context = context.get_or_insert_with(|| ring::digest::Context::new(&ring::digest::SHA256));
        for value in set.values().map(Value::as_bytes) {
            context.update(&(owner.len() as u64).to_be_bytes());
            context.update(owner);
            context.update(&set.kind().0.to_be_bytes());
            context.update(&set.ttl().to_be_bytes());
            context.update(&(value.len() as u64).to_be_bytes());
            context.update(value);
        }
    }
    let mut digest = Digest::default();
    if let Some(context) = context {
        digest.copy_from_slice(context.finish().as_ref());
    }
    digest
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
