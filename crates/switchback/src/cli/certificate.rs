//! `switchback certificate`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use switchback_proto::certificate::v1::{
    DeleteCertificateRequest, GetServerCertificateRequest, ListCertificatesRequest,
    RenewServerCertificateRequest, UploadCertificateRequest,
};

use super::{Context, Identified};
use crate::output::emit;
use crate::view::certificate::{CertificateView, CertificatesView};
use crate::view::content::DoneView;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// This system's replication server certificate.
    Show {
        /// Only the certificate itself, to be uploaded to the other system.
        #[arg(long)]
        pem: bool,
    },
    /// Trust another system's certificate, from its next connection on.
    Upload {
        /// PEM; `-` reads standard input.
        file: PathBuf,
        #[command(flatten)]
        identified: Identified,
    },
    /// The systems that are trusted.
    List,
    /// End trust in a certificate, and the connections that rest on it.
    Delete {
        /// The fingerprint, or its first digits.
        fingerprint: String,
        #[command(flatten)]
        identified: Identified,
    },
    /// Make a fresh key and certificate; the other system must then be given it.
    Renew {
        /// Also begin a new incarnation: the store was lost or rolled back.
        #[arg(long)]
        new_incarnation: bool,
        #[command(flatten)]
        identified: Identified,
    },
}

pub(crate) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let operator = &context.operator;
    let mut service = operator.certificates();
    match command {
        Command::Show { pem } => {
            let answer = operator.ask(service.get_server_certificate(GetServerCertificateRequest {})).await?;
            let certificate = CertificateView::from(answer.certificate.unwrap_or_default());
            if pem {
                emit(&certificate.pem);
            } else {
                context.format.print(&certificate);
            }
        }
        Command::Upload { file, identified } => {
            let pem = if file.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin()).context("read standard input")?
            } else {
                std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?
            };
            let request_id = identified.id();
            let request = UploadCertificateRequest { request_id: request_id.clone(), pem };
            let answer = operator.command(&request_id, service.upload_certificate(request)).await?;
            context.format.print(&CertificateView::from(answer.certificate.unwrap_or_default()));
        }
        Command::List => {
            let answer = operator.ask(service.list_certificates(ListCertificatesRequest {})).await?;
            let certificates = answer.certificates.into_iter().map(Into::into).collect();
            context.format.print(&CertificatesView { certificates });
        }
        Command::Delete { fingerprint, identified } => {
            let request_id = identified.id();
            let request = DeleteCertificateRequest { request_id: request_id.clone(), fingerprint };
            let answer = operator.command(&request_id, service.delete_certificate(request)).await?;
            let certificate = answer.certificate.unwrap_or_default();
            let done = format!("{} ({}) is no longer trusted", certificate.domain, certificate.fingerprint);
            context.format.print(&DoneView { done });
        }
        Command::Renew { new_incarnation, identified } => {
            let request_id = identified.id();
            let request = RenewServerCertificateRequest { request_id: request_id.clone(), new_incarnation };
            let answer = operator.command(&request_id, service.renew_server_certificate(request)).await?;
            context.format.print(&CertificateView::from(answer.certificate.unwrap_or_default()));
        }
    }
    Ok(())
}
