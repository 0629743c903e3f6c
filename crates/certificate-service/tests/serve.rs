//! The service as a client meets it: gRPC on loopback, state in a temporary folder.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType, date_time_ymd};
use switchback_certificate::{Config, serve};
use switchback_kit::secret::Secret;
use switchback_kit::tls::{IdentityWatch, system_urn};
use switchback_kit::{grpc, tls};
use switchback_model::{Incarnation, SystemId};
use switchback_proto::certificate::v1 as wire;
use switchback_proto::certificate::v1::certificate_service_client::CertificateServiceClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Status};

type Client = CertificateServiceClient<grpc::Channel>;

const WEST: SystemId = SystemId([2; 16]);

struct Service {
    client: Client,
    channel: grpc::Channel,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

fn secret(folder: &Path) -> Secret {
    let path = folder.join("secret");
    if path.exists() { Secret::load(&path) } else { Secret::create(&path) }.unwrap()
}

fn config(folder: &Path, number: u8) -> Config {
    Config {
        listen: String::new(),
        system_id: SystemId([number; 16]),
        domain: format!("system{number}.example.com"),
        state_dir: folder.join("certificate-service"),
        secret: secret(folder),
    }
}

async fn started(folder: &Path, number: u8) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(config(folder, number), listener, shutdown.clone()));
    let channel = grpc::channel(&address, &secret(folder)).unwrap();
    Service { client: Client::new(channel.clone()), channel, shutdown, task }
}

impl Service {
    async fn own(&mut self) -> wire::Certificate {
        let answer = self.client.get_server_certificate(wire::GetServerCertificateRequest {}).await;
        answer.unwrap().into_inner().certificate.unwrap()
    }

    async fn upload(&mut self, id: &str, pem: &str) -> Result<wire::UploadCertificateResponse, Status> {
        let request = wire::UploadCertificateRequest { request_id: id.into(), pem: pem.into() };
        self.client.upload_certificate(request).await.map(tonic::Response::into_inner)
    }

    async fn delete(&mut self, id: &str, fingerprint: &str) -> Result<wire::Certificate, Status> {
        let request =
            wire::DeleteCertificateRequest { request_id: id.into(), fingerprint: fingerprint.into() };
        let answer = self.client.delete_certificate(request).await?.into_inner();
        Ok(answer.certificate.unwrap())
    }

    async fn renew(&mut self, id: &str, new_incarnation: bool) -> wire::Certificate {
        let request = wire::RenewServerCertificateRequest { request_id: id.into(), new_incarnation };
        let answer = self.client.renew_server_certificate(request).await.unwrap();
        answer.into_inner().certificate.unwrap()
    }

    async fn trusted(&mut self) -> Vec<String> {
        let answer = self.client.list_certificates(wire::ListCertificatesRequest {}).await.unwrap();
        answer.into_inner().certificates.into_iter().map(|certificate| certificate.fingerprint).collect()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        drop((self.client, self.channel));
        self.task.await.unwrap().unwrap();
    }
}

/// The parameters of a certificate that would be accepted.
fn good() -> CertificateParams {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = date_time_ymd(1970, 1, 1) + since_1970;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::DnsName("west.example.com".try_into().unwrap()),
        SanType::URI(system_urn(WEST, Incarnation(7)).try_into().unwrap()),
    ];
    params.not_before = now - Duration::from_secs(3600);
    params.not_after = now + Duration::from_secs(400 * 24 * 3600);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn pem(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = good();
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn reason(status: &Status) -> String {
    grpc::reason(status).map(|detail| detail.reason).unwrap_or_default()
}

#[tokio::test]
async fn a_new_system_has_a_certificate_that_names_it() {
    let folder = TempDir::new().unwrap();
    let mut service = started(folder.path(), 1).await;
    let own = service.own().await;
    assert_eq!((&own.system_id[..], own.domain.as_str()), (&[1; 16][..], "system1.example.com"));
    assert_eq!(own.validity, "valid");
    assert!(own.incarnation != 0 && own.subject.contains("system1.example.com"), "{}", own.subject);
    assert!(own.pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
    let day = 24 * 3600 * 1000;
    assert_eq!((own.not_after_unix_ms - own.not_before_unix_ms) / day, 825);
    service.stop().await;
}

#[tokio::test]
async fn each_unfit_upload_is_refused_with_a_reason_and_a_next_step() {
    let folder = TempDir::new().unwrap();
    let mut service = started(folder.path(), 1).await;
    let fine = pem(|_| {});
    let own = service.own().await.pem;
    let key = KeyPair::generate().unwrap().serialize_pem();
    let expired = pem(|params| params.not_after = params.not_before + Duration::from_secs(1));
    let cases = [
        ("hello".into(), "NOT_PEM"),
        (String::new(), "NOT_PEM"),
        (format!("{fine}{key}"), "HOLDS_PRIVATE_KEY"),
        (format!("{fine}{own}"), "SEVERAL_CERTIFICATES"),
        (fine.repeat(40), "TOO_LARGE"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(), "DAMAGED"),
        (
            pem(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            "CERTIFICATE_AUTHORITY",
        ),
        (pem(|params| params.subject_alt_names.truncate(1)), "NAMES_NO_SYSTEM"),
        (pem(|params| params.subject_alt_names.truncate(0)), "NAMES_NO_SYSTEM"),
        (pem(|params| params.extended_key_usages.truncate(1)), "UNUSABLE"),
        (expired, "EXPIRED"),
        (own.clone(), "OWN_CERTIFICATE"),
        (WEAK_RSA.into(), "WEAK_KEY"),
    ];
    for (number, (pem, expected)) in cases.into_iter().enumerate() {
        let refused = service.upload(&format!("request-{number}"), &pem).await.unwrap_err();
        assert_eq!(reason(&refused), expected, "{refused}");
        assert!(refused.message().len() > 30, "{} tells the next step", refused.message());
    }
    assert!(service.trusted().await.is_empty());
    service.stop().await;
}

#[tokio::test]
async fn upload_list_and_delete_by_a_beginning_of_the_fingerprint() {
    let folder = TempDir::new().unwrap();
    let mut service = started(folder.path(), 1).await;
    let west = pem(|_| {});
    let uploaded = service.upload("u", &west).await.unwrap();
    let certificate = uploaded.certificate.unwrap();
    assert_eq!((&certificate.system_id[..], certificate.incarnation), (&WEST.0[..], 7));
    assert_eq!((certificate.pem.as_str(), uploaded.already_trusted), (west.as_str(), false));
    assert!(service.upload("again", &west).await.unwrap().already_trusted);
    let renewed = service.upload("renewed", &pem(|_| {})).await.unwrap();
    assert!(renewed.note.contains(&certificate.fingerprint[..8]), "{}", renewed.note);
    assert_eq!(service.trusted().await.len(), 2);

    let gone = service.delete("d", &certificate.fingerprint[..12]).await.unwrap();
    assert_eq!(gone.fingerprint, certificate.fingerprint);
    let repeat = service.delete("d", &certificate.fingerprint[..12]).await.unwrap();
    assert_eq!(repeat.fingerprint, certificate.fingerprint);
    let missing = service.delete("other", &certificate.fingerprint).await.unwrap_err();
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "UNKNOWN_CERTIFICATE"));
    assert_eq!(service.trusted().await, [renewed.certificate.unwrap().fingerprint]);
    service.stop().await;
}

#[tokio::test]
async fn identity_trust_and_answers_outlive_a_restart_in_a_folder_closed_to_others() {
    let folder = TempDir::new().unwrap();
    let mut service = started(folder.path(), 1).await;
    let first = service.own().await;
    let (west, north) = (pem(|_| {}), pem(|_| {}));
    service.upload("west", &west).await.unwrap();
    let withdrawn = service.upload("north", &north).await.unwrap().certificate.unwrap();
    service.delete("no north", &withdrawn.fingerprint).await.unwrap();
    let trusted = service.trusted().await;
    service.stop().await;
    let mode = std::fs::metadata(folder.path().join("certificate-service")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let mut service = started(folder.path(), 1).await;
    assert_eq!(service.own().await, first);
    assert_eq!(service.trusted().await, trusted);
    let repeat = service.upload("west", &west).await.unwrap();
    assert!(!repeat.already_trusted, "the first answer, not a new one");
    let watch = service.client.watch_identity(wire::WatchIdentityRequest {}).await.unwrap();
    let identity = watch.into_inner().message().await.unwrap().unwrap();
    assert_eq!(hex::encode(&identity.withdrawn[0]), withdrawn.fingerprint);
    service.stop().await;
}

#[tokio::test]
async fn state_of_another_system_is_not_taken_for_ours() {
    let folder = TempDir::new().unwrap();
    let mut service = started(folder.path(), 1).await;
    service.own().await;
    service.stop().await;
    let refused = started(folder.path(), 3).await.task.await.unwrap().unwrap_err();
    let text = format!("{refused:#}");
    assert!(text.contains(&SystemId([1; 16]).to_string()) && text.contains("data_dir"), "{text}");
}

#[tokio::test]
async fn a_renewal_keeps_the_incarnation_unless_a_new_one_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let mut service = started(folder.path(), 1).await;
    let first = service.own().await;
    let renewed = service.renew("r", false).await;
    assert_ne!(renewed.fingerprint, first.fingerprint);
    assert_eq!((renewed.incarnation, &renewed.system_id), (first.incarnation, &first.system_id));
    assert_eq!(service.renew("r", false).await, renewed, "a repeat makes no second certificate");
    let reborn = service.renew("n", true).await;
    assert_ne!(reborn.incarnation, first.incarnation);
    assert_eq!(service.own().await.fingerprint, reborn.fingerprint);
    service.stop().await;
}

/// Two systems, each with its own certificate service: trust by upload, and by nothing else.
#[tokio::test]
async fn two_systems_talk_as_soon_as_both_certificates_are_uploaded_and_until_one_is_deleted() {
    let (folder_east, folder_west) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut east = started(folder_east.path(), 1).await;
    let mut west = started(folder_west.path(), 2).await;
    let shutdown = CancellationToken::new();
    let our = IdentityWatch::follow(east.channel.clone(), shutdown.clone());
    let mut their = IdentityWatch::follow(west.channel.clone(), shutdown.clone());
    our.ready().await;
    their.ready().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(tls::serve(listener, their.clone(), Routes::default(), shutdown.clone()));
    let limits = tls::Limits::default();
    let dial = async || tls::connect(&address, &our, tls::Expect::Any, &limits).await;

    let refused = dial().await.unwrap_err();
    assert_eq!(refused.reason(), "PEER_NOT_TRUSTED");
    let mut ours = our.clone();
    ours.seen();
    their.seen();
    let west_pem = west.own().await.pem;
    east.upload("w", &west_pem).await.unwrap();
    ours.changed().await;
    assert_eq!(dial().await.unwrap_err().reason(), "NOT_TRUSTED_BY_PEER");
    let east_own = east.own().await;
    west.upload("e", &east_own.pem).await.unwrap();
    their.changed().await;
    let (_channel, peer) = dial().await.unwrap();
    assert_eq!(peer.domain, "system2.example.com");

    west.delete("d", &east_own.fingerprint).await.unwrap();
    their.changed().await;
    let refused = dial().await.unwrap_err();
    assert!(matches!(refused, tls::Trouble::NotTrustedByPeer { withdrawn: true, .. }), "{refused}");
    shutdown.cancel();
    east.stop().await;
    west.stop().await;
}

/// RSA of 1024 bits, self-signed, with the names of a system: `openssl req -x509 -newkey rsa:1024`,
/// because ring makes no such keys. Its private key was not kept.
const WEAK_RSA: &str = include_str!("weak_rsa.pem");
