//! Two systems to measure with, `east` and `west`, and one tenant on a link between them. Each has
//! a second tenant of its own, on no link, for other tools to copy to, and for clients beside a copy.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use switchback::client::{Operator, request_id};
use switchback::lab::control::{self, Request, Way};
use switchback::lab::layout::{Lab, Place as LabPlace, TENANT};
use switchback::lab::supervise::{self, Leash, Tie};
use switchback::lab::{process::Name, setup};
use switchback::system::init::Ports;
use switchback::system::service::Service;
use switchback_kit::config::Source;
use switchback_model::{self as model, ContentId, SiteId};
use switchback_mover as mover;
use switchback_proto::link::v1 as link;
use switchback_proto::model::v1::{Compression, Content, ContentKind};
use switchback_proto::store::v1 as store;
use switchback_store::{Catalogue, Options};

use crate::client::Place;

/// Between two looks: below what is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Of the kernel's clock for what processors do: USER_HZ, which is the same on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;
/// The tenants that are on no link.
const OTHER_TENANT: &str = "other";

/// How the systems reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    /// As two systems would.
    Direct,
    /// Through the lab's relay, which counts bytes and can delay them, and costs a processor.
    Relay,
}

/// The two systems, running.
pub(crate) struct Sites {
    pub(crate) lab: Lab,
    /// Its end is the end of the processes.
    leash: Leash,
    east: Operator,
    /// The tenant on the link, on its primary.
    pub(crate) primary: Place,
    /// The same on its replica.
    pub(crate) replica: Place,
    /// A tenant on no link, on the replica's system.
    pub(crate) other: Place,
    /// Another one on the primary's.
    pub(crate) beside: Place,
}

impl Sites {
    /// Starts two systems in `folder`, with the tenant on a link.
    pub(crate) async fn start(folder: &Path, subnet: u8, way: Through) -> anyhow::Result<Self> {
        let sites = Self::apart(folder, subnet, way).await?;
        sites.link().await?;
        sites.in_sync().await?;
        Ok(sites)
    }

    /// Puts the tenant on a link.
    pub(crate) async fn link(&self) -> anyhow::Result<()> {
        setup::create_link(&self.lab).await
    }

    /// Starts two systems in `folder` that trust each other, and nothing more.
    pub(crate) async fn apart(folder: &Path, subnet: u8, way: Through) -> anyhow::Result<Self> {
        let ports = Ports { dns: setup::dns_port(subnet), ..Ports::default() };
        let dir = folder.join("lab");
        let mut lab = setup::create(&LabPlace { dir, subnet, ports })?;
        if way == Through::Direct {
            lead_past_the_relay(&mut lab)?;
        }
        let mut leash = Leash::new();
        setup::start(&mut lab, &mut Tie::Leashed(&mut leash)).await?;
        setup::exchange_certificates(&lab).await?;
        setup::create_tenant(&mut lab).await?;
        let east = Operator::open(&lab.system("east")?.config)?;
        let west = Operator::open(&lab.system("west")?.config)?;
        let place = |name: &str| -> anyhow::Result<Place> {
            let s3 = &lab.system(name)?.s3;
            Ok(Place {
                url: s3.url.clone(),
                region: s3.region.clone(),
                bucket: s3.bucket.clone(),
                access_key: s3.access_key.clone(),
                secret_key: s3.secret_key.clone(),
            })
        };
        let (primary, replica) = (place("east")?, place("west")?);
        let other = other_tenant(&west, &replica).await?;
        let beside = other_tenant(&east, &primary).await?;
        Ok(Self { lab, leash, east, primary, replica, other, beside })
    }

    /// Drains and ends everything.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        supervise::stop_all(&mut self.lab).await?;
        drop(self.leash);
        Ok(())
    }

    /// Nothing flows from now on.
    pub(crate) async fn suspend(&self) -> anyhow::Result<()> {
        let id = request_id();
        let command = link::LinkCommand { request_id: id.clone(), plan: false, link: TENANT.into() };
        self.east.command(&id, self.east.links().suspend_link(command)).await.context("suspend the link")?;
        Ok(())
    }

    /// Lets everything flow; answers the time until both sides say, by digest, that they hold the same.
    pub(crate) async fn resume(&self) -> anyhow::Result<Duration> {
        self.behind().await?;
        let id = request_id();
        let command = link::LinkCommand { request_id: id.clone(), plan: false, link: TENANT.into() };
        let since = Instant::now();
        self.east.command(&id, self.east.links().resume_link(command)).await.context("resume the link")?;
        self.in_sync().await?;
        Ok(since.elapsed())
    }

    /// Waits until it is known that the replica lacks something.
    pub(crate) async fn behind(&self) -> anyhow::Result<()> {
        self.until("behind", |link| !link.in_sync).await.map(drop)
    }

    /// Waits until both sides say that they hold the same.
    pub(crate) async fn in_sync(&self) -> anyhow::Result<()> {
        self.until("in sync", |link| link.in_sync && link.healthy).await.map(drop)
    }

    async fn until(&self, wanted: &str, is: impl Fn(&link::Link) -> bool) -> anyhow::Result<link::Link> {
        let since = Instant::now();
        loop {
            let request = link::GetLinkRequest { link: TENANT.into() };
            let said = self.east.ask(self.east.links().get_link(request)).await;
            if let Some(link) = said.ok().and_then(|answer| answer.link).filter(|link| is(link)) {
                return Ok(link);
            }
            ensure!(since.elapsed() < PATIENCE, "the link is not {wanted} after {} s", PATIENCE.as_secs());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Bytes that went from east to west through the relay so far.
    pub(crate) async fn relayed(&self) -> anyhow::Result<u64> {
        let said = control::ask(&self.lab.relay.control, &Request::Status).await?;
        Ok(said.ways.iter().filter(|way| way.way == Way::EastWest).map(|way| way.bytes).sum())
    }

    /// Delays what passes through the relay, both ways.
    pub(crate) async fn delay(&self, latency_ms: u64) -> anyhow::Result<()> {
        let slow = Request::Slow { way: None, latency_ms, bytes_per_second: 0 };
        control::ask(&self.lab.relay.control, &slow).await.map(drop)
    }

    /// SIGKILL to a system's mover.
    pub(crate) async fn kill_mover(&mut self, system: &str) -> anyhow::Result<()> {
        supervise::kill_services(&mut self.lab, system, &[Service::DataMover]).await.map(drop)
    }

    /// Starts it again; answers the time until it is well.
    pub(crate) async fn start_mover(&mut self, system: &str) -> anyhow::Result<Duration> {
        let since = Instant::now();
        let mut tie = Tie::Leashed(&mut self.leash);
        supervise::start_services(&mut self.lab, system, &[Service::DataMover], &mut tie).await?;
        Ok(since.elapsed())
    }

    /// What a system's mover, which must not run, keeps its records in; and the tenant on the link.
    pub(crate) fn catalogue(&self, system: &str) -> anyhow::Result<(Catalogue, ContentId)> {
        let config = mover::Config::read(&Source::load(&self.lab.system(system)?.config)?)?;
        let options = Options::new(SiteId::from(config.system_id));
        let catalogue = Catalogue::open(&config.catalogue_dir(), options).context("open the store")?;
        let content = catalogue.find_content(model::ContentKind::Tenant, TENANT)?.context("no tenant")?;
        Ok((catalogue, content.id))
    }

    /// Lets no more through the relay in a second, each way; 0: all.
    pub(crate) async fn throttle(&self, bytes_per_second: u64) -> anyhow::Result<()> {
        let slow = Request::Slow { way: None, latency_ms: 0, bytes_per_second };
        control::ask(&self.lab.relay.control, &slow).await.map(drop)
    }

    /// What both systems do to bytes before they leave.
    pub(crate) async fn compress(&self, compression: Compression) -> anyhow::Result<()> {
        let id = request_id();
        let update = link::UpdateLinkRequest {
            request_id: id.clone(),
            link: TENANT.into(),
            compression: Some(compression.into()),
            ..Default::default()
        };
        self.east.command(&id, self.east.links().update_link(update)).await.context("update the link")?;
        Ok(())
    }

    /// What the kernel says of a system's mover, in one of its files.
    fn mover_file(&self, system: &str, file: &str) -> anyhow::Result<String> {
        let process = self.lab.system(system)?.process(Service::DataMover)?;
        let name = Name { pid: process.pid, started: process.started };
        ensure!(name.runs(), "the mover of {system} has ended");
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", process.pid))?)
    }

    /// Seconds that processors have worked for a system's mover, the kernel included.
    pub(crate) fn mover_seconds(&self, system: &str) -> anyhow::Result<f64> {
        let stat = self.mover_file(system, "stat")?;
        // proc_pid_stat(5): the name, in parentheses, may hold anything; utime and stime are the 14th and 15th.
        let fields = stat.rsplit_once(')').context("stat")?.1.split_whitespace();
        let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// The most memory that a system's mover has had, in MB.
    pub(crate) fn mover_memory(&self, system: &str) -> anyhow::Result<f64> {
        let status = self.mover_file(system, "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024.0 / 1e6)
    }
}

/// Each system is told to the other by its own address instead of the relay's.
fn lead_past_the_relay(lab: &mut Lab) -> anyhow::Result<()> {
    let routes = lab.relay.routes.clone();
    for system in lab.systems.values_mut() {
        let mut config = std::fs::read_to_string(&system.config)?;
        for route in &routes {
            config = config.replace(&route.listen, &route.target);
            if system.peer == route.listen {
                system.peer.clone_from(&route.target);
            }
        }
        std::fs::write(&system.config, config)?;
    }
    lab.save()
}

async fn other_tenant(system: &Operator, like: &Place) -> anyhow::Result<Place> {
    let id = request_id();
    let content =
        Content { kind: ContentKind::Tenant.into(), name: OTHER_TENANT.into(), ..Default::default() };
    let request = store::CreateContentRequest {
        request_id: id.clone(),
        kind: ContentKind::Tenant.into(),
        name: OTHER_TENANT.into(),
        description: "for other tools".into(),
        ..Default::default()
    };
    system.command(&id, system.store().create_content(request)).await?;
    let request = store::CreateCredentialRequest { content: Some(content.clone()), ..Default::default() };
    let credential = system.ask(system.store().create_credential(request)).await?.credential;
    let credential = credential.context("the system made no credential")?;
    let bucket = "copies".to_owned();
    let request =
        store::CreateNamespaceRequest { content: Some(content), name: bucket.clone(), ..Default::default() };
    system.ask(system.store().create_namespace(request)).await?;
    Ok(Place { bucket, access_key: credential.access_key, secret_key: credential.secret_key, ..like.clone() })
}
