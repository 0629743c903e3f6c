//! A link with everything that is seen of it, for operators.

use alloc::string::String;
use alloc::vec::Vec;

use switchback_machine::Timestamp;
use switchback_model::{AccessMode, LinkId, Schedule};

use crate::flow;
use crate::health::Health;
use crate::input::FlowView;
use crate::machine::LinkMachine;
use crate::state::Link;

/// See the module.
#[derive(Clone, Debug)]
pub struct LinkView {
    /// What is remembered.
    pub link: Link,
    /// Our access mode, once confirmed by the mover.
    pub mode: Option<AccessMode>,
    /// The peer's, as last told.
    pub peer_mode: Option<AccessMode>,
    /// The peer was heard lately.
    pub contact: bool,
    /// Since when `contact` is what it is.
    pub contact_since: Timestamp,
    /// "trusted", or what is wrong and what to do.
    pub trust: String,
    /// The peer has no record of the link, or was rebuilt.
    pub broken: bool,
    /// See [`Health`].
    pub health: Health,
    /// By content.
    pub flows: Vec<FlowView>,
    /// Both sides hold the same.
    pub in_sync: bool,
    /// Data may flow out of / into this side as far as the link is concerned.
    pub sends: bool,
    /// See `sends`.
    pub receives: bool,
    /// That is in force in this state.
    pub schedule: Schedule,
}

impl LinkMachine {
    /// Every established link.
    #[must_use]
    pub fn views(&self) -> Vec<LinkView> {
        self.state.links.keys().filter_map(|id| self.view(*id)).collect()
    }

    /// One link.
    #[must_use]
    pub fn view(&self, id: LinkId) -> Option<LinkView> {
        let link = self.state.links.get(&id)?;
        let observed = self.observed.get(&id).cloned().unwrap_or_default();
        let connected = self.peers.contains_key(&link.peer.domain);
        let trust = match self.dial_troubles.get(&link.peer_address) {
            _ if connected => String::from("trusted"),
            Some(trouble) => trouble.clone(),
            None => String::from("not known: no connection yet"),
        };
        let flows = self.flows_of(id).map(|flows| flows.flows.clone()).unwrap_or_default();
        let flowing = observed.flows.as_ref().filter(|spec| !spec.suspended && !spec.silent);
        Some(LinkView {
            mode: observed.confirmed.as_ref().map(|(access, _)| access.mode),
            peer_mode: observed.peer.as_ref().and_then(|peer| peer.mode),
            contact: observed.contact,
            contact_since: observed.contact_since,
            trust,
            broken: observed.broken.is_some(),
            health: self.health(link),
            flows,
            in_sync: self.in_sync(link),
            sends: flowing.is_some_and(|spec| spec.contents.iter().any(|flow| flow.send)),
            receives: flowing.is_some_and(|spec| spec.contents.iter().any(|flow| flow.receive)),
            schedule: flow::schedule(link),
            link: link.clone(),
        })
    }
}
