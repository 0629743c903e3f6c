//! How far a link's flows are, when they will be done, and what the schedule lets through.

use std::collections::BTreeSet;

use switchback_link_core::{FlowView, LinkState, LinkView};
use switchback_model::{ContentId, Outlook, Pace, Rate};
use switchback_proto::link::v1 as wire;

/// A direction, seen from here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Out,
    In,
}

/// What an operator said of a link's flows, as it is in force at one instant.
pub(crate) struct Steering<'a> {
    view: &'a LinkView,
    now_unix_ms: i64,
    rate: Rate,
    paused: &'a BTreeSet<ContentId>,
}

impl<'a> Steering<'a> {
    pub(crate) fn of(view: &'a LinkView, now_unix_ms: i64) -> Self {
        let rate = view.schedule.rate_at(now_unix_ms);
        Self { view, now_unix_ms, rate, paused: &view.link.shared.paused }
    }

    /// Bytes a second; none where the line alone decides.
    pub(crate) fn rate(&self) -> Option<u64> {
        match self.rate {
            Rate::Unlimited => None,
            Rate::BytesPerSecond(rate) => Some(rate),
        }
    }

    /// When the schedule says something else; 0: never.
    pub(crate) fn until_unix_ms(&self) -> i64 {
        self.view.schedule.next_change(self.now_unix_ms).unwrap_or(0)
    }

    /// There is one, and the state is none that it is for.
    pub(crate) fn is_overridden(&self) -> bool {
        let shared = &self.view.link.shared;
        shared.state != LinkState::Replicating && !shared.settings.schedule.is_unlimited()
    }

    /// Flows together, in one direction. What is paused is pending too, and has no end.
    pub(crate) fn progress(&self, way: Way, flows: &[FlowView]) -> wire::Progress {
        let mut progress = match way {
            Way::Out => outgoing(self.view.sends, flows),
            Way::In => incoming(self.view.receives, flows),
        };
        let flowing = flows.iter().filter(|flow| !self.paused.contains(&flow.content));
        let pace = Pace::join(flowing.clone().map(|flow| match way {
            Way::Out => flow.sending,
            Way::In => flow.receiving,
        }));
        progress.new_objects_rate = pace.objects.added();
        progress.new_bytes_rate = pace.bytes.added();
        let waits = flowing.clone().any(|flow| match way {
            Way::Out => flow.pending_objects > 0,
            Way::In => flow.peer_pending_objects > 0,
        });
        let is_all_paused = !flows.is_empty() && flowing.count() == 0;
        progress.held_by_schedule = progress.active && waits && self.rate == Rate::BytesPerSecond(0);
        if progress.pending_objects == 0 && progress.pending_bytes == 0 {
            progress.catching_up = Some(true);
            (progress.eta_seconds, progress.eta_low_seconds, progress.eta_high_seconds) =
                (Some(0), Some(0), Some(0));
        } else if progress.active && !progress.held_by_schedule && !is_all_paused {
            estimate(&mut progress, way, &pace);
        }
        progress
    }

    /// What an operator should know of it, and may do.
    pub(crate) fn troubles(&self, sending: &wire::Progress, receiving: &wire::Progress) -> Vec<String> {
        let name = &self.view.link.shared.name;
        let mut troubles = Vec::new();
        if !self.view.contact {
            return troubles;
        }
        for (progress, verb) in [(sending, "sent"), (receiving, "received")] {
            if progress.held_by_schedule {
                troubles.push(format!(
                    "the schedule holds what is to be {verb}; `switchback link update {name} --schedule unlimited` lets it flow now"
                ));
            }
        }
        if sending.catching_up == Some(false) {
            let raise = match self.rate {
                Rate::Unlimited => "give the link a faster line",
                Rate::BytesPerSecond(_) => "raise the schedule's rate (`switchback link update --schedule`)",
            };
            troubles.push(format!(
                "new writes come as fast as they are sent: it cannot catch up at the present rates; {raise}, or quiesce the writers"
            ));
        }
        troubles
    }
}

fn outgoing(active: bool, flows: &[FlowView]) -> wire::Progress {
    let mut progress = wire::Progress { active, ..Default::default() };
    for flow in flows {
        progress.pending_objects += flow.pending_objects;
        progress.pending_bytes += flow.pending_bytes;
        progress.moved_objects += flow.sent_objects;
        progress.moved_bytes += flow.sent_bytes;
        progress.plain_bytes += flow.plain_bytes;
        progress.packed_bytes += flow.packed_bytes;
        progress.compared_objects += flow.compared_objects;
        progress.objects_rate += flow.sending_objects_rate;
        progress.bytes_rate += flow.sending_bytes_rate;
    }
    let oldest = flows.iter().map(|flow| flow.up_to_date_as_of).min().unwrap_or(0);
    progress.up_to_date_as_of_unix_ms = i64::try_from(oldest).unwrap_or(0);
    progress
}

fn incoming(active: bool, flows: &[FlowView]) -> wire::Progress {
    let mut progress = wire::Progress { active, ..Default::default() };
    for flow in flows {
        progress.pending_objects += flow.peer_pending_objects;
        progress.pending_bytes += flow.peer_pending_bytes;
        progress.moved_objects += flow.received_objects;
        progress.moved_bytes += flow.received_bytes;
        progress.objects_rate += flow.receiving_objects_rate;
        progress.bytes_rate += flow.receiving_bytes_rate;
    }
    progress
}

fn estimate(progress: &mut wire::Progress, way: Way, pace: &Pace) {
    let outlook = if pace.seconds > 0.0 { pace.outlook() } else { Outlook::Unknown };
    match outlook {
        Outlook::Ends(eta) => {
            progress.catching_up = Some(true);
            progress.eta_seconds = Some(eta.seconds);
            progress.eta_low_seconds = Some(eta.low);
            progress.eta_high_seconds = eta.high;
        }
        Outlook::FallsBehind if way == Way::Out => progress.catching_up = Some(false),
        // The first seconds: nothing is known of how far it varies. And what comes in batches of large bodies
        // shrinks in jumps here; only its sender sees how far they are.
        Outlook::FallsBehind | Outlook::Unknown => progress.eta_seconds = first_guess(progress),
    }
}

/// Seconds until nothing is pending at the rate of the last moments: the longer of objects and bytes.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate for people"
)]
fn first_guess(progress: &wire::Progress) -> Option<u64> {
    let left = |pending: u64, rate: f64| match (pending, rate) {
        (0, _) => Some(0.0),
        (_, rate) if rate > 0.0 => Some(pending as f64 / rate),
        _ => None,
    };
    let objects = left(progress.pending_objects, progress.objects_rate)?;
    let bytes = left(progress.pending_bytes, progress.bytes_rate)?;
    Some(objects.max(bytes).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use switchback_link_core::{Health, Link, Peer, Settings, Shared};
    use switchback_model::{
        Content, ContentKind, Epoch, Flux, Incarnation, LinkId, Schedule, Side, SystemId,
    };

    use super::*;

    /// One tenant, whose flow is `flow`, under a schedule.
    fn view(schedule: &str, flow: FlowView) -> LinkView {
        let schedule: Schedule = schedule.parse().unwrap();
        let peer = Peer {
            system: SystemId([2; 16]),
            incarnation: Incarnation(1),
            domain: "west.example.com".into(),
            name: "west".into(),
            replication_address: String::new(),
            gateway: switchback_link_core::Gateway::default(),
            name_server_addresses: Vec::new(),
            dnskeys: Vec::new(),
        };
        let shared = Shared {
            epoch: Epoch(0),
            revision: 1,
            state: LinkState::Replicating,
            edited: (Epoch(0), 1),
            zone_base: 0,
            suspended: false,
            name: "payments".into(),
            contents: vec![Content { kind: ContentKind::Tenant, name: "acme".into(), id: flow.content }],
            paused: BTreeSet::new(),
            settings: Settings { schedule: schedule.clone(), ..Settings::default() },
        };
        let link = Link {
            id: LinkId([9; 16]),
            side: Side::Primary,
            peer_address: String::new(),
            peer,
            local_incarnation: Incarnation(1),
            shared,
            heard: Epoch(0),
            was_in_sync: true,
            granted: None,
            proposing: None,
            announce: false,
            zone: None,
        };
        LinkView {
            link,
            mode: None,
            peer_mode: None,
            contact: true,
            contact_since: switchback_machine::Timestamp(0),
            trust: String::new(),
            broken: false,
            health: Health::default(),
            flows: vec![flow],
            in_sync: false,
            sends: true,
            receives: true,
            schedule,
        }
    }

    /// Nine hundred objects are left, ten a second are moved.
    fn flow(net: f64) -> FlowView {
        let objects = Flux { left: 900.0, moved: 10.0, net, variance: 0.0 };
        let sending = Pace { seconds: 60.0, objects, bytes: Flux::default() };
        FlowView { content: ContentId([1; 16]), pending_objects: 900, sending, ..FlowView::default() }
    }

    fn sending(view: &LinkView) -> (wire::Progress, Vec<String>) {
        let steering = Steering::of(view, 0);
        let sending = steering.progress(Way::Out, &view.flows);
        let troubles = steering.troubles(&sending, &steering.progress(Way::In, &view.flows));
        (sending, troubles)
    }

    #[test]
    fn an_end_has_an_interval_and_what_grows_has_none_and_a_word_of_what_to_do() {
        let (progress, troubles) = sending(&view("unlimited", flow(4.0)));
        assert_eq!((progress.eta_seconds, progress.catching_up), (Some(225), Some(true)));
        assert_eq!((progress.eta_low_seconds, progress.eta_high_seconds), (Some(225), Some(225)));
        assert!((progress.new_objects_rate - 6.0).abs() < 1e-9 && troubles.is_empty());
        for (schedule, advice) in [("unlimited", "a faster line"), ("20MB/s", "raise the schedule's rate")] {
            let (progress, troubles) = sending(&view(schedule, flow(-1.0)));
            assert_eq!((progress.eta_seconds, progress.catching_up), (None, Some(false)));
            assert!(troubles[0].contains("cannot catch up") && troubles[0].contains(advice), "{troubles:?}");
        }
    }

    #[test]
    fn what_the_schedule_holds_or_is_paused_has_no_end() {
        let (progress, troubles) = sending(&view("0", flow(4.0)));
        assert!(progress.held_by_schedule && progress.eta_seconds.is_none(), "{progress:?}");
        assert!(troubles[0].contains("link update payments --schedule unlimited"), "{troubles:?}");
        let mut paused = view("unlimited", flow(4.0));
        paused.link.shared.paused.insert(ContentId([1; 16]));
        let (progress, _) = sending(&paused);
        assert_eq!((progress.pending_objects, progress.eta_seconds), (900, None));
        let mut cut = view("0", flow(4.0));
        cut.contact = false;
        assert!(sending(&cut).1.is_empty(), "that there is no contact is trouble enough");
    }

    #[test]
    fn only_replicating_obeys_the_schedule() {
        let mut view = view("0", flow(4.0));
        let steering = Steering::of(&view, 0);
        assert_eq!(
            (steering.rate(), steering.until_unix_ms(), steering.is_overridden()),
            (Some(0), 0, false)
        );
        view.link.shared.state = LinkState::Recovering;
        view.schedule = Schedule::default();
        let steering = Steering::of(&view, 0);
        assert_eq!((steering.rate(), steering.is_overridden()), (None, true));
        assert_eq!(steering.progress(Way::Out, &view.flows).eta_seconds, Some(225));
    }
}
