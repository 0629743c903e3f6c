//! The table at the end.

use super::steps::Facts;
use crate::output;
use crate::time::{bytes, duration};

/// Both variants side by side.
#[must_use]
pub(crate) fn table(first: &Facts, second: &Facts) -> String {
    let row = |name: &str, show: &dyn Fn(&Facts) -> String| vec![name.to_owned(), show(first), show(second)];
    let measured = vec![
        row("failover to RW", &|facts| duration(facts.to_rw)),
        row("failover to new DNS answer", &|facts| duration(facts.to_dns)),
        row("client outage, failover", &|facts| duration(facts.outage_failover)),
        row("completion to primary RW", &|facts| duration(facts.failback)),
        row("client outage, failback", &|facts| duration(facts.outage_failback)),
        row("bytes moved by recovery", &|facts| bytes(facts.moved_bytes)),
        row("bytes the other side lacked", &|facts| bytes(facts.lacked_bytes)),
    ];
    let accounted = vec![
        row("current on both systems", &|facts| facts.account.current.to_string()),
        row("superseded by a later write", &|facts| facts.account.superseded.to_string()),
        row("superseded, kept and listed", &|facts| facts.account.kept.to_string()),
        row("lost", &|facts| facts.account.lost.len().to_string()),
        row("all acknowledged so far", &|facts| facts.account.total().to_string()),
    ];
    let measured = output::table(&["measured", "returned", "rebuilt"], measured, "");
    let accounted = output::table(&["acknowledged writes", "returned", "rebuilt"], accounted, "");
    format!("\n{measured}\n{accounted}")
}
