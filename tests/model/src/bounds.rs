//! How much the environment may do in one run, and how it is explored.

use clap::Args;

/// What may happen, and how often. The network is not bounded: see [`crate::network`].
#[derive(Args, Clone, Debug)]
pub struct Bounds {
    /// Commands of operators that are accepted, on either side.
    #[arg(long, default_value_t = 2)]
    pub commands: u8,
    /// Writes of the key.
    #[arg(long, default_value_t = 1)]
    pub writes: u8,
    /// Deletes of it.
    #[arg(long, default_value_t = 0)]
    pub deletes: u8,
    /// Times that time passes, on each system.
    #[arg(long, default_value_t = 1)]
    pub ticks: u8,
    /// Crashes of a link manager or a mover, anywhere.
    #[arg(long, default_value_t = 0)]
    pub crashes: u8,
    /// Losses of contact, by stream or by silence of the movers, on either side.
    #[arg(long, default_value_t = 0)]
    pub cuts: u8,
    /// Times that each system is rebuilt.
    #[arg(long, default_value_t = 0)]
    pub rebuilds: u8,
    /// Commands that are sent again under their old request id.
    #[arg(long, default_value_t = 0)]
    pub repeats: u8,
    /// What is said arrives at once and in order, the movers hear and apply at once, and what an
    /// operator, a client or a fault does may come between any two of these steps; but for `--held`
    /// and `--delays`. Histories can then be much longer.
    #[arg(long)]
    pub in_order: bool,
    /// With `--in-order`: messages that are held, and may then arrive at any later time, any number
    /// of times, or never.
    #[arg(long, default_value_t = 0)]
    pub held: u8,
    /// With `--in-order`: times that a step is taken before those that would come first (delay-bounded
    /// scheduling; Emmi, Qadeer and Rakamaric, POPL 2011).
    #[arg(long, default_value_t = 0)]
    pub delays: u8,
    /// With `--in-order`: commands, writes, time-outs and faults that come while something of what was
    /// said before is still to be taken in; any number when not given. The others come when all is quiet
    /// (as preemption bounding; Musuvathi and Qadeer, PLDI 2007).
    #[arg(long)]
    pub early: Option<u8>,
    /// A mover answers, and is looked at, at any later time, rather than at once.
    #[arg(long)]
    pub slow: bool,
    /// Also pause, unpause, fail over without draining and delete the link.
    #[arg(long)]
    pub all_commands: bool,
    /// Never suspend, resume, or fail over although never in sync: each doubles what there is to explore.
    #[arg(long)]
    pub few_commands: bool,
    /// Check in one of so many states that an operator can bring the link back to health; 0: never.
    #[arg(long, default_value_t = 251)]
    pub health_sample: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            commands: 2,
            writes: 1,
            deletes: 0,
            ticks: 1,
            crashes: 0,
            cuts: 0,
            rebuilds: 0,
            repeats: 0,
            in_order: false,
            held: 0,
            delays: 0,
            early: None,
            slow: false,
            all_commands: false,
            few_commands: false,
            health_sample: 251,
        }
    }
}
