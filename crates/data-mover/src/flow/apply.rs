//! Making durable what came, by turns with the store's clients.

use switchback_model::ContentId;
use switchback_store::{Change, Receipt, Result, Sender};
use tokio::time::Instant;

use super::arrival::inline_size;
use super::limit::{SHARED_BYTES_MAX, SHARED_RECORDS_MAX};
use crate::link::Link;
use crate::mover::Mover;

/// Applies changes in their order, and then moves the cursor to `through`: in one commit, and while clients use
/// the store in short ones. Of those the cursor is in the last, so that a crash costs that some come again.
pub(crate) async fn apply(
    mover: &Mover,
    link: &Link,
    content: ContentId,
    sender: &Sender,
    changes: Vec<Change>,
    through: Option<u64>,
) -> Result<Receipt> {
    let (mut left, mut through, mut results) = (changes, through, Vec::new());
    loop {
        let turn = mover.share.turn().await;
        let count = if turn.is_shared() { short(&left) } else { left.len() };
        let rest = left.split_off(count);
        let places: Vec<_> = left.iter().map(|change| change.sequence).collect();
        let last = rest.is_empty();
        let asked = Instant::now();
        let applied = mover.catalogue.apply(content, sender.clone(), left, through.filter(|_| last)).await;
        let receipt = applied?;
        turn.took(asked.elapsed().saturating_sub(receipt.waited), link.purpose());
        // The cursor stops before what is not settled, in whichever commit that was.
        let unsettled = places.iter().zip(&receipt.results).find(|(_, result)| !result.is_settled());
        if let (Some((place, _)), Some(through)) = (unsettled, &mut through) {
            *through = (*through).min(place.saturating_sub(1));
        }
        results.extend(receipt.results);
        if last {
            return Ok(Receipt { results, ..receipt });
        }
        left = rest;
    }
}

/// How many of these changes one short commit takes.
fn short(changes: &[Change]) -> usize {
    let mut bytes = 0;
    let fitting = changes.iter().take(SHARED_RECORDS_MAX).take_while(|change| {
        let fits = bytes < SHARED_BYTES_MAX;
        bytes += inline_size(&change.record);
        fits
    });
    fitting.count()
}
