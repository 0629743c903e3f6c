//! How targets of updates have taken them, for `ListSecondaries` and the log.

use switchback_proto::dns::v1 as wire;

use super::{count, millis};
use crate::core::update::{Declined, Doubt, Standing, State, Trouble};
use crate::update::{Updated, View};

/// How every target has taken what was put there.
pub(crate) fn update_targets(view: &View) -> Vec<wire::UpdateTarget> {
    view.servers.iter().map(|updated| target(view, updated)).collect()
}

fn target(view: &View, updated: &Updated) -> wire::UpdateTarget {
    let Updated { server: target, summary, lagging } = updated;
    let ago = |at| millis(view.now.since(at));
    wire::UpdateTarget {
        name: target.name.clone(),
        address: target.address.to_string(),
        zone: target.zone.to_string(),
        converged: count(summary.counts.converged),
        behind: count(summary.counts.behind),
        overtaken: count(summary.counts.overtaken),
        blocked: count(summary.counts.blocked),
        leaving: count(summary.counts.leaving),
        unknown: count(summary.counts.unknown),
        unreachable_ms: summary.unreachable_since.map(ago),
        heard_ms: summary.last_heard.map(ago),
        last_change: summary.last_change.map(|change| wire::LastChange {
            ago_ms: ago(change.at),
            zones: count(change.names),
            open: count(change.open),
            slowest_ms: change.slowest.map(millis),
        }),
        lagging: lagging
            .iter()
            .map(|(name, standing)| wire::LaggingZone {
                name: name.to_string(),
                serial: standing.ours.unwrap_or_default().0,
                served_serial: match &standing.state {
                    State::Behind { theirs } => theirs.map(|serial| serial.0),
                    State::Overtaken { theirs } => Some(theirs.serial.0),
                    State::Converged | State::Differs => standing.ours.map(|serial| serial.0),
                    State::Unknown | State::Foreign | State::Leaving => None,
                },
                reason: reason(standing),
                behind_ms: standing.behind_since.map(ago),
            })
            .collect(),
    }
}

/// What an operator is told about a tenant whose names do not stand there as they should.
fn reason(standing: &Standing) -> String {
    let state = match &standing.state {
        State::Converged => None,
        State::Unknown if standing.ours.is_none() => {
            Some("waits for the link manager to confirm the zone".into())
        }
        State::Unknown => None,
        State::Behind { .. } if standing.failures > 0 && standing.trouble.is_none() => {
            let next = "look there for an alias (CNAME) of the name, others who write it, and what the policy leaves out";
            Some(format!("takes the update and answers otherwise; {next}"))
        }
        State::Behind { .. } => None,
        State::Overtaken { theirs } => {
            Some(format!("{} has put a later one: this system writes nothing there", theirs.system))
        }
        State::Foreign => {
            Some("the TXT record at _switchback beneath the name is no system's; remove it there".into())
        }
        State::Differs => {
            Some("the other system has put this serial, and somebody changed the addresses".into())
        }
        State::Leaving => Some("to be removed".into()),
    };
    let trouble = standing.trouble.map(trouble_text);
    state.into_iter().chain(trouble).collect::<Vec<_>>().join("; ")
}

/// Why nothing came of an exchange, and what to do next.
pub(crate) fn trouble_text(trouble: Trouble) -> String {
    match trouble {
        Trouble::TimedOut => "does not answer".into(),
        Trouble::Unreachable => "cannot be reached".into(),
        Trouble::Malformed => "sends something malformed".into(),
        Trouble::Unproven(doubt) => doubt_text(doubt),
        Trouble::Declined(Declined::Question(code)) => {
            format!("answers {} to a question; allow this system's key to ask there", code_text(code))
        }
        Trouble::Declined(Declined::NotMaster) => {
            "has no authority over the name; name the primary of the zone, and look for a delegation in it"
                .into()
        }
        Trouble::Declined(Declined::Update(code)) => {
            let next = match code {
                REFUSED => "allow the key to update A, AAAA and TXT beneath the system's domain",
                NOTAUTH => "it is not the primary of the zone; name that one",
                NOTZONE => "the name is not in the zone; compare `zone` with what is configured there",
                NOTIMP => "it takes no updates at all, as NSD; let it follow as a secondary",
                _ => "its log says why",
            };
            format!("answers {} to an update: {next}", code_text(code))
        }
    }
}

fn doubt_text(doubt: Doubt) -> String {
    match doubt {
        // Knot answers so, too, to a key that it knows and an update that no ACL allows.
        Doubt::UnknownKey => "does not know the key, or not for this; configure it there under the same name and algorithm, and allow it to update A, AAAA and TXT beneath the system's domain".into(),
        Doubt::AnotherSecret => "finds the signature wrong; configure the same secret on both sides".into(),
        Doubt::Clocks(seconds) => format!("its clock differs by {seconds} s; set both, e.g. by NTP"),
        Doubt::Unsigned(code) => format!(
            "answers {} without a signature; allow the key there, and use no server without updates, as NSD",
            code_text(code)
        ),
        Doubt::Signature => "signs its answers with another key; compare the key on both sides".into(),
    }
}

const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const NOTAUTH: u16 = 9;
const NOTZONE: u16 = 10;

/// A response code by its name (RFC 6895 section 2.3), where one may come.
fn code_text(code: u16) -> String {
    let name = match code {
        1 => "FORMERR",
        2 => "SERVFAIL",
        NOTIMP => "NOTIMP",
        REFUSED => "REFUSED",
        NOTAUTH => "NOTAUTH",
        NOTZONE => "NOTZONE",
        other => return format!("RCODE {other}"),
    };
    name.into()
}
