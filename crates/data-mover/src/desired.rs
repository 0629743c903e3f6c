//! What the link manager wants of one link's flows.

use switchback_model::{
    Compression, Content, ContentId, Epoch, FeedId, Incarnation, LinkId, ParseScheduleError, Priority,
    Schedule, Side, SiteId, SystemId,
};
use switchback_proto::mover::v1::ApplyFlowsRequest;
use switchback_store::{ConflictPolicy, Lineage, Parting, Sender, Systems};

use crate::convert;
use crate::status::{Answer, invalid};

/// One generation of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Desired {
    pub(crate) generation: u64,
    pub(crate) link: LinkId,
    pub(crate) name: String,
    pub(crate) epoch: Epoch,
    pub(crate) side: Side,
    pub(crate) local_incarnation: Incarnation,
    pub(crate) peer_incarnation: Incarnation,
    pub(crate) local_system: SystemId,
    pub(crate) peer_system: SystemId,
    /// For reports.
    pub(crate) local_name: String,
    pub(crate) peer_name: String,
    /// `host:port`; empty while not known.
    pub(crate) peer_address: String,
    pub(crate) peer_domain: String,
    pub(crate) contents: Vec<ContentFlow>,
    pub(crate) policy: ConflictPolicy,
    pub(crate) suspended: bool,
    pub(crate) silent: bool,
    pub(crate) schedule: Schedule,
    pub(crate) priority: Priority,
    pub(crate) compression: Compression,
}

/// The two directions of one content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContentFlow {
    pub(crate) content: Content,
    pub(crate) send: bool,
    pub(crate) receive: bool,
    pub(crate) paused: bool,
}

impl Desired {
    pub(crate) fn parse(r: &ApplyFlowsRequest) -> Answer<Self> {
        let flow = |flow: &switchback_proto::mover::v1::ContentFlow| {
            let content = flow.content.as_ref().ok_or_else(|| invalid("contents: a content is missing"))?;
            let content = convert::content_from_wire(content)?;
            Ok(ContentFlow { content, send: flow.send, receive: flow.receive, paused: flow.paused })
        };
        Ok(Self {
            generation: r.generation,
            link: convert::link_id(&r.link_id)?,
            name: r.link.clone(),
            epoch: Epoch(r.epoch),
            side: convert::side_from_wire(r.side())?,
            local_incarnation: Incarnation(r.local_incarnation),
            peer_incarnation: Incarnation(r.peer_incarnation),
            local_system: convert::system_id(&r.local_system_id, "local_system_id")?,
            peer_system: convert::system_id(&r.peer_system_id, "peer_system_id")?,
            local_name: r.local_name.clone(),
            peer_name: r.peer_name.clone(),
            peer_address: r.peer_address.clone(),
            peer_domain: r.peer_domain.clone(),
            contents: r.contents.iter().map(flow).collect::<Answer<_>>()?,
            policy: convert::policy_from_wire(r.conflict_policy()),
            suspended: r.suspended,
            silent: r.silent,
            schedule: r
                .schedule
                .parse()
                .map_err(|error: ParseScheduleError| invalid(format!("schedule: {error}")))?,
            priority: convert::priority_from_wire(r.priority()),
            compression: convert::compression_from_wire(r.compression()),
        })
    }

    /// Our changes of this content are to be offered to the peer.
    pub(crate) fn sends(&self, content: ContentId) -> bool {
        self.moves() && self.flow(content).is_some_and(|flow| flow.send && !flow.paused)
    }

    /// The peer's changes of this content are to be taken.
    pub(crate) fn receives(&self, content: ContentId) -> bool {
        self.moves() && self.flow(content).is_some_and(|flow| flow.receive && !flow.paused)
    }

    pub(crate) fn flow(&self, content: ContentId) -> Option<&ContentFlow> {
        self.contents.iter().find(|flow| flow.content.id == content)
    }

    /// The link's primary: wins ties between concurrent versions.
    fn primary_site(&self) -> SiteId {
        match self.side {
            Side::Primary => self.local_system.into(),
            Side::Replica => self.peer_system.into(),
        }
    }

    /// What the link's two systems are called.
    fn systems(&self) -> Systems {
        Systems(vec![
            (self.local_system.into(), self.local_name.clone()),
            (self.peer_system.into(), self.peer_name.clone()),
        ])
    }

    /// The peer, whose feed is `feed` with this lineage, as somebody whose changes are joined into ours;
    /// with where we parted from what it has read of us.
    pub(crate) fn sender(&self, feed: FeedId, lineage: Lineage, local_parting: Option<Parting>) -> Sender {
        Sender {
            feed,
            lineage,
            local_parting,
            link: self.link,
            primary_site: self.primary_site(),
            policy: self.policy,
            systems: self.systems(),
        }
    }

    /// The life of the peer that was agreed on.
    pub(crate) fn peer(&self) -> (SystemId, Incarnation) {
        (self.peer_system, self.peer_incarnation)
    }

    /// The part that a connection rests on: another one needs another connection.
    pub(crate) fn route(&self) -> (&str, SystemId, Incarnation, Incarnation) {
        (&self.peer_address, self.peer_system, self.peer_incarnation, self.local_incarnation)
    }

    fn moves(&self) -> bool {
        !self.suspended && !self.silent
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use switchback_model::ContentKind;

    pub(crate) fn desired(send: bool, receive: bool) -> Desired {
        let content = Content { kind: ContentKind::Tenant, name: "acme".into(), id: ContentId([1; 16]) };
        Desired {
            generation: 1,
            link: LinkId([9; 16]),
            name: "payments".into(),
            epoch: Epoch(0),
            side: Side::Primary,
            local_incarnation: Incarnation(1),
            peer_incarnation: Incarnation(2),
            local_system: SystemId([1; 16]),
            peer_system: SystemId([2; 16]),
            local_name: "east".into(),
            peer_name: "west".into(),
            peer_address: String::new(),
            peer_domain: "west.example.com".into(),
            contents: vec![ContentFlow { content, send, receive, paused: false }],
            policy: ConflictPolicy::NewestWins,
            suspended: false,
            silent: false,
            schedule: Schedule::default(),
            priority: Priority::Fair,
            compression: Compression::None,
        }
    }

    #[test]
    fn nothing_moves_while_suspended_silent_or_paused() {
        let content = ContentId([1; 16]);
        let both = desired(true, true);
        assert!(both.sends(content) && both.receives(content));
        assert!(!both.sends(ContentId([5; 16])));
        for stopped in [
            Desired { suspended: true, ..both.clone() },
            Desired { silent: true, ..both.clone() },
            Desired {
                contents: vec![ContentFlow { paused: true, ..both.contents[0].clone() }],
                ..both.clone()
            },
        ] {
            assert!(!stopped.sends(content) && !stopped.receives(content));
        }
    }
}
