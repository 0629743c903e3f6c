//! `switchback link`.

mod run;

use clap::Subcommand;
use switchback_model::Schedule;
use switchback_proto::link::v1 as proto;
use switchback_proto::model::v1::{Compression, ConflictPolicy, Content, FlowPriority};

pub(crate) use self::run::{divergences, run};
use super::content::contents;
use super::{Identified, Planned, recovery};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Protect tenants and directories of this system on another.
    Create(Create),
    /// All links of this system.
    List,
    /// One link: state, health, progress, what to do next.
    Show {
        /// Its name or id.
        link: String,
        /// Show it as it changes.
        #[arg(long, short)]
        watch: bool,
    },
    /// Change a link's peer address, settings or content.
    Update(Update),
    /// Forget a link on both systems; the content stays on both.
    Delete {
        /// Its name or id.
        link: String,
        /// Although the other side cannot be told; there the content stays read-only until released.
        #[arg(long)]
        without_peer: bool,
        #[command(flatten)]
        planned: Planned,
    },
    /// Let nothing flow.
    Suspend(Named),
    /// Let everything flow again; with --tenant or --directory, only what was paused by that name.
    Resume(Resumed),
    /// Let one tenant or directory not flow.
    Pause(One),
    /// Make the replica read-write. On the replica.
    FailOver {
        /// Its name or id.
        link: String,
        /// Leave behind what the fenced primary has not sent yet.
        #[arg(long)]
        no_drain: bool,
        /// The link's name again: although this side was never in sync.
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        accept_loss: String,
        #[command(flatten)]
        planned: Planned,
    },
    /// Make the link again on a system that has lost it.
    Restore(Named),
    /// The way back to the primary.
    #[command(subcommand)]
    Recovery(recovery::Command),
    /// Go on alone: the other side, which may write, is gone for good.
    DeclareLost {
        /// Its name or id.
        link: String,
        /// The link's name again; a plan does without.
        #[arg(long, value_name = "NAME", required_unless_present = "plan")]
        confirm: Option<String>,
        #[command(flatten)]
        planned: Planned,
    },
    /// Writes, deletes and settings that were superseded by one that did not know of them, and where
    /// they are kept. Both systems list the same. Two deletes of one key agree and are not listed.
    /// Beside them: what the other side held alone, as far as it could be known, whenever this side
    /// went on without it.
    Divergences {
        /// Its name or id.
        link: String,
        #[command(flatten)]
        epochs: Epochs,
    },
    /// Objects that fail and are tried again, with the reason.
    Retries {
        /// Its name or id.
        link: String,
    },
    /// Let recovery complete without one failing object.
    SetAside {
        /// Its name or id.
        link: String,
        #[command(flatten)]
        which: Which,
        /// The bucket.
        #[arg(long)]
        namespace: String,
        /// The object.
        key: String,
        #[command(flatten)]
        identified: Identified,
    },
}

/// Which conflicts of a link's life to list. An odd epoch is a failover's, the next even one that of
/// the recovery that ended it.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Epochs {
    /// Only conflicts of this epoch.
    #[arg(long, conflicts_with = "since_epoch")]
    epoch: Option<u64>,
    /// Only conflicts of this epoch and later ones.
    #[arg(long, value_name = "EPOCH")]
    since_epoch: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// Its name or id.
    link: String,
    #[command(flatten)]
    planned: Planned,
}

/// One tenant or directory.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// A tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// A directory.
    #[arg(long)]
    directory: Option<String>,
}

impl Which {
    fn content(&self) -> Option<Content> {
        contents(self.tenant.as_slice(), self.directory.as_slice()).pop()
    }
}

#[derive(Debug, clap::Args)]
pub struct One {
    /// Its name or id.
    link: String,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    planned: Planned,
}

#[derive(Debug, clap::Args)]
pub struct Resumed {
    /// Its name or id.
    link: String,
    /// Only this tenant.
    #[arg(long, conflicts_with = "directory")]
    tenant: Option<String>,
    /// Only this directory.
    #[arg(long)]
    directory: Option<String>,
    #[command(flatten)]
    planned: Planned,
}

impl Resumed {
    fn content(&self) -> Option<Content> {
        contents(self.tenant.as_slice(), self.directory.as_slice()).pop()
    }
}

/// How conflicting versions of a key are decided.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Policy {
    NewestWins,
    ReplicaWins,
    KeepBoth,
}

impl From<Policy> for ConflictPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::NewestWins => Self::NewestWins,
            Policy::ReplicaWins => Self::ReplicaWins,
            Policy::KeepBoth => Self::KeepBoth,
        }
    }
}

/// Whose changes leave first, of the contents of one link.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Priority {
    /// Each tenant and directory gets the same share of what can be sent.
    Fair,
    /// The tenant or directory that is furthest behind goes before the others.
    OldestFirst,
}

impl From<Priority> for FlowPriority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Fair => Self::Fair,
            Priority::OldestFirst => Self::OldestFirst,
        }
    }
}

/// What is done to bytes before they leave.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Compress {
    /// They leave as they are.
    None,
    /// Zstandard, where it makes them shorter, to a system that reads it.
    Zstd,
}

impl From<Compress> for Compression {
    fn from(compress: Compress) -> Self {
        match compress {
            Compress::None => Self::None,
            Compress::Zstd => Self::Zstd,
        }
    }
}

#[derive(Debug, clap::Args)]
#[group(id = "content", required = true, multiple = true, args = ["tenant", "directory"])]
pub struct Create {
    /// 1-64 characters of a-z, A-Z, 0-9, "-", "_", "."; unique on both systems.
    name: String,
    /// The other system's link listener; the port is 5748 unless given.
    #[arg(long, value_name = "HOST[:PORT]")]
    peer: String,
    /// A tenant to protect; may be repeated.
    #[arg(long)]
    tenant: Vec<String>,
    /// A directory to protect; may be repeated.
    #[arg(long)]
    directory: Vec<String>,
    /// Names move with authority.
    #[arg(long)]
    dns_failover: bool,
    /// How conflicting versions of a key are decided.
    #[arg(long, value_enum, default_value = "newest-wins")]
    conflicts: Policy,
    /// How long a failover waits for the primary's word that it is fenced; 0 is the default, 2000.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    fence_time_ms: u64,
    /// How long a failover drains the fenced primary; 0 is the default, 10000.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    drain_time_ms: u64,
    /// How much each side may send while replicating, by the hour of the week, for example
    /// "UTC+02:00; Mon-Fri 08:00-18:00 20MB/s; Sat,Sun 0; else unlimited".
    #[arg(long, value_name = "SCHEDULE", default_value = "unlimited")]
    schedule: Schedule,
    /// Whose changes leave first.
    #[arg(long, value_enum, default_value = "fair")]
    priority: Priority,
    /// What is done to bytes before they leave, on both systems.
    #[arg(long, value_enum, default_value = "none")]
    compress: Compress,
    /// Words for people.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    planned: Planned,
}

#[derive(Debug, clap::Args)]
pub struct Update {
    /// Its name or id.
    link: String,
    /// The other system's link listener.
    #[arg(long, value_name = "HOST[:PORT]")]
    peer: Option<String>,
    /// Names move with authority, or do not.
    #[arg(long)]
    dns_failover: Option<bool>,
    /// How conflicting versions of a key are decided.
    #[arg(long, value_enum)]
    conflicts: Option<Policy>,
    /// How long a failover waits for the primary's word that it is fenced.
    #[arg(long)]
    fence_time_ms: Option<u64>,
    /// How long a failover drains the fenced primary.
    #[arg(long)]
    drain_time_ms: Option<u64>,
    /// How much each side may send while replicating, by the hour of the week: lines between
    /// semicolons, of which the first that holds is in force. For example
    /// "UTC+02:00; Mon-Fri 08:00-18:00 20MB/s; Sat,Sun 0; else unlimited"; 0 holds everything back,
    /// "unlimited" takes the schedule away. A failover's drain and a recovery are not held.
    #[arg(long, value_name = "SCHEDULE")]
    schedule: Option<Schedule>,
    /// Whose changes leave first.
    #[arg(long, value_enum)]
    priority: Option<Priority>,
    /// What is done to bytes before they leave, on both systems. The schedule counts them as they leave;
    /// what is pending, the rates shown and the ETA count the objects' own bytes.
    #[arg(long, value_enum)]
    compress: Option<Compress>,
    /// Words for people.
    #[arg(long)]
    description: Option<String>,
    /// Protect this tenant as well.
    #[arg(long, value_name = "TENANT")]
    add_tenant: Vec<String>,
    /// Protect this directory as well.
    #[arg(long, value_name = "DIRECTORY")]
    add_directory: Vec<String>,
    /// No longer protect this tenant.
    #[arg(long, value_name = "TENANT")]
    remove_tenant: Vec<String>,
    /// No longer protect this directory.
    #[arg(long, value_name = "DIRECTORY")]
    remove_directory: Vec<String>,
    #[command(flatten)]
    planned: Planned,
}

impl Create {
    fn request(self, request_id: String) -> proto::CreateLinkRequest {
        proto::CreateLinkRequest {
            request_id,
            plan: self.planned.plan,
            name: self.name,
            peer_address: self.peer,
            contents: contents(&self.tenant, &self.directory),
            settings: Some(proto::LinkSettings {
                dns_failover: self.dns_failover,
                conflict_policy: ConflictPolicy::from(self.conflicts).into(),
                fence_time_ms: self.fence_time_ms,
                drain_time_ms: self.drain_time_ms,
                description: self.description,
                schedule: self.schedule.to_string(),
                priority: FlowPriority::from(self.priority).into(),
                compression: Compression::from(self.compress).into(),
            }),
        }
    }
}

impl Update {
    fn request(self, request_id: String) -> proto::UpdateLinkRequest {
        proto::UpdateLinkRequest {
            request_id,
            plan: self.planned.plan,
            link: self.link,
            peer_address: self.peer,
            dns_failover: self.dns_failover,
            description: self.description,
            fence_time_ms: self.fence_time_ms,
            drain_time_ms: self.drain_time_ms,
            conflict_policy: self.conflicts.map(|policy| ConflictPolicy::from(policy).into()),
            schedule: self.schedule.map(|schedule| schedule.to_string()),
            priority: self.priority.map(|priority| FlowPriority::from(priority).into()),
            compression: self.compress.map(|compress| Compression::from(compress).into()),
            add_contents: contents(&self.add_tenant, &self.add_directory),
            remove_contents: contents(&self.remove_tenant, &self.remove_directory),
        }
    }
}
