//! What S3 keeps with an object besides its bytes: to the store and back.

use std::collections::BTreeMap;

use s3s::{S3Result, dto, s3_error};
use switchback_proto::store::v1 as store;

use super::time::{formatted, parsed};

/// S3's own limit on user metadata, names and values together.
const USER_BYTES_MAX: usize = 2048;

/// The type of an object whose writer gave none.
const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";

/// User metadata as the store keeps it.
pub(crate) fn user(given: Option<&dto::Metadata>) -> S3Result<BTreeMap<String, String>> {
    let user: BTreeMap<String, String> =
        given.into_iter().flatten().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    let bytes: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > USER_BYTES_MAX {
        return Err(s3_error!(
            MetadataTooLarge,
            "user metadata has {bytes} bytes; at most {USER_BYTES_MAX} are kept"
        ));
    }
    Ok(user)
}

/// Reads the metadata of an S3 request, whatever its operation.
macro_rules! given_metadata {
    ($input:expr) => {
        switchback_proto::store::v1::Metadata {
            content_type: $crate::s3::metadata::content_type($input.content_type.as_deref()),
            content_encoding: $crate::s3::metadata::content_encoding($input.content_encoding.as_deref()),
            content_disposition: $input.content_disposition.clone().unwrap_or_default(),
            content_language: $input.content_language.clone().unwrap_or_default(),
            cache_control: $input.cache_control.clone().unwrap_or_default(),
            expires: $crate::s3::metadata::expires($input.expires.as_ref()),
            user: $crate::s3::metadata::user($input.metadata.as_ref())?,
        }
    };
}
pub(crate) use given_metadata;

/// Sets the metadata fields of an S3 answer.
macro_rules! set_metadata {
    ($output:expr, $metadata:expr) => {{
        let metadata: &switchback_proto::store::v1::Metadata = $metadata;
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        $output.content_type = given(&metadata.content_type);
        $output.content_encoding = given(&metadata.content_encoding);
        $output.content_disposition = given(&metadata.content_disposition);
        $output.content_language = given(&metadata.content_language);
        $output.cache_control = given(&metadata.cache_control);
        $output.expires = $crate::s3::metadata::parsed_expires(metadata);
        $output.metadata = Some(metadata.user.clone().into_iter().collect());
    }};
}
pub(crate) use set_metadata;

pub(crate) fn content_type(given: Option<&str>) -> String {
    given.filter(|given| !given.is_empty()).unwrap_or(CONTENT_TYPE_DEFAULT).into()
}

/// Without `aws-chunked`, which was the encoding of the request's body and not of the object.
pub(crate) fn content_encoding(given: Option<&str>) -> String {
    let codings = given.unwrap_or_default().split(',').map(str::trim);
    codings
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(crate) fn expires(given: Option<&dto::Timestamp>) -> String {
    given.map(formatted).unwrap_or_default()
}

pub(crate) fn parsed_expires(metadata: &store::Metadata) -> Option<dto::Timestamp> {
    parsed(&metadata.expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_of_the_transfer_is_not_that_of_the_object() {
        assert_eq!(content_encoding(Some("aws-chunked")), "");
        assert_eq!(content_encoding(Some("gzip,aws-chunked")), "gzip");
        assert_eq!(content_encoding(Some("gzip")), "gzip");
    }

    #[test]
    fn user_metadata_beyond_the_limit_is_refused() {
        let given = |size: usize| dto::Metadata::from([("Name".to_owned(), "x".repeat(size))]);
        assert_eq!(user(Some(&given(2044))).unwrap().keys().collect::<Vec<_>>(), ["name"]);
        assert_eq!(user(Some(&given(2045))).unwrap_err().code().as_str(), "MetadataTooLarge");
    }
}
