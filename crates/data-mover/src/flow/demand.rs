//! The bodies that come in on one flow: each waits for its place, is demanded, and then has a task of its
//! own that takes its chunks until it is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::BoxFuture;
use switchback_proto::replication::v1::{BodyDemand, Chunk, Demand, ReceiverMessage};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::incoming::{Alive, Error, IncomingBody, Outcome};
use super::inlet::{NotDemanded, Open};
use super::limit::LEAVING_TIME;
use super::room::Place;
use crate::link::Link;
use crate::mover::Mover;

/// A body that is not demanded yet: its batch, and the place of its change in that.
pub(crate) struct Wanted {
    pub(crate) batch: u64,
    pub(crate) index: u32,
    pub(crate) body: IncomingBody,
}

/// What became of a body that was demanded: its batch, and the place of its change in that.
pub(crate) struct Come {
    pub(crate) batch: u64,
    pub(crate) index: u32,
    pub(crate) outcome: Result<Outcome, Error>,
}

/// What happens next to the bodies of a flow.
pub(crate) enum Step {
    /// The first of those that wait has its place.
    Place(Place),
    /// One has come, or a task broke.
    Come(Result<Come, JoinError>),
}

/// See the module.
pub(crate) struct Bodies {
    mover: Arc<Mover>,
    link: Arc<Link>,
    answers: mpsc::Sender<ReceiverMessage>,
    /// In the order of their changes.
    waiting: VecDeque<Wanted>,
    /// The place of the first of them, on its way.
    place: Option<BoxFuture<'static, Place>>,
    coming: JoinSet<Come>,
    /// Where their chunks come to.
    open: Open,
}

impl Bodies {
    /// None yet.
    pub(crate) fn new(
        mover: &Arc<Mover>,
        link: &Arc<Link>,
        answers: &mpsc::Sender<ReceiverMessage>,
        open: Open,
    ) -> Self {
        Self {
            mover: Arc::clone(mover),
            link: Arc::clone(link),
            answers: answers.clone(),
            waiting: VecDeque::new(),
            place: None,
            coming: JoinSet::new(),
            open,
        }
    }

    /// These are demanded when it is their place.
    pub(crate) fn want(&mut self, bodies: Vec<Wanted>) {
        self.waiting.extend(bodies);
        self.await_place();
    }

    /// A batch of which a body waits for its place.
    pub(crate) fn waiting(&self) -> Option<u64> {
        self.waiting.front().map(|wanted| wanted.batch)
    }

    /// What happens next; for ever when nothing does. Nothing is lost when this is dropped.
    pub(crate) async fn next(&mut self) -> Step {
        let place = async {
            match &mut self.place {
                Some(place) => place.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(come) = self.coming.join_next() => {
                if let Ok(come) = &come {
                    self.open.landing.inlets.close(come.batch, come.index);
                }
                Step::Come(come)
            }
            place = place => {
                self.place = None;
                Step::Place(place)
            }
        }
    }

    /// What is to be demanded now: the next body, whose place it is, and those behind it that need not wait
    /// for theirs.
    pub(crate) fn demand(&mut self, place: Place) -> Vec<Demand> {
        let mut demands: Vec<Demand> = Vec::new();
        let mut place = Some(place);
        while let Some(its) = place.take()
            && let Some(wanted) = self.waiting.pop_front()
        {
            let batch = wanted.batch;
            let demanded = self.begin(wanted, its);
            match demands.last_mut().filter(|demand| demand.batch == batch) {
                Some(demand) => demand.bodies.push(demanded),
                None => demands.push(Demand { batch, bodies: vec![demanded] }),
            }
            place = self.waiting.front().and_then(|next| self.link.room.try_take(next.body.left()));
        }
        self.await_place();
        demands
    }

    /// A chunk came on the flow's own stream; waits while the disk is behind.
    ///
    /// # Errors
    /// See [`NotDemanded`].
    pub(crate) async fn give(&mut self, chunk: Chunk) -> Result<(), NotDemanded> {
        self.open.landing.give(chunk).await
    }

    /// No more of this body comes. What came of it stays, to be resumed.
    pub(crate) fn withdraw(&self, batch: u64, index: u32) {
        self.open.landing.inlets.close(batch, index);
    }

    /// The stream has ended: what came whole of bodies becomes durable, to be resumed. A disk that takes
    /// longer than [`LEAVING_TIME`] costs that the rest of it comes again.
    pub(crate) async fn leave(&mut self) {
        self.open.landing.inlets.close_all();
        let leaving = async { while self.coming.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LEAVING_TIME, leaving).await;
    }

    /// Asks for the place of the next body, unless that was done.
    fn await_place(&mut self) {
        if let (None, Some(next)) = (&self.place, self.waiting.front()) {
            self.place = Some(Box::pin(self.link.room.take(next.body.left())));
        }
    }

    fn begin(&mut self, Wanted { batch, index, body }: Wanted, place: Place) -> BodyDemand {
        let offset = body.offset();
        let (mover, chunks) = (Arc::clone(&self.mover), self.open.landing.inlets.open(batch, index));
        let alive = Alive { answers: self.answers.clone(), batch };
        let background = self.mover.background.clone();
        let receive = async move {
            let _until_it_is_durable = place;
            let outcome = Box::pin(body.receive(&mover, chunks, &alive)).await;
            Come { batch, index, outcome }
        };
        self.coming.spawn_on(receive, &background);
        BodyDemand { index, offset }
    }
}
