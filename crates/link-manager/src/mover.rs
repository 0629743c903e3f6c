//! What the link manager asks of its own data mover, and hears from it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchback_kit::grpc::Channel;
use switchback_link_core::{Access, FlowSpec, Input};
use switchback_model::LinkId;
use switchback_proto::mover::v1 as wire;
use switchback_proto::mover::v1::mover_service_client::MoverServiceClient;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::convert;

/// The mover's status can list every content of the system.
const STATUS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A barrier waits for commits in flight; longer than this means that the mover hangs.
const CALL_TIME_MAX: Duration = Duration::from_secs(15);

/// Between two attempts to watch the mover.
const REWATCH: Duration = Duration::from_millis(250);

/// A handle on the mover. Requests about one link are made in order, and only the latest of those
/// that wait: what was asked before is not wanted any more.
#[derive(Clone)]
pub(crate) struct Mover {
    client: MoverServiceClient<Channel>,
    inbox: mpsc::Sender<Input>,
    boot: Arc<AtomicU64>,
    shutdown: CancellationToken,
}

/// The workers of one link.
struct Worker {
    access: watch::Sender<Option<Access>>,
    flows: watch::Sender<Option<FlowSpec>>,
}

/// What the links want of the mover.
pub(crate) struct Asker {
    mover: Mover,
    workers: BTreeMap<LinkId, Worker>,
    forgetting: BTreeMap<LinkId, JoinHandle<()>>,
}

impl Mover {
    pub(crate) fn new(channel: Channel, inbox: mpsc::Sender<Input>, shutdown: CancellationToken) -> Self {
        let client = MoverServiceClient::new(channel).max_decoding_message_size(STATUS_BYTES_MAX);
        Self { client, inbox, boot: Arc::default(), shutdown }
    }

    pub(crate) fn client(&self) -> MoverServiceClient<Channel> {
        self.client.clone()
    }

    /// Keeps watching the mover until the shutdown.
    pub(crate) async fn watch(self) {
        let mut known = false;
        while !self.shutdown.is_cancelled() {
            let ended = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                ended = self.watch_once(&mut known) => ended,
            };
            if let Err(status) = ended
                && known
            {
                tracing::warn!(reason = status.message(), "data mover cannot be reached");
            }
            if std::mem::take(&mut known) {
                self.tell(Input::MoverLost).await;
            }
            tokio::select! { biased; () = self.shutdown.cancelled() => return, () = tokio::time::sleep(REWATCH) => {} }
        }
    }

    async fn watch_once(&self, known: &mut bool) -> Result<(), tonic::Status> {
        let mut stream = self.client().watch_mover(wire::WatchMoverRequest {}).await?.into_inner();
        while let Some(status) = stream.message().await? {
            match convert::mover::mover(&status) {
                Ok(view) => {
                    *known = true;
                    self.boot.store(view.boot, Ordering::Release);
                    self.tell(Input::MoverSeen(Box::new(view))).await;
                }
                Err(malformed) => {
                    tracing::error!(reason = malformed.to_string(), "data mover's status ignored")
                }
            }
        }
        Ok(())
    }

    async fn set_access(self, access: Access) {
        let boot = self.boot.load(Ordering::Acquire);
        let (link, epoch, mode) = (access.link, access.epoch, access.mode);
        let request = convert::mover::access_out(&access);
        let mut client = self.client();
        let input = match in_time(client.set_access(request)).await {
            Ok(response) => match convert::peer::positions(&response.positions) {
                Ok(positions) => Input::AccessSet { link, epoch, mode, boot, positions },
                Err(malformed) => Input::AccessFailed { link, trouble: malformed.to_string() },
            },
            Err(status) => Input::AccessFailed { link, trouble: status.message().into() },
        };
        self.tell(input).await;
    }

    async fn apply_flows(self, spec: FlowSpec) {
        let (link, generation) = (spec.link, spec.generation);
        let mut client = self.client();
        let applied = in_time(client.apply_flows(convert::mover::flows_out(&spec))).await;
        if let Err(status) = &applied {
            tracing::warn!(%link, reason = status.message(), "flows not applied");
        }
        let current = applied.ok().map(|answer| answer.current_generation);
        self.tell(Input::FlowsApplied { link, generation, current }).await;
    }

    /// Until the mover has done it: it may be starting again. Asked twice, it does nothing; content that is
    /// on another link by then is not touched.
    async fn forget(self, link: LinkId, release: bool) {
        while !self.shutdown.is_cancelled() {
            let request = wire::ForgetLinkRequest { link_id: link.as_bytes().to_vec().into(), release };
            let mut client = self.client();
            let Err(status) = in_time(client.forget_link(request)).await else { return };
            tracing::warn!(%link, reason = status.message(), "link not yet forgotten by the data mover");
            tokio::select! { biased; () = self.shutdown.cancelled() => return, () = tokio::time::sleep(REWATCH) => {} }
        }
    }

    async fn tell(&self, input: Input) {
        if self.inbox.send(input).await.is_err() {
            tracing::debug!("the machine has ended");
        }
    }
}

impl Asker {
    pub(crate) fn new(mover: Mover) -> Self {
        Self { mover, workers: BTreeMap::new(), forgetting: BTreeMap::new() }
    }

    pub(crate) fn set_access(&mut self, access: Access) {
        if let Some(forgetting) = self.forgetting.remove(&access.link) {
            // The link is there again: it was restored from the other side.
            forgetting.abort();
        }
        self.worker(access.link).access.send_replace(Some(access));
    }

    pub(crate) fn apply_flows(&mut self, spec: FlowSpec) {
        self.worker(spec.link).flows.send_replace(Some(spec));
    }

    pub(crate) fn forget(&mut self, link: LinkId, release: bool) {
        self.workers.remove(&link);
        self.forgetting.retain(|_, forgetting| !forgetting.is_finished());
        self.forgetting.entry(link).or_insert_with(|| tokio::spawn(self.mover.clone().forget(link, release)));
    }

    fn worker(&mut self, link: LinkId) -> &Worker {
        let mover = &self.mover;
        self.workers.entry(link).or_insert_with(|| {
            let (access, accesses) = watch::channel(None);
            let (flows, specs) = watch::channel(None);
            let (setter, applier) = (mover.clone(), mover.clone());
            tokio::spawn(in_order(accesses, move |access| setter.clone().set_access(access)));
            tokio::spawn(in_order(specs, move |spec| applier.clone().apply_flows(spec)));
            Worker { access, flows }
        })
    }
}

/// Makes one request after the other, always the latest, until nobody asks any more.
async fn in_order<T: Clone, F: Future<Output = ()>>(
    mut wanted: watch::Receiver<Option<T>>,
    ask: impl Fn(T) -> F,
) {
    while wanted.changed().await.is_ok() {
        let latest = wanted.borrow_and_update().clone();
        if let Some(latest) = latest {
            ask(latest).await;
        }
    }
}

async fn in_time<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, tonic::Status> {
    match tokio::time::timeout(CALL_TIME_MAX, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(tonic::Status::deadline_exceeded("the data mover does not answer")),
    }
}
