//! Signature version 4, in the headers, by AWS's own code.

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::Request;

use super::Failure;

/// An access key and what belongs to it.
#[derive(Clone)]
pub struct Keys {
    /// Public.
    pub access_key: String,
    /// Secret.
    pub secret_key: String,
    /// Of keys that are lent for a time.
    pub session_token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub(super) struct Signer {
    identity: aws_smithy_runtime_api::client::identity::Identity,
    region: String,
}

impl Signer {
    pub(super) fn new(keys: Keys, region: String) -> Self {
        let credentials =
            Credentials::new(keys.access_key, keys.secret_key, keys.session_token, None, "given");
        Self { identity: credentials.into(), region }
    }

    /// Signs the head; what the body is, `Content-MD5` says, which is signed with it.
    pub(super) fn sign<B>(&self, request: &mut Request<B>) -> Result<(), Failure> {
        let unusable = |error: &dyn fmt::Display| Failure::Unusable(format!("it cannot be signed: {error}"));
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        // A key may hold `..`, and means it.
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let params = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| unusable(&error))?
            .into();
        let mut headers = Vec::with_capacity(request.headers().len());
        for (name, value) in request.headers() {
            let value = value.to_str().map_err(|_| unusable(&format!("{name} is not in ASCII")))?;
            headers.push((name.as_str(), value));
        }
        let uri = request.uri().to_string();
        let signable = SignableRequest::new(
            request.method().as_str(),
            uri,
            headers.into_iter(),
            SignableBody::UnsignedPayload,
        );
        let signable = signable.map_err(|error| unusable(&error))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| unusable(&error))?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let keys =
            Keys { access_key: "AK".into(), secret_key: "hidden".into(), session_token: Some("lent".into()) };
        let shown = format!("{keys:?}");
        assert!(shown.contains("AK") && !shown.contains("hidden") && !shown.contains("lent"), "{shown}");
    }
}
