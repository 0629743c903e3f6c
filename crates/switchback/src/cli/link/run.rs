//! What the commands of `switchback link` do.

use std::time::{Duration, Instant};

use switchback_proto::dns::v1::ListSecondariesRequest;
use switchback_proto::link::v1 as proto;

use super::super::{Context, recovery, watch};
use super::{Command, Epochs};
use crate::client::Operator;
use crate::view::command::CommandView;
use crate::view::content::DoneView;
use crate::view::dns::{FollowedView, NameServersView};
use crate::view::link::{LinkView, LinksView};
use crate::view::report::{DivergencesView, RetriesView};

/// Name servers that are well follow in a tenth of it.
const SETTLING: Duration = Duration::from_secs(2);
/// Divergences asked for at a time.
const PAGE: u32 = 1000;

pub(crate) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let operator = &context.operator;
    let mut links = operator.links();
    match command {
        Command::List => {
            let answer = operator.ask(links.list_links(proto::ListLinksRequest {})).await?;
            context.format.print(&LinksView::from(answer.links));
        }
        Command::Show { link, watch: true } => watch::forever(&link, context).await?,
        Command::Show { link, watch: false } => {
            let answer = operator.ask(links.get_link(proto::GetLinkRequest { link })).await?;
            let view = LinkView::from(answer.link.unwrap_or_default());
            let name_servers = name_servers(operator, &view).await;
            context.format.print(&FollowedView { view, name_servers });
        }
        Command::Recovery(command) => Box::pin(recovery::run(command, context)).await?,
        Command::Divergences { link, epochs } => {
            let report = divergences(operator, &link, epochs).await?;
            context.format.print(&DivergencesView::from(report));
        }
        Command::Retries { link } => {
            let answer = operator.ask(links.list_retries(proto::ListRetriesRequest { link })).await?;
            let retries = answer.retries.into_iter().map(Into::into).collect();
            context.format.print(&RetriesView { retries });
        }
        Command::SetAside { link, which, namespace, key, identified } => {
            let request_id = identified.id();
            let done = format!("{namespace}/{key} is set aside; recovery may complete without it");
            let request = proto::SetAsideRequest {
                request_id: request_id.clone(),
                link,
                content: which.content(),
                namespace,
                key,
            };
            operator.command(&request_id, links.set_aside(request)).await?;
            context.format.print(&DoneView { done });
        }
        changing => {
            let moves = matches!(changing, Command::FailOver { .. });
            let Some(view) = Box::pin(change(changing, operator)).await? else { return Ok(()) };
            let name_servers = match &view.link {
                Some(link) if moves && !view.plan => settled_name_servers(operator, link).await,
                _ => NameServersView::default(),
            };
            context.format.print(&FollowedView { view, name_servers });
        }
    }
    Ok(())
}

/// How far those that follow this system have followed the link. A broadcaster that is down is no reason
/// to show nothing of a link.
async fn name_servers(operator: &Operator, link: &LinkView) -> NameServersView {
    if !link.dns_failover {
        return NameServersView::default();
    }
    let request = ListSecondariesRequest { link: link.name.clone() };
    let answer = operator.ask(operator.dns().list_secondaries(request)).await.unwrap_or_default();
    NameServersView::of(answer, link.epoch)
}

/// The same once all of them follow, or some time after the failover, which did not wait for them.
async fn settled_name_servers(operator: &Operator, link: &LinkView) -> NameServersView {
    let until = Instant::now() + SETTLING;
    loop {
        let seen = name_servers(operator, link).await;
        if seen.follow() || Instant::now() >= until {
            return seen;
        }
        tokio::time::sleep(SETTLING / 20).await;
    }
}

/// The divergence report of a link, all pages of it in one.
pub(crate) async fn divergences(
    operator: &Operator,
    link: &str,
    epochs: Epochs,
) -> anyhow::Result<proto::ListDivergencesResponse> {
    let mut found = proto::ListDivergencesResponse::default();
    loop {
        let request = proto::ListDivergencesRequest {
            link: link.into(),
            divergences_max: PAGE,
            page_token: found.next_page_token,
            epoch_min: epochs.epoch.or(epochs.since_epoch).unwrap_or(0),
            epoch_max: epochs.epoch,
        };
        let answer = operator.ask(operator.links().list_divergences(request)).await?;
        found.divergences.extend(answer.divergences);
        found.absences.extend(answer.absences);
        found.next_page_token = answer.next_page_token;
        if found.next_page_token.is_empty() {
            return Ok(found);
        }
    }
}

/// The commands that have a plan; nothing for those that [`run`] answers itself.
async fn change(command: Command, operator: &Operator) -> anyhow::Result<Option<CommandView>> {
    let mut links = operator.links();
    let planned = match &command {
        Command::Create(create) => &create.planned,
        Command::Update(update) => &update.planned,
        Command::Suspend(named) | Command::Restore(named) => &named.planned,
        Command::Resume(resumed) => &resumed.planned,
        Command::Pause(one) => &one.planned,
        Command::Delete { planned, .. }
        | Command::FailOver { planned, .. }
        | Command::DeclareLost { planned, .. } => planned,
        Command::List
        | Command::Show { .. }
        | Command::Recovery(_)
        | Command::Divergences { .. }
        | Command::Retries { .. }
        | Command::SetAside { .. } => return Ok(None),
    };
    let (id, plan) = (planned.identified.id(), planned.plan);
    let request_id = id.clone();
    let named = |link: String| proto::LinkCommand { request_id: request_id.clone(), plan, link };
    let answer = match command {
        Command::Create(create) => {
            operator.command(&id, links.create_link(create.request(id.clone()))).await?
        }
        Command::Update(update) => {
            operator.command(&id, links.update_link(update.request(id.clone()))).await?
        }
        Command::Delete { link, without_peer, .. } => {
            let request = proto::DeleteLinkRequest { request_id, plan, link, without_peer };
            operator.command(&id, links.delete_link(request)).await?
        }
        Command::Suspend(suspend) => operator.command(&id, links.suspend_link(named(suspend.link))).await?,
        Command::Restore(restore) => operator.command(&id, links.restore_link(named(restore.link))).await?,
        Command::Resume(resume) => match resume.content() {
            None => operator.command(&id, links.resume_link(named(resume.link))).await?,
            content => {
                let request = proto::ContentCommand { request_id, plan, link: resume.link, content };
                operator.command(&id, links.resume_content(request)).await?
            }
        },
        Command::Pause(pause) => {
            let content = pause.which.content();
            let request = proto::ContentCommand { request_id, plan, link: pause.link, content };
            operator.command(&id, links.pause_content(request)).await?
        }
        Command::FailOver { link, no_drain, accept_loss, .. } => {
            let request = proto::FailOverRequest { request_id, plan, link, no_drain, accept_loss };
            operator.command(&id, links.fail_over(request)).await?
        }
        Command::DeclareLost { link, confirm, .. } => {
            let request =
                proto::DeclareLostRequest { request_id, plan, link, confirm: confirm.unwrap_or_default() };
            operator.command(&id, links.declare_lost(request)).await?
        }
        Command::List
        | Command::Show { .. }
        | Command::Recovery(_)
        | Command::Divergences { .. }
        | Command::Retries { .. }
        | Command::SetAside { .. } => return Ok(None),
    };
    Ok(Some(CommandView::new(id, plan, answer)))
}
