//! `switchback tenant` and `switchback directory`: the two kinds of content.

use anyhow::bail;
use clap::Subcommand;
use switchback_proto::model::v1::{Content, ContentKind};
use switchback_proto::store::v1::{
    ContentSummary, CreateContentRequest, DeleteContentRequest, ListContentsRequest, ReleaseContentRequest,
};

use super::{Context, Identified};
use crate::client::Operator;
use crate::view::content::{ContentView, ContentsView, DoneView};

pub(crate) use switchback_proto::model::v1::ContentKind as Kind;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make one.
    Create {
        /// 3-63 characters of a-z, 0-9 and "-".
        name: String,
        /// Words for people.
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        identified: Identified,
    },
    /// All of them.
    List,
    /// One of them.
    Show {
        /// Its name.
        name: String,
    },
    /// Delete an empty one that is on no link.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        identified: Identified,
    },
    /// Make one read-write here that was once on a link which this system has lost.
    Release {
        /// Its name.
        name: String,
        #[command(flatten)]
        identified: Identified,
    },
}

/// Names content to the services.
#[must_use]
pub(crate) fn content(kind: ContentKind, name: &str) -> Content {
    Content { kind: kind.into(), name: name.into(), ..Default::default() }
}

/// A tenant, to the services. The reserved tenant `default` owns the directories.
#[must_use]
pub(crate) fn tenant(name: &str) -> Content {
    content(ContentKind::Tenant, name)
}

/// The contents that `--tenant` and `--directory` name.
#[must_use]
pub(crate) fn contents(tenants: &[String], directories: &[String]) -> Vec<Content> {
    let tenants = tenants.iter().map(|name| content(ContentKind::Tenant, name));
    tenants.chain(directories.iter().map(|name| content(ContentKind::Directory, name))).collect()
}

fn noun(kind: ContentKind) -> &'static str {
    if kind == ContentKind::Directory { "directory" } else { "tenant" }
}

async fn list(operator: &Operator, kind: ContentKind) -> anyhow::Result<Vec<ContentSummary>> {
    let answer = operator.ask(operator.store().list_contents(ListContentsRequest {})).await?;
    let of_kind = |summary: &ContentSummary| {
        summary.content.as_ref().is_some_and(|content| content.kind == i32::from(kind))
    };
    Ok(answer.contents.into_iter().filter(of_kind).collect())
}

pub(crate) async fn run(kind: ContentKind, command: Command, context: &Context) -> anyhow::Result<()> {
    let (operator, noun) = (&context.operator, noun(kind));
    let mut store = operator.store();
    match command {
        Command::Create { name, description, identified } => {
            let request_id = identified.id();
            let request = CreateContentRequest {
                request_id: request_id.clone(),
                kind: kind.into(),
                name,
                description,
                ..Default::default()
            };
            let answer = operator.command(&request_id, store.create_content(request)).await?;
            context.format.print(&ContentView::from(answer.content.unwrap_or_default()));
        }
        Command::List => {
            let contents = list(operator, kind).await?.into_iter().map(Into::into).collect();
            context.format.print(&ContentsView { contents });
        }
        Command::Show { name } => {
            let named = |summary: &ContentSummary| {
                summary.content.as_ref().is_some_and(|content| content.name == name)
            };
            let Some(summary) = list(operator, kind).await?.into_iter().find(named) else {
                bail!("no {noun} is named {name}; `switchback {noun} list` shows them");
            };
            context.format.print(&ContentView::from(summary));
        }
        Command::Delete { name, identified } => {
            let request_id = identified.id();
            let content = Some(content(kind, &name));
            let request = DeleteContentRequest { request_id: request_id.clone(), content };
            operator.command(&request_id, store.delete_content(request)).await?;
            context.format.print(&DoneView { done: format!("deleted {noun} {name}") });
        }
        Command::Release { name, identified } => {
            let request_id = identified.id();
            let content = Some(content(kind, &name));
            let request = ReleaseContentRequest { request_id: request_id.clone(), content };
            operator.command(&request_id, store.release_content(request)).await?;
            context.format.print(&DoneView { done: format!("{noun} {name} is read-write here") });
        }
    }
    Ok(())
}
