//! What will go wrong and what will be commanded, decided before a run begins, step by step, so
//! that a failing run can be tried again without one of the steps.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::site::{Place, Service, System};

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Names the stream of chance that a plan is drawn from.
    pub label: &'static str,
    /// The clients and the plan go on for this long, in milliseconds; then everything is made well.
    pub story_ms: u64,
    /// A fault lasts no longer, in milliseconds.
    pub last_max_ms: u64,
}

/// A clock jumps no further. What is written more than a minute ahead waits until the other side's
/// clock has come there, and a run waits with it.
const JUMP_MAX_MS: u64 = 90_000;

/// One thing that will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Milliseconds from the start of the story.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// An operator's command, at this system.
    Command(System, Command),
    /// A fault, and how long it lasts in milliseconds.
    Fault(Fault, u64),
}

/// An operator's command about the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as the operator names them")]
pub enum Command {
    FailOver,
    FailOverWithoutDrain,
    FailOverAcceptingLoss,
    BeginRecovery,
    CompleteRecovery,
    Restore,
    DeclareLost,
    Suspend,
    Resume,
    Pause,
    Unpause,
    Update,
    RenewCertificate,
    ExchangeCertificates,
    Distrust,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// One service is gone.
    Crash(Place),
    /// All of a system is.
    CrashSystem(System),
    /// All of a system is, and comes back empty.
    Wipe(System),
    /// All of a system is, and comes back as it was so many milliseconds before: from a backup.
    RollBack(System, u64),
    /// Nothing passes between the systems.
    Cut,
    /// Nothing passes from this system to the other.
    CutFrom(System),
    /// What is sent between the systems arrives when this ends.
    Hold,
    /// Between the systems everything takes up to so many milliseconds.
    Slow(u64),
    /// Nothing passes between two services of a system.
    CutInside(Place, Service),
    /// The disks of a system are full.
    Full(System),
    /// The next commit of a system fails.
    Fail(System),
    /// The disks of a system are slow.
    SlowDisk(System),
    /// The clock of a system jumps ahead, and back when this ends.
    Ahead(System, u64),
    /// The clock of a system jumps back, and ahead when this ends.
    Behind(System, u64),
    /// The clock of a system is fast from now on, by parts of a million.
    Fast(System, u64),
}

impl Fault {
    /// What it is counted as.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Crash(_) => "fault: crash of a service",
            Self::CrashSystem(_) => "fault: crash of a system",
            Self::Wipe(_) => "fault: wipe",
            Self::RollBack(..) => "fault: restored from a backup",
            Self::Cut => "fault: cut",
            Self::CutFrom(_) => "fault: cut one way",
            Self::Hold => "fault: hold",
            Self::Slow(_) => "fault: slow network",
            Self::CutInside(..) => "fault: cut inside a system",
            Self::Full(_) => "fault: full disk",
            Self::Fail(_) => "fault: failing disk",
            Self::SlowDisk(_) => "fault: slow disk",
            Self::Ahead(..) | Self::Behind(..) => "fault: clock jump",
            Self::Fast(..) => "fault: clock drift",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s: ", self.at_ms as f64 / 1e3)?;
        match self.what {
            What::Command(system, command) => write!(f, "{command:?} at {system}"),
            What::Fault(fault, last_ms) => write!(f, "{fault:?} for {last_ms} ms"),
        }
    }
}

/// The plan of `seed`, in order of time.
#[must_use]
pub fn of(seed: u64, scale: &Scale) -> Vec<Step> {
    let mut chance = Chance::new(seed, scale.label);
    // Calm and stormy seeds find different things.
    let faults = chance.between(0, 16);
    let commands = chance.between(2, 18);
    let is_lost = chance.one_in(3);
    let mut steps: Vec<Step> = (0..faults).map(|_| fault(&mut chance, scale)).collect();
    if is_lost {
        // Once: what both systems lost is lost.
        let system = chance.pick(&System::ALL);
        let fault = if chance.one_in(2) {
            Fault::Wipe(system)
        } else {
            Fault::RollBack(system, chance.below(scale.story_ms))
        };
        steps.push(Step {
            at_ms: chance.below(scale.story_ms),
            what: What::Fault(fault, chance.below(scale.last_max_ms)),
        });
    }
    steps.extend((0..commands).map(|_| command(&mut chance, scale)));
    // Random commands seldom make a whole round; this one does.
    if chance.one_in(2) {
        let mut at_ms = chance.below(scale.story_ms / 2);
        for command in [Command::FailOver, Command::BeginRecovery, Command::CompleteRecovery] {
            steps.push(Step { at_ms, what: What::Command(System::West, command) });
            at_ms += chance.between(100, scale.story_ms / 5);
        }
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

fn command(chance: &mut Chance, scale: &Scale) -> Step {
    use Command as C;
    let system = chance.pick(&System::ALL);
    let command = chance.pick(&[
        C::FailOver,
        C::FailOver,
        C::FailOver,
        C::FailOverWithoutDrain,
        C::BeginRecovery,
        C::BeginRecovery,
        C::CompleteRecovery,
        C::CompleteRecovery,
        C::Restore,
        C::DeclareLost,
        C::Suspend,
        C::Resume,
        C::Resume,
        C::Pause,
        C::Unpause,
        C::Unpause,
        C::Update,
        C::RenewCertificate,
        C::Distrust,
        C::ExchangeCertificates,
        C::ExchangeCertificates,
    ]);
    // Failing over and recovering are the replica's; at the primary they are refused.
    let replicas = matches!(command, C::FailOver | C::BeginRecovery | C::CompleteRecovery);
    let system = if replicas && !chance.one_in(8) { System::West } else { system };
    Step { at_ms: chance.below(scale.story_ms), what: What::Command(system, command) }
}

fn fault(chance: &mut Chance, scale: &Scale) -> Step {
    let system = chance.pick(&System::ALL);
    let place = Place(system, chance.pick(&Service::ALL));
    let fault = match chance.below(16) {
        0..=3 => Fault::Crash(place),
        4 => Fault::CrashSystem(system),
        5 | 6 => Fault::Cut,
        7 => Fault::CutFrom(system),
        8 => Fault::Hold,
        9 => Fault::Slow(chance.between(20, 800)),
        10 => Fault::CutInside(place, chance.pick(&Service::ALL)),
        11 => Fault::Full(system),
        12 => Fault::Fail(system),
        13 => Fault::SlowDisk(system),
        14 if chance.one_in(2) => Fault::Ahead(system, chance.below(JUMP_MAX_MS)),
        14 => Fault::Behind(system, chance.below(JUMP_MAX_MS)),
        _ => Fault::Fast(system, chance.below(1_000)),
    };
    Step { at_ms: chance.below(scale.story_ms), what: What::Fault(fault, chance.below(scale.last_max_ms)) }
}
