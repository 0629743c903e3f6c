//! Real name servers that have a zone and give it away: what they say changes, they tell of it.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::process::{self, Running, Setup};
use super::{Kind, TsigKey, bare, bind, eventually, knot, nsd, powerdns};

/// A record: name, type and value, names whole and without a final dot but in values.
pub(crate) type Row = [String; 3];

/// A zone that is given to somebody who is told of its changes.
pub(super) struct Given<'a> {
    pub(super) zone: &'a str,
    pub(super) rows: &'a [Row],
    pub(super) follower: SocketAddr,
    pub(super) key: Option<&'a TsigKey>,
}

/// The zone's file, in the server's folder.
pub(super) const FILE: &str = "given.zone";

impl Given<'_> {
    pub(super) fn write(&self, home: &Path) {
        write_rows(home, self.rows);
    }
}

fn write_rows(home: &Path, rows: &[Row]) {
    let mut text = String::new();
    for [owner, kind, value] in rows {
        writeln!(text, "{owner}. 60 {kind} {value}").unwrap();
    }
    fs::write(home.join(FILE), text).unwrap();
}

/// A real server that gives a zone to who follows it; ends when dropped.
#[derive(Debug)]
pub(crate) struct Giver {
    kind: Kind,
    running: Running,
    zone: String,
}

impl Giver {
    /// Starts a server whose zone has these `rows`, the SOA first. It gives the zone to anybody here, only
    /// with `key` where there is one, and tells `follower` of changes.
    pub(crate) async fn start(
        kind: Kind,
        folder: &Path,
        zone: &str,
        rows: &[Row],
        follower: SocketAddr,
        key: Option<&TsigKey>,
    ) -> Self {
        let given = Given { zone: bare(zone), rows, follower, key };
        let configure = |home: &Path, at: SocketAddr| -> Setup {
            match kind {
                Kind::Bind => bind::giver(home, at, &given),
                Kind::Nsd => nsd::giver(home, at, &given),
                Kind::Knot => knot::giver(home, at, &given),
                Kind::PowerDns => powerdns::giver(home, at, &given),
            }
        };
        let running = process::start("giver", folder, configure).await;
        let started = Self { kind, running, zone: zone.to_owned() };
        eventually("it has its zone", || started.log(), async || started.serial().await).await;
        started
    }

    /// The zone has these rows from now on, and whoever follows is told.
    pub(crate) async fn change(&self, rows: &[Row]) {
        let zone = bare(&self.zone);
        match self.kind {
            Kind::PowerDns => {
                powerdns::put(self.running.home(), zone, rows);
                self.running.control(&["purge", &format!("{zone}$")]).await;
                self.running.control(&["notify", zone]).await;
            }
            Kind::Bind | Kind::Nsd => {
                write_rows(self.running.home(), rows);
                self.running.control(&["reload", zone]).await;
            }
            Kind::Knot => {
                write_rows(self.running.home(), rows);
                self.running.control(&["zone-reload", zone]).await;
            }
        }
        let serial: u32 = rows[0][2].split(' ').nth(2).unwrap().parse().unwrap();
        let is_new = async || self.serial().await.filter(|served| *served == serial);
        eventually("it has its next zone", || self.log(), is_new).await;
    }

    async fn serial(&self) -> Option<u32> {
        switchback_dns::client::soa(self.address(), &self.zone, super::PATIENCE).await.ok().flatten()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// All that it said so far.
    pub(crate) fn log(&self) -> String {
        self.running.log()
    }
}
