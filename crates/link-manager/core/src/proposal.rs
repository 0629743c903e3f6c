//! Making a link and restoring one: what both systems must agree on.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use switchback_machine::Timestamp;
use switchback_model::{Content, Epoch, LinkId, Side};

use crate::input::{Command, Create, Hello};
use crate::machine::{Creating, LinkMachine, Out, Waiting, same_name};
use crate::message::{Header, Message, Proposal};
use crate::output::{Done, Output};
use crate::policy::LINKS_MAX;
use crate::state::{Goal, Link, LinkState, Peer, Proposing, Severity, Shared};
use crate::{Change, Error, zone};

/// 2020-01-01 in Unix seconds: the zero of [`Shared::zone_base`].
const ZONE_BASE_UNIX_SECONDS: u64 = 1_577_836_800;

/// The peer as its hello tells it.
pub(crate) fn peer_of(hello: &Hello) -> Peer {
    Peer {
        system: hello.system,
        incarnation: hello.incarnation,
        domain: hello.domain.clone(),
        name: hello.name.clone(),
        replication_address: hello.replication_address.clone(),
        gateway: hello.gateway.clone(),
        name_server_addresses: hello.name_server_addresses.clone(),
        dnskeys: hello.dnskeys.clone().unwrap_or_default(),
    }
}

impl LinkMachine {
    /// `link create`, on the primary. The peer may still have to be reached.
    pub(crate) fn create(
        &mut self,
        now: Timestamp,
        command: &Command,
        create: &Create,
        out: &mut Out,
    ) -> Result<(), Error> {
        let mut create = create.clone();
        self.expect_mover()?;
        if self.state.links.len() >= LINKS_MAX {
            return Err(Error::Invalid { reason: format!("a system has at most {LINKS_MAX} links") });
        }
        if !is_name(&create.name) {
            let reason = "a link's name has 1 to 64 of the characters a-z, A-Z, 0-9, \"-\", \"_\" and \".\""
                .to_string();
            return Err(Error::Invalid { reason });
        }
        if self.state.find(&create.name).is_some()
            || self.creating.iter().any(|other| other.create.name.eq_ignore_ascii_case(&create.name))
        {
            return Err(Error::LinkExists { link: create.name });
        }
        if create.contents.is_empty() {
            return Err(Error::Invalid { reason: "a link protects at least one tenant or directory; name them with `--tenant` and `--directory`".into() });
        }
        create.contents =
            create.contents.iter().map(|content| self.linkable(content)).collect::<Result<_, _>>()?;
        create.contents.sort();
        create.contents.dedup();
        let until = now + self.policy.proposal_time;
        self.creating.push(Creating {
            token: command.token,
            request: command.request.clone(),
            create,
            until,
            plan: command.plan,
        });
        let known: Vec<Hello> = self.peers.values().map(|(hello, _)| hello.clone()).collect();
        for hello in known {
            self.create_with(now, &hello, out);
        }
        Ok(())
    }

    /// The content of this name on this system, if a link may protect it.
    pub(crate) fn linkable(&self, named: &Content) -> Result<Content, Error> {
        let refuse = |reason: String| Err(Error::Invalid { reason });
        let views = self.mover.iter().flat_map(|mover| &mover.contents);
        let Some(view) = views.into_iter().find(|view| same_name(&view.content, named)) else {
            return Err(Error::UnknownContent { content: named.to_string() });
        };
        if named.kind == switchback_model::ContentKind::Tenant && named.name == "default" {
            return refuse("the default tenant is replicated by its directories; name those".to_string());
        }
        if view.orphaned {
            return refuse(format!(
                "{named} was on a link before and is read-only; release it on the side that shall be the primary first: `switchback {} release {}`",
                named.kind, named.name
            ));
        }
        let other = self.state.links.values().find(|link| link.shared.contents.contains(&view.content));
        if let Some(other) = other {
            return refuse(format!(
                "{named} is protected by link {} already; a content is on one link at most",
                other.shared.name
            ));
        }
        Ok(view.content.clone())
    }

    /// A peer was reached: proposes the links that wait for it.
    pub(crate) fn create_with(&mut self, now: Timestamp, hello: &Hello, out: &mut Out) {
        let address = self.peers.get(&hello.domain).and_then(|(_, address)| address.clone());
        let (ready, rest) = core::mem::take(&mut self.creating)
            .into_iter()
            .partition(|creating| Some(&creating.create.peer_address) == address.as_ref());
        self.creating = rest;
        let ready: Vec<Creating> = ready;
        for creating in ready {
            let answer = self.start_link(now, &creating, hello, out);
            if let Err(error) = answer {
                out.send(Output::Reply(creating.token, Err(error)));
            }
        }
    }

    fn start_link(
        &mut self,
        now: Timestamp,
        creating: &Creating,
        hello: &Hello,
        out: &mut Out,
    ) -> Result<(), Error> {
        let own = self.own.clone().ok_or_else(|| {
            unavailable("the certificate service has not told who we are yet; try again in a moment")
        })?;
        if hello.system == own.system || hello.domain == own.domain {
            return Err(Error::Invalid {
                reason: "a system cannot be linked to itself; give the address of the other system".into(),
            });
        }
        let create = &creating.create;
        let mut warnings = Vec::new();
        if !create.settings.dns_failover {
            warnings.push("DNS failover is disabled: after a failover you redirect clients yourself (`switchback link update --dns-failover true` enables it)".to_string());
        }
        let steps = alloc::vec![
            format!("protect {} with {} as the replica", list(&create.contents), hello.name),
            "make the content read-only there and replicate what exists, then what changes".to_string(),
        ];
        let done = Done { link: create.id, steps, warnings, moves_authority: false };
        if creating.plan {
            out.send(Output::Reply(creating.token, Ok(alloc::boxed::Box::new(done))));
            return Ok(());
        }
        let nonce = self.nonce();
        let by_clock = u32::try_from((now.0 / 1000).saturating_sub(ZONE_BASE_UNIX_SECONDS)).unwrap_or(0);
        let link = Link {
            id: create.id,
            side: Side::Primary,
            peer_address: create.peer_address.clone(),
            peer: peer_of(hello),
            local_incarnation: own.incarnation,
            shared: Shared {
                epoch: Epoch(0),
                revision: 1,
                state: LinkState::Replicating,
                edited: (Epoch(0), 1),
                zone_base: zone::base_after(by_clock, None, create.zone_floor),
                suspended: false,
                name: create.name.clone(),
                contents: create.contents.clone(),
                paused: Default::default(),
                settings: create.settings.clone(),
            },
            heard: Epoch(0),
            was_in_sync: false,
            granted: None,
            proposing: Some(Proposing { nonce, restore: false }),
            announce: false,
            zone: None,
        };
        self.put(link.clone(), out);
        self.watch_proposal(now, link.id);
        self.remember(&creating.request, link.id, Goal::Established, out);
        self.waiting.push(Waiting { token: creating.token, goal: Goal::Established, done });
        self.propose(&link, out);
        Ok(())
    }

    fn watch_proposal(&mut self, now: Timestamp, id: LinkId) {
        let until = now + self.policy.proposal_time;
        let observed = self.observed.entry(id).or_default();
        observed.proposal_until = Some(until);
        observed.contact_since = now;
    }

    /// Sends, or sends again, the proposal that a link waits for.
    pub(crate) fn propose(&self, link: &Link, out: &mut Out) {
        let Some(proposing) = &link.proposing else { return };
        let Some((hello, _)) = self.peers.get(&link.peer.domain) else { return };
        let Some(own) = &self.own else { return };
        let header = Header {
            link: link.id,
            sender: own.incarnation,
            receiver: hello.incarnation,
            epoch: link.shared.epoch,
        };
        let proposal = Proposal {
            nonce: proposing.nonce,
            shared: link.shared.clone(),
            side: link.side,
            restore: proposing.restore,
        };
        self.send(&link.peer.domain, Message::Proposal(header, alloc::boxed::Box::new(proposal)), out);
    }

    /// `link restore`, on the side that still has the link.
    pub(crate) fn restore(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        let Some((hello, _)) = self.peers.get(&link.peer.domain).cloned() else {
            return Err(unavailable(&self.no_contact(link)));
        };
        let broken = self.observed.get(&link.id).and_then(|observed| observed.broken.clone());
        if broken.is_none() {
            return Err(self.wrong_state(link, "it is not broken: the other side knows it"));
        }
        if link.proposing.is_some() {
            return Err(self.wrong_state(link, "a restore is under way"));
        }
        let own = self.own.clone().ok_or_else(|| {
            unavailable("the certificate service has not told who we are yet; try again in a moment")
        })?;
        if self.observed.get(&link.id).is_some_and(|observed| observed.silent) {
            return Err(self.wrong_state(
                link,
                "this system's own store was lost or replaced; restore the link from the other system",
            ));
        }
        let mine = link.shared.epoch.holder() == link.side;
        if !mine {
            let reason = format!(
                "epoch {} names {}: this side does not hold the latest; if {} is gone for good, say `switchback link declare-lost` first",
                link.shared.epoch,
                link.side.other(),
                link.peer.name
            );
            return Err(Error::NotNow { reason });
        }
        let next_step = match link.side {
            Side::Replica => "then begin data recovery: `switchback link recovery begin`",
            Side::Primary => "then resume the link: `switchback link resume`",
        };
        let done = Done {
            link: link.id,
            steps: alloc::vec![
                format!("make the link again on {}, read-only there", hello.name),
                next_step.to_string()
            ],
            warnings: Vec::new(),
            moves_authority: false,
        };
        if command.plan {
            return Ok(Some(done));
        }
        let mut next = link.clone();
        let nonce = self.nonce();
        next.proposing = Some(Proposing { nonce, restore: true });
        next.local_incarnation = own.incarnation;
        self.put(next.clone(), out);
        self.watch_proposal(now, link.id);
        self.accept(command, Goal::Established, done, out);
        self.propose(&next, out);
        Ok(None)
    }

    /// The other side proposes a link, or the restore of one.
    pub(crate) fn on_proposal(
        &mut self,
        now: Timestamp,
        domain: &str,
        header: Header,
        proposal: Proposal,
        out: &mut Out,
    ) {
        let Some((hello, _)) = self.peers.get(domain).cloned() else { return };
        let refusal = match self.judge_proposal(&hello, &header, &proposal) {
            Ok(()) => {
                self.take_proposal(now, &hello, &header, &proposal, out);
                String::new()
            }
            Err(reason) => reason,
        };
        self.send(domain, Message::ProposalAnswer { nonce: proposal.nonce, link: header.link, refusal }, out);
    }

    fn judge_proposal(&self, hello: &Hello, header: &Header, proposal: &Proposal) -> Result<(), String> {
        let own = self.own.as_ref().ok_or("it does not know its own identity yet")?;
        let mover = self.mover.as_ref().ok_or("its data mover cannot be reached")?;
        if hello.system == own.system
            || header.receiver != own.incarnation
            || header.sender != hello.incarnation
        {
            return Err("the proposal is meant for another system".into());
        }
        let side = proposal.side.other();
        if let Some(known) = self.state.links.get(&header.link) {
            if known.side != side {
                return Err("it is the other side of this link already".into());
            }
            if known.shared.epoch > proposal.shared.epoch || known.heard > proposal.shared.epoch {
                let (heard, proposed) = (known.heard, proposal.shared.epoch);
                // From here nobody can restore the link: this side waits for it to be done from there.
                if self.observed.get(&header.link).is_some_and(|observed| observed.silent) {
                    return Err(format!(
                        "its own store was lost or went back in time, and it knows of epoch {heard}, which is later than {proposed}; say `switchback link declare-lost` first, which takes a later one, then restore again"
                    ));
                }
                return Err(format!(
                    "it knows of epoch {heard}, which is later than {proposed}; restore from this side would lose what was written since"
                ));
            }
        }
        if proposal.shared.epoch.holder() == side {
            return Err("the proposed epoch names this side".into());
        }
        let same = |link: &&Link| link.id != header.link;
        if let Some(other) = self
            .state
            .links
            .values()
            .filter(same)
            .find(|link| link.shared.name.eq_ignore_ascii_case(&proposal.shared.name))
        {
            return Err(format!("another link is named {} there", other.shared.name));
        }
        for content in &proposal.shared.contents {
            let there = mover.contents.iter().find(|view| same_name(&view.content, content));
            if there.is_some_and(|view| view.content.id != content.id) {
                return Err(format!(
                    "{content} exists there as a different {}; rename or delete one of them",
                    content.kind
                ));
            }
            let overlapping = self
                .state
                .links
                .values()
                .filter(same)
                .find(|link| link.shared.contents.iter().any(|one| same_name(one, content)));
            if let Some(other) = overlapping {
                return Err(format!("{content} is protected by link {} there", other.shared.name));
            }
        }
        Ok(())
    }

    fn take_proposal(
        &mut self,
        now: Timestamp,
        hello: &Hello,
        header: &Header,
        proposal: &Proposal,
        out: &mut Out,
    ) {
        let known = self.state.links.get(&header.link);
        let repeated = known.is_some_and(|link| {
            link.peer.incarnation == header.sender
                && link.local_incarnation == header.receiver
                && link.shared.epoch == proposal.shared.epoch
        });
        if repeated {
            return;
        }
        let dialled = self.peers.get(&hello.domain).and_then(|(_, address)| address.clone());
        let peer_address = dialled.unwrap_or_else(|| hello.link_address.clone());
        let link = Link {
            id: header.link,
            side: proposal.side.other(),
            peer_address,
            peer: peer_of(hello),
            local_incarnation: header.receiver,
            shared: proposal.shared.clone(),
            heard: proposal.shared.epoch,
            was_in_sync: false,
            granted: None,
            proposing: None,
            announce: false,
            zone: None,
        };
        let (name, side) = (link.shared.name.clone(), link.side);
        self.put(link, out);
        self.commit(Change::RemoveDeleted(header.link), out);
        self.commit(Change::RemoveReleased(header.link), out);
        self.observed
            .insert(header.link, crate::machine::Observed { contact_since: now, ..Default::default() });
        let what = if proposal.restore { "restored" } else { "created" };
        self.event(
            now,
            Severity::Notice,
            "link-created",
            &name,
            format!("link {name} was {what} by {}; this side is the {side}", hello.name),
            out,
        );
    }

    /// The other side has answered our proposal.
    pub(crate) fn on_answer(
        &mut self,
        now: Timestamp,
        domain: &str,
        nonce: u64,
        id: LinkId,
        refusal: &str,
        out: &mut Out,
    ) {
        let Some((hello, _)) = self.peers.get(domain).cloned() else { return };
        let Some(link) = self.state.links.get(&id).cloned() else { return };
        if link.proposing.as_ref().is_none_or(|proposing| proposing.nonce != nonce) {
            return;
        }
        if !refusal.is_empty() {
            let error = Error::RefusedByPeer { peer: hello.name, reason: refusal.into() };
            self.give_up(link, &error, out);
            return;
        }
        let restore = link.proposing.as_ref().is_some_and(|proposing| proposing.restore);
        let mut link = link;
        link.proposing = None;
        link.peer = peer_of(&hello);
        if restore {
            link.was_in_sync = link.side == Side::Replica;
            // What the other side did unheard in a life that is gone, it did in an epoch that nobody here
            // knows of, and told name servers so. Only now: two sides that refuse each other's restores
            // must not climb past each other.
            link.take_epoch();
        }
        let name = link.shared.name.clone();
        let observed = self.observed.entry(id).or_default();
        observed.proposal_until = None;
        observed.broken = None;
        observed.silent = false;
        self.put(link, out);
        let what = if restore { "restored on" } else { "created with" };
        self.event(
            now,
            Severity::Notice,
            "link-created",
            &name,
            format!("link {name} was {what} {}", hello.name),
            out,
        );
    }

    /// A proposal came to nothing: a new link is forgotten, a restore left for another try.
    fn give_up(&mut self, mut link: Link, error: &Error, out: &mut Out) {
        let id = link.id;
        let restore = link.proposing.as_ref().is_some_and(|proposing| proposing.restore);
        if restore {
            link.proposing = None;
            self.put(link, out);
            if let Some(observed) = self.observed.get_mut(&id) {
                observed.proposal_until = None;
            }
        } else {
            self.commit(Change::RemoveLink(id), out);
            // Should the other side have taken it after all, it will be told.
            self.commit(Change::PutDeleted(id), out);
            self.observed.remove(&id);
        }
        let (given_up, rest) = core::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|one: &Waiting| one.done.link == id && one.goal == Goal::Established);
        self.waiting = rest;
        let given_up: Vec<Waiting> = given_up;
        for one in given_up {
            out.send(Output::Reply(one.token, Err(error.clone())));
        }
        let requests: Vec<_> = self
            .state
            .requests
            .iter()
            .filter(|(_, record)| record.link == id && record.goal == Goal::Established)
            .map(|(request, _)| request.clone())
            .collect();
        for request in requests {
            self.commit(Change::RemoveRequest(request), out);
        }
    }

    pub(crate) fn expire_proposal(&mut self, now: Timestamp, id: LinkId, out: &mut Out) {
        let Some(link) = self.state.links.get(&id).filter(|link| link.proposing.is_some()).cloned() else {
            return;
        };
        match self.observed.get(&id).and_then(|observed| observed.proposal_until) {
            Some(until) if until <= now => {
                let error = unavailable(&format!(
                    "{} did not answer in time; {}",
                    link.peer.name,
                    self.no_contact(&link)
                ));
                self.give_up(link, &error, out);
            }
            Some(_) => {}
            // Started again in the middle of a proposal: give it its time from now.
            None => self.watch_proposal(now, id),
        }
    }

    pub(crate) fn expire_creating(&mut self, now: Timestamp, out: &mut Out) {
        let (over, rest) =
            core::mem::take(&mut self.creating).into_iter().partition(|creating| creating.until <= now);
        self.creating = rest;
        let over: Vec<Creating> = over;
        for creating in over {
            let address = &creating.create.peer_address;
            let trouble = self.dial_troubles.get(address).cloned().unwrap_or_else(|| "no answer".into());
            out.send(Output::Reply(
                creating.token,
                Err(unavailable(&format!("cannot reach {address}: {trouble}"))),
            ));
        }
    }
}

fn unavailable(reason: &str) -> Error {
    Error::Unavailable { reason: reason.into() }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn list(contents: &[Content]) -> String {
    contents.iter().map(Content::to_string).collect::<Vec<_>>().join(", ")
}
