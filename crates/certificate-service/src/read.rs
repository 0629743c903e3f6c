//! Certificates as bytes and text, read into what the core judges, and written back.

use std::time::{SystemTime, UNIX_EPOCH};
use switchback_kit::world::time;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use switchback_kit::tls::{Peer, Unreadable};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::core::certificate::Unsuitable;
use crate::core::{Certificate, Fingerprint, KeyStrength, Offered, Refusal, WallTime};

/// A certificate of ours has less than 1 KiB, one with a large RSA key some 2 KiB.
const PEM_BYTES_MAX: usize = 16 * 1024;

/// RFC 7468 section 2.
const PEM_LINE: usize = 64;

/// The wall clock.
pub(crate) fn now() -> WallTime {
    wall(time::wall())
}

fn wall(time: SystemTime) -> WallTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The one certificate in `pem`.
///
/// # Errors
/// There is none, or more, or something that should not leave its system.
pub(crate) fn upload(pem: &str) -> Result<Offered, Refusal> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let sections: Vec<(SectionKind, Vec<u8>)> =
        PemObject::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|_| Refusal::NotPem)?;
    let holds_key = |kind: &SectionKind| {
        matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
    };
    if sections.iter().any(|(kind, _)| holds_key(kind)) {
        return Err(Refusal::HoldsPrivateKey);
    }
    let mut certificates = sections.into_iter().filter(|(kind, _)| *kind == SectionKind::Certificate);
    let (_, der) = certificates.next().ok_or(Refusal::NotPem)?;
    match certificates.count() {
        0 => offered(&der.into()),
        more => Err(Refusal::SeveralCertificates { found: 1 + more }),
    }
}

fn offered(der: &CertificateDer<'_>) -> Result<Offered, Refusal> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| Refusal::Damaged)?;
    let certificate = match Peer::check(der) {
        Ok(peer) => Ok(describe(&peer, &parsed, der)),
        Err(Unreadable::NotACertificate) => return Err(Refusal::Damaged),
        Err(Unreadable::NoSystem | Unreadable::NoDomain) => Err(Unsuitable::NamesNoSystem),
        Err(Unreadable::Unusable(reason)) => Err(Unsuitable::Unusable(reason)),
    };
    Ok(Offered { is_authority: parsed.is_ca(), key: strength(&parsed), certificate })
}

/// The certificate `der`, if it names a system. For those that were judged before.
pub(crate) fn certificate(der: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    Peer::read(der).ok().map(|peer| describe(&peer, &parsed, der))
}

fn describe(peer: &Peer, parsed: &X509Certificate<'_>, der: &CertificateDer<'_>) -> Certificate {
    Certificate {
        fingerprint: Fingerprint(peer.fingerprint.to_string()),
        der: der.to_vec(),
        subject: parsed.subject().to_string(),
        domain: peer.domain.clone(),
        system_id: peer.system_id,
        incarnation: peer.incarnation,
        not_before: wall(peer.not_before),
        not_after: wall(peer.not_after),
    }
}

/// RFC 8410 section 3: the only key of a fixed form that the parser leaves unknown and we accept.
const ED25519: &str = "1.3.101.112";

fn strength(parsed: &X509Certificate<'_>) -> KeyStrength {
    let key = parsed.public_key();
    let algorithm = key.algorithm.algorithm.to_id_string();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => KeyStrength::Rsa(rsa.key_size()),
        Ok(PublicKey::EC(point)) => KeyStrength::Curve(point.key_size()),
        Ok(_) if algorithm == ED25519 => KeyStrength::Curve(256),
        Ok(_) | Err(_) => KeyStrength::Other(format!("a key of the kind {algorithm}")),
    }
}

/// The PEM form of a certificate.
pub(crate) fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let body = STANDARD.encode(der);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(PEM_LINE));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
