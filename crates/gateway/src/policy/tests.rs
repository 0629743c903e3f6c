use proptest::prelude::*;

use super::*;

const BUCKET: &str = "photos";

fn facts() -> Facts {
    Facts {
        source: "192.0.2.7".parse().unwrap(),
        is_secure: false,
        now: Timestamp::parse(s3s::dto::TimestampFormat::DateTime, "2026-11-29T12:00:00Z").unwrap(),
        prefix: None,
        delimiter: None,
    }
}

fn listing(prefix: &str, delimiter: Option<&str>) -> Facts {
    Facts { prefix: Some(prefix.into()), delimiter: delimiter.map(str::to_owned), ..facts() }
}

/// One statement, whose parts are JSON.
fn statement(effect: &str, principal: &str, action: &str, resource: &str, condition: &str) -> String {
    format!(
        "{{\"Effect\":\"{effect}\",\"Principal\":{principal},\"Action\":{action},\"Resource\":{resource},\"Condition\":{condition}}}"
    )
}

fn policy(statements: &[String]) -> String {
    format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{}]}}", statements.join(","))
}

fn decided(
    text: &str,
    access_key: Option<&str>,
    action: &str,
    key: Option<&str>,
    facts: &Facts,
) -> Option<Effect> {
    let policy = Policy::read(text, BUCKET).unwrap();
    policy.decide(&Asked { access_key, action, key, facts })
}

/// What an Allow of everything but for `condition` says to a request that has `facts`.
fn holds(condition: &str, facts: &Facts) -> bool {
    let text = policy(&[statement("Allow", "\"*\"", "\"s3:*\"", "\"arn:aws:s3:::photos\"", condition)]);
    decided(&text, None, "s3:ListBucket", None, facts).is_some()
}

fn refusal(text: &str) -> String {
    Policy::read(text, BUCKET).expect_err(text)
}

#[test]
fn a_statement_is_about_its_principals_actions_and_resources_alone() {
    let public =
        policy(&[statement("Allow", "\"*\"", "\"s3:GetObject\"", "\"arn:aws:s3:::photos/open/*\"", "{}")]);
    let allowed =
        |text: &str, key, action, object| decided(text, key, action, object, &facts()) == Some(Effect::Allow);
    assert!(allowed(&public, None, "s3:GetObject", Some("open/cat")));
    assert!(allowed(&public, Some("AK"), "s3:GetObject", Some("open/")));
    assert!(!allowed(&public, None, "s3:GetObject", Some("open")));
    assert!(!allowed(&public, None, "s3:PutObject", Some("open/cat")));
    assert!(!allowed(&public, None, "s3:GetObjectVersion", Some("open/cat")));
    assert!(!allowed(&public, None, "s3:ListBucket", None));

    let named = "{\"AWS\":[\"AK1\",\"arn:aws:iam:::user/AK2\"]}";
    let named = policy(&[statement(
        "Allow",
        named,
        "[\"s3:Put*\",\"S3:DELETEOBJECT\"]",
        "[\"arn:aws:s3:::photos\",\"arn:aws:s3:::photos/a?c\"]",
        "{}",
    )]);
    for key in ["AK1", "AK2"] {
        assert!(allowed(&named, Some(key), "s3:PutObject", Some("aüc")));
        assert!(allowed(&named, Some(key), "s3:DeleteObject", Some("abc")));
        assert!(allowed(&named, Some(key), "s3:PutBucketCORS", None));
        assert!(!allowed(&named, Some(key), "s3:GetObject", Some("abc")));
        assert!(!allowed(&named, Some(key), "s3:PutObject", Some("abbc")));
    }
    assert!(!allowed(&named, Some("AK"), "s3:PutObject", Some("abc")));
    assert!(!allowed(&named, None, "s3:PutObject", Some("abc")));
    let keys = Policy::read(&named, BUCKET).unwrap();
    assert_eq!(keys.access_keys().collect::<Vec<_>>(), ["AK1", "AK2"]);

    let but = "{\"Statement\":{\"Effect\":\"Deny\",\"Principal\":{\"AWS\":\"*\"},\"NotAction\":\"s3:Get*\",\
               \"NotResource\":\"arn:aws:s3:::photos/inbox/*\"}}";
    let denied = |action, object| decided(but, None, action, object, &facts()) == Some(Effect::Deny);
    assert!(denied("s3:PutObject", Some("cat")) && denied("s3:ListBucket", None));
    assert!(!denied("s3:PutObject", Some("inbox/cat")) && !denied("s3:GetObject", Some("cat")));
}

#[test]
fn conditions_hold_of_what_is_known_of_a_request() {
    let address = |operator: &str, ranges: &str| format!("{{\"{operator}\":{{\"aws:SourceIp\":{ranges}}}}}");
    let from = |source: &str| Facts { source: source.parse().unwrap(), ..facts() };
    let ranges = "[\"192.0.2.0/24\",\"2001:db8::/32\",\"198.51.100.1\"]";
    for (source, is_inside) in [
        ("192.0.2.7", true),
        ("::ffff:192.0.2.7", true),
        ("192.0.3.7", false),
        ("2001:db8::1", true),
        ("2001:db9::1", false),
        ("198.51.100.1", true),
        ("198.51.100.2", false),
    ] {
        assert_eq!(holds(&address("IpAddress", ranges), &from(source)), is_inside, "{source}");
        assert_eq!(holds(&address("NotIpAddress", ranges), &from(source)), !is_inside, "{source}");
    }

    let secure = |wanted: &str| format!("{{\"Bool\":{{\"aws:securetransport\":{wanted}}}}}");
    for (wanted, of_plain) in [("\"false\"", true), ("false", true), ("\"true\"", false), ("true", false)] {
        assert_eq!(holds(&secure(wanted), &facts()), of_plain, "{wanted}");
        assert_eq!(holds(&secure(wanted), &Facts { is_secure: true, ..facts() }), !of_plain, "{wanted}");
    }

    let time =
        |operator: &str, instant: &str| format!("{{\"{operator}\":{{\"aws:CurrentTime\":\"{instant}\"}}}}");
    for (operator, expected) in [
        ("DateLessThan", [false, false, true]),
        ("DateLessThanEquals", [false, true, true]),
        ("DateGreaterThan", [true, false, false]),
        ("DateGreaterThanEquals", [true, true, false]),
    ] {
        let instants = ["2026-11-29T12:59:59+01:00", "2026-11-29T12:00:00Z", "1795953601"];
        assert_eq!(instants.map(|instant| holds(&time(operator, instant), &facts())), expected, "{operator}");
    }

    let text = |operator: &str, key: &str, values: &str| format!("{{\"{operator}\":{{\"{key}\":{values}}}}}");
    for (operator, values, prefix, expected) in [
        ("StringEquals", "[\"a/\",\"b/\"]", "b/", true),
        ("StringEquals", "\"a*\"", "ab", false),
        ("StringLike", "\"a*\"", "ab", true),
        ("StringNotEquals", "[\"a/\",\"b/\"]", "b/", false),
        ("StringNotLike", "\"a*\"", "b", true),
        ("StringEquals", "\"\"", "", true),
    ] {
        assert_eq!(
            holds(&text(operator, "s3:prefix", values), &listing(prefix, None)),
            expected,
            "{operator} {prefix}"
        );
    }
    // What a request does not have fits no value.
    assert!(!holds(&text("StringLike", "s3:prefix", "\"*\""), &facts()));
    assert!(holds(&text("StringNotLike", "s3:prefix", "\"*\""), &facts()));
    let delimited = text("StringEquals", "s3:delimiter", "\"/\"");
    assert!(holds(&delimited, &listing("", Some("/"))) && !holds(&delimited, &listing("/", None)));

    // All operators and all keys of them must hold.
    let both = "{\"StringEquals\":{\"s3:prefix\":\"a\",\"s3:delimiter\":\"/\"},\"Bool\":{\"aws:SecureTransport\":\"false\"}}";
    assert!(holds(both, &listing("a", Some("/"))));
    assert!(!holds(both, &listing("a", None)) && !holds(both, &listing("b", Some("/"))));
    assert!(!holds(both, &Facts { is_secure: true, ..listing("a", Some("/")) }));
}

#[test]
fn what_would_not_be_enforced_is_refused_with_its_place() {
    let good = ["\"*\"", "\"s3:GetObject\"", "\"arn:aws:s3:::photos/*\"", "{}"];
    let with = |index: usize, part: &str| {
        let mut parts = good;
        parts[index] = part;
        policy(&[statement("Allow", good[0], good[1], good[2], good[3]), {
            let [principal, action, resource, condition] = parts;
            statement("Deny", principal, action, resource, condition)
        }])
    };
    assert!(Policy::read(&with(0, good[0]), BUCKET).is_ok());
    for (index, part, place) in [
        (0, "\"AK\"", "\"*\" or {\"AWS\": ...}"),
        (0, "{\"Federated\":\"x\"}", "Principal: \"Federated\""),
        (0, "{\"AWS\":\"arn:aws:iam::123456789012:user/AK\"}", "Principal: \"arn:aws:iam::1234"),
        (0, "{\"AWS\":\"AK*\"}", "Principal: \"AK*\""),
        (0, "{\"AWS\":[]}", "Principal: nobody"),
        (0, "{\"AWS\":\"AK1\",\"AWS\":\"AK2\"}", "\"AWS\" is given twice"),
        (1, "\"s3:GetObjekt\"", "Action: \"s3:GetObjekt\""),
        (1, "[\"s3:GetObject\",\"ec2:*\"]", "Action: \"ec2:*\""),
        (1, "[]", "Action: nothing"),
        (1, "7", "a value or a list"),
        (1, "\"s3:ListBucket\"", "Action: \"s3:ListBucket\" is never done to what Resource names"),
        (2, "\"arn:aws:s3:::photos\"", "Action: \"s3:GetObject\" is never done"),
        (2, "\"arn:aws:s3:::movies/*\"", "Resource: \"arn:aws:s3:::movies/*\" is not of this bucket"),
        (2, "\"arn:aws:s3:::photos2/*\"", "is not of this bucket"),
        (2, "\"photos/*\"", "is not of this bucket"),
        (2, "\"arn:aws:s3:::photos/${aws:username}/*\"", "variables"),
        (
            3,
            "{\"StringEquals\":{\"aws:UserAgent\":\"x\"}}",
            "Condition: StringEquals: aws:UserAgent: not offered",
        ),
        (3, "{\"StringEqualsIfExists\":{\"s3:prefix\":\"x\"}}", "Condition: StringEqualsIfExists"),
        (3, "{\"ForAllValues:StringLike\":{\"s3:prefix\":\"x\"}}", "Condition: ForAllValues:StringLike"),
        (3, "{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.0/33\"}}", "aws:SourceIp: \"192.0.2.0/33\""),
        (3, "{\"Bool\":{\"aws:SecureTransport\":\"yes\"}}", "aws:SecureTransport: \"yes\""),
        (3, "{\"DateLessThan\":{\"aws:CurrentTime\":\"tomorrow\"}}", "aws:CurrentTime: \"tomorrow\""),
        (3, "{\"IpAddress\":{\"aws:SourceIp\":[]}}", "no value"),
        (3, "{\"StringLike\":{\"s3:prefix\":\"${aws:username}\"}}", "variables"),
        (3, "{\"IpAddress\":{}}", "IpAddress: no key"),
        (3, "{\"Bool\":{},\"Bool\":{}}", "\"Bool\" is given twice"),
        (3, "{\"StringLike\":{\"s3:prefix\":\"a\",\"S3:Prefix\":\"b\"}}", "is given twice"),
    ] {
        let error = refusal(&with(index, part));
        assert!(error.contains(place), "{part}: {error}");
        assert!(error.contains("Statement 2") || error.contains("line 1"), "{error}");
    }
    let one = statement("Allow", good[0], good[1], good[2], good[3]);
    for (text, place) in [
        ("", "EOF"),
        ("[]", "a policy"),
        ("{}", "missing field `Statement`"),
        ("{\"Statement\":[]}", "Statement: there is none"),
        ("{\"Version\":\"2020-01-01\",\"Statement\":[]}", "Version"),
        ("{\"Statement\":[\"x\"]}", "a statement"),
        ("{\"Statement\":[{\"Effect\":\"Allow\"}]}", "missing field `Principal`"),
        (&policy(&[one.replace("Allow", "Maybe")]), "unknown variant `Maybe`"),
        (&policy(&[one.replace("\"Condition\"", "\"Conditon\"")]), "unknown field `Conditon`"),
        (&policy(&[one.replace("\"Principal\"", "\"NotPrincipal\"")]), "unknown field `NotPrincipal`"),
        (&policy(&[one.replace("\"Condition\":{}", "\"Effect\":\"Deny\"")]), "duplicate field `Effect`"),
        (&policy(&[one.replace("\"Condition\":{}", "\"NotAction\":\"s3:*\"")]), "either Action or NotAction"),
        (&policy(&[one.replace(good[2], &format!("\"{}\"", "x".repeat(BYTES_MAX)))]), "at most 20480 bytes"),
    ] {
        let error = refusal(text);
        assert!(error.contains(place), "{error}");
    }
}

#[test]
fn public_is_what_strangers_from_anywhere_may() {
    let is_public = |effect: &str, principal: &str, condition: &str| {
        let text = policy(&[statement(effect, principal, "\"s3:*\"", "\"arn:aws:s3:::photos*\"", condition)]);
        Policy::read(&text, BUCKET).unwrap().is_public()
    };
    let from = |range: &str| format!("{{\"IpAddress\":{{\"aws:SourceIp\":[\"192.0.2.0/24\",\"{range}\"]}}}}");
    assert!(is_public("Allow", "\"*\"", "{}"));
    assert!(is_public("Allow", "{\"AWS\":[\"AK\",\"*\"]}", "{\"StringLike\":{\"s3:prefix\":\"a\"}}"));
    assert!(
        is_public("Allow", "\"*\"", &from("0.0.0.0/1")) && is_public("Allow", "\"*\"", &from("2001::/16"))
    );
    assert!(
        !is_public("Allow", "\"*\"", &from("10.0.0.0/8"))
            && !is_public("Allow", "\"*\"", &from("2001:db8::/32"))
    );
    assert!(!is_public("Deny", "\"*\"", "{}") && !is_public("Allow", "{\"AWS\":\"AK\"}", "{}"));
    assert!(is_public("Allow", "\"*\"", &from("10.0.0.0/8").replace("IpAddress", "NotIpAddress")));
}

/// What "*" and "?" mean, as the grammar says it.
fn fits(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|taken| fits(rest, &text[taken..])),
        Some((one, rest)) => text
            .split_first()
            .is_some_and(|(first, after)| (one == first || *one == '?') && fits(rest, after)),
    }
}

proptest! {
    #[test]
    fn keys_fit_a_resource_as_the_grammar_says(pattern in "[ab?*ü]{0,8}", key in "[abü?*/]{1,8}") {
        let resource = format!("\"arn:aws:s3:::photos/*{pattern}\"");
        let text = policy(&[statement("Allow", "\"*\"", "\"s3:GetObject\"", &resource, "{}")]);
        let found = decided(&text, None, "s3:GetObject", Some(&key), &facts()).is_some();
        let pattern: Vec<_> = format!("*{pattern}").chars().collect();
        prop_assert_eq!(found, fits(&pattern, &key.chars().collect::<Vec<_>>()));
    }

    /// Statements of random shapes: what a deny speaks of is denied, whatever else there is and wherever it
    /// stands; and no order makes a difference.
    #[test]
    fn a_deny_is_weakened_by_no_other_statement_and_by_no_order(
        shapes in proptest::collection::vec((any::<bool>(), 0..3usize, 0..3usize, 0..3usize, 0..3usize), 1..6),
        turn in 0..6usize,
        asking in (0..3usize, 0..3usize, 0..3usize),
    ) {
        let principals = ["\"*\"", "{\"AWS\":\"AK1\"}", "{\"AWS\":[\"AK1\",\"AK2\"]}"];
        let actions = ["\"s3:*\"", "\"s3:Get*\"", "[\"s3:PutObject\",\"s3:DeleteObject\"]"];
        let resources = ["\"arn:aws:s3:::photos/*\"", "\"arn:aws:s3:::photos/a*\"", "\"arn:aws:s3:::photos/?b\""];
        let conditions = [
            "{}",
            "{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.0/24\"}}",
            "{\"Bool\":{\"aws:SecureTransport\":\"true\"}}",
        ];
        let texts: Vec<_> = shapes.iter().map(|(denies, principal, action, resource, condition)| {
            let effect = if *denies { "Deny" } else { "Allow" };
            statement(effect, principals[*principal], actions[*action], resources[*resource], conditions[*condition])
        }).collect();
        let access_key = [None, Some("AK1"), Some("AK2")][asking.0];
        let action = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"][asking.1];
        let key = ["ab", "bb", "cc"][asking.2];
        let ask = |texts: &[String]| decided(&policy(texts), access_key, action, Some(key), &facts());
        let alone: Vec<_> = texts.iter().map(|text| ask(std::slice::from_ref(text))).collect();
        let expected = [Effect::Deny, Effect::Allow].into_iter().find(|effect| alone.contains(&Some(*effect)));
        let mut turned = texts.clone();
        turned.rotate_left(turn % texts.len());
        prop_assert_eq!(ask(&texts), expected);
        prop_assert_eq!(ask(&turned), expected);
        turned.reverse();
        prop_assert_eq!(ask(&turned), expected);
    }
}
