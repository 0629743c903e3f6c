//! Operators' commands: repeats are recognised, then each goes to its decision.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use switchback_machine::Timestamp;
use switchback_model::{Content, Side};

use crate::input::{Command, CommandKind, Update};
use crate::machine::{LinkMachine, Out, Waiting, same_name};
use crate::output::{Done, Output};
use crate::state::{Goal, Link, LinkState, Severity};
use crate::{Error, zone};

impl LinkMachine {
    pub(crate) fn command(&mut self, now: Timestamp, command: &Command, out: &mut Out) {
        if let Some(record) = self.state.requests.get(&command.request).filter(|_| !command.plan) {
            let (link, goal) = (record.link, record.goal);
            let named = self.state.find(&command.link).is_none_or(|found| found.id == link);
            if named {
                let steps = vec!["this command was accepted before; nothing was done again".to_string()];
                self.waiting.push(Waiting {
                    token: command.token,
                    goal,
                    done: Done { link, steps, ..Done::default() },
                });
            } else {
                out.send(Output::Reply(command.token, Err(Error::RequestReused)));
            }
            return;
        }
        let answer = match &command.kind {
            CommandKind::Create(create) => self.create(now, command, create, out).map(|()| None),
            _ => self.command_link(now, command, out),
        };
        match answer {
            Ok(None) => {}
            Ok(Some(plan)) => out.send(Output::Reply(command.token, Ok(Box::new(plan)))),
            Err(error) => out.send(Output::Reply(command.token, Err(error))),
        }
    }

    fn command_link(
        &mut self,
        now: Timestamp,
        command: &Command,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        let link = self.state.find(&command.link).cloned();
        let link = link.ok_or_else(|| Error::UnknownLink { link: command.link.clone() })?;
        if !link.is_established() && !matches!(command.kind, CommandKind::Delete { .. }) {
            return Err(self.wrong_state(&link, "it is being created; try again in a moment"));
        }
        match &command.kind {
            CommandKind::Create(_) => Err(Error::LinkExists { link: command.link.clone() }),
            CommandKind::Update(update) => self.update(now, command, &link, update, out),
            CommandKind::Delete { without_peer } => self.delete(now, command, &link, *without_peer, out),
            CommandKind::Suspend => self.set_suspended(now, command, &link, true, out),
            CommandKind::Resume => self.set_suspended(now, command, &link, false, out),
            CommandKind::Pause(content) => self.set_paused(now, command, &link, content, true, out),
            CommandKind::Unpause(content) => self.set_paused(now, command, &link, content, false, out),
            CommandKind::FailOver { no_drain, accept_loss } => {
                self.fail_over(now, command, &link, *no_drain, accept_loss, out)
            }
            CommandKind::Restore => self.restore(now, command, &link, out),
            CommandKind::BeginRecovery => self.begin_recovery(now, command, &link, out),
            CommandKind::CompleteRecovery { anyway } => {
                self.complete_recovery(now, command, &link, *anyway, out)
            }
            CommandKind::DeclareLost { confirm } => self.declare_lost(now, command, &link, confirm, out),
        }
    }

    fn set_suspended(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        suspended: bool,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        self.expect_flows_may_change(link, suspended)?;
        let mut next = link.clone();
        next.shared.suspended = suspended;
        let what = if suspended { "suspended" } else { "resumed" };
        let step = if suspended {
            "stop all data of the link, on both systems"
        } else {
            "let the data of the link flow again"
        };
        self.edit(now, command, link, next, vec![step.to_string()], what, out)
    }

    /// Data can be let flow again in any state. A completion ends no sooner, when the order to hold it was
    /// given on the other side just before it began; and a failover whose replica was lost in the middle is
    /// left by a restore, before which an operator does what else the status says.
    fn expect_flows_may_change(&self, link: &Link, held: bool) -> Result<(), Error> {
        let is_moving = matches!(link.shared.state, LinkState::FailingOver | LinkState::Completing);
        if !(held && is_moving) {
            return Ok(());
        }
        Err(self.wrong_state(link, "wait until it has ended, or fail over to leave it"))
    }

    fn set_paused(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        content: &Content,
        paused: bool,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        self.expect_flows_may_change(link, paused)?;
        let found = link.shared.contents.iter().find(|one| same_name(one, content));
        let found = found.ok_or_else(|| Error::Invalid {
            reason: format!("{content} is not on link {}", link.shared.name),
        })?;
        let mut next = link.clone();
        if paused {
            next.shared.paused.insert(found.id);
        } else {
            next.shared.paused.remove(&found.id);
        }
        let (what, step) = if paused { ("changed", "stop") } else { ("changed", "resume") };
        self.edit(now, command, link, next, vec![format!("{step} the data of {content}")], what, out)
    }

    fn update(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        update: &Update,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        let frozen = !update.add.is_empty() || !update.remove.is_empty();
        if frozen && link.shared.state != LinkState::Replicating {
            return Err(self.wrong_state(link, "its content is frozen until it is replicating again"));
        }
        if frozen {
            self.expect_side(link, Side::Primary)?;
            self.expect_mover()?;
        }
        let mut next = link.clone();
        let mut steps = Vec::new();
        if let Some(address) = &update.peer_address {
            steps.push(format!("reach the other system at {address}"));
            next.peer_address.clone_from(address);
            next.peer.replication_address = replace_host(&link.peer.replication_address, address);
        }
        let settings = &mut next.shared.settings;
        if let Some(dns_failover) = update.dns_failover {
            steps.push(format!("{} DNS failover", if dns_failover { "enable" } else { "disable" }));
            settings.dns_failover = dns_failover;
        }
        settings.description = update.description.clone().unwrap_or_else(|| settings.description.clone());
        settings.fence_time_ms = update.fence_time_ms.unwrap_or(settings.fence_time_ms);
        settings.drain_time_ms = update.drain_time_ms.unwrap_or(settings.drain_time_ms);
        settings.conflict_policy = update.conflict_policy.unwrap_or(settings.conflict_policy);
        if let Some(schedule) = &update.schedule {
            steps.push(format!("send at most, while replicating: {schedule}"));
            settings.schedule.clone_from(schedule);
        }
        if let Some(priority) = update.priority {
            steps.push(format!("send by this order of tenants and directories: {priority}"));
            settings.priority = priority;
        }
        if let Some(compression) = update.compression {
            steps.push(format!("compress what is sent: {compression}"));
            settings.compression = compression;
        }
        for content in &update.remove {
            if !next.shared.contents.iter().any(|one| same_name(one, content)) {
                return Err(Error::Invalid {
                    reason: format!("{content} is not on link {}", link.shared.name),
                });
            }
            next.shared.contents.retain(|one| !same_name(one, content));
            steps.push(format!("protect {content} no more"));
        }
        for content in &update.add {
            next.shared.contents.push(self.linkable(content)?);
            steps.push(format!("protect {content}"));
        }
        next.shared.zone_base =
            zone::base_after(link.shared.zone_base, link.zone.as_ref(), update.zone_floor);
        next.shared.contents.sort();
        next.shared.contents.dedup();
        if next.shared.contents.is_empty() {
            return Err(Error::Invalid {
                reason: "a link protects at least one tenant or directory; delete the link instead".into(),
            });
        }
        if steps.is_empty() {
            steps.push("change settings of the link".to_string());
        }
        self.edit(now, command, link, next, steps, "updated", out)
    }

    /// Makes an edit durable. It has an order of its own, apart from the state's.
    fn edit(
        &mut self,
        now: Timestamp,
        command: &Command,
        link: &Link,
        mut next: Link,
        steps: Vec<String>,
        what: &str,
        out: &mut Out,
    ) -> Result<Option<Done>, Error> {
        let done = Done { link: link.id, steps, warnings: Vec::new(), moves_authority: false };
        if command.plan {
            return Ok(Some(done));
        }
        if next.shared != link.shared {
            next.shared.edited = (link.shared.epoch, link.shared.edited.1 + 1);
        }
        self.put(next, out);
        let text = format!("link {} was {what} by an operator: {}", link.shared.name, done.steps.join(", "));
        self.event(now, Severity::Notice, "link-updated", &link.shared.name, text, out);
        self.accept(command, Goal::Recorded, done, out);
        Ok(None)
    }

    pub(crate) fn expect_side(&self, link: &Link, side: Side) -> Result<(), Error> {
        if link.side == side {
            return Ok(());
        }
        Err(Error::WrongSide {
            link: link.shared.name.clone(),
            side: link.side,
            other: link.peer.name.clone(),
        })
    }

    pub(crate) fn expect_mover(&self) -> Result<(), Error> {
        let reason = "the data mover of this system cannot be reached; start it (`switchback system show` tells which services are up)";
        self.mover.as_ref().map(|_| ()).ok_or_else(|| Error::Unavailable { reason: reason.into() })
    }

    pub(crate) fn expect_contact(&self, link: &Link) -> Result<(), Error> {
        let observed = self.observed.get(&link.id).cloned().unwrap_or_default();
        if let Some(broken) = observed.broken {
            return Err(Error::NotNow {
                reason: format!(
                    "{broken}; restore the link first: `switchback link restore {}`",
                    link.shared.name
                ),
            });
        }
        if observed.silent {
            return Err(Error::NotNow { reason: "this system's own store was lost or replaced; the link must be restored from the other system".into() });
        }
        if !observed.contact {
            return Err(Error::NotNow { reason: self.no_contact(link) });
        }
        Ok(())
    }

    /// Why the peer of a link cannot be talked to.
    pub(crate) fn no_contact(&self, link: &Link) -> String {
        if self.peers.contains_key(&link.peer.domain) {
            let name = &link.peer.name;
            let was_heard = self
                .observed
                .get(&link.id)
                .is_some_and(|observed| observed.last_heard > Timestamp::default());
            return if was_heard {
                format!(
                    "{name} has gone silent though the connection stands: look at that system, and at the network to it"
                )
            } else {
                format!("{name} is connected but has not spoken about link {} yet", link.shared.name)
            };
        }
        let trouble = self.dial_troubles.get(&link.peer_address);
        let trouble = trouble.map_or_else(|| "no answer yet".to_string(), String::clone);
        format!("no contact with {} at {}: {trouble}", link.peer.name, link.peer_address)
    }

    pub(crate) fn wrong_state(&self, link: &Link, reason: &str) -> Error {
        Error::WrongState { link: link.shared.name.clone(), state: link.shared.state, reason: reason.into() }
    }
}

/// The old port at the new host.
fn replace_host(old: &str, address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    old.rsplit_once(':').map_or_else(String::new, |(_, port)| format!("{host}:{port}"))
}
