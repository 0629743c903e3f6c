//! Writes that are refused since authority has moved: who is told to connect again, and who is told who writes.

use std::pin::Pin;

use futures::Stream;
use http::{Method, StatusCode};
use rusty_s3::{Bucket, S3Action, UrlStyle};
use switchback_kit::grpc;
use switchback_proto::link::v1::link_service_server::{LinkService, LinkServiceServer};
use switchback_proto::link::v1::*;
use switchback_proto::model::v1::Writer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::fake::{Commits, not_called};
use super::{Answer, SIGNED, Site, bind, keys};

type Told<T> = Result<Response<T>, Status>;

/// A link manager that tells of one link, in this epoch.
struct Links(watch::Receiver<u64>);

#[tonic::async_trait]
impl LinkService for Links {
    type WatchLinksStream = Pin<Box<dyn Stream<Item = Result<ListLinksResponse, Status>> + Send>>;

    not_called! {
        create_link: CreateLinkRequest => CommandResponse;
        list_links: ListLinksRequest => ListLinksResponse;
        get_link: GetLinkRequest => GetLinkResponse;
        update_link: UpdateLinkRequest => CommandResponse;
        delete_link: DeleteLinkRequest => CommandResponse;
        suspend_link: LinkCommand => CommandResponse;
        resume_link: LinkCommand => CommandResponse;
        pause_content: ContentCommand => CommandResponse;
        resume_content: ContentCommand => CommandResponse;
        fail_over: FailOverRequest => CommandResponse;
        restore_link: LinkCommand => CommandResponse;
        begin_recovery: LinkCommand => CommandResponse;
        complete_recovery: CompleteRecoveryRequest => CommandResponse;
        declare_lost: DeclareLostRequest => CommandResponse;
        list_divergences: ListDivergencesRequest => ListDivergencesResponse;
        list_retries: ListRetriesRequest => ListRetriesResponse;
        set_aside: SetAsideRequest => CommandResponse;
        list_events: ListEventsRequest => ListEventsResponse;
        get_system: GetSystemRequest => GetSystemResponse;
    }

    async fn watch_links(&self, _: Request<WatchLinksRequest>) -> Told<Self::WatchLinksStream> {
        let mut epoch = self.0.clone();
        epoch.mark_changed();
        let told = futures::stream::unfold(epoch, |mut epoch| async {
            epoch.changed().await.ok()?;
            let link =
                Link { name: "east-west".into(), epoch: *epoch.borrow_and_update(), ..Default::default() };
            Some((Ok(ListLinksResponse { links: vec![link] }), epoch))
        });
        Ok(Response::new(Box::pin(told)))
    }
}

/// A site beside a link manager whose link's epoch is what is sent.
async fn site(epoch: u64) -> (Site, watch::Sender<u64>) {
    let (tell, told) = watch::channel(epoch);
    let (listener, address) = bind().await;
    let site = Site::start_beside(address).await;
    let routes = Routes::new(LinkServiceServer::new(Links(told)));
    let (secret, stop) = (site.secret.clone(), site.shutdown.clone());
    tokio::spawn(async move { grpc::serve(listener, &secret, routes, stop).await });
    (site, tell)
}

const NAME: &str = "acme.east.example.com";

/// A write on a connection of its own, to the address, or as who follows the tenant's name.
async fn put(site: &Site, by_name: bool) -> Answer {
    let host = if by_name { NAME } else { &site.s3 };
    let bucket =
        Bucket::new(format!("http://{host}").parse().unwrap(), UrlStyle::Path, "photos", "us-east-1");
    let url = bucket.unwrap().put_object(Some(&keys()), "cat").sign(SIGNED).to_string();
    site.send(Method::PUT, url.replace(host, &site.s3), &[("host", host)], b"x").await
}

async fn until(site: &Site, by_name: bool, status: StatusCode) -> Answer {
    loop {
        let answer = put(site, by_name).await;
        if answer.status == status {
            return answer;
        }
        tokio::time::sleep(SIGNED / 600).await;
    }
}

#[tokio::test]
async fn who_came_before_authority_moved_or_by_the_name_is_told_to_connect_again() {
    let (site, tell) = site(2).await;
    {
        let mut state = site.store.0.lock().unwrap();
        state.epoch = 3;
        state.commits =
            Commits::ReadOnly(Writer { domain: "west.example.com".into(), both_read_only: false });
    }
    // The store knows of the change before the gateway does: every connection is from before it.
    let again = until(&site, false, StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(again.text().contains("connect again"), "{}", again.text());
    assert_eq!((again.header("retry-after"), again.header("connection")), (Some("1"), Some("close")));
    assert!(
        again.headers.keys().all(|name| !name.as_str().starts_with("x-switchback")),
        "{:?}",
        again.headers
    );
    let mut old = TcpStream::connect(&site.s3).await.unwrap();
    put(&site, false).await;

    tell.send(3).unwrap();
    let refused = until(&site, false, StatusCode::FORBIDDEN).await;
    assert!(refused.text().contains("write to west.example.com"), "{}", refused.text());
    let again = put(&site, true).await;
    assert_eq!(again.status, StatusCode::SERVICE_UNAVAILABLE, "the name led here a moment ago");

    let url = site.bucket().put_object(Some(&keys()), "cat").sign(SIGNED);
    let request = format!(
        "PUT {}?{} HTTP/1.1\r\nhost: {}\r\ncontent-length: 1\r\n\r\nx",
        url.path(),
        url.query().unwrap(),
        site.s3
    );
    old.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("connect again"), "{answer}");
}

#[tokio::test]
async fn where_nothing_has_moved_a_client_is_told_who_writes() {
    let (site, _tell) = site(3).await;
    {
        let mut state = site.store.0.lock().unwrap();
        state.epoch = 3;
        state.commits =
            Commits::ReadOnly(Writer { domain: "west.example.com".into(), both_read_only: false });
    }
    for by_name in [false, true] {
        assert_eq!(put(&site, by_name).await.status, StatusCode::FORBIDDEN);
    }
}
