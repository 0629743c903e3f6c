//! The sender's window: what is on its way and not yet acknowledged. Pure.

use std::collections::VecDeque;

use switchback_model::Version;
use switchback_store::{RecordKey, Segment};

use super::limit::{WINDOW_BATCHES, WINDOW_BATCHES_UNTOLD};

/// One change on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Flown {
    /// Of what.
    pub key: RecordKey,
    /// Which write.
    pub version: Version,
    /// Bytes of its body.
    pub size: u64,
    /// The blobs of a body that follows.
    pub segments: Vec<Segment>,
    /// What such a body is like; see `pack`.
    pub kind: u8,
    /// Its body could not be read; it is on the retry list.
    pub failed: bool,
}

/// One batch on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Flying {
    /// From 1, in order.
    pub number: u64,
    /// What is in it.
    pub changes: Vec<Flown>,
}

impl Flying {
    /// Bytes of the bodies that followed.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        let followed = self.changes.iter().filter(|change| !change.segments.is_empty() && !change.failed);
        followed.map(|change| change.size).sum()
    }
}

/// The peer answered something that it was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other system's mover answered out of order; both must run the same version")]
pub struct OutOfOrder;

/// Batches in order of their numbers, which have no gaps.
#[derive(Debug)]
pub struct Window {
    flying: VecDeque<Flying>,
    last: u64,
    batches_max: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { flying: VecDeque::new(), last: 0, batches_max: WINDOW_BATCHES }
    }
}

impl Window {
    /// For a receiver that takes so many batches at once; 0: it does not say.
    #[must_use]
    pub fn of(batches_max: u32) -> Self {
        let told = usize::try_from(batches_max).unwrap_or(usize::MAX);
        let batches_max = if told == 0 { WINDOW_BATCHES_UNTOLD } else { told.min(WINDOW_BATCHES) };
        Self { batches_max, ..Self::default() }
    }

    /// Another batch may leave.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.flying.len() < self.batches_max
    }

    /// Nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// Takes a batch into the window; answers its number.
    pub fn launch(&mut self, changes: Vec<Flown>) -> u64 {
        self.last += 1;
        self.flying.push_back(Flying { number: self.last, changes });
        self.last
    }

    /// The oldest batch was acknowledged.
    ///
    /// # Errors
    /// It is not the oldest.
    pub fn land(&mut self, number: u64) -> Result<Flying, OutOfOrder> {
        match self.flying.front() {
            Some(flying) if flying.number == number => self.flying.pop_front().ok_or(OutOfOrder),
            Some(_) | None => Err(OutOfOrder),
        }
    }

    /// One change of a batch on its way.
    ///
    /// # Errors
    /// There is none such.
    pub fn change(&mut self, number: u64, index: u32) -> Result<&mut Flown, OutOfOrder> {
        let flying = self.flying.iter_mut().find(|flying| flying.number == number);
        flying.and_then(|flying| flying.changes.get_mut(index as usize)).ok_or(OutOfOrder)
    }

    /// True while a change of this key is on its way: trying it again aside would be in vain.
    #[must_use]
    pub fn carries(&self, key: &RecordKey) -> bool {
        self.flying.iter().any(|flying| flying.changes.iter().any(|change| change.key == *key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str) -> Flown {
        Flown {
            key: RecordKey::object("photos", key),
            version: Version::default(),
            size: 1,
            segments: Vec::new(),
            kind: 0,
            failed: false,
        }
    }

    #[test]
    fn no_more_than_the_window_is_on_its_way() {
        for (told, batches) in [(0, WINDOW_BATCHES_UNTOLD), (2, 2), (u32::MAX, WINDOW_BATCHES)] {
            let mut window = Window::of(told);
            for number in 1..=batches as u64 {
                assert!(window.is_open());
                assert_eq!(window.launch(vec![change("a")]), number);
            }
            assert!(!window.is_open());
            window.land(1).unwrap();
            assert!(window.is_open());
        }
    }

    #[test]
    fn an_answer_out_of_order_is_refused() {
        let mut window = Window::default();
        assert_eq!(window.land(1), Err(OutOfOrder));
        window.launch(vec![change("a")]);
        window.launch(vec![change("b")]);
        assert_eq!(window.land(2), Err(OutOfOrder));
        assert!(window.change(2, 0).is_ok());
        assert_eq!(window.change(2, 1).map(|_| ()), Err(OutOfOrder));
        assert!(window.carries(&RecordKey::object("photos", "b")));
        window.land(1).unwrap();
        window.land(2).unwrap();
        assert!(!window.carries(&RecordKey::object("photos", "b")) && window.is_empty());
    }
}
