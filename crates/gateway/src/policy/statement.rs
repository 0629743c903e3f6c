//! One statement of a policy.

use wildmatch::WildMatch;

use super::condition::Condition;
use super::document::{Many, Principal, Text};
use super::{Asked, Effect, Malformed, resource};
use crate::operation::{Kind, actions};

/// How keys of the tenant are named beside their bare form.
const USER: &str = "arn:aws:iam:::user/";

#[derive(Debug)]
pub(super) struct Statement {
    effect: Effect,
    who: Who,
    actions: Patterns,
    resources: Patterns,
    bucket: String,
    /// All must hold.
    conditions: Vec<Condition>,
}

#[derive(Debug)]
enum Who {
    Everybody,
    /// By access key.
    These(Vec<String>),
}

/// What it is about: what one of them fits, or, if negated, what none of them fits.
#[derive(Debug)]
struct Patterns {
    is_negated: bool,
    patterns: Vec<WildMatch>,
}

impl Patterns {
    fn fit(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(text)) != self.is_negated
    }
}

impl Statement {
    pub(super) fn read(text: Text, bucket: &str) -> Result<Self, Malformed> {
        let mut conditions = Vec::new();
        for (operator, keys) in text.condition.0 {
            if keys.0.is_empty() {
                return Err(format!("Condition: {operator}: no key is given"));
            }
            for (key, values) in keys.0 {
                conditions.push(Condition::read(&operator, &key, values.0)?);
            }
        }
        let statement = Self {
            effect: text.effect,
            who: who(text.principal)?,
            actions: one_of(("Action", text.action), ("NotAction", text.not_action), read_action)?,
            resources: one_of(("Resource", text.resource), ("NotResource", text.not_resource), |text| {
                read_resource(text, bucket)
            })?,
            bucket: bucket.into(),
            conditions,
        };
        statement.check_actions()?;
        Ok(statement)
    }

    /// An action on buckets of which only keys are named, or the other way round, is never met: whoever wrote it
    /// believes that it is.
    fn check_actions(&self) -> Result<(), Malformed> {
        if self.actions.is_negated || self.resources.is_negated {
            return Ok(());
        }
        let kinds = [(Kind::Bucket, None), (Kind::Object, Some(""))];
        let is_named = |(_, key): &(Kind, Option<&str>)| match key {
            None => self.resources.fit(&resource(&self.bucket, None)),
            Some(_) => self.resources.patterns.iter().any(|pattern| is_of_keys(pattern, &self.bucket)),
        };
        let named: Vec<_> = kinds.iter().filter(|kind| is_named(kind)).map(|(kind, _)| *kind).collect();
        let is_met = |pattern: &&WildMatch| {
            actions().any(|(action, kind)| pattern.matches(action) && named.contains(&kind))
        };
        match self.actions.patterns.iter().find(|pattern| !is_met(pattern)) {
            None => Ok(()),
            Some(action) => Err(format!(
                "Action: {:?} is never done to what Resource names; buckets are {:?}, their keys {:?}",
                action.pattern(),
                resource(&self.bucket, None),
                resource(&self.bucket, Some("*")),
            )),
        }
    }

    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    pub(super) fn is_about(&self, asked: &Asked<'_>) -> bool {
        let is_meant = match &self.who {
            Who::Everybody => true,
            Who::These(keys) => asked.access_key.is_some_and(|asking| keys.iter().any(|key| key == asking)),
        };
        is_meant
            && self.actions.fit(asked.action)
            && self.resources.fit(&resource(&self.bucket, asked.key))
            && self.conditions.iter().all(|condition| condition.holds(asked.facts))
    }

    pub(super) fn is_public(&self) -> bool {
        let is_open = !self.conditions.iter().any(Condition::keeps_strangers_out);
        self.effect == Effect::Allow && matches!(self.who, Who::Everybody) && is_open
    }

    pub(super) fn access_keys(&self) -> impl Iterator<Item = &str> {
        let keys = match &self.who {
            Who::Everybody => &[][..],
            Who::These(keys) => keys,
        };
        keys.iter().map(String::as_str)
    }
}

fn who(principal: Principal) -> Result<Who, Malformed> {
    let kinds = match principal {
        Principal::Everybody => return Ok(Who::Everybody),
        Principal::Of(kinds) => kinds.0,
    };
    let mut keys = Vec::new();
    for (kind, named) in kinds {
        if kind != "AWS" {
            return Err(format!("Principal: {kind:?} is nobody here; expected \"AWS\""));
        }
        for name in named.0 {
            if name == "*" {
                return Ok(Who::Everybody);
            }
            let key = name.strip_prefix(USER).unwrap_or(&name);
            if key.is_empty() || key.contains([':', '*', '?']) {
                return Err(format!(
                    "Principal: {name:?} is nobody here; expected \"*\", an access key of the tenant or {USER}ACCESS-KEY"
                ));
            }
            keys.push(key.to_owned());
        }
    }
    if keys.is_empty() {
        return Err("Principal: nobody is named".into());
    }
    Ok(Who::These(keys))
}

/// Reads an element or its negation, of which there is exactly one.
fn one_of(
    (name, plain): (&str, Option<Many<String>>),
    (negated_name, negated): (&str, Option<Many<String>>),
    read: impl Fn(&str) -> Result<WildMatch, String>,
) -> Result<Patterns, Malformed> {
    let (name, is_negated, texts) = match (plain, negated) {
        (Some(plain), None) => (name, false, plain.0),
        (None, Some(negated)) => (negated_name, true, negated.0),
        (Some(_), Some(_)) | (None, None) => {
            return Err(format!("expected either {name} or {negated_name}"));
        }
    };
    if texts.is_empty() {
        return Err(format!("{name}: nothing is named"));
    }
    let read = |text: &String| {
        refuse_variable(text).and_then(|()| read(text)).map_err(|error| format!("{name}: {error}"))
    };
    Ok(Patterns { is_negated, patterns: texts.iter().map(read).collect::<Result<_, _>>()? })
}

/// `${aws:username}` and the like.
pub(super) fn refuse_variable(text: &str) -> Result<(), String> {
    if text.contains("${") {
        return Err(format!("{text:?}: variables are not offered here"));
    }
    Ok(())
}

/// Actions have no case (IAM User Guide, "Action").
fn read_action(text: &str) -> Result<WildMatch, String> {
    let pattern = WildMatch::new_case_insensitive(text);
    if actions().any(|(action, _)| pattern.matches(action)) {
        return Ok(pattern);
    }
    Err(format!("{text:?} is none of S3's; expected such as \"s3:GetObject\", \"s3:Get*\" or \"s3:*\""))
}

fn read_resource(text: &str, bucket: &str) -> Result<WildMatch, String> {
    let pattern = WildMatch::new(text);
    let is_of_bucket = text == "*" || text.starts_with("arn:aws:s3:::");
    if is_of_bucket && (pattern.matches(&resource(bucket, None)) || is_of_keys(&pattern, bucket)) {
        return Ok(pattern);
    }
    Err(format!(
        "{text:?} is not of this bucket; expected {:?}, or keys of it such as {:?}",
        resource(bucket, None),
        resource(bucket, Some("*")),
    ))
}

/// Whether keys of `bucket` may fit.
fn is_of_keys(pattern: &WildMatch, bucket: &str) -> bool {
    let (pattern, keys) = (pattern.pattern(), resource(bucket, Some("")));
    match pattern.find(['*', '?']) {
        // A pattern with a "?" first may still fit no key: it then is about nothing, as a name of none is.
        Some(first) => {
            let start = &pattern[..first];
            start.starts_with(&keys) || keys.starts_with(start)
        }
        None => pattern.len() > keys.len() && pattern.starts_with(&keys),
    }
}
