//! From one key to the next, before the eyes of a resolver that validates.

use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use switchback_dns::core::dnssec::Denial;
use switchback_dns::core::dnssec::key::Algorithm;
use switchback_proto::dns::v1::{ListKeysRequest, ListKeysResponse, RollKeyRequest};
use tonic::Code;

use crate::broadcaster::{Bound, Broadcaster};
use crate::peer::{Anchor, Resolver, ResolverKind, eventually, require, secure_question};
use crate::{dnssec, follower, own_zone, transferred, verify};

const SYSTEM: &str = "west.example.com";
const TENANT: &str = "new.west.example.com";

async fn keys(west: &Broadcaster) -> ListKeysResponse {
    west.client.clone().list_keys(ListKeysRequest {}).await.unwrap().into_inner()
}

async fn roll(west: &Broadcaster, at_once: bool) -> Result<ListKeysResponse, tonic::Status> {
    let rolled = west.client.clone().roll_key(RollKeyRequest { at_once }).await?;
    Ok(rolled.into_inner().keys.unwrap())
}

fn anchors(keys: &ListKeysResponse) -> Vec<Anchor> {
    let [zone] = &keys.zones[..] else { panic!("{keys:?}") };
    assert_eq!(zone.name, SYSTEM, "its tenants' parents are served here");
    zone.ds.iter().map(|ds| Anchor { zone: SYSTEM.into(), ds: ds.clone() }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_breaks_no_chain() {
    let kind = ResolverKind::Unbound;
    if !kind.is_installed() || !require(&["dig", "dnssec-verify"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let start = async |dns| {
        let bound = Bound::at(&folder.path().join("west"), dns).await.followed_by(&follower(), None);
        let mut west = bound.dnssec(dnssec(Algorithm::EcdsaP256, Denial::Nsec)).serve();
        west.apply(1, vec![own_zone(TENANT)]).await;
        west
    };
    let mut west = start((Ipv4Addr::new(127, 77, 200, 1), 0).into()).await;
    let stages = |keys: &ListKeysResponse| -> Vec<_> {
        keys.keys.iter().map(|key| (key.stage.clone(), key.tag)).collect()
    };
    let first = keys(&west).await;
    let [(_, old)] = stages(&first)[..] else { panic!("{first:?}") };

    let published = roll(&west, false).await.unwrap();
    let [_, (_, new)] = stages(&published)[..] else { panic!("{published:?}") };
    assert_eq!(stages(&published), [("active".into(), old), ("next".into(), new)]);
    // What the zone above says by now.
    let anchors = anchors(&published);
    assert_eq!(anchors.len(), 2);
    let stubs = [(SYSTEM, &[west.dns][..]), (TENANT, &[west.dns])];
    let resolver = Resolver::validating(kind, folder.path(), &stubs, &anchors).await;
    let mut asked = 0;
    for (stage, expected) in [
        ("published", vec![("active", old), ("next", new)]),
        ("activated", vec![("active", new), ("retired", old)]),
        ("restarted", vec![("active", new), ("retired", old)]),
        ("withdrawn", vec![("active", new)]),
    ] {
        match stage {
            "published" => {}
            "restarted" => {
                let dns = west.dns;
                west.stop().await;
                west = start(dns).await;
            }
            _ => {
                let refused = roll(&west, false).await.unwrap_err();
                assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
                assert!(refused.message().contains("--at-once"), "{refused}");
                roll(&west, true).await.unwrap();
            }
        }
        let expected: Vec<_> = expected.into_iter().map(|(stage, tag)| (stage.to_owned(), tag)).collect();
        assert_eq!(stages(&keys(&west).await), expected, "{stage}");
        for zone in [SYSTEM, TENANT] {
            let (dns, path) = (west.dns, folder.path().to_owned());
            let verified = tokio::task::spawn_blocking(move || verify(&path, zone, &transferred(dns, zone)));
            verified.await.unwrap().unwrap_or_else(|fault| panic!("{stage}, {zone}: {fault}"));
        }
        // Of names that the resolver has not asked for, and of keys that it has.
        asked += 1;
        for name in [format!("n{asked}.{TENANT}"), format!("n{asked}.{SYSTEM}")] {
            let ask = async || secure_question(resolver.address(), &name, RecordType::A).await;
            let answer = eventually("an answer", || resolver.log(), ask).await;
            let log = format!("{stage}: {answer}\n{}", resolver.log());
            assert_ne!(answer.metadata.response_code, ResponseCode::ServFail, "{log}");
            assert!(answer.metadata.authentic_data, "{log}");
        }
    }
    west.stop().await;
}
