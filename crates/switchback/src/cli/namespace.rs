//! `switchback namespace`.

use clap::Subcommand;
use switchback_proto::store::v1::{CreateNamespaceRequest, DeleteNamespaceRequest, ListNamespacesRequest};

use super::Context;
use super::content::tenant;
use crate::view::content::{DoneView, NamespaceView, NamespacesView};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make one.
    Create {
        /// A valid S3 bucket name.
        name: String,
        /// Whose.
        #[arg(long)]
        tenant: String,
    },
    /// All of a tenant's.
    List {
        /// Whose.
        #[arg(long)]
        tenant: String,
    },
    /// Delete an empty one.
    Delete {
        /// Its name.
        name: String,
        /// Whose.
        #[arg(long)]
        tenant: String,
    },
}

pub(crate) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let operator = &context.operator;
    let mut store = operator.store();
    match command {
        Command::Create { name, tenant: owner } => {
            let request =
                CreateNamespaceRequest { content: Some(tenant(&owner)), name, ..Default::default() };
            let answer = operator.ask(store.create_namespace(request)).await?;
            let namespace = NamespaceView::from(answer.namespace.unwrap_or_default());
            context.format.print(&NamespacesView { namespaces: vec![namespace] });
        }
        Command::List { tenant: owner } => {
            let request = ListNamespacesRequest { content: Some(tenant(&owner)) };
            let answer = operator.ask(store.list_namespaces(request)).await?;
            let namespaces = answer.namespaces.into_iter().map(Into::into).collect();
            context.format.print(&NamespacesView { namespaces });
        }
        Command::Delete { name, tenant: owner } => {
            let request = DeleteNamespaceRequest { content: Some(tenant(&owner)), name: name.clone() };
            operator.ask(store.delete_namespace(request)).await?;
            context.format.print(&DoneView { done: format!("deleted namespace {name} of tenant {owner}") });
        }
    }
    Ok(())
}
