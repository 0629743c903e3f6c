//! Conditions and ranges of reads (RFC 9110, sections 13 and 14).
//!
//! Conditions of writes are not judged here: they go with the commit, which is the only place
//! where the current object is known.

use std::ops::Range;

use http::header::{CONTENT_RANGE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use switchback_proto::store::v1::{Conditions, Object};

use super::time::{http_date, seconds};
use crate::status;

/// The conditions of a read.
pub(crate) struct ReadConditions<'a> {
    pub(crate) if_match: Option<&'a ETagCondition>,
    pub(crate) if_none_match: Option<&'a ETagCondition>,
    pub(crate) if_modified_since: Option<&'a Timestamp>,
    pub(crate) if_unmodified_since: Option<&'a Timestamp>,
}

/// What the conditions of a read say about the current object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Go,
    NotModified,
    Failed,
}

impl ReadConditions<'_> {
    /// Judges them in the order of RFC 9110, section 13.2.2.
    fn judge(&self, object: &Object) -> Verdict {
        let modified = object.last_modified_unix_ms.div_euclid(1000);
        let etag = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == object.etag,
        };
        let unchanged_since = |time: &Timestamp| modified <= seconds(time);
        let held = match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) => etag(condition),
            (None, Some(time)) => unchanged_since(time),
            (None, None) => true,
        };
        let same = match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => etag(condition),
            (None, Some(time)) => unchanged_since(time),
            (None, None) => false,
        };
        match (held, same) {
            (false, _) => Verdict::Failed,
            (true, true) => Verdict::NotModified,
            (true, false) => Verdict::Go,
        }
    }

    /// For GET and HEAD: 412, or 304 with what the client needs to go on using what it has.
    pub(crate) fn check(&self, object: &Object) -> S3Result<()> {
        match self.judge(object) {
            Verdict::Go => Ok(()),
            Verdict::Failed => Err(failed()),
            Verdict::NotModified => {
                let mut error = S3Error::new(S3ErrorCode::NotModified);
                let mut headers = HeaderMap::new();
                put(&mut headers, ETAG, &format!("\"{}\"", object.etag));
                put(&mut headers, LAST_MODIFIED, &http_date(object.last_modified_unix_ms));
                error.set_headers(headers);
                Err(error)
            }
        }
    }

    /// For the source of a copy, where nothing is ever not modified: 412.
    pub(crate) fn check_source(&self, object: &Object) -> S3Result<()> {
        if self.judge(object) == Verdict::Go { Ok(()) } else { Err(failed()) }
    }
}

fn failed() -> S3Error {
    s3_error!(PreconditionFailed, "a condition of the request does not hold for the current object")
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The conditions of a write, for the commit.
pub(crate) fn of_write(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> Option<Conditions> {
    let list = |condition: Option<&ETagCondition>| {
        let value = condition.map(|condition| match condition {
            ETagCondition::Any => "*".to_owned(),
            ETagCondition::ETag(etag) => etag.value().to_owned(),
        });
        value.into_iter().collect::<Vec<_>>()
    };
    let conditions = Conditions { if_match: list(if_match), if_none_match: list(if_none_match) };
    (conditions != Conditions::default()).then_some(conditions)
}

/// The part of an object that a read asks for: a range, a part of a multipart object, or all of
/// it (`None`).
pub(crate) fn part_of(
    object: &Object,
    range: Option<s3s::dto::Range>,
    part_number: Option<i32>,
) -> S3Result<Option<Range<u64>>> {
    match (range, part_number) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "a range and a part cannot both be asked for")),
        (Some(range), None) => match range.check(object.size) {
            Ok(range) => Ok(Some(range)),
            Err(_) => Err(unsatisfiable(object.size)),
        },
        (None, Some(number)) => part(object, number).map(Some),
    }
}

fn part(object: &Object, number: i32) -> S3Result<Range<u64>> {
    let whole = [object.size];
    let sizes = if object.part_sizes.is_empty() { &whole[..] } else { &object.part_sizes };
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let Some((index, size)) = index.and_then(|index| Some((index, sizes.get(index)?))) else {
        let message = format!("the object has {} parts", sizes.len());
        return Err(status::custom("InvalidPartNumber", StatusCode::RANGE_NOT_SATISFIABLE, message));
    };
    let start: u64 = sizes[..index].iter().sum();
    Ok(start..start + size)
}

fn unsatisfiable(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "the object has {size} bytes");
    let mut headers = status::xml();
    put(&mut headers, CONTENT_RANGE, &format!("bytes */{size}"));
    error.set_headers(headers);
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::dto::ETag;

    fn object() -> Object {
        Object { size: 10, etag: "abc".into(), last_modified_unix_ms: 1_000_500, ..Default::default() }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
    }

    fn status(conditions: &ReadConditions<'_>) -> Option<u16> {
        conditions.check(&object()).err().map(|error| error.status_code().unwrap().as_u16())
    }

    const NONE: ReadConditions<'_> = ReadConditions {
        if_match: None,
        if_none_match: None,
        if_modified_since: None,
        if_unmodified_since: None,
    };

    #[test]
    fn conditions_on_the_etag_are_judged_before_those_on_the_time() {
        let (same, other) = (
            ETagCondition::ETag(ETag::Strong("abc".into())),
            ETagCondition::ETag(ETag::Strong("xyz".into())),
        );
        assert_eq!(status(&ReadConditions { if_match: Some(&other), ..NONE }), Some(412));
        assert_eq!(
            status(&ReadConditions { if_match: Some(&same), if_unmodified_since: Some(&at(1)), ..NONE }),
            None
        );
        assert_eq!(status(&ReadConditions { if_none_match: Some(&same), ..NONE }), Some(304));
        assert_eq!(
            status(&ReadConditions {
                if_none_match: Some(&other),
                if_modified_since: Some(&at(2000)),
                ..NONE
            }),
            None
        );
        assert_eq!(status(&ReadConditions { if_none_match: Some(&ETagCondition::Any), ..NONE }), Some(304));
    }

    #[test]
    fn times_are_compared_by_the_second_as_clients_are_shown_them() {
        assert_eq!(status(&ReadConditions { if_modified_since: Some(&at(1000)), ..NONE }), Some(304));
        assert_eq!(status(&ReadConditions { if_modified_since: Some(&at(999)), ..NONE }), None);
        assert_eq!(status(&ReadConditions { if_unmodified_since: Some(&at(1000)), ..NONE }), None);
        assert_eq!(status(&ReadConditions { if_unmodified_since: Some(&at(999)), ..NONE }), Some(412));
    }

    #[test]
    fn a_part_of_a_multipart_object_is_a_range_of_it() {
        let object = Object { part_sizes: vec![4, 4, 2], ..object() };
        assert_eq!(part_of(&object, None, Some(3)).unwrap(), Some(8..10));
        assert_eq!(part_of(&object, None, Some(4)).unwrap_err().status_code().unwrap(), 416);
        let range = s3s::dto::Range::parse("bytes=-3").unwrap();
        assert_eq!(part_of(&object, Some(range), None).unwrap(), Some(7..10));
        let beyond = s3s::dto::Range::parse("bytes=10-").unwrap();
        let error = part_of(&object, Some(beyond), None).unwrap_err();
        assert_eq!(error.status_code().unwrap(), 416);
        assert_eq!(error.headers().unwrap()[CONTENT_RANGE], "bytes */10");
    }
}
