//! Keeps names in zones that somebody else masters: carries out what [`crate::core::update`] decides.

#[cfg(test)]
mod fuzz;
mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use switchback_kit::drive::Shell;
use switchback_kit::durable::{self, Batch};
use switchback_machine::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::access::UpdateTarget;
use crate::convert::{millis, trouble_text};
use crate::core::contact::{Overdue, Target};
use crate::core::name::Name;
use crate::core::record::Rdata;
use crate::core::update::{
    Change, Declined, Doubt, Exchange, Found, Input, Output, Policy, Put, Standing, State, Summary, Trouble,
    Updates, Verdict, Wish,
};
use crate::correspondent::{Correspondent, Failure, Sending};
use crate::desk::{self, KnownBy};
use crate::publisher::Publisher;
use crate::tsig::{Keys, Mismatch};
use crate::{Error, store};

/// Wishes that the core is told of at once: some milliseconds of work.
const PUBLISHED_MAX: usize = 1000;
/// Asks how the targets have taken what was put there.
pub type Desk = desk::Desk<Input, Updated>;
/// How everybody has taken what was put there.
pub type View = desk::View<Updated>;
/// How one target has.
pub type Updated = KnownBy<Updates>;

impl desk::Core for Updates {
    type Server = UpdateTarget;
    type Summary = Summary;
    type Standing = Standing;

    fn total(&self, target: &Target, only: Option<&BTreeSet<Name>>) -> Option<Summary> {
        self.summary(target, only)
    }

    fn each<'a>(
        &'a self,
        target: &'a Target,
        only: Option<&'a BTreeSet<Name>>,
    ) -> impl Iterator<Item = (&'a Name, Standing)> {
        self.standings(target).filter(move |(name, _)| only.is_none_or(|only| only.contains(*name)))
    }

    fn is_lagging(standing: &Standing) -> bool {
        standing.state != State::Converged
    }

    fn overdue_at(&self, now: Timestamp) -> impl Iterator<Item = (&Target, Overdue)> {
        self.overdue(now)
    }
}

type Inbox = desk::Inbox<Input, Updated>;

/// What a run needs.
pub(crate) struct Updating {
    pub(crate) targets: Vec<UpdateTarget>,
    pub(crate) keys: Keys,
    /// Where this server is asked: what it sends comes from there, for that is whom the others know.
    pub(crate) own: Vec<IpAddr>,
    /// This system's domain.
    pub(crate) system: Name,
    pub(crate) publisher: Arc<Publisher>,
}

impl Updating {
    /// Updates until the shutdown. The desk answers as long as this runs.
    ///
    /// # Errors
    /// What was put in earlier runs cannot be read.
    pub(crate) fn start(
        self,
        shutdown: CancellationToken,
    ) -> Result<(Desk, impl Future<Output = Result<(), durable::Error>>), Error> {
        let (desk, inbox, waiting) = desk::open();
        let db = self.publisher.db();
        let targets: BTreeMap<_, _> =
            self.targets.into_iter().map(|target| (Target::new(&target.name), target)).collect();
        let remembered = remembered(store::put_names(&db)?, &targets);
        let names = remembered.iter().map(|(_, name)| name.clone()).collect();
        let zones: BTreeSet<_> = targets.values().map(|target| target.zone.clone()).collect();
        let updates = Updates::new(
            self.system,
            targets.iter().map(|(target, configured)| (target.clone(), configured.zone.clone())),
            remembered,
            Policy::default(),
        );
        let masters = targets.iter().map(|(target, configured)| {
            let key = self.keys.get(&configured.key).cloned();
            let correspondent = Correspondent::new(configured.address, &self.own, key);
            (target.clone(), Arc::new(Master { correspondent, zone: configured.zone.clone() }))
        });
        let hands = Hands { masters: masters.collect(), inbox: inbox.clone() };
        let watching = watch_wishes(self.publisher, zones, names, inbox);
        let running = desk::attend((updates, targets), hands, db, waiting, watching, shutdown);
        Ok((desk, running))
    }
}

/// What was put at targets that are configured, within the zones that they master.
fn remembered(put: Vec<(String, Name)>, targets: &BTreeMap<Target, UpdateTarget>) -> Vec<(Target, Name)> {
    let judged = put.into_iter().filter_map(|(target, name)| {
        let key = Target::new(&target);
        let is_there = targets.get(&key).is_some_and(|configured| name.is_within(&configured.zone));
        if !is_there {
            tracing::warn!(%target, %name, "names may stand in a zone that is updated no more; remove them there");
        }
        is_there.then_some((key, name))
    });
    judged.collect()
}

/// Tells the core of each wish that is another than before. What was put in an earlier run and is wished
/// no more is to go.
async fn watch_wishes(publisher: Arc<Publisher>, zones: BTreeSet<Name>, put: BTreeSet<Name>, inbox: Inbox) {
    if zones.is_empty() {
        // Nothing of what is published is its business.
        inbox.told(u64::MAX);
        return std::future::pending().await;
    }
    let mut published = publisher.published();
    let mut edition = *published.borrow_and_update();
    let mut said = publisher.said();
    let mut changes: Vec<_> = said.wishes(&zones).into_iter().collect();
    let is_said = |name: &Name| said.record.tenants.contains_key(name);
    changes.extend(put.into_iter().filter(|name| !is_said(name)).map(|name| (name, Wish::Remove)));
    loop {
        for changes in changes.chunks(PUBLISHED_MAX) {
            if inbox.tell(Input::Published(changes.to_vec())).await.is_err() {
                return;
            }
        }
        inbox.told(edition);
        if published.changed().await.is_err() {
            return;
        }
        edition = *published.borrow_and_update();
        let before = std::mem::replace(&mut said, publisher.said());
        changes = said.wishes_since(&before, &zones);
        // Names that move are in a hurry, and those that go are not.
        changes.sort_by_key(|(_, wish)| *wish == Wish::Remove);
    }
}

/// A name server that masters a zone which is updated.
struct Master {
    correspondent: Correspondent,
    zone: Name,
}

struct Hands {
    masters: BTreeMap<Target, Arc<Master>>,
    inbox: Inbox,
}

impl Shell<Updates> for Hands {
    fn persist(&mut self, change: &Change, batch: &mut Batch) {
        match change {
            Change::Remember(target, name) => store::remember_put(batch, target.as_str(), name),
            Change::Forget(target, name) => store::forget_put(batch, target.as_str(), name),
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Look { target, exchange, name } => self.look(target, exchange, name),
            Output::Update { target, exchange, name, demand, put } => {
                self.update(target, exchange, name, demand, put);
            }
            output => log(output),
        }
    }

    fn publish(&mut self, _: Timestamp, _: &Updates) {}
}

impl Hands {
    fn look(&self, target: Target, exchange: Exchange, name: Name) {
        let Some(master) = self.masters.get(&target).cloned() else { return };
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let outcome = master.look(&name).await;
            // When the loop has ended, so does this.
            _ = inbox.tell(Input::Looked { target, exchange, outcome }).await;
        });
    }

    fn update(&self, target: Target, exchange: Exchange, name: Name, demand: Vec<Rdata>, put: Option<Put>) {
        let Some(master) = self.masters.get(&target).cloned() else { return };
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let outcome = master.update(&name, &demand, put.as_ref()).await;
            _ = inbox.tell(Input::Updated { target, exchange, outcome }).await;
        });
    }
}

impl Master {
    async fn look(&self, name: &Name) -> Result<Found, Trouble> {
        let questions = message::questions(name).ok_or(Trouble::Malformed)?;
        let asked: Vec<_> = questions.iter().collect();
        let answers = self.correspondent.exchange_all(&asked, Sending::Again).await;
        message::found(&questions, &answers.map_err(trouble)?)
    }

    async fn update(&self, name: &Name, demand: &[Rdata], put: Option<&Put>) -> Result<Verdict, Trouble> {
        let update = message::update(&self.zone, name, demand, put).ok_or(Trouble::Malformed)?;
        let answer = self.correspondent.exchange(&update, Sending::Again).await.map_err(trouble)?;
        match answer.response_code {
            ResponseCode::NoError => Ok(Verdict::Done),
            // RFC 2136 section 3.2 has NXRRSET and YXRRSET for these prerequisites; the others say the
            // same of the name.
            ResponseCode::NXRRSet
            | ResponseCode::YXRRSet
            | ResponseCode::NXDomain
            | ResponseCode::YXDomain => Ok(Verdict::Overtaken),
            code => Err(Trouble::Declined(Declined::Update(code.into()))),
        }
    }
}

fn trouble(failure: Failure) -> Trouble {
    let doubt = match failure {
        Failure::TimedOut => return Trouble::TimedOut,
        Failure::Unreachable => return Trouble::Unreachable,
        Failure::Unproven(Mismatch::Unsigned { code, .. }) => Doubt::Unsigned(code.into()),
        Failure::Unproven(Mismatch::UnknownKey { .. }) => Doubt::UnknownKey,
        Failure::Unproven(Mismatch::AnotherSecret { .. }) => Doubt::AnotherSecret,
        Failure::Unproven(Mismatch::Clocks { server, now }) => Doubt::Clocks(server.abs_diff(now)),
        Failure::Unproven(
            Mismatch::Malformed(_)
            | Mismatch::AnotherId
            | Mismatch::TooManyUnsigned
            | Mismatch::AnotherKey { .. }
            | Mismatch::WrongMac { .. }
            | Mismatch::Refused { .. },
        ) => Doubt::Signature,
    };
    Trouble::Unproven(doubt)
}

fn log(output: Output) {
    match output {
        Output::Followed { target, name, after, was_late } => {
            tracing::info!(%target, %name, after_ms = millis(after), was_late, "names stand in the zone");
        }
        Output::Late { target, name, behind, trouble } => {
            let reason = trouble.map(trouble_text).unwrap_or_default();
            tracing::warn!(%target, %name, behind_ms = millis(behind), reason, "names do not stand in the zone");
        }
        Output::Overtaken { target, name, fence } => {
            let (theirs, system) = (fence.serial.0, fence.system);
            tracing::warn!(%target, %name, theirs, %system, "names stand in the zone under a newer serial: this system writes nothing");
        }
        Output::Declined { target, name, trouble } => {
            tracing::warn!(%target, %name, reason = trouble_text(trouble), "name server takes no names");
        }
        Output::Removed { target, name } => tracing::info!(%target, %name, "names are gone from the zone"),
        Output::LeftAlone { target, name } => {
            tracing::warn!(%target, %name, "names stay in the zone: they are not this system's any more");
        }
        Output::Full { target, name } => {
            tracing::error!(%target, %name, "names left out: the zone holds too many; delegate it instead");
        }
        Output::Unreachable { target, .. } => tracing::warn!(%target, "name server does not answer"),
        Output::Reachable { target, after } => {
            tracing::info!(%target, silent_ms = millis(after), "name server answers again");
        }
        Output::Look { .. } | Output::Update { .. } => {}
    }
}
