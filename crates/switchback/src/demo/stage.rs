//! Where the demo is played: the lab, an operator at each system, the ledger, and the record of
//! what was claimed and measured.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::ledger::Ledger;
use crate::client::Operator;
use crate::lab::control::{self, Answer, Request};
use crate::lab::layout::{Lab, SYSTEMS};
use crate::output::emit;
use crate::time::duration;

/// How often DNS is asked when the moment of its change is measured.
const DNS_INTERVAL: Duration = Duration::from_millis(5);
const DNS_PATIENCE: Duration = Duration::from_millis(500);

/// The stage.
pub(crate) struct Stage {
    /// The lab.
    pub(crate) lab: Lab,
    /// The primary's operator.
    pub(crate) east: Operator,
    /// The replica's operator.
    pub(crate) west: Operator,
    /// Every write.
    pub(crate) ledger: Ledger,
    started: Instant,
    broken: Vec<String>,
}

impl Stage {
    /// A stage in a lab that runs.
    ///
    /// # Errors
    /// A configuration cannot be read.
    pub(crate) fn new(lab: Lab) -> anyhow::Result<Self> {
        let operator =
            |name: &str| -> anyhow::Result<Operator> { Ok(Operator::open(&lab.system(name)?.config)?) };
        let (east, west) = (operator(SYSTEMS[0])?, operator(SYSTEMS[1])?);
        Ok(Self { lab, east, west, ledger: Ledger::default(), started: Instant::now(), broken: Vec::new() })
    }

    /// East was rebuilt: it has another secret.
    ///
    /// # Errors
    /// Its configuration cannot be read.
    pub(crate) fn reopen_east(&mut self) -> anyhow::Result<()> {
        self.east = Operator::open(&self.lab.system(SYSTEMS[0])?.config)?;
        Ok(())
    }

    /// Prints a heading.
    pub(crate) fn heading(&self, text: &str) {
        emit(&format!("\n{text}\n"));
    }

    /// Prints what was done and seen in a step of the workflow.
    pub(crate) fn say(&self, step: &str, text: impl Display) {
        let at = self.started.elapsed().as_secs_f64();
        emit(&format!("[{at:6.2} s] {step:>2}  {text}\n"));
    }

    /// Checks a claim; one that does not hold is printed at once and fails the demo at its end.
    pub(crate) fn claim(&mut self, text: impl Display, holds: bool) {
        if !holds {
            let text = text.to_string();
            emit(&format!("              !! does not hold: {text}\n"));
            self.broken.push(text);
        }
    }

    /// Checks that something took no longer than it may.
    pub(crate) fn claim_time(&mut self, what: &str, took: Duration, limit: Duration) {
        let text = format!("{what} within {} (took {})", duration(limit), duration(took));
        self.claim(text, took <= limit);
    }

    /// The claims that did not hold.
    #[must_use]
    pub(crate) fn broken(&self) -> Vec<String> {
        self.broken.clone()
    }

    /// Asks the relay.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn relay(&self, request: &Request) -> anyhow::Result<Answer> {
        control::ask(&self.lab.relay.control, request).await
    }

    /// Bytes that passed the relay so far, both ways.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn relayed(&self) -> anyhow::Result<u64> {
        Ok(self.relay(&Request::Status).await?.ways.iter().map(|way| way.bytes).sum())
    }

    /// Starts to ask the name server of `asked` what the tenant's name answers; the answer is how
    /// long it took from now until it led to `target`.
    ///
    /// # Errors
    /// `lab.json` names no such system.
    pub(crate) fn watch_dns(
        &self,
        asked: &str,
        target: &str,
    ) -> anyhow::Result<tokio::task::JoinHandle<Option<Duration>>> {
        let server: SocketAddr = self.lab.system(asked)?.dns.parse().context("parse dns in lab.json")?;
        let wanted = self.lab.system(target)?.address;
        let name = self.tenant_host()?;
        let since = Instant::now();
        Ok(tokio::spawn(async move {
            while since.elapsed() < super::steps::PATIENCE {
                let answer = switchback_dns::client::lookup(&[server], &name, DNS_PATIENCE).await;
                if answer.is_ok_and(|answer| answer.addresses == [std::net::IpAddr::V4(wanted)]) {
                    return Some(since.elapsed());
                }
                tokio::time::sleep(DNS_INTERVAL).await;
            }
            None
        }))
    }

    /// The name of the lab's tenant.
    ///
    /// # Errors
    /// The lab has none.
    pub(crate) fn tenant_host(&self) -> anyhow::Result<String> {
        let url = &self.lab.system(SYSTEMS[0])?.s3.tenant_url;
        let host = url.strip_prefix("http://").and_then(|rest| rest.split_once(':'));
        Ok(host.context("the lab has no tenant")?.0.to_owned())
    }
}
