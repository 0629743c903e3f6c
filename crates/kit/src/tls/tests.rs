//! Real handshakes on loopback.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
    date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use switchback_model::{Incarnation, SystemId};
use switchback_proto::certificate::v1 as wire;
use switchback_proto::certificate::v1::certificate_service_client::CertificateServiceClient;
use switchback_proto::certificate::v1::certificate_service_server::{
    CertificateService, CertificateServiceServer,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A system with a key and a certificate.
#[derive(Clone)]
pub(super) struct System {
    domain: &'static str,
    system_id: SystemId,
    pub(super) incarnation: Incarnation,
    der: CertificateDer<'static>,
    key: Arc<KeyPair>,
}

/// When a certificate of a test is valid.
#[derive(Clone, Copy)]
enum Valid {
    Now,
    Past,
    Future,
}

fn params(domain: &str, system_id: SystemId, incarnation: Incarnation, valid: Valid) -> CertificateParams {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = date_time_ymd(1970, 1, 1) + since_1970;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::DnsName(domain.try_into().unwrap()),
        SanType::URI(system_urn(system_id, incarnation).try_into().unwrap()),
    ];
    (params.not_before, params.not_after) = match valid {
        Valid::Now => (now - HOUR, now + 1000 * HOUR),
        Valid::Past => (now - 2 * HOUR, now - HOUR),
        Valid::Future => (now + HOUR, now + 2 * HOUR),
    };
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

impl System {
    fn new(number: u8, domain: &'static str, valid: Valid) -> Self {
        let (system_id, incarnation) = (SystemId([number; 16]), Incarnation(u64::from(number)));
        let key = key();
        let der = params(domain, system_id, incarnation, valid).self_signed(&key).unwrap().der().clone();
        Self { domain, system_id, incarnation, der, key: Arc::new(key) }
    }

    /// The same system with a fresh key and certificate.
    pub(super) fn renewed(&self, incarnation: Incarnation) -> Self {
        let key = key();
        let params = params(self.domain, self.system_id, incarnation, Valid::Now);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { incarnation, der, key: Arc::new(key), ..self.clone() }
    }

    pub(super) fn trusting(&self, others: &[&Self]) -> Identity {
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        Identity::new(self.der.clone(), key, others.iter().map(|other| other.der.clone())).unwrap()
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }
}

pub(super) fn east() -> System {
    System::new(1, "east.example.com", Valid::Now)
}

pub(super) fn west() -> System {
    System::new(2, "west.example.com", Valid::Now)
}

/// Answers who is calling, and keeps a stream running: of the identity, or else of numbers.
#[derive(Default)]
struct Echo {
    identity: Option<wire::Identity>,
}

#[tonic::async_trait]
impl CertificateService for Echo {
    type WatchIdentityStream = Pin<Box<dyn Stream<Item = Result<wire::Identity, Status>> + Send>>;

    async fn list_certificates(
        &self,
        request: Request<wire::ListCertificatesRequest>,
    ) -> Result<Response<wire::ListCertificatesResponse>, Status> {
        let peer = request.extensions().get::<Peer>().expect("a verified caller");
        let certificate = wire::Certificate {
            fingerprint: peer.fingerprint.to_string(),
            domain: peer.domain.clone(),
            system_id: peer.system_id.as_bytes().to_vec().into(),
            incarnation: peer.incarnation.0,
            ..Default::default()
        };
        Ok(Response::new(wire::ListCertificatesResponse { certificates: vec![certificate] }))
    }

    async fn watch_identity(
        &self,
        _: Request<wire::WatchIdentityRequest>,
    ) -> Result<Response<Self::WatchIdentityStream>, Status> {
        if let Some(identity) = self.identity.clone() {
            let open = tokio_stream::pending();
            return Ok(Response::new(Box::pin(tokio_stream::once(Ok(identity)).chain(open))));
        }
        let ticks = tokio_stream::iter(0..).throttle(Duration::from_millis(5));
        let messages = ticks.map(|number| Ok(wire::Identity { incarnation: number, ..Default::default() }));
        Ok(Response::new(Box::pin(messages)))
    }

    async fn get_server_certificate(
        &self,
        _: Request<wire::GetServerCertificateRequest>,
    ) -> Result<Response<wire::GetServerCertificateResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn upload_certificate(
        &self,
        _: Request<wire::UploadCertificateRequest>,
    ) -> Result<Response<wire::UploadCertificateResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_certificate(
        &self,
        _: Request<wire::DeleteCertificateRequest>,
    ) -> Result<Response<wire::DeleteCertificateResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn renew_server_certificate(
        &self,
        _: Request<wire::RenewServerCertificateRequest>,
    ) -> Result<Response<wire::RenewServerCertificateResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A server that ends with the returned guard.
async fn serving(identity: IdentityWatch, limits: Limits) -> (String, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let routes = Routes::new(CertificateServiceServer::new(Echo::default()));
    tokio::spawn(async move { serve_with(listener, identity, routes, &limits, stop).await.unwrap() });
    (address, shutdown.drop_guard())
}

async fn dialled(server: Identity, client: Identity, expect: Expect) -> Result<(Channel, Peer), Trouble> {
    let (address, _server) = serving(IdentityWatch::fixed(server), Limits::default()).await;
    connect(&address, &IdentityWatch::fixed(client), expect, &Limits::default()).await
}

async fn caller(channel: Channel) -> Result<wire::Certificate, Status> {
    let answer = CertificateServiceClient::new(channel)
        .list_certificates(wire::ListCertificatesRequest {})
        .await?
        .into_inner();
    Ok(answer.certificates.into_iter().next().unwrap())
}

#[tokio::test]
async fn each_end_learns_from_the_certificate_who_the_other_is() {
    let (east, west) = (east(), west());
    let (address, _server) = serving(IdentityWatch::fixed(west.trusting(&[&east])), Limits::default()).await;
    let ours = IdentityWatch::fixed(east.trusting(&[&west]));
    let expect = Expect::Domain("WEST.example.com".into());
    let (channel, peer) = connect(&address, &ours, expect, &Limits::default()).await.unwrap();
    assert_eq!(
        (peer.system_id, peer.incarnation, peer.domain.as_str(), peer.fingerprint),
        (west.system_id, west.incarnation, west.domain, west.fingerprint())
    );
    let seen = caller(channel).await.unwrap();
    assert_eq!(seen.fingerprint, east.fingerprint().to_string());
    assert_eq!((&seen.system_id[..], seen.incarnation), (&east.system_id.0[..], east.incarnation.0));
}

#[tokio::test]
async fn a_server_that_was_not_uploaded_here_is_named_by_its_fingerprint() {
    let (east, west) = (east(), west());
    let refused = dialled(west.trusting(&[&east]), east.trusting(&[]), Expect::Any).await.unwrap_err();
    let expected = Trouble::PeerNotTrusted {
        fingerprint: west.fingerprint(),
        domain: west.domain.into(),
        withdrawn: false,
    };
    assert_eq!(refused, expected);
    assert!(refused.to_string().contains("switchback certificate upload"));
}

#[tokio::test]
async fn a_client_that_was_not_uploaded_there_is_told_so_at_once() {
    let (east, west) = (east(), west());
    // Many times: without the wait for the server's first bytes the outcome is a matter of luck.
    for _ in 0..20 {
        let refused = dialled(west.trusting(&[]), east.trusting(&[&west]), Expect::Any).await.unwrap_err();
        let fingerprint = east.fingerprint();
        assert_eq!(refused, Trouble::NotTrustedByPeer { fingerprint, withdrawn: false });
    }
}

#[tokio::test]
async fn a_client_whose_certificate_was_deleted_there_is_told_that_it_was_withdrawn() {
    let (east, west) = (east(), west());
    let server = west.trusting(&[]).with_withdrawn([east.fingerprint()]);
    let refused = dialled(server, east.trusting(&[&west]), Expect::Any).await.unwrap_err();
    assert_eq!(refused, Trouble::NotTrustedByPeer { fingerprint: east.fingerprint(), withdrawn: true });
}

#[tokio::test]
async fn an_expired_server_is_refused_although_it_is_trusted() {
    let (east, west) = (east(), System::new(2, "west.example.com", Valid::Past));
    let refused = dialled(west.trusting(&[&east]), east.trusting(&[&west]), Expect::Any).await.unwrap_err();
    assert!(matches!(&refused, Trouble::PeerExpired { domain, .. } if domain == west.domain), "{refused}");
}

#[tokio::test]
async fn an_expired_client_learns_that_its_own_certificate_is_the_reason() {
    let (east, west) = (System::new(1, "east.example.com", Valid::Past), west());
    let refused = dialled(west.trusting(&[&east]), east.trusting(&[&west]), Expect::Any).await.unwrap_err();
    assert!(matches!(refused, Trouble::OurCertificateExpired { by_our_clock: true, .. }), "{refused}");
}

#[tokio::test]
async fn certificates_from_the_future_point_at_the_clocks() {
    let (east, west) = (east(), System::new(2, "west.example.com", Valid::Future));
    let refused = dialled(west.trusting(&[&east]), east.trusting(&[&west]), Expect::Any).await.unwrap_err();
    assert!(matches!(refused, Trouble::NotYetValid { .. }), "{refused}");
    let refused = dialled(east.trusting(&[&west]), west.trusting(&[&east]), Expect::Any).await.unwrap_err();
    assert!(matches!(refused, Trouble::OurCertificateExpired { by_our_clock: false, .. }), "{refused}");
    assert!(refused.to_string().contains("clocks"), "{refused}");
}

#[tokio::test]
async fn another_trusted_system_at_the_address_is_refused() {
    let (east, west) = (east(), west());
    let others = [
        Expect::Domain("north.example.com".into()),
        Expect::System(east.system_id),
        Expect::Incarnation(west.system_id, Incarnation(99)),
    ];
    for expect in others {
        let refused = dialled(west.trusting(&[&east]), east.trusting(&[&west]), expect).await.unwrap_err();
        assert!(matches!(&refused, Trouble::WrongSystem { found, .. } if found.contains(west.domain)));
    }
}

#[tokio::test]
async fn a_certificate_signed_by_a_pinned_key_is_not_the_pinned_certificate() {
    let (east, west) = (east(), west());
    let issuing = params(west.domain, west.system_id, west.incarnation, Valid::Now);
    let issuer = Issuer::from_params(&issuing, &*west.key);
    let key = key();
    let issued = params(west.domain, west.system_id, west.incarnation, Valid::Now);
    let der = issued.signed_by(&key, &issuer).unwrap().der().clone();
    let impostor = System { der, key: Arc::new(key), ..west.clone() };
    let refused =
        dialled(impostor.trusting(&[&east]), east.trusting(&[&west]), Expect::Any).await.unwrap_err();
    assert!(matches!(refused, Trouble::PeerNotTrusted { .. }), "{refused}");
}

/// The handshake of a client that shows no certificate, with any server.
async fn anonymous(address: &str) -> std::io::Error {
    #[derive(Debug)]
    struct Anyone;
    impl rustls::client::danger::ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &rustls_pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls_pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            unreachable!("only TLS 1.3 is offered")
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            verify::provider().signature_verification_algorithms.supported_schemes()
        }
    }
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(verify::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = "west.example.com".try_into().unwrap();
    match connector.connect(name, socket).await {
        Ok(mut stream) => tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap_err(),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_no_byte_of_the_service() {
    let (east, west) = (east(), west());
    let (address, _server) = serving(IdentityWatch::fixed(west.trusting(&[&east])), Limits::default()).await;
    let error = anonymous(&address).await;
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let required = rustls::AlertDescription::CertificateRequired;
    assert_eq!(alert, Some(&rustls::Error::AlertReceived(required)));
}

#[tokio::test]
async fn a_silent_connection_keeps_nobody_out() {
    let (east, west) = (east(), west());
    let (address, _server) = serving(IdentityWatch::fixed(west.trusting(&[&east])), Limits::default()).await;
    let _silent = TcpStream::connect(&address).await.unwrap();
    let ours = IdentityWatch::fixed(east.trusting(&[&west]));
    let (channel, _) = connect(&address, &ours, Expect::Any, &Limits::default()).await.unwrap();
    caller(channel).await.unwrap();
}

#[tokio::test]
async fn silent_connections_over_the_limit_are_ended_and_make_room() {
    let (east, west) = (east(), west());
    let limits =
        Limits { handshakes_max: 1, handshake_time: Duration::from_millis(100), ..Limits::default() };
    let (address, _server) = serving(IdentityWatch::fixed(west.trusting(&[&east])), limits).await;
    let _silent = TcpStream::connect(&address).await.unwrap();
    let ours = IdentityWatch::fixed(east.trusting(&[&west]));
    connect(&address, &ours, Expect::Any, &Limits::default()).await.unwrap();
}

#[tokio::test]
async fn certificates_are_exchanged_under_a_running_stream_and_calls_without_one_failing() {
    let (mut east, mut west) = (east(), west());
    let ((keep_east, our), (keep_west, their)) = (IdentityWatch::new(), IdentityWatch::new());
    keep_east.publish(east.trusting(&[&west]));
    keep_west.publish(west.trusting(&[&east]));
    let (address, _server) = serving(their, Limits::default()).await;
    let (channel, _) = connect(&address, &our, Expect::Any, &Limits::default()).await.unwrap();
    let mut stream = CertificateServiceClient::new(channel.clone())
        .watch_identity(wire::WatchIdentityRequest {})
        .await
        .unwrap()
        .into_inner();
    // The running connection rests on the first two, so the overlap keeps them.
    let (first_east, first_west) = (east.clone(), west.clone());
    for _ in 0..5 {
        let (new_east, new_west) = (east.renewed(east.incarnation), west.renewed(west.incarnation));
        let (easts, wests) = ([&first_east, &east, &new_east], [&first_west, &west, &new_west]);
        // Both sides trust the new ones before they are shown.
        keep_east.publish(east.trusting(&wests));
        keep_west.publish(west.trusting(&easts));
        keep_east.publish(new_east.trusting(&wests));
        keep_west.publish(new_west.trusting(&easts));
        (east, west) = (new_east, new_west);
        let seen = caller(channel.clone()).await.expect("a call on the old connection");
        assert_eq!(seen.fingerprint, first_east.fingerprint().to_string(), "the connection stayed");
        let (fresh, peer) = connect(&address, &our, Expect::Any, &Limits::default()).await.unwrap();
        assert_eq!(peer.fingerprint, west.fingerprint(), "the next handshake shows the new one");
        assert_eq!(caller(fresh).await.unwrap().fingerprint, east.fingerprint().to_string());
        assert!(stream.message().await.unwrap().is_some(), "the stream goes on");
    }
}

#[tokio::test]
async fn a_withdrawn_certificate_ends_the_running_connection_and_the_next_dial_says_why() {
    let (east, west) = (east(), west());
    let (keep_west, their) = IdentityWatch::new();
    keep_west.publish(west.trusting(&[&east]));
    let (address, _server) = serving(their, Limits::default()).await;
    let our = IdentityWatch::fixed(east.trusting(&[&west]));
    let (channel, _) = connect(&address, &our, Expect::Any, &Limits::default()).await.unwrap();
    let mut stream = CertificateServiceClient::new(channel)
        .watch_identity(wire::WatchIdentityRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());

    keep_west.publish(west.trusting(&[]));
    let ended = async { while let Ok(Some(_)) = stream.message().await {} };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the stream ends");
    let refused = connect(&address, &our, Expect::Any, &Limits::default()).await.unwrap_err();
    assert_eq!(refused, Trouble::NotTrustedByPeer { fingerprint: east.fingerprint(), withdrawn: true });
}

#[tokio::test]
async fn the_client_too_ends_a_connection_whose_pin_is_withdrawn() {
    let (east, west) = (east(), west());
    let (keep_east, our) = IdentityWatch::new();
    keep_east.publish(east.trusting(&[&west]));
    let (address, _server) = serving(IdentityWatch::fixed(west.trusting(&[&east])), Limits::default()).await;
    let (channel, _) = connect(&address, &our, Expect::Any, &Limits::default()).await.unwrap();
    let mut stream = CertificateServiceClient::new(channel.clone())
        .watch_identity(wire::WatchIdentityRequest {})
        .await
        .unwrap()
        .into_inner();
    keep_east.publish(east.trusting(&[]));
    let ended = async { while let Ok(Some(_)) = stream.message().await {} };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the stream ends");
    // The dial that follows on the same channel fails for the same reason.
    let trouble = loop {
        if let Some(trouble) = Trouble::of(&caller(channel.clone()).await.unwrap_err()) {
            break trouble;
        }
    };
    assert!(matches!(trouble, Trouble::PeerNotTrusted { withdrawn: true, .. }), "{trouble}");
}

#[tokio::test]
async fn a_channel_stays_with_the_incarnation_it_was_connected_to() {
    let (east, west) = (east(), west());
    let rebuilt = west.renewed(Incarnation(77));
    let (keep_west, their) = IdentityWatch::new();
    keep_west.publish(west.trusting(&[&east]));
    let (address, _server) = serving(their, Limits::default()).await;
    let our = IdentityWatch::fixed(east.trusting(&[&west, &rebuilt]));
    let (channel, _) = connect(&address, &our, Expect::Any, &Limits::default()).await.unwrap();
    caller(channel.clone()).await.unwrap();
    // A new incarnation ends the connections of the old one.
    keep_west.publish(rebuilt.trusting(&[&east]));
    let trouble = async {
        loop {
            match caller(channel.clone()).await.map_err(|status| Trouble::of(&status)) {
                Err(Some(trouble)) => return trouble,
                Ok(_) | Err(None) => tokio::task::yield_now().await,
            }
        }
    };
    let trouble = tokio::time::timeout(Duration::from_secs(20), trouble).await.expect("it is cut");
    assert!(matches!(trouble, Trouble::WrongSystem { .. }), "{trouble}");
    let (_, peer) = connect(&address, &our, Expect::Any, &Limits::default()).await.unwrap();
    assert_eq!(peer.incarnation, rebuilt.incarnation);
}

#[tokio::test]
async fn a_lazy_channel_tells_its_trouble_and_recovers_when_the_certificate_is_uploaded() {
    let (east, west) = (east(), west());
    let (keep_west, their) = IdentityWatch::new();
    let (keep_east, our) = IdentityWatch::new();
    let (address, _server) = serving(their, Limits::default()).await;
    let dial = channel(&address, &our, Expect::System(west.system_id), &Limits::default());
    let failed = async || Trouble::of(&caller(dial.channel()).await.unwrap_err());
    assert_eq!(failed().await, Some(Trouble::NoIdentity));
    keep_east.publish(east.trusting(&[&west]));
    assert!(matches!(failed().await, Some(Trouble::Unreachable(_))), "the server has no identity yet");
    keep_west.publish(west.trusting(&[]));
    assert!(matches!(failed().await, Some(Trouble::NotTrustedByPeer { .. })));
    assert_eq!(dial.trouble().map(|trouble| trouble.reason()), Some("NOT_TRUSTED_BY_PEER"));
    keep_west.publish(west.trusting(&[&east]));
    caller(dial.channel()).await.unwrap();
    assert_eq!((dial.trouble(), dial.peer().map(|peer| peer.system_id)), (None, Some(west.system_id)));
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable_and_names_the_address() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let our = IdentityWatch::fixed(east().trusting(&[]));
    let refused = connect(&closed, &our, Expect::Any, &Limits::default()).await.unwrap_err();
    assert!(matches!(&refused, Trouble::Unreachable(reason) if reason.contains(&closed)), "{refused}");
    assert!(!refused.is_about_trust());
}

#[tokio::test]
async fn the_last_identity_stays_while_the_certificate_service_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let secret = crate::secret::Secret::create(&folder.path().join("secret")).unwrap();
    let (east, west) = (east(), west());
    let message = wire::Identity {
        system_id: east.system_id.as_bytes().to_vec().into(),
        incarnation: east.incarnation.0,
        certificate: east.der.to_vec().into(),
        private_key: east.key.serialize_der().into(),
        trusted: vec![west.der.to_vec().into()],
        withdrawn: vec![vec![7; 32].into()],
    };
    let (address, service) = handing_out(message, &secret).await;
    let channel = crate::grpc::channel(&address.to_string(), &secret).unwrap();
    let shutdown = CancellationToken::new();
    let watch = IdentityWatch::follow(channel, shutdown.clone());
    let identity = watch.ready().await;
    assert_eq!(identity.own().fingerprint, east.fingerprint());
    assert!(identity.trusts(west.fingerprint()));
    drop(service);
    // The service is gone once it can no longer be reached.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(watch.current().is_some_and(|identity| identity.trusts(west.fingerprint())));
    shutdown.cancel();
}

/// A certificate service that knows one identity.
async fn handing_out(identity: wire::Identity, secret: &crate::secret::Secret) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (secret, shutdown) = (secret.clone(), CancellationToken::new());
    let stop = shutdown.clone();
    let routes = Routes::new(CertificateServiceServer::new(Echo { identity: Some(identity) }));
    tokio::spawn(async move { crate::grpc::serve(listener, &secret, routes, stop).await });
    (address, shutdown.drop_guard())
}
