//! Tells the name servers that follow what changed, and asks them what they serve: carries out what
//! [`crate::core::follow`] decides.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use switchback_kit::drive::{Clock, Shell, drive};
use switchback_kit::durable::{self, Batch, Db};
use switchback_machine::{Machine, Outbox, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::access::Secondary;
use crate::convert::millis;
use crate::core::follow::{
    Exchange, Followers, Input, Output, Overdue, Reason, Standing, State, Summary, Target,
};
use crate::core::name::Name;
use crate::core::transfer;
use crate::core::zone::{Serial, Snapshot, Zone};
use crate::correspondent::{Correspondent, Failure, Sending};
use crate::respond::{serial_in, wire_name, wire_record};
use crate::tsig::Keys;

/// Zones of one name server that are listed because they are not followed; more are counted.
const LISTED_MAX: usize = 100;
/// Zones that the core is told of at once: some ten milliseconds of work, in which nobody else is
/// told or heard.
const PUBLISHED_MAX: usize = 1000;
/// Inputs that may wait.
const INBOX_MAX: usize = 1024;

/// How far one name server has followed.
#[derive(Clone, Debug)]
pub struct Following {
    /// Who it is.
    pub secondary: Secondary,
    /// All its zones together.
    pub summary: Summary,
    /// Zones that it does not follow, some of them when there are many.
    pub lagging: Vec<(Name, Standing)>,
}

/// What is known of everybody, and of which instant.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The present, on the clock that the other times are on.
    pub now: Timestamp,
    /// In the order of their names.
    pub followers: Vec<Following>,
}

/// Asks for the view. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Event>);

impl Desk {
    /// What is known now of all zones, or of `zones`; nothing while the service ends.
    pub async fn view(&self, zones: Option<BTreeSet<Name>>) -> View {
        self.ask(|reply| Event::List(zones, reply)).await
    }

    /// Whom somebody should look at, and since how long they are silent or how many zones they miss.
    pub async fn overdue(&self) -> Vec<(Target, Delay)> {
        self.ask(Event::ListOverdue).await
    }

    async fn ask<T: Default>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> T {
        let (reply, answer) = oneshot::channel();
        if self.0.send(event(reply)).await.is_err() {
            return T::default();
        }
        answer.await.unwrap_or_default()
    }
}

/// As [`Overdue`], for people who know no timestamps of this process.
#[derive(Clone, Copy, Debug)]
pub enum Delay {
    /// It has been silent for so long.
    Silent(Duration),
    /// It does not serve so many zones as they were published.
    Late(usize),
}

impl Delay {
    pub(crate) fn of(now: Timestamp, (target, overdue): (&Target, Overdue)) -> (Target, Self) {
        let delay = match overdue {
            Overdue::Silent { since } => Self::Silent(now.since(since)),
            Overdue::Late { zones } => Self::Late(zones),
        };
        (target.clone(), delay)
    }
}

/// A machine of its own around the core, so that a reader is answered between two steps.
struct Announcer {
    followers: Followers,
    secondaries: BTreeMap<Target, Secondary>,
}

#[derive(Debug)]
enum Event {
    Happened(Input),
    List(Option<BTreeSet<Name>>, oneshot::Sender<View>),
    ListOverdue(oneshot::Sender<Vec<(Target, Delay)>>),
}

#[derive(Debug)]
enum Act {
    Do(Output),
    Tell(oneshot::Sender<View>, View),
    TellOverdue(oneshot::Sender<Vec<(Target, Delay)>>, Vec<(Target, Delay)>),
}

impl Machine for Announcer {
    type Input = Event;
    type Change = Infallible;
    type Output = Act;

    fn step(&mut self, now: Timestamp, input: Event, outbox: &mut Outbox<Self>) {
        match input {
            Event::Happened(input) => {
                let mut inner = Outbox::new();
                self.followers.step(now, input, &mut inner);
                outbox.outputs.extend(inner.outputs.into_iter().map(Act::Do));
            }
            Event::List(zones, reply) => {
                outbox.send(Act::Tell(reply, self.view(now, zones.as_ref())));
            }
            Event::ListOverdue(reply) => {
                let overdue = self.followers.overdue(now).map(|overdue| Delay::of(now, overdue));
                outbox.send(Act::TellOverdue(reply, overdue.collect()));
            }
        }
    }

    fn tick(&mut self, now: Timestamp, outbox: &mut Outbox<Self>) {
        let mut inner = Outbox::new();
        self.followers.tick(now, &mut inner);
        outbox.outputs.extend(inner.outputs.into_iter().map(Act::Do));
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.followers.deadline()
    }
}

impl Announcer {
    fn view(&self, now: Timestamp, zones: Option<&BTreeSet<Name>>) -> View {
        let followers = self.followers.summaries().filter_map(|(target, mut summary)| {
            let standings: Box<dyn Iterator<Item = (&Name, Standing)>> = match zones {
                None => Box::new(self.followers.standings(target, None)),
                Some(zones) => {
                    let standings = || {
                        let of = |zone| Some((zone, self.followers.standing(target, zone)?));
                        zones.iter().filter_map(of)
                    };
                    summary = summary.of(standings().map(|(_, standing)| standing));
                    Box::new(standings())
                }
            };
            let lagging = standings.filter(|(_, standing)| standing.state != State::Converged);
            Some(Following {
                secondary: self.secondaries.get(target)?.clone(),
                summary,
                lagging: lagging.take(LISTED_MAX).map(|(zone, standing)| (zone.clone(), standing)).collect(),
            })
        });
        View { now, followers: followers.collect() }
    }
}

/// What a run needs.
pub(crate) struct Announcing {
    pub(crate) secondaries: Vec<Secondary>,
    pub(crate) keys: Keys,
    /// Where this server is asked: what it sends comes from there, for that is whom the others know.
    pub(crate) own: Vec<IpAddr>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) published: watch::Receiver<()>,
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
        let (inbox, events) = mpsc::channel(INBOX_MAX);
        let desk = Desk(inbox.clone());
        let secondaries: BTreeMap<_, _> =
            self.secondaries.into_iter().map(|secondary| (Target::new(&secondary.name), secondary)).collect();
        let correspondents = secondaries.iter().map(|(target, secondary)| {
            let key = secondary.key.as_ref().and_then(|key| self.keys.get(key)).cloned();
            (target.clone(), Arc::new(Correspondent::new(secondary.address, &self.own, key)))
        });
        let shell = Hands {
            correspondents: correspondents.collect(),
            snapshot: Arc::clone(&self.snapshot),
            inbox: inbox.clone(),
        };
        let machine = Announcer { followers, secondaries };
        let watching = watch_zones(self.snapshot, self.published, inbox);
        let driving = drive(machine, shell, self.db, Clock::start(), events, shutdown);
        let running = async move {
            tokio::select! {
                ended = driving => ended,
                () = watching => Ok(()),
            }
        };
        (desk, running)
    }
}

/// Tells the core of each zone that may be taken from here and is another than before.
async fn watch_zones(
    snapshot: Arc<ArcSwap<Snapshot>>,
    mut published: watch::Receiver<()>,
    inbox: mpsc::Sender<Event>,
) {
    let mut before = Arc::new(Snapshot::default());
    loop {
        published.borrow_and_update();
        let present = snapshot.load_full();
        let inputs = difference(&before, &present);
        before = present;
        for input in inputs {
            if inbox.send(Event::Happened(input)).await.is_err() {
                return;
            }
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}

/// What is another, in portions.
fn difference(before: &Snapshot, after: &Snapshot) -> Vec<Input> {
    fn serial(snapshot: &Snapshot, zone: &Zone) -> Option<Serial> {
        let zone = snapshot.zone(zone.origin())?;
        (zone.is_transferable() && !zone.is_held()).then(|| zone.serial())
    }
    let changed = after.zones().filter_map(|zone| {
        let now = serial(after, zone)?;
        (serial(before, zone) != Some(now)).then(|| (zone.origin().clone(), now))
    });
    let gone = before.zones().filter(|zone| serial(before, zone).is_some() && serial(after, zone).is_none());
    let changed: Vec<_> = changed.collect();
    let gone: Vec<_> = gone.map(|zone| zone.origin().clone()).collect();
    let gone = gone.chunks(PUBLISHED_MAX).map(|zones| (Vec::new(), zones.to_vec()));
    let changed = changed.chunks(PUBLISHED_MAX).map(|zones| (zones.to_vec(), Vec::new()));
    gone.chain(changed).map(|(changed, removed)| Input::Published { changed, removed }).collect()
}

struct Hands {
    correspondents: BTreeMap<Target, Arc<Correspondent>>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    inbox: mpsc::Sender<Event>,
}

impl Shell<Announcer> for Hands {
    fn persist(&mut self, change: &Infallible, _: &mut Batch) {
        match *change {}
    }

    fn perform(&mut self, act: Act) {
        match act {
            // Who asked may have gone.
            Act::Tell(reply, view) => drop(reply.send(view)),
            Act::TellOverdue(reply, overdue) => drop(reply.send(overdue)),
            Act::Do(Output::Notify { target, zone, .. }) => {
                let message = notify(&zone, self.snapshot.load().zone(&zone).map(AsRef::as_ref));
                self.exchange(target, zone, Exchange::Notify, message);
            }
            Act::Do(Output::Ask { target, zone }) => {
                let message = question(&zone);
                self.exchange(target, zone, Exchange::Ask, message);
            }
            Act::Do(output) => log(output),
        }
    }

    fn publish(&mut self, _: Timestamp, _: &Announcer) {}
}

impl Hands {
    fn exchange(&self, target: Target, zone: Name, exchange: Exchange, message: Message) {
        let Some(correspondent) = self.correspondents.get(&target).cloned() else { return };
        let inbox = self.inbox.clone();
        let is_private = self.snapshot.load().zone(&zone).is_some_and(|zone| zone.is_private());
        tokio::spawn(async move {
            // Knot tells the serial of a catalogue by TCP alone, and who has no TCP may yet tell it.
            let by_stream = is_private && exchange == Exchange::Ask;
            let mut answer = Err(Failure::Unreachable);
            if by_stream {
                answer = correspondent.exchange(&message, Sending::Stream).await;
            }
            if answer.is_err() {
                answer = correspondent.exchange(&message, Sending::Once).await;
            }
            let input = match (exchange, answer) {
                (_, Err(failure)) => {
                    Input::ExchangeFailed { target, zone, exchange, reason: reason(&failure) }
                }
                (Exchange::Notify, Ok(answer)) if answer.response_code == ResponseCode::NoError => {
                    Input::NotifyAcknowledged { target, zone }
                }
                (Exchange::Notify, Ok(_)) => Input::NotifyRefused { target, zone },
                (Exchange::Ask, Ok(answer)) => {
                    let serial = served_serial(&answer);
                    Input::SoaAnswered { target, zone, serial }
                }
            };
            // The loop has ended: so does this.
            drop(inbox.send(Event::Happened(input)).await);
        });
    }
}

fn reason(failure: &Failure) -> Reason {
    match failure {
        Failure::TimedOut => Reason::TimedOut,
        Failure::Unreachable => Reason::Unreachable,
        Failure::Unproven(_) => Reason::Unproven,
    }
}

/// RFC 1996 section 3.7: the SOA goes with it, as a hint.
fn notify(origin: &Name, zone: Option<&Zone>) -> Message {
    let mut message = question(origin);
    message.metadata.op_code = OpCode::Notify;
    message.metadata.authoritative = true;
    message.answers = zone.into_iter().flat_map(transfer::start).map(wire_record).collect();
    message
}

fn question(origin: &Name) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(wire_name(origin), RecordType::SOA));
    message
}

/// The serial that whoever answered serves itself: one that is told by hearsay does not count.
fn served_serial(answer: &Message) -> Option<Serial> {
    if !answer.authoritative || answer.response_code != ResponseCode::NoError {
        return None;
    }
    serial_in(&answer.answers)
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
