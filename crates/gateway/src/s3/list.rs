//! Listings of a bucket's objects.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TOKEN;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{self as store, ListObjectsRequest, ListObjectsResponse};

use super::bucket::owner;
use super::checksum::{Algorithm, kind_of};
use super::time::stamp;
use super::{Gateway, caller, page, place, refused, signed, strong};
use crate::auth::Place;
use crate::store::answer;

/// What both versions of the listing ask for.
struct Asked {
    place: Place,
    prefix: Option<String>,
    delimiter: Option<String>,
    start_after: String,
    keys_max: u32,
}

async fn list(gateway: &Gateway, asked: Asked) -> S3Result<ListObjectsResponse> {
    // A page of nothing still finds out whether the bucket is there.
    let call = ListObjectsRequest {
        content: Some(asked.place.content),
        namespace: asked.place.namespace,
        prefix: asked.prefix.unwrap_or_default(),
        delimiter: asked.delimiter.unwrap_or_default(),
        start_after: asked.start_after,
        keys_max: asked.keys_max.max(1),
    };
    let found = answer(gateway.store.client().list_objects(call)).await.map_err(refused)?;
    Ok(if asked.keys_max == 0 { ListObjectsResponse::default() } else { found })
}

/// How names are written in the answer: as they are, or percent-encoded, which carries the
/// characters that XML cannot.
#[derive(Clone, Copy)]
pub(super) struct Encoding(bool);

impl Encoding {
    pub(super) fn asked(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self(false)),
            Some(EncodingType::URL) => Ok(Self(true)),
            Some(other) => Err(s3_error!(InvalidArgument, "unknown encoding type {other}: expected url")),
        }
    }

    pub(super) fn write(self, name: String) -> String {
        if self.0 { percent_encoded(&name) } else { name }
    }

    pub(super) fn written(self) -> Option<EncodingType> {
        self.0.then(|| EncodingType::from_static(EncodingType::URL))
    }
}

/// Everything but the unreserved characters (RFC 3986, section 2.3) and the slash.
pub(super) fn percent_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn entry(object: store::Object, encoding: Encoding, owner: Option<&Owner>) -> Object {
    let algorithms = object.checksums.iter().filter_map(|checksum| Algorithm::named(&checksum.algorithm));
    let algorithms: Vec<_> = algorithms.map(|known| ChecksumAlgorithm::from_static(known.name())).collect();
    Object {
        checksum_type: kind_of(&object.checksums),
        checksum_algorithm: (!algorithms.is_empty()).then_some(algorithms),
        e_tag: Some(strong(&object.etag)),
        key: Some(encoding.write(object.key)),
        last_modified: Some(stamp(object.last_modified_unix_ms)),
        owner: owner.cloned(),
        restore_status: None,
        size: Some(signed(object.size)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
    }
}

pub(super) fn prefixes(found: Vec<String>, encoding: Encoding) -> Vec<CommonPrefix> {
    found.into_iter().map(|prefix| CommonPrefix { prefix: Some(encoding.write(prefix)) }).collect()
}

/// `ListObjects`.
pub(super) async fn v1(
    gateway: &Gateway,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let owner = owner(caller(&request)?);
    let place = place(&request, &request.input.bucket)?;
    let input = request.input;
    let (encoding, keys_max) = (Encoding::asked(input.encoding_type.as_ref())?, page(input.max_keys)?);
    let asked = Asked {
        place,
        prefix: input.prefix.clone(),
        delimiter: input.delimiter.clone(),
        start_after: input.marker.clone().unwrap_or_default(),
        keys_max,
    };
    let found = list(gateway, asked).await?;
    let truncated = !found.next_start_after.is_empty();
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encoding.write(input.prefix.unwrap_or_default())),
        marker: Some(encoding.write(input.marker.unwrap_or_default())),
        max_keys: i32::try_from(keys_max).ok(),
        is_truncated: Some(truncated),
        contents: Some(
            found.objects.into_iter().map(|object| entry(object, encoding, Some(&owner))).collect(),
        ),
        common_prefixes: Some(prefixes(found.common_prefixes, encoding)),
        delimiter: input.delimiter.map(|delimiter| encoding.write(delimiter)),
        next_marker: truncated.then(|| encoding.write(found.next_start_after)),
        encoding_type: encoding.written(),
        request_charged: None,
    }))
}

/// `ListObjectsV2`.
pub(super) async fn v2(
    gateway: &Gateway,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let owner = (request.input.fetch_owner == Some(true)).then(|| caller(&request).map(owner)).transpose()?;
    let place = place(&request, &request.input.bucket)?;
    let input = request.input;
    let (encoding, keys_max) = (Encoding::asked(input.encoding_type.as_ref())?, page(input.max_keys)?);
    let start_after = match &input.continuation_token {
        Some(token) => continued(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let asked = Asked {
        place,
        prefix: input.prefix.clone(),
        delimiter: input.delimiter.clone(),
        start_after,
        keys_max,
    };
    let found = list(gateway, asked).await?;
    let count = found.objects.len() + found.common_prefixes.len();
    let truncated = !found.next_start_after.is_empty();
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encoding.write(input.prefix.unwrap_or_default())),
        max_keys: i32::try_from(keys_max).ok(),
        key_count: i32::try_from(count).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(truncated),
        next_continuation_token: truncated.then(|| TOKEN.encode(&found.next_start_after)),
        contents: Some(
            found.objects.into_iter().map(|object| entry(object, encoding, owner.as_ref())).collect(),
        ),
        common_prefixes: Some(prefixes(found.common_prefixes, encoding)),
        delimiter: input.delimiter.map(|delimiter| encoding.write(delimiter)),
        encoding_type: encoding.written(),
        start_after: input.start_after.map(|start| encoding.write(start)),
        request_charged: None,
    }))
}

fn continued(token: &str) -> S3Result<String> {
    let decoded = TOKEN.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of this system's"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_so_that_any_client_decodes_them() {
        let url = Encoding::asked(Some(&EncodingType::from_static("url"))).unwrap();
        assert_eq!(url.write("a b+c/d%é\u{1}".into()), "a%20b%2Bc/d%25%C3%A9%01");
        assert_eq!(Encoding::asked(None).unwrap().write("a b".into()), "a b");
        assert!(Encoding::asked(Some(&EncodingType::from_static("hex"))).is_err());
    }

    #[test]
    fn a_token_that_is_not_ours_is_refused() {
        assert_eq!(continued(&TOKEN.encode("photos/é")).unwrap(), "photos/é");
        assert!(continued("not a token").is_err());
    }
}
