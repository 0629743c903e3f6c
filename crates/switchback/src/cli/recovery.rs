//! `switchback link recovery`: the way back to the primary.

use clap::Subcommand;
use switchback_proto::link::v1::{CompleteRecoveryRequest, GetLinkRequest, LinkCommand};

use super::{Context, Planned, watch};
use crate::view::command::CommandView;
use crate::view::link::LinkView;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Let what changed on the replica flow to the primary, and the primary's own tail to the replica.
    Begin {
        /// The link.
        link: String,
        #[command(flatten)]
        planned: Planned,
    },
    /// What is left, how fast it goes, when it will be done.
    Status {
        /// The link.
        link: String,
        /// Show it as it changes, until the recovery has ended.
        #[arg(long, short)]
        watch: bool,
    },
    /// Make the replica read-only, move the rest, and give the primary its place back.
    Complete {
        /// The link.
        link: String,
        /// Although more is left than a minute's transfer.
        #[arg(long)]
        anyway: bool,
        #[command(flatten)]
        planned: Planned,
    },
}

pub(crate) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let operator = &context.operator;
    let mut links = operator.links();
    match command {
        Command::Begin { link, planned } => {
            let (request_id, plan) = (planned.identified.id(), planned.plan);
            let request = LinkCommand { request_id: request_id.clone(), plan, link };
            let answer = operator.command(&request_id, links.begin_recovery(request)).await?;
            context.format.print(&CommandView::new(request_id, plan, answer));
        }
        Command::Status { link, watch: true } => watch::until_recovered(&link, context).await?,
        Command::Status { link, watch: false } => {
            let answer = operator.ask(links.get_link(GetLinkRequest { link })).await?;
            context.format.print(&LinkView::from(answer.link.unwrap_or_default()));
        }
        Command::Complete { link, anyway, planned } => {
            let (request_id, plan) = (planned.identified.id(), planned.plan);
            let request = CompleteRecoveryRequest { request_id: request_id.clone(), plan, link, anyway };
            let answer = operator.command(&request_id, links.complete_recovery(request)).await?;
            context.format.print(&CommandView::new(request_id, plan, answer));
        }
    }
    Ok(())
}
