//! What updates bring (RFC 2136): judged against what is served, made durable and published, one after
//! another.
//!
//! An update is answered when it is on the disk and published, and so is that it was seen, in the same
//! commit: the same bytes again get the same answer, also after a crash.

use switchback_kit::world::time::unix_ms;
use switchback_proto::dns::v1 as wire;

use super::{Publisher, State, now_seconds};
use crate::core::apply::{self, Plan};
use crate::core::name::{Name, upward};
use crate::core::own::zone_taken;
use crate::core::receive::{Changes, Code, Nodes, Reason, Refusal, Sighting, TakenSet, Update, decide};
use crate::core::record::Kind;
use crate::core::table;
use crate::core::zone::Zone;
use crate::own::Beside;
use crate::receive::Request;
use crate::store::{Received, Sighted};
use crate::{Error, convert, receive};

/// Sets that the log lists at once.
const LISTED_MAX: usize = 8;

impl Publisher {
    /// Carries out an update, once, and says what it is answered. Run it to its end, as
    /// [`Publisher::apply`].
    pub(crate) async fn update(&self, request: &Request) -> Code {
        let Request { key, stamp, until, source, .. } = request;
        let now = unix_ms() / 1000;
        let mut state = self.state.lock().await;
        if let Some(code) = state.seen.answer(key, *stamp) {
            tracing::debug!(%key, %source, "update seen before: it is answered as it was");
            return code;
        }
        // It was good when it came, and has waited since: whether it was seen may be forgotten by now.
        if *until < now {
            tracing::warn!(%key, %source, "update not taken: its signature expired while it waited");
            return Code::ServFail;
        }
        if state.seen.is_full(key, now) {
            tracing::warn!(%key, %source, reason = %Reason::TooOften, "update refused");
            return Code::Refused;
        }
        let read = receive::read(&request.message);
        let judged = read.and_then(|update| {
            let (changes, nodes) = self.judge(&state, &update, key, now)?;
            Ok((update.zone, changes, nodes))
        });
        let code = judged.as_ref().map_or_else(|refusal| refusal.code, |_| Code::NoError);
        let sighting = Sighting { code, until: *until };
        let expired = state.seen.expired(key, now);
        let seen = Some(Sighted { key: key.clone(), stamp: *stamp, sighting, expired });
        let nothing = |seen| Received { seen, ..Received::default() };
        let done = match judged {
            Err(Refusal { reason, .. }) => {
                match reason {
                    // That is what prerequisites are for.
                    Reason::Demand => tracing::debug!(%key, %source, ?code, "update not carried out"),
                    reason => tracing::warn!(%key, %source, ?code, %reason, "update refused"),
                }
                self.see(&mut state, nothing(seen)).await
            }
            Ok((zone, changes, _)) if changes.is_empty() => {
                tracing::debug!(%key, %source, %zone, "update changes nothing");
                self.see(&mut state, nothing(seen)).await
            }
            Ok((zone, changes, nodes)) => {
                let done = self.bring(&mut state, &zone, nodes, seen).await;
                if done.is_ok() {
                    tracing::info!(%key, %source, %zone, changes = describe(&changes), "update taken");
                }
                done
            }
        };
        match done {
            Ok(()) => code,
            Err(error) => {
                tracing::error!(%key, %source, %error, "update not taken");
                Code::ServFail
            }
        }
    }

    /// What `update`, sent by the holder of `key`, changes, and what is at those names then.
    fn judge(
        &self,
        state: &State,
        update: &Update,
        key: &Name,
        now: u64,
    ) -> Result<(Changes, Nodes), Refusal> {
        let (domain, name) = (&self.config.domain, &update.zone);
        let zone = self.open_zone(state, name)?;
        let grants = &self.config.updaters;
        if !grants.know_in(key, name) {
            return Err(Refusal::of(Reason::NothingGranted(name.clone())));
        }
        let snapshot = self.snapshot.load();
        let other_zone = |owner: &Name| {
            let mut above = upward(owner.as_bytes()).map(Name::from_key);
            above.find(|above| snapshot.zone(above).is_some()).filter(|zone| zone != name)
        };
        let holder = |owner: &Name, kind| state.own.holder(domain, &state.taken, zone, (owner, kind));
        let changes = decide(zone, update, (grants, key), other_zone, holder)?;
        let nodes = state.taken.after(name, &changes, key, now).map_err(|many| Refusal::of(many.into()))?;
        Ok((changes, nodes))
    }

    /// The zone of this name, its signatures aside, if it takes updates.
    fn open_zone<'a>(&self, state: &'a State, name: &Name) -> Result<&'a Zone, Refusal> {
        let own = || state.own.zones.get(name).filter(|_| !state.record.tenants.contains_key(name));
        let found = if *name == self.config.domain {
            state.shown.as_ref().map(|shown| shown.zone())
        } else {
            own().map(AsRef::as_ref)
        };
        if let Some(zone) = found {
            return Ok(zone);
        }
        if state.record.tenants.contains_key(name) {
            return Err(Refusal::of(Reason::TenantZone(name.clone())));
        }
        if self.snapshot.load().zone(name).is_some() {
            return Err(Refusal::of(Reason::Closed(name.clone())));
        }
        Err(Refusal { code: Code::NotAuth, reason: Reason::NoZone(name.clone()) })
    }

    /// Makes durable and publishes that `nodes` are what was taken at those names of `zone`.
    async fn bring(
        &self,
        state: &mut State,
        zone: &Name,
        nodes: Nodes,
        seen: Option<Sighted>,
    ) -> Result<(), Error> {
        let domain = &self.config.domain;
        let (own, renumbered) = state.own.with(domain, zone, &nodes);
        let plan = if zone == domain && state.record.system.is_some() {
            apply::with_other_records(&state.record, now_seconds())
        } else {
            Plan::nothing(&state.record)
        };
        let received = Received { nodes: Some((zone.clone(), nodes)), renumbered, seen };
        self.publish_own(state, own, plan, received).await
    }

    /// Makes durable that an update was seen which changed nothing.
    async fn see(&self, state: &mut State, received: Received) -> Result<(), Error> {
        self.store.commit_received(&received).await.inspect_err(|_| self.broken.cancel())?;
        state.receive(received);
        Ok(())
    }

    /// What was taken by update, and whether it is served.
    pub async fn records(&self) -> wire::ListRecordsResponse {
        let state = self.state.lock().await;
        let domain = &self.config.domain;
        let zones = state.taken.zones();
        let sets = zones.flat_map(|zone| {
            let nodes = state.taken.of(zone);
            nodes.flat_map(move |(owner, sets)| sets.iter().map(move |set| (zone, owner, set)))
        });
        let listed =
            sets.map(|(zone, owner, set)| (zone, owner, set, state.is_served(domain, zone, owner, set)));
        convert::records(listed, state.taken.records())
    }

    /// Removes what was taken of this type at this name by update. Run it to its end, as
    /// [`Publisher::apply`].
    ///
    /// # Errors
    /// Nothing was, or as [`Publisher::apply`].
    pub async fn remove_records(
        &self,
        owner: &Name,
        kind: Kind,
    ) -> Result<wire::RemoveRecordsResponse, Error> {
        let mut state = self.state.lock().await;
        let zone = state.taken.zones().find(|zone| state.taken.holds(zone, owner, kind)).cloned();
        let Some(zone) = zone else { return Err(Error::NotTaken { owner: owner.clone(), kind }) };
        let is_kept = |taken: &&TakenSet| taken.set.kind != kind;
        let kept = state.taken.at(&zone, owner).iter().filter(is_kept).cloned().collect();
        self.bring(&mut state, &zone, [(owner.clone(), kept)].into(), None).await?;
        tracing::info!(%zone, %owner, %kind, "records that were taken by update removed by an operator");
        Ok(wire::RemoveRecordsResponse {})
    }
}

impl State {
    /// What there is beside zone files.
    pub(super) fn beside<'a>(&'a self, domain: &'a Name, key: table::Key) -> Beside<'a> {
        let numbers = self.own.numbers();
        Beside { domain, key, taken: &self.taken, numbers, now: Some((&self.record.tenants, &self.own)) }
    }

    /// Remembers what is on the disk.
    pub(super) fn receive(&mut self, received: Received) {
        if let Some((zone, nodes)) = received.nodes {
            self.taken.take(&zone, nodes);
        }
        if let Some(Sighted { key, stamp, sighting, expired }) = received.seen {
            for stamp in expired {
                self.seen.forget(&key, stamp);
            }
            self.seen.remember(&key, stamp, sighting);
        }
    }

    fn is_served(&self, domain: &Name, zone: &Name, owner: &Name, taken: &TakenSet) -> bool {
        self.own.is_beside(domain, zone, owner, taken)
            && zone_taken(owner, domain, &self.record.tenants).is_none()
    }

    /// After a start, which nothing of it may keep from being one.
    pub(super) fn log_taken_left_out(&self, domain: &Name) {
        for zone in self.taken.zones() {
            let sets =
                self.taken.of(zone).flat_map(|(owner, sets)| sets.iter().map(move |taken| (owner, taken)));
            let mut left_out = sets.filter(|(owner, taken)| !self.own.is_beside(domain, zone, owner, taken));
            for (owner, taken) in left_out.by_ref().take(LISTED_MAX) {
                let (kind, key) = (taken.set.kind, &taken.key);
                tracing::warn!(%zone, %owner, %kind, %key, "records that were taken by update are left out: a zone file says others, or the zone is not served");
            }
            let more = left_out.count();
            if more > 0 {
                tracing::warn!(%zone, more, "more of them are left out; see `switchback dns records`");
            }
        }
    }
}

/// For the log.
fn describe(changes: &Changes) -> String {
    let one = |(owner, kind, set): (&Name, &Kind, &Option<_>)| {
        let what = if set.is_some() { "set" } else { "gone" };
        format!("{owner} {kind} {what}")
    };
    let sets =
        || changes.iter().flat_map(|(owner, sets)| sets.iter().map(move |(kind, set)| (owner, kind, set)));
    let listed: Vec<_> = sets().take(LISTED_MAX).map(one).collect();
    match sets().count().saturating_sub(LISTED_MAX) {
        0 => listed.join(", "),
        more => format!("{}, and {more} more", listed.join(", ")),
    }
}
