//! `switchback status`.

use std::time::Duration;

use switchback_proto::link::v1::ListLinksRequest;
use switchback_proto::store::v1::ListContentsRequest;

use super::{Context, system};
use crate::client::Operator;
use crate::output::{Format, emit};
use crate::view::content::ContentsView;
use crate::view::link::LinksView;
use crate::view::system::StatusView;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show it again every second.
    #[arg(long, short)]
    watch: bool,
}

/// Clears the screen and goes to its top (ECMA-48 CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(crate) async fn run(arguments: Arguments, context: &Context) -> anyhow::Result<()> {
    loop {
        let view = view(&context.operator).await?;
        if !arguments.watch {
            context.format.print(&view);
            return Ok(());
        }
        if context.format == Format::Table {
            emit(CLEAR);
        }
        context.format.print_one_of_many(&view);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn view(operator: &Operator) -> anyhow::Result<StatusView> {
    let system = system::view(operator).await?;
    let mut troubles = Vec::new();
    let links = operator.ask(operator.links().list_links(ListLinksRequest {})).await;
    let links = links.map_err(|error| troubles.push(format!("links: {error}"))).ok();
    let contents = operator.ask(operator.store().list_contents(ListContentsRequest {})).await;
    let contents = contents.map_err(|error| troubles.push(format!("contents: {error}"))).ok();
    Ok(StatusView {
        system,
        links: links.map(|answer| LinksView::from(answer.links)),
        contents: contents
            .map(|answer| ContentsView { contents: answer.contents.into_iter().map(Into::into).collect() }),
        troubles,
    })
}
