//! What the link manager adds to its core: storage, the world, and snapshots for readers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dns::{Desired, Zones};
use switchback_kit::drive;
use switchback_kit::durable::Batch;
use switchback_link_core::{Change, Done, Error, LinkMachine, LinkView, Output, Token};
use switchback_machine::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::mover::Asker;
use crate::peer::Peers;
use crate::store;

/// What callers wait for. A caller that went away is dropped when its answer comes.
#[derive(Clone, Default)]
pub(crate) struct Replies(Arc<Mutex<(u64, BTreeMap<Token, Waiting>)>>);

type Waiting = oneshot::Sender<Result<Done, Error>>;

impl Replies {
    /// A token, and where its answer will come.
    pub(crate) fn expect(&self) -> (Token, oneshot::Receiver<Result<Done, Error>>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0 += 1;
        let token = Token(waiting.0);
        waiting.1.retain(|_, sender| !sender.is_closed());
        waiting.1.insert(token, sender);
        (token, receiver)
    }

    fn answer(&self, token: Token, answer: Result<Done, Error>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&token);
        // The caller may have gone away; the command was done all the same.
        sender.map(|sender| sender.send(answer).ok());
    }
}

/// What readers see: the links as they were after the last commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) links: Vec<LinkView>,
}

pub(crate) struct LinkShell {
    pub(crate) asker: Asker,
    pub(crate) peers: Peers,
    pub(crate) replies: Replies,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) desired: watch::Sender<Option<Desired>>,
    pub(crate) dials: BTreeSet<String>,
    pub(crate) zones: Zones,
}

impl drive::Shell<LinkMachine> for LinkShell {
    fn persist(&mut self, change: &Change, batch: &mut Batch) {
        if let Change::PutEvent(event) = change {
            tracing::info!(event = event.id, link = event.link, text = event.text, "system log");
        }
        self.zones.note(change);
        store::persist(change, batch);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Reply(token, answer) => self.replies.answer(token, answer.map(|done| *done)),
            Output::Send(domain, message) => self.peers.send(&domain, &message),
            Output::SetAccess(access) => self.asker.set_access(*access),
            Output::ApplyFlows(spec) => self.asker.apply_flows(*spec),
            Output::ForgetLink { link, release } => self.asker.forget(link, release),
            Output::Accepted(request) => tracing::debug!(request = request.0, "command accepted"),
        }
    }

    fn publish(&mut self, _now: Timestamp, machine: &LinkMachine) {
        let links = machine.views();
        self.snapshot.send_replace(Arc::new(Snapshot { links }));
        let dials = machine.dials();
        if dials != self.dials {
            self.peers.dial(&dials);
            self.dials = dials;
        }
        let desired = self.zones.desired(machine);
        self.desired.send_if_modified(|present| {
            let changed = *present != desired;
            *present = desired;
            changed
        });
    }
}
