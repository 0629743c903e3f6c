//! The receiving end of a flow, written after `data-mover`'s `flow::receiver` for bodies that travel in
//! their records: batches in their order, each with the cursor in one commit, then acknowledged.

use std::collections::BTreeSet;

use switchback_model::{FeedId, Hlc};
use switchback_mover::flow::compare;
use switchback_proto::replication::v1::{Ack, Batch, Manifest, RefusedChange};
use switchback_store::{Applied, Change, Cursor, Lineage, Record, Sender};

use crate::cores::Trouble;
use crate::cores::mover::{Flowing, Header, Mover, Refused};

/// One stream that was welcomed.
pub struct Receiving {
    sender: Sender,
    /// Batches with refused changes that the sender has not noted yet.
    not_noted: BTreeSet<u64>,
    /// How far the feed has been given, whether or not the cursor may follow.
    through: u64,
}

impl Mover {
    /// The receiver's answer to what the sender says, if there is one.
    ///
    /// # Errors
    /// The store failed.
    pub async fn receive(&mut self, flowing: Flowing) -> Result<Option<Flowing>, Trouble> {
        match flowing {
            Flowing::Hello { header, feed, head, compare, lineage, read, clock } => {
                self.welcome(header, (feed, head, lineage), read, compare, clock).await.map(Some)
            }
            Flowing::Batch(batch) => self.take_batch(batch).await,
            Flowing::Noted(batch) => self.noted(batch).await.map(|()| None),
            Flowing::Manifest(manifest) => self.answer(manifest).map(Some),
            Flowing::Welcome { .. } | Flowing::Refused(_) | Flowing::Ack(_) | Flowing::Missing(_) => Ok(None),
        }
    }

    async fn welcome(
        &mut self,
        header: Header,
        (feed, head, lineage): (FeedId, u64, Lineage),
        (there, read): (Option<Cursor>, Lineage),
        compare: bool,
        clock: Hlc,
    ) -> Result<Flowing, Trouble> {
        let other = |text: &str| Ok(Flowing::Refused(Refused::Other(text.into())));
        if !self.obey(header).await? {
            return other("the two systems do not mean the same link");
        }
        let status = self.status()?;
        let Some(link) = &mut self.link else { return other("the other system does not know this link") };
        if header.epoch < link.known {
            return Ok(Flowing::Refused(Refused::StaleEpoch(link.known)));
        }
        self.catalogue.see(clock).await?;
        if !link.wished().receives {
            return other("the other system does not take this content now");
        }
        let Some(status) = status else { return other("the content is not on the other system yet") };
        let cursor = status.cursor(feed);
        if status.is_ahead_of(feed, head, &lineage) {
            link.peer_rolled_back = true;
        }
        link.local_rolled_back |= status.is_behind(there.as_ref(), &read);
        let local_parting = status.parting(there.as_ref(), &read);
        let parting = status.peer_parting(feed, &lineage);
        if link.peer_rolled_back {
            return Ok(Flowing::Refused(Refused::RolledBack));
        }
        // Our own fault is not the sender's: it must not take the refusal for a verdict on itself.
        if link.local_rolled_back {
            return other("the other system's store went back in time");
        }
        link.receiving = Some(Receiving {
            sender: link.sender_of(feed, lineage, local_parting),
            not_noted: BTreeSet::new(),
            through: cursor,
        });
        let content = status.content.id;
        // Whose changes ours are counted without, also when that peer is away after a restart.
        if status.acknowledged.is_none_or(|(noted, _)| noted != feed) {
            self.catalogue.acknowledge(content, feed, 0).await?;
        }
        let give_ranges = compare || (cursor == 0 && status.digest.records > 0 && head > 0);
        let ranges = if give_ranges { self.catalogue.digest(content)?.ranges } else { Vec::new() };
        let clock = self.catalogue.clock()?;
        Ok(Flowing::Welcome { feed: status.head.feed, cursor, ranges, clock, parting })
    }

    async fn take_batch(&mut self, batch: Batch) -> Result<Option<Flowing>, Trouble> {
        let Some(link) = &mut self.link else { return Ok(None) };
        if !link.wished().receives {
            link.receiving = None;
            let text = "the other system does not take this content now";
            return Ok(Some(Flowing::Refused(Refused::Other(text.into()))));
        }
        let Some(content) = link.content().map(|content| content.id) else { return Ok(None) };
        let Some(receiving) = &mut link.receiving else { return Ok(None) };
        receiving.through = receiving.through.max(batch.through);
        let mut changes = Vec::new();
        for change in &batch.changes {
            changes.push(Change { sequence: change.sequence, record: Record::from_bytes(&change.record)? });
        }
        let may_move = receiving.not_noted.is_empty() && batch.through > 0;
        let through = may_move.then_some(batch.through);
        let receipt = self.catalogue.apply(content, receiving.sender.clone(), changes, through).await?;
        let reason = |result: &Applied| match result {
            Applied::Stored | Applied::Ignored | Applied::Won { .. } | Applied::Lost { .. } => None,
            Applied::Quarantined { ahead_ms } => Some(format!("its time is {ahead_ms} ms ahead")),
            Applied::LeaseExpired => Some("its bytes were given up before they were named".into()),
        };
        let refused = (0..).zip(&receipt.results);
        let refused: Vec<_> = refused
            .filter_map(|(index, result)| Some(RefusedChange { index, reason: reason(result)? }))
            .collect();
        if !refused.is_empty() {
            receiving.not_noted.insert(batch.number);
        }
        (self.changed, self.rings) = (true, true);
        Ok(Some(Flowing::Ack(Ack { batch: batch.number, cursor: receipt.cursor, refused })))
    }

    /// All that was refused is on the sender's list: the cursor follows what was given.
    async fn noted(&mut self, batch: u64) -> Result<(), Trouble> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let Some(content) = link.content().map(|content| content.id) else { return Ok(()) };
        let Some(receiving) = &mut link.receiving else { return Ok(()) };
        receiving.not_noted.remove(&batch);
        if receiving.not_noted.is_empty() && receiving.through > 0 {
            let (sender, through) = (receiving.sender.clone(), receiving.through);
            self.catalogue.apply(content, sender, Vec::new(), Some(through)).await?;
            (self.changed, self.rings) = (true, true);
        }
        Ok(())
    }

    fn answer(&mut self, manifest: Manifest) -> Result<Flowing, Trouble> {
        let content = self.link.as_ref().and_then(|link| Some(link.content()?.id));
        match content {
            Some(content) => Ok(Flowing::Missing(compare::answer(&self.catalogue, content, manifest)?)),
            None => Ok(Flowing::Refused(Refused::Other("the other system does not know this link".into()))),
        }
    }
}
