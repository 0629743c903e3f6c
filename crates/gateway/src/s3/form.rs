//! Uploads by browser forms (`PostObject`), which s3s hands on as a PUT.
//!
//! A form's fields are to its file what the headers of a PUT are to the body. s3s has checked the
//! form's signature and its policy; the request's own headers are about the form as a whole.

use http::header::ETAG;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::{ChecksumAlgorithm, ETag, PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::checksum::given_checksums;
use crate::status::VERSION_ID;

/// Stands for the name that the file has on the client's side. s3s keeps that name to itself.
const FILE_NAME: &str = "${filename}";

/// Puts the fields that are about the bytes where a PUT has them.
pub(super) fn as_put(request: &mut S3Request<PutObjectInput>) -> S3Result<()> {
    let input = &request.input;
    if input.key.contains(FILE_NAME) {
        return Err(s3_error!(NotImplemented, "{FILE_NAME} is not offered here: give the key in full"));
    }
    let md5 = input.content_md5.clone().map(|md5| ("content-md5".to_owned(), md5));
    let asked = input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str);
    let asked = asked.map(|asked| ("x-amz-sdk-checksum-algorithm".to_owned(), asked.to_owned()));
    let checksums = given_checksums!(input).map(|(algorithm, value)| (algorithm.header(), value));
    let fields = md5.into_iter().chain(checksums).chain(asked);
    request.headers = fields.map(header).collect::<S3Result<HeaderMap>>()?;
    Ok(())
}

/// The answer; s3s puts nothing of the output into it.
pub(super) fn answer(output: PutObjectOutput) -> S3Result<S3Response<PutObjectOutput>> {
    let etag = output.e_tag.as_ref().and_then(|etag| ETag::to_http_header(etag).ok());
    let version_id = output.version_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok());
    let mut response = S3Response::new(output);
    let headers = [(ETAG, etag), (VERSION_ID, version_id)];
    response.headers.extend(headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
    Ok(response)
}

fn header((name, value): (String, String)) -> S3Result<(HeaderName, HeaderValue)> {
    let field = name.parse().ok().zip(HeaderValue::try_from(value).ok());
    field.ok_or_else(|| s3_error!(InvalidArgument, "{name}: expected base64"))
}
