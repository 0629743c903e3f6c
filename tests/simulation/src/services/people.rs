//! The operator: gives commands as they come, and looks at what the systems say.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use switchback_kit::config::Source;
use switchback_kit::grpc::{self, Channel};
use switchback_kit::secret::Secret;
use switchback_proto::certificate::v1::certificate_service_client::CertificateServiceClient;
use switchback_proto::certificate::v1::{
    DeleteCertificateRequest, GetServerCertificateRequest, ListCertificatesRequest,
    RenewServerCertificateRequest, UploadCertificateRequest,
};
use switchback_proto::link::v1::link_service_client::LinkServiceClient;
use switchback_proto::link::v1::{
    CompleteRecoveryRequest, ContentCommand, CreateLinkRequest, DeclareLostRequest, FailOverRequest,
    GetLinkRequest, Link, LinkCommand, LinkSettings, UpdateLinkRequest,
};
use switchback_proto::model::v1::{Content, ContentKind};
use switchback_proto::store::v1::store_service_client::StoreServiceClient;
use switchback_proto::store::v1::{CreateContentRequest, CreateCredentialRequest, CreateNamespaceRequest};
use tonic::{Response, Status};

use crate::plan::Command;
use crate::services::story::Story;
use crate::site::{LINK_PORT, NAME, NAMESPACE, Place, Service, System};

/// A command without an answer is given up after this; the operator looks again then.
const PATIENCE: Duration = Duration::from_secs(30);

/// An operator at one system.
pub struct Operator {
    system: System,
    links: LinkServiceClient<Channel>,
    store: StoreServiceClient<Channel>,
    certificates: CertificateServiceClient<Channel>,
}

/// Awaits an answer; what went wrong in words.
async fn ask<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> anyhow::Result<T> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(anyhow!("{:?}: {}", status.code(), status.message())),
        Err(_) => Err(anyhow!("no answer")),
    }
}

fn tenant() -> Content {
    Content { kind: ContentKind::Tenant.into(), name: NAME.into(), id: Vec::new().into() }
}

fn request_id() -> anyhow::Result<String> {
    Ok(hex::encode(switchback_kit::world::random::number()?.to_be_bytes()))
}

impl Operator {
    /// At the present life of `system`.
    ///
    /// # Errors
    /// Its configuration cannot be read: it is being rebuilt.
    pub fn at(story: &Story, system: System) -> anyhow::Result<Self> {
        let source = Source::load(&story.folder(system).join("switchback.toml"))?;
        let secret = Secret::load(&source.system()?.secret_file)?;
        let channel = |service| grpc::channel(&Place(system, service).address(), &secret);
        Ok(Self {
            system,
            links: LinkServiceClient::new(channel(Service::LinkManager)?),
            store: StoreServiceClient::new(channel(Service::DataMover)?),
            certificates: CertificateServiceClient::new(channel(Service::CertificateService)?),
        })
    }

    /// What the system says of the link.
    ///
    /// # Errors
    /// It says nothing, or has no such link.
    pub async fn link(&mut self) -> anyhow::Result<Link> {
        let answer = ask(self.links.get_link(GetLinkRequest { link: NAME.into() })).await?;
        answer.link.context("no link")
    }

    /// Gives the certificate of this system to `other`.
    ///
    /// # Errors
    /// Either does not answer.
    pub async fn introduce(&mut self, other: &mut Self) -> anyhow::Result<()> {
        let shown = ask(self.certificates.get_server_certificate(GetServerCertificateRequest {})).await?;
        let pem = shown.certificate.unwrap_or_default().pem;
        let request = UploadCertificateRequest { request_id: request_id()?, pem };
        ask(other.certificates.upload_certificate(request)).await?;
        Ok(())
    }

    /// Deletes every certificate of the other system here.
    ///
    /// # Errors
    /// Refused or unanswered.
    pub async fn distrust(&mut self) -> anyhow::Result<()> {
        let trusted = ask(self.certificates.list_certificates(ListCertificatesRequest {})).await?;
        let domain = self.system.other().domain();
        for certificate in trusted.certificates.into_iter().filter(|one| one.domain == domain) {
            let fingerprint = certificate.fingerprint;
            let request = DeleteCertificateRequest { request_id: request_id()?, fingerprint };
            ask(self.certificates.delete_certificate(request)).await?;
        }
        Ok(())
    }

    /// A new identity, for a system whose store was lost.
    ///
    /// # Errors
    /// Refused or unanswered.
    pub async fn renew(&mut self, new_incarnation: bool) -> anyhow::Result<()> {
        let request = RenewServerCertificateRequest { request_id: request_id()?, new_incarnation };
        ask(self.certificates.renew_server_certificate(request)).await?;
        Ok(())
    }

    /// The tenant with its namespace and credential, made here.
    ///
    /// # Errors
    /// Refused or unanswered.
    pub async fn create_tenant(&mut self) -> anyhow::Result<(String, String)> {
        let request = CreateContentRequest {
            request_id: request_id()?,
            kind: ContentKind::Tenant.into(),
            name: NAME.into(),
            description: String::new(),
            ..Default::default()
        };
        ask(self.store.create_content(request)).await?;
        let request =
            CreateNamespaceRequest { content: Some(tenant()), name: NAMESPACE.into(), ..Default::default() };
        ask(self.store.create_namespace(request)).await?;
        let request = CreateCredentialRequest { content: Some(tenant()), ..Default::default() };
        let credential =
            ask(self.store.create_credential(request)).await?.credential.context("no credential")?;
        Ok((credential.access_key, credential.secret_key))
    }

    /// The link, from here to the other system.
    ///
    /// # Errors
    /// Refused or unanswered.
    pub async fn create_link(&mut self) -> anyhow::Result<()> {
        let request = CreateLinkRequest {
            request_id: request_id()?,
            plan: false,
            name: NAME.into(),
            peer_address: format!("{}:{LINK_PORT}", self.system.other()),
            contents: vec![tenant()],
            settings: Some(LinkSettings { dns_failover: true, ..Default::default() }),
        };
        ask(self.links.create_link(request)).await?;
        Ok(())
    }

    /// Gives `command`.
    ///
    /// # Errors
    /// Refused or unanswered.
    pub async fn give(&mut self, story: &Story, command: Command) -> anyhow::Result<()> {
        let link = || NAME.to_owned();
        let plain = LinkCommand { request_id: request_id()?, plan: false, link: link() };
        let about_content =
            ContentCommand { request_id: request_id()?, plan: false, link: link(), content: Some(tenant()) };
        let fail_over = FailOverRequest { request_id: request_id()?, link: link(), ..Default::default() };
        let links = &mut self.links;
        match command {
            Command::FailOver => ask(links.fail_over(fail_over)).await,
            Command::FailOverWithoutDrain => {
                ask(links.fail_over(FailOverRequest { no_drain: true, ..fail_over })).await
            }
            Command::FailOverAcceptingLoss => {
                ask(links.fail_over(FailOverRequest { accept_loss: link(), ..fail_over })).await
            }
            Command::BeginRecovery => ask(links.begin_recovery(plain)).await,
            Command::CompleteRecovery => {
                let request =
                    CompleteRecoveryRequest { request_id: request_id()?, link: link(), ..Default::default() };
                ask(links.complete_recovery(request)).await
            }
            Command::Restore => ask(links.restore_link(plain)).await,
            Command::DeclareLost => {
                let request = DeclareLostRequest {
                    request_id: request_id()?,
                    plan: false,
                    link: link(),
                    confirm: link(),
                };
                ask(links.declare_lost(request)).await
            }
            Command::Suspend => ask(links.suspend_link(plain)).await,
            Command::Resume => ask(links.resume_link(plain)).await,
            Command::Pause => ask(links.pause_content(about_content)).await,
            Command::Unpause => ask(links.resume_content(about_content)).await,
            Command::Update => {
                let request = UpdateLinkRequest {
                    request_id: request_id()?,
                    link: link(),
                    description: Some(format!("described on {}", self.system)),
                    ..Default::default()
                };
                ask(links.update_link(request)).await
            }
            Command::Distrust => return self.distrust().await,
            Command::RenewCertificate => return self.renew(false).await,
            Command::ExchangeCertificates => {
                let mut other = Self::at(story, self.system.other())?;
                self.introduce(&mut other).await?;
                return other.introduce(self).await;
            }
        }
        .map(|_| ())
    }
}

/// Makes the systems know each other, the tenant and the link, and waits until both hold the same.
///
/// # Errors
/// Something is refused although nothing is wrong yet.
pub async fn set_up(story: &Story) -> anyhow::Result<()> {
    let mut east = Operator::at(story, System::East)?;
    patiently(async || {
        Operator::at(story, System::West)?.introduce(&mut Operator::at(story, System::East)?).await
    })
    .await?;
    patiently(async || {
        Operator::at(story, System::East)?.introduce(&mut Operator::at(story, System::West)?).await
    })
    .await?;
    let (access_key, secret_key) = east.create_tenant().await?;
    *story.credentials.borrow_mut() = Some(rusty_s3::Credentials::new(access_key, secret_key));
    patiently(async || Operator::at(story, System::East)?.create_link().await).await?;
    patiently(async || {
        let link = Operator::at(story, System::West)?.link().await?;
        anyhow::ensure!(link.healthy && link.in_sync, "not in sync: {}", link.troubles.join("; "));
        Ok(())
    })
    .await
}

/// Tries `work` for a while: services that start find each other one after the other.
async fn patiently(work: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut tries = 0;
    loop {
        match work().await {
            Err(_) if tries < 50 => tries += 1,
            ended => return ended,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
