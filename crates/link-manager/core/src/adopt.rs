//! What is taken from the peer: epochs first, then states, then edits.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use switchback_machine::Timestamp;
use switchback_model::{Content, Epoch, LinkId, Side};

use crate::input::ContentView;
use crate::machine::{LinkMachine, Out, PeerView, same_name};
use crate::message::{Header, Heartbeat, Message};
use crate::state::{Link, LinkState, Severity, Shared};

impl Link {
    /// The header of a message about this link.
    pub(crate) fn header(&self, epoch: Epoch) -> Header {
        Header { link: self.id, sender: self.local_incarnation, receiver: self.peer.incarnation, epoch }
    }
}

impl LinkMachine {
    /// Takes note of a message: true when it is between the agreed incarnations and may be obeyed.
    /// A higher epoch in it is applied before anything else is done with it.
    pub(crate) fn heard(&mut self, now: Timestamp, domain: &str, header: &Header, out: &mut Out) -> bool {
        let Some(link) = self.state.links.get(&header.link) else {
            self.on_stranger(domain, header, out);
            return false;
        };
        let agreed = link.peer.domain == domain
            && link.peer.incarnation == header.sender
            && link.local_incarnation == header.receiver
            && self.peers.get(domain).is_some_and(|(hello, _)| hello.incarnation == header.sender)
            && self.own.as_ref().is_some_and(|own| own.incarnation == link.local_incarnation);
        if !agreed || !link.is_established() {
            self.tell_of_other_life(domain, header, out);
            return false;
        }
        let observed = self.observed.entry(header.link).or_default();
        if !observed.contact {
            observed.contact = true;
            observed.contact_since = now;
        }
        observed.last_heard = now;
        observed.broken = None;
        self.hear(now, header.link, header.epoch, None, out);
        // The peer's epoch has been heard and applied: the wait after a start is over.
        if let Some(observed) = self.observed.get_mut(&header.link) {
            observed.hold_until = None;
        }
        true
    }

    /// Not obeyed, but answered: who means us, and is another life of the system that our record
    /// names, holds the restored link while the answer to the restore never came here. Unless it
    /// is told so it would wait for ever, and should it have gone on in a later epoch, only it can
    /// restore the link again. While our own proposal is under way its answer will settle it.
    fn tell_of_other_life(&self, domain: &str, header: &Header, out: &mut Out) {
        let Some(link) = self.state.links.get(&header.link).filter(|link| link.peer.domain == domain) else {
            return;
        };
        let here = self.peers.get(domain).is_some_and(|(hello, _)| hello.incarnation == header.sender);
        let us = self.own.as_ref().is_some_and(|own| own.incarnation == header.receiver);
        if here && us && link.peer.incarnation != header.sender && link.proposing.is_none() {
            self.send(domain, Message::OtherLife(header.link), out);
        }
    }

    /// A link that is not on record here: deleted by an operator, or never known.
    fn on_stranger(&mut self, domain: &str, header: &Header, out: &mut Out) {
        let message = if self.state.deleted.contains(&header.link) {
            let back = Header { sender: header.receiver, receiver: header.sender, ..*header };
            Message::Farewell(back)
        } else {
            Message::UnknownLink(header.link)
        };
        self.send(domain, message, out);
    }

    /// Applies an epoch that somebody named. One that names the other side demotes us at once. One
    /// that names us is not taken by hearsay: it is minted here, or granted; to hear of it only
    /// keeps us read-only.
    pub(crate) fn hear(
        &mut self,
        now: Timestamp,
        id: LinkId,
        epoch: Epoch,
        shared: Option<&Shared>,
        out: &mut Out,
    ) {
        let Some(link) = self.state.links.get(&id) else { return };
        if epoch <= link.shared.epoch {
            return;
        }
        let mut link = link.clone();
        let name = link.shared.name.clone();
        if epoch.holder() == link.side {
            if epoch > link.heard {
                link.heard = epoch;
                self.put(link, out);
            }
            return;
        }
        let before = link.shared.epoch;
        link.heard = link.heard.max(epoch);
        link.shared.epoch = epoch;
        // Until the peer tells more, the state that its epoch implies.
        link.shared.revision = 0;
        link.shared.state =
            if epoch.holder() == Side::Replica { LinkState::FailedOver } else { LinkState::Replicating };
        if let Some(shared) = shared.filter(|shared| shared.epoch == epoch) {
            link.shared.revision = shared.revision;
            link.shared.state = shared.state;
        }
        let (peer, side) = (link.peer.name.clone(), link.side);
        if let Some(observed) = self.observed.get_mut(&id) {
            observed.phase = None;
            observed.grant = None;
        }
        self.put(link, out);
        if before.holder() == side {
            let text = format!(
                "link {name}: {peer} has taken epoch {epoch}; this side (epoch {before}) is read-only"
            );
            self.event(now, Severity::Warning, "demoted", &name, text, out);
        } else {
            let text = format!("link {name}: {peer} has taken epoch {epoch}; it held {before} as well");
            self.event(now, Severity::Notice, "epoch-taken", &name, text, out);
        }
    }

    pub(crate) fn on_heartbeat(&mut self, now: Timestamp, id: LinkId, heartbeat: Heartbeat, out: &mut Out) {
        self.hear(now, id, heartbeat.shared.epoch, Some(&heartbeat.shared), out);
        self.adopt_state(now, id, &heartbeat.shared, out);
        self.adopt_edits(now, id, &heartbeat.shared, out);
        let Some(link) = self.state.links.get(&id).cloned() else { return };
        if let Some(observed) = self.observed.get_mut(&id) {
            observed.peer = Some(PeerView {
                epoch: heartbeat.shared.epoch,
                revision: heartbeat.shared.revision,
                state: heartbeat.shared.state,
                mode: heartbeat.mode,
                in_sync: heartbeat.in_sync,
                trouble: heartbeat.trouble,
            });
            let returned = observed.peer_writes(link.shared.epoch) && link.shared.epoch.holder() != link.side;
            if returned && link.announce {
                self.announce(now, link, out);
            }
        }
    }

    /// Within an epoch, the state is what the side that it names says.
    fn adopt_state(&mut self, now: Timestamp, id: LinkId, theirs: &Shared, out: &mut Out) {
        let Some(link) = self.state.links.get(&id) else { return };
        let ours = &link.shared;
        let newer = theirs.revision > ours.revision
            || (theirs.revision == ours.revision && theirs.state != ours.state);
        if theirs.epoch != ours.epoch || ours.epoch.holder() == link.side || !newer {
            return;
        }
        let mut link = link.clone();
        let (before, after, name) = (link.shared.state, theirs.state, link.shared.name.clone());
        link.shared.revision = theirs.revision;
        link.shared.state = after;
        self.put(link, out);
        if before != after {
            let text = format!("link {name} is {after}");
            self.event(now, Severity::Notice, "state-changed", &name, text, out);
        }
    }

    /// What operators edit: the later edit wins, the epoch's holder a tie. The other is shown.
    fn adopt_edits(&mut self, now: Timestamp, id: LinkId, theirs: &Shared, out: &mut Out) {
        let colliding = self.colliding(theirs);
        if let Some(observed) = self.observed.get_mut(&id) {
            observed.colliding.clone_from(&colliding);
        }
        let Some(link) = self.state.links.get(&id) else { return };
        let ours = &link.shared;
        // Without its mover this side cannot tell whether it may take them.
        if self.mover.is_none() && theirs.contents != ours.contents {
            return;
        }
        let contents: Vec<Content> =
            theirs.contents.iter().filter(|content| !colliding.contains(content)).cloned().collect();
        let differs = theirs.suspended != ours.suspended
            || theirs.paused != ours.paused
            || theirs.settings != ours.settings
            || contents != ours.contents
            || theirs.name != ours.name;
        let wins =
            theirs.edited > ours.edited || (theirs.edited == ours.edited && ours.epoch.holder() != link.side);
        if !wins || (!differs && theirs.edited == ours.edited) {
            return;
        }
        let tie = theirs.edited == ours.edited;
        let mut link = link.clone();
        let (peer, name) = (link.peer.name.clone(), link.shared.name.clone());
        link.shared = Shared {
            epoch: link.shared.epoch,
            revision: link.shared.revision,
            state: link.shared.state,
            contents,
            ..theirs.clone()
        };
        self.put(link, out);
        if tie {
            let text = format!("link {name} was edited on both sides apart; the edit made on {peer} holds");
            self.event(now, Severity::Warning, "settings-conflict", &name, text, out);
        } else if differs {
            let text = format!("link {name} was changed on {peer}");
            self.event(now, Severity::Notice, "link-updated", &name, text, out);
        }
    }

    /// What the peer has put on the link and what is another content of the same name here: kept on
    /// both sides, merged on neither, and left off the link on this side, because an access that the
    /// mover cannot set would keep the rest of the link from being failed over.
    fn colliding(&self, theirs: &Shared) -> Vec<Content> {
        let is_other = |view: &ContentView, content: &Content| {
            same_name(&view.content, content) && view.content.id != content.id
        };
        let views = || self.mover.iter().flat_map(|mover| &mover.contents);
        let taken = theirs.contents.iter().filter(|content| views().any(|view| is_other(view, content)));
        taken.cloned().collect()
    }

    pub(crate) fn heartbeat(&self, link: &Link, observed: &crate::machine::Observed) -> Heartbeat {
        let confirmed = observed.barrier(link.shared.epoch);
        let trouble = if self.mover.is_none() {
            String::from("its data mover cannot be reached")
        } else if !observed.contact {
            // A line that is cut one way: the side that still hears must not call the link healthy.
            String::from("it does not hear this side")
        } else if let Some(content) = observed.colliding.first() {
            format!(
                "{content} is a different {} there; rename or delete one of them, or take it off the link",
                content.kind
            )
        } else {
            observed.access_trouble.clone()
        };
        Heartbeat {
            shared: link.shared.clone(),
            mode: confirmed.map(|(access, _)| access.mode),
            in_sync: self.in_sync(link),
            trouble,
        }
    }

    /// The peer no longer knows the link.
    pub(crate) fn on_unknown(&mut self, now: Timestamp, domain: &str, id: LinkId, out: &mut Out) {
        if self.state.deleted.contains(&id) {
            self.commit(crate::Change::RemoveDeleted(id), out);
            return;
        }
        self.break_link(now, domain, id, |link, peer| format!("{peer} has no record of link {link}"), out);
    }

    /// The peer knows the link with an earlier life of this system.
    pub(crate) fn on_other_life(&mut self, now: Timestamp, domain: &str, id: LinkId, out: &mut Out) {
        let reason = |link: &str, peer: &str| {
            format!("{peer} has link {link} on record with this system as it was before it was rebuilt")
        };
        self.break_link(now, domain, id, reason, out);
    }

    fn break_link(
        &mut self,
        now: Timestamp,
        domain: &str,
        id: LinkId,
        reason: impl FnOnce(&str, &str) -> String,
        out: &mut Out,
    ) {
        let Some(link) = self.state.links.get(&id).filter(|link| link.peer.domain == domain) else { return };
        let name = link.shared.name.clone();
        let reason = reason(&name, &link.peer.name);
        let Some(observed) = self.observed.get_mut(&id) else { return };
        if observed.broken.replace(reason.clone()).is_none() {
            let text = format!("{reason}: the link is broken; restore it");
            self.event(now, Severity::Error, "link-broken", &name, text, out);
        }
    }
}
