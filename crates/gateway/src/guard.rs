//! What buckets have set about who may do what: their policies, and whether those may let strangers in.

use s3s::dto::PublicAccessBlockConfiguration;

use crate::policy::{Asked, Effect, Policy};
use crate::s3::setting;

/// Where a namespace keeps its policy: the JSON that S3 clients send.
pub(crate) const POLICY: &str = "policy";

/// Where a namespace keeps what its policy may not do: the XML that S3 clients send.
pub(crate) const PUBLIC_ACCESS_BLOCK: &str = "public-access-block";

/// What is set of one bucket. By default: nothing.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    policy: Rule,
    /// Who is not of the tenant gets nothing by a policy that is public.
    keeps_strangers_out: bool,
}

#[derive(Debug, Default)]
enum Rule {
    #[default]
    None,
    Policy(Policy),
    /// It was set through a gateway that knows more than this one. Nobody can say what it denies.
    Unreadable,
}

/// What a bucket's settings say of a request, before rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Denied,
    /// Rights decide.
    NotSaid,
}

impl Guard {
    /// What the settings of `bucket` say.
    pub(crate) fn of(bucket: &str, policy: Option<&str>, block: Option<&str>) -> Self {
        let policy = match policy.map(|text| Policy::read(text, bucket)) {
            None => Rule::None,
            Some(Ok(policy)) => Rule::Policy(policy),
            Some(Err(error)) => {
                tracing::warn!(bucket, error, "policy cannot be read: it denies everything");
                Rule::Unreadable
            }
        };
        let block = block.map(setting::read::<PublicAccessBlockConfiguration>);
        // One that cannot be read may say so.
        let keeps_strangers_out = block
            .is_some_and(|block| block.map_or(true, |block| block.restrict_public_buckets == Some(true)));
        Self { policy, keeps_strangers_out }
    }

    pub(crate) fn judge(&self, asked: &Asked<'_>) -> Verdict {
        let policy = match &self.policy {
            Rule::None => return Verdict::NotSaid,
            Rule::Unreadable => return Verdict::Denied,
            Rule::Policy(policy) => policy,
        };
        match policy.decide(asked) {
            Some(Effect::Deny) => Verdict::Denied,
            Some(Effect::Allow)
                if asked.access_key.is_none() && self.keeps_strangers_out && policy.is_public() =>
            {
                Verdict::NotSaid
            }
            Some(Effect::Allow) => Verdict::Allowed,
            None => Verdict::NotSaid,
        }
    }

    /// Whether it says nothing of anybody.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.policy, Rule::None)
    }
}

#[cfg(test)]
mod tests {
    use s3s::dto::Timestamp;

    use super::*;
    use crate::policy::Facts;

    fn guard(policy: Option<&str>, block: Option<&str>) -> Guard {
        Guard::of("photos", policy, block)
    }

    fn verdict(guard: &Guard, access_key: Option<&str>) -> Verdict {
        let facts = Facts {
            source: "192.0.2.1".parse().unwrap(),
            is_secure: false,
            now: Timestamp::from(std::time::UNIX_EPOCH),
            prefix: None,
            delimiter: None,
        };
        guard.judge(&Asked { access_key, action: "s3:GetObject", key: Some("cat"), facts: &facts })
    }

    const PUBLIC: &str = "{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\
                          \"Resource\":\"arn:aws:s3:::photos/*\"}}";

    #[test]
    fn a_policy_that_cannot_be_read_denies_and_none_says_nothing() {
        assert_eq!(verdict(&guard(None, None), Some("AK")), Verdict::NotSaid);
        assert_eq!(verdict(&guard(Some(PUBLIC), None), None), Verdict::Allowed);
        assert_eq!(
            verdict(&guard(Some(&PUBLIC.replace("Allow", "Deny")), None), Some("AK")),
            Verdict::Denied
        );
        assert_eq!(verdict(&guard(Some("{\"Statement\":{\"More\":1}}"), None), Some("AK")), Verdict::Denied);
    }

    #[test]
    fn strangers_get_nothing_by_a_public_policy_where_they_are_kept_out() {
        let block = "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets>\
                     </PublicAccessBlockConfiguration>";
        let narrow = PUBLIC.replace(
            "\"Action\"",
            "\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.0/24\"}},\"Action\"",
        );
        assert_eq!(verdict(&guard(Some(PUBLIC), Some(block)), None), Verdict::NotSaid);
        assert_eq!(verdict(&guard(Some(PUBLIC), Some("<x/>")), None), Verdict::NotSaid);
        assert_eq!(verdict(&guard(Some(PUBLIC), Some(block)), Some("AK")), Verdict::Allowed);
        assert_eq!(verdict(&guard(Some(&narrow), Some(block)), None), Verdict::Allowed);
    }
}
