//! The rules of one bucket.

use http::HeaderName;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
};
use s3s::dto::{CORSConfiguration, CORSRule};
use s3s::{S3Result, s3_error};

use crate::s3::setting;

/// S3's own limits: rules, bytes of all of them, and characters of a name.
const RULES_MAX: usize = 100;
const BYTES_MAX: usize = 64 * 1024;
const ID_CHARACTERS_MAX: usize = 255;

const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Vec<CORSRule>);

/// What a page of another site is about to do, or has done.
pub(crate) struct Asked<'a> {
    pub(crate) origin: &'a str,
    pub(crate) method: &'a str,
    /// Those that the browser lists in a preflight, separated by commas.
    pub(crate) headers: Option<&'a str>,
    pub(crate) is_preflight: bool,
}

impl Rules {
    /// What a client sets.
    ///
    /// # Errors
    /// A rule says what no rule can say.
    pub(crate) fn of(configuration: CORSConfiguration) -> S3Result<Self> {
        let rules = configuration.cors_rules;
        if rules.is_empty() || rules.len() > RULES_MAX {
            return Err(s3_error!(
                MalformedXML,
                "a bucket has 1 to {RULES_MAX} rules; delete them to have none"
            ));
        }
        for rule in &rules {
            judge(rule)?;
        }
        Ok(Self(rules))
    }

    /// What a namespace keeps.
    ///
    /// # Errors
    /// Something else wrote it.
    pub(crate) fn read(text: &str) -> S3Result<Self> {
        let read: CORSConfiguration = setting::read(text)?;
        Ok(Self(read.cors_rules))
    }

    /// For the namespace to keep.
    ///
    /// # Errors
    /// They are too long.
    pub(crate) fn write(self) -> S3Result<String> {
        let text = setting::written(&CORSConfiguration { cors_rules: self.0 })?;
        if text.len() > BYTES_MAX {
            return Err(s3_error!(EntityTooLarge, "the rules have more than {BYTES_MAX} bytes together"));
        }
        Ok(text)
    }

    /// For the client that asks for them; `None` when there are none.
    pub(crate) fn listed(self) -> Option<Vec<CORSRule>> {
        (!self.0.is_empty()).then_some(self.0)
    }

    /// The headers of the answer, by the first rule that fits; `None` when none does.
    pub(crate) fn allow(&self, asked: &Asked<'_>) -> Option<Vec<(HeaderName, String)>> {
        let headers: Vec<_> = asked
            .headers
            .into_iter()
            .flat_map(|headers| headers.split(','))
            .map(|header| header.trim().to_ascii_lowercase())
            .filter(|header| !header.is_empty())
            .collect();
        let (rule, origin) = self.0.iter().find_map(|rule| {
            let origin = rule.allowed_origins.iter().find(|pattern| fits(pattern, asked.origin))?;
            let allows = |header: &String| {
                let patterns = rule.allowed_headers.iter().flatten();
                patterns.map(|pattern| pattern.to_ascii_lowercase()).any(|pattern| fits(&pattern, header))
            };
            let is_allowed = rule.allowed_methods.iter().any(|method| method == asked.method);
            (is_allowed && headers.iter().all(allows)).then_some((rule, origin))
        })?;
        let is_for_all = origin == "*";
        let mut said = vec![
            (ACCESS_CONTROL_ALLOW_ORIGIN, if is_for_all { "*".into() } else { asked.origin.to_owned() }),
            (ACCESS_CONTROL_ALLOW_METHODS, rule.allowed_methods.join(", ")),
        ];
        if !is_for_all {
            said.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, "true".into()));
        }
        if let Some(exposed) = rule.expose_headers.as_ref().filter(|exposed| !exposed.is_empty()) {
            said.push((ACCESS_CONTROL_EXPOSE_HEADERS, exposed.join(", ")));
        }
        if asked.is_preflight {
            if !headers.is_empty() {
                said.push((ACCESS_CONTROL_ALLOW_HEADERS, headers.join(", ")));
            }
            if let Some(seconds) = rule.max_age_seconds {
                said.push((ACCESS_CONTROL_MAX_AGE, seconds.to_string()));
            }
        }
        Some(said)
    }
}

fn judge(rule: &CORSRule) -> S3Result<()> {
    let unknown = rule.allowed_methods.iter().find(|method| !METHODS.contains(&method.as_str()));
    if let Some(method) = unknown {
        return Err(s3_error!(
            InvalidRequest,
            "found unsupported HTTP method {method} in AllowedMethod; GET, PUT, HEAD, POST and DELETE can be allowed"
        ));
    }
    if rule.allowed_methods.is_empty() || rule.allowed_origins.is_empty() {
        return Err(s3_error!(MalformedXML, "a rule has at least one AllowedOrigin and one AllowedMethod"));
    }
    let patterns = rule.allowed_origins.iter().chain(rule.allowed_headers.iter().flatten());
    if let Some(pattern) = patterns.into_iter().find(|pattern| pattern.matches('*').count() > 1) {
        return Err(s3_error!(InvalidRequest, "{pattern} has more than one \"*\""));
    }
    if let Some(header) = rule.expose_headers.iter().flatten().find(|header| header.contains('*')) {
        return Err(s3_error!(InvalidRequest, "ExposeHeader {header} has a \"*\": name each header"));
    }
    if rule.id.as_ref().is_some_and(|id| id.chars().count() > ID_CHARACTERS_MAX) {
        return Err(s3_error!(InvalidRequest, "the ID of a rule has at most {ID_CHARACTERS_MAX} characters"));
    }
    if rule.max_age_seconds.is_some_and(i32::is_negative) {
        return Err(s3_error!(InvalidRequest, "MaxAgeSeconds is negative"));
    }
    Ok(())
}

/// Whether `text` is `pattern`, in which one "*" stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origins: &[&str], methods: &[&str], headers: &[&str]) -> CORSRule {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        CORSRule {
            allowed_origins: owned(origins),
            allowed_methods: owned(methods),
            allowed_headers: Some(owned(headers)),
            expose_headers: None,
            id: None,
            max_age_seconds: Some(300),
        }
    }

    fn rules(rules: Vec<CORSRule>) -> S3Result<Rules> {
        Rules::of(CORSConfiguration { cors_rules: rules })
    }

    fn said(rules: &Rules, asked: Asked<'_>) -> Option<Vec<String>> {
        let allowed = rules.allow(&asked)?;
        Some(allowed.into_iter().map(|(name, value)| format!("{name}: {value}")).collect())
    }

    fn preflight<'a>(origin: &'a str, method: &'a str, headers: Option<&'a str>) -> Asked<'a> {
        Asked { origin, method, headers, is_preflight: true }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = rules(vec![
            rule(
                &["https://*.example.com", "http://localhost"],
                &["PUT", "GET"],
                &["x-amz-*", "Content-Type"],
            ),
            rule(&["*"], &["GET"], &[]),
        ])
        .unwrap();
        let one = said(&rules, preflight("https://a.example.com", "PUT", Some("X-Amz-Date, content-type")));
        assert_eq!(
            one.unwrap(),
            [
                "access-control-allow-origin: https://a.example.com",
                "access-control-allow-methods: PUT, GET",
                "access-control-allow-credentials: true",
                "access-control-allow-headers: x-amz-date, content-type",
                "access-control-max-age: 300",
            ]
        );
        let any = said(&rules, Asked { is_preflight: false, ..preflight("https://else.test", "GET", None) });
        assert_eq!(any.unwrap(), ["access-control-allow-origin: *", "access-control-allow-methods: GET"]);
        for refused in [
            preflight("https://else.test", "PUT", None),
            preflight("https://a.example.com", "PUT", Some("x-other")),
            preflight("https://a.example.com", "DELETE", None),
            preflight("https://example.com.evil.test", "PUT", None),
        ] {
            assert_eq!(said(&rules, refused), None);
        }
    }

    #[test]
    fn a_star_stands_for_anything_and_not_for_less() {
        assert!(fits("*", "") && fits("a*c", "abc") && fits("a*", "a") && fits("x", "x"));
        assert!(!fits("a*a", "a") && !fits("a*c", "ab") && !fits("x", "X") && !fits("ab*bc", "abc"));
    }

    #[test]
    fn rules_come_back_from_what_a_namespace_keeps() {
        let given = rules(vec![rule(&["*"], &["GET"], &["*"])]).unwrap();
        let kept = Rules::read(&given.clone().write().unwrap()).unwrap();
        assert_eq!(kept.listed(), given.listed());
        assert!(Rules::read("<x/>").is_err() && Rules::default().listed().is_none());
    }

    #[test]
    fn what_no_rule_can_say_is_refused() {
        let named = |id: String| CORSRule { id: Some(id), ..rule(&["*"], &["GET"], &[]) };
        let exposing = CORSRule { expose_headers: Some(vec!["x-*".into()]), ..rule(&["*"], &["GET"], &[]) };
        let old = CORSRule { max_age_seconds: Some(-1), ..rule(&["*"], &["GET"], &[]) };
        for (given, code) in [
            (vec![], "MalformedXML"),
            (vec![rule(&["*"], &["GET"], &[]); 101], "MalformedXML"),
            (vec![rule(&[], &["GET"], &[])], "MalformedXML"),
            (vec![rule(&["*"], &["PATCH"], &[])], "InvalidRequest"),
            (vec![rule(&["http://*.*"], &["GET"], &[])], "InvalidRequest"),
            (vec![named("i".repeat(256))], "InvalidRequest"),
            (vec![exposing], "InvalidRequest"),
            (vec![old], "InvalidRequest"),
        ] {
            assert_eq!(rules(given).unwrap_err().code().as_str(), code);
        }
        let long = vec![rule(&[&"o".repeat(1000)], &["GET"], &[]); 100];
        assert_eq!(rules(long).unwrap().write().unwrap_err().code().as_str(), "EntityTooLarge");
    }
}
