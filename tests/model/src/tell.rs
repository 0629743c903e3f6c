//! Words for people: systems, actions and traces.

use std::fmt::Write as _;
use std::sync::Arc;

use switchback_link_core::Message;

use crate::memo::Memo;
use crate::mover::LINK;
use crate::site::Site;
use crate::world::{Action, World};

fn name(at: usize) -> &'static str {
    if at == crate::site::EAST { "east" } else { "west" }
}

fn site(site: &Site) -> String {
    let mut text = name(site.index).to_string();
    if site.rebuilt > 0 {
        let _ = write!(text, "#{}", site.rebuilt);
    }
    match site.machine.view(LINK) {
        Some(view) => {
            let link = &view.link;
            let _ = write!(text, " {} e{}", link.shared.state, link.shared.epoch);
            if link.heard > link.shared.epoch {
                let _ = write!(text, " heard e{}", link.heard);
            }
            if view.broken {
                text.push_str(" broken");
            }
            if link.shared.suspended {
                text.push_str(" suspended");
            }
            if link.proposing.is_some() {
                text.push_str(" proposing");
            }
            text.push_str(if view.contact { " contact" } else { " no-contact" });
        }
        None => text.push_str(" no link"),
    }
    let mover = &site.mover;
    let _ = write!(text, ", mover {}", mover.mode());
    if let Some(epoch) = mover.epoch() {
        let _ = write!(text, " e{epoch}");
    }
    let _ = write!(text, " holds {}", mover.store.rows.len());
    text
}

/// Both systems, in one line.
#[must_use]
pub fn sites(sites: &[Arc<Site>; 2]) -> String {
    format!("[{}] [{}]", site(&sites[0]), site(&sites[1]))
}

/// The whole, in one line.
#[must_use]
pub fn world(world: &World) -> String {
    let mut text = sites(&world.sites);
    for broken in world.flaws.names() {
        let _ = write!(text, " BROKEN: {broken}");
    }
    text
}

fn message(message: &Message) -> String {
    match message {
        Message::Heartbeat(header, beat) => {
            let mode = beat.mode.map_or_else(|| "?".to_string(), |mode| mode.to_string());
            let (state, revision) = (beat.shared.state, beat.shared.revision);
            format!("heartbeat({state} e{} r{revision} {mode})", header.epoch)
        }
        Message::UnknownLink(_) => "unknown link".into(),
        Message::OtherLife(_) => "link of another life".into(),
        Message::Proposal(header, _) => format!("proposal(e{})", header.epoch),
        Message::ProposalAnswer { refusal, .. } => format!("proposal answer({refusal:?})"),
        Message::Fence(header) => format!("fence(e{})", header.epoch),
        Message::Fenced(header, _) => format!("fenced(e{})", header.epoch),
        Message::GrantRequest(header, nonce, _) => format!("grant request(e{}, nonce {nonce})", header.epoch),
        Message::Grant(header, nonce, answer) => {
            format!("grant(e{}, nonce {nonce}, {answer:?})", header.epoch)
        }
        Message::Farewell(header) => format!("farewell(e{})", header.epoch),
    }
}

/// What is done, in words.
#[must_use]
pub fn action(world: &World, action: Action) -> String {
    match action {
        Action::Command(at, order) => format!("operator on {}: {order:?}", name(at)),
        Action::Repeat(number) => format!("operator repeats command {number}"),
        Action::Hold(to) => match world.network.next(to) {
            Some(envelope) => format!("{} is held up", message(&envelope.message)),
            None => "nothing is held up".into(),
        },
        Action::Deliver(hash) => match world.network.find(hash) {
            Some(envelope) => {
                let parties =
                    envelope.header().map(|header| format!(" of {}->{}", header.sender.0, header.receiver.0));
                let parties = parties.unwrap_or_default();
                format!("{} gets {}{parties}", name(envelope.to), message(&envelope.message))
            }
            None => "a message that is not under way".into(),
        },
        Action::Tick(at) => format!("time passes on {}", name(at)),
        Action::TakeAccess(at) => format!("{}'s mover takes the access mode", name(at)),
        Action::TakeAnswer(at) => format!("{} gets its mover's answer", name(at)),
        Action::TakeFlows(at) => format!("{}'s mover takes the flows", name(at)),
        Action::Look(at) => format!("{} looks at its mover", name(at)),
        Action::Hear(at) => format!("{}'s mover hears the other's", name(at)),
        Action::Apply(at) => format!("{}'s mover applies what the other's has", name(at)),
        Action::MoverSilence(at) => format!("{}'s mover loses contact", name(at)),
        Action::PeerUp(at) => format!("{} has a stream", name(at)),
        Action::PeerDown(at) => format!("{} loses its stream", name(at)),
        Action::CrashManager(at) => format!("{}'s link manager crashes and starts", name(at)),
        Action::CrashMover(at) => format!("{}'s mover crashes and starts", name(at)),
        Action::Exchange => "certificates are exchanged".into(),
        Action::Write(at, false) => format!("a client writes on {}", name(at)),
        Action::Write(at, true) => format!("a client deletes on {}", name(at)),
        Action::Rebuild(at) => format!("{} is rebuilt", name(at)),
    }
}

/// Every step of `actions` from `start`; what cannot be done is left out.
#[must_use]
pub fn trace(start: &World, actions: &[Action], memo: &Memo) -> String {
    let mut text = format!("      start: {}\n", world(start));
    let mut here = start.clone();
    for (number, step) in actions.iter().enumerate() {
        let Some(next) = here.after(*step, memo) else { continue };
        let _ = writeln!(text, "{:>4}. {}\n      {}", number + 1, action(&here, *step), world(&next));
        here = next;
    }
    text
}
