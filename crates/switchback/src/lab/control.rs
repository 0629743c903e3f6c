//! How the relay is told what to do: one line of JSON each way on a Unix socket in the lab's folder.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// The longest line either side reads.
pub const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From east to west.
    EastWest,
    /// From west to east.
    WestEast,
}

impl Way {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::EastWest, Self::WestEast];

    /// From the system `from` to the other.
    #[must_use]
    pub fn from_system(from: &str) -> Self {
        if from == "east" { Self::EastWest } else { Self::WestEast }
    }

    /// The other one.
    #[must_use]
    pub fn back(self) -> Self {
        match self {
            Self::EastWest => Self::WestEast,
            Self::WestEast => Self::EastWest,
        }
    }
}

/// What the relay is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Let no byte pass, in one way or both. As in a real partition nobody is told: connections
    /// stall, and what was on its way arrives after the cut has healed, if both ends still want it.
    Cut {
        /// Absent: both.
        way: Option<Way>,
        /// Instead tell everybody: reset connections, and refuse new ones.
        reset: bool,
    },
    /// End all cuts, and all slowness.
    Heal,
    /// Delay and throttle, in one way or both.
    Slow {
        /// Absent: both.
        way: Option<Way>,
        /// Added to each byte's travel, one way.
        latency_ms: u64,
        /// 0: no limit. Shared by all connections of a way.
        bytes_per_second: u64,
    },
    /// Only tell.
    Status,
}

/// One way, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WayStatus {
    /// Which.
    pub way: Way,
    /// No byte passes.
    pub cut: bool,
    /// The cut resets connections.
    pub reset: bool,
    /// Added to each byte's travel.
    pub latency_ms: u64,
    /// 0: no limit.
    pub bytes_per_second: u64,
    /// Bytes that have passed since the relay started.
    pub bytes: u64,
}

/// The relay's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Both ways.
    pub ways: Vec<WayStatus>,
    /// Open connections.
    pub connections: u64,
}

/// An answer, or why there is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// Done.
    Done(Answer),
    /// Not done.
    Refused {
        /// Why.
        error: String,
    },
}

/// Asks the relay behind the socket `path`.
///
/// # Errors
/// No relay runs there, or it refuses.
pub async fn ask(path: &Path, request: &Request) -> anyhow::Result<Answer> {
    let asked = async {
        let mut stream = UnixStream::connect(path)
            .await
            .context("the lab's relay does not answer; `switchback lab up` starts it")?;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        stream.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut answer).await?;
        serde_json::from_str(&answer).context("understand the relay's answer")
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
    match answer.context("the lab's relay did not answer in 5 s")?? {
        Reply::Done(answer) => Ok(answer),
        Reply::Refused { error } => bail!("the relay refused: {error}"),
    }
}
