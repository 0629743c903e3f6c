//! What is well, what is not, and what to do: status tells the truth.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use switchback_model::Side;

use crate::machine::LinkMachine;
use crate::state::{Link, LinkState};

/// A link's health as this side sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Health {
    /// Both sides agree on epoch, state and digest, in the state that is meant to last.
    pub healthy: bool,
    /// Most urgent first: what is wrong and what to do.
    pub troubles: Vec<String>,
    /// What the operator usually does next, as a command; where it is given on the other system,
    /// after that system's name.
    pub next_step: String,
}

impl LinkMachine {
    /// The health of `link`.
    #[must_use]
    pub fn health(&self, link: &Link) -> Health {
        let mut troubles = Vec::new();
        let observed = self.observed.get(&link.id).cloned().unwrap_or_default();
        let shared = &link.shared;
        let name = &shared.name;
        let renewed = self.own.as_ref().is_some_and(|own| own.incarnation != link.local_incarnation);
        if observed.silent && renewed {
            troubles.push(format!(
                "this system's store began a new life: exchange certificates, then restore link {name} from {}",
                link.peer.name
            ));
        } else if observed.silent {
            troubles.push(format!("this system's store was lost, replaced or rolled back: `switchback certificate renew --new-incarnation`, exchange certificates, then restore link {name} from {}", link.peer.name));
        }
        if shared.epoch < link.heard {
            troubles.push(format!("this side is at epoch {} but epoch {} has been in force: its record is old, so its content is read-only; restore the link from {}", shared.epoch, link.heard, link.peer.name));
        }
        if let Some(broken) = &observed.broken {
            troubles.push(format!("{broken}: the link is broken; exchange certificates if it was rebuilt, then `switchback link restore {name}`"));
        } else if !observed.contact {
            troubles.push(self.no_contact(link));
        }
        if self.mover.is_none() {
            troubles.push("this system's data mover cannot be reached".to_string());
        }
        if !observed.access_trouble.is_empty() {
            troubles.push(format!("the access mode could not be set: {}", observed.access_trouble));
        }
        if let Some(peer) = &observed.peer {
            if peer.epoch != shared.epoch || peer.state != shared.state {
                troubles.push(format!(
                    "the sides disagree: {} at epoch {} here, {} at epoch {} on {}",
                    shared.state, shared.epoch, peer.state, peer.epoch, link.peer.name
                ));
            }
            if !peer.trouble.is_empty() {
                troubles.push(format!("{} reports: {}", link.peer.name, peer.trouble));
            }
        }
        self.flow_troubles(link, observed.contact, &mut troubles);
        if shared.suspended {
            troubles
                .push("suspended by an operator; `switchback link resume` lets data flow again".to_string());
        }
        for content in shared.contents.iter().filter(|content| shared.paused.contains(&content.id)) {
            troubles.push(format!(
                "{content} is paused by an operator; `switchback link resume {name} --{} {}` lets its data flow again",
                content.kind, content.name
            ));
        }
        let healthy = troubles.is_empty() && shared.state == LinkState::Replicating && self.in_sync(link);
        let next_step = match observed.silent {
            true if renewed => format!("on {}: switchback link restore {name}", link.peer.name),
            true => "switchback certificate renew --new-incarnation".into(),
            false => next_step(link, observed.contact, observed.broken.is_some()),
        };
        Health { healthy, next_step, troubles }
    }

    fn flow_troubles(&self, link: &Link, contact: bool, troubles: &mut Vec<String>) {
        let Some(flows) = self.flows_of(link.id) else { return };
        if !flows.trouble.is_empty() && contact {
            troubles.push(format!("the data movers do not talk: {}", flows.trouble));
        }
        for flow in &flows.flows {
            let name = link.shared.contents.iter().find(|content| content.id == flow.content);
            let Some(name) = name else { continue };
            if flow.retries > 0 {
                troubles.push(format!(
                    "{name}: {} objects fail to be transferred; see `switchback link retries {}`",
                    flow.retries, link.shared.name
                ));
            }
            if flow.local_rolled_back {
                troubles.push(format!("{name}: this system's store went back to an older state"));
            }
            if flow.peer_rolled_back {
                troubles.push(format!(
                    "{name}: the store of {} went back to an older state; its status says what to do there",
                    link.peer.name
                ));
            }
            if !flow.trouble.is_empty() {
                troubles.push(format!("{name}: {}", flow.trouble));
            }
        }
    }
}

fn next_step(link: &Link, contact: bool, broken: bool) -> String {
    let name = &link.shared.name;
    let mut there = "";
    let command = match (link.shared.state, link.side) {
        (_, _) if broken && link.shared.epoch.holder() == link.side => "link restore",
        (LinkState::Replicating, _) if link.shared.suspended => "link resume",
        (LinkState::Replicating, Side::Replica) if !contact => "link fail-over",
        (LinkState::FailedOver, side) if contact => {
            there = elsewhere(side, link);
            "link recovery begin"
        }
        (LinkState::Recovering, side) => {
            there = elsewhere(side, link);
            "link recovery complete"
        }
        (LinkState::Completing, _) => "link recovery status --watch",
        (
            LinkState::Replicating | LinkState::FailingOver | LinkState::FailedOver,
            Side::Primary | Side::Replica,
        ) => return String::new(),
    };
    match there {
        "" => format!("switchback {command} {name}"),
        there => format!("on {there}: switchback {command} {name}"),
    }
}

/// The replica's name where this is the primary: recovery is steered there.
fn elsewhere(side: Side, link: &Link) -> &str {
    match side {
        Side::Primary => &link.peer.name,
        Side::Replica => "",
    }
}
