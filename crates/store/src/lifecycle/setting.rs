//! Rules as a setting of the namespace: JSON that names its form.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    Expiration, FilterForm, LIFECYCLE, Lifecycle, LifecycleFilter, LifecycleRule, NoncurrentExpiration,
};
use crate::error::{Error, Result};
use crate::record::NamespaceRecord;

/// The form that this program writes, and the only one that it reads.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    rules: Vec<Rule>,
}

/// What is absent takes no room: a thousand rules are to fit.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    id: String,
    enabled: bool,
    form: Form,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    larger_than: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    smaller_than: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expire: Option<Expire>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    noncurrent: Option<Noncurrent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    abort_uploads_days: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Outer,
    Single,
    And,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expire {
    Days(u32),
    DateUnixMs(u64),
    Markers(bool),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noncurrent {
    days: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<u32>,
}

impl From<&LifecycleRule> for Rule {
    fn from(rule: &LifecycleRule) -> Self {
        let LifecycleRule { id, enabled, filter, expiration, noncurrent, abort_uploads_days } = rule.clone();
        let LifecycleFilter { form, prefix, tags, larger_than, smaller_than } = filter;
        Self {
            id,
            enabled,
            form: match form {
                FilterForm::Outer => Form::Outer,
                FilterForm::Single => Form::Single,
                FilterForm::And => Form::And,
            },
            prefix,
            tags,
            larger_than,
            smaller_than,
            expire: expiration.map(|expiration| match expiration {
                Expiration::Days(days) => Expire::Days(days),
                Expiration::Date(unix_ms) => Expire::DateUnixMs(unix_ms),
                Expiration::Markers(does) => Expire::Markers(does),
            }),
            noncurrent: noncurrent.map(|NoncurrentExpiration { days, kept }| Noncurrent { days, kept }),
            abort_uploads_days,
        }
    }
}

impl From<Rule> for LifecycleRule {
    fn from(rule: Rule) -> Self {
        let Rule { prefix, tags, larger_than, smaller_than, .. } = rule;
        let form = match rule.form {
            Form::Outer => FilterForm::Outer,
            Form::Single => FilterForm::Single,
            Form::And => FilterForm::And,
        };
        Self {
            id: rule.id,
            enabled: rule.enabled,
            filter: LifecycleFilter { form, prefix, tags, larger_than, smaller_than },
            expiration: rule.expire.map(|expire| match expire {
                Expire::Days(days) => Expiration::Days(days),
                Expire::DateUnixMs(unix_ms) => Expiration::Date(unix_ms),
                Expire::Markers(does) => Expiration::Markers(does),
            }),
            noncurrent: rule.noncurrent.map(|Noncurrent { days, kept }| NoncurrentExpiration { days, kept }),
            abort_uploads_days: rule.abort_uploads_days,
        }
    }
}

impl Lifecycle {
    /// What the settings of `namespace` say; `None` where there are no rules.
    ///
    /// # Errors
    /// A program that knows more wrote them.
    pub fn of(namespace: &NamespaceRecord) -> Result<Option<Self>> {
        namespace.settings.get(LIFECYCLE).map(|text| text.parse()).transpose()
    }

    /// As the setting has it.
    #[must_use]
    pub fn setting(&self) -> String {
        let kept = Kept { version: VERSION, rules: self.rules.iter().map(Rule::from).collect() };
        serde_json::to_string(&kept).expect("text, numbers and maps of text are JSON")
    }
}

impl FromStr for Lifecycle {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason| Error::Invalid { what: "lifecycle", reason };
        let kept: Kept = serde_json::from_str(text)
            .map_err(|_| invalid("its rules are in a form that this program does not know"))?;
        if kept.version != VERSION {
            return Err(invalid("its rules are in a form that a later program writes"));
        }
        let read = Self { rules: kept.rules.into_iter().map(LifecycleRule::from).collect() };
        read.check().map_err(|wrong| invalid(wrong.reason()))?;
        Ok(read)
    }
}

/// Refuses rules that nobody could carry out.
pub(crate) fn check_setting(setting: &str, value: Option<&str>) -> Result<()> {
    match value {
        Some(text) if setting == LIFECYCLE => text.parse::<Lifecycle>().map(|_| ()),
        Some(_) | None => Ok(()),
    }
}
