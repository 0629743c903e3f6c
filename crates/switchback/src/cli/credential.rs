//! `switchback credential`.

use clap::{Args, Subcommand};
use switchback_model::{Grant, Rights};
use switchback_proto::rights;
use switchback_proto::store::v1::{
    CreateCredentialRequest, DeleteCredentialRequest, ListCredentialsRequest, SetCredentialRightsRequest,
};

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
        /// What it may do (NAMESPACE=RIGHTS, such as `photos=read,write` or `logs-*=read`; may be repeated).
        /// Without one: everything.
        #[arg(long, value_name = "NAMESPACE=RIGHTS")]
        grant: Vec<Grant>,
    },
    /// Replace what one may do. Gateways heed it within a second.
    SetRights {
        /// The access key.
        access_key: String,
        /// Whose.
        #[arg(long)]
        tenant: String,
        #[command(flatten)]
        rights: Given,
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

/// Rights that replace those of before, which must be said: none of the three is what was meant by nothing.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Given {
    /// What it may do: read, write, delete, administer or all, of a namespace or, with a `*` at the end, of
    /// all whose names begin so; may be repeated.
    #[arg(long, value_name = "NAMESPACE=RIGHTS")]
    grant: Vec<Grant>,
    /// Everything in all namespaces.
    #[arg(long)]
    all: bool,
    /// Nothing but what policies of buckets allow it.
    #[arg(long)]
    none: bool,
}

pub(crate) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let operator = &context.operator;
    let mut store = operator.store();
    match command {
        Command::Create { tenant: owner, description, access_key, secret_key, grant } => {
            let given = if grant.is_empty() { Rights::All } else { Rights::Granted(grant) };
            let request = CreateCredentialRequest {
                content: Some(tenant(&owner)),
                description,
                access_key: access_key.unwrap_or_default(),
                secret_key: secret_key.unwrap_or_default(),
                rights: rights::to_wire(&given),
            };
            let answer = operator.ask(store.create_credential(request)).await?;
            context.format.print(&CredentialView::from(answer.credential.unwrap_or_default()));
        }
        Command::SetRights { access_key, tenant: owner, rights: given } => {
            let given = if given.all { Rights::All } else { Rights::Granted(given.grant) };
            let (content, rights) = (Some(tenant(&owner)), rights::to_wire(&given));
            let request = SetCredentialRightsRequest { content, access_key, rights };
            let answer = operator.ask(store.set_credential_rights(request)).await?;
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
