//! Inside a system: what the link manager asks of the other services, and what they tell it.

use switchback_link::dns::Zones;
use switchback_link_core::{Access, FlowSpec, Input, Message, Output};
use switchback_model::LinkId;
use switchback_proto::dns::v1::ApplyZonesRequest;

use crate::cores::manager::ZONE_TTL_SECONDS;
use crate::cores::network::{Line, Parcel};
use crate::cores::{Trouble, at_once};
use crate::site::{Place, Service, System};

use super::{Event, Stage};

/// A change is told to the other mover after this, in milliseconds.
const NUDGE_MS: u64 = 25;
/// The link manager is shown its mover at least so often, in milliseconds.
const SHOW_MAX_MS: u64 = 1_000;

impl Stage {
    /// The link manager takes `input`, or the passing of time, and what it asks for is done.
    pub(in crate::cores) fn manage(&mut self, system: System, input: Option<Input>) {
        let now = self.now();
        let Some(manager) = &mut self.site(system).manager else { return };
        match manager.step(now, input) {
            Ok(outputs) => outputs.into_iter().for_each(|output| self.perform_output(system, output)),
            Err(Trouble::Refused(text)) => {
                return self.record.violation(&format!("the link manager of {system}: {text}"));
            }
            Err(trouble) => return self.ended(Place(system, Service::LinkManager), &trouble),
        }
        self.publish(system);
        self.schedule_tick(system);
    }

    pub(super) fn schedule_tick(&mut self, system: System) {
        let now = self.now();
        let Some(manager) = &mut self.site(system).manager else { return };
        let Some(at) = manager.deadline(now) else { return };
        // What is due this very millisecond waits for the next, as a timer does.
        let at = at.max(now + 1);
        if manager.tick_ms != Some(at) {
            manager.tick_ms = Some(at);
            let run = manager.run;
            self.after(at - now, Event::Tick(system, run));
        }
    }

    pub(super) fn perform_output(&mut self, system: System, output: Output) {
        let Some(manager) = &mut self.sites[system as usize].manager else { return };
        let (run, boot) = (manager.run, manager.mover.unwrap_or_default());
        match output {
            Output::Reply(token, Err(error)) => {
                self.refusals.insert(token.0, error.to_string());
            }
            Output::Reply(_, Ok(_)) => {}
            Output::Accepted(_) => self.record.count("commands accepted"),
            Output::Send(_, message) => {
                if let Message::Fenced(header, _) | Message::GrantRequest(header, ..) = &*message {
                    self.watch.promised(system, header.epoch.0);
                }
                if self.network.is_up(Line::Links, system) {
                    self.send(Line::Links, system.other(), Parcel::Message(message));
                }
            }
            Output::SetAccess(access) => {
                if let Some(access) = manager.access.want(*access) {
                    let ms = self.call_ms(system);
                    self.after(ms, Event::Access(system, run, boot, Box::new(access)));
                }
            }
            Output::ApplyFlows(spec) => {
                if let Some(spec) = manager.flows.want(*spec) {
                    let ms = self.call_ms(system);
                    self.after(ms, Event::Flows(system, run, Box::new(spec)));
                }
            }
            Output::ForgetLink { link, release } => {
                let ms = self.call_ms(system);
                self.after(ms, Event::Forget(system, run, link, release));
            }
        }
    }

    pub(super) fn set_access(&mut self, system: System, run: u64, boot: u64, access: &Access) {
        let (link, epoch, mode) = (access.link, access.epoch, access.mode);
        let mut input = Input::AccessFailed { link, trouble: "the data mover cannot be reached".into() };
        if self.reaches(system, Service::LinkManager, Service::DataMover)
            && let Some(mover) = &mut self.site(system).mover
        {
            match at_once(mover.set_access(access)) {
                Ok(positions) => {
                    self.record.event(&format!("{system} is {mode} in epoch {epoch}"));
                    input = Input::AccessSet { link, epoch, mode, boot, positions };
                }
                Err(Trouble::Refused(trouble)) => input = Input::AccessFailed { link, trouble },
                Err(trouble) => self.ended(Place(system, Service::DataMover), &trouble),
            }
        }
        let ms = self.call_ms(system);
        self.after(ms, Event::Answer(system, run, Box::new(input)));
        self.nudge(system);
    }

    pub(super) fn apply_flows(&mut self, system: System, run: u64, spec: FlowSpec) {
        let (link, generation) = (spec.link, spec.generation);
        let mut current = None;
        if self.reaches(system, Service::LinkManager, Service::DataMover)
            && let Some(mover) = &mut self.site(system).mover
        {
            let applied = at_once(mover.apply_flows(spec));
            current = self.outcome(Place(system, Service::DataMover), applied);
        }
        let ms = self.call_ms(system);
        let input = Input::FlowsApplied { link, generation, current };
        self.after(ms, Event::Answer(system, run, Box::new(input)));
        self.nudge(system);
    }

    /// The mover's answer to the link manager, which may ask the next thing now.
    pub(super) fn answer(&mut self, system: System, run: u64, input: Input) {
        let Some(manager) = self.site(system).manager.as_mut().filter(|manager| manager.run == run) else {
            return;
        };
        let boot = manager.mover.unwrap_or_default();
        let next = match &input {
            Input::FlowsApplied { .. } => {
                manager.flows.answered().map(|spec| Event::Flows(system, run, Box::new(spec)))
            }
            _ => manager.access.answered().map(|access| Event::Access(system, run, boot, Box::new(access))),
        };
        if let Some(next) = next {
            let ms = self.call_ms(system);
            self.after(ms, next);
        }
        self.manage(system, Some(input));
    }

    pub(super) fn forget(&mut self, system: System, run: u64, link: LinkId, release: bool) {
        if self.sites[system as usize].manager.as_ref().is_none_or(|manager| manager.run != run) {
            return;
        }
        let mut done = None;
        if self.reaches(system, Service::LinkManager, Service::DataMover)
            && let Some(mover) = &mut self.site(system).mover
        {
            let forgotten = at_once(mover.forget(link, release));
            done = self.outcome(Place(system, Service::DataMover), forgotten);
        }
        if done.is_none() {
            self.after(250, Event::Forget(system, run, link, release));
        }
    }

    /// What names shall answer now, if that has changed.
    pub(super) fn publish(&mut self, system: System) {
        let Some(manager) = &mut self.sites[system as usize].manager else { return };
        let zones = manager.zones.desired(&manager.machine);
        if zones != Zones::new(ZONE_TTL_SECONDS).desired(&manager.machine) {
            self.record.violation(&format!("the zones of {system} are not those of its links"));
            return;
        }
        if zones != manager.told {
            manager.told = zones;
            self.offer_zones(system);
        }
    }

    pub(super) fn offer_zones(&mut self, system: System) {
        let Some(manager) = &mut self.sites[system as usize].manager else { return };
        if let Some(zones) = &manager.told {
            let (run, request) = (manager.run, manager.offers.request(zones));
            let ms = self.call_ms(system);
            self.after(ms, Event::Zones(system, run, Box::new(request)));
        }
    }

    pub(super) fn tell_names(&mut self, system: System, run: u64, request: ApplyZonesRequest) {
        // A request that was under way when its link manager ended arrives all the same.
        if !self.reaches(system, Service::LinkManager, Service::DnsBroadcaster) {
            return;
        }
        let Some(names) = &self.site(system).names else { return };
        let generation = request.generation;
        let applied = names.apply(request);
        let Some(answer) = self.outcome(Place(system, Service::DnsBroadcaster), applied) else { return };
        let manager = self.site(system).manager.as_mut().filter(|manager| manager.run == run);
        if manager.is_some_and(|manager| manager.offers.answered(generation, &answer)) {
            self.offer_zones(system);
        }
    }

    /// The services of `system` are told of its certificates.
    pub(super) fn certified(&mut self, system: System) {
        if !self.sites[system as usize].is_up(Service::CertificateService) {
            return;
        }
        let site = self.site(system);
        site.known = Some(site.keeper.read(|kept| kept.certificates.clone()));
        let Some(identity) = site.identity() else { return };
        let known = site.manager.as_ref().and_then(|manager| manager.machine.identity());
        if site.manager.is_some() && known != Some(&identity) {
            self.manage(system, Some(Input::IdentityKnown(identity)));
        }
        self.look_at_lines(system);
    }

    /// Tells the other mover soon, if there is something to tell.
    pub(in crate::cores) fn nudge(&mut self, system: System) {
        let mover = &mut self.sites[system as usize].mover;
        if mover.as_mut().is_some_and(|mover| std::mem::take(&mut mover.rings))
            && !std::mem::replace(&mut self.nudged[system as usize], true)
        {
            self.after(NUDGE_MS, Event::Nudge(system));
        }
        self.advance(system);
    }

    pub(super) fn beat(&mut self, system: System) {
        if !self.network.is_up(Line::Movers, system) {
            return;
        }
        let now = self.now();
        let Some(mover) = &mut self.site(system).mover else { return };
        mover.rings = false;
        let beat = mover.beat(now);
        if let Some(Some(beat)) = self.outcome(Place(system, Service::DataMover), beat) {
            // What a mover tells it has obeyed; content that is not here yet is not written to.
            self.watch.promised(system, beat.header.epoch.0);
            self.send(Line::Movers, system.other(), Parcel::Beat(Box::new(beat)));
        }
    }

    /// The link manager is shown its mover, or that there is none.
    pub(super) fn show(&mut self, system: System) {
        let (now, reaches) = (self.now(), self.reaches(system, Service::LinkManager, Service::DataMover));
        let site = self.site(system);
        let Some(manager) = &mut site.manager else { return };
        let Some(mover) = site.mover.as_mut().filter(|_| reaches) else {
            if manager.mover.take().is_some() {
                self.manage(system, Some(Input::MoverLost));
            }
            return;
        };
        if !mover.changed && manager.mover == Some(mover.boot) && now - manager.seen_ms < SHOW_MAX_MS {
            return;
        }
        mover.changed = false;
        let view = mover.view(now);
        if let Some(view) = self.outcome(Place(system, Service::DataMover), view)
            && let Some(manager) = &mut self.site(system).manager
        {
            (manager.mover, manager.seen_ms) = (Some(view.boot), now);
            self.manage(system, Some(Input::MoverSeen(Box::new(view))));
        }
    }
}
