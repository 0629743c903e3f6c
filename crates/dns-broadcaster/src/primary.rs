//! Holds copies of other name servers' zones: carries out what [`crate::core::secondary`] decides.

mod archive;
mod line;
mod notice;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use switchback_kit::drive::{Clock, Shell};
use switchback_kit::durable::{self, Batch};
use switchback_machine::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::archive::{Archive, Found};
use self::line::Lines;
use self::notice::Notice;
pub(crate) use self::notice::{Followed, Notices};
use crate::access;
use crate::convert::millis;
use crate::core::contact::{Overdue, Target};
use crate::core::name::Name;
use crate::core::secondary::intake::{Arrived, Broken};
use crate::core::secondary::members::{Label, Members, members};
use crate::core::secondary::stream::Stream;
use crate::core::secondary::{
    Change, Copies, Held, Input, Outcome, Output, Policy, Primary, Reason, Standing, Summary, Times,
};
use crate::core::zone::{Snapshot, Zone};
use crate::correspondent::{Correspondent, Failure, Sending, source};
use crate::courier::{question, served_serial};
use crate::desk::{self, KnownBy};
use crate::publisher::Publisher;
use crate::tsig::Keys;

/// NOTIFYs that may wait: as many as datagrams from a primary that has changed everything.
const NOTICES_MAX: usize = 1024;
/// Published zones that the core is told of at once: some milliseconds of work.
const PUBLISHED_MAX: usize = 1000;
/// A zone of more takes milliseconds to make, in which a thread of the runtime would do nothing else.
const LARGE_BYTES: usize = 256 * 1024;
/// Within the broadcaster's folder of state.
const FOLDER: &str = "copies";

/// Asks how the zones of primaries stand.
pub type Desk = desk::Desk<Input, Taking>;
/// How the zones of all primaries stand.
pub type View = desk::View<Taking>;
/// How the zones of one primary stand.
pub type Taking = KnownBy<Copies>;

type Inbox = desk::Inbox<Input, Taking>;

impl desk::Core for Copies {
    type Server = access::Primary;
    type Summary = Summary;
    type Standing = Standing;

    fn total(&self, target: &Target, _: Option<&BTreeSet<Name>>) -> Option<Summary> {
        self.summary(self.primary(target)?)
    }

    fn each<'a>(
        &'a self,
        target: &'a Target,
        only: Option<&'a BTreeSet<Name>>,
    ) -> impl Iterator<Item = (&'a Name, Standing)> {
        let standings = self.primary(target).map(|primary| self.standings(primary));
        standings.into_iter().flatten().filter(move |(zone, _)| only.is_none_or(|only| only.contains(*zone)))
    }

    /// Each has an age that somebody may want to know.
    fn is_lagging(_: &Standing) -> bool {
        true
    }

    fn overdue_at(&self, _: Timestamp) -> impl Iterator<Item = (&Target, Overdue)> {
        self.silent().map(|(target, since)| (target, Overdue::Silent { since }))
    }
}

/// Copies that are held, before anybody is asked for anything.
pub(crate) struct Holding {
    primaries: Arc<[access::Primary]>,
    clock: Clock,
    shelf: Arc<Shelf>,
    held: BTreeMap<Name, Held>,
    listed: Vec<(Primary, Members)>,
    followed: Arc<ArcSwap<Followed>>,
    told: mpsc::Sender<Notice>,
    notices: mpsc::Receiver<Notice>,
}

/// What is held, and where it is served.
struct Shelf {
    /// `None` without primaries: then there is nothing to hold.
    archive: Option<Archive>,
    publisher: Arc<Publisher>,
    catalogues: BTreeMap<Name, Primary>,
    state: Mutex<Copied>,
}

#[derive(Default)]
struct Copied {
    zones: BTreeMap<Name, Arc<Zone>>,
    expired: BTreeSet<Name>,
}

impl Shelf {
    fn state(&self) -> MutexGuard<'_, Copied> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers from the zones as they are held now: from what has expired with SERVFAIL, and from a
    /// catalogue nothing to anybody.
    async fn show(&self, names: &[Name]) {
        self.put(names);
        self.publisher.serve_copies().await;
    }

    /// Puts them while they cannot become others, so that of two words the later one counts.
    fn put(&self, names: &[Name]) {
        let state = self.state();
        for name in names.iter().filter(|name| !self.catalogues.contains_key(*name)) {
            let served = state.zones.get(name).map(|zone| match state.expired.contains(name) {
                true => Arc::new(zone.expired()),
                false => Arc::clone(zone),
            });
            self.publisher.put_copy(name.clone(), served);
        }
    }
}

impl Holding {
    /// What is on the disk, served as far as its primaries' last word allows.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub(crate) async fn open(
        primaries: Vec<access::Primary>,
        publisher: Arc<Publisher>,
    ) -> Result<Self, durable::Error> {
        let clock = Clock::start();
        let now = clock.now();
        let folder = publisher.folder().join(FOLDER);
        let (mut held, mut listed, mut copied) = (BTreeMap::new(), Vec::new(), Copied::default());
        let numbered = || (0..).map(Primary).zip(&primaries);
        let catalogues: BTreeMap<_, _> = numbered()
            .filter_map(|(number, primary)| Some((primary.follow.catalogue.clone()?, number)))
            .collect();
        let mut archive = None;
        // Without primaries nothing is opened, and what was held of them earlier goes with the first that
        // there is again.
        if !primaries.is_empty() {
            let (opened, found) = Archive::open(&folder, publisher.key())?;
            archive = Some(opened);
            for (name, Found { zone, label, word }) in found {
                let Some(times) = times(&zone) else { continue };
                if let Some(&primary) = catalogues.get(&name)
                    && let Ok(members) = members(&zone)
                {
                    listed.push((primary, members));
                }
                if word + times.expire <= now {
                    copied.expired.insert(name.clone());
                }
                held.insert(name.clone(), Held { serial: zone.serial(), times, word, label });
                copied.zones.insert(name, Arc::new(zone));
            }
            tracing::info!(copies = held.len(), expired = copied.expired.len(), "copies of zones recovered");
        }
        let names: Vec<_> = copied.zones.keys().cloned().collect();
        let shelf = Arc::new(Shelf { archive, publisher, catalogues, state: Mutex::new(copied) });
        shelf.show(&names).await;
        let (told, notices) = mpsc::channel(NOTICES_MAX);
        let followed = Arc::default();
        Ok(Self { primaries: primaries.into(), clock, shelf, held, listed, followed, told, notices })
    }

    /// Who may tell of changes.
    pub(crate) fn notices(&self) -> Notices {
        let (primaries, followed) = (Arc::clone(&self.primaries), Arc::clone(&self.followed));
        Notices { primaries, followed, told: self.told.clone() }
    }

    /// Follows the primaries until the shutdown; `own` are the addresses at which this server is asked, which
    /// is how primaries know it. The desk answers as long as this runs.
    pub(crate) fn start(
        self,
        keys: &Keys,
        own: &[IpAddr],
        shutdown: CancellationToken,
    ) -> (Desk, impl Future<Output = Result<(), durable::Error>> + use<>) {
        let Self { primaries, clock, shelf, held, listed, followed, told: _, notices } = self;
        let (desk, inbox, waiting) = desk::open();
        let servers: BTreeMap<_, _> =
            primaries.iter().map(|primary| (Target::new(&primary.name), primary.clone())).collect();
        let follow = primaries.iter().map(|primary| (Target::new(&primary.name), primary.follow.clone()));
        let copies = Copies::new(clock.now(), follow.collect(), held, listed, Policy::default());
        let peers = primaries.iter().map(|primary| {
            let key = primary.key.as_ref().and_then(|key| keys.get(key)).cloned();
            Arc::new(Peer {
                lines: Arc::new(Lines::new(primary.address, source(own, primary.address), key.clone())),
                correspondent: Correspondent::new(primary.address, own, key),
            })
        });
        let broken = CancellationToken::new();
        let db = shelf.archive.as_ref().map_or_else(|| shelf.publisher.db(), Archive::db);
        let publisher = Arc::clone(&shelf.publisher);
        let is_idle = primaries.is_empty();
        let hands = Hands {
            peers: peers.collect(),
            primaries,
            shelf,
            clock,
            inbox: inbox.clone(),
            followed,
            generation: 0,
            broken: broken.clone(),
        };
        let hearing = hear(notices, inbox.clone());
        let watching = watch_published(publisher, is_idle, inbox);
        let attending = desk::attend((copies, servers), hands, db, waiting, watching, shutdown);
        // It would be the largest part of the service's own.
        let running = Box::pin(async move {
            tokio::select! {
                ended = attending => ended,
                () = hearing => Ok(()),
                () = broken.cancelled() => Err(durable::Error::Poisoned),
            }
        });
        (desk, running)
    }
}

/// Passes on what primaries tell.
async fn hear(mut notices: mpsc::Receiver<Notice>, inbox: Inbox) {
    while let Some((zone, serial)) = notices.recv().await {
        if inbox.tell(Input::Notified { zone, serial }).await.is_err() {
            return;
        }
    }
    // Nobody can tell anything any more.
    std::future::pending().await
}

/// Tells the core which zones this server publishes itself.
async fn watch_published(publisher: Arc<Publisher>, is_idle: bool, inbox: Inbox) {
    if is_idle {
        return std::future::pending().await;
    }
    let mut published = publisher.published();
    let mut before = Arc::<Snapshot>::default();
    loop {
        published.borrow_and_update();
        let present = publisher.published_snapshot().load_full();
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for difference in before.differences(&present) {
            match difference {
                (None, Some(zone)) => begun.push(zone.origin().clone()),
                (Some(zone), None) => ended.push(zone.origin().clone()),
                (None, None) | (Some(_), Some(_)) => {}
            }
        }
        before = present;
        let begun = begun.chunks(PUBLISHED_MAX).map(|names| (names.to_vec(), Vec::new()));
        let ended = ended.chunks(PUBLISHED_MAX).map(|names| (Vec::new(), names.to_vec()));
        for (begun, ended) in begun.chain(ended) {
            if inbox.tell(Input::Published { begun, ended }).await.is_err() {
                return;
            }
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}

/// One primary, as it is spoken with.
struct Peer {
    lines: Arc<Lines>,
    correspondent: Correspondent,
}

struct Hands {
    primaries: Arc<[access::Primary]>,
    peers: Vec<Arc<Peer>>,
    shelf: Arc<Shelf>,
    clock: Clock,
    inbox: Inbox,
    followed: Arc<ArcSwap<Followed>>,
    /// Of what is followed.
    generation: u64,
    /// Cancelled when a copy could not be made durable.
    broken: CancellationToken,
}

impl Shell<Copies> for Hands {
    fn persist(&mut self, change: &Change, batch: &mut Batch) {
        match change {
            Change::Word { zone, at } => archive::remember_word(batch, zone, *at),
            Change::Forget(zone) => archive::forget_copy(batch, zone),
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Ask { primary, zone } => self.ask(primary, zone),
            Output::Transfer { primary, zone, held: _, is_whole, label } => {
                self.transfer(primary, zone, is_whole, label);
            }
            Output::Expire { zone } => {
                tracing::error!(%zone, "copy expired: its primary was not heard for as long as the zone says, and nothing is answered from it any more");
                self.shelf.state().expired.insert(zone.clone());
                self.show(zone);
            }
            Output::Serve { zone } => {
                tracing::info!(%zone, "copy answered again");
                self.shelf.state().expired.remove(&zone);
                self.show(zone);
            }
            Output::Forget { zone } => self.forget(zone),
            output => self.log(output),
        }
    }

    fn publish(&mut self, _: Timestamp, copies: &Copies) {
        let generation = copies.generation();
        if generation != self.generation {
            self.generation = generation;
            let followed = copies.followed().map(|(zone, primary)| (zone.clone(), primary));
            self.followed.store(Arc::new(followed.collect()));
        }
    }
}

impl Hands {
    fn show(&self, zone: Name) {
        let shelf = Arc::clone(&self.shelf);
        tokio::spawn(async move { shelf.show(&[zone]).await });
    }

    fn forget(&self, zone: Name) {
        tracing::info!(%zone, "copy let go");
        let shelf = Arc::clone(&self.shelf);
        // Before anything is taken under that name again.
        let gone = shelf.archive.as_ref().and_then(|archive| archive.forget(&zone));
        let mut state = shelf.state();
        state.zones.remove(&zone);
        state.expired.remove(&zone);
        drop(state);
        let broken = self.broken.clone();
        tokio::spawn(async move {
            shelf.show(&[zone]).await;
            if let (Some(archive), Some(gone)) = (&shelf.archive, gone)
                && archive.remove_parts(&gone).await.is_err()
            {
                broken.cancel();
            }
        });
    }

    fn ask(&self, Primary(number): Primary, zone: Name) {
        let Some(peer) = self.peers.get(number).cloned() else { return };
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let answer = peer.correspondent.exchange(&question(&zone), Sending::Again).await;
            let serial = match answer {
                Ok(answer) => served_serial(&answer).ok_or_else(|| match u16::from(answer.response_code) {
                    0 => Reason::NotHeld,
                    code => Reason::Declined(code as u8),
                }),
                Err(Failure::TimedOut) => Err(Reason::TimedOut),
                Err(Failure::Unreachable) => Err(Reason::Unreachable),
                Err(Failure::Unproven(mismatch)) => Err(Reason::Unproven(mismatch.to_string())),
            };
            // The loop has ended: so does this.
            let _ = inbox.tell(Input::Answered { zone, serial }).await;
        });
    }

    fn transfer(&self, Primary(number): Primary, zone: Name, is_whole: bool, label: Option<Label>) {
        let Some(peer) = self.peers.get(number).cloned() else { return };
        let (shelf, clock, inbox) = (Arc::clone(&self.shelf), self.clock, self.inbox.clone());
        let broken = self.broken.clone();
        tokio::spawn(async move {
            let held = shelf.state().zones.get(&zone).cloned();
            let arrived = peer.lines.transfer(&zone, held.as_deref(), is_whole).await;
            let outcome = match outcome(arrived, held.is_some() && !is_whole) {
                Ok(stream) => shelf.land(&zone, stream, held, label.as_ref(), clock).await,
                Err(outcome) => Ok(outcome),
            };
            let Ok(outcome) = outcome else { return broken.cancel() };
            let listed = shelf.listed(&zone, &outcome);
            let ended = Input::Transferred { zone, outcome };
            for input in [Some(ended), listed].into_iter().flatten() {
                let _ = inbox.tell(input).await;
            }
        });
    }

    fn log(&self, output: Output) {
        let of = |Primary(number): Primary| self.primaries.get(number).map_or("", |primary| &primary.name);
        match output {
            Output::Expiring { zone, within } => {
                tracing::warn!(%zone, within_ms = millis(within), "copy expires unless its primary is heard");
            }
            Output::Troubled { zone, reason } => tracing::warn!(%zone, %reason, "zone not taken"),
            Output::Mended { zone } => tracing::info!(%zone, "zone can be taken again"),
            Output::Silent { primary } => {
                tracing::warn!(
                    primary = of(primary),
                    "primary does not answer: its zones are answered from their copies until those expire"
                );
            }
            Output::Heard { primary, after } => {
                tracing::info!(primary = of(primary), silent_ms = millis(after), "primary answers again");
            }
            Output::Full { zone } => {
                tracing::error!(%zone, "zone left out: as many as can be followed are");
            }
            Output::Ask { .. }
            | Output::Transfer { .. }
            | Output::Expire { .. }
            | Output::Serve { .. }
            | Output::Forget { .. } => {}
        }
    }
}

/// What a transfer has brought that makes a zone, or how it ended. `may_be_whole`: it asked for what changed.
fn outcome(arrived: Result<Arrived, line::Failure>, may_be_whole: bool) -> Result<Stream, Outcome> {
    Err(match arrived {
        Ok(Arrived::Stream(stream)) => return Ok(stream),
        Ok(Arrived::UpToDate) => Outcome::UpToDate,
        Ok(Arrived::Backwards(theirs)) => Outcome::Failed(Reason::Backwards { theirs }),
        Err(line::Failure::TimedOut) => Outcome::Failed(Reason::TimedOut),
        Err(line::Failure::Unreachable) => Outcome::Failed(Reason::Unreachable),
        Err(line::Failure::Unproven(mismatch)) => Outcome::Failed(Reason::Unproven(mismatch.to_string())),
        // Some name servers know no IXFR, or have the differences no more.
        Err(line::Failure::BrokenOff | line::Failure::Broken(_)) if may_be_whole => Outcome::NoDifferences,
        Err(line::Failure::BrokenOff) => Outcome::Failed(Reason::Unfit("it broke off in the middle".into())),
        Err(line::Failure::Broken(Broken::Declined(code))) => Outcome::Failed(Reason::Declined(code)),
        Err(line::Failure::Broken(broken)) => Outcome::Failed(Reason::Unfit(broken.to_string())),
    })
}

impl Shelf {
    /// Makes the next zone, answers from it, and has it durable: that is the primary's word, and after a crash
    /// in between it is asked for it again.
    async fn land(
        &self,
        name: &Name,
        stream: Stream,
        held: Option<Arc<Zone>>,
        label: Option<&Label>,
        clock: Clock,
    ) -> Result<Outcome, durable::Error> {
        let (origin, key) = (name.clone(), self.publisher.key());
        let is_large =
            stream.len() > LARGE_BYTES || held.as_ref().is_some_and(|held| held.bytes() > LARGE_BYTES);
        let make = move || (Zone::of_stream(&origin, &stream, held.as_deref(), key), stream);
        let (zone, stream) = match is_large {
            true => tokio::task::spawn_blocking(make)
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())),
            false => make(),
        };
        let zone = match zone {
            Ok(zone) => zone,
            Err(unfit) if unfit.is_of_differences() => return Ok(Outcome::NoDifferences),
            Err(unfit) => return Ok(Outcome::Failed(Reason::Unfit(unfit.to_string()))),
        };
        let Some(times) = times(&zone) else {
            return Ok(Outcome::Failed(Reason::Unfit("its SOA record is broken".into())));
        };
        let (serial, zone) = (zone.serial(), Arc::new(zone));
        // One that had expired is answered when the core has heard of this.
        self.state().zones.insert(name.clone(), Arc::clone(&zone));
        self.show(std::slice::from_ref(name)).await;
        if let Some(archive) = &self.archive {
            archive.keep(&zone, &stream, label, clock.now()).await?;
        }
        tracing::info!(zone = %name, serial = serial.0, is_whole = stream.is_whole, bytes = stream.len(), "zone taken");
        Ok(Outcome::Taken { serial, times })
    }

    /// What the zone lists now, if it is a catalogue that has just been taken.
    fn listed(&self, name: &Name, outcome: &Outcome) -> Option<Input> {
        let primary = *self.catalogues.get(name).filter(|_| matches!(outcome, Outcome::Taken { .. }))?;
        let zone = self.state().zones.get(name).cloned()?;
        match members(&zone) {
            Ok(members) => Some(Input::Listed { primary, members }),
            Err(reason) => {
                tracing::warn!(catalogue = %name, %reason, "catalogue not heeded: what it listed before stays");
                None
            }
        }
    }
}

fn times(zone: &Zone) -> Option<Times> {
    zone.soa().and_then(|soa| Times::of(soa.first()))
}
