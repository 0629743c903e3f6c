//! Who may write: the epoch of a link and the side it names.

use core::fmt;

/// One of the two sides of a link, as the link was created. Roles never swap: a failed-over
/// replica is still the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The side that writes when all is well.
    Primary,
    /// The side that takes over.
    Replica,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Replica,
            Self::Replica => Self::Primary,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        })
    }
}

/// Counter on a link that says who may accept writes: even, the primary; odd, the replica. A link
/// starts at 0; an epoch grows at each change of write authority and never goes back. Because
/// each side mints only numbers of its own parity, two sides can never mint the same epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The side that may write in this epoch.
    #[must_use]
    pub fn holder(self) -> Side {
        if self.0.is_multiple_of(2) { Side::Primary } else { Side::Replica }
    }

    /// The next epoch after this one that names `side`.
    #[must_use]
    pub fn next_for(self, side: Side) -> Self {
        let next = Self(self.0 + 1);
        if next.holder() == side { next } else { Self(self.0 + 2) }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_epoch_is_higher_and_names_the_side_that_asked() {
        for number in 0..10 {
            for side in [Side::Primary, Side::Replica] {
                let next = Epoch(number).next_for(side);
                assert!(next > Epoch(number) && next.0 <= number + 2);
                assert_eq!(next.holder(), side);
            }
        }
    }
}
