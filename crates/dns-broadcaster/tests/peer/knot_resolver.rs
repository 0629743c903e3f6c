//! Knot Resolver, as resolver.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::process::Setup;
use super::{Anchor, bare};

/// A resolver that forwards: it asks with RD = 1. Of its two policies that ask given servers this is
/// the one that caches; after `STUB`, version 5.6 keeps an answer for the least time to live that
/// is configured, whatever its own.
pub(super) fn resolver(
    home: &Path,
    address: SocketAddr,
    stubs: &[(&str, &[SocketAddr])],
    anchors: &[Anchor],
) -> Setup {
    // Its floor under times to live is five seconds by default. Without its trust anchor nothing
    // is validated, and without these modules nothing is asked of the root.
    let mut text = format!(
        "net.listen('{}', {}, {{ kind = 'dns' }})
net.ipv6 = false
trust_anchors.remove('.')
for _, module in ipairs({{ 'priming', 'ta_update', 'ta_signal_query', 'ta_sentinel', 'detect_time_skew' }}) do
    modules.unload(module)
end
cache.size = 10 * MB
cache.min_ttl(0)
",
        address.ip(),
        address.port(),
    );
    // In one piece: what is added for a zone a second time takes the place of the first.
    let records = anchors.iter().map(|Anchor { zone, ds }| format!("{}. DS {ds}\\n", bare(zone)));
    if !anchors.is_empty() {
        writeln!(text, "trust_anchors.add('{}')", records.collect::<String>()).unwrap();
    }
    for (zone, servers) in stubs {
        let servers: Vec<_> =
            servers.iter().map(|server| format!("'{}@{}'", server.ip(), server.port())).collect();
        writeln!(
            text,
            "policy.add(policy.suffix(policy.FORWARD({{ {} }}), {{ todname('{}.') }}))",
            servers.join(", "),
            bare(zone),
        )
        .unwrap();
    }
    fs::write(home.join("kresd.conf"), text).unwrap();
    let mut server = super::command("kresd");
    // -n: no terminal to talk to.
    server.args(["-n", "-c", "kresd.conf"]).arg(home);
    Setup { server, control: None }
}
