//! A lab: that it is ready, and what runs of it.

use std::path::PathBuf;

use serde::Serialize;

use crate::lab::control::{self, Request, Way};
use crate::lab::layout::{self, Lab, SYSTEMS};
use crate::lab::process::Name;
use crate::output::{Show, table};
use crate::time::bytes;

/// A lab that is ready.
#[derive(Serialize)]
pub struct ReadyView {
    lab: PathBuf,
    file: PathBuf,
    #[serde(skip)]
    text: String,
}

impl ReadyView {
    /// The lab, just started.
    #[must_use]
    pub fn new(lab: &Lab) -> Self {
        let file = lab.dir.join(layout::FILE);
        let mut text = String::from("the lab is ready\n");
        for name in SYSTEMS {
            if let Some(system) = lab.systems.get(name) {
                text += &format!(
                    "  {name}  S3 {}  DNS {}  config {}\n",
                    system.s3.url,
                    system.dns,
                    system.config.display()
                );
            }
        }
        text += &format!("everything for scripts: {}\ntry:\n", file.display());
        let config = |name: &str| {
            lab.systems.get(name).map(|system| system.config.display().to_string()).unwrap_or_default()
        };
        for (what, command) in [
            ("both systems at a glance", format!("switchback status --config {}", config("east"))),
            ("the primary fails", "switchback lab kill east".into()),
            ("fail over", format!("switchback link fail-over acme --config {}", config("west"))),
            ("the primary returns", "switchback lab start east".into()),
            ("go back", format!("switchback link recovery begin acme --config {}", config("west"))),
            ("the way there", format!("switchback link recovery complete acme --config {}", config("west"))),
            ("the end", "switchback lab down".into()),
        ] {
            text += &format!("  {command:<70}  # {what}\n");
        }
        Self { lab: lab.dir.clone(), file, text }
    }
}

impl Show for ReadyView {
    fn show(&self) -> String {
        self.text.clone()
    }
}

/// One service's process.
#[derive(Serialize)]
pub struct ProcessView {
    system: String,
    service: String,
    pid: u32,
    grpc: String,
    runs: bool,
}

/// The relay: absent (`answer` null) while it does not run.
#[derive(Serialize)]
pub struct RelayView {
    runs: bool,
    answer: Option<control::Answer>,
}

/// What runs of a lab.
#[derive(Serialize)]
pub struct LabView {
    /// All of both systems.
    pub processes: Vec<ProcessView>,
    /// Between them.
    pub relay: RelayView,
}

impl LabView {
    /// Looks at every process, and asks the relay.
    pub async fn look(lab: &Lab) -> Self {
        let mut processes = Vec::new();
        for (name, system) in &lab.systems {
            for (service, process) in &system.services {
                processes.push(ProcessView {
                    system: name.clone(),
                    service: service.clone(),
                    pid: process.pid,
                    grpc: process.grpc.clone(),
                    runs: Name { pid: process.pid, started: process.started }.runs(),
                });
            }
        }
        let answer = control::ask(&lab.relay.control, &Request::Status).await.ok();
        Self { processes, relay: RelayView { runs: answer.is_some(), answer } }
    }
}

impl Show for LabView {
    fn show(&self) -> String {
        let rows = self.processes.iter().map(|process| {
            let state = if process.runs { format!("runs, pid {}", process.pid) } else { "down".into() };
            vec![process.system.clone(), process.service.clone(), process.grpc.clone(), state]
        });
        let mut out = table(&["system", "service", "grpc", "process"], rows.collect(), "an empty lab");
        out += "\n";
        out += &self.relay.show();
        out
    }
}

impl Show for RelayView {
    fn show(&self) -> String {
        let Some(answer) = &self.answer else { return "the relay is down\n".into() };
        let rows = answer.ways.iter().map(|way| {
            let name = if way.way == Way::EastWest { "east to west" } else { "west to east" };
            let state = match (way.cut, way.reset) {
                (false, _) => "open",
                (true, false) => "cut",
                (true, true) => "cut, resetting",
            };
            let limit = if way.bytes_per_second == 0 {
                "no limit".into()
            } else {
                format!("{}/s", bytes(way.bytes_per_second))
            };
            vec![name.into(), state.into(), format!("{} ms", way.latency_ms), limit, bytes(way.bytes)]
        });
        table(&["relay", "state", "latency", "rate", "passed"], rows.collect(), "no ways")
    }
}
