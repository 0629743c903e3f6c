//! A link as it changes: bars for people at a terminal, a line a change for everybody else.

use std::io::IsTerminal;

use anyhow::bail;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use switchback_proto::link::v1::{Link, WatchLinksRequest};

use super::Context;
use crate::output::{Format, emit};
use crate::view::link::{LinkView, ProgressView};

/// Shows the link until the operator has seen enough.
pub(crate) async fn forever(link: &str, context: &Context) -> anyhow::Result<()> {
    follow(link, context, |_| false).await
}

/// Shows the link until its recovery has ended.
pub(crate) async fn until_recovered(link: &str, context: &Context) -> anyhow::Result<()> {
    follow(link, context, |view| view.state == "replicating").await
}

async fn follow(link: &str, context: &Context, ended: impl Fn(&LinkView) -> bool) -> anyhow::Result<()> {
    let operator = &context.operator;
    let mut stream = operator.ask(operator.links().watch_links(WatchLinksRequest {})).await?;
    let named = |known: &Link| known.name.eq_ignore_ascii_case(link) || hex::encode(&known.id) == link;
    let mut screen = Screen::new(context.format);
    loop {
        let Some(answer) = stream.message().await.map_err(|status| operator.refusal(&status))? else {
            bail!("the link manager ended the watch; start it again");
        };
        let Some(link) = answer.links.into_iter().find(named) else {
            bail!("no link is named {link}; `switchback link list` shows them");
        };
        let view = LinkView::from(link);
        screen.show(&view, context.format);
        if ended(&view) {
            screen.finish();
            return Ok(());
        }
    }
}

/// Where the changes are shown.
enum Screen {
    Bars { state: ProgressBar, sending: ProgressBar, receiving: ProgressBar },
    Lines { last: String },
}

impl Screen {
    fn new(format: Format) -> Self {
        if format == Format::Json || !std::io::stderr().is_terminal() {
            return Self::Lines { last: String::new() };
        }
        let bars = MultiProgress::new();
        let bar = |name: &'static str| {
            let bar = bars.add(ProgressBar::new(0));
            let style = ProgressStyle::with_template("{prefix:9} [{bar:30}] {percent:>3}%  {msg}");
            bar.set_style(style.expect("the template is fixed").progress_chars("=> "));
            bar.set_prefix(name);
            bar
        };
        let state = bars.add(ProgressBar::new_spinner());
        state.set_style(ProgressStyle::with_template("{msg}").expect("the template is fixed"));
        Self::Bars { state, sending: bar("sending"), receiving: bar("receiving") }
    }

    fn show(&mut self, view: &LinkView, format: Format) {
        match self {
            Self::Lines { .. } if format == Format::Json => format.print_one_of_many(view),
            Self::Lines { last } => {
                let line = format!(
                    "{} {}; sending {}; receiving {}\n",
                    view.name,
                    view.state_line(),
                    view.sending.line(),
                    view.receiving.line()
                );
                if line != *last {
                    emit(&line);
                    *last = line;
                }
            }
            Self::Bars { state, sending, receiving } => {
                state.set_message(format!("link {}: {}; {}", view.name, view.state_line(), view.next_step));
                fill(sending, &view.sending);
                fill(receiving, &view.receiving);
            }
        }
    }

    fn finish(&self) {
        if let Self::Bars { state, sending, receiving } = self {
            for bar in [state, sending, receiving] {
                bar.abandon();
            }
        }
    }
}

/// Bytes fill the bar, or objects where there are no bytes to move.
fn fill(bar: &ProgressBar, progress: &ProgressView) {
    let (moved, pending) = if progress.pending_bytes + progress.moved_bytes > 0 {
        (progress.moved_bytes, progress.pending_bytes)
    } else {
        (progress.moved_objects, progress.pending_objects)
    };
    bar.set_length(moved + pending);
    bar.set_position(moved);
    bar.set_message(progress.line());
}
