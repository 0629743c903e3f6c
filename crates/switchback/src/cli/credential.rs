//! `switchback credential`.

use clap::Subcommand;
use switchback_proto::store::v1::{CreateCredentialRequest, DeleteCredentialRequest, ListCredentialsRequest};

use super::Context;
use super::content::tenant;
use crate::view::content::{CredentialView, CredentialsView, DoneView};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make one, or import one; its secret key is shown once.
    Create {
        /// Whose; `default` owns the directories.
        #[arg(long)]
        tenant: String,
        /// Words for people.
        #[arg(long, default_value = "")]
        description: String,
        /// Import this access key instead of making one.
        #[arg(long, requires = "secret_key")]
        access_key: Option<String>,
        /// Import this secret key; from the environment it leaves no trace in the process list.
        #[arg(long, requires = "access_key", env = "SWITCHBACK_SECRET_KEY", hide_env_values = true)]
        secret_key: Option<String>,
    },
    /// All of a tenant's, without their secrets.
    List {
        /// Whose.
        #[arg(long)]
        tenant: String,
    },
    /// Delete one: requests signed with it are refused from then on.
    Delete {
        /// The access key.
        access_key: String,
        /// Whose.
        #[arg(long)]
        tenant: String,
    },
}

pub(crate) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let operator = &context.operator;
    let mut store = operator.store();
    match command {
        Command::Create { tenant: owner, description, access_key, secret_key } => {
            let request = CreateCredentialRequest {
                content: Some(tenant(&owner)),
                description,
                access_key: access_key.unwrap_or_default(),
                secret_key: secret_key.unwrap_or_default(),
            };
            let answer = operator.ask(store.create_credential(request)).await?;
            context.format.print(&CredentialView::from(answer.credential.unwrap_or_default()));
        }
        Command::List { tenant: owner } => {
            let request = ListCredentialsRequest { content: Some(tenant(&owner)) };
            let answer = operator.ask(store.list_credentials(request)).await?;
            let credentials = answer.credentials.into_iter().map(Into::into).collect();
            context.format.print(&CredentialsView { credentials });
        }
        Command::Delete { access_key, tenant: owner } => {
            let request =
                DeleteCredentialRequest { content: Some(tenant(&owner)), access_key: access_key.clone() };
            operator.ask(store.delete_credential(request)).await?;
            context.format.print(&DoneView { done: format!("deleted credential {access_key} of {owner}") });
        }
    }
    Ok(())
}
