//! Making durable what came, by turns with the store's clients: in one commit, and while clients use the store in
//! short ones.

use switchback_model::ContentId;
use switchback_store::{Applied, Change, Receipt, Result, Sender};
use tokio::time::Instant;

use super::arrival::inline_size;
use super::limit::{SHARED_BYTES_MAX, SHARED_RECORDS_MAX};
use crate::link::Link;
use crate::mover::Mover;

/// Applies changes in their order, and moves the cursor to `through`.
pub(crate) async fn apply(
    mover: &Mover,
    link: &Link,
    content: ContentId,
    sender: &Sender,
    changes: Vec<Change>,
    through: Option<u64>,
) -> Result<Receipt> {
    let mut parts = Parts { left: changes, through };
    let mut results = Vec::new();
    loop {
        let turn = mover.share.turn().await;
        let (part, cursor) = parts.next(turn.is_shared());
        let places: Vec<_> = part.iter().map(|change| change.sequence).collect();
        let asked = Instant::now();
        let receipt = mover.catalogue.apply(content, sender.clone(), part, cursor).await?;
        turn.took(asked.elapsed().saturating_sub(receipt.waited), link.purpose());
        parts.settle(&places, &receipt.results);
        results.extend(receipt.results);
        if parts.left.is_empty() {
            return Ok(Receipt { results, ..receipt });
        }
    }
}

/// Changes, and the cursor that follows them. It is in the last commit: a crash before that costs that some come
/// again.
struct Parts {
    left: Vec<Change>,
    through: Option<u64>,
}

impl Parts {
    /// What the next commit holds.
    fn next(&mut self, is_short: bool) -> (Vec<Change>, Option<u64>) {
        let count = if is_short { short(&self.left) } else { self.left.len() };
        let rest = self.left.split_off(count);
        let part = std::mem::replace(&mut self.left, rest);
        (part, self.through.filter(|_| self.left.is_empty()))
    }

    /// The cursor stops before what was not settled, in whichever commit that was.
    fn settle(&mut self, places: &[u64], results: &[Applied]) {
        let unsettled = places.iter().zip(results).filter(|(_, result)| !result.is_settled());
        if let (Some(place), Some(through)) = (unsettled.map(|(place, _)| *place).min(), &mut self.through) {
            *through = (*through).min(place.saturating_sub(1));
        }
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

#[cfg(test)]
mod tests {
    use switchback_model::{Epoch, Version, VersionVector};
    use switchback_store::{Body, Object, Payload, Record, RecordKey};

    use super::*;

    fn change(sequence: u64, bytes: usize) -> Change {
        let body = Body::Inline(vec![0; bytes].into());
        let object = Object { size: bytes as u64, body, ..Object::default() };
        let record = Record {
            key: RecordKey::object("photos", sequence.to_string()),
            version: Version::default(),
            replaced: VersionVector::default(),
            absorbed: VersionVector::default(),
            epoch: Epoch(0),
            payload: Payload::Object(Box::new(object)),
        };
        Change { sequence, record }
    }

    /// The sizes of the commits, and their cursors, when the change `unsettled` is not settled.
    fn commits(count: u64, bytes: usize, is_short: bool, unsettled: u64) -> Vec<(usize, Option<u64>)> {
        let left = (1..=count).map(|sequence| change(sequence, bytes)).collect();
        let (mut parts, mut commits) = (Parts { left, through: Some(count) }, Vec::new());
        while !parts.left.is_empty() {
            let (part, cursor) = parts.next(is_short);
            let places: Vec<_> = part.iter().map(|change| change.sequence).collect();
            let result = |place: &u64| {
                if *place == unsettled { Applied::LeaseExpired } else { Applied::Stored }
            };
            parts.settle(&places, &places.iter().map(result).collect::<Vec<_>>());
            commits.push((part.len(), cursor));
        }
        commits
    }

    #[test]
    fn beside_clients_commits_are_short_and_the_last_one_has_the_cursor() {
        assert_eq!(commits(300, 10, false, 0), [(300, Some(300))]);
        assert_eq!(commits(300, 10, true, 0), [(128, None), (128, None), (44, Some(300))]);
        let large = usize::try_from(SHARED_BYTES_MAX / 4).unwrap();
        assert_eq!(commits(6, large, true, 0), [(4, None), (2, Some(6))]);
    }

    #[test]
    fn the_cursor_stops_before_what_is_not_settled_in_a_commit_before() {
        assert_eq!(commits(300, 10, true, 129), [(128, None), (128, None), (44, Some(128))]);
        assert_eq!(commits(300, 10, true, 1), [(128, None), (128, None), (44, Some(0))]);
    }
}
