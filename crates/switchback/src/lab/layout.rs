//! What a lab consists of, as `DIR/lab.json` says it. The file is a documented, stable interface
//! for scripts: keys are added, never renamed or removed. `LAB.md` describes every key.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::system::init::Ports;
use crate::system::service::Service;

/// The file that describes a lab, in its folder.
pub const FILE: &str = "lab.json";
/// The only version there is.
const VERSION: u32 = 1;
/// The systems of a lab: the primary, then the replica.
pub const SYSTEMS: [&str; 2] = ["east", "west"];
/// The lab's tenant and link.
pub const TENANT: &str = "acme";
/// The lab's first bucket.
pub const NAMESPACE: &str = "photos";
/// The region that S3 clients sign for.
pub const REGION: &str = "us-east-1";

/// A lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lab {
    /// 1.
    pub version: u32,
    /// The lab's folder, absolute.
    pub dir: PathBuf,
    /// Between the systems.
    pub relay: Relay,
    /// By name: `east`, `west`.
    pub systems: BTreeMap<String, System>,
}

/// The process that all traffic between the systems passes through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relay {
    /// 0 while it does not run.
    pub pid: u32,
    /// Start time of the process, in clock ticks since the machine's boot.
    pub started: u64,
    /// Its control socket.
    pub control: PathBuf,
    /// What it forwards.
    pub routes: Vec<Route>,
}

/// One port of one system, as the other system reaches it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The system that dials.
    pub from: String,
    /// The system that is reached.
    pub to: String,
    /// Where the relay listens.
    pub listen: String,
    /// Where it forwards to.
    pub target: String,
}

/// One system of a lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// DNS domain.
    pub domain: String,
    /// The loopback address of all its outer listeners.
    pub address: Ipv4Addr,
    /// The system's folder.
    pub dir: PathBuf,
    /// Its data.
    pub data_dir: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// One file for each service.
    pub log_dir: PathBuf,
    /// Where it reaches the other system's link listener: the relay. For `link create --peer`.
    pub peer: String,
    /// For S3 clients.
    pub s3: S3,
    /// For operators.
    pub admin: Admin,
    /// Its name server, `address:port`.
    pub dns: String,
    /// By name.
    pub services: BTreeMap<String, Process>,
}

/// How S3 clients reach a system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct S3 {
    /// By address, path style: always this system.
    pub url: String,
    /// By name, through the lab's DNS: the system that accepts writes. The tenant is in the name.
    pub tenant_url: String,
    /// What to sign for.
    pub region: String,
    /// The lab's tenant; empty in a bare lab.
    pub tenant: String,
    /// Its first bucket; empty in a bare lab.
    pub bucket: String,
    /// Empty in a bare lab.
    pub access_key: String,
    /// Empty in a bare lab.
    pub secret_key: String,
}

/// How operators reach a system: gRPC at the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admin {
    /// The gateway's internal listener.
    pub url: String,
    /// `system`: there are no operators of their own yet.
    pub user: String,
    /// The system's secret, which calls carry as `x-switchback-secret`.
    pub password: String,
}

/// One service of a system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// 0 while it does not run.
    pub pid: u32,
    /// Start time of the process, in clock ticks since the machine's boot: with the pid it names
    /// one process for ever.
    pub started: u64,
    /// Its internal listener, `address:port`.
    pub grpc: String,
}

/// Where a lab is to live.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its folder.
    pub dir: PathBuf,
    /// The second byte of its loopback addresses, so that several labs fit on one machine.
    pub subnet: u8,
    /// The same on both systems.
    pub ports: Ports,
}

impl Lab {
    /// A lab in which nothing runs yet. `place.dir` must be absolute.
    #[must_use]
    pub fn new(place: &Place) -> Self {
        let systems = SYSTEMS.iter().enumerate().map(|(index, name)| {
            let system = System::new(name, index, place);
            ((*name).to_owned(), system)
        });
        let systems: BTreeMap<_, _> = systems.collect();
        let mut routes = Vec::new();
        for (index, from) in SYSTEMS.iter().enumerate() {
            let other = 1 - index;
            for port in [place.ports.link, place.ports.replication] {
                routes.push(Route {
                    from: (*from).into(),
                    to: SYSTEMS[other].into(),
                    listen: format!("{}:{port}", relay_address(index, place.subnet)),
                    target: format!("{}:{port}", address(other, place.subnet)),
                });
            }
        }
        let relay = Relay { pid: 0, started: 0, control: place.dir.join("relay.sock"), routes };
        Self { version: VERSION, dir: place.dir.clone(), relay, systems }
    }

    /// Reads the lab in the folder `dir`.
    ///
    /// # Errors
    /// There is none, or it is of another version.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("no lab in {}; `switchback lab up --dir {}` makes one", dir.display(), dir.display())
        })?;
        let lab: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        if lab.version != VERSION {
            bail!("{} is of version {}, this program knows {VERSION}", path.display(), lab.version);
        }
        Ok(lab)
    }

    /// Writes `lab.json`, whole or not at all, readable by its owner only: it holds secrets.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self) -> anyhow::Result<()> {
        let path = self.dir.join(FILE);
        let new = self.dir.join(format!("{FILE}.new"));
        let text = serde_json::to_vec_pretty(self).context("encode the lab")?;
        let write = || -> io::Result<()> {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("write {}", path.display()))
    }

    /// The system `name`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn system(&self, name: &str) -> anyhow::Result<&System> {
        self.systems
            .get(name)
            .with_context(|| format!("no system {name} in this lab; there are east and west"))
    }

    /// The same, to be changed.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn system_mut(&mut self, name: &str) -> anyhow::Result<&mut System> {
        let none = || format!("no system {name} in this lab; there are east and west");
        self.systems.get_mut(name).with_context(none)
    }
}

/// The loopback address of the system with this index.
fn address(index: usize, subnet: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, subnet, if index == 0 { 10 } else { 20 }, 1)
}

/// The loopback address at which the system with this index finds the relay to the other one.
fn relay_address(index: usize, subnet: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, subnet, if index == 0 { 10 } else { 20 }, 2)
}

impl System {
    fn new(name: &str, index: usize, place: &Place) -> Self {
        let (address, dir, ports) = (address(index, place.subnet), place.dir.join(name), &place.ports);
        let domain = format!("{name}.example.com");
        let process = |service: Service| {
            let grpc = format!("{address}:{}", ports.grpc(service));
            (service.name().to_owned(), Process { pid: 0, started: 0, grpc })
        };
        Self {
            address,
            data_dir: dir.join(crate::system::init::DATA_DIR),
            config: dir.join(crate::system::init::CONFIG_FILE),
            log_dir: dir.join("log"),
            peer: format!("{}:{}", relay_address(index, place.subnet), ports.link),
            s3: S3 {
                url: format!("http://{address}:{}", ports.s3),
                tenant_url: String::new(),
                region: REGION.into(),
                tenant: String::new(),
                bucket: String::new(),
                access_key: String::new(),
                secret_key: String::new(),
            },
            admin: Admin {
                url: format!("http://{address}:{}", ports.grpc(Service::Gateway)),
                user: "system".into(),
                password: String::new(),
            },
            dns: format!("{address}:{}", ports.dns),
            services: Service::ALL.into_iter().map(process).collect(),
            domain,
            dir,
        }
    }

    /// The service's process.
    ///
    /// # Errors
    /// The file does not list it.
    pub fn process(&self, service: Service) -> anyhow::Result<&Process> {
        self.services.get(service.name()).with_context(|| format!("lab.json does not list {service}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn lab(dir: &Path) -> Lab {
        Lab::new(&Place { dir: dir.into(), subnet: 7, ports: Ports::default() })
    }

    #[test]
    fn a_lab_reads_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let mut lab = lab(folder.path());
        lab.system_mut("west").unwrap().s3.secret_key = "s".into();
        lab.save().unwrap();
        assert_eq!(Lab::load(folder.path()).unwrap(), lab);
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_documented_keys_are_there() {
        let json = serde_json::to_value(lab(Path::new("/lab"))).unwrap();
        let east = &json["systems"]["east"];
        assert_eq!(east["domain"], "east.example.com");
        assert_eq!(east["address"], "127.7.10.1");
        assert_eq!(east["dns"], "127.7.10.1:53");
        assert_eq!(east["services"]["gateway"]["grpc"], "127.7.10.1:7105");
        assert_eq!(east["services"]["gateway"]["pid"], 0);
        for key in ["url", "region", "access_key", "secret_key"] {
            assert!(east["s3"][key].is_string(), "s3.{key}");
        }
        for key in ["url", "user", "password"] {
            assert!(east["admin"][key].is_string(), "admin.{key}");
        }
        assert!(east["data_dir"].is_string());
    }

    #[test]
    fn each_system_reaches_the_other_through_the_relay_only() {
        let lab = lab(Path::new("/lab"));
        let east = lab.system("east").unwrap();
        let route = lab.relay.routes.iter().find(|route| route.listen == east.peer).unwrap();
        assert_eq!((route.from.as_str(), route.target.as_str()), ("east", "127.7.20.1:5748"));
        assert_eq!(lab.relay.routes.len(), 4);
    }
}
