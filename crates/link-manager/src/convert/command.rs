//! Operators' commands.

use switchback_link_core::{Command, CommandKind, Create, Token, Update};
use switchback_model::{LinkId, RequestId};
use switchback_proto::link::v1 as wire;
use switchback_proto::model::v1 as model;

use super::{Malformed, compression, content_name, policy, priority, schedule, settings};

/// Longer request ids are no names.
const REQUEST_ID_LENGTH_MAX: usize = 128;

/// What all commands have.
pub(crate) struct Frame<'a> {
    pub(crate) token: Token,
    pub(crate) request_id: &'a str,
    pub(crate) plan: bool,
    pub(crate) link: &'a str,
}

impl Frame<'_> {
    pub(crate) fn command(&self, kind: CommandKind) -> Result<Command, Malformed> {
        let named = !self.request_id.is_empty() && self.request_id.len() <= REQUEST_ID_LENGTH_MAX;
        if !named && !self.plan {
            return Err(Malformed("request_id (1 to 128 characters that name the command)"));
        }
        if self.link.is_empty() {
            return Err(Malformed("link"));
        }
        Ok(Command {
            token: self.token,
            request: RequestId(self.request_id.into()),
            plan: self.plan,
            link: self.link.into(),
            kind,
        })
    }
}

/// The port that a link listener has unless it is named.
const LINK_PORT: u16 = 5748;

/// `host[:port]` as `host:port`.
pub(crate) fn address(text: &str) -> Result<String, Malformed> {
    let malformed = Malformed("peer_address (expected host or host:port)");
    if text.is_empty() || text.contains(['/', ' ', '@']) {
        return Err(malformed);
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.into()),
        Some(_) => Err(malformed),
        None => Ok(format!("{text}:{LINK_PORT}")),
    }
}

pub(crate) fn create(
    request: &wire::CreateLinkRequest,
    id: LinkId,
    zone_floor: u32,
) -> Result<CommandKind, Malformed> {
    Ok(CommandKind::Create(Box::new(Create {
        id,
        name: request.name.clone(),
        peer_address: address(&request.peer_address)?,
        contents: contents(&request.contents)?,
        settings: settings(request.settings.as_ref())?,
        zone_floor,
    })))
}

pub(crate) fn update(request: &wire::UpdateLinkRequest, zone_floor: u32) -> Result<CommandKind, Malformed> {
    Ok(CommandKind::Update(Box::new(Update {
        peer_address: request.peer_address.as_deref().map(address).transpose()?,
        dns_failover: request.dns_failover,
        description: request.description.clone(),
        fence_time_ms: request.fence_time_ms,
        drain_time_ms: request.drain_time_ms,
        conflict_policy: request.conflict_policy.map(|_| policy(request.conflict_policy())),
        schedule: request.schedule.as_deref().map(schedule).transpose()?,
        priority: request.priority.map(|_| priority(request.priority())),
        compression: request.compression.map(|_| compression(request.compression())),
        add: contents(&request.add_contents)?,
        remove: contents(&request.remove_contents)?,
        zone_floor,
    })))
}

fn contents(wire: &[model::Content]) -> Result<Vec<switchback_model::Content>, Malformed> {
    wire.iter().map(content_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_address_gets_the_default_port_and_nonsense_is_refused() {
        assert_eq!(address("west.example.com").ok().as_deref(), Some("west.example.com:5748"));
        assert_eq!(address("10.0.0.1:99").ok().as_deref(), Some("10.0.0.1:99"));
        assert!(address("https://west").is_err() && address(":1").is_err() && address("a:b").is_err());
    }
}
