//! Taking leave of a link: forgotten here, told to the peer and to the mover, each until it is done.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use switchback_machine::Timestamp;
use switchback_model::LinkId;

use crate::input::Command;
use crate::machine::{LinkMachine, Out, lose_contact};
use crate::message::Message;
use crate::output::{Done, Output};
use crate::state::{Goal, Link, Severity};
use crate::{Change, Error};

impl LinkMachine {
    /// `link delete`.
    pub(crate) fn delete(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        without_peer: bool,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        let contact = self.observed.get(&link.id).is_some_and(|observed| observed.contact);
        if !contact && !without_peer {
            let reason = format!(
                "{} cannot be told ({}); with `--without-peer` it keeps its record, and its content stays read-only there until it is released",
                link.peer.name,
                self.no_contact(link)
            );
            return Err(Error::NotNow { reason });
        }
        let release = link.is_named();
        let own = if release {
            "becomes unlinked and read-write here"
        } else {
            "stays read-only here until it is released"
        };
        let done = Done {
            link: link.id,
            steps: alloc::vec![format!("forget the link; its content {own}")],
            warnings: alloc::vec!["the content is not protected by a replica any more".to_string()],
            moves_authority: false,
        };
        if command.plan {
            return Ok(Some(done));
        }
        self.commit(Change::PutDeleted(link.id), out);
        let farewell = Message::Farewell(link.header(link.shared.epoch));
        self.send(&link.peer.domain, farewell, out);
        self.forget(now, link, release, "deleted by an operator", out);
        self.remember(&command.request, link.id, Goal::Recorded, out);
        out.send(Output::Reply(command.token, Ok(alloc::boxed::Box::new(done))));
        Ok(None)
    }

    /// The link was deleted on the other side.
    pub(crate) fn on_farewell(&mut self, now: Timestamp, id: LinkId, out: &mut Out) {
        let Some(link) = self.state.links.get(&id).cloned() else { return };
        let release = link.is_named();
        self.send(&link.peer.domain, Message::UnknownLink(id), out);
        let by = format!("deleted on {}", link.peer.name);
        self.forget(now, &link, release, &by, out);
    }

    fn forget(&mut self, now: Timestamp, link: &Link, release: bool, by: &str, out: &mut Out) {
        if let Some(observed) = self.observed.get_mut(&link.id) {
            lose_contact(observed, now);
        }
        self.commit(Change::RemoveLink(link.id), out);
        if release {
            self.commit(Change::PutReleased(link.id), out);
        }
        self.observed.remove(&link.id);
        out.send(Output::ForgetLink { link: link.id, release });
        let text = format!("link {} was {by}", link.shared.name);
        self.event(now, Severity::Warning, "link-deleted", &link.shared.name, text, out);
    }

    /// The mover knows of links that are no more: this system ended before it could tell, or its record of
    /// them was lost. Their content is left alone until an operator releases it, or becomes free where
    /// that was promised.
    pub(crate) fn forget_strangers(&mut self, out: &mut Out) {
        let Some(mover) = &self.mover else { return };
        let released = &self.state.released;
        let is_left = |id: &LinkId, orphaned| orphaned && !released.contains(id);
        let contents = mover.contents.iter();
        let known: BTreeSet<LinkId> = contents
            .filter_map(|view| view.link.filter(|id| !is_left(id, view.orphaned)))
            .chain(mover.links.iter().map(|flows| flows.link))
            .collect();
        for link in known.iter().filter(|id| !self.state.links.contains_key(id)) {
            out.send(Output::ForgetLink { link: *link, release: released.contains(link) });
        }
        for done in released.difference(&known).copied().collect::<Vec<_>>() {
            self.commit(Change::RemoveReleased(done), out);
        }
    }
}
