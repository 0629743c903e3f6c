//! The operators' service: decode, hand to the machine, await its reply, encode.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use switchback_kit::durable::Db;
use switchback_kit::grpc::Channel;
use switchback_kit::tls::IdentityWatch;
use switchback_kit::world::time::unix_ms;
use switchback_kit::world::{aside, random};
use switchback_link_core::{Command, CommandKind, Done, Error, Input};
use switchback_model::LinkId;
use switchback_proto::dns::v1::NewestSerialRequest;
use switchback_proto::dns::v1::dns_service_client::DnsServiceClient;
use switchback_proto::link::v1 as wire;
use switchback_proto::link::v1::link_service_server::LinkService;
use switchback_proto::model::v1::{Content, ContentKind};
use switchback_proto::mover::v1 as mover_wire;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::convert::command::Frame;
use crate::convert::{self, content_name};
use crate::mover::Mover;
use crate::plan;
use crate::shell::{Replies, Snapshot};
use crate::{status, store};

/// Lines of the system log in one answer.
const EVENTS_MAX: u32 = 1000;

/// Records of a plan, divergences in one answer.
const RECORDS_MAX: u32 = 1000;

/// How long a command waits for news of content that is not known yet.
const NEWS_TIME: Duration = Duration::from_millis(500);

/// How long a command waits for the DNS broadcaster.
const SERIAL_TIME: Duration = Duration::from_secs(2);

/// Between two looks.
const NEWS_PAUSE: Duration = Duration::from_millis(50);

/// Watchers hear at least this often.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Rpc {
    pub(crate) config: Config,
    pub(crate) db: Db,
    pub(crate) identity: IdentityWatch,
    pub(crate) inbox: mpsc::Sender<Input>,
    pub(crate) mover: Mover,
    pub(crate) dns: Channel,
    pub(crate) replies: Replies,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(crate) shutdown: CancellationToken,
}

type Answer = Result<Response<wire::CommandResponse>, Status>;

impl Rpc {
    /// The newest serial of the zones of these contents; 0 when there is none. A broadcaster that cannot say
    /// keeps nobody from making a link: its serials begin at the clock, as a rule ahead of all.
    async fn zone_floor(&self, contents: &[Content]) -> u32 {
        let tenants = contents.iter().filter(|content| content.kind() == ContentKind::Tenant);
        let names = tenants.map(|tenant| format!("{}.{}", tenant.name, self.config.system.domain));
        let names: Vec<_> = names.collect();
        if names.is_empty() {
            return 0;
        }
        let mut client = DnsServiceClient::new(self.dns.clone());
        let asked = client.newest_serial(NewestSerialRequest { names });
        match tokio::time::timeout(SERIAL_TIME, asked).await {
            Ok(Ok(answer)) => answer.into_inner().serial,
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    "DNS broadcaster does not say which serials names have; a link's begin at the clock"
                );
                0
            }
        }
    }

    /// Hands a command to the machine and answers with what it did.
    async fn run(&self, request_id: &str, plan: bool, link: &str, kind: CommandKind) -> Answer {
        let started = Instant::now();
        let done = loop {
            let (token, reply) = self.replies.expect();
            let command: Command = Frame { token, request_id, plan, link }.command(kind.clone())?;
            let gone = || Status::unavailable("the link manager is stopping; try again");
            self.inbox.send(Input::Command(Box::new(command))).await.map_err(|_| gone())?;
            match reply.await.map_err(|_| gone())? {
                Ok(done) => break done,
                // The mover tells of content that was made just now up to a tenth of a second later.
                Err(Error::UnknownContent { .. }) if started.elapsed() < NEWS_TIME => {
                    tokio::time::sleep(NEWS_PAUSE).await;
                }
                Err(error) => return Err(status::of(&error)),
            }
        };
        let tells = done.moves_authority || matches!(kind, CommandKind::Restore);
        let pending = if plan && tells { Some(self.pending(&done).await) } else { None };
        let took = if plan { 0 } else { u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX) };
        let view = self
            .snapshot
            .borrow()
            .links
            .iter()
            .find(|view| view.link.id == done.link)
            .map(convert::view::link_out);
        Ok(Response::new(wire::CommandResponse {
            link: view,
            steps: done.steps,
            warnings: done.warnings,
            pending,
            took_ms: took,
        }))
    }

    /// What is not on both sides, as far as this side can know.
    async fn pending(&self, done: &Done) -> wire::Pending {
        let request = mover_wire::ListPendingRequest {
            link_id: done.link.as_bytes().to_vec().into(),
            records_max: RECORDS_MAX,
            ask_peer: true,
        };
        let answer = self.mover.client().list_pending(request).await;
        let snapshot = self.snapshot.borrow();
        let view = snapshot.links.iter().find(|view| view.link.id == done.link);
        match answer {
            Ok(answer) => plan::pending_out(answer.into_inner(), view),
            Err(status) => wire::Pending {
                unknown: format!("anything: the data mover did not say: {}", status.message()),
                ..Default::default()
            },
        }
    }

    fn find(&self, named: &str) -> Result<LinkId, Status> {
        let snapshot = self.snapshot.borrow();
        let by_id = |view: &&switchback_link_core::LinkView| view.link.id.to_string() == named;
        let by_name =
            |view: &&switchback_link_core::LinkView| view.link.shared.name.eq_ignore_ascii_case(named);
        let found = snapshot.links.iter().find(|view| by_id(view) || by_name(view));
        found.map(|view| view.link.id).ok_or_else(|| status::of(&Error::UnknownLink { link: named.into() }))
    }

    fn list(&self) -> wire::ListLinksResponse {
        list(&self.snapshot.borrow())
    }
}

fn list(snapshot: &Snapshot) -> wire::ListLinksResponse {
    wire::ListLinksResponse { links: snapshot.links.iter().map(convert::view::link_out).collect() }
}

#[tonic::async_trait]
impl LinkService for Rpc {
    async fn create_link(&self, request: Request<wire::CreateLinkRequest>) -> Answer {
        let request = request.into_inner();
        let mut id = LinkId::default();
        random::fill(&mut id.0).map_err(|error| Status::internal(error.to_string()))?;
        let zone_floor = self.zone_floor(&request.contents).await;
        let kind = convert::command::create(&request, id, zone_floor)?;
        self.run(&request.request_id, request.plan, &request.name, kind).await
    }

    async fn list_links(
        &self,
        _: Request<wire::ListLinksRequest>,
    ) -> Result<Response<wire::ListLinksResponse>, Status> {
        Ok(Response::new(self.list()))
    }

    async fn get_link(
        &self,
        request: Request<wire::GetLinkRequest>,
    ) -> Result<Response<wire::GetLinkResponse>, Status> {
        let id = self.find(&request.into_inner().link)?;
        let snapshot = self.snapshot.borrow();
        let link = snapshot.links.iter().find(|view| view.link.id == id).map(convert::view::link_out);
        Ok(Response::new(wire::GetLinkResponse { link }))
    }

    type WatchLinksStream = BoxStream<'static, Result<wire::ListLinksResponse, Status>>;

    async fn watch_links(
        &self,
        _: Request<wire::WatchLinksRequest>,
    ) -> Result<Response<Self::WatchLinksStream>, Status> {
        let mut snapshot = self.snapshot.clone();
        snapshot.mark_changed();
        let watching = futures::stream::unfold((snapshot, None), async |(mut snapshot, last)| {
            loop {
                let waited = tokio::time::timeout(WATCH_INTERVAL, snapshot.changed()).await;
                if matches!(waited, Ok(Err(_))) {
                    return None;
                }
                let present = list(&snapshot.borrow_and_update());
                // Steps that changed nothing an operator sees are not worth a message.
                if waited.is_err() || last.as_ref() != Some(&present) {
                    return Some((Ok(present.clone()), (snapshot, Some(present))));
                }
            }
        });
        Ok(Response::new(watching.take_until(self.shutdown.clone().cancelled_owned()).boxed()))
    }

    async fn update_link(&self, request: Request<wire::UpdateLinkRequest>) -> Answer {
        let request = request.into_inner();
        let zone_floor = self.zone_floor(&request.add_contents).await;
        let kind = convert::command::update(&request, zone_floor)?;
        self.run(&request.request_id, request.plan, &request.link, kind).await
    }

    async fn delete_link(&self, request: Request<wire::DeleteLinkRequest>) -> Answer {
        let request = request.into_inner();
        let kind = CommandKind::Delete { without_peer: request.without_peer };
        self.run(&request.request_id, request.plan, &request.link, kind).await
    }

    async fn suspend_link(&self, request: Request<wire::LinkCommand>) -> Answer {
        let request = request.into_inner();
        self.run(&request.request_id, request.plan, &request.link, CommandKind::Suspend).await
    }

    async fn resume_link(&self, request: Request<wire::LinkCommand>) -> Answer {
        let request = request.into_inner();
        self.run(&request.request_id, request.plan, &request.link, CommandKind::Resume).await
    }

    async fn pause_content(&self, request: Request<wire::ContentCommand>) -> Answer {
        let request = request.into_inner();
        let content = content_name(&request.content.unwrap_or_default())?;
        self.run(&request.request_id, request.plan, &request.link, CommandKind::Pause(content)).await
    }

    async fn resume_content(&self, request: Request<wire::ContentCommand>) -> Answer {
        let request = request.into_inner();
        let content = content_name(&request.content.unwrap_or_default())?;
        self.run(&request.request_id, request.plan, &request.link, CommandKind::Unpause(content)).await
    }

    async fn fail_over(&self, request: Request<wire::FailOverRequest>) -> Answer {
        let request = request.into_inner();
        let kind = CommandKind::FailOver { no_drain: request.no_drain, accept_loss: request.accept_loss };
        self.run(&request.request_id, request.plan, &request.link, kind).await
    }

    async fn restore_link(&self, request: Request<wire::LinkCommand>) -> Answer {
        let request = request.into_inner();
        self.run(&request.request_id, request.plan, &request.link, CommandKind::Restore).await
    }

    async fn begin_recovery(&self, request: Request<wire::LinkCommand>) -> Answer {
        let request = request.into_inner();
        self.run(&request.request_id, request.plan, &request.link, CommandKind::BeginRecovery).await
    }

    async fn complete_recovery(&self, request: Request<wire::CompleteRecoveryRequest>) -> Answer {
        let request = request.into_inner();
        let kind = CommandKind::CompleteRecovery { anyway: request.anyway };
        self.run(&request.request_id, request.plan, &request.link, kind).await
    }

    async fn declare_lost(&self, request: Request<wire::DeclareLostRequest>) -> Answer {
        let request = request.into_inner();
        let kind = CommandKind::DeclareLost { confirm: request.confirm };
        self.run(&request.request_id, request.plan, &request.link, kind).await
    }

    async fn list_divergences(
        &self,
        request: Request<wire::ListDivergencesRequest>,
    ) -> Result<Response<wire::ListDivergencesResponse>, Status> {
        let request = request.into_inner();
        let link_id = self.find(&request.link)?.as_bytes().to_vec().into();
        let divergences_max =
            if request.divergences_max == 0 { RECORDS_MAX } else { request.divergences_max };
        let asked = mover_wire::ListDivergencesRequest {
            link_id,
            divergences_max,
            page_token: request.page_token,
            epoch_min: request.epoch_min,
            epoch_max: request.epoch_max,
        };
        let answer = self.mover.client().list_divergences(asked).await?.into_inner();
        Ok(Response::new(wire::ListDivergencesResponse {
            divergences: answer.divergences,
            next_page_token: answer.next_page_token,
            absences: answer.absences.into_iter().map(plan::absence_out).collect(),
        }))
    }

    async fn list_retries(
        &self,
        request: Request<wire::ListRetriesRequest>,
    ) -> Result<Response<wire::ListRetriesResponse>, Status> {
        let link_id = self.find(&request.into_inner().link)?.as_bytes().to_vec().into();
        let answer =
            self.mover.client().list_retries(mover_wire::ListRetriesRequest { link_id }).await?.into_inner();
        let retries = answer.retries.into_iter().map(|retry| wire::Retry {
            content: retry.content,
            namespace: retry.namespace,
            key: retry.key,
            reason: retry.reason,
            attempts: retry.attempts,
            next_attempt_unix_ms: retry.next_attempt_unix_ms,
            set_aside: retry.set_aside,
        });
        Ok(Response::new(wire::ListRetriesResponse { retries: retries.collect() }))
    }

    async fn set_aside(&self, request: Request<wire::SetAsideRequest>) -> Answer {
        let request = request.into_inner();
        let id = self.find(&request.link)?;
        let asked = mover_wire::SetAsideRequest {
            link_id: id.as_bytes().to_vec().into(),
            content: request.content,
            namespace: request.namespace,
            key: request.key,
        };
        self.mover.client().set_aside(asked).await?;
        let snapshot = self.snapshot.borrow();
        let link = snapshot.links.iter().find(|view| view.link.id == id).map(convert::view::link_out);
        Ok(Response::new(wire::CommandResponse { link, ..Default::default() }))
    }

    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> Result<Response<wire::ListEventsResponse>, Status> {
        let request = request.into_inner();
        let max = if request.events_max == 0 { EVENTS_MAX } else { request.events_max.min(EVENTS_MAX) };
        let db = self.db.clone();
        let read =
            move || store::events(&db, request.after_sequence, usize::try_from(max).unwrap_or(usize::MAX));
        let events = aside(read).await.map_err(|error| Status::internal(error.to_string()))?;
        let mut events = events.map_err(|error| Status::internal(format!("{error:#}")))?;
        events.retain(|event| request.link.is_empty() || event.link.eq_ignore_ascii_case(&request.link));
        Ok(Response::new(wire::ListEventsResponse { events }))
    }

    async fn get_system(
        &self,
        _: Request<wire::GetSystemRequest>,
    ) -> Result<Response<wire::GetSystemResponse>, Status> {
        let system = &self.config.system;
        let incarnation = self.identity.current().map_or(0, |identity| identity.incarnation().0);
        Ok(Response::new(wire::GetSystemResponse {
            system_id: system.id.as_bytes().to_vec().into(),
            name: system.name.clone(),
            domain: system.domain.clone(),
            incarnation,
            version: env!("CARGO_PKG_VERSION").into(),
            now_unix_ms: i64::try_from(unix_ms()).unwrap_or(i64::MAX),
        }))
    }
}
