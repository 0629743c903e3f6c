//! Writes that are refused before their body is received, as a client's socket sees them.

use rusty_s3::S3Action;
use switchback_proto::model::v1::Writer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fake::Commits;
use super::{SIGNED, Site, keys};

const LENGTH: usize = 64 * 1024 * 1024;

fn west() -> Commits {
    Commits::ReadOnly(Writer { domain: "west.example.com".into(), both_read_only: false })
}

/// Path and query of a PUT of an object, and of one of a part.
fn puts(site: &Site) -> [String; 2] {
    let (bucket, keys) = (site.bucket(), keys());
    let object = bucket.put_object(Some(&keys), "film").sign(SIGNED);
    let part = bucket.upload_part(Some(&keys), "film", 1, "upload").sign(SIGNED);
    [object, part].map(|url| format!("{}?{}", url.path(), url.query().unwrap()))
}

/// A socket on which the head of a PUT was sent.
async fn begun(site: &Site, put: &str, headers: &str) -> TcpStream {
    let mut socket = TcpStream::connect(&site.s3).await.unwrap();
    let head =
        format!("PUT {put} HTTP/1.1\r\nhost: {}\r\ncontent-length: {LENGTH}\r\n{headers}\r\n", site.s3);
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_client_that_asks_first_never_sends_a_body_to_read_only_content() {
    let site = Site::start().await;
    for put in puts(&site) {
        site.set(west());
        let mut socket = begun(&site, &put, "expect: 100-continue\r\n").await;
        let answer = rest(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(
            answer.contains("connection: close") && answer.contains("write to west.example.com"),
            "{answer}"
        );

        site.set(Commits::ReadOnly(Writer { domain: String::new(), both_read_only: true }));
        let mut socket = begun(&site, &put, "expect: 100-continue\r\n").await;
        let answer = rest(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");

        site.set(Commits::Accepted);
        let mut socket = begun(&site, &put, "expect: 100-continue\r\n").await;
        let mut asked = [0; 21];
        socket.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue");
    }
    assert_eq!(site.store.0.lock().unwrap().objects.len(), 0);
}

#[tokio::test]
async fn a_client_that_sends_at_once_gets_the_refusal_and_no_broken_pipe() {
    let site = Site::start().await;
    site.set(west());
    for put in puts(&site) {
        let mut socket = begun(&site, &put, "").await;
        // Long after the answer is there and the server has no more to say.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        for _ in 0..LENGTH / 65_536 {
            socket.write_all(&[7; 65_536]).await.unwrap();
        }
        let answer = rest(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(site.blobs(), 0);
}

#[tokio::test]
async fn a_refusal_of_a_body_that_was_read_keeps_its_connection() {
    let site = Site::start().await;
    let wrong = [("x-amz-checksum-crc32", "AAAAAA==")];
    let url = site.bucket().put_object(Some(&keys()), "cat.jpg").sign(SIGNED);
    let read = site.send(http::Method::PUT, url, &wrong, &[7; 100_000]).await;
    assert_eq!((read.status.as_u16(), read.header("connection")), (400, None));
    let wrong = rusty_s3::Credentials::new("KEY", "WRONG");
    let url = site.bucket().put_object(Some(&wrong), "cat.jpg").sign(SIGNED);
    let unread = site.send(http::Method::PUT, url, &[], &[7; 100_000]).await;
    assert_eq!((unread.status.as_u16(), unread.header("connection")), (403, Some("close")));
}
