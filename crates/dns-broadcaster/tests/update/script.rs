//! One system and one target under a script: each step at a time that the test says.

use std::net::IpAddr;
use std::sync::Arc;

use switchback_dns::core::follow::Target;
use switchback_dns::core::name::Name;
use switchback_dns::core::record::Rdata;
use switchback_dns::core::update::{
    Change, Content, Exchange, Fence, Found, Input, Leads, Output, Policy, Put, Standing, State, Trouble,
    Updates, Verdict, Wish,
};
use switchback_dns::core::zone::Serial;
use switchback_machine::{Machine, Outbox, Timestamp};

pub(crate) const EAST: &str = "east.test";

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Where the serial leads: each to another place, and some to a name.
pub(crate) fn leads(serial: u32) -> Leads {
    if serial.is_multiple_of(3) {
        return Leads { addresses: Vec::new(), alias: Some(name(&format!("balancer-{serial}.example.net"))) };
    }
    let addresses = vec![IpAddr::from(serial.to_be_bytes()), IpAddr::from(u128::from(serial).to_be_bytes())];
    Leads { addresses, alias: None }
}

/// Where somebody else leads.
pub(crate) fn here() -> Leads {
    Leads { addresses: vec![IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)], alias: None }
}

pub(crate) fn content(serial: u32) -> Arc<Content> {
    Arc::new(Content { serial: Serial(serial), place: None, leads: leads(serial), ttl: 5 })
}

pub(crate) fn fence(serial: u32, system: &str) -> Rdata {
    Fence { serial: Serial(serial), place: None, system: name(system) }.rdata()
}

/// What a target says where `system` has put `serial`.
pub(crate) fn found(serial: u32, system: &str) -> Found {
    Found { fence: vec![fence(serial, system)], tenant: leads(serial), wildcard: leads(serial) }
}

pub(crate) fn nothing() -> Found {
    Found::default()
}

pub(crate) fn txt(text: &str) -> Rdata {
    Rdata::from_wire([&[text.len() as u8], text.as_bytes()].concat())
}

pub(crate) struct Script {
    pub(crate) updates: Updates,
    /// Milliseconds.
    pub(crate) now: u64,
    pub(crate) changes: Vec<Change>,
    /// The update that waits for its end.
    update: Option<Output>,
}

impl Script {
    /// The system of this domain, with one target that masters `test`.
    pub(crate) fn of(system: &str) -> Self {
        Self::remembering(system, &[])
    }

    pub(crate) fn remembering(system: &str, names: &[&str]) -> Self {
        let remembered = names.iter().map(|text| (Target::new("corp"), name(text)));
        let target = [(Target::new("corp"), name("test"))];
        let updates = Updates::new(name(system), target, remembered, Policy::default());
        Self { updates, now: 1_000_000, changes: Vec::new(), update: None }
    }

    pub(crate) fn target(&self) -> Target {
        Target::new("corp")
    }

    pub(crate) fn step(&mut self, input: Input) -> Vec<Output> {
        let mut outbox = Outbox::new();
        self.updates.step(Timestamp(self.now), input, &mut outbox);
        self.take(outbox)
    }

    fn take(&mut self, outbox: Outbox<Updates>) -> Vec<Output> {
        self.changes.extend(outbox.changes);
        let update = outbox.outputs.iter().rfind(|output| matches!(output, Output::Update { .. }));
        self.update = update.cloned().or(self.update.take());
        outbox.outputs
    }

    /// What is begun at the next deadline, if there is one.
    pub(crate) fn next(&mut self) -> Option<Output> {
        self.now = self.updates.deadline()?.0.max(self.now);
        let mut outbox = Outbox::new();
        self.updates.tick(Timestamp(self.now), &mut outbox);
        assert!(self.updates.deadline().is_none_or(|at| at.0 > self.now), "it would be waited for for ever");
        self.take(outbox).pop()
    }

    /// Publishes and returns the question that follows.
    pub(crate) fn publish(&mut self, text: &str, content: Arc<Content>) -> Output {
        let outputs = self.step(Input::Published(vec![(name(text), Wish::Put(content))]));
        let [look @ Output::Look { .. }] = &outputs[..] else { panic!("{outputs:?}") };
        look.clone()
    }

    pub(crate) fn looks(&self, output: &Output) {
        assert!(matches!(output, Output::Look { .. }), "{output:?}");
    }

    /// Ends a question; or an update, with the trouble.
    pub(crate) fn reply(&mut self, asked: &Output, outcome: Result<Found, Trouble>) -> Vec<Output> {
        match asked {
            Output::Look { target, exchange, .. } => {
                self.step(Input::Looked { target: target.clone(), exchange: *exchange, outcome })
            }
            Output::Update { .. } => self.end_update(Err(outcome.unwrap_err())),
            other => panic!("{other:?} is no exchange"),
        }
    }

    /// Answers a question, upon which an update must follow.
    pub(crate) fn answer(&mut self, look: &Output, found: Found) -> (Put, Vec<Rdata>) {
        let mut outputs = self.reply(look, Ok(found));
        outputs.retain(|output| !matches!(output, Output::Late { .. }));
        let update = if outputs.is_empty() { self.next() } else { outputs.pop() };
        let Some(Output::Update { demand, put: Some(put), .. }) = update else { panic!("{update:?}") };
        (put, demand)
    }

    /// Answers a question, upon which nothing is sent.
    pub(crate) fn answer_only(&mut self, look: &Output, found: Found) {
        let outputs = self.reply(look, Ok(found));
        let is_sent = |output: &Output| matches!(output, Output::Look { .. } | Output::Update { .. });
        assert!(!outputs.iter().any(is_sent), "{outputs:?}");
    }

    pub(crate) fn end_update(&mut self, outcome: Result<Verdict, Trouble>) -> Vec<Output> {
        let Some(Output::Update { target, exchange, .. }) = self.update.take() else { panic!("no update") };
        self.step(Input::Updated { target, exchange, outcome })
    }

    /// The update is carried out; returns the question that follows.
    pub(crate) fn accept(&mut self) -> Output {
        self.ended(Verdict::Done)
    }

    /// Its demand is not met.
    pub(crate) fn refuse(&mut self) -> Output {
        self.ended(Verdict::Overtaken)
    }

    fn ended(&mut self, verdict: Verdict) -> Output {
        let outputs = self.end_update(Ok(verdict));
        let looks = outputs.into_iter().find(|output| matches!(output, Output::Look { .. }));
        looks.or_else(|| self.next()).expect("a question")
    }

    pub(crate) fn converge(&mut self, text: &str, serial: u32) {
        let look = self.publish(text, content(serial));
        let (put, _) = self.answer(&look, nothing());
        let look = self.accept();
        let shown = Found {
            fence: vec![put.fence],
            tenant: put.content.leads.clone(),
            wildcard: put.content.leads.clone(),
        };
        self.answer_only(&look, shown);
        assert_eq!(self.state(text), State::Converged);
    }

    pub(crate) fn standing(&self, text: &str) -> Standing {
        self.updates.standing(&self.target(), &name(text)).unwrap()
    }

    pub(crate) fn state(&self, text: &str) -> State {
        self.standing(text).state
    }
}

/// For those who look at what is outstanding.
pub(crate) fn exchange(output: &Output) -> Option<Exchange> {
    match output {
        Output::Look { exchange, .. } | Output::Update { exchange, .. } => Some(*exchange),
        _ => None,
    }
}
