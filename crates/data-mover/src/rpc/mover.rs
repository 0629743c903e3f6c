//! `switchback.mover.v1`: access modes and flows, as the link manager drives them.

use std::sync::Arc;
use std::time::Duration;

use switchback_kit::world::aside;
use switchback_model::{AccessMode, ContentId, Epoch};
use switchback_proto::mover::v1::mover_service_server::MoverService;
use switchback_proto::mover::v1::*;
use switchback_store::{AccessRecord, RecordKey};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::{divergence, pending, reply, scrub};
use crate::absence;
use crate::convert::{
    boxed, content_from_wire, content_to_wire, link_id, mode_from_wire, position_to_wire, resolve,
    side_from_wire, system_id, version_to_wire,
};
use crate::desired::Desired;
use crate::flow::exchange::demote;
use crate::link::Link;
use crate::mover::Mover;
use crate::report::report;
use crate::status::{Answer, from_state, invalid, refuse};
use crate::told::Told;

/// A watcher is told at most this often, and at least that often.
const REPORT_INTERVAL_MIN: Duration = Duration::from_millis(100);
const REPORT_INTERVAL_MAX: Duration = Duration::from_millis(1000);

/// The most records that one list names; its counts are exact all the same.
pub(super) const RECORDS_MAX: usize = 1_000;

/// The service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MoverRpc(pub(crate) Arc<Mover>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl MoverService for MoverRpc {
    type WatchMoverStream =
        std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<MoverStatus, Status>> + Send>>;

    async fn set_access(&self, r: Request<SetAccessRequest>) -> Reply<SetAccessResponse> {
        reply(self.access_set(r.into_inner()).await)
    }
    async fn apply_flows(&self, r: Request<ApplyFlowsRequest>) -> Reply<ApplyFlowsResponse> {
        reply(self.flows_apply(r.into_inner()).await)
    }
    async fn forget_link(&self, r: Request<ForgetLinkRequest>) -> Reply<ForgetLinkResponse> {
        reply(self.link_forget(&r.into_inner()).await)
    }
    async fn watch_mover(&self, _: Request<WatchMoverRequest>) -> Reply<Self::WatchMoverStream> {
        let (statuses, stream) = mpsc::channel(1);
        self.0.tasks.spawn(tell(Arc::clone(&self.0), statuses));
        Ok(Response::new(Box::pin(
            ReceiverStream::new(stream).map(|status| status.map_err(|status| *status)),
        )))
    }
    async fn list_pending(&self, r: Request<ListPendingRequest>) -> Reply<ListPendingResponse> {
        reply(pending::list(&self.0, r.get_ref()).await)
    }
    async fn list_divergences(&self, r: Request<ListDivergencesRequest>) -> Reply<ListDivergencesResponse> {
        let (mover, request) = (Arc::clone(&self.0), r.into_inner());
        let listed = aside(move || divergence::list(&mover, &request)).await;
        reply(listed.unwrap_or_else(|_| Err(boxed(switchback_store::Error::Poisoned))))
    }
    async fn list_retries(&self, r: Request<ListRetriesRequest>) -> Reply<ListRetriesResponse> {
        reply(self.retries(&r.into_inner()))
    }
    async fn set_aside(&self, r: Request<SetAsideRequest>) -> Reply<SetAsideResponse> {
        reply(self.aside_set(&r.into_inner()).await)
    }
    async fn get_scrub(&self, r: Request<GetScrubRequest>) -> Reply<GetScrubResponse> {
        let (mover, request) = (Arc::clone(&self.0), r.into_inner());
        let shown = aside(move || scrub::get(&mover, &request)).await;
        reply(shown.unwrap_or_else(|_| Err(boxed(switchback_store::Error::Poisoned))))
    }
    async fn start_scrub(&self, _: Request<StartScrubRequest>) -> Reply<StartScrubResponse> {
        reply(scrub::start(&self.0))
    }
}

/// Tells one watcher, until it or the service goes.
async fn tell(mover: Arc<Mover>, statuses: mpsc::Sender<Result<MoverStatus, Box<Status>>>) {
    let mut bell = mover.bells.listen_status();
    loop {
        bell.mark_unchanged();
        let reading = Arc::clone(&mover);
        let status = aside(move || report(&reading).map_err(boxed)).await;
        let status = status.unwrap_or_else(|_| Err(boxed(switchback_store::Error::Poisoned)));
        if statuses.send(status).await.is_err() {
            return;
        }
        tokio::time::sleep(REPORT_INTERVAL_MIN).await;
        tokio::select! {
            biased;
            () = mover.shutdown.cancelled() => {
                let end = refuse(Code::Unavailable, "UNAVAILABLE", "the data mover is shutting down");
                let _ = statuses.try_send(Err(end));
                return;
            }
            _ = bell.changed() => {}
            () = tokio::time::sleep(REPORT_INTERVAL_MAX - REPORT_INTERVAL_MIN) => {}
            () = statuses.closed() => return,
        }
    }
}

impl MoverRpc {
    async fn access_set(&self, r: SetAccessRequest) -> Answer<SetAccessResponse> {
        let id = link_id(&r.link_id)?;
        let contents = r.contents.iter().map(content_from_wire).collect::<Answer<Vec<_>>>()?;
        let link = self.0.link(id);
        let desired = link.as_ref().map(|link| link.desired());
        let writer = r.writer.clone().unwrap_or_default();
        let access = AccessRecord {
            mode: mode_from_wire(r.mode()),
            epoch: Epoch(r.epoch),
            link: Some(id),
            link_name: r.link.clone(),
            side: side_from_wire(r.side())?,
            local_incarnation: desired.as_ref().map(|desired| desired.local_incarnation).unwrap_or_default(),
            peer_incarnation: desired.as_ref().map(|desired| desired.peer_incarnation).unwrap_or_default(),
            primary_site: system_id(&r.primary_system_id, "primary_system_id")?.into(),
            replica_site: system_id(&r.replica_system_id, "replica_system_id")?.into(),
            writer: Some(writer.domain).filter(|domain| !domain.is_empty()),
            both_read_only: writer.both_read_only,
            orphaned: false,
        };
        // What the peer said may be on its way to the store: no lower epoch passes it.
        if let Some(known) = link.as_ref().map(|link| link.known_epoch())
            && known > access.epoch
        {
            return Err(boxed(switchback_store::Error::StaleEpoch { current: known, offered: access.epoch }));
        }
        if let Some(link) = link.as_ref().filter(|_| access.mode == AccessMode::ReadWrite) {
            absence::note(&self.0, link, access.epoch).await?;
        }
        let positions = self.0.catalogue.set_access(contents, access).await.map_err(boxed)?;
        if let Some(link) = link {
            link.learn_epoch(Epoch(r.epoch));
            link.ring();
        }
        self.0.bells.ring_status();
        Ok(SetAccessResponse { positions: positions.iter().map(position_to_wire).collect() })
    }

    async fn flows_apply(&self, r: ApplyFlowsRequest) -> Answer<ApplyFlowsResponse> {
        let desired = Desired::parse(&r)?;
        let _one_at_a_time = self.0.desiring.lock().await;
        let link = self.0.link(desired.link);
        if let Some(current) = link.as_ref().map(|link| link.desired().generation)
            && current >= desired.generation
        {
            return Ok(ApplyFlowsResponse { current_generation: current });
        }
        if let Some(link) = &link
            && link.desired().local_incarnation != desired.local_incarnation
        {
            self.renew_feeds(link).await?;
        }
        if let Some(link) = &link
            && link.desired().peer() != desired.peer()
        {
            absence::note_gone(&self.0, link).await?;
        }
        let kept = self.0.memory.put_link(desired.link, &r).await.map_err(|error| from_state(&error))?;
        if !kept {
            return Err(invalid("contents: more than one link can hold; split the link"));
        }
        let generation = desired.generation;
        match link {
            Some(link) => self.replace(&link, desired).await?,
            None => drop(self.0.run_link(desired).map_err(boxed)?),
        }
        self.0.bells.ring_status();
        Ok(ApplyFlowsResponse { current_generation: generation })
    }

    async fn replace(&self, link: &Arc<Link>, desired: Desired) -> Answer<()> {
        let before = link.desired();
        // Wishes may come ahead of the access mode. From here on the peer's heartbeats say nothing
        // new, so what they would have done is done now.
        if desired.epoch > link.known_epoch() {
            demote(&self.0, link, &before, desired.epoch).await.map_err(boxed)?;
        }
        if before.peer() != desired.peer() {
            // Another life of the peer: what its former one told counts no more.
            link.set_listed(None);
            for flow in link.flows() {
                let mut state = flow.state();
                state.peer = None;
                state.told = Told::default();
                state.peer_rolled_back = false;
                state.horizon.reset();
                state.receiver.cancel();
            }
        }
        let gone = link.desire(desired);
        for content in &gone {
            let removed = self.0.memory.remove_content(link.id, *content).await;
            removed.map_err(|error| from_state(&error))?;
        }
        // As when the whole link is forgotten: free where it is written, elsewhere read-only until
        // an operator releases it.
        let mut here = Vec::new();
        for content in gone {
            if self.0.status(link.id, content).map_err(boxed)?.is_some() {
                here.push(content);
            }
        }
        if here.is_empty() {
            return Ok(());
        }
        let freed = if link.known_epoch().holder() == before.side {
            self.0.catalogue.release(here).await
        } else {
            self.0.catalogue.orphan(here).await
        };
        freed.map_err(boxed)?;
        Ok(())
    }

    /// A new incarnation says that this system's store was lost or went back in time: our feeds
    /// begin new lives, so that nobody takes what we wrote before for what we write now. The peer
    /// compares digests then, and is sent only what differs.
    async fn renew_feeds(&self, link: &Link) -> Answer<()> {
        for flow in link.flows() {
            if self.0.status(link.id, flow.content.id).map_err(boxed)?.is_some() {
                self.0.catalogue.renew_feed(flow.content.id).await.map_err(boxed)?;
            }
            flow.state().local_rolled_back = false;
        }
        Ok(())
    }

    async fn link_forget(&self, r: &ForgetLinkRequest) -> Answer<ForgetLinkResponse> {
        let id = link_id(&r.link_id)?;
        let _one_at_a_time = self.0.desiring.lock().await;
        self.0.drop_link(id);
        self.0.memory.remove_link(id).await.map_err(|error| from_state(&error))?;
        let contents = self.0.catalogue.contents().map_err(boxed)?;
        let mine = contents.iter().filter(|status| status.access.link == Some(id));
        let mine: Vec<ContentId> = mine.map(|status| status.content.id).collect();
        let forgotten = if r.release {
            self.0.catalogue.release(mine).await
        } else {
            self.0.catalogue.orphan(mine).await
        };
        forgotten.map_err(boxed)?;
        self.0.bells.ring_status();
        Ok(ForgetLinkResponse {})
    }

    fn retries(&self, r: &ListRetriesRequest) -> Answer<ListRetriesResponse> {
        let link = self.find(&r.link_id)?;
        let mut retries = Vec::new();
        for flow in link.flows() {
            let state = flow.state();
            retries.extend(state.retries.entries().map(|entry| Retry {
                content: Some(content_to_wire(&flow.content)),
                namespace: entry.key.namespace().to_owned(),
                key: entry.key.label(),
                version: Some(version_to_wire(entry.version)),
                reason: entry.reason.clone(),
                attempts: entry.attempts,
                next_attempt_unix_ms: entry.next_attempt_unix_ms,
                set_aside: entry.set_aside,
                sending: true,
            }));
        }
        Ok(ListRetriesResponse { retries })
    }

    async fn aside_set(&self, r: &SetAsideRequest) -> Answer<SetAsideResponse> {
        let link = self.find(&r.link_id)?;
        let content = resolve(&self.0.catalogue, r.content.as_ref())?;
        let no_retry = || refuse(Code::NotFound, "NO_SUCH_KEY", "no such object is on the retry list");
        let flow = link.flow(content).ok_or_else(no_retry)?;
        let aside: Vec<_> = {
            let mut state = flow.state();
            // More than one are versions of one object.
            let keys = state.retries.entries().map(|entry| entry.key.clone());
            let named = |key: &RecordKey| key.namespace() == r.namespace && key.label() == r.key;
            let keys: Vec<_> = keys.filter(named).collect();
            keys.iter().filter_map(|key| state.retries.set_aside(key)).collect()
        };
        if aside.is_empty() {
            return Err(no_retry());
        }
        let noted = self.0.memory.put_retries(link.id, content, &aside).await;
        noted.map_err(|error| from_state(&error))?;
        link.ring();
        self.0.bells.ring_status();
        Ok(SetAsideResponse {})
    }

    fn find(&self, id: &[u8]) -> Answer<Arc<Link>> {
        find(&self.0, id)
    }
}

pub(super) fn find(mover: &Mover, id: &[u8]) -> Answer<Arc<Link>> {
    let no_link = || refuse(Code::NotFound, "NO_SUCH_LINK", "no flows of this link are known here");
    mover.link(link_id(id)?).ok_or_else(no_link)
}
