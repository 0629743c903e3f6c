//! The desk of a core that is about other name servers: where people ask what it knows of them. They are
//! answered between two of its steps, so that what they are told is of one instant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use switchback_kit::drive::{Clock, Shell, drive};
use switchback_kit::durable::{self, Batch, Db};
use switchback_machine::{Machine, Outbox, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::core::contact::{Overdue, Target};
use crate::core::name::Name;

/// Names of one server that are listed because they are not there as they should be; more are counted.
const LISTED_MAX: usize = 100;
/// Inputs that may wait.
const INBOX_MAX: usize = 1024;

/// A pure machine that is about other name servers.
pub trait Core: Machine {
    /// One of them, as the operator configured it.
    type Server: Clone + fmt::Debug;
    /// How it stands with all its names together.
    type Summary: fmt::Debug;
    /// How it stands with one of them.
    type Standing: fmt::Debug;

    /// Where `target` stands; as to `only` these names, if they are given.
    fn total(&self, target: &Target, only: Option<&BTreeSet<Name>>) -> Option<Self::Summary>;

    /// Where it stands with each name, or with `only` these, in the order of names.
    fn each<'a>(
        &'a self,
        target: &'a Target,
        only: Option<&'a BTreeSet<Name>>,
    ) -> impl Iterator<Item = (&'a Name, Self::Standing)>;

    /// Whether something is left to do.
    fn is_lagging(standing: &Self::Standing) -> bool;

    /// Whom somebody should look at.
    fn overdue_at(&self, now: Timestamp) -> impl Iterator<Item = (&Target, Overdue)>;
}

/// What is known of one name server.
#[derive(Clone, Debug)]
pub struct Known<V, M, T> {
    /// Who it is.
    pub server: V,
    /// All its names together.
    pub summary: M,
    /// Names that are not there as they should be, some of them when there are many.
    pub lagging: Vec<(Name, T)>,
}

/// What is known of everybody, and of which instant.
#[derive(Clone, Debug)]
pub struct View<K> {
    /// The present, on the clock that the other times are on.
    pub now: Timestamp,
    /// In the order of their names.
    pub servers: Vec<K>,
}

impl<K> Default for View<K> {
    fn default() -> Self {
        Self { now: Timestamp::default(), servers: Vec::new() }
    }
}

/// As [`Overdue`], for people who know no timestamps of this process.
#[derive(Clone, Copy, Debug)]
pub enum Delay {
    /// It has been silent for so long.
    Silent(Duration),
    /// So many names are not there as they should be since they were published.
    Late(usize),
}

impl Delay {
    fn of(now: Timestamp, overdue: Overdue) -> Self {
        match overdue {
            Overdue::Silent { since } => Self::Silent(now.since(since)),
            Overdue::Late { zones } => Self::Late(zones),
        }
    }
}

/// Whom somebody should look at.
type Late = Vec<(Target, Delay)>;

/// What a core of type `C` knows of one name server.
pub type KnownBy<C> = Known<<C as Core>::Server, <C as Core>::Summary, <C as Core>::Standing>;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk<I, K> {
    events: mpsc::Sender<Event<I, K>>,
    /// Of which edition the core has been told all.
    told: watch::Receiver<u64>,
}

impl<I, K> Desk<I, K> {
    /// What is known now of all names, or of `only` these; nothing while the service ends.
    pub async fn view(&self, only: Option<BTreeSet<Name>>) -> View<K> {
        self.ask(|reply| Event::List(only, reply)).await
    }

    /// As [`Desk::view`], once the core knows what was published with this edition.
    pub async fn view_since(&self, edition: u64, only: Option<BTreeSet<Name>>) -> View<K> {
        // An error means that the service ends.
        _ = self.told.clone().wait_for(|told| *told >= edition).await;
        self.view(only).await
    }

    /// Whom somebody should look at, and since how long they are silent or how many names they miss.
    pub async fn overdue(&self) -> Vec<(Target, Delay)> {
        self.ask(Event::ListOverdue).await
    }

    async fn ask<T: Default>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event<I, K>) -> T {
        let (reply, answer) = oneshot::channel();
        if self.events.send(event(reply)).await.is_err() {
            return T::default();
        }
        answer.await.unwrap_or_default()
    }
}

/// Where the core is told what happened. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Inbox<I, K> {
    events: mpsc::Sender<Event<I, K>>,
    told: watch::Sender<u64>,
}

/// The loop has ended: nobody is told anything any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

impl<I, K> Inbox<I, K> {
    /// Tells the core; waits while many others do.
    pub(crate) async fn tell(&self, input: I) -> Result<(), Ended> {
        self.events.send(Event::Happened(input)).await.map_err(|_| Ended)
    }

    /// It was told of all that was published with this edition.
    pub(crate) fn told(&self, edition: u64) {
        self.told.send_replace(edition);
    }
}

/// A core's inputs that wait, those of the desk among them.
pub(crate) struct Waiting<I, K>(mpsc::Receiver<Event<I, K>>);

/// A desk, with what is behind it.
pub(crate) fn open<I, K>() -> (Desk<I, K>, Inbox<I, K>, Waiting<I, K>) {
    let (events, waiting) = mpsc::channel(INBOX_MAX);
    let (told, known) = watch::channel(0);
    (Desk { events: events.clone(), told: known }, Inbox { events, told }, Waiting(waiting))
}

/// Runs `core` until `shutdown`, or until `watching` ends, which tells it of what is published. The desk
/// answers as long as this runs.
///
/// # Errors
/// As [`drive`].
pub(crate) async fn attend<C, H>(
    (core, servers): (C, BTreeMap<Target, C::Server>),
    hands: H,
    db: Db,
    waiting: Waiting<C::Input, KnownBy<C>>,
    watching: impl Future<Output = ()>,
    shutdown: CancellationToken,
) -> Result<(), durable::Error>
where
    C: Core,
    H: Shell<C>,
{
    let driving = drive(Attended { core, servers }, Front(hands), db, Clock::start(), waiting.0, shutdown);
    tokio::select! {
        ended = driving => ended,
        () = watching => Ok(()),
    }
}

#[derive(Debug)]
enum Event<I, K> {
    Happened(I),
    List(Option<BTreeSet<Name>>, oneshot::Sender<View<K>>),
    ListOverdue(oneshot::Sender<Late>),
}

#[derive(Debug)]
enum Act<O, K> {
    Do(O),
    Tell(oneshot::Sender<View<K>>, View<K>),
    TellOverdue(oneshot::Sender<Late>, Late),
}

/// A machine of its own around the core, for whom a question is an input like another.
struct Attended<C: Core> {
    core: C,
    servers: BTreeMap<Target, C::Server>,
}

impl<C: Core> Machine for Attended<C> {
    type Input = Event<C::Input, KnownBy<C>>;
    type Change = C::Change;
    type Output = Act<C::Output, KnownBy<C>>;

    fn step(&mut self, now: Timestamp, input: Self::Input, outbox: &mut Outbox<Self>) {
        match input {
            Event::Happened(input) => {
                let mut inner = Outbox::new();
                self.core.step(now, input, &mut inner);
                release(inner, outbox);
            }
            Event::List(only, reply) => outbox.send(Act::Tell(reply, self.view(now, only.as_ref()))),
            Event::ListOverdue(reply) => {
                let overdue = self.core.overdue_at(now);
                let late = overdue.map(|(target, overdue)| (target.clone(), Delay::of(now, overdue)));
                outbox.send(Act::TellOverdue(reply, late.collect()));
            }
        }
    }

    fn tick(&mut self, now: Timestamp, outbox: &mut Outbox<Self>) {
        let mut inner = Outbox::new();
        self.core.tick(now, &mut inner);
        release(inner, outbox);
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.core.deadline()
    }
}

fn release<C: Core>(inner: Outbox<C>, outbox: &mut Outbox<Attended<C>>) {
    outbox.changes.extend(inner.changes);
    outbox.outputs.extend(inner.outputs.into_iter().map(Act::Do));
}

impl<C: Core> Attended<C> {
    fn view(&self, now: Timestamp, only: Option<&BTreeSet<Name>>) -> View<KnownBy<C>> {
        let servers = self.servers.iter().filter_map(|(target, server)| {
            let summary = self.core.total(target, only)?;
            let lagging = self.core.each(target, only).filter(|(_, standing)| C::is_lagging(standing));
            let lagging = lagging.take(LISTED_MAX).map(|(name, standing)| (name.clone(), standing));
            Some(Known { server: server.clone(), summary, lagging: lagging.collect() })
        });
        View { now, servers: servers.collect() }
    }
}

/// Answers who asks, and leaves the rest to the core's own shell.
struct Front<H>(H);

impl<C: Core, H: Shell<C>> Shell<Attended<C>> for Front<H> {
    fn persist(&mut self, change: &C::Change, batch: &mut Batch) {
        self.0.persist(change, batch);
    }

    fn perform(&mut self, act: Act<C::Output, KnownBy<C>>) {
        match act {
            // Who asked may have gone.
            Act::Tell(reply, view) => drop(reply.send(view)),
            Act::TellOverdue(reply, late) => drop(reply.send(late)),
            Act::Do(output) => self.0.perform(output),
        }
    }

    fn publish(&mut self, now: Timestamp, machine: &Attended<C>) {
        self.0.publish(now, &machine.core);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_answered_from_before_what_he_asks_for() {
        let (desk, inbox, mut waiting) = open::<(), ()>();
        let asking = tokio::spawn(async move { desk.view_since(2, None).await });
        inbox.told(1);
        tokio::task::yield_now().await;
        assert!(waiting.0.try_recv().is_err());
        inbox.told(2);
        let Some(Event::List(None, reply)) = waiting.0.recv().await else { panic!("nothing is asked") };
        drop(reply.send(View::default()));
        asking.await.unwrap();
    }
}
