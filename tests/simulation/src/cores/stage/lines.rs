//! Between the systems: connections, and what passes on them.

use switchback_link_core::{Hello, Input};

use crate::cores::mover::{Flowing, Mover};
use crate::cores::network::{Arrival, Delivery, Line, Parcel};
use crate::cores::site::Site;
use crate::cores::{Trouble, at_once, trust};
use crate::site::{LINK_PORT, Place, REPLICATION_PORT, Service, System};

use super::{Event, Phase, Stage};

/// The broadcaster is told again so often, in milliseconds.
const REPEAT_MS: u64 = 2_000;
/// Between two sweeps of tombstones, in milliseconds.
const SWEEP_MS: u64 = 5_000;

impl Stage {
    pub(in crate::cores) fn send(&mut self, line: Line, to: System, parcel: Parcel) {
        let arrival = self.network.send(line, to, parcel, self.now());
        self.arrives(arrival);
    }

    pub(super) fn arrival(&mut self, arrival: Arrival) {
        let Arrival { line, to, .. } = arrival;
        let parcel = match self.network.deliver(arrival, self.now()) {
            Delivery::Nothing => return,
            Delivery::Later(at_ms) => return self.arrives(Arrival { at_ms, ..arrival }),
            Delivery::Parcel(parcel) => parcel,
        };
        match parcel {
            Parcel::Up(hello) => self.comes_up(line, to, hello),
            Parcel::Message(message) => {
                let domain = to.other().domain();
                self.record.event(&format!("{to} gets {}", crate::cores::operator::word(&message)));
                self.manage(to, Some(Input::MessageReceived { domain, message: *message }));
            }
            Parcel::Beat(beat) => {
                let now = self.now();
                let Some(mover) = &mut self.site(to).mover else { return };
                let heard = at_once(mover.hear(*beat, now));
                match self.outcome(Place(to, Service::DataMover), heard) {
                    Some(true) => self.nudge(to),
                    Some(false) => self.close(line, to, "the two systems do not mean the same link"),
                    None => {}
                }
            }
            Parcel::Flow(flowing) => self.flow(line, to, *flowing),
            Parcel::End => {
                if self.network.goes_down(line, to) {
                    self.went_down(line, to, "the other system ended the connection");
                }
            }
        }
    }

    pub(super) fn comes_up(&mut self, line: Line, to: System, hello: Option<Box<Hello>>) {
        self.network.comes_up(line, to);
        match (line, hello) {
            (Line::Links, Some(hello)) => {
                self.record.event(&format!("{to} has a stream"));
                let address = format!("{}:{LINK_PORT}", to.other());
                let dialled = self.network.has_dialled(line, to).then_some(address);
                self.manage(to, Some(Input::PeerUp { hello: *hello, dialled }));
            }
            (Line::Movers, _) => self.beat(to),
            (Line::Links | Line::Bulk(_), _) => {}
        }
    }

    pub(super) fn flow(&mut self, line: Line, to: System, flowing: Flowing) {
        let (now, place) = (self.now(), Place(to, Service::DataMover));
        self.record.event(&format!("{to} gets {flowing}"));
        let Some(mover) = &mut self.site(to).mover else { return };
        if line == Line::Bulk(to) {
            let goes_on = at_once(mover.answered(flowing, now));
            match self.outcome(place, goes_on) {
                Some(true) => self.nudge(to),
                Some(false) => self.close(line, to, "the stream has ended"),
                None => {}
            }
            return;
        }
        let answer = at_once(mover.receive(flowing));
        if let Some(Some(answer)) = self.outcome(place, answer) {
            self.send(line, to.other(), Parcel::Flow(Box::new(answer)));
        }
        self.nudge(to);
    }

    /// What is to be sent leaves, if a stream is open.
    pub(super) fn advance(&mut self, system: System) {
        let (now, line) = (self.now(), Line::Bulk(system));
        if !self.network.is_up(line, system) {
            return;
        }
        let Some(mover) = &mut self.site(system).mover else { return };
        let flowing = at_once(mover.advance(now));
        for flowing in self.outcome(Place(system, Service::DataMover), flowing).unwrap_or_default() {
            self.send(line, system.other(), Parcel::Flow(Box::new(flowing)));
        }
    }

    /// This end gives the connection up.
    pub(super) fn close(&mut self, line: Line, at: System, why: &str) {
        if self.network.goes_down(line, at) {
            self.send(line, at.other(), Parcel::End);
            self.went_down(line, at, why);
        }
    }

    /// Every connection is reset: what is under way is lost, and both ends know.
    pub(in crate::cores) fn break_lines(&mut self) {
        for (line, at) in Line::ALL.into_iter().flat_map(|line| System::ALL.map(|at| (line, at))) {
            if self.network.goes_down(line, at) {
                self.went_down(line, at, "the connection was reset");
            }
        }
    }

    pub(super) fn went_down(&mut self, line: Line, at: System, why: &str) {
        self.record.event(&format!("{at} has no {line:?} any more: {why}"));
        match line {
            Line::Links => self.manage(at, Some(Input::PeerDown { domain: at.other().domain() })),
            Line::Movers => {
                if let Some(mover) = &mut self.site(at).mover {
                    mover.stream_gone(why);
                }
            }
            Line::Bulk(system) => {
                if let Some(link) = self.site(at).mover.as_mut().and_then(|mover| mover.link.as_mut())
                    && at == system
                {
                    link.sending = None;
                }
            }
        }
    }

    /// Ends the connections of `system` that are silent, or rest on trust that is gone.
    pub(super) fn look_at_lines(&mut self, system: System) {
        let now = self.now();
        for line in Line::ALL {
            self.world.arrive(system);
            let known = &self.sites[system as usize].known;
            let lost = self
                .network
                .basis(line, system)
                .zip(known.as_ref())
                .is_some_and(|(basis, known)| trust::is_lost(system, known, basis));
            if lost {
                self.record.count("connections cut for want of trust");
                self.close(line, system, "trust is gone");
            } else if self.network.is_up(line, system) && self.network.is_silent(line, system, now) {
                self.close(line, system, "silence");
            }
        }
    }

    pub(super) fn pulse(&mut self, system: System) {
        self.look_at_lines(system);
        self.dial_links(system);
        self.dial_movers(system);
        self.beat(system);
        self.send_flow(system);
        let now = self.now();
        if now - self.repeated_ms[system as usize] >= REPEAT_MS {
            self.repeated_ms[system as usize] = now;
            self.offer_zones(system);
        }
        if now - self.swept_ms[system as usize] >= SWEEP_MS
            && let Some(mover) = &self.site(system).mover
        {
            let swept = at_once(mover.catalogue.sweep()).map_err(Trouble::from);
            self.swept_ms[system as usize] = now;
            self.outcome(Place(system, Service::DataMover), swept);
        }
    }

    pub(super) fn dial_links(&mut self, system: System) {
        let peer_address = format!("{}:{LINK_PORT}", system.other());
        let dials = self.sites[system as usize].manager.as_ref().map(|manager| manager.machine.dials());
        if !dials.is_some_and(|dials| dials.contains(&peer_address)) {
            return;
        }
        if self.network.is_up(Line::Links, system) {
            // Both sides dial: the second stream says who is there once more, and by which address.
            if self.network.dials(Line::Links, system)
                && let Some(hello) = self.hello(system.other())
            {
                self.manage(system, Some(Input::PeerUp { hello, dialled: Some(peer_address) }));
            }
            return;
        }
        match self.connect(Line::Links, system) {
            Ok(()) => self.record.event(&format!("{system} dials the other link manager")),
            Err(trouble) => {
                self.manage(system, Some(Input::DialFailed { address: peer_address, trouble }));
            }
        }
    }

    pub(super) fn dial_movers(&mut self, system: System) {
        let site = &self.sites[system as usize];
        let has_address =
            |mover: &Mover| mover.link.as_ref().is_some_and(|link| !link.spec.peer_address.is_empty());
        if self.network.is_up(Line::Movers, system) || !site.mover.as_ref().is_some_and(has_address) {
            return;
        }
        if let Err(trouble) = self.connect(Line::Movers, system)
            && let Some(mover) = &mut self.site(system).mover
        {
            mover.stream_gone(&trouble);
        }
    }

    pub(super) fn send_flow(&mut self, system: System) {
        let (now, line, place) = (self.now(), Line::Bulk(system), Place(system, Service::DataMover));
        let Some(mover) = &mut self.site(system).mover else { return };
        if mover.link.as_ref().is_some_and(|link| link.sending.is_some()) {
            let goes_on = at_once(mover.look(now));
            match self.outcome(place, goes_on) {
                Some(true) => self.advance(system),
                Some(false) => {
                    self.close(line, system, "sending is not wished, or begins anew");
                    if let Some(link) = self.site(system).mover.as_mut().and_then(|mover| mover.link.as_mut())
                    {
                        link.sending = None;
                    }
                }
                None => {}
            }
        }
        let Some(mover) = self.site(system).mover.as_mut() else { return };
        let is_open = mover.link.as_ref().is_some_and(|link| link.sending.is_some());
        if is_open || !mover.is_ready_to_send(now) {
            return;
        }
        match self.connect(line, system) {
            Ok(()) => {
                let Some(mover) = &mut self.site(system).mover else { return };
                let hello = mover.open(now);
                if let Some(Some(hello)) = self.outcome(place, hello) {
                    self.send(line, system.other(), Parcel::Flow(Box::new(hello)));
                }
            }
            Err(trouble) => {
                if let Some(link) = self.site(system).mover.as_mut().and_then(|mover| mover.link.as_mut()) {
                    link.sending_trouble = trouble;
                }
            }
        }
    }

    /// Makes a connection, whose ends come up as the first parcels arrive.
    pub(super) fn connect(&mut self, line: Line, from: System) -> Result<(), String> {
        let to = from.other();
        let basis = self.handshake(line, from)?;
        self.network.connect(line, basis);
        if line == Line::Links {
            self.network.dials(line, from);
        }
        for at in [to, from] {
            let hello = (line == Line::Links).then(|| self.hello(at.other())).flatten().map(Box::new);
            self.send(line, at, Parcel::Up(hello));
        }
        Ok(())
    }

    /// What the two ends show each other, or why `from` is not connected.
    pub(super) fn handshake(&mut self, line: Line, from: System) -> Result<trust::Basis, String> {
        let (to, service) = (from.other(), line.service());
        if !self.network.passes(from) || !self.network.passes(to) || !self.sites[to as usize].is_up(service) {
            return Err("the other system cannot be reached: no answer".into());
        }
        let own = |site: &Site| Some(site.known.as_ref()?.own.as_ref()?.certificate.clone());
        let none = || "this system's identity is not known yet".to_owned();
        let east = own(&self.sites[System::East as usize]).ok_or_else(none)?;
        let basis = [east, own(&self.sites[System::West as usize]).ok_or_else(none)?];
        for (judge, shown) in [(from, to), (to, from)] {
            self.world.arrive(judge);
            let Some(known) = &self.sites[judge as usize].known else { return Err(none()) };
            if let Some(trouble) = trust::objection(known, &basis[shown as usize]) {
                let whose = if judge == from { "" } else { "the other system says: " };
                return Err(format!("{whose}{trouble}"));
            }
        }
        if line != Line::Links {
            for (judge, shown) in [(from, to), (to, from)] {
                let link = self.sites[judge as usize].mover.as_ref().and_then(|mover| mover.link.as_ref());
                let found = (basis[shown as usize].system_id, basis[shown as usize].incarnation);
                if link.is_none_or(|link| link.agreed() != found) {
                    return Err(
                        "the certificate names another system or incarnation than the link agreed on".into(),
                    );
                }
            }
        }
        Ok(basis)
    }

    /// What the link manager of `system` says of itself first.
    pub(super) fn hello(&self, system: System) -> Option<Hello> {
        let identity = self.sites[system as usize].identity()?;
        Some(Hello {
            system: identity.system,
            incarnation: identity.incarnation,
            domain: identity.domain,
            name: identity.name,
            link_address: format!("{system}:{LINK_PORT}"),
            replication_address: format!("{system}:{REPLICATION_PORT}"),
            gateway: identity.gateway,
            name_server_addresses: identity.name_server_addresses,
            dnskeys: None,
        })
    }

    /// The secondary asks one of the systems.
    pub(super) fn transfer(&mut self) {
        let system = self.chance.pick(&System::ALL);
        self.transfer_from(system);
        if self.phase < Phase::Done {
            let ms = self.chance.between(200, 2_000);
            self.after(ms, Event::Transfer);
        }
    }

    pub(super) fn transfer_from(&mut self, system: System) {
        let site = &self.sites[system as usize];
        let Some(names) = &site.names else { return };
        if let Some(wrong) = self.secondary.transfer(system, site.life(), self.now(), names.served()) {
            self.record.violation(&format!("rule 11: {wrong}"));
        }
    }

    /// The secondary asks both.
    pub(in crate::cores) fn transfer_all(&mut self) {
        System::ALL.into_iter().for_each(|system| self.transfer_from(system));
    }
}
