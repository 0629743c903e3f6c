//! What S3 answers with, where `rusty-s3` does not read it.

use http::StatusCode;
use instant_xml::FromXml;

use super::Failure;

const S3: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Without a namespace, unlike all other answers.
#[derive(FromXml)]
#[xml(rename = "Error")]
struct Error {
    #[xml(rename = "Code")]
    code: Option<String>,
    #[xml(rename = "Message")]
    message: Option<String>,
}

#[derive(FromXml)]
#[xml(rename = "Tagging", ns(S3))]
struct Tagging {
    set: TagSet,
}

#[derive(FromXml)]
#[xml(rename = "TagSet", ns(S3))]
struct TagSet {
    tags: Vec<Tag>,
}

#[derive(FromXml)]
#[xml(rename = "Tag", ns(S3))]
struct Tag {
    #[xml(rename = "Key")]
    key: String,
    #[xml(rename = "Value")]
    value: Option<String>,
}

#[derive(FromXml)]
#[xml(rename = "CompleteMultipartUploadResult", ns(S3))]
struct Completed {
    #[xml(rename = "ETag")]
    etag: String,
}

/// What a refusal says; answers to `HEAD` say nothing.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let read = std::str::from_utf8(body).ok().and_then(|text| instant_xml::from_str::<Error>(text).ok());
    let (code, message) = read.map_or((None, None), |error| (error.code, error.message));
    let standing = || status.canonical_reason().unwrap_or("refused").to_owned();
    Failure::Refused {
        status,
        code: code.unwrap_or_else(standing),
        message: message.unwrap_or_else(|| "no reason was given".into()),
    }
}

/// The tags, written as the header that sets them.
pub(super) fn tags(body: &[u8]) -> Result<String, Failure> {
    let tagging: Tagging = read("tags", body)?;
    let pairs = tagging.set.tags.iter().map(|tag| {
        let value = tag.value.as_deref().unwrap_or_default();
        format!("{}={}", super::encoded(&tag.key, false), super::encoded(value, false))
    });
    Ok(pairs.collect::<Vec<_>>().join("&"))
}

/// The ETag of an upload that was completed. S3 may begin to answer with success before it knows.
pub(super) fn completed(status: StatusCode, body: &[u8]) -> Result<String, Failure> {
    match read::<Completed>("the end of an upload", body) {
        Ok(completed) => Ok(completed.etag.trim_matches('"').to_owned()),
        Err(_) => Err(refusal(status, body)),
    }
}

/// Reads XML.
pub(super) fn read<'a, T: FromXml<'a>>(what: &str, body: &'a [u8]) -> Result<T, Failure> {
    let text = text(what, body)?;
    instant_xml::from_str(text).map_err(|error| unreadable(what, &error))
}

/// The text of an answer.
pub(super) fn text<'a>(what: &str, body: &'a [u8]) -> Result<&'a str, Failure> {
    std::str::from_utf8(body).map_err(|error| unreadable(what, &error))
}

/// An answer that is not S3's.
pub(super) fn unreadable(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::Unusable(format!("the endpoint answers for {what} with what is not S3's: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_s3_says_and_something_when_it_says_nothing() {
        let body = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchBucket</Code>\
            <Message>there is &quot;none&quot;</Message><Resource>/b</Resource><RequestId>7</RequestId></Error>";
        let said = refusal(StatusCode::NOT_FOUND, body);
        assert_eq!(said.to_string(), "NoSuchBucket (404): there is \"none\"");
        assert_eq!(refusal(StatusCode::FORBIDDEN, b"").to_string(), "Forbidden (403): no reason was given");
    }

    #[test]
    fn tags_are_written_as_they_are_set() {
        let body = b"<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>\
            <Tag><Key>a b</Key><Value>1&amp;2</Value></Tag><Tag><Key>c</Key><Value></Value></Tag></TagSet></Tagging>";
        assert_eq!(tags(body).unwrap(), "a%20b=1%262&c=");
    }

    #[test]
    fn an_upload_that_failed_after_all_is_no_success() {
        let failed = b"<Error><Code>InternalError</Code><Message>again</Message></Error>";
        assert!(completed(StatusCode::OK, failed).unwrap_err().to_string().contains("InternalError"));
        let done = b"<CompleteMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Location>l</Location><ETag>&quot;abc-2&quot;</ETag></CompleteMultipartUploadResult>";
        assert_eq!(completed(StatusCode::OK, done).unwrap(), "abc-2");
    }
}
