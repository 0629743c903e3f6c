//! Unbound, as resolver.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::process::Setup;
use super::{Anchor, LOOPBACKS, bare, write_root_hints};

pub(super) fn resolver(
    home: &Path,
    address: SocketAddr,
    stubs: &[(&str, &[SocketAddr])],
    anchors: &[Anchor],
) -> Setup {
    // The iterator alone does no validation. Time to live has no floor, which is also its default.
    let mut text = format!(
        "server:
    interface: {}
    port: {}
    do-ip6: no
    num-threads: 1
    username: \"\"
    chroot: \"\"
    directory: \"{}\"
    pidfile: \"\"
    root-hints: \"{}\"
    use-syslog: no
    logfile: \"\"
    verbosity: 1
    access-control: {LOOPBACKS} allow
    do-not-query-localhost: no
    module-config: \"{}\"
    cache-min-ttl: 0
",
        address.ip(),
        address.port(),
        home.display(),
        write_root_hints(home),
        if anchors.is_empty() { "iterator" } else { "validator iterator" },
    );
    for Anchor { zone, ds } in anchors {
        writeln!(text, "    trust-anchor: \"{}. DS {ds}\"", bare(zone)).unwrap();
    }
    text += "remote-control:\n    control-enable: no\n";
    for (zone, servers) in stubs {
        writeln!(text, "stub-zone:\n    name: \"{}.\"", bare(zone)).unwrap();
        for server in *servers {
            writeln!(text, "    stub-addr: {}@{}", server.ip(), server.port()).unwrap();
        }
    }
    fs::write(home.join("unbound.conf"), text).unwrap();
    let mut server = super::command("unbound");
    server.args(["-d", "-p", "-c", "unbound.conf"]);
    Setup { server, control: None }
}
