//! Starts and stops a link's tasks as what is desired of it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use switchback_model::ContentId;
use tokio_util::sync::CancellationToken;

use super::{exchange, sender};
use crate::link::Link;
use crate::mover::Mover;

/// Starts the tasks of a link; they end with its token.
pub(crate) fn start(mover: &Arc<Mover>, link: &Arc<Link>) {
    mover.tasks.spawn(exchange::run(Arc::clone(mover), Arc::clone(link)));
    mover.tasks.spawn(supervise(Arc::clone(mover), Arc::clone(link)));
}

/// Keeps one sender for each content that is to be sent. A sender waits by itself for contact and
/// for a peer that takes the content; the receiving end is started by the peer's dial.
async fn supervise(mover: Arc<Mover>, link: Arc<Link>) {
    let mut desired = link.watch_desired();
    let mut senders: BTreeMap<ContentId, CancellationToken> = BTreeMap::new();
    loop {
        desired.mark_unchanged();
        let wanted = link.desired();
        senders.retain(|content, stop| {
            let keep = wanted.sends(*content);
            if !keep {
                stop.cancel();
                if let Some(flow) = link.flow(*content) {
                    flow.state().sending_trouble.clear();
                }
            }
            keep
        });
        for flow in link.flows() {
            let content = flow.content.id;
            if wanted.sends(content) && !senders.contains_key(&content) {
                let stop = link.stop.child_token();
                senders.insert(content, stop.clone());
                let (mover, link) = (Arc::clone(&mover), Arc::clone(&link));
                mover.tasks.clone().spawn(sender::run(mover, link, flow, stop));
            }
        }
        tokio::select! {
            biased;
            () = link.stop.cancelled() => return,
            changed = desired.changed() => if changed.is_err() { return },
        }
    }
}
