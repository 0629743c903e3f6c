//! What the DNS broadcaster shall serve: told after each change, and again now and then, so that
//! a broadcaster that was restarted hears it too.

mod offers;
mod zones;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use switchback_kit::grpc::Channel;
use switchback_link_core::{Input, Overdue};
use switchback_proto::dns::v1::dns_service_client::DnsServiceClient;
use switchback_proto::dns::v1::{OverdueSecondary, TenantZone};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::offers::Offers;
pub use self::zones::Zones;

/// Between two repeats of what is desired.
const REPEAT: Duration = Duration::from_secs(2);

/// After a failure.
const RETRY: Duration = Duration::from_millis(250);

/// What the broadcaster shall serve beside the system's own zone.
#[derive(Clone, Debug)]
pub struct Desired {
    /// One for each tenant, by name.
    pub tenants: Arc<[Arc<TenantZone>]>,
    /// This life of the system; empty when it is over.
    pub life: String,
}

impl PartialEq for Desired {
    /// What one has from the other is not looked at.
    fn eq(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(one, other) || one == other;
        let are_same = || self.tenants.iter().zip(&*other.tenants).all(is_same);
        self.life == other.life
            && self.tenants.len() == other.tenants.len()
            && (Arc::ptr_eq(&self.tenants, &other.tenants) || are_same())
    }
}

fn overdue_in(secondary: OverdueSecondary) -> (String, Overdue) {
    let overdue = if secondary.silent_ms.is_some() { Overdue::Silent } else { Overdue::Late };
    (secondary.name, overdue)
}

/// Offers the latest of `desired` until the shutdown, and notes the keys that the broadcaster says to sign
/// with. `inbox` hears of name servers that do not follow.
pub(crate) async fn publish(
    channel: Channel,
    mut offers: Offers,
    mut desired: watch::Receiver<Option<Desired>>,
    dnskeys: watch::Sender<Option<Vec<Bytes>>>,
    inbox: mpsc::Sender<Input>,
    shutdown: CancellationToken,
) {
    let mut overdue = BTreeMap::new();
    let mut client = DnsServiceClient::new(channel);
    let mut failing = false;
    loop {
        let wanted = desired.borrow_and_update().clone();
        let mut pause = REPEAT;
        if let Some(wanted) = wanted {
            let request = offers.request(&wanted);
            let generation = request.generation;
            match client.apply_zones(request).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    if offers.answered(generation, &answer) {
                        continue;
                    }
                    dnskeys.send_if_modified(|known| {
                        let told = Some(answer.dnskeys);
                        let is_other = *known != told;
                        *known = told;
                        is_other
                    });
                    if !answer.stale_zones.is_empty() && !failing {
                        tracing::warn!(
                            zones = answer.stale_zones.join(" "),
                            "DNS broadcaster holds later zones"
                        );
                    }
                    failing = !answer.stale_zones.is_empty();
                    let now: BTreeMap<_, _> = answer.overdue.into_iter().map(overdue_in).collect();
                    if now != overdue {
                        // Who hears it has ended: so does this.
                        drop(inbox.send(Input::NameServersOverdue(now.clone())).await);
                        overdue = now;
                    }
                }
                Err(status) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(reason = status.message(), "DNS broadcaster cannot be reached");
                    }
                    pause = RETRY;
                }
            }
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            changed = desired.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}
