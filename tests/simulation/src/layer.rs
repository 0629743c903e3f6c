//! The two layers, as far as running many seeds is concerned.

use std::collections::BTreeSet;
use std::fmt;

use clap::ValueEnum;

use crate::plan::{self, Step};
use crate::record::Ending;
use crate::{cores, services};

/// What is run of the two systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layer {
    /// The decisions, in one loop.
    Cores,
    /// The services, whole.
    Services,
}

impl Layer {
    /// Both, the slow one first.
    pub const ALL: [Self; 2] = [Self::Services, Self::Cores];

    /// The plan of `seed`.
    #[must_use]
    pub fn plan(self, seed: u64) -> Vec<Step> {
        match self {
            Self::Cores => plan::of(seed, &cores::run::SCALE),
            Self::Services => plan::of(seed, &services::run::SCALE),
        }
    }

    /// Runs the plan of `seed` without the steps `left_out`.
    ///
    /// # Errors
    /// There is no folder for the services' files.
    pub fn run(self, seed: u64, left_out: &BTreeSet<usize>, prints: bool) -> anyhow::Result<Ending> {
        match self {
            Self::Cores => Ok(cores::run::run(seed, left_out, prints)),
            Self::Services => services::run::run(seed, left_out, prints),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cores => "cores",
            Self::Services => "services",
        })
    }
}
