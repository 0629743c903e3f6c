//! The properties, by name, and which of them a state has seen broken.

use std::ops::{BitOr, BitOrAssign};

/// A set of broken properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flaws(u16);

impl Flaws {
    /// S1: within a life of a system no epoch goes back, neither the link's nor the mover's.
    pub const EPOCHS: Self = Self(1);
    /// S1: no two sides accept writes in one epoch.
    pub const WRITERS: Self = Self(1 << 1);
    /// S2: content is writable only in an epoch that names the side and that its record has taken.
    pub const MODES: Self = Self(1 << 2);
    /// S3: content is not writable in an epoch that this side has told it is fenced from, nor in
    /// one whose authority it has given up at the end of a recovery.
    pub const FENCE: Self = Self(1 << 3);
    /// S5: an acknowledged version is held by some system, or the one that held it was rebuilt.
    pub const LOSS: Self = Self(1 << 4);
    /// S6: sides that cover the same versions have the same current one, and the same digest.
    pub const MERGE: Self = Self(1 << 5);
    /// S7: when the primary takes a grant, and when it then opens, both hold the same and the
    /// replica is read-only, unless it has started a newer epoch.
    pub const COMPLETION: Self = Self(1 << 6);
    /// S8: while both sides replicate in one epoch, the replica has nothing that the primary lacks.
    pub const NORMAL: Self = Self(1 << 7);
    /// S9: but for a rebuild, no side ever covers less than it did.
    pub const SHRINK: Self = Self(1 << 8);
    /// S10: a message between other incarnations than the agreed ones changes nothing.
    pub const INCARNATION: Self = Self(1 << 9);
    /// S12: a repeated command, and a refused one, change nothing.
    pub const COMMANDS: Self = Self(1 << 10);
    /// What is durable is what is known, and the core's own invariants hold.
    pub const RECORD: Self = Self(1 << 11);
    /// L2: an operator who follows the status brings the link back to health.
    pub const HEALTH: Self = Self(1 << 12);

    /// All of them, with their names.
    pub const NAMES: [(Self, &'static str); 13] = [
        (Self::EPOCHS, "S1 epochs never go back"),
        (Self::WRITERS, "S1 one writer in an epoch"),
        (Self::MODES, "S2 writable only in an epoch that names the side and that it took"),
        (Self::FENCE, "S3 never writable behind a fence or a given-up epoch"),
        (Self::LOSS, "S5 no acknowledged version vanishes"),
        (Self::MERGE, "S6 the same versions make the same content"),
        (Self::COMPLETION, "S7 a grant finds both equal and the replica read-only"),
        (Self::NORMAL, "S8 replicating, the replica holds nothing that the primary lacks"),
        (Self::SHRINK, "S9 nothing shrinks but by a rebuild"),
        (Self::INCARNATION, "S10 messages between other incarnations change nothing"),
        (Self::COMMANDS, "S12 repeated and refused commands change nothing"),
        (Self::RECORD, "changes tell the whole state, and the core's invariants hold"),
        (Self::HEALTH, "L2 health can be reached by following the status"),
    ];

    /// `other` is among them.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// None is broken.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flaw, _)| self.contains(*flaw)).map(|(_, name)| name)
    }
}

impl BitOr for Flaws {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flaws {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
