//! Failing over: mint, fence, drain, open; and going on alone when the other side is lost.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use switchback_machine::Timestamp;
use switchback_model::{AccessMode, LinkId, Side};

use crate::Error;
use crate::input::{Command, Position};
use crate::machine::{LinkMachine, Out, Phase};
use crate::message::{Header, Message};
use crate::output::Done;
use crate::state::{Goal, Link, LinkState, Severity};

fn or_default(ms: u64, default: Duration) -> Duration {
    if ms == 0 { default } else { Duration::from_millis(ms) }
}

impl LinkMachine {
    /// `link fail-over`, on the replica.
    pub(crate) fn fail_over(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        no_drain: bool,
        accept_loss: &str,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        self.expect_side(link, Side::Replica)?;
        let mut done = self.plan_fail_over(link, no_drain, accept_loss)?;
        if command.plan {
            return Ok(Some(done));
        }
        let mut next = link.clone();
        let epoch = next.take_epoch();
        next.shared.state = LinkState::FailingOver;
        next.announce = false;
        let fence = or_default(link.shared.settings.fence_time_ms, self.policy.fence_time);
        let reachable = self.is_reachable(link);
        let name = link.shared.name.clone();
        self.put(next, out);
        if let Some(observed) = self.observed.get_mut(&link.id) {
            // Just after a start nobody can say yet that contact is gone.
            let may_be_reachable = reachable || observed.hold_until.is_some();
            observed.phase = Some(Phase::Fencing { until: if may_be_reachable { now + fence } else { now } });
            observed.no_drain = no_drain;
            observed.hold_until = None;
            observed.grant = None;
        }
        self.event(
            now,
            Severity::Warning,
            "failover-started",
            &name,
            format!("link {name}: failover started, epoch {epoch}"),
            out,
        );
        done.link = link.id;
        self.accept(command, Goal::Reached(epoch), done, out);
        Ok(None)
    }

    fn plan_fail_over(&self, link: &Link, no_drain: bool, accept_loss: &str) -> Result<Done, Error> {
        let shared = &link.shared;
        match shared.state {
            LinkState::FailingOver => {
                return Err(
                    self.wrong_state(link, "a failover is under way; watch it with `switchback link show`")
                );
            }
            LinkState::FailedOver if shared.epoch.holder() == Side::Replica => {
                return Err(self.wrong_state(link, "this side is the writer already; begin recovery when the primary is back: `switchback link recovery begin`"));
            }
            _ => {}
        }
        self.expect_mover()?;
        let silent = self.observed.get(&link.id).is_some_and(|observed| observed.silent);
        let unsafe_source = !link.was_in_sync || silent || shared.epoch < link.heard;
        if unsafe_source && !accept_loss.eq_ignore_ascii_case(&shared.name) {
            let reason = format!(
                "this side has not been in sync with the primary since the link was made or restored, so a failover would lose data; wait for the first copy, or say `--accept-loss {}`",
                shared.name
            );
            return Err(Error::NotNow { reason });
        }
        let (peer, reachable) = (&link.peer.name, self.is_reachable(link));
        let mut steps = Vec::new();
        let mut warnings = Vec::new();
        if reachable {
            steps.push(format!("fence {peer}: its content becomes read-only"));
            if !no_drain && shared.state == LinkState::Replicating && !shared.suspended {
                steps.push(format!("drain from {peer} what has not been replicated yet"));
            }
        } else {
            warnings.push(format!("{peer} cannot be reached: if it is alive it stays read-write until it hears of this failover, and what it has not replicated stays there until recovery"));
        }
        steps.push("make the content of the link read-write here".to_string());
        if shared.settings.dns_failover {
            steps.push("lead the names of the link's tenants to this system".to_string());
        } else {
            warnings.push(
                "DNS failover is disabled for this link: redirect clients to this system yourself"
                    .to_string(),
            );
        }
        if unsafe_source {
            warnings.push("this side was never in sync: what only the primary holds may be lost".to_string());
        }
        Ok(Done { link: link.id, steps, warnings, moves_authority: true })
    }

    /// A message can be expected to arrive: by the link managers' stream or by the movers'.
    pub(crate) fn is_reachable(&self, link: &Link) -> bool {
        let contact = self.observed.get(&link.id).is_some_and(|observed| observed.contact);
        contact || self.flows_of(link.id).is_some_and(|flows| flows.contact)
    }

    /// Drives an intent to fail over on: after the fence, or its time, to the drain; after that,
    /// or its time, to the opening.
    pub(crate) fn advance_failover(&mut self, now: Timestamp, id: LinkId, out: &mut Out) {
        let Some(link) = self.state.links.get(&id).filter(|link| link.is_failing_over_here()) else { return };
        let epoch = link.shared.epoch;
        let fenced_by_mover =
            self.flows_of(id).is_some_and(|flows| flows.contact && flows.peer_epoch >= epoch);
        let fence = or_default(link.shared.settings.fence_time_ms, self.policy.fence_time);
        let drained = |heads: &Vec<Position>| heads.iter().all(|head| self.is_applied(link, head));
        let Some(observed) = self.observed.get(&id) else { return };
        let (open, fenced) = match &observed.phase {
            // A restart in the middle: fence again, for as long as before.
            None => {
                let until = now + fence;
                if let Some(observed) = self.observed.get_mut(&id) {
                    observed.phase = Some(Phase::Fencing { until });
                }
                return;
            }
            Some(Phase::Fencing { .. }) if fenced_by_mover && !observed.contact => (true, true),
            Some(Phase::Fencing { until }) => (*until <= now, false),
            Some(Phase::Draining { until, heads }) => (*until <= now || drained(heads), true),
        };
        if open {
            let link = link.clone();
            self.open(now, link, fenced, out);
        }
    }

    fn is_applied(&self, link: &Link, head: &Position) -> bool {
        let paused = link.shared.paused.contains(&head.content);
        let applied = self.flow_of(link.id, head.content).and_then(|flow| flow.applied);
        paused
            || applied.is_some_and(|applied| applied.feed == head.feed && applied.sequence >= head.sequence)
    }

    fn open(&mut self, now: Timestamp, mut link: Link, fenced: bool, out: &mut Out) {
        link.shared.state = LinkState::FailedOver;
        link.shared.revision += 1;
        let (name, epoch, peer) = (link.shared.name.clone(), link.shared.epoch, link.peer.name.clone());
        let id = link.id;
        let dns = link.shared.settings.dns_failover;
        self.put(link, out);
        if let Some(observed) = self.observed.get_mut(&id) {
            observed.phase = None;
        }
        let fence = if fenced {
            format!("{peer} is read-only")
        } else {
            format!("{peer} could not be told and may still be read-write")
        };
        self.event(
            now,
            Severity::Warning,
            "failed-over",
            &name,
            format!("link {name} is failed over, epoch {epoch}: content is read-write here; {fence}"),
            out,
        );
        if !dns {
            let text = format!("link {name}: DNS failover is disabled; redirect clients to this system now");
            self.event(now, Severity::Warning, "redirect-clients", &name, text, out);
        }
    }

    /// The replica has fenced us. Its epoch is applied already; it is answered when our access
    /// mode is durable.
    pub(crate) fn on_fence(&mut self, header: &Header, out: &mut Out) {
        let Some(link) = self.state.links.get(&header.link).cloned() else { return };
        if link.shared.epoch != header.epoch || link.side != Side::Primary {
            return;
        }
        let Some(observed) = self.observed.get_mut(&header.link) else { return };
        match observed.barrier(header.epoch) {
            Some((access, heads)) if access.mode == AccessMode::ReadOnly => {
                let message = Message::Fenced(link.header(header.epoch), heads.clone());
                self.send(&link.peer.domain, message, out);
            }
            _ => observed.fence_to_answer = Some(header.epoch),
        }
    }

    /// The primary is fenced, durably: its tail can be drained.
    pub(crate) fn on_fenced(&mut self, now: Timestamp, header: &Header, heads: Vec<Position>, out: &mut Out) {
        let Some(link) = self.state.links.get(&header.link).cloned() else { return };
        let Some(observed) = self.observed.get_mut(&header.link) else { return };
        let awaited =
            matches!(observed.phase, Some(Phase::Fencing { .. })) && header.epoch == link.shared.epoch;
        if link.shared.state != LinkState::FailingOver || !awaited {
            return;
        }
        if observed.no_drain || link.shared.suspended {
            self.open(now, link, true, out);
            return;
        }
        let drain = or_default(link.shared.settings.drain_time_ms, self.policy.drain_time);
        observed.phase = Some(Phase::Draining { until: now + drain, heads });
    }

    /// `link declare-lost`, on the survivor: while it is read-only, or, while the link is broken, to take an
    /// epoch above one that the other side made unheard.
    pub(crate) fn declare_lost(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        confirm: &str,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        let observed = self.observed.get(&link.id).cloned().unwrap_or_default();
        if observed.is_confirmed(AccessMode::ReadWrite, link.shared.epoch) && observed.broken.is_none() {
            return Err(self.wrong_state(link, "this side is the writer already; nothing needs to be declared lost. A rebuilt other side is brought back with `switchback link restore`"));
        }
        if self.is_reachable(link) && observed.broken.is_none() {
            let reason = match link.side {
                Side::Replica => "the other side is here: use `switchback link fail-over`",
                Side::Primary => {
                    "the other side is here: recover with `switchback link recovery begin` and `complete` on the replica"
                }
            };
            return Err(self.wrong_state(link, reason));
        }
        self.expect_mover()?;
        if !command.plan && !confirm.eq_ignore_ascii_case(&link.shared.name) {
            let reason = format!(
                "declaring {} lost cannot be undone; look at `--plan` first, then say `--confirm {}`",
                link.peer.name, link.shared.name
            );
            return Err(Error::Invalid { reason });
        }
        let done = Done {
            link: link.id,
            steps: vec![
                "take the next epoch".to_string(),
                "make the content of the link read-write here".to_string(),
            ],
            warnings: vec![format!(
                "what only {} holds is lost unless it comes back; should it come back, it becomes read-only and its writes are merged",
                link.peer.name
            )],
            moves_authority: true,
        };
        if command.plan {
            return Ok(Some(done));
        }
        let mut next = link.clone();
        let epoch = next.take_epoch();
        let text = format!(
            "link {}: {} was declared lost; {}",
            link.shared.name,
            link.peer.name,
            self.known_missing(link)
        );
        next.shared.state =
            if link.side == Side::Replica { LinkState::FailedOver } else { LinkState::Replicating };
        next.announce = false;
        self.put(next, out);
        if let Some(observed) = self.observed.get_mut(&link.id) {
            observed.hold_until = None;
            observed.phase = None;
        }
        self.event(now, Severity::Error, "declared-lost", &link.shared.name, text, out);
        self.accept(command, Goal::Reached(epoch), done, out);
        Ok(None)
    }

    /// What this side knows of the peer's changes that it does not hold.
    fn known_missing(&self, link: &Link) -> String {
        let (objects, bytes) = self.flows_of(link.id).map_or((0, 0), |flows| {
            flows.flows.iter().fold((0, 0), |(objects, bytes), flow| {
                (objects + flow.peer_pending_objects, bytes + flow.peer_pending_bytes)
            })
        });
        format!(
            "of its changes {objects} objects ({bytes} bytes) are known to be missing here, and none that it did not tell of can be known"
        )
    }
}
