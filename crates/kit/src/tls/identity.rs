//! What a system is and whom it trusts, now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use switchback_model::{Incarnation, SystemId};
use switchback_proto::certificate::v1 as wire;
use switchback_proto::certificate::v1::certificate_service_client::CertificateServiceClient;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::certificate::{Fingerprint, Peer, Unreadable};
use super::verify;
use crate::grpc;

/// Withdrawn pins that are remembered, so that their owners are told "withdrawn" and not
/// "unknown". Forgetting one costs nothing but that word.
const WITHDRAWN_MAX: usize = 1024;

/// The certificate service is asked again after this time, doubling up to [`RETRY_TIME_MAX`].
const RETRY_TIME: Duration = Duration::from_millis(100);
const RETRY_TIME_MAX: Duration = Duration::from_secs(5);

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The own certificate cannot be read.
    #[error("this system's certificate is damaged")]
    Unreadable(#[from] Unreadable),
    /// The private key cannot be read or is not the certificate's.
    #[error("this system's private key does not fit its certificate")]
    Key(#[source] rustls::Error),
    /// The certificate names another system than the service says.
    #[error("this system's certificate names another system")]
    WrongSystem,
}

/// A snapshot: the system's own certificate and key, and the certificates it trusts.
pub struct Identity {
    own: Peer,
    key: Arc<CertifiedKey>,
    trusted: BTreeMap<Fingerprint, Trusted>,
    withdrawn: BTreeSet<Fingerprint>,
    server: Arc<ServerConfig>,
}

#[derive(Clone, Debug)]
pub(super) struct Trusted {
    pub(super) peer: Peer,
    pub(super) der: CertificateDer<'static>,
}

impl Identity {
    /// The identity made of the certificate and the PKCS #8 key, both DER, that trusts exactly the
    /// certificates `trusted`. One that cannot be read is left out: it could not name a system.
    ///
    /// # Errors
    /// The own certificate or key cannot be used.
    pub fn new(
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        trusted: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, IdentityError> {
        let own = Peer::read(&certificate)?;
        let key =
            CertifiedKey::from_der(vec![certificate], key, verify::provider()).map_err(IdentityError::Key)?;
        let trusted = trusted
            .into_iter()
            .filter_map(|der| match Peer::read(&der) {
                Ok(peer) => Some((peer.fingerprint, Trusted { peer, der })),
                Err(error) => {
                    tracing::warn!(%error, fingerprint = %Fingerprint::of(&der), "trusted certificate left out");
                    None
                }
            })
            .collect();
        Ok(Self::assemble(own, Arc::new(key), trusted, BTreeSet::new()))
    }

    fn assemble(
        own: Peer,
        key: Arc<CertifiedKey>,
        trusted: BTreeMap<Fingerprint, Trusted>,
        mut withdrawn: BTreeSet<Fingerprint>,
    ) -> Self {
        withdrawn.retain(|fingerprint| !trusted.contains_key(fingerprint));
        while withdrawn.len() > WITHDRAWN_MAX {
            withdrawn.pop_first();
        }
        let server = verify::server_config(Arc::clone(&key), trusted.clone(), withdrawn.clone());
        Self { own, key, trusted, withdrawn, server: Arc::new(server) }
    }

    /// The same, remembering that `fingerprints` were trusted once. Those trusted now are left out.
    #[must_use]
    pub fn with_withdrawn(self, fingerprints: impl IntoIterator<Item = Fingerprint>) -> Self {
        let withdrawn = self.withdrawn.into_iter().chain(fingerprints).collect();
        Self::assemble(self.own, self.key, self.trusted, withdrawn)
    }

    /// This system, as its own certificate names it.
    #[must_use]
    pub fn own(&self) -> &Peer {
        &self.own
    }

    /// Our id.
    #[must_use]
    pub fn system_id(&self) -> SystemId {
        self.own.system_id
    }

    /// Our incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.own.incarnation
    }

    /// The systems that are trusted; one that is renewing its certificate appears more than once.
    pub fn trusted(&self) -> impl Iterator<Item = &Peer> {
        self.trusted.values().map(|trusted| &trusted.peer)
    }

    /// True when the certificate with this fingerprint is trusted.
    #[must_use]
    pub fn trusts(&self, fingerprint: Fingerprint) -> bool {
        self.trusted.contains_key(&fingerprint)
    }

    pub(super) fn pins(&self) -> &BTreeMap<Fingerprint, Trusted> {
        &self.trusted
    }

    pub(super) fn withdrawn(&self) -> &BTreeSet<Fingerprint> {
        &self.withdrawn
    }

    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    fn decode(message: wire::Identity) -> Result<Self, IdentityError> {
        let certificate = CertificateDer::from(message.certificate.to_vec());
        let key = PrivateKeyDer::Pkcs8(message.private_key.to_vec().into());
        let trusted = message.trusted.into_iter().map(|der| CertificateDer::from(der.to_vec()));
        let identity = Self::new(certificate, key, trusted)?;
        let named = (identity.own.system_id.as_bytes(), identity.own.incarnation.0);
        if named != (message.system_id.as_ref(), message.incarnation) {
            return Err(IdentityError::WrongSystem);
        }
        let withdrawn =
            message.withdrawn.iter().filter_map(|bytes| bytes.as_ref().try_into().ok().map(Fingerprint));
        Ok(identity.with_withdrawn(withdrawn))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("own", &self.own)
            .field("trusted", &self.trusted.keys())
            .finish_non_exhaustive()
    }
}

/// Publishes identities to its [`IdentityWatch`]es.
pub struct IdentityKeeper(watch::Sender<Option<Arc<Identity>>>);

impl IdentityKeeper {
    /// Replaces the identity. A pin that is in the old one and not in the new one is withdrawn.
    pub fn publish(&self, identity: Identity) {
        let before = self.0.borrow().clone();
        let gone = before
            .iter()
            .flat_map(|before| before.withdrawn.iter().copied().chain(before.trusted.keys().copied()));
        self.0.send_replace(Some(Arc::new(identity.with_withdrawn(gone))));
    }
}

/// The identity, as it is now and as it becomes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IdentityWatch(watch::Receiver<Option<Arc<Identity>>>);

impl IdentityWatch {
    /// A watch without an identity yet, and the keeper that gives it one.
    #[must_use]
    pub fn new() -> (IdentityKeeper, Self) {
        let (keeper, watch) = watch::channel(None);
        (IdentityKeeper(keeper), Self(watch))
    }

    /// An identity that never changes.
    #[must_use]
    pub fn fixed(identity: Identity) -> Self {
        Self(watch::channel(Some(Arc::new(identity))).1)
    }

    /// Follows the certificate service at the other end of `channel` until `shutdown`. While it
    /// cannot be reached, the last identity stays.
    #[must_use]
    pub fn follow(channel: grpc::Channel, shutdown: CancellationToken) -> Self {
        let (keeper, watch) = Self::new();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = follow(channel, &keeper) => {}
                () = shutdown.cancelled() => {}
            }
        });
        watch
    }

    /// The identity now; none before the certificate service was first reached.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Identity>> {
        self.0.borrow().clone()
    }

    /// The identity, once there is one. Never returns when there never will be.
    pub async fn ready(&self) -> Arc<Identity> {
        let mut watch = self.0.clone();
        let known = watch.wait_for(Option::is_some).await.ok().and_then(|identity| identity.clone());
        match known {
            Some(identity) => identity,
            None => std::future::pending().await,
        }
    }

    /// Returns at the next change that this clone has not seen. Never returns when there will be
    /// none.
    pub async fn changed(&mut self) -> Option<Arc<Identity>> {
        if self.0.changed().await.is_err() {
            return std::future::pending().await;
        }
        self.0.borrow_and_update().clone()
    }

    /// The identity now, and [`changed`](Self::changed) returns only for later ones.
    pub fn seen(&mut self) -> Option<Arc<Identity>> {
        self.0.borrow_and_update().clone()
    }
}

async fn follow(channel: grpc::Channel, keeper: &IdentityKeeper) {
    let mut client = CertificateServiceClient::new(channel);
    let mut pause = RETRY_TIME;
    loop {
        match follow_once(&mut client, keeper, &mut pause).await {
            Ok(()) => tracing::debug!("certificate service ended the watch"),
            Err(error) if pause >= RETRY_TIME_MAX => {
                tracing::warn!(error = format!("{error:#}"), "identity cannot be followed, keeping the last");
            }
            Err(error) => tracing::debug!(error = format!("{error:#}"), "identity cannot be followed yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_TIME_MAX);
    }
}

async fn follow_once(
    client: &mut CertificateServiceClient<grpc::Channel>,
    keeper: &IdentityKeeper,
    pause: &mut Duration,
) -> anyhow::Result<()> {
    let mut stream = client.watch_identity(wire::WatchIdentityRequest {}).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let identity = Identity::decode(message)?;
        *pause = RETRY_TIME;
        tracing::info!(
            fingerprint = %identity.own.fingerprint,
            trusted = identity.trusted.len(),
            "identity taken up"
        );
        keeper.publish(identity);
    }
    Ok(())
}
