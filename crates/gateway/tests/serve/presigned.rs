//! URLs and forms presigned with signature version 2, as stock boto3 makes them.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{Method, StatusCode};
use s3s::crypto::{Checksum as _, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Answer, Site};

fn sha1(pieces: &[&[u8]]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.finalize()
}

/// RFC 2104, with a key that is shorter than a block.
fn hmac_sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    sha1(&[&pad(0x5c), &sha1(&[&pad(0x36), text])])
}

fn in_a_minute() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 60
}

/// Path and query of a URL for `resource`, which is at `path` of its host.
fn signed(method: &Method, path: &str, resource: &str, content_type: &str, expires: u64) -> String {
    let text = format!("{method}\n\n{content_type}\n{expires}\n{resource}");
    let signature = BASE64.encode(hmac_sha1(b"SECRET", text.as_bytes()));
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("{path}?AWSAccessKeyId=KEY&Signature={signature}&Expires={expires}")
}

impl Site {
    async fn send_to(&self, host: &str, method: Method, path: &str, body: &[u8]) -> Answer {
        self.send(method, format!("http://{}{path}", self.s3), &[("host", host)], body).await
    }
}

#[tokio::test]
async fn a_url_of_version_2_is_good_at_every_name_of_its_bucket() {
    let site = Site::start().await;
    for (host, path) in [
        (site.s3.as_str(), "/photos/cat%20%C3%BC.jpg"),
        ("acme.east.example.com", "/photos/cat%20%C3%BC.jpg"),
        ("acme.east.example.com:9000", "/photos/cat%20%C3%BC.jpg"),
        ("photos.acme.east.example.com", "/cat%20%C3%BC.jpg"),
        ("Photos.Acme.East.example.com:9000", "/cat%20%C3%BC.jpg"),
    ] {
        let resource = "/photos/cat%20%C3%BC.jpg";
        let url = signed(&Method::PUT, path, resource, "", in_a_minute());
        let put = site.send_to(host, Method::PUT, &url, host.as_bytes()).await;
        assert_eq!(put.status, StatusCode::OK, "{host}: {}", put.text());
        let url = signed(&Method::GET, path, resource, "", in_a_minute());
        let got = site.send_to(host, Method::GET, &url, b"").await;
        assert_eq!((got.status, got.text()), (StatusCode::OK, host));
    }
}

#[tokio::test]
async fn a_url_of_version_2_is_refused_late_changed_or_at_another_tenants_name() {
    let site = Site::start().await;
    let (path, now) = ("/photos/cat.jpg", in_a_minute());
    let get = |resource, expires| signed(&Method::GET, path, resource, "", expires);
    for (host, url, code) in [
        ("acme.east.example.com", get(path, 1_000_000_000), "AccessDenied"),
        ("acme.east.example.com", get("/photos/dog.jpg", now), "SignatureDoesNotMatch"),
        ("acme.east.example.com", get("/cat.jpg", now), "SignatureDoesNotMatch"),
        ("photos.acme.east.example.com", get(path, now), "SignatureDoesNotMatch"),
        ("globex.east.example.com", get(path, now), "AccessDenied"),
    ] {
        let answer = site.send_to(host, Method::GET, &url, b"").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{host} {url}");
        assert!(answer.text().contains(code), "{host} {url}: {}", answer.text());
    }
    let expired = site.send_to("acme.east.example.com", Method::GET, &get(path, 1), b"").await;
    assert!(expired.text().contains("Request has expired"), "{}", expired.text());
}

#[tokio::test]
async fn headers_that_a_url_of_version_2_carries_are_kept_and_not_its_users_to_change() {
    let site = Site::start().await;
    let path = "/photos/cat.jpg";
    let url = signed(&Method::PUT, path, path, "image/jpeg", in_a_minute()) + "&content-type=image%2Fjpeg";
    let put = site.send_to(&site.s3, Method::PUT, &url, b"x").await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text());
    assert_eq!(site.get("cat.jpg", &[]).await.header("content-type"), Some("image/jpeg"));
    let other = [("content-type", "text/html")];
    let changed = site.send(Method::PUT, format!("http://{}{url}", site.s3), &other, b"x").await;
    assert_eq!(changed.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_form_is_taken_in_whatever_pieces_it_comes() {
    let site = Site::start().await;
    let policy =
        r#"{"expiration": "2999-01-01T00:00:00Z", "conditions": [{"bucket": "photos"}, {"key": "cat"}]}"#;
    let policy = BASE64.encode(policy);
    let signature = BASE64.encode(hmac_sha1(b"SECRET", policy.as_bytes()));
    let fields = [("key", "cat"), ("AWSAccessKeyId", "KEY"), ("policy", &policy), ("signature", &signature)];
    let field = |(name, value)| {
        format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    // The file ends a piece with what might begin its end, and goes on.
    let file = "\r\n--edg".repeat(30_000);
    let form = fields.into_iter().map(field).collect::<String>()
        + "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"
        + &file
        + "\r\n--edge--\r\n";
    let head = format!(
        "POST /photos HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\
         content-type: multipart/form-data; boundary=edge\r\n\r\n",
        site.s3,
        form.len()
    );
    let mut socket = TcpStream::connect(&site.s3).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for piece in [head.as_bytes(), &form.as_bytes()[..5], &form.as_bytes()[5..]] {
        socket.write_all(piece).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("etag: "), "{answer}");
    assert_eq!(site.get("cat", &[]).await.text(), file);
}
