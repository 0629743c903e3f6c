//! Policies of buckets.

use http::{Method, StatusCode};
use switchback_proto::store::v1::Rights;

use super::rights::{delete_all, post_to_delete, send};
use super::{Answer, Site};

const ACME: (&str, &str) = ("host", "acme.east.example.com");

/// Method, path and headers.
type Sent<'a> = (Method, &'a str, &'a [(&'a str, &'a str)]);

/// A statement of the bucket `photos`.
fn statement(effect: &str, principal: &str, actions: &str, resource: &str) -> String {
    format!(
        "{{\"Effect\":\"{effect}\",\"Principal\":{principal},\"Action\":[{actions}],\
         \"Resource\":\"arn:aws:s3:::photos{resource}\"}}"
    )
}

fn policy(statements: &[String]) -> String {
    format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{}]}}", statements.join(","))
}

/// A site whose bucket has the policy `text`, and where the credential FEW has no right of its own.
async fn site(text: &str) -> Site {
    let site = Site::start().await;
    {
        let mut state = site.store.0.lock().unwrap();
        state.rights.insert("FEW".into(), Rights::default());
        state.rights.insert("OTHER".into(), Rights::default());
        if !text.is_empty() {
            state.settings.insert("policy".into(), text.into());
        }
    }
    site
}

/// What anybody sends, unsigned.
async fn anonymously(
    site: &Site,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let headers: Vec<_> = [ACME].iter().chain(headers).copied().collect();
    site.send(method, format!("http://{}{path}", site.s3), &headers, body).await
}

#[tokio::test]
async fn strangers_do_what_a_policy_allows_and_nothing_else() {
    let open = policy(&[
        statement("Allow", "\"*\"", "\"s3:GetObject\"", "/open/*"),
        statement("Allow", "\"*\"", "\"s3:PutObject\"", "/inbox/*"),
        statement("Allow", "\"*\"", "\"s3:GetObjectAttributes\"", "/*"),
    ]);
    let site = site(&open).await;
    site.put("open/cat", b"cat").await;
    site.put("shut/cat", b"cat").await;
    let got = anonymously(&site, Method::GET, "/photos/open/cat", &[], b"").await;
    assert_eq!((got.status, got.text()), (StatusCode::OK, "cat"));
    let put = anonymously(&site, Method::PUT, "/photos/inbox/dog", &[], b"dog").await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text());
    assert_eq!(site.get("inbox/dog", &[]).await.text(), "dog");
    let attributes = [("x-amz-object-attributes", "ObjectSize")];
    let told = anonymously(&site, Method::GET, "/photos/open/cat?attributes", &attributes, b"").await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text());
    let copied = [("x-amz-copy-source", "/photos/open/cat")];
    let copy = anonymously(&site, Method::PUT, "/photos/inbox/copy", &copied, b"").await;
    assert_eq!(copy.status, StatusCode::OK, "{}", copy.text());
    let tagged = [("x-amz-tagging", "a=b")];
    let retagged = [copied[0], tagged[0], ("x-amz-tagging-directive", "REPLACE")];
    let refused: [Sent; 15] = [
        (Method::GET, "/photos/shut/cat?attributes", &attributes),
        (Method::POST, "/photos/inbox/dog?uploads", &tagged),
        (Method::PUT, "/photos/inbox/copy", &retagged),
        (Method::GET, "/photos/shut/cat", &[]),
        (Method::GET, "/photos/open/cat?versionId=null", &[]),
        (Method::GET, "/photos/open/cat?tagging", &[]),
        (Method::GET, "/photos", &[]),
        (Method::GET, "/photos?policy", &[]),
        (Method::GET, "/", &[]),
        (Method::GET, "/nothing/cat", &[]),
        (Method::PUT, "/photos/open/cat", &[]),
        (Method::PUT, "/photos/inbox/dog", &tagged),
        (Method::PUT, "/photos/inbox/copy", &[("x-amz-copy-source", "/photos/shut/cat")]),
        (Method::DELETE, "/photos/inbox/dog", &[]),
        (Method::PUT, "/movies", &[]),
    ];
    for (method, path, headers) in refused {
        let answer = anonymously(&site, method.clone(), path, headers, b"").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {}", answer.text());
        assert!(answer.text().contains("<Code>AccessDenied</Code>"));
    }
    let overriding = "/photos/open/cat?response-content-type=text%2Fhtml";
    let answer = anonymously(&site, Method::GET, overriding, &[], b"").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    // Without a tenant's name nobody knows whose bucket is meant.
    let url = format!("http://{}/photos/open/cat", site.s3);
    let unnamed = site.send(Method::GET, url, &[], b"").await;
    assert!(unnamed.text().contains("names no tenant"), "{}", unnamed.text());
}

#[tokio::test]
async fn who_may_read_tags_is_told_how_many_there_are() {
    let open = policy(&[
        statement("Allow", "\"*\"", "\"s3:GetObject\",\"s3:GetObjectVersion\"", "/*"),
        statement("Allow", "\"*\"", "\"s3:GetObjectTagging\"", "/told/*"),
        statement("Allow", "\"*\"", "\"s3:GetObjectVersionTagging\"", "/of-version/*"),
    ]);
    let site = site(&open).await;
    for (key, tags) in [("told/cat", "a=b&c=d"), ("of-version/cat", "a=b"), ("told/none", "")] {
        let tags: &[_] = if tags.is_empty() { &[] } else { &[("x-amz-tagging", tags)] };
        assert_eq!(send(&site, "KEY", Method::PUT, key, &[], tags, b"cat").await.status, StatusCode::OK);
    }
    for (path, told) in [
        ("told/cat", Some("2")),
        ("told/cat?versionId=null", None),
        ("of-version/cat", None),
        ("of-version/cat?versionId=null", Some("1")),
        ("told/none", None),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = anonymously(&site, method.clone(), &format!("/photos/{path}"), &[], b"").await;
            assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
            assert_eq!(answer.header("x-amz-tagging-count"), told, "{method} {path}");
        }
    }
    for method in [Method::GET, Method::HEAD] {
        let answer = send(&site, "KEY", method, "of-version/cat", &[], &[], b"").await;
        assert_eq!(answer.header("x-amz-tagging-count"), Some("1"), "who has the right");
    }
}

#[tokio::test]
async fn who_may_read_retentions_or_holds_is_told_of_them() {
    let open = policy(&[
        statement("Allow", "\"*\"", "\"s3:GetObject\"", "/*"),
        statement("Allow", "\"*\"", "\"s3:GetObjectRetention\"", "/retained/*"),
        statement("Allow", "\"*\"", "\"s3:GetObjectLegalHold\"", "/held/*"),
    ]);
    let site = site(&open).await;
    let lock = [
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-retain-until-date", "2999-01-01T00:00:00Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
    ];
    for key in ["retained/cat", "held/cat", "else/cat"] {
        assert_eq!(send(&site, "KEY", Method::PUT, key, &[], &lock, b"cat").await.status, StatusCode::OK);
    }
    let told = |answer: &Answer| lock.map(|(name, _)| answer.header(name).is_some());
    for method in [Method::GET, Method::HEAD] {
        for (key, wanted) in [
            ("retained/cat", [true, true, false]),
            ("held/cat", [false, false, true]),
            ("else/cat", [false, false, false]),
        ] {
            let answer = anonymously(&site, method.clone(), &format!("/photos/{key}"), &[], b"").await;
            assert_eq!((answer.status, told(&answer)), (StatusCode::OK, wanted), "{method} {key}");
        }
        let answer = send(&site, "KEY", method, "else/cat", &[], &[], b"").await;
        assert_eq!(told(&answer), [true; 3], "who has the right");
    }
}

#[tokio::test]
async fn who_may_not_list_is_not_told_which_keys_there_are() {
    let reads = statement("Allow", "\"*\"", "\"s3:GetObject\",\"s3:PutObject\"", "/*");
    let site = site(&policy(std::slice::from_ref(&reads))).await;
    site.put("cat", b"cat").await;
    let absent = [("x-amz-copy-source", "/photos/dog")];
    let asked: [Sent; 3] = [
        (Method::GET, "/photos/dog", &[]),
        (Method::HEAD, "/photos/dog", &[]),
        (Method::PUT, "/photos/copy", &absent),
    ];
    let told = async |status: StatusCode| {
        for (method, path, headers) in &asked {
            let answer = anonymously(&site, method.clone(), path, headers, b"").await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        }
    };
    told(StatusCode::FORBIDDEN).await;
    assert_eq!(anonymously(&site, Method::GET, "/photos/cat", &[], b"").await.status, StatusCode::OK);
    assert_eq!(site.get("dog", &[]).await.status, StatusCode::NOT_FOUND, "who may list");
    let listed = policy(&[reads, statement("Allow", "\"*\"", "\"s3:ListBucket\"", "")]);
    site.store.0.lock().unwrap().settings.insert("policy".into(), listed);
    while anonymously(&site, Method::GET, "/photos", &[], b"").await.status != StatusCode::OK {
        tokio::time::sleep(super::SIGNED / 600).await;
    }
    told(StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn a_form_is_judged_by_the_key_that_it_names() {
    let site = site(&policy(&[statement("Allow", "\"*\"", "\"s3:PutObject\"", "/inbox/*")])).await;
    let kind = ("content-type", "multipart/form-data; boundary=edge");
    let posted = async |key: &str, tags: &str| {
        let field = |name: &str, value: &str| {
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let tags = if tags.is_empty() { String::new() } else { field("x-amz-tagging", tags) };
        let file = "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\ndog\r\n--edge--\r\n";
        let form = field("key", key) + &tags + file;
        anonymously(&site, Method::POST, "/photos", &[kind], form.as_bytes()).await
    };
    let taken = posted("inbox/dog", "").await;
    assert_eq!(taken.status, StatusCode::NO_CONTENT, "{}", taken.text());
    assert_eq!(site.get("inbox/dog", &[]).await.text(), "dog");
    assert_eq!(posted("open/dog", "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(posted("inbox/dog", "a=b").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_denial_is_stronger_than_rights_and_than_what_is_allowed() {
    let text = policy(&[
        statement("Deny", "\"*\"", "\"s3:*\"", "/kept/*"),
        statement("Allow", "{\"AWS\":\"FEW\"}", "\"s3:*\"", "/*"),
        statement(
            "Deny",
            "{\"AWS\":\"arn:aws:iam:::user/KEY\"}",
            "\"s3:PutBucketPolicy\",\"s3:GetBucketPolicy\"",
            "",
        ),
    ]);
    let site = site(&text).await;
    for key in ["a", "b", "kept/a"] {
        let put = site.put(key, b"x").await;
        assert_eq!(put.status == StatusCode::FORBIDDEN, key == "kept/a", "{key}");
    }
    assert_eq!(send(&site, "FEW", Method::GET, "a", &[], &[], b"").await.status, StatusCode::OK);
    let refused = send(&site, "FEW", Method::GET, "kept/a", &[], &[], b"").await;
    assert!(
        refused.text().contains("denies s3:GetObject of arn:aws:s3:::photos/kept/a"),
        "{}",
        refused.text()
    );
    // Each object of several by itself, and the others are gone.
    let deleted = delete_all(&site, "FEW", &["a", "kept/a", "b"]).await;
    assert_eq!(deleted.status, StatusCode::OK);
    for key in ["a", "b"] {
        assert!(deleted.text().contains(&format!("<Deleted><Key>{key}</Key>")), "{}", deleted.text());
        assert_eq!(site.get(key, &[]).await.status, StatusCode::NOT_FOUND);
    }
    assert!(deleted.text().contains("<Code>AccessDenied</Code><Key>kept/a</Key>"), "{}", deleted.text());
    let none = delete_all(&site, "FEW", &["kept/a"]).await;
    assert!(none.status == StatusCode::OK && !none.text().contains("Deleted"), "{}", none.text());

    // Nobody is locked out: who administers reads and deletes it, though not who may do all but that.
    assert_eq!(
        send(&site, "KEY", Method::PUT, "", &[("policy", "")], &[], text.as_bytes()).await.status,
        403
    );
    assert_eq!(send(&site, "KEY", Method::GET, "", &[("policy", "")], &[], b"").await.text(), text);
    assert_eq!(send(&site, "FEW", Method::DELETE, "", &[("policy", "")], &[], b"").await.status, 403);
    assert_eq!(send(&site, "KEY", Method::DELETE, "", &[("policy", "")], &[], b"").await.status, 204);
    while site.put("kept/a", b"x").await.status == StatusCode::FORBIDDEN {
        tokio::time::sleep(super::SIGNED / 600).await;
    }
}

#[tokio::test]
async fn to_delete_a_version_is_another_action_for_each_of_several() {
    let text = policy(&[statement("Deny", "\"*\"", "\"s3:DeleteObjectVersion\"", "/*")]);
    let site = site(&text).await;
    site.put("cat", b"cat").await;
    let one = send(&site, "KEY", Method::DELETE, "cat", &[("versionId", "null")], &[], b"").await;
    assert_eq!(one.status, StatusCode::FORBIDDEN);
    let several = "<Delete><Object><Key>cat</Key><VersionId>null</VersionId></Object><Object><Key>dog</Key>\
                   <VersionId></VersionId></Object></Delete>";
    let url = post_to_delete(&site, "KEY");
    let answer = site.send(Method::POST, url, &[], several.as_bytes()).await;
    let withheld = "<Code>AccessDenied</Code><Key>cat</Key>";
    assert!(
        answer.text().contains(withheld) && answer.text().contains("<Deleted><Key>dog</Key>"),
        "{}",
        answer.text()
    );
    assert_eq!(send(&site, "KEY", Method::DELETE, "cat", &[], &[], b"").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_listing_is_judged_by_the_prefix_that_it_has() {
    let listing = "{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"FEW\"},\"Action\":\"s3:ListBucket\",\
                   \"Resource\":\"arn:aws:s3:::photos\",\"Condition\":{\"StringLike\":{\"s3:prefix\":\"open/*\"}}}}";
    let site = site(listing).await;
    let listed = async |query: &[(&'static str, &'static str)]| {
        send(&site, "FEW", Method::GET, "", query, &[], b"").await.status
    };
    assert_eq!(listed(&[("list-type", "2"), ("prefix", "open/a")]).await, StatusCode::OK);
    assert_eq!(listed(&[("prefix", "open/")]).await, StatusCode::OK);
    assert_eq!(listed(&[("prefix", "shut/")]).await, StatusCode::FORBIDDEN);
    assert_eq!(listed(&[("list-type", "2")]).await, StatusCode::FORBIDDEN);
    assert_eq!(listed(&[("prefix", "open/"), ("uploads", "")]).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_policy_is_kept_as_it_is_or_refused_with_what_is_wrong() {
    let site = site("").await;
    let query = [("policy", "")];
    let put = async |text: &str| send(&site, "KEY", Method::PUT, "", &query, &[], text.as_bytes()).await;
    let none = send(&site, "KEY", Method::GET, "", &query, &[], b"").await;
    assert!(none.text().contains("<Code>NoSuchBucketPolicy</Code>"), "{}", none.text());
    let public = policy(&[statement("Allow", "\"*\"", "\"s3:GetObject\"", "/*")]);
    let named =
        |key: &str| policy(&[statement("Deny", &format!("{{\"AWS\":[\"{key}\"]}}"), "\"s3:*\"", "/*")]);
    for (text, place) in [
        (public.replace("GetObject", "GetObjekt"), "Statement 1: Action"),
        (named("NOBODY"), "no access key \"NOBODY\""),
        (named("OTHER"), "no access key \"OTHER\""),
        (
            named(&(0..101).map(|number| format!("AK{number}")).collect::<Vec<_>>().join("\",\"")),
            "at most 100",
        ),
    ] {
        let refused = put(&text).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{text}: {}", refused.text());
        let text = refused.text().replace("&quot;", "\"");
        assert!(text.contains("<Code>MalformedPolicy</Code>") && text.contains(place), "{text}");
    }
    let is_public = async || {
        let status = send(&site, "KEY", Method::GET, "", &[("policyStatus", "")], &[], b"").await;
        status.text().contains("<IsPublic>true</IsPublic>")
    };
    for (text, expected) in [(public.clone(), true), (named("FEW"), false)] {
        let taken = put(&text).await;
        assert_eq!(taken.status, StatusCode::NO_CONTENT, "{}", taken.text());
        assert_eq!(send(&site, "KEY", Method::GET, "", &query, &[], b"").await.text(), text);
        assert_eq!(is_public().await, expected);
    }

    let block = "<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy>\
                 </PublicAccessBlockConfiguration>";
    let blocked = [("publicAccessBlock", "")];
    let unset = send(&site, "KEY", Method::GET, "", &blocked, &[], b"").await;
    assert!(unset.text().contains("<Code>NoSuchPublicAccessBlockConfiguration</Code>"), "{}", unset.text());
    assert_eq!(send(&site, "KEY", Method::PUT, "", &blocked, &[], block.as_bytes()).await.status, 200);
    let shown = send(&site, "KEY", Method::GET, "", &blocked, &[], b"").await;
    assert!(shown.text().contains("<BlockPublicPolicy>true</BlockPublicPolicy>"), "{}", shown.text());
    let refused = put(&public).await;
    assert!(refused.status == 403 && refused.text().contains("BlockPublicPolicy"), "{}", refused.text());
    assert_eq!(put(&named("FEW")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(send(&site, "KEY", Method::DELETE, "", &blocked, &[], b"").await.status, 204);
    assert_eq!(put(&public).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_condition_is_judged_by_what_a_proxy_says_of_the_client() {
    let near = "{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\
                \"Resource\":\"arn:aws:s3:::photos/*\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.0/24\"},\
                \"Bool\":{\"aws:SecureTransport\":\"true\"}}}}";
    let site = site(near).await;
    site.put("cat", b"cat").await;
    let got = async |address: &str, protocol: &str| {
        let headers = [("x-forwarded-for", address), ("x-forwarded-proto", protocol)];
        anonymously(&site, Method::GET, "/photos/cat", &headers, b"").await.status
    };
    assert_eq!(got("192.0.2.9", "https").await, StatusCode::OK);
    assert_eq!(got("192.0.2.9", "http").await, StatusCode::FORBIDDEN);
    assert_eq!(got("192.0.3.9", "https").await, StatusCode::FORBIDDEN);
    assert_eq!(got("192.0.2.9, 198.51.100.1", "https").await, StatusCode::FORBIDDEN);
}
