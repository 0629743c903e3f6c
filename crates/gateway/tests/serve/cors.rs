//! Requests of pages of other sites.

use http::{Method, StatusCode};
use rusty_s3::S3Action;

use super::{SIGNED, Site, keys};

const RULES: &str = "<CORSConfiguration><CORSRule><AllowedOrigin>https://*.example.org</AllowedOrigin>\
     <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader>\
     <ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>600</MaxAgeSeconds></CORSRule></CORSConfiguration>";
const PAGE: (&str, &str) = ("origin", "https://www.example.org");
const STRANGER: (&str, &str) = ("origin", "https://www.example.net");
const WANTS_PUT: (&str, &str) = ("access-control-request-method", "PUT");
const HOST: &str = "photos.acme.east.example.com";

async fn site() -> Site {
    let site = Site::start().await;
    site.store.0.lock().unwrap().settings.insert("cors".into(), RULES.into());
    site
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_buckets_rules_whoever_asks() {
    let site = site().await;
    let at = |path: &str| format!("http://{}/{path}", site.s3);
    let headers = ("access-control-request-headers", "x-amz-date,x-amz-content-sha256");
    let presigned = site.bucket().put_object(Some(&keys()), "cat.jpg").sign(SIGNED).to_string();
    for (url, host) in [
        (at("cat.jpg"), HOST),
        (at("photos/cat.jpg"), "acme.east.example.com"),
        (presigned, site.s3.as_str()),
    ] {
        let asked = [("host", host), PAGE, WANTS_PUT, headers];
        let allowed = site.send(Method::OPTIONS, &url, &asked, b"").await;
        assert_eq!(allowed.status, StatusCode::OK, "{url}: {}", allowed.text());
        for (name, value) in [
            ("access-control-allow-origin", PAGE.1),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "x-amz-date, x-amz-content-sha256"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(allowed.header(name), Some(value), "{url}: {name}");
        }
        assert!(allowed.header("vary").unwrap().contains("origin"));
    }
    let host = ("host", HOST);
    for refused in [
        vec![host, STRANGER, WANTS_PUT],
        vec![host, PAGE, ("access-control-request-method", "DELETE")],
        vec![host, PAGE, WANTS_PUT, ("access-control-request-headers", "x-other")],
        // Nobody knows whose bucket that is.
        vec![PAGE, WANTS_PUT],
        vec![("host", "photos.acme.elsewhere.test"), PAGE, WANTS_PUT],
    ] {
        let answer = site.send(Method::OPTIONS, at("photos/cat.jpg"), &refused, b"").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{refused:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{refused:?}");
    }
    for malformed in [vec![host, WANTS_PUT], vec![host, PAGE]] {
        let answer = site.send(Method::OPTIONS, at("cat.jpg"), &malformed, b"").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{malformed:?}");
    }
}

#[tokio::test]
async fn a_page_sees_of_an_answer_what_the_rules_say_also_of_a_refusal() {
    let site = site().await;
    site.put("cat.jpg", b"cat").await;
    for (key, status) in [("cat.jpg", StatusCode::OK), ("dog.jpg", StatusCode::NOT_FOUND)] {
        let got = site.get(key, &[PAGE]).await;
        assert_eq!((got.status, got.header("access-control-allow-origin")), (status, Some(PAGE.1)));
        assert_eq!(got.header("access-control-expose-headers"), Some("ETag"));
        assert_eq!(got.header("access-control-allow-headers"), None);
        assert!(got.header("vary").unwrap().contains("origin"));
    }
    for (headers, what) in [(vec![STRANGER], "another site"), (vec![], "no page")] {
        let got = site.get("cat.jpg", &headers).await;
        let shown = got.headers.keys().any(|name| name.as_str().starts_with("access-control"));
        assert!(got.status == StatusCode::OK && !shown, "{what}");
    }
    // Rules are no rights.
    let unsigned = site.bucket().object_url("cat.jpg");
    let refused = site.send(Method::GET, unsigned, &[("host", HOST), PAGE], b"").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn rules_that_change_are_heeded_within_moments() {
    let site = site().await;
    site.put("cat.jpg", b"cat").await;
    assert!(site.get("cat.jpg", &[PAGE]).await.header("access-control-allow-origin").is_some());
    site.store.0.lock().unwrap().settings.clear();
    while site.get("cat.jpg", &[PAGE]).await.header("access-control-allow-origin").is_some() {
        tokio::time::sleep(SIGNED / 600).await;
    }
}
