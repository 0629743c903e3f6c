//! Recovery: begin, complete, and the grant that ends it. Authority is given up before it is
//! given away, and it is pulled: the primary, equal to the sealed content, asks with a fresh nonce.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use switchback_machine::Timestamp;
use switchback_model::{AccessMode, Epoch, Side};

use crate::Error;
use crate::input::{Command, ContentView};
use crate::machine::{LinkMachine, Out};
use crate::message::{Header, Message, Sealed};
use crate::output::Done;
use crate::state::{Goal, Link, LinkState, Severity};
use crate::transfer;

impl LinkMachine {
    /// `link recovery begin`, on the replica.
    pub(crate) fn begin_recovery(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        self.expect_side(link, Side::Replica)?;
        match link.shared.state {
            LinkState::FailedOver => {}
            LinkState::Replicating => {
                return Err(
                    self.wrong_state(link, "there is nothing to recover from; recovery follows a failover")
                );
            }
            LinkState::FailingOver => return Err(self.wrong_state(link, "wait until the failover has ended")),
            LinkState::Recovering => {
                return Err(self.wrong_state(
                    link,
                    "recovery is under way; watch it with `switchback link recovery status --watch`",
                ));
            }
            LinkState::Completing => {
                return Err(self.wrong_state(
                    link,
                    "recovery is being completed; watch it with `switchback link recovery status --watch`",
                ));
            }
        }
        self.expect_contact(link)?;
        let observed = self.observed.get(&link.id).cloned().unwrap_or_default();
        if !observed.peer_is_fenced(link.shared.epoch) {
            let reason = format!(
                "{} has not confirmed yet that it is read-only as of epoch {}; try again in a moment",
                link.peer.name, link.shared.epoch
            );
            return Err(Error::NotNow { reason });
        }
        if link.shared.suspended {
            return Err(self.wrong_state(link, "the link is suspended; `switchback link resume` first"));
        }
        let done = Done {
            link: link.id,
            steps: vec![
                format!("send what changed here to {}", link.peer.name),
                format!("take what {} had not replicated before the failover", link.peer.name),
            ],
            warnings: Vec::new(),
            moves_authority: false,
        };
        if command.plan {
            return Ok(Some(done));
        }
        self.move_to(link, LinkState::Recovering, out);
        let text = format!("link {}: data recovery started", link.shared.name);
        self.event(now, Severity::Notice, "recovery-started", &link.shared.name, text, out);
        self.accept(command, Goal::Recorded, done, out);
        Ok(None)
    }

    /// `link recovery complete`, on the replica.
    pub(crate) fn complete_recovery(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        anyway: bool,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        self.expect_side(link, Side::Replica)?;
        if link.shared.state != LinkState::Recovering {
            let next = match link.shared.state {
                LinkState::FailedOver => "begin recovery first: `switchback link recovery begin`",
                LinkState::Completing => {
                    "it is being completed already; watch it with `switchback link recovery status --watch`"
                }
                LinkState::Replicating | LinkState::FailingOver | LinkState::Recovering => {
                    "there is no recovery to complete"
                }
            };
            return Err(self.wrong_state(link, next));
        }
        self.expect_contact(link)?;
        self.expect_mover()?;
        self.expect_completable(link, anyway)?;
        let mut steps = vec![
            "make the content of the link read-only here, as it is on the primary".to_string(),
            "drain both directions to the end and compare digests".to_string(),
            format!("give authority back: {} becomes read-write", link.peer.name),
        ];
        if link.shared.settings.dns_failover {
            steps.push("lead the names of the link's tenants back to the primary".to_string());
        }
        let done = Done { link: link.id, steps, warnings: Vec::new(), moves_authority: true };
        if command.plan {
            return Ok(Some(done));
        }
        self.move_to(link, LinkState::Completing, out);
        let text = format!(
            "link {}: data recovery is being completed; content is read-only on both systems until it ends",
            link.shared.name
        );
        self.event(now, Severity::Notice, "recovery-completing", &link.shared.name, text, out);
        self.accept(command, Goal::Recorded, done, out);
        Ok(None)
    }

    fn expect_completable(&self, link: &Link, anyway: bool) -> Result<(), Error> {
        if link.shared.suspended {
            return Err(self.wrong_state(link, "the link is suspended; `switchback link resume` first"));
        }
        if let Some(paused) =
            link.shared.contents.iter().find(|content| link.shared.paused.contains(&content.id))
        {
            return Err(self.wrong_state(link, &format!("{paused} is paused; resume it first")));
        }
        let Some(flows) = self.flows_of(link.id) else {
            return Err(self.wrong_state(
                link,
                "the data mover has not reported on the flows yet; try again in a moment",
            ));
        };
        let retries: u64 = flows.flows.iter().map(|flow| flow.retries).sum();
        if retries > 0 {
            let reason = format!(
                "{retries} objects fail to be transferred: see `switchback link retries {name}`, mend them, or set them aside by name with `switchback link set-aside`",
                name = link.shared.name
            );
            return Err(Error::NotNow { reason });
        }
        let left = transfer::left(&flows.flows);
        if !anyway && left.seconds > self.policy.completion_backlog.as_secs() {
            let reason = format!(
                "about {} of transfer are left, during which neither side would accept writes; wait (`switchback link recovery status --watch`), or say `--anyway`",
                transfer::words(left)
            );
            return Err(Error::NotNow { reason });
        }
        Ok(())
    }

    fn move_to(&mut self, link: &Link, state: LinkState, out: &mut Out) {
        let mut next = link.clone();
        next.shared.state = state;
        next.shared.revision += 1;
        self.put(next, out);
    }

    /// On the primary at the end of a recovery: asks for authority as soon as both sides are
    /// read-only and equal, and again after a while if no answer came.
    pub(crate) fn ask_for_grants(&mut self, now: Timestamp, out: &mut Out) {
        let asking: Vec<Link> =
            self.state.links.values().filter(|link| self.may_ask(now, link)).cloned().collect();
        for link in asking {
            let Some(sealed) = self.sealed(&link) else { continue };
            let nonce = self.nonce();
            let again = now + self.policy.heartbeat;
            if let Some(observed) = self.observed.get_mut(&link.id) {
                observed.grant = Some((nonce, again));
            }
            let message = Message::GrantRequest(link.header(link.shared.epoch), nonce, sealed);
            self.send(&link.peer.domain, message, out);
        }
    }

    fn may_ask(&self, now: Timestamp, link: &Link) -> bool {
        let epoch = link.shared.epoch;
        let Some(observed) = self.observed.get(&link.id) else { return false };
        link.side == Side::Primary
            && link.is_established()
            && link.shared.state == LinkState::Completing
            && observed.contact
            && !observed.silent
            && observed.grant.is_none_or(|(_, again)| again <= now)
            && observed.is_confirmed(AccessMode::ReadOnly, epoch)
            // The replica is read-only in this epoch, or has granted already and the grant was lost.
            && (observed.peer_is_fenced(epoch) || link.heard == epoch.next_for(Side::Primary))
            && self.in_sync(link)
    }

    fn sealed(&self, link: &Link) -> Option<Vec<Sealed>> {
        let contents = link.shared.contents.iter();
        contents
            .map(|content| {
                let view = self.content_of(content.id)?;
                let applied = self.flow_of(link.id, content.id)?.applied?;
                Some(Sealed { applied, head: view.head, digest: view.digest.clone() })
            })
            .collect()
    }

    fn content_of(&self, id: switchback_model::ContentId) -> Option<&ContentView> {
        self.mover.as_ref()?.contents.iter().find(|view| view.content.id == id)
    }

    /// On the replica: the primary asks for authority.
    pub(crate) fn on_grant_request(
        &mut self,
        now: Timestamp,
        header: &Header,
        nonce: u64,
        asked: &[Sealed],
        out: &mut Out,
    ) {
        let Some(link) = self.state.links.get(&header.link).cloned() else { return };
        let granted = link.granted == Some(link.shared.epoch)
            && link.shared.epoch == header.epoch.next_for(Side::Primary);
        let answer = if link.side != Side::Replica {
            Err("this side is the primary".to_string())
        } else if granted {
            Ok(link.shared.epoch)
        } else {
            self.judge_grant(&link, header.epoch, asked).map(|()| self.grant(now, &link, out))
        };
        self.send(&link.peer.domain, Message::Grant(link.header(header.epoch), nonce, answer), out);
    }

    fn judge_grant(&self, link: &Link, epoch: Epoch, asked: &[Sealed]) -> Result<(), String> {
        let refuse = |reason: &str| Err(reason.to_string());
        if link.shared.epoch != epoch || link.shared.state != LinkState::Completing {
            return Err(format!("this side is {} at epoch {}", link.shared.state, link.shared.epoch));
        }
        let observed = self.observed.get(&link.id).ok_or("unknown link")?;
        let sealed = match observed.barrier(epoch) {
            Some((access, sealed)) if access.mode == AccessMode::ReadOnly => sealed,
            _ => return refuse("this side is not durably read-only yet"),
        };
        if !self.in_sync(link) {
            return refuse("this side has not proven yet that both hold the same");
        }
        for content in &link.shared.contents {
            let ours = self.content_of(content.id).ok_or("this side's mover has not reported")?;
            let theirs = asked
                .iter()
                .find(|one| one.applied.content == content.id)
                .ok_or("a content is missing from the request")?;
            let seal = sealed.iter().find(|one| one.content == content.id).map_or(0, |one| one.sequence);
            if theirs.applied.feed != ours.head.feed || theirs.applied.sequence < seal {
                return Err(format!("{content}: the sealed changes are not all applied"));
            }
            if theirs.digest != ours.digest {
                return Err(format!("{content}: digests differ"));
            }
        }
        Ok(())
    }

    /// Records the grant. It is durable before the answer leaves.
    fn grant(&mut self, now: Timestamp, link: &Link, out: &mut Out) -> Epoch {
        let epoch = link.shared.epoch.next_for(Side::Primary);
        let mut next = link.clone();
        next.shared.epoch = epoch;
        next.shared.revision += 1;
        next.shared.state = LinkState::Replicating;
        next.heard = next.heard.max(epoch);
        next.granted = Some(epoch);
        next.announce = true;
        self.put(next, out);
        let text = format!(
            "link {}: both systems hold the same; authority is given back to {}, epoch {epoch}",
            link.shared.name, link.peer.name
        );
        self.event(now, Severity::Notice, "authority-granted", &link.shared.name, text, out);
        epoch
    }

    /// On the primary: the answer. Only the one that was asked for, on this stream, in this epoch,
    /// counts.
    pub(crate) fn on_grant(
        &mut self,
        now: Timestamp,
        header: &Header,
        nonce: u64,
        granted: Result<Epoch, String>,
        out: &mut Out,
    ) {
        let Some(link) = self.state.links.get(&header.link).cloned() else { return };
        let Some(observed) = self.observed.get_mut(&header.link) else { return };
        let asked = observed.grant.is_some_and(|(asked, _)| asked == nonce);
        let fits = link.side == Side::Primary
            && link.shared.state == LinkState::Completing
            && link.shared.epoch == header.epoch;
        if !asked || !fits {
            return;
        }
        let Ok(epoch) = granted else { return };
        if epoch != link.shared.epoch.next_for(Side::Primary) || link.heard > epoch {
            return;
        }
        observed.grant = None;
        let revision = observed.peer.as_ref().map_or(0, |peer| peer.revision).max(link.shared.revision) + 1;
        let mut next = link.clone();
        next.shared.epoch = epoch;
        next.shared.revision = revision;
        next.shared.state = LinkState::Replicating;
        next.heard = epoch;
        next.was_in_sync = true;
        next.announce = true;
        self.put(next, out);
        let text = format!("link {}: authority is back, epoch {epoch}", link.shared.name);
        self.event(now, Severity::Notice, "authority-received", &link.shared.name, text, out);
    }

    /// Everything has returned: tells the operator.
    pub(crate) fn announce(&mut self, now: Timestamp, mut link: Link, out: &mut Out) {
        link.announce = false;
        let name = link.shared.name.clone();
        let (dns, primary) = (link.shared.settings.dns_failover, link.side == Side::Primary);
        self.put(link, out);
        self.event(
            now,
            Severity::Notice,
            "recovery-completed",
            &name,
            "Replication data recovery completed".into(),
            out,
        );
        if !dns {
            let there = if primary { "this system" } else { "the primary" };
            let text = format!("link {name}: DNS failover is disabled; point clients at {there} again");
            self.event(now, Severity::Warning, "redirect-clients", &name, text, out);
        }
    }
}
