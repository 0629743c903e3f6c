//! The judgement of a shown certificate, the same on both ends, and the rustls configurations
//! built on it. Each configuration holds one snapshot of the pins: a handshake sees one truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use switchback_world::time::wall;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::certificate::{Fingerprint, Peer};
use super::client::Expect;
use super::identity::{Identity, Trusted};
use super::trouble::Trouble;

/// The only protocol spoken on these connections.
pub(super) const HTTP2: &[u8] = b"h2";

/// Never the process's default: another crate may have set that, or two may have tried.
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    &PROVIDER
}

pub(super) fn server_config(
    key: Arc<CertifiedKey>,
    trusted: BTreeMap<Fingerprint, Trusted>,
    withdrawn: BTreeSet<Fingerprint>,
) -> ServerConfig {
    let pins = Arc::new(Pins { trusted, withdrawn });
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .with_client_cert_verifier(pins)
        .with_cert_resolver(Arc::new(Own(key)));
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.time_provider = Arc::new(Wall);
    config
}

/// A configuration for one dial. What the verifier found wrong is left in `verdict`, because the
/// error that rustls returns has no room for it.
pub(super) fn client_config(
    identity: &Identity,
    expect: Expect,
    verdict: Arc<OnceLock<Trouble>>,
) -> ClientConfig {
    let pins = Pins { trusted: identity.pins().clone(), withdrawn: identity.withdrawn().clone() };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Judge { pins, expect, verdict }))
        .with_client_cert_resolver(Arc::new(Own(identity.key())));
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.resumption = Resumption::disabled();
    // The other end is known by its pin; its name in the clear would only tell listeners.
    config.enable_sni = false;
    config.time_provider = Arc::new(Wall);
    config
}

/// The clock by which certificates are judged: the same as everywhere.
#[derive(Debug)]
struct Wall;

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        wall().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// The own certificate, whatever the other end asks for: there is one.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The pins of one snapshot.
#[derive(Debug)]
struct Pins {
    trusted: BTreeMap<Fingerprint, Trusted>,
    withdrawn: BTreeSet<Fingerprint>,
}

impl Pins {
    /// The system that `shown` proves to be, if it is one that is trusted and valid at `now`.
    fn judge(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<&Peer, Trouble> {
        let fingerprint = Fingerprint::of(shown);
        let found = self.trusted.get(&fingerprint);
        // The exact certificate and nothing else: as an anchor it would vouch for others as well.
        let Some(pinned) = found.filter(|pinned| pinned.der == *shown && chain.is_empty()) else {
            return Err(Trouble::PeerNotTrusted {
                fingerprint,
                domain: Peer::read(shown).map_or_else(|_| String::new(), |peer| peer.domain),
                withdrawn: self.withdrawn.contains(&fingerprint),
            });
        };
        verify_alone(shown, usage, now).map_err(|error| explain(&error, &pinned.peer))?;
        Ok(&pinned.peer)
    }
}

/// Validity, key usage and self-signature, with the certificate as its own anchor.
fn verify_alone(
    certificate: &CertificateDer<'_>,
    usage: KeyUsage,
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let anchor = anchor_from_trusted_cert(certificate)?;
    let algorithms = provider().signature_verification_algorithms.all;
    EndEntityCert::try_from(certificate)?
        .verify_for_usage(algorithms, &[anchor], &[], now, usage, None, None)
        .map(|_| ())
}

/// What is wrong with a certificate by itself, as a handshake would find it: usage of either end,
/// or a signature that is not its own. Judged at its own beginning: expiry is reported apart.
pub(super) fn check(certificate: &CertificateDer<'_>, not_before: SystemTime) -> Result<(), webpki::Error> {
    let at = UnixTime::since_unix_epoch(not_before.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
    verify_alone(certificate, KeyUsage::server_auth(), at)?;
    verify_alone(certificate, KeyUsage::client_auth(), at)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other reason means damage or misuse")]
fn explain(error: &webpki::Error, peer: &Peer) -> Trouble {
    let domain = peer.domain.clone();
    match error {
        webpki::Error::CertExpired { .. } => Trouble::PeerExpired { domain, not_after: peer.not_after },
        webpki::Error::CertNotValidYet { .. } => Trouble::NotYetValid { domain, not_before: peer.not_before },
        other => Trouble::Unreachable(format!("the certificate of {domain} cannot be used ({other})")),
    }
}

/// The alert that the other end gets to see is chosen by this error.
fn alert(trouble: &Trouble) -> rustls::Error {
    let error = match trouble {
        Trouble::PeerNotTrusted { withdrawn: true, .. } => CertificateError::Revoked,
        Trouble::PeerNotTrusted { .. } => CertificateError::UnknownIssuer,
        Trouble::PeerExpired { .. } => CertificateError::Expired,
        Trouble::NotYetValid { .. } => CertificateError::NotValidYet,
        Trouble::WrongSystem { .. } => CertificateError::NotValidForName,
        Trouble::Unreachable(_)
        | Trouble::NoIdentity
        | Trouble::NotTrustedByPeer { .. }
        | Trouble::OurCertificateExpired { .. } => CertificateError::BadEncoding,
    };
    rustls::Error::InvalidCertificate(error)
}

/// The client's view of the server.
#[derive(Debug)]
struct Judge {
    pins: Pins,
    expect: Expect,
    verdict: Arc<OnceLock<Trouble>>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self
            .pins
            .judge(shown, chain, KeyUsage::server_auth(), now)
            .and_then(|peer| self.expect.check(peer));
        match judged {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(trouble) => {
                let error = alert(&trouble);
                self.verdict.get_or_init(|| trouble);
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The server's view of the client.
impl ClientCertVerifier for Pins {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.judge(shown, chain, KeyUsage::client_auth(), now) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(trouble) => {
                super::server::refused(&trouble);
                Err(alert(&trouble))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn no_tls12() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken here".into())
}
