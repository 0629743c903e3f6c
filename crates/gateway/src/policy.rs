//! Policies of buckets: who may do what there beside those who have the right, and who may not although they
//! have (IAM User Guide, "Policy evaluation logic").
//!
//! A policy is JSON that S3 clients send. It is read as a whole or refused: what would not be enforced here
//! is never accepted, since whoever set it would rely on it. So no element, operator or key is left out
//! silently, and none is given twice, of which JSON readers keep one.
//!
//! A statement that denies wins over all that allow, whatever their order, and over rights. The models of
//! policies that other crates have were not taken: that of s3s-policy (0.14) reads past elements that it does
//! not know, those of aws-iam and iam-rs judge by more than can be known here.

mod condition;
mod document;
mod statement;

use std::net::IpAddr;

use s3s::dto::Timestamp;

use self::document::Document;
use self::statement::Statement;

/// S3's own limit.
const BYTES_MAX: usize = 20 * 1024;

/// What is wrong with a policy, and where.
pub(crate) type Malformed = String;

/// What a statement does with what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// The policy of one bucket.
#[derive(Debug)]
pub(crate) struct Policy(Vec<Statement>);

/// What somebody is about to do.
pub(crate) struct Asked<'a> {
    /// Who signed; nobody, when the request is anonymous.
    pub(crate) access_key: Option<&'a str>,
    /// As policies know it.
    pub(crate) action: &'a str,
    /// To the bucket itself, or to this key in it.
    pub(crate) key: Option<&'a str>,
    pub(crate) facts: &'a Facts,
}

/// What else is known of a request, for conditions.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// `aws:SourceIp`.
    pub(crate) source: IpAddr,
    /// `aws:SecureTransport`.
    pub(crate) is_secure: bool,
    /// `aws:CurrentTime`.
    pub(crate) now: Timestamp,
    /// `s3:prefix`, of a listing.
    pub(crate) prefix: Option<String>,
    /// `s3:delimiter`, of a listing.
    pub(crate) delimiter: Option<String>,
}

impl Policy {
    /// Reads the policy of `bucket`.
    ///
    /// # Errors
    /// It is no policy, or says what is not enforced here.
    pub(crate) fn read(text: &str, bucket: &str) -> Result<Self, Malformed> {
        if text.len() > BYTES_MAX {
            return Err(format!("a policy has at most {BYTES_MAX} bytes, and this one {}", text.len()));
        }
        let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
        document.check()?;
        let statements = document.statement.0.into_iter().enumerate().map(|(index, statement)| {
            Statement::read(statement, bucket).map_err(|error| format!("Statement {}: {error}", index + 1))
        });
        Ok(Self(statements.collect::<Result<_, _>>()?))
    }

    /// What it says of what is asked; nothing, if it does not speak of it.
    pub(crate) fn decide(&self, asked: &Asked<'_>) -> Option<Effect> {
        let effects = self.0.iter().filter(|statement| statement.is_about(asked)).map(Statement::effect);
        effects.reduce(|one, other| if one == Effect::Deny { one } else { other })
    }

    /// Whether it lets in anybody who comes from anywhere.
    pub(crate) fn is_public(&self) -> bool {
        self.0.iter().any(Statement::is_public)
    }

    /// The access keys that it names.
    pub(crate) fn access_keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(Statement::access_keys)
    }
}

/// The name of a bucket, or of a key in it, as policies write it.
pub(crate) fn resource(bucket: &str, key: Option<&str>) -> String {
    match key {
        None => format!("arn:aws:s3:::{bucket}"),
        Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
    }
}

#[cfg(test)]
mod tests;
