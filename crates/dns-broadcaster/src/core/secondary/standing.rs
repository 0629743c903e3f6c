//! What an operator sees: plain values, as of the last step.

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
    /// A primary as a whole; `None` when it is none.
    #[must_use]
    pub fn summary(&self, primary: Primary) -> Option<Summary> {
        let contact = &self.sources.get(primary.0)?.contact;
        let silent_since = contact.outage.map(|outage| outage.since);
        let mut summary = Summary { silent_since, heard: contact.last_heard, ..Summary::default() };
        for track in self.zones.values().filter(|track| track.primary == primary) {
            *match track.copy {
                _ if track.is_published => &mut summary.published,
                None => &mut summary.missing,
                Some(copy) if copy.age == Age::Expired => &mut summary.expired,
                Some(_) => &mut summary.held,
            } += 1;
        }
        Some(summary)
    }

    /// Where a zone stands; `None` when it is not followed.
    #[must_use]
    pub fn standing(&self, zone: &Name) -> Option<(Primary, Standing)> {
        self.zones.get(zone).map(|track| (track.primary, track.standing()))
    }

    /// Where the zones of a primary stand, those in trouble first.
    pub fn standings(&self, primary: Primary) -> impl Iterator<Item = (&Name, Standing)> {
        let of = move |is_troubled| {
            let is_it = move |track: &Track| {
                track.primary == primary && (track.trouble.is_some() || track.copy.is_none()) == is_troubled
            };
            self.zones.iter().filter(move |(_, track)| is_it(track))
        };
        of(true).chain(of(false)).map(|(zone, track)| (zone, track.standing()))
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
