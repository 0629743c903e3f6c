//! `switchback.dns.v1` for the system's own services.

use std::sync::Arc;

use switchback_kit::grpc::refusal;
use switchback_proto::dns::v1::dns_service_server::{DnsService, DnsServiceServer};
use switchback_proto::dns::v1::{
    ApplyZonesRequest, ApplyZonesResponse, ListKeysRequest, ListKeysResponse, ListRecordsRequest,
    ListRecordsResponse, ListSecondariesRequest, ListSecondariesResponse, ListZonesRequest,
    ListZonesResponse, NewestSerialRequest, NewestSerialResponse, PublishCatalogueRequest,
    PublishCatalogueResponse, ReloadZoneFilesRequest, ReloadZoneFilesResponse, RemoveRecordsRequest,
    RemoveRecordsResponse, RollKeyRequest, RollKeyResponse,
};
use tonic::{Code, Request, Response, Status};

use crate::publisher::{LinkZones, Publisher};
use crate::{Error, announce, convert, primary, update};

/// What a request may take. A tenant's zone has some 150 bytes, and 70 more for each key of the other system: one
/// request can say everything of some hundred thousand tenants on links, or of half as many that are signed.
/// Beyond that a broadcaster that was started again is told nothing.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The service, ready to be routed.
pub(crate) fn service(
    publisher: Arc<Publisher>,
    followers: announce::Desk,
    targets: update::Desk,
    primaries: primary::Desk,
) -> DnsServiceServer<Rpc> {
    let rpc = Rpc { publisher, followers, targets, primaries };
    DnsServiceServer::new(rpc).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

pub(crate) struct Rpc {
    publisher: Arc<Publisher>,
    followers: announce::Desk,
    targets: update::Desk,
    primaries: primary::Desk,
}

#[tonic::async_trait]
impl DnsService for Rpc {
    async fn apply_zones(
        &self,
        request: Request<ApplyZonesRequest>,
    ) -> Result<Response<ApplyZonesResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        let mut applied =
            to_its_end(async move { publisher.apply(request.into_inner()).await }).await?.into_inner();
        let (followers, targets) = tokio::join!(self.followers.overdue(), self.targets.overdue());
        applied.overdue = followers.into_iter().chain(targets).map(convert::overdue).collect();
        Ok(Response::new(applied))
    }

    async fn reload_zone_files(
        &self,
        _: Request<ReloadZoneFilesRequest>,
    ) -> Result<Response<ReloadZoneFilesResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        to_its_end(async move { publisher.reload().await }).await
    }

    async fn publish_catalogue(
        &self,
        _: Request<PublishCatalogueRequest>,
    ) -> Result<Response<PublishCatalogueResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        to_its_end(async move { publisher.publish_catalogue().await }).await
    }

    async fn newest_serial(
        &self,
        request: Request<NewestSerialRequest>,
    ) -> Result<Response<NewestSerialResponse>, Status> {
        // A name that cannot be has no zone.
        let names: Vec<_> =
            request.into_inner().names.iter().filter_map(|name| convert::name(name).ok()).collect();
        let serial = self.publisher.newest_serial(&names).await.map_or(0, |serial| serial.0);
        Ok(Response::new(NewestSerialResponse { serial }))
    }

    async fn list_zones(&self, _: Request<ListZonesRequest>) -> Result<Response<ListZonesResponse>, Status> {
        Ok(Response::new(self.publisher.list().await))
    }

    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        Ok(Response::new(self.publisher.keys().await))
    }

    async fn list_records(
        &self,
        _: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        Ok(Response::new(self.publisher.records().await))
    }

    async fn remove_records(
        &self,
        request: Request<RemoveRecordsRequest>,
    ) -> Result<Response<RemoveRecordsResponse>, Status> {
        let (owner, kind) = convert::set_name(&request.into_inner()).map_err(|error| status(&error))?;
        let publisher = Arc::clone(&self.publisher);
        to_its_end(async move { publisher.remove_records(&owner, kind).await }).await
    }

    async fn roll_key(&self, request: Request<RollKeyRequest>) -> Result<Response<RollKeyResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        to_its_end(async move { publisher.roll(request.into_inner().at_once).await }).await
    }

    async fn list_secondaries(
        &self,
        request: Request<ListSecondariesRequest>,
    ) -> Result<Response<ListSecondariesResponse>, Status> {
        let link = request.into_inner().link;
        let (zones, epoch) = if link.is_empty() {
            (None, None)
        } else {
            let LinkZones { names, epoch } = self.publisher.zones_of(&link).await;
            (Some(names), epoch)
        };
        let edition = *self.publisher.published().borrow();
        let (followers, targets, primaries) = tokio::join!(
            self.followers.view_since(edition, zones.clone()),
            self.targets.view_since(edition, zones),
            self.primaries.view(None)
        );
        Ok(Response::new(ListSecondariesResponse {
            secondaries: convert::secondaries(&followers),
            update_targets: convert::update_targets(&targets),
            primaries: convert::primaries(&primaries),
            epoch,
        }))
    }
}

/// Runs a change in a task of its own: tonic drops a call whose caller goes away, and a change that was
/// begun must not stop half-way.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<Response<T>, Status> {
    let changed = tokio::spawn(change).await.map_err(|error| Status::internal(error.to_string()))?;
    changed.map(Response::new).map_err(|error| status(&error))
}

fn status(error: &Error) -> Status {
    let (code, reason) = match error {
        Error::Malformed(_) => (Code::InvalidArgument, "MALFORMED_ZONE"),
        Error::ZoneFile(_) => (Code::InvalidArgument, "MALFORMED_ZONE_FILE"),
        Error::Catalogue(_) => (Code::FailedPrecondition, "CATALOGUE_WOULD_LACK_ZONES"),
        Error::State(_) => (Code::Unavailable, "STATE_NOT_DURABLE"),
        Error::NotTaken { .. } => (Code::NotFound, "NOT_TAKEN"),
        Error::NotSigned => (Code::FailedPrecondition, "NOT_SIGNED"),
        Error::TooEarly(_) => (Code::FailedPrecondition, "TOO_EARLY"),
        Error::Unsigned(_) => (Code::Unavailable, "ZONE_NOT_SIGNED"),
        Error::Damaged { .. } | Error::Listen { .. } | Error::Answer(_) | Error::Secure(_) => {
            (Code::Internal, "INTERNAL")
        }
    };
    refusal(code, reason, error.to_string(), None)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use switchback_proto::dns::v1::{NameServer, TenantZone};

    use super::*;

    #[test]
    fn a_request_has_room_for_everything_of_a_hundred_thousand_tenants() {
        let server = |name: &str| NameServer { name: name.into(), addresses: vec!["192.0.2.53".into()] };
        let zone = |keys: usize| TenantZone {
            name: "tenant-12345.east.example.com".into(),
            serial: u32::MAX,
            addresses: vec!["192.0.2.101".into()],
            name_servers: vec![server("ns1.west.example.com"), server("ns1.east.example.com")],
            ttl_seconds: 5,
            link: "east-west".into(),
            target: "east".into(),
            epoch: 1_000,
            generation: 63,
            dnskeys: vec![vec![0; 68].into(); keys],
            ..TenantZone::default()
        };
        let bytes = |keys, count| {
            let tenants = vec![zone(keys); count];
            ApplyZonesRequest { tenants, ..ApplyZonesRequest::default() }.encoded_len()
        };
        assert!(bytes(0, 100_000) < MESSAGE_BYTES_MAX, "{}", bytes(0, 100_000));
        assert!(bytes(2, 50_000) < MESSAGE_BYTES_MAX, "{}", bytes(2, 50_000));
    }
}
