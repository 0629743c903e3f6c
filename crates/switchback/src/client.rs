//! The operator's side of a system: one channel to its gateway, which forwards each call to the
//! service it is for. The commands of the CLI, the lab and the demo all go through here.

use std::path::Path;
use std::time::Duration;

use switchback_kit::config::{self, Source};
use switchback_kit::grpc::{self, Channel};
use switchback_kit::secret::Secret;
use switchback_proto::certificate::v1::certificate_service_client::CertificateServiceClient;
use switchback_proto::dns::v1::dns_service_client::DnsServiceClient;
use switchback_proto::link::v1::link_service_client::LinkServiceClient;
use switchback_proto::mover::v1::mover_service_client::MoverServiceClient;
use switchback_proto::store::v1::store_service_client::StoreServiceClient;
use tonic::{Code, Response, Status};

/// The longest answer is a page of divergences; 16 MiB leaves room for long keys.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A failover waits for its fence and then drains, each for a time that the link sets; a command
/// that takes longer than this has lost its answer, and can be repeated with its request id.
const CALL_TIME_MAX: Duration = Duration::from_secs(120);

/// Why an operator's command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration or the secret cannot be used.
    #[error("{0:#}")]
    Setup(anyhow::Error),
    /// The system does not answer.
    #[error(
        "the gateway at {address} cannot be reached ({message}); is the system running? `switchback up --config FILE` starts it"
    )]
    Unreachable {
        /// Where it was sought.
        address: String,
        /// What the connection said.
        message: String,
    },
    /// The system answered, and not with success. The text is the service's own, next step included.
    #[error("{message}")]
    Refused {
        /// The kind of refusal.
        code: Code,
        /// What scripts switch on; empty when the service gave none.
        reason: String,
        /// For people.
        message: String,
    },
    /// No answer in time.
    #[error(
        "no answer within {} s; look with `switchback status`, then repeat the command with --request-id {request_id} to learn how it ended",
        CALL_TIME_MAX.as_secs()
    )]
    Late {
        /// The request id of the command, or `-` for a question.
        request_id: String,
    },
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self::Setup(error.into())
    }
}

/// An operator at one system.
#[derive(Clone, Debug)]
pub struct Operator {
    source: Source,
    address: String,
    channel: Channel,
}

impl Operator {
    /// The operator of the system that the file `config` describes. Connects at the first call.
    ///
    /// # Errors
    /// The configuration or the secret cannot be read.
    pub fn open(config: &Path) -> Result<Self, Error> {
        let source = Source::load(config)?;
        let secret = Secret::load(&source.system()?.secret_file).map_err(|error| {
            Error::Setup(anyhow::Error::new(error).context("cannot read the system's secret"))
        })?;
        let address = source.services()?.gateway;
        let channel = grpc::channel(&address, &secret).map_err(Error::Setup)?;
        Ok(Self { source, address, channel })
    }

    /// The system's configuration.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Links and the system log.
    #[must_use]
    pub fn links(&self) -> LinkServiceClient<Channel> {
        LinkServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Tenants, directories, namespaces, credentials.
    #[must_use]
    pub fn store(&self) -> StoreServiceClient<Channel> {
        StoreServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The data mover's own state.
    #[must_use]
    pub fn mover(&self) -> MoverServiceClient<Channel> {
        MoverServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Identity and trust.
    #[must_use]
    pub fn certificates(&self) -> CertificateServiceClient<Channel> {
        CertificateServiceClient::new(self.channel.clone())
    }

    /// Zones.
    #[must_use]
    pub fn dns(&self) -> DnsServiceClient<Channel> {
        DnsServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Awaits a question's answer.
    ///
    /// # Errors
    /// Refused, unreachable or late.
    pub async fn ask<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
        self.command("-", call).await
    }

    /// Awaits the answer to a command that carries `request_id`.
    ///
    /// # Errors
    /// Refused, unreachable or late.
    pub async fn command<T>(
        &self,
        request_id: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(CALL_TIME_MAX, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.refusal(&status)),
            Err(_) => Err(Error::Late { request_id: request_id.into() }),
        }
    }

    /// What a failed call means to the operator.
    #[must_use]
    pub fn refusal(&self, status: &Status) -> Error {
        // A status made by our own transport has the connection's error as its source; one that
        // the gateway sent has not.
        let ours = std::error::Error::source(status).is_some();
        if ours && matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) {
            let mut message = status.message().to_owned();
            let mut cause = std::error::Error::source(status);
            while let Some(error) = cause {
                message = error.to_string();
                cause = error.source();
            }
            return Error::Unreachable { address: self.address.clone(), message };
        }
        Error::Refused {
            code: status.code(),
            reason: grpc::reason(status).map(|detail| detail.reason).unwrap_or_default(),
            message: status.message().to_owned(),
        }
    }
}

/// A fresh request id.
#[must_use]
pub fn request_id() -> String {
    let mut id = [0; 8];
    // Without randomness no TLS and no credential works either; an id from the clock still differs
    // from call to call.
    if getrandom::fill(&mut id).is_err() {
        id = crate::time::now_unix_ms().to_be_bytes();
    }
    hex::encode(id)
}
