//! BIND, Knot, NSD and PowerDNS as primaries.

use std::net::Ipv4Addr;

use switchback_dns::client;

use crate::broadcaster::{Bound, PATIENCE};
use crate::peer::{Giver, Kind, Row, TsigKey, address_of, eventually};
use crate::{address, converges, key, primary};

const ZONE: &str = "given.example.org";
const NAMES: u32 = 3000;

/// The zone under a serial, whose last name leads to 192.0.2.`serial`; with some of everything.
fn rows(serial: u32) -> Vec<Row> {
    let row = |owner: &str, kind: &str, value: String| [owner.to_owned(), kind.to_owned(), value];
    let mut rows = vec![
        row(ZONE, "SOA", format!("ns1.{ZONE}. admin.{ZONE}. {serial} 3600 600 86400 5")),
        row(ZONE, "NS", format!("ns1.{ZONE}.")),
        row(&format!("ns1.{ZONE}"), "A", "192.0.2.53".into()),
        row(ZONE, "MX", format!("10 mail.{ZONE}.")),
        row(&format!("mail.{ZONE}"), "AAAA", "2001:db8::25".into()),
        row(&format!("_sip._udp.{ZONE}"), "SRV", format!("0 5 5060 sip.{ZONE}.")),
        row(&format!("alias.{ZONE}"), "CNAME", format!("mail.{ZONE}.")),
        row(&format!("*.wild.{ZONE}"), "TXT", "\"any\"".into()),
        row(&format!("last.{ZONE}"), "A", format!("192.0.2.{serial}")),
    ];
    // One goes and one comes with each serial.
    for number in serial..NAMES + serial {
        rows.push(row(&format!("h{number}.{ZONE}"), "A", "192.0.2.7".into()));
    }
    rows
}

async fn gives(kind: Kind, is_signed: bool) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let shared = key();
    let shared = is_signed.then_some(&shared);
    let theirs = shared.map(|key| TsigKey {
        name: key.name().to_string(),
        algorithm: key.algorithm().to_string(),
        secret_base64: "c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz".into(),
    });
    let bound = Bound::at(&folder.path().join("ours"), address()).await;
    let giver = Giver::start(kind, folder.path(), ZONE, &rows(1), bound.dns, theirs.as_ref()).await;
    let ours = bound.follows(vec![primary(giver.address(), &[ZONE], None, shared)], shared).serve();
    for serial in 1..5 {
        if serial > 1 {
            giver.change(&rows(serial)).await;
        }
        // Within the time of a test nobody is told but by NOTIFY.
        assert_eq!(converges(ours.dns, giver.address(), ZONE, || giver.log()).await, serial);
        let address = async |label: String| {
            address_of(ours.dns, &format!("{label}.{ZONE}")).await.map(|(address, _)| address)
        };
        let last = Ipv4Addr::new(192, 0, 2, u8::try_from(serial).unwrap());
        assert_eq!(address("last".into()).await, Some(last));
        for (number, is_there) in [(serial - 1, false), (serial, true), (NAMES + serial - 1, true)] {
            assert_eq!(address(format!("h{number}")).await.is_some(), is_there, "h{number} of {serial}");
        }
    }
    let by_parts = match kind {
        Kind::Bind => "IXFR ended",
        Kind::Knot => "IXFR, outgoing",
        // It does not say what it gives.
        Kind::Nsd => "",
        // It gives no differences.
        Kind::PowerDns => "",
    };
    let log = giver.log();
    assert!(log.contains(by_parts), "{log}");
    // Its records, and none of ours.
    let alias = client::lookup(&[ours.dns], &format!("alias.{ZONE}"), PATIENCE).await.unwrap();
    assert_eq!(alias.addresses.len(), 1);
    drop(giver);
    assert!(
        eventually("it is answered", String::new, async || {
            client::lookup(&[ours.dns], &format!("last.{ZONE}"), PATIENCE).await.ok()
        })
        .await
        .authoritative
    );
    ours.stop().await;
}

macro_rules! each {
    ($($plain:ident, $signed:ident: $kind:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $plain() {
            gives($kind, false).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $signed() {
            gives($kind, true).await;
        }
    )*};
}

each! {
    bind_is_followed, bind_is_followed_with_a_key: Kind::Bind;
    nsd_is_followed, nsd_is_followed_with_a_key: Kind::Nsd;
    knot_is_followed, knot_is_followed_with_a_key: Kind::Knot;
    powerdns_is_followed, powerdns_is_followed_with_a_key: Kind::PowerDns;
}
