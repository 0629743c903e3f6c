//! Conditions: what else must hold of a request (IAM User Guide, "IAM JSON policy elements: Condition
//! operators"). Only keys are known here of which the gateway knows itself what they are.
//!
//! Of the values of a key one must fit; where the operator is negated, none may. A key that a request does
//! not have, such as the prefix of a request that lists nothing, fits no value.

use ipnet::IpNet;
use s3s::dto::{Timestamp, TimestampFormat};
use wildmatch::WildMatch;

use super::document::Value;
use super::statement::refuse_variable;
use super::{Facts, Malformed};
use crate::origin::range;

/// A range of addresses that is wider than this is the world (Amazon S3 User Guide, "The meaning of
/// 'public'").
const NARROW_BITS_V4: u8 = 8;
const NARROW_BITS_V6: u8 = 32;

/// One key of one operator.
#[derive(Debug)]
pub(super) enum Condition {
    Address { is_negated: bool, ranges: Vec<IpNet> },
    Secure { wanted: Vec<bool> },
    Time { order: Order, instants: Vec<Timestamp> },
    Listing { key: Listing, is_negated: bool, texts: Vec<Text> },
}

/// How the time of a request compares with that of the condition.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Before,
    NotAfter,
    After,
    NotBefore,
}

/// What a listing has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Listing {
    Prefix,
    Delimiter,
}

#[derive(Debug)]
pub(super) enum Text {
    Exact(String),
    Like(WildMatch),
}

impl Text {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Like(pattern) => pattern.matches(text),
        }
    }
}

impl Condition {
    pub(super) fn read(operator: &str, key: &str, values: Vec<Value>) -> Result<Self, Malformed> {
        let values: Vec<String> = values.into_iter().map(|Value(text)| text).collect();
        let read = if values.is_empty() {
            Err("no value is given".into())
        } else {
            values
                .iter()
                .try_for_each(|text| refuse_variable(text))
                .and_then(|()| Self::of(operator, key, &values))
        };
        read.map_err(|error| format!("Condition: {operator}: {key}: {error}"))
    }

    fn of(operator: &str, key: &str, values: &[String]) -> Result<Self, String> {
        // Keys have no case, operators do.
        match (operator, key.to_ascii_lowercase().as_str()) {
            ("IpAddress" | "NotIpAddress", "aws:sourceip") => {
                Ok(Self::Address { is_negated: operator == "NotIpAddress", ranges: all(values, range)? })
            }
            ("Bool", "aws:securetransport") => Ok(Self::Secure { wanted: all(values, truth)? }),
            (_, "aws:currenttime") => {
                let order = match operator {
                    "DateLessThan" => Order::Before,
                    "DateLessThanEquals" => Order::NotAfter,
                    "DateGreaterThan" => Order::After,
                    "DateGreaterThanEquals" => Order::NotBefore,
                    _ => return Err(not_offered()),
                };
                Ok(Self::Time { order, instants: all(values, instant)? })
            }
            (_, listing @ ("s3:prefix" | "s3:delimiter")) => {
                let key = if listing == "s3:prefix" { Listing::Prefix } else { Listing::Delimiter };
                let exact = |text: &String| Text::Exact(text.clone());
                let like = |text: &String| Text::Like(WildMatch::new(text));
                let (is_negated, texts) = match operator {
                    "StringEquals" => (false, values.iter().map(exact).collect()),
                    "StringNotEquals" => (true, values.iter().map(exact).collect()),
                    "StringLike" => (false, values.iter().map(like).collect()),
                    "StringNotLike" => (true, values.iter().map(like).collect()),
                    _ => return Err(not_offered()),
                };
                Ok(Self::Listing { key, is_negated, texts })
            }
            _ => Err(not_offered()),
        }
    }

    pub(super) fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::Address { is_negated, ranges } => {
                let source = facts.source.to_canonical();
                ranges.iter().any(|range| range.contains(&source)) != *is_negated
            }
            Self::Secure { wanted } => wanted.contains(&facts.is_secure),
            Self::Time { order, instants } => instants.iter().any(|instant| match order {
                Order::Before => facts.now < *instant,
                Order::NotAfter => facts.now <= *instant,
                Order::After => facts.now > *instant,
                Order::NotBefore => facts.now >= *instant,
            }),
            Self::Listing { key, is_negated, texts } => {
                let asked = match key {
                    Listing::Prefix => &facts.prefix,
                    Listing::Delimiter => &facts.delimiter,
                };
                let asked = asked.as_ref();
                asked.is_some_and(|asked| texts.iter().any(|text| text.fits(asked))) != *is_negated
            }
        }
    }

    /// Whether it holds only for who comes from some narrow ranges of addresses.
    pub(super) fn keeps_strangers_out(&self) -> bool {
        let is_narrow = |range: &IpNet| match range {
            IpNet::V4(range) => range.prefix_len() >= NARROW_BITS_V4,
            IpNet::V6(range) => range.prefix_len() >= NARROW_BITS_V6,
        };
        matches!(self, Self::Address { is_negated: false, ranges } if ranges.iter().all(is_narrow))
    }
}

fn not_offered() -> String {
    "not offered here; conditions are IpAddress and NotIpAddress of aws:SourceIp, Bool of aws:SecureTransport, \
     DateLessThan, DateLessThanEquals, DateGreaterThan and DateGreaterThanEquals of aws:CurrentTime, and \
     StringEquals, StringNotEquals, StringLike and StringNotLike of s3:prefix and s3:delimiter"
        .into()
}

fn all<T>(values: &[String], read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let one = |text: &String| read(text).ok_or_else(|| format!("{text:?} is no value of it"));
    values.iter().map(one).collect()
}

fn truth(text: &str) -> Option<bool> {
    text.to_ascii_lowercase().parse().ok()
}

/// With its offset from UTC (RFC 3339), or in seconds since 1970.
fn instant(text: &str) -> Option<Timestamp> {
    let formats = [TimestampFormat::DateTime, TimestampFormat::EpochSeconds];
    formats.into_iter().find_map(|format| Timestamp::parse(format, text).ok())
}
