//! From a plan to what is served: the edition that it leads to is made, made durable, and answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Publisher, State};
use crate::Error;
use crate::core::apply::{Plan, Verdict};
use crate::core::name::Name;
use crate::edition::{Edition, Sources};
use crate::own::Own;
use crate::store::Received;

impl Publisher {
    /// Makes the plan's outcome durable and answers it.
    pub(super) async fn publish(
        &self,
        state: &mut State,
        plan: Plan,
        held: BTreeSet<Name>,
    ) -> Result<(), Error> {
        let next = Next { plan, held, own: None, received: Received::default() };
        self.publish_next(state, Box::new(next)).await
    }

    /// The same, with `own` in the place of the operator's records.
    pub(super) async fn publish_own(
        &self,
        state: &mut State,
        own: Own,
        plan: Plan,
        received: Received,
    ) -> Result<(), Error> {
        let held = state.held.clone();
        let next = Next { plan, held, own: Some(own), received };
        self.publish_next(state, Box::new(next)).await
    }

    /// Publishes by other rules than before, hence every zone anew.
    pub(super) async fn publish_all(&self, state: &mut State) -> Result<(), Error> {
        let (plan, held) = (Plan::nothing(&state.record), state.held.clone());
        let next = Box::new(Next { plan, held, own: None, received: Received::default() });
        let edition = next.sources(state).edition(&self.own.load(), self.rules(state))?;
        self.bring_out(state, next, edition).await
    }

    async fn publish_next(&self, state: &mut State, next: Box<Next>) -> Result<(), Error> {
        let (last, rules) = (state.sources(), self.rules(state));
        let edition = next.sources(state).edition_after(last, &self.own.load(), rules)?;
        self.bring_out(state, next, edition).await
    }

    /// Makes an edition of `next` durable and answers it.
    async fn bring_out(&self, state: &mut State, next: Box<Next>, edition: Edition) -> Result<(), Error> {
        let Edition { snapshot, early, renewed, shown } = edition;
        let is_early = early.as_ref().is_some_and(|early| Arc::ptr_eq(early, &snapshot));
        if is_early {
            self.say(&next.plan.next, &next.held);
        }
        if let Some(early) = early {
            self.serve(early, &next.plan.next, &state.copies);
        }
        if next.plan.verdict == Verdict::Applied || !renewed.is_empty() || !next.received.is_empty() {
            let committed = self.store.commit(&next.plan, &renewed, &next.received).await;
            committed.inspect_err(|_| self.broken.cancel())?;
        }
        let Next { plan, held, own, received } = *next;
        state.receive(received);
        state.take(plan);
        state.held = held;
        if let Some(own) = own {
            state.own = own;
        }
        state.renewals.take(renewed);
        state.shown = shown;
        if !is_early {
            self.say(&state.record, &state.held);
            self.serve(snapshot, &state.record, &state.copies);
        }
        Ok(())
    }
}

/// What is to be published.
struct Next {
    plan: Plan,
    held: BTreeSet<Name>,
    /// `None`: the operator's records stay.
    own: Option<Own>,
    received: Received,
}

impl Next {
    fn sources<'a>(&'a self, state: &'a State) -> Sources<'a> {
        let own = self.own.as_ref().unwrap_or(&state.own);
        let (own_records, own_zones) = (&own.records, &own.zones);
        Sources { record: &self.plan.next, held: &self.held, own_records, own_zones, ..state.sources() }
    }
}
