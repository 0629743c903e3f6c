//! Tells the name servers that follow what changed, and asks them what they serve: carries out what
//! [`crate::core::follow`] decides.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use switchback_kit::drive::Shell;
use switchback_kit::durable::{self, Batch, Db};
use switchback_machine::Timestamp;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::Secondary;
use crate::convert::millis;
use crate::core::follow::{
    Exchange, Followers, Input, Output, Overdue, Reason, Standing, State, Summary, Target,
};
use crate::core::name::Name;
use crate::core::zone::{Serial, Snapshot, Zone};
use crate::correspondent::Correspondent;
use crate::courier::{Courier, Errand};
use crate::desk::{self, KnownBy};
use crate::tsig::Keys;

/// Zones that the core is told of at once: some ten milliseconds of work, in which nobody else is
/// told or heard.
const PUBLISHED_MAX: usize = 1000;
/// Asks how far the name servers have followed.
pub type Desk = desk::Desk<Input, Following>;
/// How far everybody has followed.
pub type View = desk::View<Following>;
/// How far one name server has followed.
pub type Following = KnownBy<Followers>;

impl desk::Core for Followers {
    type Server = Secondary;
    type Summary = Summary;
    type Standing = Standing;

    fn total(&self, target: &Target, only: Option<&BTreeSet<Name>>) -> Option<Summary> {
        let summary = self.summary(target)?;
        let Some(zones) = only else { return Some(summary) };
        Some(summary.of(zones.iter().filter_map(|zone| self.standing(target, zone))))
    }

    fn each<'a>(
        &'a self,
        target: &'a Target,
        only: Option<&'a BTreeSet<Name>>,
    ) -> impl Iterator<Item = (&'a Name, Standing)> {
        let standings: Box<dyn Iterator<Item = _>> = match only {
            None => Box::new(self.standings(target, None)),
            Some(zones) => {
                Box::new(zones.iter().filter_map(move |zone| Some((zone, self.standing(target, zone)?))))
            }
        };
        standings
    }

    fn is_lagging(standing: &Standing) -> bool {
        standing.state != State::Converged
    }

    fn overdue_at(&self, now: Timestamp) -> impl Iterator<Item = (&Target, Overdue)> {
        self.overdue(now)
    }
}

pub(crate) type Inbox = desk::Inbox<Input, Following>;

/// What a run needs.
pub(crate) struct Announcing {
    pub(crate) secondaries: Vec<Secondary>,
    pub(crate) keys: Keys,
    /// Where this server is asked: what it sends comes from there, for that is whom the others know.
    pub(crate) own: Vec<IpAddr>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) published: watch::Receiver<u64>,
    /// Nothing is remembered; the loop of all machines wants a place for it.
    pub(crate) db: Db,
}

impl Announcing {
    /// Announces until the shutdown. The desk answers as long as this runs.
    pub(crate) fn start(
        self,
        followers: Followers,
        shutdown: CancellationToken,
    ) -> (Desk, impl Future<Output = Result<(), durable::Error>>) {
        let (desk, inbox, waiting) = desk::open();
        let secondaries: BTreeMap<_, _> =
            self.secondaries.into_iter().map(|secondary| (Target::new(&secondary.name), secondary)).collect();
        let couriers = secondaries.iter().map(|(target, secondary)| {
            let key = secondary.key.as_ref().and_then(|key| self.keys.get(key)).cloned();
            let correspondent = Correspondent::new(secondary.address, &self.own, key);
            let snapshot = Arc::clone(&self.snapshot);
            let courier = Courier { target: target.clone(), correspondent, snapshot, inbox: inbox.clone() };
            (target.clone(), courier.start())
        });
        let hands = Hands { couriers: couriers.collect(), inbox: inbox.clone() };
        let watching = watch_zones(self.snapshot, self.published, inbox);
        let running = desk::attend((followers, secondaries), hands, self.db, waiting, watching, shutdown);
        (desk, running)
    }
}

/// Tells the core of each zone that may be taken from here and is another than before.
async fn watch_zones(snapshot: Arc<ArcSwap<Snapshot>>, mut published: watch::Receiver<u64>, inbox: Inbox) {
    let mut before = Arc::new(Snapshot::default());
    loop {
        let edition = *published.borrow_and_update();
        let present = snapshot.load_full();
        let inputs = difference(&before, &present);
        before = present;
        for input in inputs {
            if inbox.tell(input).await.is_err() {
                return;
            }
        }
        inbox.told(edition);
        if published.changed().await.is_err() {
            return;
        }
    }
}

/// What is another, in portions.
fn difference(before: &Snapshot, after: &Snapshot) -> Vec<Input> {
    fn serial(zone: Option<&Arc<Zone>>) -> Option<Serial> {
        zone.filter(|zone| zone.is_transferable() && !zone.is_held()).map(|zone| zone.serial())
    }
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    for (was, is) in before.differences(after) {
        match (was, serial(was), is, serial(is)) {
            (_, was, Some(zone), Some(now)) if was != Some(now) => changed.push((zone.origin().clone(), now)),
            (Some(zone), Some(_), _, None) => gone.push(zone.origin().clone()),
            _ => {}
        }
    }
    let gone = gone.chunks(PUBLISHED_MAX).map(|zones| (Vec::new(), zones.to_vec()));
    let changed = changed.chunks(PUBLISHED_MAX).map(|zones| (zones.to_vec(), Vec::new()));
    gone.chain(changed).map(|(changed, removed)| Input::Published { changed, removed }).collect()
}

struct Hands {
    couriers: BTreeMap<Target, mpsc::Sender<Errand>>,
    inbox: Inbox,
}

impl Shell<Followers> for Hands {
    fn persist(&mut self, change: &Infallible, _: &mut Batch) {
        match *change {}
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Notify { target, zone, .. } => self.send(target, Errand(zone, Exchange::Notify)),
            Output::Ask { target, zone } => self.send(target, Errand(zone, Exchange::Ask)),
            output => log(output),
        }
    }

    fn publish(&mut self, _: Timestamp, _: &Followers) {}
}

impl Hands {
    fn send(&self, target: Target, errand: Errand) {
        let Some(errands) = self.couriers.get(&target) else { return };
        let Err(TrySendError::Full(Errand(zone, exchange))) = errands.try_send(errand) else { return };
        // There is room for all that the core has outstanding.
        let inbox = self.inbox.clone();
        let input = Input::ExchangeFailed { target, zone, exchange, reason: Reason::TimedOut };
        tokio::spawn(async move { _ = inbox.tell(input).await });
    }
}

fn log(output: Output) {
    match output {
        Output::Followed { target, zone, after, was_late } => {
            tracing::info!(%target, %zone, after_ms = millis(after), was_late, "zone followed");
        }
        Output::Late { target, zone, behind } => {
            tracing::warn!(%target, %zone, behind_ms = millis(behind), "name server does not follow");
        }
        Output::Overtaken { target, zone, ours, theirs } => {
            tracing::warn!(%target, %zone, ours = ours.0, theirs = theirs.0, "name server serves a later zone than this one");
        }
        Output::Unreachable { target, .. } => tracing::warn!(%target, "name server does not answer"),
        Output::Reachable { target, after } => {
            tracing::info!(%target, silent_ms = millis(after), "name server answers again");
        }
        Output::Notify { .. } | Output::Ask { .. } => {}
    }
}
