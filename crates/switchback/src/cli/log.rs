//! `switchback log`.

use std::time::Duration;

use switchback_proto::link::v1::{Event, ListEventsRequest};

use super::Context;
use crate::view::event::{EventView, EventsView};

/// Between two questions for new events.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Go on with what happens from now.
    #[arg(long, short)]
    follow: bool,
    /// Only what is about this link.
    #[arg(long, default_value = "", hide_default_value = true)]
    link: String,
    /// Only events after this sequence number.
    #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
    after: u64,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 1000, value_name = "NUMBER")]
    max: u32,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> anyhow::Result<()> {
    let mut request = ListEventsRequest {
        after_sequence: arguments.after,
        events_max: arguments.max,
        link: arguments.link,
    };
    if !arguments.follow {
        let events = ask(&request, context).await?.into_iter().map(EventView::from).collect();
        context.format.print(&EventsView { events });
        return Ok(());
    }
    loop {
        match ask(&request, context).await {
            Ok(events) => {
                for event in events {
                    request.after_sequence = request.after_sequence.max(event.sequence);
                    context.format.print_one_of_many(&EventView::from(event));
                }
            }
            // Who follows a log wants to see the service come back.
            Err(error) => context.format.print_error(&error),
        }
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
}

async fn ask(request: &ListEventsRequest, context: &Context) -> anyhow::Result<Vec<Event>> {
    let operator = &context.operator;
    Ok(operator.ask(operator.links().list_events(request.clone())).await?.events)
}
