//! What the link manager tells of links: the domains of linked systems, whose names are served here
//! after a failover, and the links' epochs.

use std::time::Duration;

use switchback_kit::grpc::Channel;
use switchback_proto::link::v1::WatchLinksRequest;
use switchback_proto::link::v1::link_service_client::LinkServiceClient;

use crate::epochs::Epochs;
use crate::host::Domains;

/// Between two attempts to reach the link manager, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The link manager sends at least one message a second; a stream silent for this long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Follows the links for ever. While the link manager is away, what it last said stays.
pub(crate) async fn follow(links: Channel, domains: Domains, epochs: Epochs) {
    let mut pause = BACKOFF.0;
    loop {
        let mut client = LinkServiceClient::new(links.clone());
        if let Ok(stream) = client.watch_links(WatchLinksRequest {}).await {
            let mut stream = stream.into_inner();
            while let Ok(Ok(Some(answer))) = tokio::time::timeout(SILENCE_MAX, stream.message()).await {
                pause = BACKOFF.0;
                domains.set_peers(answer.links.iter().map(|link| link.peer_domain.as_str()));
                epochs.set(answer.links.iter().map(|link| (link.name.as_str(), link.epoch)));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}
