//! The operator: makes the link, gives commands as they come, and at the end does what the systems say
//! until both say that all is well.

use switchback_link_core::{
    Command as LinkCommand, CommandKind, ConflictPolicy, Create, Input, LinkView, Message, Settings, Token,
    Update,
};
use switchback_model::{Content, ContentId, ContentKind, LinkId, RequestId};
use switchback_store::CredentialRecord;

use crate::check;
use crate::cores::site::Kept;
use crate::cores::stage::{Event, Phase, Stage};
use crate::cores::{Trouble, at_once, trust};
use crate::guide::{self, Advice};
use crate::plan::Command;
use crate::site::{LINK_PORT, NAME, NAMESPACE, Place, Service, System};

/// The set-up takes a few seconds; no longer than this, in milliseconds.
const SET_UP_MAX_MS: u64 = 60_000;
/// Between two looks while nothing is wrong yet, in milliseconds.
const SET_UP_LOOK_MS: u64 = 300;
/// Between two looks. What mends itself has mended itself by then.
const LOOK_MS: u64 = 3_000;
/// An accepted command is answered within so many looks, or never.
const ANSWER_LOOKS_MAX: u32 = 5;
/// Looks until an operator would call for help: ten minutes. A clock that jumped takes minutes.
const LOOKS_MAX: u32 = 200;
/// Looks at where names lead, once all is well.
const NAME_LOOKS_MAX: u32 = 20;

/// The message, in a word or two.
pub(super) fn word(message: &Message) -> &'static str {
    match message {
        Message::Heartbeat(..) => "a heartbeat",
        Message::UnknownLink(_) => "unknown link",
        Message::OtherLife(_) => "other life",
        Message::Proposal(..) => "a proposal",
        Message::ProposalAnswer { .. } => "the answer to a proposal",
        Message::Fence(_) => "a fence",
        Message::Fenced(..) => "fenced",
        Message::GrantRequest(..) => "a grant request",
        Message::Grant(..) => "a grant",
        Message::Farewell(_) => "farewell",
    }
}

fn tenant() -> Content {
    Content { kind: ContentKind::Tenant, name: NAME.into(), id: ContentId::default() }
}

fn kind(command: Command, system: System) -> Option<CommandKind> {
    let fail_over =
        |no_drain, accept_loss: &str| CommandKind::FailOver { no_drain, accept_loss: accept_loss.into() };
    Some(match command {
        Command::FailOver => fail_over(false, ""),
        Command::FailOverWithoutDrain => fail_over(true, ""),
        Command::FailOverAcceptingLoss => fail_over(false, NAME),
        Command::BeginRecovery => CommandKind::BeginRecovery,
        Command::CompleteRecovery => CommandKind::CompleteRecovery { anyway: false },
        Command::Restore => CommandKind::Restore,
        Command::DeclareLost => CommandKind::DeclareLost { confirm: NAME.into() },
        Command::Suspend => CommandKind::Suspend,
        Command::Resume => CommandKind::Resume,
        Command::Pause => CommandKind::Pause(tenant()),
        Command::Unpause => CommandKind::Unpause(tenant()),
        Command::Update => CommandKind::Update(Box::new(Update {
            description: Some(format!("described on {system}")),
            ..Update::default()
        })),
        Command::RenewCertificate | Command::ExchangeCertificates | Command::Distrust => return None,
    })
}

impl Stage {
    /// Gives `command` at `system`.
    ///
    /// # Errors
    /// Refused or unanswered.
    pub(super) fn give(&mut self, system: System, command: Command) -> Result<(), String> {
        let given = match kind(command, system) {
            Some(kind) => self.order(system, kind),
            None => match command {
                Command::RenewCertificate => self.renew(system, false),
                Command::Distrust => self.distrust(system),
                _ => self.introduce(system).and_then(|()| self.introduce(system.other())),
            },
        };
        let answer = given.as_ref().err().map_or("done", |refusal| refusal);
        self.record.event(&format!("{command:?} at {system}: {answer}"));
        given
    }

    /// Gives a command to the link manager, and now and then once more, as a client does that got no answer.
    fn order(&mut self, system: System, kind: CommandKind) -> Result<(), String> {
        if !self.sites[system as usize].is_up(Service::LinkManager) {
            return Err("no answer".into());
        }
        self.requests += 1;
        let token = self.requests;
        let command = LinkCommand {
            token: Token(token),
            request: RequestId(format!("request {token}")),
            plan: false,
            link: NAME.into(),
            kind,
        };
        self.manage(system, Some(Input::Command(Box::new(command.clone()))));
        let refused = self.refusals.remove(&token);
        if refused.is_none() && self.chance.one_in(5) {
            let before = self.epoch(system);
            self.manage(system, Some(Input::Command(Box::new(command))));
            let after = self.epoch(system);
            if after.is_some() && before != after {
                self.record.violation(&format!(
                    "S12: a repeated command took {system} from {before:?} to {after:?}"
                ));
            }
            self.record.count("commands repeated");
        }
        refused.map_or(Ok(()), Err)
    }

    fn epoch(&self, system: System) -> Option<u64> {
        let state = self.sites[system as usize].manager.as_ref()?.machine.state();
        state.find(NAME).map(|link| link.shared.epoch.0)
    }

    /// Gives the certificate of `system` to the other one.
    fn introduce(&mut self, system: System) -> Result<(), String> {
        let to = system.other();
        let up = |at: System| self.sites[at as usize].is_up(Service::CertificateService);
        if !up(system) || !up(to) {
            return Err("no answer".into());
        }
        let own = self.sites[system as usize].keeper.read(|kept| kept.certificates.own.clone());
        let Some(own) = own else { return Err("no certificate".into()) };
        let site = self.site(to);
        let is_trusted = |kept: &Kept| kept.certificates.trusted.contains_key(&own.certificate.fingerprint);
        if site.keeper.read(is_trusted) {
            return Ok(());
        }
        let changes = site.keeper.read(|kept| trust::uploaded(&kept.certificates, &own.certificate))?;
        self.certify(to, changes)
    }

    fn distrust(&mut self, system: System) -> Result<(), String> {
        let site = self.site(system);
        let trusted: Vec<_> = site.keeper.read(|kept| kept.certificates.trusted.keys().cloned().collect());
        for fingerprint in trusted {
            if !self.sites[system as usize].is_up(Service::CertificateService) {
                return Err("no answer".into());
            }
            let site = self.site(system);
            let changes = site.keeper.read(|kept| trust::withdrawn(&kept.certificates, &fingerprint))?;
            self.certify(system, changes)?;
        }
        Ok(())
    }

    fn renew(&mut self, system: System, new_incarnation: bool) -> Result<(), String> {
        if !self.sites[system as usize].is_up(Service::CertificateService) {
            return Err("no answer".into());
        }
        let life_ms = self.certificate_life();
        let site = self.site(system);
        let present = site.keeper.read(|kept| kept.certificates.own.clone());
        let Some(present) = present else { return Err("no certificate".into()) };
        let incarnation = present.certificate.incarnation;
        let incarnation =
            if new_incarnation { switchback_model::Incarnation(trust::number()) } else { incarnation };
        let own = trust::make(system, site.id, incarnation, life_ms);
        let changes = site.keeper.read(|kept| trust::renewed(&kept.certificates, new_incarnation, own))?;
        self.certify(system, changes)
    }

    fn certify(
        &mut self,
        system: System,
        changes: Vec<switchback_certificate::core::Change>,
    ) -> Result<(), String> {
        let kept = self.site(system).keeper.certify(changes);
        if self.outcome(Place(system, Service::CertificateService), kept).is_none() {
            return Err("the certificate service ended".into());
        }
        let ms = self.chance.between(1, 5);
        self.after(ms, Event::Certified(system));
        Ok(())
    }

    /// One look, and what follows from it.
    pub(super) fn operate(&mut self) {
        let again_ms = match self.phase {
            Phase::SetUp => {
                self.set_up();
                SET_UP_LOOK_MS
            }
            Phase::Live => {
                self.back_up();
                if self.now() - self.since_ms >= super::run::SCALE.story_ms {
                    self.enter(Phase::Heal);
                    self.mend_all();
                }
                SET_UP_LOOK_MS
            }
            Phase::Heal => {
                self.heal();
                LOOK_MS
            }
            Phase::Done => return self.last_look(),
        };
        self.after(again_ms, Event::Operate);
    }

    fn set_up(&mut self) {
        self.looks += 1;
        if self.now() > SET_UP_MAX_MS {
            return self.record.violation("the set-up does not end");
        }
        let views = System::ALL.map(|system| self.view(system));
        if views.iter().all(|view| view.as_ref().is_some_and(|view| view.health.healthy && view.in_sync)) {
            self.enter(Phase::Live);
            for step in self.plan.clone() {
                self.after(step.at_ms, Event::Step(step));
            }
            for number in 0..self.writers.len() {
                self.after(number as u64, Event::Write(number));
            }
            return self.after(0, Event::Transfer);
        }
        let known = |system: System| {
            self.sites[system as usize]
                .manager
                .as_ref()
                .is_some_and(|manager| manager.machine.state().find(NAME).is_some())
        };
        if self.looks > 1 && !known(System::East) && !known(System::West) {
            let made = self.make();
            if let Err(trouble) = made {
                self.record.event(&format!("not made yet: {trouble}"));
            }
        }
    }

    /// The systems are introduced, and the tenant and the link are made.
    fn make(&mut self) -> Result<(), String> {
        System::ALL.into_iter().try_for_each(|system| self.introduce(system))?;
        let policy =
            if self.chance.one_in(4) { ConflictPolicy::ReplicaWins } else { ConflictPolicy::NewestWins };
        let mover = self.site(System::East).mover.as_ref().ok_or("no data mover")?;
        let words = |error: switchback_store::Error| error.to_string();
        if mover.catalogue.find_content(ContentKind::Tenant, NAME).map_err(words)?.is_none() {
            let made = async {
                let content = mover.catalogue.create_content(ContentKind::Tenant, NAME, "").await?;
                mover.catalogue.create_namespace(content.id, NAMESPACE).await?;
                let credential = CredentialRecord {
                    access_key: "AKIASIMULATION".into(),
                    secret_key: "secret".into(),
                    ..CredentialRecord::default()
                };
                mover.catalogue.create_credential(content.id, credential).await.map(|_| ())
            };
            return at_once(made).map_err(words);
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&trust::number().to_be_bytes());
        let create = Create {
            id: LinkId(id),
            name: NAME.into(),
            peer_address: format!("{}:{LINK_PORT}", System::West),
            contents: vec![tenant()],
            settings: Settings { dns_failover: true, conflict_policy: policy, ..Settings::default() },
            zone_floor: 0,
        };
        self.order(System::East, CommandKind::Create(Box::new(create)))
    }

    /// What `system` says of the link.
    fn view(&self, system: System) -> Option<LinkView> {
        let machine = &self.sites[system as usize].manager.as_ref()?.machine;
        machine.view(machine.state().find(NAME)?.id)
    }

    fn heal(&mut self) {
        self.looks += 1;
        let views = System::ALL.map(|system| (system, self.view(system)));
        let well =
            |view: &Option<LinkView>| view.as_ref().is_some_and(|view| view.health.healthy && view.in_sync);
        if views.iter().all(|(_, view)| well(view)) {
            return self.enter(Phase::Done);
        }
        let said: Vec<String> = views.iter().map(|(system, view)| describe(*system, view.as_ref())).collect();
        said.iter().for_each(|line| self.record.event(line));
        if self.looks > LOOKS_MAX {
            let said = said.join(" | ");
            return self.record.violation(&format!("L2: the link does not become healthy: {said}"));
        }
        // A certificate that ended is renewed where it was made, whoever tells of it.
        for system in System::ALL {
            self.world.arrive(system.other());
            let own = self.sites[system as usize].keeper.read(|kept| kept.certificates.own.clone());
            if own.is_some_and(|own| own.certificate.not_after <= trust::now()) {
                let _ = self.renew(system, false);
            }
        }
        for system in System::ALL {
            let _ = self.introduce(system);
        }
        self.hear_refusals();
        for (system, view) in views {
            if let Some(view) = view {
                self.follow(system, &view);
            }
        }
    }

    /// What was accepted may be refused later, by the other system: such a refusal names, too, what must
    /// be done first.
    fn hear_refusals(&mut self) {
        for (token, system, command, look) in std::mem::take(&mut self.unanswered) {
            match self.refusals.remove(&token) {
                Some(why) => {
                    self.record.event(&format!("{command:?} at {system}, after all: {why}"));
                    if let Some(next) = guide::instead(&why, command) {
                        let _ = self.give(system, next);
                    }
                }
                None if self.looks - look < ANSWER_LOOKS_MAX => {
                    self.unanswered.push((token, system, command, look));
                }
                None => {}
            }
        }
    }

    /// Does what `view` asks for at `system`.
    fn follow(&mut self, system: System, view: &LinkView) {
        let is_paused = !view.link.shared.paused.is_empty();
        let mut next =
            match guide::advice(&view.health.next_step, &view.health.troubles.join("; "), is_paused) {
                Some(Advice::NewIncarnation) => {
                    let _ = self.renew(system, true);
                    return;
                }
                Some(Advice::Give(command)) => Some(command),
                None => None,
            };
        // A refusal names what must be done first.
        for _ in 0..3 {
            let Some(command) = next else { return };
            self.record.count("command: of the healing");
            let given = self.give(system, command);
            if given.is_ok() {
                self.unanswered.push((self.requests, system, command, self.looks));
            }
            next = given.err().and_then(|why| guide::instead(&why, command));
        }
    }

    /// All is well: both sides are compared, and names are looked at for a while.
    fn last_look(&mut self) {
        self.looks += 1;
        let served = |system: System| {
            let names = self.sites[system as usize].names.as_ref();
            names
                .map(super::names::Names::served)
                .unwrap_or_default()
                .into_iter()
                .map(move |zone| (system, zone))
        };
        let zones = System::ALL.into_iter().flat_map(served);
        let lives = [self.sites[0].life(), self.sites[1].life()];
        let mut stray = check::stray(zones.map(|(system, zone)| (system, (zone.name, zone.target))));
        stray.extend(check::stray(self.secondary.zones(lives).map(|zone| (System::East, zone))));
        let right = [System::East.address().to_owned()];
        let answers: Vec<_> =
            self.sites.iter().map(|site| site.names.as_ref().map(super::names::Names::addresses)).collect();
        let answered = answers.iter().all(|answer| answer.as_deref() == Some(&right[..]));
        if stray.is_empty() && answered {
            return self.compare();
        }
        if self.looks > NAME_LOOKS_MAX {
            let text = format!("names lead elsewhere: {stray:?}, {answers:?}");
            return self.record.violation(&text);
        }
        self.transfer_all();
        self.after(1_000, Event::Operate);
    }

    fn compare(&mut self) {
        let contents = self.contents();
        check::compare(&self.record, &self.watch, &contents[0], &contents[1]);
        for (system, contents) in System::ALL.into_iter().zip(&contents) {
            let Some(mover) = &self.sites[system as usize].mover else { continue };
            let found = mover.catalogue.find_content(ContentKind::Tenant, NAME).map_err(Trouble::from);
            let Some(Some(content)) = self.outcome(Place(system, Service::DataMover), found) else {
                return self.record.violation(&format!("the tenant is not on {system}"));
            };
            let Some(mover) = &self.sites[system as usize].mover else { continue };
            for (key, held) in &contents.objects {
                let shown = mover.catalogue.object(content.id, NAMESPACE, key, true);
                let shown = shown.map(|entry| entry.object.etag).unwrap_or_default();
                if shown != held.etag {
                    let text = format!("{system} shows {key} as {shown:?}, and holds {held:?}");
                    self.record.violation(&text);
                }
            }
        }
        self.finished = true;
    }
}

fn describe(system: System, view: Option<&LinkView>) -> String {
    match view {
        Some(view) => format!(
            "{system}: {}, epoch {}, mode {:?}, in sync {}, pending {:?}, next {:?}: {}",
            view.link.shared.state,
            view.link.shared.epoch,
            view.mode,
            view.in_sync,
            view.flows
                .iter()
                .map(|flow| (flow.pending_objects, flow.peer_pending_objects))
                .collect::<Vec<_>>(),
            view.health.next_step,
            view.health.troubles.join("; ")
        ),
        None => format!("{system}: no link"),
    }
}
