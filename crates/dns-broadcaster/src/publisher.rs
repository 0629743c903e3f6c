//! The only writer: makes a request durable, then publishes what it answers.
//!
//! Queries read the snapshot and never wait for this. Order of one request: decide, serve what may be
//! served at once (where the names of links lead, which is on record with the link
//! manager), commit and flush, serve the rest, answer the caller. So what was told to the caller
//! survives a crash, no query sees half a zone, and names do not wait for the disk when they move.

mod next;
mod received;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use switchback_kit::durable::Db;
use switchback_kit::world::time::unix_ms;

use arc_swap::ArcSwap;
use switchback_proto::dns::v1 as wire;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Dnssec};
use crate::core::apply::{self, Plan, Record, Verdict};
use crate::core::dnssec::renewal::Renewals;
use crate::core::dnssec::roll::{self, Stage};
use crate::core::dnssec::{Lifetime, Times};
use crate::core::heard::Heard;
use crate::core::name::Name;
use crate::core::own::{Refusal, zone_taken};
use crate::core::receive::{Seen, Taken};
use crate::core::secondary;
use crate::core::table;
use crate::core::update::Said;
use crate::core::zone::{Serial, Snapshot, Zone};
use crate::edition::{Rules, Shown, Sources};
use crate::own::{self, Beside, Own};
use crate::signer::{Kept, KeyPair, Keyring};
use crate::store::{Received, Store};
use crate::{Error, convert};

/// See the module. Shared by the calls of one server.
pub struct Publisher {
    config: Config,
    /// Of tables whose names others may choose.
    key: table::Key,
    store: Store,
    /// What is answered: what this system publishes, and copies of others' zones beside it.
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// What this system publishes.
    own: Arc<ArcSwap<Snapshot>>,
    state: Mutex<State>,
    /// Copies that are to be served, or no more, and are not yet.
    copies_due: std::sync::Mutex<Vec<(Name, Option<Arc<Zone>>)>>,
    /// What names lead to by what is answered.
    said: ArcSwap<Said>,
    /// Counts the editions of what this system publishes.
    published: watch::Sender<u64>,
    /// Cancelled when state could not be made durable: the process must end.
    broken: CancellationToken,
}

/// The zones that follow one link.
pub struct LinkZones {
    /// Their names.
    pub names: BTreeSet<Name>,
    /// As of which epoch of the link all of them are published; `None` when there are none.
    pub epoch: Option<u64>,
}

struct State {
    record: Record,
    /// What the caller has said since the start.
    heard: Heard,
    /// Zones of links that nobody has confirmed since the start.
    held: BTreeSet<Name>,
    own: Own,
    /// What updates brought of that.
    taken: Taken,
    /// Which of them were carried out.
    seen: Seen,
    renewals: Renewals,
    shown: Option<Arc<Shown>>,
    /// `None`: zones are not signed.
    keyring: Option<Keyring>,
    /// Zones of others.
    copies: BTreeMap<Name, Arc<Zone>>,
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
        let key = table_key();
        let files = own::read_all(&config.zone_files, &config.domain, key)?;
        let (taken, numbers) = (store.taken()?, store.numbers()?);
        let beside = Beside { domain: &config.domain, key, taken: &taken, numbers: &numbers, now: None };
        let (own, renumbered) = Own::of(files, beside)?;
        let keyring = config.dnssec.map(|dnssec| keyring(&store, dnssec)).transpose()?;
        let plan = apply::with_own(&record, own.digest, own.zones.keys(), now_seconds());
        let plan = plan.unwrap_or_else(|| Plan::nothing(&record));
        record = plan.next.clone();
        let linked = record.tenants.values().filter(|tenant| !tenant.link.is_empty());
        let held: BTreeSet<_> = linked.map(|tenant| tenant.name.clone()).collect();
        tracing::info!(
            zones = record.tenants.len(),
            held = held.len(),
            generation = record.generation,
            "zones recovered"
        );
        let seen = store.seen(unix_ms() / 1000)?;
        let (renewals, copies) = (store.renewals()?, BTreeMap::new());
        let mut state = State {
            record,
            heard: Heard::default(),
            held,
            own,
            taken,
            seen,
            renewals,
            shown: None,
            keyring,
            copies,
        };
        state.log_left_out(&config.domain);
        state.log_taken_left_out(&config.domain);
        let rules = rules(&config, state.keyring.as_ref(), true);
        let edition = state.sources().edition(&Snapshot::default(), rules)?;
        let received = Received { renumbered, ..Received::default() };
        if plan.verdict == Verdict::Applied || !edition.renewed.is_empty() || !received.is_empty() {
            store.commit_blocking(&plan, &edition.renewed, &received)?;
        }
        state.renewals.take(edition.renewed);
        state.shown = edition.shown;
        let said = Said { record: state.record.clone(), held: state.held.clone() };
        let own = edition.snapshot;
        let snapshot = Arc::new(ArcSwap::new(Arc::clone(&own)));
        Ok(Self {
            config,
            key,
            store,
            snapshot,
            own: Arc::new(ArcSwap::new(own)),
            state: Mutex::new(state),
            copies_due: std::sync::Mutex::default(),
            said: ArcSwap::from_pointee(said),
            published: watch::Sender::new(0),
            broken: CancellationToken::new(),
        })
    }

    /// Where queries read.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// What this system publishes: for those that follow it.
    #[must_use]
    pub fn published_snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.own)
    }

    /// Has this copy served with the next call of [`Publisher::serve_copies`], or none of that name. Of
    /// two of one name the later one counts.
    pub(crate) fn put_copy(&self, name: Name, zone: Option<Arc<Zone>>) {
        self.copies_due.lock().unwrap_or_else(PoisonError::into_inner).push((name, zone));
    }

    /// Answers from the copies as they were put. What this system publishes itself always wins.
    pub(crate) async fn serve_copies(&self) {
        let mut state = self.state.lock().await;
        // Who waited for the same lock may have had them served with its own.
        let due = std::mem::take(&mut *self.copies_due.lock().unwrap_or_else(PoisonError::into_inner));
        if due.is_empty() {
            return;
        }
        for (name, zone) in due {
            match zone {
                Some(zone) => state.copies.insert(name, zone),
                None => state.copies.remove(&name),
            };
        }
        self.show(&state.record, &state.copies);
    }

    /// Wakes whenever this system publishes something else, and says how often it has.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<u64> {
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
        let desired = convert::desired(request, self.config.ttl, state.own.digest)?;
        for (zone, reason) in &desired.refused {
            tracing::warn!(zone, reason, "zone cannot be served");
        }
        let plan = apply::decide(&state.record, &state.heard, desired, state.own.zones.keys(), now_seconds());
        log(&plan);
        let incomplete = plan.verdict == Verdict::Incomplete;
        let tenants_before = state.record.tenants.len();
        let held = state.held_after(&plan);
        if plan.verdict == Verdict::Applied || held.len() != state.held.len() {
            self.publish(&mut state, plan, held).await?;
            if state.record.tenants.len() > tenants_before && !state.own.is_empty() {
                state.log_left_out(&self.config.domain);
            }
        } else {
            state.take(plan);
        }
        let (stale_zones, refused_zones) =
            if incomplete { Default::default() } else { convert::not_taken(&state.heard) };
        let keys = state.keyring.as_ref().map(Keyring::public).unwrap_or_default();
        Ok(wire::ApplyZonesResponse {
            current_generation: state.record.generation,
            stale_zones,
            refused_zones,
            overdue: Vec::new(),
            dnskeys: keys.iter().map(|key| key.rdata().into()).collect(),
            incomplete,
            heard: if state.heard.run.is_empty() { 0 } else { state.heard.generation },
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
        let key = self.key;
        let files = tokio::task::spawn_blocking(move || own::read_all(&paths, &domain, key)).await;
        let files = files.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let mut state = self.state.lock().await;
        let (own, renumbered) = Own::of(files, state.beside(&self.config.domain, key))?;
        let plan = apply::with_own(&state.record, own.digest, own.zones.keys(), now_seconds());
        let plan = plan.unwrap_or_else(|| Plan::nothing(&state.record));
        self.publish_own(&mut state, own, plan, Received { renumbered, ..Received::default() }).await?;
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
            let held = state.held.clone();
            self.publish(&mut state, plan, held).await?;
        }
        let catalogue = convert::catalogue(&state.record, state.own.zones.keys());
        tracing::info!(
            members = catalogue.as_ref().map(|catalogue| catalogue.members),
            "catalogue published"
        );
        Ok(wire::PublishCatalogueResponse { catalogue })
    }

    /// The newest serial of these zones, on record or as they are served; none when none of them is here.
    pub async fn newest_serial(&self, names: &[Name]) -> Option<Serial> {
        let state = self.state.lock().await;
        let snapshot = self.snapshot.load();
        let given = names.iter().filter_map(|name| Some(state.record.tenants.get(name)?.serial));
        let served = names.iter().filter_map(|name| Some(snapshot.zone(name)?.serial()));
        given.chain(served).reduce(|one, other| if other.is_newer_than(one) { other } else { one })
    }

    /// Everything on record.
    pub async fn list(&self) -> wire::ListZonesResponse {
        let state = self.state.lock().await;
        let catalogue = convert::catalogue(&state.record, state.own.zones.keys());
        convert::listing(&state.record, &state.held, catalogue)
    }

    /// The keys of this system, and what the zones above its own have to say of them.
    pub async fn keys(&self) -> wire::ListKeysResponse {
        self.state.lock().await.keys()
    }

    /// Takes the next step of a roll of the key. Run it to its end, as [`Publisher::apply`].
    ///
    /// # Errors
    /// Zones are not signed, or it is too early and not wanted at once; or as [`Publisher::apply`].
    pub async fn roll(&self, at_once: bool) -> Result<wire::RollKeyResponse, Error> {
        let mut state = self.state.lock().await;
        let (Some(keyring), Some(dnssec)) = (&state.keyring, self.config.dnssec) else {
            return Err(Error::NotSigned);
        };
        let now = unix_ms() / 1000;
        let wait = if at_once { 0 } else { self.rules(&state).times.margin().into() };
        let step = roll::next(keyring.keys().map(|kept| (kept.stage, kept.since)), now, wait)?;
        let next = keyring.after(step, dnssec.algorithm, now)?;
        self.store.put_keys(&next, keyring).await.inspect_err(|_| self.broken.cancel())?;
        tracing::info!(?step, keys = ?next, "a step of the roll of the key");
        state.keyring = Some(next);
        // The disk is ahead now: what cannot be published is published after a start.
        self.publish_all(&mut state).await.inspect_err(|_| self.broken.cancel())?;
        Ok(wire::RollKeyResponse { keys: Some(state.keys()) })
    }

    /// Those that follow this link.
    pub async fn zones_of(&self, link: &str) -> LinkZones {
        let state = self.state.lock().await;
        let tenants = || state.record.tenants.values().filter(|tenant| tenant.link == link);
        let epochs = tenants().filter_map(|tenant| Some(tenant.content.place?.epoch));
        LinkZones { epoch: epochs.min(), names: tenants().map(|tenant| tenant.name.clone()).collect() }
    }

    /// What names lead to by what is answered: for those that put them elsewhere.
    pub(crate) fn said(&self) -> Arc<Said> {
        self.said.load_full()
    }

    /// How long the zones of links are held back after a start.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.config.hold
    }

    /// Answers what is still held, once the hold has passed. By then nobody has said that it is
    /// wrong, and a name that answers on neither side helps nobody.
    ///
    /// # Errors
    /// As [`Publisher::apply`].
    pub async fn release(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        if !state.held.is_empty() {
            let zones = state.held.len();
            tracing::warn!(zones, "zones answered from disk: nobody confirmed them since the start");
            let plan = Plan::nothing(&state.record);
            self.publish(&mut state, plan, BTreeSet::new()).await?;
        }
        Ok(())
    }

    /// Signs again what is due, now and whenever it is, as long as this is polled; for ever when zones
    /// are not signed.
    ///
    /// # Errors
    /// As [`Publisher::apply`].
    pub async fn renew(&self) -> Result<(), Error> {
        let mut published = self.published();
        loop {
            let due = {
                let state = self.state.lock().await;
                let due = state.renewals.due_in(self.rules(&state).times);
                due.filter(|_| state.keyring.is_some())
            };
            // New zones are due later than those that are there, but for the first.
            let Some(due) = due else {
                _ = published.changed().await;
                continue;
            };
            tokio::time::sleep(Duration::from_secs(due.into()).clamp(RENEWAL_PAUSE, RENEWAL_PAUSE_MAX)).await;
            let mut state = self.state.lock().await;
            if state.renewals.due_in(self.rules(&state).times) == Some(0) {
                let (plan, held) = (Plan::nothing(&state.record), state.held.clone());
                self.publish(&mut state, plan, held).await?;
            }
        }
    }

    fn rules<'a>(&'a self, state: &'a State) -> Rules<'a> {
        rules(&self.config, state.keyring.as_ref(), false)
    }

    /// Of tables whose names others may choose.
    pub(crate) fn key(&self) -> table::Key {
        self.key
    }

    /// The folder of state.
    pub(crate) fn folder(&self) -> &Path {
        &self.config.data_dir
    }

    /// Answers what is published, and copies beside it.
    fn show(&self, record: &Record, copies: &BTreeMap<Name, Arc<Zone>>) {
        let linked = record.tenants.values().filter(|tenant| !tenant.link.is_empty());
        let linked = linked.map(|tenant| &tenant.name);
        self.snapshot.store(secondary::served(&self.own.load_full(), linked, copies));
    }

    /// The same of where names lead, for those that put them elsewhere; to be called before what is made of it
    /// is served.
    fn say(&self, record: &Record, held: &BTreeSet<Name>) {
        self.said.store(Arc::new(Said { record: record.clone(), held: held.clone() }));
    }

    /// Answers from `own`, and has it taken by those that follow. `record` is what it is made of.
    fn serve(&self, own: Arc<Snapshot>, record: &Record, copies: &BTreeMap<Name, Arc<Zone>>) {
        self.own.store(own);
        self.show(record, copies);
        self.published.send_modify(|editions| *editions += 1);
    }
}

/// So long at least between two renewals.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);
/// So long at most: clocks are set.
const RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(3600);

fn rules<'a>(config: &'a Config, keyring: Option<&'a Keyring>, is_start: bool) -> Rules<'a> {
    let expire = config.policy.expire;
    let lifetime = config.dnssec.map_or_else(|| Lifetime::of_expire(expire), |dnssec| dnssec.lifetime);
    let denial = config.dnssec.map(|dnssec| dnssec.denial).unwrap_or_default();
    Rules { policy: &config.policy, keyring, denial, times: Times::at(now_seconds(), lifetime), is_start }
}

/// One that nobody knows, and which is another one in each run.
fn table_key() -> table::Key {
    let random = RandomState::new();
    table::Key::new(random.hash_one(0), random.hash_one(1))
}

/// The keys on record, or the first one, which is made.
fn keyring(store: &Store, dnssec: Dnssec) -> Result<Keyring, Error> {
    if let Some(keyring) = Keyring::of(store.keys()?) {
        return Ok(keyring);
    }
    let pair = Arc::new(KeyPair::generate(dnssec.algorithm)?);
    tracing::info!(key = ?pair, "made the key that zones are signed with");
    let kept = Kept { pair, stage: Stage::Active, since: unix_ms() / 1000 };
    let keyring = Keyring::new(kept, Vec::new());
    store.put_keys_blocking(&keyring)?;
    Ok(keyring)
}

impl State {
    /// Takes a plan over that is carried out.
    fn take(&mut self, plan: Plan) {
        self.record = plan.next;
        self.heard = plan.heard.unwrap_or_else(|| std::mem::take(&mut self.heard));
    }

    /// Zones that are still held once the plan is carried out.
    fn held_after(&self, plan: &Plan) -> BTreeSet<Name> {
        let is_held = |name: &&Name| plan.next.tenants.contains_key(*name) && !plan.confirmed.contains(*name);
        self.held.iter().filter(is_held).cloned().collect()
    }

    /// Its keys, and what the zones above its own have to say of them.
    fn keys(&self) -> wire::ListKeysResponse {
        let keyring = self.keyring.as_ref();
        let zones = keyring.map(|keyring| self.sources().secure_zones(keyring)).unwrap_or_default();
        convert::key_listing(keyring, zones.iter().map(|(name, keys)| (name, keys.clone())))
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            record: &self.record,
            held: &self.held,
            own_records: &self.own.records,
            own_zones: &self.own.zones,
            renewals: &self.renewals,
            shown: self.shown.as_ref(),
        }
    }

    fn log_left_out(&self, domain: &Name) {
        let left_out = self.own.records.left_out(domain, &self.record.tenants);
        let zones = self.own.zones.keys().filter_map(|zone| {
            let reason = zone_taken(zone, domain, &self.record.tenants)?;
            Some(Refusal::of_zone(zone, reason))
        });
        for refusal in left_out.chain(zones) {
            tracing::warn!(%refusal, "a record of the operator's is left out");
        }
    }
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
        Verdict::Incomplete => {
            tracing::debug!(
                generation,
                "request ignored: it says what is different from one that was not heard"
            )
        }
    }
}

fn now_seconds() -> u32 {
    // Serials live on a circle of 32 bits; after 2106 the clock goes round with them.
    ((unix_ms() / 1000) & u64::from(u32::MAX)) as u32
}
