//! NOTIFY and questions on their way to one name server, and what comes back.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::sync::mpsc;

use crate::announce::Inbox;
use crate::core::contact::Target;
use crate::core::follow::{Exchange, Input, OUTSTANDING_CEILING, Reason};
use crate::core::name::Name;
use crate::core::transfer;
use crate::core::zone::{Serial, Snapshot, Zone};
use crate::correspondent::{BURST_MAX, Correspondent, Failure, Sending};
use crate::respond::{serial_in, wire_name, wire_record};

/// What is to be said, and of which zone.
#[derive(Clone, Debug)]
pub(crate) struct Errand(pub(crate) Name, pub(crate) Exchange);

/// Says it to one name server: what is to be said at once leaves at once.
pub(crate) struct Courier {
    pub(crate) target: Target,
    pub(crate) correspondent: Correspondent,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Where each errand's end is told.
    pub(crate) inbox: Inbox,
}

impl Courier {
    /// Until nobody has errands any more. There is room for all that may be outstanding.
    pub(crate) fn start(self) -> mpsc::Sender<Errand> {
        let (errands, waiting) = mpsc::channel(OUTSTANDING_CEILING);
        tokio::spawn(Arc::new(self).run(waiting));
        errands
    }

    async fn run(self: Arc<Self>, mut errands: mpsc::Receiver<Errand>) {
        let mut batch = Vec::with_capacity(BURST_MAX);
        while errands.recv_many(&mut batch, BURST_MAX).await > 0 {
            let snapshot = self.snapshot.load_full();
            // Knot tells the serial of a catalogue by TCP alone.
            let by_stream = |Errand(zone, exchange): &mut Errand| {
                *exchange == Exchange::Ask && snapshot.zone(zone).is_some_and(|zone| zone.is_private())
            };
            for errand in batch.extract_if(.., by_stream) {
                tokio::spawn(Arc::clone(&self).by_stream(errand));
            }
            self.by_datagrams(&snapshot, batch.drain(..)).await;
        }
    }

    /// Sends; what comes back is somebody else's to wait for.
    async fn by_datagrams(self: &Arc<Self>, snapshot: &Snapshot, errands: impl Iterator<Item = Errand>) {
        let messages = errands.map(|errand| {
            let message = errand.message(snapshot);
            (errand, message)
        });
        let burst = self.correspondent.burst(messages).await;
        let this = Arc::clone(self);
        tokio::spawn(burst.end(async move |errand, answer| match answer {
            Ok(answer) if answer.truncation => drop(tokio::spawn(Arc::clone(&this).whole(errand))),
            answer => this.tell(errand, answer).await,
        }));
    }

    /// Asks by TCP; who has none may yet tell it.
    async fn by_stream(self: Arc<Self>, errand: Errand) {
        let snapshot = self.snapshot.load_full();
        match self.correspondent.exchange(&errand.message(&snapshot), Sending::Stream).await {
            Ok(answer) => self.tell(errand, Ok(answer)).await,
            Err(_) => self.by_datagrams(&snapshot, [errand].into_iter()).await,
        }
    }

    /// Asks by TCP for what did not fit into a datagram.
    async fn whole(self: Arc<Self>, errand: Errand) {
        let message = errand.message(&self.snapshot.load());
        let answer = self.correspondent.exchange(&message, Sending::Stream).await;
        self.tell(errand, answer).await;
    }

    async fn tell(&self, Errand(zone, exchange): Errand, answer: Result<Message, Failure>) {
        let target = self.target.clone();
        let input = match (exchange, answer) {
            (_, Err(failure)) => Input::ExchangeFailed { target, zone, exchange, reason: reason(&failure) },
            (Exchange::Notify, Ok(answer)) if answer.response_code == ResponseCode::NoError => {
                Input::NotifyAcknowledged { target, zone }
            }
            (Exchange::Notify, Ok(_)) => Input::NotifyRefused { target, zone },
            (Exchange::Ask, Ok(answer)) => {
                Input::SoaAnswered { target, zone, serial: served_serial(&answer) }
            }
        };
        // When the loop has ended, nobody waits for it.
        _ = self.inbox.tell(input).await;
    }
}

impl Errand {
    fn message(&self, snapshot: &Snapshot) -> Message {
        let Self(zone, exchange) = self;
        match exchange {
            Exchange::Notify => notify(zone, snapshot.zone(zone).map(AsRef::as_ref)),
            Exchange::Ask => question(zone),
        }
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

pub(crate) fn question(origin: &Name) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(wire_name(origin), RecordType::SOA));
    message
}

/// The serial that whoever answered serves itself: one that is told by hearsay does not count.
pub(crate) fn served_serial(answer: &Message) -> Option<Serial> {
    if !answer.authoritative || answer.response_code != ResponseCode::NoError {
        return None;
    }
    serial_in(&answer.answers)
}
