//! What a credential may do, and what it is told that it lacks.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use rusty_s3::actions::ObjectIdentifier;
use rusty_s3::{Credentials, S3Action};
use switchback_proto::store::v1::{Grant, Right, Rights};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Answer, SIGNED, Site};

const READER: &str = "READER";
const WRITER: &str = "WRITER";
const CLEANER: &str = "CLEANER";
const KEEPER: &str = "KEEPER";

fn granted(grants: &[(&str, Right)]) -> Rights {
    let grant = |(namespaces, right): &(&str, Right)| Grant {
        namespaces: (*namespaces).into(),
        rights: vec![(*right).into()],
    };
    Rights { grants: grants.iter().map(grant).collect() }
}

/// A site with a credential for each right in the bucket `photos`.
async fn site() -> Site {
    let site = Site::start().await;
    let rights = [
        (READER, granted(&[("photos", Right::Read)])),
        (WRITER, granted(&[("pho*", Right::Write), ("movies", Right::Write)])),
        (CLEANER, granted(&[("photos", Right::Delete), ("movies", Right::Read)])),
        (KEEPER, granted(&[("*", Right::Administer)])),
    ];
    site.store.0.lock().unwrap().rights =
        rights.into_iter().map(|(key, rights)| (key.to_owned(), rights)).collect::<BTreeMap<_, _>>();
    site
}

/// What is sent to the bucket itself, or to a key, with these words in the query.
pub(super) async fn send(
    site: &Site,
    access_key: &str,
    method: Method,
    key: &str,
    query: &[(&'static str, &'static str)],
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let keys = Credentials::new(access_key, "SECRET");
    let bucket = site.bucket();
    macro_rules! signed {
        ($action:expr) => {{
            let mut action = $action;
            query.iter().for_each(|(name, value)| action.query_mut().insert(*name, *value));
            action.sign(SIGNED)
        }};
    }
    let url = match (&method, key) {
        (&Method::GET, key) => signed!(bucket.get_object(Some(&keys), key)),
        (&Method::HEAD, key) => signed!(bucket.head_object(Some(&keys), key)),
        (&Method::PUT, "") => signed!(bucket.create_bucket(&keys)),
        (&Method::PUT, key) => signed!(bucket.put_object(Some(&keys), key)),
        (&Method::DELETE, "") => signed!(bucket.delete_bucket(&keys)),
        (&Method::DELETE, key) => signed!(bucket.delete_object(Some(&keys), key)),
        (_, key) => signed!(bucket.create_multipart_upload(Some(&keys), key)),
    };
    site.send(method, url, headers, body).await
}

/// Asks for these objects to be deleted by one request.
pub(super) async fn delete_all(site: &Site, access_key: &str, keys: &[&str]) -> Answer {
    let (credentials, bucket) = (Credentials::new(access_key, "SECRET"), site.bucket());
    let objects: Vec<_> = keys.iter().map(|key| ObjectIdentifier::new((*key).to_owned())).collect();
    let action = bucket.delete_objects(Some(&credentials), objects.iter());
    let url = action.sign(SIGNED);
    let (body, md5) = action.body_with_md5();
    site.send(Method::POST, url, &[("content-md5", &md5)], body.as_bytes()).await
}

/// Where a request to delete several objects goes.
pub(super) fn post_to_delete(site: &Site, access_key: &str) -> String {
    let (credentials, bucket) = (Credentials::new(access_key, "SECRET"), site.bucket());
    bucket
        .delete_objects(Some(&credentials), std::iter::empty::<&ObjectIdentifier>())
        .sign(SIGNED)
        .to_string()
}

const TAGS: &[u8] = b"<Tagging><TagSet></TagSet></Tagging>";
const RULES: &[u8] = b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>\
    <AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";

#[tokio::test]
async fn a_credential_does_what_it_has_the_right_to_and_nothing_else() {
    let site = site().await;
    site.put("cat", b"cat").await;
    type Operation =
        (&'static str, Method, &'static str, &'static [(&'static str, &'static str)], &'static [u8]);
    let operations: [Operation; 14] = [
        (READER, Method::GET, "cat", &[], b""),
        (READER, Method::HEAD, "cat", &[], b""),
        (READER, Method::GET, "", &[("list-type", "2")], b""),
        (READER, Method::GET, "cat", &[("tagging", "")], b""),
        (READER, Method::GET, "", &[("cors", "")], b""),
        (WRITER, Method::PUT, "dog", &[], b"dog"),
        (WRITER, Method::POST, "cow", &[], b""),
        (WRITER, Method::PUT, "cat", &[("tagging", "")], TAGS),
        (CLEANER, Method::DELETE, "dog", &[], b""),
        (KEEPER, Method::PUT, "", &[], b""),
        (KEEPER, Method::PUT, "", &[("cors", "")], RULES),
        (KEEPER, Method::GET, "", &[("policy", "")], b""),
        (KEEPER, Method::DELETE, "", &[("policy", "")], b""),
        (KEEPER, Method::PUT, "", &[("versioning", "")], b""),
    ];
    for (who, method, key, query, body) in operations {
        for asking in [READER, WRITER, CLEANER, KEEPER] {
            let answer = send(&site, asking, method.clone(), key, query, &[], body).await;
            let is_denied = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(is_denied, asking != who, "{asking}: {method} {key}{query:?}: {}", answer.text());
        }
    }
    let refused = send(&site, READER, Method::PUT, "dog", &[], &[], b"dog").await;
    assert!(refused.text().contains("<Code>AccessDenied</Code>"));
    assert!(
        refused.text().contains("READER lacks the right to write in the bucket photos"),
        "{}",
        refused.text()
    );
    assert!(delete_all(&site, CLEANER, &["cat"]).await.text().contains("<Deleted><Key>cat</Key>"));
    let refused = delete_all(&site, READER, &["cat"]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text().contains("lacks the right to delete"), "{}", refused.text());
}

#[tokio::test]
async fn a_copy_needs_the_right_to_read_its_source() {
    let site = site().await;
    site.put("cat", b"cat").await;
    site.store.0.lock().unwrap().namespaces.insert("movies".into(), 0);
    let source = [("x-amz-copy-source", "/photos/cat")];
    let copied = async |access_key| {
        let whole = send(&site, access_key, Method::PUT, "copy", &[], &source, b"").await;
        let part = [("partNumber", "1"), ("uploadId", "upload")];
        let part = send(&site, access_key, Method::PUT, "copy", &part, &source, b"").await;
        [whole, part]
            .map(|answer| answer.status == StatusCode::FORBIDDEN && answer.text().contains("to read"))
    };
    assert_eq!(copied(WRITER).await, [true, true]);
    let both = granted(&[("photos", Right::Read), ("photos", Right::Write)]);
    site.store.0.lock().unwrap().rights.insert("BOTH".into(), both);
    send(&site, "BOTH", Method::POST, "copy", &[], &[], b"").await;
    assert_eq!(copied("BOTH").await, [false, false]);
    assert_eq!(site.get("copy", &[]).await.text(), "cat");
}

#[tokio::test]
async fn who_writes_or_deletes_does_not_lock_or_bypass_locks_for_it() {
    let site = site().await;
    let and = |right| granted(&[("photos", right), ("photos", Right::Administer)]);
    for (name, right) in [("LOCKER", Right::Write), ("BYPASSER", Right::Delete)] {
        site.store.0.lock().unwrap().rights.insert(name.into(), and(right));
    }
    let both = granted(&[("photos", Right::Read), ("photos", Right::Write)]);
    site.store.0.lock().unwrap().rights.insert("BOTH".into(), both);
    let retained = [
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-retain-until-date", "2100-01-01T00:00:00Z"),
    ];
    let held = [("x-amz-object-lock-legal-hold", "ON")];
    let source = [("x-amz-copy-source", "/photos/cat")];
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    site.put("cat", b"cat").await;
    let locked_copy = [source.as_slice(), &held].concat();
    let cases: [(_, _, Method, &[(&str, &str)]); 5] = [
        (WRITER, "LOCKER", Method::PUT, &retained),
        (WRITER, "LOCKER", Method::PUT, &held),
        (WRITER, "LOCKER", Method::POST, &held),
        ("BOTH", "LOCKER", Method::PUT, &locked_copy),
        (CLEANER, "BYPASSER", Method::DELETE, &bypass),
    ];
    for (without, with, method, headers) in cases {
        let lacks = async |access_key: &str| {
            let answer = send(&site, access_key, method.clone(), "dog", &[], headers, b"").await;
            answer.status == StatusCode::FORBIDDEN && answer.text().contains("the right to administer")
        };
        assert!(lacks(without).await && !lacks(with).await, "{method} {headers:?}");
    }
}

/// What comes first of the answer to a request to delete several objects that asks before it sends its body.
async fn first_line(site: &Site, access_key: &str) -> String {
    let url: http::Uri = post_to_delete(site, access_key).parse().unwrap();
    let mut socket = TcpStream::connect(&site.s3).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n",
        url.path_and_query().unwrap(),
        site.s3
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    BufReader::new(socket).lines().next_line().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_body_is_taken_in_only_where_a_policy_judges_what_it_names() {
    let site = site().await;
    assert!(first_line(&site, READER).await.contains("403"));
    assert!(first_line(&site, CLEANER).await.contains("100"));
    // It may allow the reader some of it.
    let policy = "{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:DeleteObject\",\
                  \"Resource\":\"arn:aws:s3:::photos/open/*\"}}";
    site.store.0.lock().unwrap().settings.insert("policy".into(), policy.into());
    while first_line(&site, READER).await.contains("403") {
        tokio::time::sleep(SIGNED / 600).await;
    }
}

#[tokio::test]
async fn a_right_that_is_taken_away_counts_for_moments() {
    let site = site().await;
    site.put("cat", b"cat").await;
    assert_eq!(send(&site, READER, Method::GET, "cat", &[], &[], b"").await.status, StatusCode::OK);
    site.store.0.lock().unwrap().rights.insert(READER.into(), Rights::default());
    while send(&site, READER, Method::GET, "cat", &[], &[], b"").await.status != StatusCode::FORBIDDEN {
        tokio::time::sleep(SIGNED / 600).await;
    }
}
