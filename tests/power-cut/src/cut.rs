//! What a disk is left with when the power goes: all that a flush covered, and of the rest what
//! chance wants.
//!
//! A later write may be there and an earlier one not, so writes come to rest in any order; but of
//! two writes to one sector the later one is never undone by the earlier, because a disk's cache
//! holds one copy of a sector. A write of many sectors may be there in part.

use crate::device::{Device, Entry, SECTOR};
use crate::random::Random;

/// How chance decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Everything written is there, flushed or not.
    All,
    /// Only what was flushed.
    Flushed,
    /// Each write after the last flush is there or not.
    Some,
    /// The same, and of those that are there each sector is there or not.
    Torn,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::All, Self::Flushed, Self::Some, Self::Torn];
}

/// A disk that goes from cut to cut, forwards in time.
pub struct Crashed<'a> {
    log: &'a [Entry],
    device: Device,
    /// Entries that the device holds for good.
    durable: usize,
}

impl<'a> Crashed<'a> {
    /// Nothing has happened to `device` yet.
    #[must_use]
    pub fn new(log: &'a [Entry], device: Device) -> Self {
        Self { log, device, durable: 0 }
    }

    /// Makes the device what a cut after the first `moment` entries leaves. Moments must not go
    /// back. [`Device::revert`] takes back what the cut left by chance, and what was done since.
    /// Answers how many writes chance decided on.
    pub fn cut(&mut self, moment: usize, mode: Mode, random: &mut Random) -> usize {
        let flushed = self.log[..moment].iter().rposition(|entry| matches!(entry, Entry::Flush));
        let flushed = flushed.map_or(0, |at| at + 1);
        for entry in &self.log[self.durable.min(flushed)..flushed] {
            if let Entry::Write { offset, bytes } = entry {
                self.device.put(*offset, bytes);
            }
        }
        self.durable = self.durable.max(flushed);
        self.device.mark();
        let mut open = 0;
        for entry in &self.log[flushed..moment] {
            let Entry::Write { offset, bytes } = entry else { continue };
            open += 1;
            let kept = match mode {
                Mode::All => true,
                Mode::Flushed => false,
                Mode::Some | Mode::Torn => random.below(2) == 0,
            };
            if !kept {
                continue;
            }
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                if mode != Mode::Torn || random.below(2) == 0 {
                    self.device.put(offset + number * SECTOR, sector);
                }
            }
        }
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(sector: usize, byte: u8) -> Entry {
        Entry::Write { offset: sector * SECTOR, bytes: vec![byte; SECTOR].into() }
    }

    #[test]
    fn what_was_flushed_stays_and_the_rest_is_left_to_the_mode() {
        let log = [write(0, 1), Entry::Flush, write(0, 2), write(1, 2), Entry::Flush, write(1, 3)];
        let device = Device::plain(2 * SECTOR);
        let mut crashed = Crashed::new(&log, device.clone());
        let mut left = |moment, mode| {
            let open = crashed.cut(moment, mode, &mut Random::new(7));
            let bytes = (device.get(0), device.get(SECTOR));
            device.revert();
            (open, bytes)
        };
        assert_eq!(left(1, Mode::Flushed), (1, (0, 0)));
        assert_eq!(left(1, Mode::All), (1, (1, 0)));
        assert_eq!(left(4, Mode::Flushed), (2, (1, 0)));
        assert_eq!(left(4, Mode::All), (2, (2, 2)));
        assert_eq!(left(5, Mode::Flushed), (0, (2, 2)));
        assert_eq!(left(6, Mode::Flushed), (1, (2, 2)));
        assert_eq!(left(6, Mode::All), (1, (2, 3)));
    }

    #[test]
    fn chance_keeps_some_writes_and_some_sectors() {
        let log: Vec<_> = (0..64).map(|sector| write(sector, 1)).collect();
        let device = Device::plain(64 * SECTOR);
        let mut crashed = Crashed::new(&log, device.clone());
        crashed.cut(64, Mode::Some, &mut Random::new(1));
        let kept = (0..64).filter(|sector| device.get(sector * SECTOR) == 1).count();
        assert!((1..64).contains(&kept), "{kept}");
    }
}
