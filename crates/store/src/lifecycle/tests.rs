//! When something expires, beside a calendar that counts day by day.

use proptest::prelude::*;

use super::*;

/// The midnight after `unix_ms`, and `days` more, one after the other.
fn counted(unix_ms: u64, days: u32) -> u64 {
    let next = (1..).map(|day| day * DAY_MS).find(|midnight| *midnight > unix_ms).unwrap();
    (0..days).fold(next, |midnight, _| midnight + DAY_MS)
}

fn rule(id: &str, change: impl FnOnce(&mut LifecycleRule)) -> LifecycleRule {
    let mut rule = LifecycleRule { id: id.into(), enabled: true, ..LifecycleRule::default() };
    change(&mut rule);
    rule
}

fn of(rules: impl IntoIterator<Item = LifecycleRule>) -> Lifecycle {
    Lifecycle { rules: rules.into_iter().collect() }
}

fn filters() -> impl Strategy<Value = LifecycleFilter> {
    let form = prop_oneof![Just(FilterForm::Outer), Just(FilterForm::Single), Just(FilterForm::And)];
    let prefix = proptest::option::of("(|a|a/|ab|\\.lost\\+found/)");
    let tags = proptest::collection::btree_map("[kl]", "[vw]", 0..2);
    let size = || proptest::option::of(0u64..5);
    (form, prefix, tags, size(), size()).prop_map(|(form, prefix, tags, larger_than, smaller_than)| {
        LifecycleFilter { form, prefix, tags, larger_than, smaller_than }
    })
}

fn rules() -> impl Strategy<Value = LifecycleRule> {
    let expiration = prop_oneof![
        (1u32..4).prop_map(Expiration::Days),
        (0u64..9).prop_map(|day| Expiration::Date(day * DAY_MS)),
        any::<bool>().prop_map(Expiration::Markers),
    ];
    let noncurrent =
        (1u32..4, proptest::option::of(1u32..3)).prop_map(|(days, kept)| NoncurrentExpiration { days, kept });
    (
        any::<bool>(),
        filters(),
        proptest::option::of(expiration),
        proptest::option::of(noncurrent),
        proptest::option::of(1u32..4),
    )
        .prop_map(|(enabled, filter, expiration, noncurrent, abort_uploads_days)| LifecycleRule {
            id: String::new(),
            enabled,
            filter,
            expiration,
            noncurrent,
            abort_uploads_days,
        })
}

fn numbered(mut rules: Vec<LifecycleRule>) -> Lifecycle {
    rules.iter_mut().enumerate().for_each(|(number, rule)| rule.id = format!("rule {number}"));
    Lifecycle { rules }
}

fn objects() -> impl Strategy<Value = Option<Object>> {
    let object = (0u64..6, proptest::collection::btree_map("[kl]", "[vw]", 0..3))
        .prop_map(|(size, tags)| Object { size, tags, ..Object::default() });
    proptest::option::of(object)
}

/// What S3's documentation says of one rule, a sentence after the other.
fn told(rule: &LifecycleRule, subject: &Subject<'_>) -> Option<u64> {
    let LifecycleFilter { prefix, tags, larger_than, smaller_than, .. } = &rule.filter;
    let prefix = prefix.clone().unwrap_or_default();
    if !rule.enabled || subject.key.get(..prefix.len()) != Some(prefix.as_str()) {
        return None;
    }
    if subject.key.starts_with(".lost+found/") && prefix != ".lost+found/" {
        return None;
    }
    if let Some(object) = subject.object {
        let has = |key: &String| object.tags.get(key).cloned();
        if tags.iter().any(|(key, value)| has(key).as_ref() != Some(value)) {
            return None;
        }
        if larger_than.is_some_and(|than| object.size <= than)
            || smaller_than.is_some_and(|than| object.size >= than)
        {
            return None;
        }
    } else if !tags.is_empty() || larger_than.is_some() || smaller_than.is_some() {
        return None;
    }
    match subject.standing {
        Standing::Noncurrent { since_unix_ms, newer } => {
            let noncurrent = rule.noncurrent?;
            if noncurrent.kept.is_some_and(|kept| newer < kept) {
                return None;
            }
            Some(counted(since_unix_ms, noncurrent.days))
        }
        Standing::Current { is_only } => {
            let is_marker = subject.object.is_none();
            if is_marker && !is_only {
                return None;
            }
            match rule.expiration? {
                Expiration::Days(days) => Some(counted(subject.written_unix_ms, days)),
                Expiration::Date(date) => Some(date),
                Expiration::Markers(true) if is_marker => Some(subject.written_unix_ms),
                Expiration::Markers(_) => None,
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_version_expires_when_the_documentation_says(
        rules in proptest::collection::vec(rules(), 1..4).prop_map(numbered),
        key in "(a|a/b|ab|b|\\.lost\\+found/a)",
        object in objects(),
        written_unix_ms in 0u64..9 * DAY_MS,
        standing in prop_oneof![
            any::<bool>().prop_map(|is_only| Standing::Current { is_only }),
            (0u64..9 * DAY_MS, 0u32..4)
                .prop_map(|(since_unix_ms, newer)| Standing::Noncurrent { since_unix_ms, newer }),
        ],
    ) {
        let subject = Subject { key: &key, object: object.as_ref(), written_unix_ms, standing };
        let expiry = rules.expiry(&subject);
        let each = rules.rules.iter().map(|rule| told(rule, &subject));
        prop_assert_eq!(expiry.map(|expiry| expiry.at_unix_ms), each.flatten().min());
        if let Some(expiry) = expiry {
            let by = rules.rules.iter().find(|rule| rule.id == expiry.rule).unwrap();
            prop_assert_eq!(told(by, &subject), Some(expiry.at_unix_ms));
        }
    }

    #[test]
    fn nothing_expires_before_its_days_are_over_nor_a_day_later(written in 0..u64::MAX / 2, days in 1u32..=DAYS_MAX) {
        let rules = of([rule("r", |rule| rule.expiration = Some(Expiration::Days(days)))]);
        let object = Object::default();
        let standing = Standing::Current { is_only: true };
        let subject = Subject { key: "a", object: Some(&object), written_unix_ms: written, standing };
        let lived = rules.expiry(&subject).unwrap().at_unix_ms - written;
        let whole = u64::from(days) * DAY_MS;
        prop_assert!(lived > whole && lived <= whole + DAY_MS);
    }

    #[test]
    fn rules_read_back_as_they_were_set(rules in proptest::collection::vec(rules(), 1..5).prop_map(numbered)) {
        let read = rules.setting().parse::<Lifecycle>();
        if rules.check().is_ok() {
            prop_assert_eq!(read.unwrap(), rules);
        } else {
            prop_assert!(read.is_err());
        }
    }

    #[test]
    fn all_that_rules_mean_begins_with_what_is_looked_at(rules in proptest::collection::vec(rules(), 1..4).prop_map(numbered)) {
        let common = rules.common_prefix().to_owned();
        for rule in rules.rules.iter().filter(|rule| rule.enabled) {
            prop_assert!(rule.filter.prefix.clone().unwrap_or_default().starts_with(&common));
        }
    }
}

#[test]
fn days_are_counted_as_in_the_documentation() {
    // User Guide, "Lifecycle rules: based on an object's age": created on 15 January 2014 at 10:30 UTC, three days.
    let rules = of([rule("r", |rule| rule.expiration = Some(Expiration::Days(3)))]);
    let object = Object::default();
    let subject = Subject {
        key: "a",
        object: Some(&object),
        written_unix_ms: 1_389_781_800_000,
        standing: Standing::Current { is_only: true },
    };
    // 19 January 2014, 00:00 UTC.
    assert_eq!(rules.expiry(&subject).unwrap().at_unix_ms, 1_390_089_600_000);
    assert_eq!(
        of([rule("r", |rule| rule.abort_uploads_days = Some(3))])
            .upload_expiry("a", 1_389_781_800_000)
            .map(|expiry| expiry.at_unix_ms),
        Some(1_390_089_600_000)
    );
}

#[test]
fn what_cannot_be_meant_is_refused_by_the_code_that_s3_gives_it() {
    use LifecycleError::{Argument, Malformed, Request};
    let days = |days| rule("r", |rule| rule.expiration = Some(Expiration::Days(days)));
    let noncurrent =
        |days, kept| rule("r", |rule| rule.noncurrent = Some(NoncurrentExpiration { days, kept }));
    let filtered = |mut rule: LifecycleRule, change: fn(&mut LifecycleFilter)| {
        change(&mut rule.filter);
        rule
    };
    let markers = rule("r", |rule| rule.expiration = Some(Expiration::Markers(true)));
    let abort = |days| rule("r", |rule| rule.abort_uploads_days = Some(days));
    let tagged = |filter: &mut LifecycleFilter| filter.tags = BTreeMap::from([("k".into(), "v".into())]);
    let many =
        |count: usize| of((0..count).map(|number| LifecycleRule { id: number.to_string(), ..days(1) }));
    for good in [
        many(1000),
        of([days(1), LifecycleRule { id: "other".into(), ..noncurrent(1, Some(100)) }]),
        of([filtered(days(1), tagged)]),
        of([markers.clone()]),
        of([abort(1)]),
        of([rule("r", |rule| rule.expiration = Some(Expiration::Date(0)))]),
    ] {
        assert_eq!(good.check(), Ok(()), "{good:?}");
    }
    let kind = |rules: Lifecycle| match rules.check().unwrap_err() {
        Malformed(_) => "MalformedXML",
        Argument(_) => "InvalidArgument",
        Request(_) => "InvalidRequest",
    };
    for (rules, code) in [
        (of([]), "MalformedXML"),
        (many(1001), "MalformedXML"),
        (of([days(0)]), "InvalidArgument"),
        (of([days(1), days(2)]), "InvalidArgument"),
        (of([LifecycleRule { id: "x".repeat(256), ..days(1) }]), "InvalidArgument"),
        (of([rule("r", |rule| rule.expiration = Some(Expiration::Date(1)))]), "InvalidArgument"),
        (of([noncurrent(0, None)]), "InvalidArgument"),
        (of([noncurrent(1, Some(0))]), "InvalidArgument"),
        (of([noncurrent(1, Some(101))]), "InvalidArgument"),
        (of([abort(0)]), "InvalidArgument"),
        (of([filtered(days(1), tagged_too_long)]), "InvalidArgument"),
        (of([rule("r", |_| ())]), "InvalidRequest"),
        (of([filtered(markers.clone(), tagged)]), "InvalidRequest"),
        (of([filtered(markers, |filter| filter.larger_than = Some(1))]), "InvalidRequest"),
        (of([filtered(abort(1), tagged)]), "InvalidRequest"),
        (of([filtered(days(1), |filter| filter.prefix = Some("x".repeat(1025)))]), "InvalidRequest"),
        (
            of([filtered(days(1), |filter| {
                (filter.larger_than, filter.smaller_than) = (Some(5), Some(5));
            })]),
            "InvalidRequest",
        ),
    ] {
        let told = format!("{rules:?}");
        assert_eq!(kind(rules), code, "{}", &told[..told.len().min(200)]);
    }
}

fn tagged_too_long(filter: &mut LifecycleFilter) {
    filter.tags = BTreeMap::from([("k".into(), "v".repeat(257))]);
}

#[test]
fn what_a_later_program_wrote_is_not_half_understood() {
    let text = of([rule("r", |rule| rule.expiration = Some(Expiration::Days(1)))]).setting();
    assert!(text.parse::<Lifecycle>().is_ok());
    for other in [
        text.replace("\"version\":1", "\"version\":2"),
        text.replace("\"id\":\"r\"", "\"id\":\"r\",\"storage_class\":\"COLD\""),
        text.replace("{\"days\":1}", "{\"hours\":1}"),
        text.replace("\"single\"", "\"or\""),
        String::new(),
    ] {
        assert_ne!(other, text);
        assert!(other.parse::<Lifecycle>().is_err(), "{other}");
        assert!(check_setting(LIFECYCLE, Some(&other)).is_err());
    }
    assert!(check_setting("cors", Some("anything")).is_ok() && check_setting(LIFECYCLE, None).is_ok());
}
