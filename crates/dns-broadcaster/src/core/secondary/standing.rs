//! What an operator sees: plain values, as of the last step.

use alloc::vec::Vec;

use switchback_machine::Timestamp;

use super::super::name::Name;
use super::super::zone::Serial;
use super::Copies;
use super::event::{Primary, Reason};
use super::track::{Age, Track};

/// Where a zone stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of what is held; `None` before anything is.
    pub serial: Option<Serial>,
    /// The primary's last word that this is the zone.
    pub word: Option<Timestamp>,
    /// When it is asked next; `None` while that is under way, or the zone is published here.
    pub due: Option<Timestamp>,
    /// When nothing is answered any more unless the primary is heard; `None` without a copy.
    pub expires: Option<Timestamp>,
    /// Nothing is answered.
    pub is_expired: bool,
    /// This server publishes the zone itself, and follows nobody for it.
    pub is_published: bool,
    /// Why the last exchange came to nothing, and when.
    pub trouble: Option<(Reason, Timestamp)>,
}

/// A primary as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Zones of which a copy is held that is answered.
    pub held: usize,
    /// Zones of which nothing is held yet.
    pub missing: usize,
    /// Copies that are not answered any more.
    pub expired: usize,
    /// Zones that this server publishes itself.
    pub published: usize,
    /// `None` while it is heard.
    pub silent_since: Option<Timestamp>,
    /// The last time that anything came from it.
    pub heard: Option<Timestamp>,
}

impl Copies {
    /// Each primary.
    pub fn summaries(&self) -> impl Iterator<Item = (Primary, Summary)> {
        let mut summaries: Vec<_> = self
            .sources
            .iter()
            .map(|source| Summary {
                silent_since: source.outage.map(|outage| outage.since),
                heard: source.heard,
                ..Summary::default()
            })
            .collect();
        for track in self.zones.values() {
            let Some(summary) = summaries.get_mut(track.primary.0) else { continue };
            *match track.copy {
                _ if track.is_published => &mut summary.published,
                None => &mut summary.missing,
                Some(copy) if copy.age == Age::Expired => &mut summary.expired,
                Some(_) => &mut summary.held,
            } += 1;
        }
        (0..).map(Primary).zip(summaries)
    }

    /// Where the zones of a primary stand, in the order of their names.
    pub fn standings(&self, primary: Primary) -> impl Iterator<Item = (&Name, Standing)> {
        let of = self.zones.iter().filter(move |(_, track)| track.primary == primary);
        of.map(|(zone, track)| (zone, track.standing()))
    }

    /// Exchanges under way, and zones that wait for their turn.
    #[must_use]
    pub fn outstanding(&self) -> (usize, usize) {
        let sources = self.sources.iter();
        sources.fold((0, 0), |(outstanding, waiting), source| {
            (outstanding + source.outstanding(), waiting + source.waiting())
        })
    }
}

impl Track {
    fn standing(&self) -> Standing {
        Standing {
            serial: self.copy.map(|copy| copy.serial),
            word: self.copy.map(|copy| copy.word),
            due: self.due,
            expires: self.copy.map(|copy| copy.word + copy.times.expire),
            is_expired: self.copy.is_some_and(|copy| copy.age == Age::Expired),
            is_published: self.is_published,
            trouble: self.trouble.clone(),
        }
    }
}
