//! Objects expire by the rules of their namespaces: passes over those that have rules, as `store`'s module
//! `lifecycle` says what is due and checks each again in the commit.
//!
//! - **Where**: on the side that writes, and nowhere else: the commit refuses on the other. What is deleted
//!   replicates as any delete. After a failover the other side goes on by the same rules, from the start:
//!   how far a pass came is not replicated, and what was deleted is not there to be found.
//! - **Not by a primary that stands alone**: without contact it may have been failed over without having heard
//!   of it. What it deleted then could win over what clients wrote on the other side. It waits for contact, and
//!   says so. A replica that was failed over to is the one that clients write to, and goes on.
//! - **Not by a clock that may be wrong**: see [`clock`].
//! - **When**: at multiples of the interval since 1970, which for a day is midnight UTC, when objects come due;
//!   and within a minute after rules were changed. A side that takes over for the first time begins at once.
//! - **How**: one namespace after the other, page by page, at a named rate. Where a pass is, is noted now and
//!   then, so that a restart goes on there; a page that is done twice finds less the second time.

mod clock;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use switchback_kit::world::aside;
use switchback_kit::world::time::unix_ms;
use switchback_model::{AccessMode, ContentId, LinkId, Side};
use switchback_proto::mover::record::v1::LifecyclePass;
use switchback_store::{
    Acted, Catalogue, Error as StoreError, LIFECYCLE, Lifecycle, LifecyclePage, LifecyclePlace,
    LifecycleRequest,
};
use tokio::time::Instant;

use self::clock::Watch;
use crate::mover::Mover;

/// Whether there is something to do is looked at this often, or as often as passes are made: it costs what
/// there are namespaces.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Versions that a page looks at.
const LOOKED_MAX: usize = 1000;

/// Versions that are looked at in a second, at most: about a tenth of what one core reads.
const LOOKED_PER_SECOND: u32 = 20_000;

/// What is deleted in a second, at most: clients' commits wait behind little of it, and the flow to the other
/// side carries many times as much.
const DELETED_PER_SECOND: u32 = 1_000;

/// How often it is noted how far a pass has come, and that the clock is believed.
const NOTE_INTERVAL: Duration = Duration::from_secs(10);
const NOTE_CLOCK_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// A namespace with rules.
#[derive(Clone, Debug)]
struct Namespace {
    content: ContentId,
    name: String,
    /// The link and our side of it.
    link: Option<(LinkId, Side)>,
    /// As the namespace keeps them.
    setting: String,
    /// Its content is writable here.
    is_writable: bool,
}

/// Why a pass stopped before its end.
enum Stopped {
    /// Its rules were changed, or the content is not writable any more.
    Overtaken,
    /// The clock is doubted, or contact was lost.
    Waiting,
    Failed(StoreError),
    /// What is noted cannot be made durable.
    Unnoted(switchback_kit::durable::Error),
}

/// Expires objects until the service stops.
pub(crate) async fn run(mover: Arc<Mover>, interval: Duration) {
    let shutdown = mover.shutdown.clone();
    let expiring = async {
        let mut runner = match Runner::new(mover, interval) {
            Ok(runner) => runner,
            Err(error) => {
                tracing::error!(%error, "what is known of passes cannot be read; nothing expires until a restart");
                return;
            }
        };
        let mut timer = tokio::time::interval(LOOK_INTERVAL.min(interval));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            runner.round().await;
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = expiring => {}
    }
}

struct Runner {
    mover: Arc<Mover>,
    interval: Duration,
    /// How often it is noted how far a pass has come.
    note_interval: Duration,
    clock: Watch,
    /// The zero of the steady clock.
    began: Instant,
    /// When it was last noted that the clock is believed.
    clock_noted: Option<Instant>,
    passes: BTreeMap<(ContentId, String), LifecyclePass>,
    /// What the operator was last told of, so that he is told once.
    waits: BTreeSet<String>,
}

impl Runner {
    fn new(mover: Arc<Mover>, interval: Duration) -> Result<Self, switchback_kit::durable::Error> {
        let noted = mover.memory.believed_unix_ms()?;
        let written = Some(mover.catalogue.began().unix_ms()).filter(|unix_ms| *unix_ms > 0);
        let passes = mover.memory.passes()?;
        Ok(Self {
            clock: Watch::new(noted.max(written), Duration::ZERO),
            began: Instant::now(),
            clock_noted: None,
            passes: passes.into_iter().map(|(content, name, pass)| ((content, name), pass)).collect(),
            waits: BTreeSet::new(),
            mover,
            interval,
            note_interval: NOTE_INTERVAL,
        })
    }

    /// Does what is to be done now.
    async fn round(&mut self) {
        // Also when there is nothing to do: a jump is told from a pause by looking often.
        let doubted = self.doubted();
        let catalogue = self.mover.catalogue.clone();
        let namespaces = match aside(move || namespaces(&catalogue)).await {
            Ok(Ok(namespaces)) => namespaces,
            Ok(Err(error)) => {
                tracing::warn!(%error, "namespaces with lifecycle rules could not be looked up, trying again");
                return;
            }
            Err(_) => return,
        };
        if let Err(error) = self.forget_others(&namespaces).await {
            tracing::warn!(%error, "passes that are over could not be forgotten, trying again");
            return;
        }
        if !namespaces.iter().any(|namespace| namespace.is_writable) || !self.tell("clock", doubted) {
            return;
        }
        if let Err(error) = self.note_clock().await {
            tracing::warn!(%error, "the time could not be noted, trying again");
            return;
        }
        for namespace in namespaces.into_iter().filter(|namespace| namespace.is_writable) {
            if !self.is_due(&namespace) || !self.may_delete(&namespace) {
                continue;
            }
            match self.pass(&namespace).await {
                Ok(()) | Err(Stopped::Overtaken | Stopped::Waiting) => {}
                Err(Stopped::Failed(error)) => tracing::warn!(
                    namespace = namespace.name,
                    error = crate::status::chain(&error),
                    "objects could not be expired, trying again"
                ),
                Err(Stopped::Unnoted(error)) => {
                    tracing::warn!(namespace = namespace.name, %error, "a pass could not be noted, trying again");
                }
            }
        }
    }

    /// Why the clock is not believed.
    fn doubted(&mut self) -> Option<&'static str> {
        let links = self.mover.links();
        let peers = links.iter().filter_map(|link| link.peer_unix_ms());
        let looked = self.clock.look(unix_ms(), self.began.elapsed(), peers);
        looked.err().map(clock::Doubted::reason)
    }

    /// True if there is no `reason` to wait. The operator is told once that there is one.
    fn tell(&mut self, what: &str, reason: Option<&'static str>) -> bool {
        match reason {
            Some(reason) => {
                if self.waits.insert(what.to_owned()) {
                    tracing::warn!(what, reason, "objects do not expire now");
                }
                false
            }
            None => {
                if self.waits.remove(what) {
                    tracing::info!(what, "objects expire again");
                }
                true
            }
        }
    }

    /// A primary needs contact: see the module.
    fn may_delete(&mut self, namespace: &Namespace) -> bool {
        let Some((link, Side::Primary)) = namespace.link else { return true };
        let in_contact = self.mover.link(link).is_some_and(|link| link.in_contact());
        let reason = "the other system is not in contact, and may have been failed over to";
        self.tell(&format!("link {}", hex::encode(link.0)), (!in_contact).then_some(reason))
    }

    fn is_due(&self, namespace: &Namespace) -> bool {
        let key = (namespace.content, namespace.name.clone());
        let Some(last) = self.passes.get(&key) else { return true };
        let interval_ms = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX);
        let number = |unix_ms: i64| unix_ms.div_euclid(interval_ms);
        last.rules_hash != hash(&namespace.setting)
            || last.next_key.is_some()
            // Whichever way the clock went.
            || number(crate::mover::now_unix_ms()) != number(last.began_unix_ms)
    }

    /// The passes over namespaces that have no rules any more. Those over content that is read-only are
    /// remembered: all content of links is, for a moment, after every start.
    async fn forget_others(
        &mut self,
        namespaces: &[Namespace],
    ) -> Result<(), switchback_kit::durable::Error> {
        let known: BTreeSet<_> =
            namespaces.iter().map(|namespace| (namespace.content, namespace.name.clone())).collect();
        let gone: Vec<_> = self.passes.keys().filter(|key| !known.contains(*key)).cloned().collect();
        if !gone.is_empty() {
            self.mover.memory.remove_passes(&gone).await?;
            gone.iter().for_each(|key| drop(self.passes.remove(key)));
        }
        Ok(())
    }

    async fn note_clock(&mut self) -> Result<(), switchback_kit::durable::Error> {
        if self.clock_noted.is_none_or(|noted| noted.elapsed() >= NOTE_CLOCK_INTERVAL) {
            self.mover.memory.put_believed(unix_ms()).await?;
            self.clock_noted = Some(Instant::now());
        }
        Ok(())
    }

    async fn note(&mut self, namespace: &Namespace, pass: LifecyclePass) -> Result<(), Stopped> {
        let noted = self.mover.memory.put_pass(namespace.content, &namespace.name, &pass);
        noted.await.map_err(Stopped::Unnoted)?;
        self.passes.insert((namespace.content, namespace.name.clone()), pass);
        Ok(())
    }

    /// Looks through a namespace, or through what is left of it.
    async fn pass(&mut self, namespace: &Namespace) -> Result<(), Stopped> {
        let rules = namespace.setting.parse::<Lifecycle>();
        let unknown = "its lifecycle rules are in a form that this program does not know: update it";
        self.tell(&format!("namespace {}", namespace.name), rules.is_err().then_some(unknown));
        let rules = Arc::new(rules.map_err(|_| Stopped::Waiting)?);
        let key = (namespace.content, namespace.name.clone());
        let rules_hash = hash(&namespace.setting);
        let broken_off = self.passes.get(&key).filter(|last| last.rules_hash == rules_hash);
        let broken_off = broken_off.filter(|last| last.next_key.is_some()).cloned();
        let mut noted = broken_off.unwrap_or_else(|| LifecyclePass {
            rules_hash,
            began_unix_ms: crate::mover::now_unix_ms(),
            next_key: Some(String::new()),
        });
        let mut place = LifecyclePlace::at(noted.next_key.as_deref().unwrap_or_default());
        let (mut looked, mut acted, mut note_due) = (0, Acted::default(), Instant::now());
        loop {
            let doubted = self.doubted();
            if !self.may_delete(namespace) || !self.tell("clock", doubted) {
                self.note(namespace, noted).await?;
                tell_of(namespace, looked, &acted, "a pass of lifecycle rules waits");
                return Err(Stopped::Waiting);
            }
            if note_due <= Instant::now() {
                self.note(namespace, noted.clone()).await?;
                note_due = Instant::now() + self.note_interval;
            }
            let page = self.look(namespace, &rules, place).await?;
            looked += page.looked;
            let (next, pause) = (page.next.clone(), pause(&page));
            self.act(namespace, page, &mut acted).await?;
            tokio::time::sleep(pause).await;
            match next {
                Some(next) => {
                    noted.next_key = next.key().map(str::to_owned).or(noted.next_key);
                    place = next;
                }
                None => break,
            }
        }
        tell_of(namespace, looked, &acted, "lifecycle rules were carried out");
        noted.next_key = None;
        self.note(namespace, noted).await
    }

    async fn look(
        &self,
        namespace: &Namespace,
        rules: &Arc<Lifecycle>,
        place: LifecyclePlace,
    ) -> Result<LifecyclePage, Stopped> {
        let (catalogue, rules) = (self.mover.catalogue.clone(), Arc::clone(rules));
        let (content, name) = (namespace.content, namespace.name.clone());
        let looked = aside(move || {
            let request = LifecycleRequest {
                rules: &rules,
                place: &place,
                now_unix_ms: unix_ms(),
                looked_max: LOOKED_MAX,
            };
            catalogue.look_for_due(content, &name, &request)
        });
        looked.await.unwrap_or(Err(StoreError::Poisoned)).map_err(stopped)
    }

    async fn act(
        &self,
        namespace: &Namespace,
        page: LifecyclePage,
        acted: &mut Acted,
    ) -> Result<(), Stopped> {
        if page.due.is_empty() {
            return Ok(());
        }
        let Namespace { content, name, setting, .. } = namespace;
        let done = self.mover.catalogue.expire(*content, name, setting, page.due).await.map_err(stopped)?;
        let done = done.ok_or(Stopped::Overtaken)?;
        if done.done() > 0 {
            self.mover.bells.ring(*content);
        }
        acted.add(done);
        Ok(())
    }
}

/// Content can become read-only, and namespaces can go, in the middle of a pass.
fn stopped(error: StoreError) -> Stopped {
    match error {
        StoreError::ReadOnly(_) | StoreError::NoSuchContent | StoreError::NoSuchNamespace { .. } => {
            Stopped::Overtaken
        }
        error => Stopped::Failed(error),
    }
}

/// Which rules a pass is by.
fn hash(setting: &str) -> Bytes {
    Bytes::copy_from_slice(blake3::hash(setting.as_bytes()).as_bytes())
}

/// So that the rates are kept.
fn pause(page: &LifecyclePage) -> Duration {
    let of = |count: usize, per_second: u32| {
        Duration::from_secs(1) * u32::try_from(count).unwrap_or(u32::MAX) / per_second
    };
    of(page.looked, LOOKED_PER_SECOND).max(of(page.due.len(), DELETED_PER_SECOND))
}

fn tell_of(namespace: &Namespace, looked: usize, acted: &Acted, what: &'static str) {
    let Acted { deleted, hidden, noncurrent, markers, uploads, locked, changed, without_room } = *acted;
    let namespace = namespace.name.as_str();
    if acted.done() == 0 && without_room == 0 {
        tracing::debug!(namespace, looked, locked, changed, "{what}");
        return;
    }
    tracing::info!(
        namespace,
        looked,
        deleted,
        hidden,
        noncurrent,
        markers,
        uploads,
        locked,
        changed,
        without_room,
        "{what}"
    );
}

/// All namespaces that have rules.
fn namespaces(catalogue: &Catalogue) -> switchback_store::Result<Vec<Namespace>> {
    let mut found = Vec::new();
    for status in catalogue.contents()? {
        let link = status.access.link.map(|link| (link, status.access.side));
        let (content, is_writable) = (status.content.id, status.mode() == AccessMode::ReadWrite);
        for namespace in catalogue.namespaces(content)? {
            let mut record = namespace.namespace;
            let Some(setting) = record.settings.remove(LIFECYCLE) else { continue };
            found.push(Namespace { content, name: record.name, link, setting, is_writable });
        }
    }
    Ok(found)
}
