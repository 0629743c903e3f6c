//! Rules in S3's XML, and in the store's words. What XML alone can say wrong is refused here, the rest by the
//! store's own [`Lifecycle::check`].

use std::collections::{BTreeMap, BTreeSet};

use s3s::dto::*;
use s3s::{S3Error, S3Result, s3_error};
use switchback_store::{
    Expiration, FilterForm, Lifecycle, LifecycleError, LifecycleFilter, LifecycleRule as Rule,
    NoncurrentExpiration,
};

use crate::s3::time::{millis, stamp};

/// What a client sets. Rules without a name get one, which is the same whenever they are set again.
///
/// # Errors
/// As S3 has it: `MalformedXML`, `InvalidArgument`, `InvalidRequest`; and `NotImplemented` for transitions.
pub(super) fn read(configuration: BucketLifecycleConfiguration) -> S3Result<Lifecycle> {
    let mut rules = configuration.rules.into_iter().map(rule).collect::<S3Result<Vec<_>>>()?;
    let mut taken: BTreeSet<_> = rules.iter().map(|rule| rule.id.clone()).collect();
    for rule in rules.iter_mut().filter(|rule| rule.id.is_empty()) {
        let free = (1u32..).map(|number| format!("rule-{number}")).find(|id| !taken.contains(id));
        rule.id = free.unwrap_or_default();
        taken.insert(rule.id.clone());
    }
    let rules = Lifecycle { rules };
    rules.check().map_err(refused)?;
    Ok(rules)
}

fn refused(error: LifecycleError) -> S3Error {
    match error {
        LifecycleError::Malformed(reason) => s3_error!(MalformedXML, "{reason}"),
        LifecycleError::Argument(reason) => s3_error!(InvalidArgument, "{reason}"),
        LifecycleError::Request(reason) => s3_error!(InvalidRequest, "{reason}"),
    }
}

fn rule(given: LifecycleRule) -> S3Result<Rule> {
    let transitions = given.transitions.is_some_and(|transitions| !transitions.is_empty())
        || given.noncurrent_version_transitions.is_some_and(|transitions| !transitions.is_empty());
    if transitions {
        return Err(s3_error!(
            NotImplemented,
            "there is one storage class here and nothing to go over to: leave Transition and NoncurrentVersionTransition out"
        ));
    }
    let enabled = match given.status.as_str() {
        ExpirationStatus::ENABLED => true,
        ExpirationStatus::DISABLED => false,
        _ => return Err(s3_error!(MalformedXML, "Status is Enabled or Disabled")),
    };
    let filter = match (given.filter, given.prefix) {
        (Some(filter), None) => self::filter(filter)?,
        (None, Some(prefix)) => {
            LifecycleFilter { form: FilterForm::Outer, prefix: Some(prefix), ..Default::default() }
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(s3_error!(MalformedXML, "a Rule has a Filter, or a Prefix of its own, and not both"));
        }
    };
    Ok(Rule {
        id: given.id.unwrap_or_default(),
        enabled,
        filter,
        expiration: given.expiration.map(expiration).transpose()?,
        noncurrent: given.noncurrent_version_expiration.map(noncurrent).transpose()?,
        abort_uploads_days: match given.abort_incomplete_multipart_upload {
            Some(abort) => Some(number(abort.days_after_initiation, "DaysAfterInitiation")?),
            None => None,
        },
    })
}

/// A number that must be there, and is none of S3's if it is below zero. Zero is judged with the others.
fn number(given: Option<i32>, what: &str) -> S3Result<u32> {
    let given = given.ok_or_else(|| s3_error!(MalformedXML, "{what} is missing"))?;
    u32::try_from(given).map_err(|_| s3_error!(InvalidArgument, "{what} must be a positive number"))
}

fn size(given: Option<i64>, what: &str) -> S3Result<Option<u64>> {
    let given = given.map(u64::try_from).transpose();
    given.map_err(|_| s3_error!(InvalidArgument, "{what} is a number of bytes"))
}

fn filter(given: LifecycleRuleFilter) -> S3Result<LifecycleFilter> {
    let LifecycleRuleFilter { and, object_size_greater_than, object_size_less_than, prefix, tag, .. } = given;
    let conditions = [
        and.is_some(),
        object_size_greater_than.is_some(),
        object_size_less_than.is_some(),
        prefix.is_some(),
        tag.is_some(),
    ];
    if conditions.into_iter().filter(|condition| *condition).count() > 1 {
        return Err(s3_error!(MalformedXML, "a Filter has one condition: put several into its And"));
    }
    let Some(and) = and else {
        return Ok(LifecycleFilter {
            form: FilterForm::Single,
            prefix,
            tags: tags(tag.into_iter())?,
            larger_than: size(object_size_greater_than, "ObjectSizeGreaterThan")?,
            smaller_than: size(object_size_less_than, "ObjectSizeLessThan")?,
        });
    };
    Ok(LifecycleFilter {
        form: FilterForm::And,
        prefix: and.prefix,
        tags: tags(and.tags.unwrap_or_default().into_iter())?,
        larger_than: size(and.object_size_greater_than, "ObjectSizeGreaterThan")?,
        smaller_than: size(and.object_size_less_than, "ObjectSizeLessThan")?,
    })
}

fn tags(given: impl Iterator<Item = Tag>) -> S3Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for tag in given {
        if tags.insert(tag.key.unwrap_or_default(), tag.value.unwrap_or_default()).is_some() {
            return Err(s3_error!(InvalidRequest, "two Tags of a Filter have the same Key"));
        }
    }
    Ok(tags)
}

fn expiration(given: LifecycleExpiration) -> S3Result<Expiration> {
    match (given.days, given.date, given.expired_object_delete_marker) {
        (Some(days), None, None) => Ok(Expiration::Days(number(Some(days), "Days of an Expiration")?)),
        (None, Some(date), None) => {
            let unix_ms = u64::try_from(millis(&date));
            let unix_ms = unix_ms.map_err(|_| s3_error!(InvalidArgument, "Date must be after 1970"))?;
            Ok(Expiration::Date(unix_ms))
        }
        (None, None, Some(does)) => Ok(Expiration::Markers(does)),
        _ => {
            Err(s3_error!(MalformedXML, "an Expiration has one of Days, Date and ExpiredObjectDeleteMarker"))
        }
    }
}

fn noncurrent(given: NoncurrentVersionExpiration) -> S3Result<NoncurrentExpiration> {
    let kept = given.newer_noncurrent_versions;
    Ok(NoncurrentExpiration {
        days: number(given.noncurrent_days, "NoncurrentDays")?,
        kept: kept.map(|kept| number(Some(kept), "NewerNoncurrentVersions")).transpose()?,
    })
}

/// As the client set them.
pub(super) fn written(rules: Lifecycle) -> Vec<LifecycleRule> {
    rules.rules.into_iter().map(written_rule).collect()
}

/// S3 counts in signed numbers; none that was let in is too large.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn written_rule(rule: Rule) -> LifecycleRule {
    let status = if rule.enabled { ExpirationStatus::ENABLED } else { ExpirationStatus::DISABLED };
    let (filter, prefix) = match rule.filter.form {
        FilterForm::Outer => (None, rule.filter.prefix),
        FilterForm::Single | FilterForm::And => (Some(written_filter(rule.filter)), None),
    };
    let expiration = rule.expiration.map(|expiration| match expiration {
        Expiration::Days(days) => LifecycleExpiration { days: Some(signed(days)), ..Default::default() },
        Expiration::Date(unix_ms) => {
            let date = Some(stamp(i64::try_from(unix_ms).unwrap_or(i64::MAX)));
            LifecycleExpiration { date, ..Default::default() }
        }
        Expiration::Markers(does) => {
            LifecycleExpiration { expired_object_delete_marker: Some(does), ..Default::default() }
        }
    });
    LifecycleRule {
        abort_incomplete_multipart_upload: rule
            .abort_uploads_days
            .map(|days| AbortIncompleteMultipartUpload { days_after_initiation: Some(signed(days)) }),
        expiration,
        filter,
        id: Some(rule.id),
        noncurrent_version_expiration: rule.noncurrent.map(|noncurrent| NoncurrentVersionExpiration {
            newer_noncurrent_versions: noncurrent.kept.map(signed),
            noncurrent_days: Some(signed(noncurrent.days)),
        }),
        noncurrent_version_transitions: None,
        prefix,
        status: ExpirationStatus::from_static(status),
        transitions: None,
    }
}

fn written_filter(filter: LifecycleFilter) -> LifecycleRuleFilter {
    let LifecycleFilter { form, prefix, tags, larger_than, smaller_than } = filter;
    let size = |bytes: Option<u64>| bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let mut tags = tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) });
    if form == FilterForm::And {
        let tags: Vec<_> = tags.collect();
        let and = LifecycleRuleAndOperator {
            object_size_greater_than: size(larger_than),
            object_size_less_than: size(smaller_than),
            prefix,
            tags: (!tags.is_empty()).then_some(tags),
        };
        return LifecycleRuleFilter { and: Some(and), ..Default::default() };
    }
    LifecycleRuleFilter {
        object_size_greater_than: size(larger_than),
        object_size_less_than: size(smaller_than),
        prefix,
        tag: tags.next(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::setting;

    fn parsed(rules: &str) -> S3Result<Lifecycle> {
        let text = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        read(setting::read(&text).map_err(|_| s3_error!(MalformedXML))?)
    }

    fn rule_of(what: &str) -> String {
        format!("<Rule><ID>r</ID><Status>Enabled</Status>{what}</Rule>")
    }

    const DAYS: &str = "<Expiration><Days>3</Days></Expiration>";

    #[test]
    fn rules_are_shown_as_they_were_set() {
        for filter in [
            "<Prefix>logs/</Prefix>",
            "<Filter></Filter>",
            "<Filter><Prefix>logs/</Prefix></Filter>",
            "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>",
            "<Filter><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></Filter>",
            "<Filter><And><Prefix>l</Prefix><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value></Value></Tag><ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter>",
        ] {
            for action in [
                DAYS,
                "<Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration>",
                "<NoncurrentVersionExpiration><NewerNoncurrentVersions>5</NewerNoncurrentVersions><NoncurrentDays>30</NoncurrentDays></NoncurrentVersionExpiration>",
            ] {
                let rules = parsed(&rule_of(&format!("{filter}{action}"))).unwrap();
                let kept: Lifecycle = rules.setting().parse().unwrap();
                let shown = BucketLifecycleConfiguration { rules: written(kept) };
                let text = setting::written(&shown).unwrap();
                assert_eq!(read(setting::read(&text).unwrap()).unwrap(), rules, "{text}");
                assert!(text.contains("<ID>r</ID>"), "{text}");
                for part in [filter, action] {
                    // Elements of one level come in another order.
                    let names = part.split('>').filter(|piece| !piece.starts_with("</"));
                    for name in names.filter(|piece| piece.starts_with('<')) {
                        assert!(text.contains(name), "{name} of {part} in {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_with_the_code_of_s3() {
        let filtered = |filter: &str| rule_of(&format!("<Filter>{filter}</Filter>{DAYS}"));
        let with = |action: &str| rule_of(&format!("<Filter/>{action}"));
        let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
        for (rules, code) in [
            (String::new(), "MalformedXML"),
            (rule_of(DAYS), "MalformedXML"),
            (rule_of(&format!("<Prefix/><Filter/>{DAYS}")), "MalformedXML"),
            (filtered("<Prefix>a</Prefix>").replace("Enabled", "On"), "MalformedXML"),
            (filtered(&format!("<Prefix>a</Prefix>{tag}")), "MalformedXML"),
            (filtered(&format!("<And>{tag}{tag}</And>")), "InvalidRequest"),
            (filtered("<ObjectSizeGreaterThan>-1</ObjectSizeGreaterThan>"), "InvalidArgument"),
            (with("<Expiration/>"), "MalformedXML"),
            (
                with(
                    "<Expiration><Days>1</Days><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
                ),
                "MalformedXML",
            ),
            (with("<Expiration><Days>0</Days></Expiration>"), "InvalidArgument"),
            (with("<Expiration><Days>-1</Days></Expiration>"), "InvalidArgument"),
            (with("<Expiration><Date>2030-01-01T00:00:01.000Z</Date></Expiration>"), "InvalidArgument"),
            (with("<Expiration><Date>20300101</Date></Expiration>"), "MalformedXML"),
            (with("<NoncurrentVersionExpiration/>"), "MalformedXML"),
            (with("<AbortIncompleteMultipartUpload/>"), "MalformedXML"),
            (with(""), "InvalidRequest"),
            (format!("{}{}", with(DAYS), with(DAYS)), "InvalidArgument"),
            (
                with("<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"),
                "NotImplemented",
            ),
        ] {
            assert_eq!(parsed(&rules).unwrap_err().code().as_str(), code, "{rules}");
        }
    }

    #[test]
    fn rules_without_a_name_get_one_that_stays() {
        let unnamed = format!("<Rule><Status>Enabled</Status><Filter/>{DAYS}</Rule>");
        let named = format!("<Rule><ID>rule-1</ID><Status>Disabled</Status><Filter/>{DAYS}</Rule>");
        let text = format!("{unnamed}{named}{unnamed}");
        let ids = |rules: Lifecycle| rules.rules.into_iter().map(|rule| rule.id).collect::<Vec<_>>();
        assert_eq!(ids(parsed(&text).unwrap()), ["rule-2", "rule-1", "rule-3"]);
        assert_eq!(ids(parsed(&text).unwrap()), ids(parsed(&text).unwrap()));
    }
}
