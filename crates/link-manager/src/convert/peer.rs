//! Messages between link managers.

use switchback_link_core::{DigestView, Header, Heartbeat, Message, Position, Proposal, Sealed, Shared};
use switchback_model::{ContentId, Epoch, FeedId, Incarnation, LinkId};
use switchback_proto::model::v1 as model;
use switchback_proto::peer::v1 as wire;
use switchback_proto::peer::v1::peer_message::Body;

use super::{
    Malformed, content, content_out, mode, mode_out, settings, settings_out, side, side_out, state, state_out,
};

pub(crate) fn message(body: Body) -> Result<Message, Malformed> {
    Ok(match body {
        Body::Hello(_) => return Err(Malformed("hello in the middle of a stream")),
        Body::Heartbeat(heartbeat) => {
            Message::Heartbeat(header(heartbeat.header.as_ref())?, Box::new(beat(&heartbeat)?))
        }
        Body::UnknownLink(unknown) if unknown.other_life => Message::OtherLife(link_id(&unknown.link_id)?),
        Body::UnknownLink(unknown) => Message::UnknownLink(link_id(&unknown.link_id)?),
        Body::Proposal(proposal) => {
            let parsed = Proposal {
                nonce: proposal.nonce,
                shared: shared(proposal.shared.as_ref().ok_or(Malformed("proposal.shared"))?)?,
                side: side(proposal.side())?,
                restore: proposal.restore,
            };
            Message::Proposal(header(proposal.header.as_ref())?, Box::new(parsed))
        }
        Body::ProposalAnswer(answer) => Message::ProposalAnswer {
            nonce: answer.nonce,
            link: link_id(&answer.link_id)?,
            refusal: answer.refusal,
        },
        Body::Fence(fence) => Message::Fence(header(fence.header.as_ref())?),
        Body::Fenced(fenced) => Message::Fenced(header(fenced.header.as_ref())?, positions(&fenced.heads)?),
        Body::GrantRequest(request) => {
            let contents = request.contents.iter().map(sealed).collect::<Result<_, _>>()?;
            Message::GrantRequest(header(request.header.as_ref())?, request.nonce, contents)
        }
        Body::Grant(grant) => {
            let granted = if grant.refusal.is_empty() { Ok(Epoch(grant.epoch)) } else { Err(grant.refusal) };
            Message::Grant(header(grant.header.as_ref())?, grant.nonce, granted)
        }
        Body::Farewell(farewell) => Message::Farewell(header(farewell.header.as_ref())?),
    })
}

pub(crate) fn message_out(message: &Message) -> Body {
    match message {
        Message::Heartbeat(header, heartbeat) => Body::Heartbeat(wire::Heartbeat {
            header: header_out(header),
            shared: Some(shared_out(&heartbeat.shared)),
            mode: mode_out(heartbeat.mode).into(),
            heads: Vec::new(),
            applied: Vec::new(),
            in_sync: heartbeat.in_sync,
            trouble: heartbeat.trouble.clone(),
        }),
        Message::UnknownLink(link) => {
            Body::UnknownLink(wire::UnknownLink { link_id: link_id_out(*link), other_life: false })
        }
        Message::OtherLife(link) => {
            Body::UnknownLink(wire::UnknownLink { link_id: link_id_out(*link), other_life: true })
        }
        Message::Proposal(header, proposal) => Body::Proposal(wire::Proposal {
            nonce: proposal.nonce,
            header: header_out(header),
            shared: Some(shared_out(&proposal.shared)),
            side: side_out(proposal.side).into(),
            restore: proposal.restore,
            plan: false,
        }),
        Message::ProposalAnswer { nonce, link, refusal } => Body::ProposalAnswer(wire::ProposalAnswer {
            nonce: *nonce,
            link_id: link_id_out(*link),
            refusal: refusal.clone(),
        }),
        Message::Fence(header) => {
            Body::Fence(wire::Fence { header: header_out(header), epoch: header.epoch.0, drain: true })
        }
        Message::Fenced(header, heads) => Body::Fenced(wire::Fenced {
            header: header_out(header),
            epoch: header.epoch.0,
            heads: heads.iter().map(position_out).collect(),
        }),
        Message::GrantRequest(header, nonce, contents) => Body::GrantRequest(wire::GrantRequest {
            header: header_out(header),
            nonce: *nonce,
            epoch: header.epoch.0,
            contents: contents.iter().map(sealed_out).collect(),
        }),
        Message::Grant(header, nonce, granted) => Body::Grant(wire::Grant {
            header: header_out(header),
            nonce: *nonce,
            epoch: granted.as_ref().map_or(0, |epoch| epoch.0),
            refusal: granted.as_ref().err().cloned().unwrap_or_default(),
        }),
        Message::Farewell(header) => Body::Farewell(wire::Farewell { header: header_out(header) }),
    }
}

fn beat(wire: &wire::Heartbeat) -> Result<Heartbeat, Malformed> {
    Ok(Heartbeat {
        shared: shared(wire.shared.as_ref().ok_or(Malformed("heartbeat.shared"))?)?,
        mode: mode(wire.mode()),
        in_sync: wire.in_sync,
        trouble: wire.trouble.clone(),
    })
}

pub(crate) fn link_id(bytes: &[u8]) -> Result<LinkId, Malformed> {
    LinkId::from_slice(bytes).ok_or(Malformed("link_id"))
}

pub(crate) fn link_id_out(id: LinkId) -> bytes::Bytes {
    id.as_bytes().to_vec().into()
}

fn header(wire: Option<&wire::LinkHeader>) -> Result<Header, Malformed> {
    let wire = wire.ok_or(Malformed("header"))?;
    Ok(Header {
        link: link_id(&wire.link_id)?,
        sender: Incarnation(wire.sender_incarnation),
        receiver: Incarnation(wire.receiver_incarnation),
        epoch: Epoch(wire.epoch),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the field is optional on the wire")]
fn header_out(header: &Header) -> Option<wire::LinkHeader> {
    Some(wire::LinkHeader {
        link_id: link_id_out(header.link),
        sender_incarnation: header.sender.0,
        receiver_incarnation: header.receiver.0,
        epoch: header.epoch.0,
    })
}

pub(crate) fn shared(wire: &wire::Shared) -> Result<Shared, Malformed> {
    Ok(Shared {
        epoch: Epoch(wire.epoch),
        revision: wire.revision,
        state: state(wire.state())?,
        edited: (Epoch(wire.edited_epoch), wire.edited_revision),
        zone_base: wire.zone_base,
        suspended: wire.suspended,
        name: wire.name.clone(),
        contents: wire.contents.iter().map(content).collect::<Result<_, _>>()?,
        paused: wire
            .paused
            .iter()
            .map(|one| content(one).map(|content| content.id))
            .collect::<Result<_, _>>()?,
        settings: settings(wire.settings.as_ref())?,
    })
}

pub(crate) fn shared_out(shared: &Shared) -> wire::Shared {
    let paused = shared.contents.iter().filter(|content| shared.paused.contains(&content.id));
    wire::Shared {
        epoch: shared.epoch.0,
        revision: shared.revision,
        state: state_out(shared.state).into(),
        suspended: shared.suspended,
        contents: shared.contents.iter().map(content_out).collect(),
        paused: paused.map(content_out).collect(),
        settings: Some(settings_out(&shared.settings)),
        name: shared.name.clone(),
        edited_epoch: shared.edited.0.0,
        edited_revision: shared.edited.1,
        zone_base: shared.zone_base,
    }
}

pub(crate) fn position(wire: &model::FeedPosition) -> Result<Position, Malformed> {
    let content = wire.content.as_ref().and_then(|content| ContentId::from_slice(&content.id));
    Ok(Position {
        content: content.ok_or(Malformed("position.content"))?,
        feed: FeedId(wire.feed_id),
        sequence: wire.sequence,
    })
}

pub(crate) fn positions(wire: &[model::FeedPosition]) -> Result<Vec<Position>, Malformed> {
    wire.iter().map(position).collect()
}

fn position_out(position: &Position) -> model::FeedPosition {
    let content = model::Content { id: position.content.as_bytes().to_vec().into(), ..Default::default() };
    model::FeedPosition { content: Some(content), feed_id: position.feed.0, sequence: position.sequence }
}

pub(crate) fn digest(wire: Option<&model::Digest>) -> DigestView {
    wire.map(|digest| DigestView { total: digest.total.to_vec(), records: digest.records })
        .unwrap_or_default()
}

fn sealed(wire: &wire::SealedContent) -> Result<Sealed, Malformed> {
    Ok(Sealed {
        applied: position(wire.applied.as_ref().ok_or(Malformed("sealed.applied"))?)?,
        head: position(wire.head.as_ref().ok_or(Malformed("sealed.head"))?)?,
        digest: digest(wire.digest.as_ref()),
    })
}

fn sealed_out(sealed: &Sealed) -> wire::SealedContent {
    wire::SealedContent {
        applied: Some(position_out(&sealed.applied)),
        head: Some(position_out(&sealed.head)),
        digest: Some(model::Digest {
            total: sealed.digest.total.clone().into(),
            records: sealed.digest.records,
        }),
    }
}
