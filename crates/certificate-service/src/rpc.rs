//! `switchback.certificate.v1`: decode, carry out, encode.

use std::pin::Pin;
use std::sync::Arc;

use switchback_kit::grpc::refusal;
use switchback_model::{Incarnation, RequestId};
use switchback_proto::certificate::v1 as wire;
use switchback_proto::certificate::v1::certificate_service_server::CertificateService;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use crate::core::{self, Certificate, Refusal, State, Trusted, WallTime};
use crate::keeper::{Failure, Keeper};
use crate::{read, signer, store};

/// The service.
pub struct Certificates {
    keeper: Keeper,
    shutdown: CancellationToken,
}

impl Certificates {
    pub(crate) fn new(keeper: Keeper, shutdown: CancellationToken) -> Self {
        Self { keeper, shutdown }
    }
}

#[tonic::async_trait]
impl CertificateService for Certificates {
    async fn get_server_certificate(
        &self,
        _: Request<wire::GetServerCertificateRequest>,
    ) -> Result<Response<wire::GetServerCertificateResponse>, Status> {
        let state = self.keeper.state();
        let own = state.own.as_ref().map(|own| encode(&own.certificate, own.made, read::now()));
        Ok(Response::new(wire::GetServerCertificateResponse { certificate: own }))
    }

    async fn upload_certificate(
        &self,
        request: Request<wire::UploadCertificateRequest>,
    ) -> Result<Response<wire::UploadCertificateResponse>, Status> {
        let wire::UploadCertificateRequest { request_id, pem } = request.into_inner();
        let id = RequestId(request_id);
        let now = read::now();
        let command = move |state: &State, _: &_| {
            let offered = read::upload(&pem)?;
            core::upload(state, &id, offered, now).map_err(Failure::from)
        };
        let answer = self.keeper.command(command).await.map_err(status)?;
        Ok(Response::new(wire::UploadCertificateResponse {
            certificate: Some(encode(&answer.certificate, answer.uploaded, now)),
            already_trusted: answer.already_trusted,
            note: core::command::note(&self.keeper.state(), &answer.certificate, now),
        }))
    }

    async fn list_certificates(
        &self,
        _: Request<wire::ListCertificatesRequest>,
    ) -> Result<Response<wire::ListCertificatesResponse>, Status> {
        let now = read::now();
        let state = self.keeper.state();
        let one = |trusted: &Trusted| encode(&trusted.certificate, trusted.uploaded, now);
        let certificates = state.trusted.values().map(one).collect();
        Ok(Response::new(wire::ListCertificatesResponse { certificates }))
    }

    async fn delete_certificate(
        &self,
        request: Request<wire::DeleteCertificateRequest>,
    ) -> Result<Response<wire::DeleteCertificateResponse>, Status> {
        let wire::DeleteCertificateRequest { request_id, fingerprint } = request.into_inner();
        let id = RequestId(request_id);
        let now = read::now();
        let command = move |state: &State, _: &_| Ok(core::delete(state, &id, &fingerprint, now)?);
        let answer = self.keeper.command(command).await.map_err(status)?;
        let certificate = Some(encode(&answer.certificate, answer.uploaded, now));
        Ok(Response::new(wire::DeleteCertificateResponse { certificate }))
    }

    async fn renew_server_certificate(
        &self,
        request: Request<wire::RenewServerCertificateRequest>,
    ) -> Result<Response<wire::RenewServerCertificateResponse>, Status> {
        let wire::RenewServerCertificateRequest { request_id, new_incarnation } = request.into_inner();
        let id = RequestId(request_id);
        let now = read::now();
        let command = move |state: &State, config: &crate::Config| {
            let kept = state.own.as_ref().map(|own| own.certificate.incarnation);
            let incarnation: Incarnation = match kept.filter(|_| !new_incarnation) {
                Some(kept) => kept,
                None => signer::new_incarnation().map_err(Failure::Sign)?,
            };
            let made =
                signer::make(config.system_id, incarnation, &config.domain, now).map_err(Failure::Sign)?;
            Ok(core::renew(state, &id, new_incarnation, made)?)
        };
        let answer = self.keeper.command(command).await.map_err(status)?;
        let certificate = Some(encode(&answer.certificate, answer.uploaded, now));
        Ok(Response::new(wire::RenewServerCertificateResponse { certificate }))
    }

    type WatchIdentityStream = Pin<Box<dyn Stream<Item = Result<wire::Identity, Status>> + Send>>;

    async fn watch_identity(
        &self,
        _: Request<wire::WatchIdentityRequest>,
    ) -> Result<Response<Self::WatchIdentityStream>, Status> {
        // Each change of the state is a message, also one that changes only the answers: there are
        // a few a year. A slow watcher skips to the newest.
        let states = WatchStream::new(self.keeper.watch());
        let identities = states.filter_map(|state| identity(&state)).map(Ok);
        let ended = self.shutdown.clone().cancelled_owned();
        let until = futures::StreamExt::take_until(identities, ended);
        // Not an end but a pause, which a watcher must not take for the last word.
        let farewell = tokio_stream::once(Err(Status::unavailable("the certificate service is stopping")));
        Ok(Response::new(Box::pin(until.chain(farewell))))
    }
}

/// None only before there is an identity, which is made before anything is served.
fn identity(state: &Arc<State>) -> Option<wire::Identity> {
    let own = state.own.as_ref()?;
    Some(wire::Identity {
        system_id: own.certificate.system_id.as_bytes().to_vec().into(),
        incarnation: own.certificate.incarnation.0,
        certificate: own.certificate.der.clone().into(),
        private_key: own.key.0.clone().into(),
        trusted: state.trusted.values().map(|trusted| trusted.certificate.der.clone().into()).collect(),
        withdrawn: state.withdrawn.keys().map(|fingerprint| store::key(fingerprint).into()).collect(),
    })
}

fn encode(certificate: &Certificate, uploaded: WallTime, now: WallTime) -> wire::Certificate {
    let milliseconds = |time: WallTime| i64::try_from(time.0).unwrap_or(i64::MAX);
    wire::Certificate {
        fingerprint: certificate.fingerprint.to_string(),
        pem: read::pem(&certificate.der),
        subject: certificate.subject.clone(),
        not_before_unix_ms: milliseconds(certificate.not_before),
        not_after_unix_ms: milliseconds(certificate.not_after),
        domain: certificate.domain.clone(),
        system_id: certificate.system_id.as_bytes().to_vec().into(),
        incarnation: certificate.incarnation.0,
        validity: certificate.validity(now).to_string(),
        uploaded_unix_ms: milliseconds(uploaded),
    }
}

/// The only map from refusals to codes.
fn status(failure: Failure) -> Status {
    let refused = match failure {
        Failure::Refused(refused) => refused,
        Failure::Sign(error) => {
            tracing::error!(error = error.to_string(), "certificate could not be made");
            return Status::internal(error.to_string());
        }
        Failure::State => {
            return Status::unavailable("the state failed; the service is restarting, try again");
        }
    };
    let code = match refused {
        Refusal::NotPem
        | Refusal::HoldsPrivateKey
        | Refusal::SeveralCertificates { .. }
        | Refusal::TooLarge
        | Refusal::Damaged
        | Refusal::Authority
        | Refusal::NamesNoSystem
        | Refusal::Unusable { .. }
        | Refusal::WeakKey { .. }
        | Refusal::NotAFingerprint
        | Refusal::Ambiguous { .. }
        | Refusal::BadRequestId => Code::InvalidArgument,
        Refusal::Unknown { .. } => Code::NotFound,
        Refusal::OwnCertificate
        | Refusal::Expired { .. }
        | Refusal::DeletesOwn { .. }
        | Refusal::ReusedRequestId => Code::FailedPrecondition,
        Refusal::TooMany { .. } => Code::ResourceExhausted,
    };
    refusal(code, refused.reason(), refused.to_string(), None)
}
