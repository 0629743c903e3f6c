//! Connections between the two systems. Each keeps the order of what is sent on it, as TCP does, and has
//! delays of its own; what a cut or a hold is in the way of waits, and is lost if the connection ends
//! meanwhile. A connection may end on one side alone: the other hears of it, or of nothing.

use std::collections::VecDeque;

use switchback_link_core::{Hello, Message};

use crate::chance::Chance;
use crate::cores::mover::{Beat, Flowing};
use crate::cores::trust::Basis;
use crate::site::{Service, System};

/// A message takes up to this long, in milliseconds, when nothing is slow.
pub const LATENCY_MAX_MS: u64 = 8;

/// What is in the way of a message is looked at again after this.
const AGAIN_MS: u64 = 40;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The link managers' stream.
    Links,
    /// The movers' heartbeats.
    Movers,
    /// Batches out of this system, and what is answered.
    Bulk(System),
}

impl Line {
    /// All four.
    pub const ALL: [Self; 4] =
        [Self::Links, Self::Movers, Self::Bulk(System::East), Self::Bulk(System::West)];

    /// Whose.
    #[must_use]
    pub fn service(self) -> Service {
        match self {
            Self::Links => Service::LinkManager,
            Self::Movers | Self::Bulk(_) => Service::DataMover,
        }
    }

    /// An end that hears nothing for this long, in milliseconds, gives the connection up.
    fn silence_ms(self) -> u64 {
        match self {
            Self::Links => 4_000,
            Self::Movers => 2_000,
            Self::Bulk(_) => 30_000,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Links => 0,
            Self::Movers => 1,
            Self::Bulk(system) => 2 + system as usize,
        }
    }
}

/// What arrives.
#[derive(Debug)]
pub enum Parcel {
    /// The connection is up at this end; between link managers with the other's hello.
    Up(Option<Box<Hello>>),
    /// Between link managers.
    Message(Box<Message>),
    /// Between movers.
    Beat(Box<Beat>),
    /// Of a flow.
    Flow(Box<Flowing>),
    /// The other end is gone.
    End,
}

/// What comes of looking for the next parcel.
#[derive(Debug)]
pub enum Delivery {
    /// That connection is no more, or nobody listens.
    Nothing,
    /// Look again at this simulated millisecond.
    Later(u64),
    /// It is here.
    Parcel(Parcel),
}

/// Where and when to look for a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// On which line.
    pub line: Line,
    /// Of which connection.
    pub connection: u64,
    /// At which end.
    pub to: System,
    /// In simulated milliseconds.
    pub at_ms: u64,
}

#[derive(Debug, Default)]
struct Connection {
    id: u64,
    up: [bool; 2],
    /// Which ends have dialled.
    dialled: [bool; 2],
    basis: Option<Basis>,
    queues: [VecDeque<(u64, Parcel)>; 2],
    last_ms: [u64; 2],
}

/// All of them.
pub struct Network {
    lines: [Connection; 4],
    cut_from: [u32; 2],
    held: u32,
    latency_max_ms: u64,
    blocked_since: [Option<u64>; 2],
    connections: u64,
    chance: Chance,
}

impl Network {
    /// Nothing is connected, and nothing is in the way.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            lines: Default::default(),
            cut_from: [0; 2],
            held: 0,
            latency_max_ms: LATENCY_MAX_MS,
            blocked_since: [None; 2],
            connections: 0,
            chance: Chance::new(seed, "network"),
        }
    }

    /// Messages take up to this long from now on, in milliseconds.
    pub fn slow(&mut self, latency_max_ms: u64) {
        self.latency_max_ms = latency_max_ms;
    }

    /// One cut more, or less, of what `system` sends.
    pub fn cut(&mut self, system: System, is_cut: bool, now: u64) {
        let cuts = &mut self.cut_from[system as usize];
        *cuts = if is_cut { *cuts + 1 } else { cuts.saturating_sub(1) };
        self.note_blocked(now);
    }

    /// One hold more, or less, of what both send.
    pub fn hold(&mut self, is_held: bool, now: u64) {
        self.held = if is_held { self.held + 1 } else { self.held.saturating_sub(1) };
        self.note_blocked(now);
    }

    fn note_blocked(&mut self, now: u64) {
        for from in System::ALL {
            let since = self.blocked_since[from as usize];
            self.blocked_since[from as usize] =
                if self.passes(from) { None } else { Some(since.unwrap_or(now)) };
        }
    }

    /// What `from` sends now arrives.
    #[must_use]
    pub fn passes(&self, from: System) -> bool {
        self.cut_from[from as usize] == 0 && self.held == 0
    }

    /// This end of the line is up.
    #[must_use]
    pub fn is_up(&self, line: Line, at: System) -> bool {
        self.lines[line.index()].up[at as usize]
    }

    /// What the line rests on, while it is up at `at`.
    #[must_use]
    pub fn basis(&self, line: Line, at: System) -> Option<&Basis> {
        self.lines[line.index()].basis.as_ref().filter(|_| self.is_up(line, at))
    }

    /// `at` has heard nothing on the line for too long.
    #[must_use]
    pub fn is_silent(&self, line: Line, at: System, now: u64) -> bool {
        let blocked = self.blocked_since[at.other() as usize];
        blocked.is_some_and(|since| now - since > line.silence_ms())
    }

    /// A new connection takes the place of the one there was, if any; it comes up as its first parcels
    /// arrive.
    pub fn connect(&mut self, line: Line, basis: Basis) {
        self.connections += 1;
        self.lines[line.index()] =
            Connection { id: self.connections, basis: Some(basis), ..Connection::default() };
    }

    /// `at` dials; true when it had not on this connection.
    pub fn dials(&mut self, line: Line, at: System) -> bool {
        !std::mem::replace(&mut self.lines[line.index()].dialled[at as usize], true)
    }

    /// `at` has dialled on this connection.
    #[must_use]
    pub fn has_dialled(&self, line: Line, at: System) -> bool {
        self.lines[line.index()].dialled[at as usize]
    }

    /// The end at `at` comes up.
    pub fn comes_up(&mut self, line: Line, at: System) {
        self.lines[line.index()].up[at as usize] = true;
    }

    /// The end at `at` is gone; true when it was up.
    pub fn goes_down(&mut self, line: Line, at: System) -> bool {
        std::mem::take(&mut self.lines[line.index()].up[at as usize])
    }

    /// The process at `at` is gone, and what was on its way to it; true when it had the connection, or was
    /// about to.
    pub fn dies(&mut self, line: Line, at: System) -> bool {
        let connection = &mut self.lines[line.index()];
        let lost = std::mem::take(&mut connection.queues[at as usize]);
        let waited = lost.iter().any(|(_, parcel)| matches!(parcel, Parcel::Up(_)));
        std::mem::take(&mut connection.up[at as usize]) || waited
    }

    /// Sends to the end at `to`.
    pub fn send(&mut self, line: Line, to: System, parcel: Parcel, now: u64) -> Arrival {
        let latency = self.chance.between(1, self.latency_max_ms.max(2));
        let connection = &mut self.lines[line.index()];
        let place = to as usize;
        let at_ms = (now + latency).max(connection.last_ms[place]);
        connection.last_ms[place] = at_ms;
        connection.queues[place].push_back((at_ms, parcel));
        Arrival { line, connection: connection.id, to, at_ms }
    }

    /// Looks for the parcel of `arrival`.
    pub fn deliver(&mut self, arrival: Arrival, now: u64) -> Delivery {
        let Arrival { line, connection: id, to, .. } = arrival;
        let passes = self.passes(to.other());
        let connection = &mut self.lines[line.index()];
        if connection.id != id || connection.queues[to as usize].is_empty() {
            return Delivery::Nothing;
        }
        if !passes {
            return Delivery::Later(now + AGAIN_MS);
        }
        match connection.queues[to as usize].pop_front() {
            Some((_, parcel)) if connection.up[to as usize] || matches!(parcel, Parcel::Up(_)) => {
                Delivery::Parcel(parcel)
            }
            Some(_) | None => Delivery::Nothing,
        }
    }
}
