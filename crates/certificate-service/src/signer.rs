//! Makes the system's key and certificate. The only place with randomness.

use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use switchback_kit::tls::system_urn;
use switchback_kit::world::random;
use switchback_model::{Incarnation, SystemId};

use crate::Error;
use crate::core::{Own, PrivateKey, WallTime};
use crate::read;

/// Room for a clock that is behind ours.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// A new certificate must be carried to the other side by hand, so not every quarter; and by
/// people who still know how, so not once in ten years. The public rules' old limit of 825 days
/// is two years and the month of notice.
const VALID: Duration = Duration::from_secs(825 * 24 * 60 * 60);

/// What stands before the 32 bytes of an Ed25519 private key in PKCS #8 (RFC 8410 section 7).
const ED25519_PKCS8: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// A new life of a system's state.
///
/// # Errors
/// The operating system gave no random bytes.
pub(crate) fn new_incarnation() -> Result<Incarnation, Error> {
    let mut bytes = [0; 8];
    random(&mut bytes)?;
    // 0 stands for "none" on the wire.
    Ok(Incarnation(u64::from_be_bytes(bytes).max(1)))
}

/// A fresh Ed25519 key and a certificate for it that names the system.
///
/// Why Ed25519: its signatures take no randomness, so that a machine whose randomness fails later
/// does not give the key away; and a simulation, which decides the key, decides every signature.
///
/// # Errors
/// The operating system gave no random bytes, or the domain fits into no certificate.
pub(crate) fn make(
    system_id: SystemId,
    incarnation: Incarnation,
    domain: &str,
    now: WallTime,
) -> Result<Own, Error> {
    let refuse = |error: rcgen::Error| Error::Sign(error.to_string());
    let name = |text: String| Ia5String::try_from(text).map_err(refuse);
    let mut serial = [0; 16];
    random(&mut serial)?;
    // Positive, and of fixed length (RFC 5280 section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    let now_is = date_time_ymd(1970, 1, 1) + Duration::from_millis(now.0);
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Switchback");
    subject.push(DnType::CommonName, domain);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.subject_alt_names =
        vec![SanType::DnsName(name(domain.into())?), SanType::URI(name(system_urn(system_id, incarnation))?)];
    params.not_before = now_is - BACKDATED;
    params.not_after = now_is + VALID;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Each system is the server of one connection and the client of another.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = new_key()?;
    let made = params.self_signed(&key).map_err(refuse)?;
    let der = CertificateDer::from(made.der().to_vec());
    let certificate = read::certificate(&der)
        .ok_or_else(|| Error::Sign(format!("the domain {domain:?} fits into no certificate")))?;
    Ok(Own { certificate, key: PrivateKey(key.serialize_der()), made: now })
}

fn new_key() -> Result<KeyPair, Error> {
    let mut secret = [0; 32];
    random(&mut secret)?;
    let pkcs8 = PrivatePkcs8KeyDer::from([&ED25519_PKCS8[..], &secret].concat());
    KeyPair::try_from(&pkcs8).map_err(|error| Error::Sign(error.to_string()))
}

fn random(bytes: &mut [u8]) -> Result<(), Error> {
    random::fill(bytes).map_err(|error| Error::Sign(format!("no random bytes: {error}")))
}
