//! TLS for clients that are no systems: a certificate that they know from an authority, and no
//! question for theirs.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::verify;

/// Why a certificate cannot be shown to clients.
#[derive(Debug, thiserror::Error)]
pub enum PublicError {
    /// A file is missing, or not PEM.
    #[error("{0}: no PEM certificate or key can be read; give the certificate with its chain, and its key")]
    File(String, #[source] rustls_pki_types::pem::Error),
    /// The two do not belong together, or nothing can be signed with the key.
    #[error("the certificate and the key do not belong together")]
    Mismatch(#[source] rustls::Error),
}

/// Shows the certificate in the PEM file `certificate`, its chain behind it, whose key is in the PEM
/// file `key`, to clients that speak one of `protocols` (ALPN, RFC 7301).
///
/// # Errors
/// A file cannot be read, or the key is not the certificate's.
pub fn public(certificate: &Path, key: &Path, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, PublicError> {
    let file = |path: &Path| {
        let path = path.display().to_string();
        move |error| PublicError::File(path, error)
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(file(certificate))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(file(key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(verify::provider()))
        .with_safe_default_protocol_versions()
        .map_err(PublicError::Mismatch)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(PublicError::Mismatch)?;
    config.alpn_protocols = protocols.iter().map(|&protocol| protocol.into()).collect();
    Ok(Arc::new(config))
}
