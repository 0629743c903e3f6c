//! Creates a system: its configuration, its secret and an empty data folder. Nothing is ever
//! overwritten; a folder that holds a system is refused.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use switchback_kit::secret::Secret;
use switchback_model::SystemId;

use super::service::Service;

/// The name of the configuration file inside a system's folder.
pub const CONFIG_FILE: &str = "switchback.toml";
/// The name of the secret's file inside a system's folder.
pub const SECRET_FILE: &str = "system.secret";
/// The name of the data folder inside a system's folder.
pub const DATA_DIR: &str = "data";

/// The ports a system listens on.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// S3.
    pub s3: u16,
    /// The other system's link manager.
    pub link: u16,
    /// The other system's data mover.
    pub replication: u16,
    /// DNS, UDP and TCP.
    pub dns: u16,
    /// The first of five internal gRPC ports, in the order of [`Service::ALL`].
    pub grpc_base: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { s3: 9000, link: 5748, replication: 5749, dns: 53, grpc_base: 7101 }
    }
}

impl Ports {
    /// The internal port of `service`.
    #[must_use]
    pub fn grpc(&self, service: Service) -> u16 {
        self.grpc_base + service as u16
    }
}

/// What a new system is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The system's folder.
    pub dir: PathBuf,
    /// Short name.
    pub name: String,
    /// DNS domain.
    pub domain: String,
    /// The address that clients, resolvers and the other system reach it at.
    pub address: IpAddr,
    /// Where it listens.
    pub ports: Ports,
    /// `host:port` at which the other system reaches our link listener, when that is not
    /// `address` (behind a translation of addresses, or the lab's relay).
    pub advertise: Option<String>,
}

impl Plan {
    /// Internal listeners stay on the loopback; a system whose own address is a loopback address
    /// uses that one, so that several systems fit on one machine.
    #[must_use]
    pub fn internal_address(&self) -> IpAddr {
        if self.address.is_loopback() { self.address } else { Ipv4Addr::LOCALHOST.into() }
    }

    /// `host:port` of the internal listener of `service`.
    #[must_use]
    pub fn grpc(&self, service: Service) -> String {
        socket(self.internal_address(), self.ports.grpc(service))
    }
}

/// Creates the system and returns the path of its configuration.
///
/// # Errors
/// The folder holds a system already, or cannot be written; the names are malformed.
pub fn create(plan: &Plan) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(&plan.dir).with_context(|| format!("create folder {}", plan.dir.display()))?;
    let dir = plan.dir.canonicalize().context("resolve folder")?;
    let config = dir.join(CONFIG_FILE);
    for path in [&config, &dir.join(SECRET_FILE), &dir.join(DATA_DIR)] {
        if path.exists() {
            bail!("{} exists already; choose another --dir, nothing was changed", path.display());
        }
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("make system id: {error}"))?;
    let text = text(plan, &dir, SystemId(id));
    fs::create_dir(dir.join(DATA_DIR)).context("create data folder")?;
    Secret::create(&dir.join(SECRET_FILE)).context("create the system's secret")?;
    fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    if let Err(error) = switchback_kit::config::Source::load(&config).and_then(|source| source.system()) {
        // What was just made is no system; leave nothing behind that would refuse the next try.
        for file in [&config, &dir.join(SECRET_FILE)] {
            fs::remove_file(file).context("remove what was made")?;
        }
        fs::remove_dir(dir.join(DATA_DIR)).context("remove what was made")?;
        return Err(error.into());
    }
    Ok(config)
}

fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// A string as TOML writes it.
fn quoted(value: &str) -> String {
    toml::Value::from(value).to_string()
}

fn text(plan: &Plan, dir: &Path, id: SystemId) -> String {
    let outer = |port| quoted(&socket(plan.address, port));
    let inner = |service| quoted(&plan.grpc(service));
    let path = |name| quoted(&dir.join(name).to_string_lossy());
    let address = quoted(&plan.address.to_string());
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        r#"# One Switchback system. Every service reads this file; any key can be overridden from the
# environment, e.g. SWITCHBACK__GATEWAY__LISTEN.

[system]
name = {name}
domain = {domain}
# Random, made with the system. A rebuilt system has another.
id = "{id}"
secret_file = {secret}
data_dir = {data}

# Where the services find each other: gRPC inside the system, guarded by the secret.
[services]
data_mover = {mover}
link_manager = {link}
dns_broadcaster = {dns}
certificate_service = {certificate}
gateway = {gateway}

[data_mover]
listen = {mover}
# For the other system's data mover: mutual TLS 1.3, pinned.
replication_listen = [{replication_listen}]

[link_manager]
listen = {link}
# For the other system's link manager: mutual TLS 1.3, pinned.
peer_listen = [{peer_listen}]
# What this system's names lead to, and who answers for them; addresses as clients see them.
gateway_addresses = [{address}]
name_server_addresses = [{address}]
# The port of replication_listen as the other system reaches it.
replication_port = {replication_port}
"#,
        name = quoted(&plan.name),
        domain = quoted(&plan.domain),
        secret = path(SECRET_FILE),
        data = path(DATA_DIR),
        mover = inner(Service::DataMover),
        link = inner(Service::LinkManager),
        dns = inner(Service::DnsBroadcaster),
        certificate = inner(Service::CertificateService),
        gateway = inner(Service::Gateway),
        replication_listen = outer(plan.ports.replication),
        peer_listen = outer(plan.ports.link),
        replication_port = plan.ports.replication,
    );
    let advertise = plan.advertise.clone().unwrap_or_else(|| socket(plan.address, plan.ports.link));
    let _ = write!(
        out,
        r"# Where the other system reaches peer_listen, host:port; it is told on every contact.
advertise = {advertise}

[dns_broadcaster]
listen = {dns}
dns_listen = [{dns_listen}]

[certificate_service]
listen = {certificate}

[gateway]
# Operators' commands come in here and are forwarded to the service they are for.
listen = {gateway}
s3_listen = [{s3_listen}]
",
        advertise = quoted(&advertise),
        dns = inner(Service::DnsBroadcaster),
        dns_listen = outer(plan.ports.dns),
        certificate = inner(Service::CertificateService),
        gateway = inner(Service::Gateway),
        s3_listen = outer(plan.ports.s3),
    );
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use switchback_kit::config::Source;

    fn plan(dir: &Path) -> Plan {
        Plan {
            dir: dir.join("a \"quoted\" folder"),
            name: "east".into(),
            domain: "east.example.com".into(),
            address: "127.0.10.1".parse().unwrap(),
            ports: Ports::default(),
            advertise: None,
        }
    }

    #[test]
    fn a_new_system_reads_back_and_keeps_its_secret_private() {
        let folder = tempfile::tempdir().unwrap();
        let config = create(&plan(folder.path())).unwrap();
        let source = Source::load(&config).unwrap();
        let system = source.system().unwrap();
        assert_eq!((system.name.as_str(), system.domain.as_str()), ("east", "east.example.com"));
        assert_eq!(source.services().unwrap().gateway, "127.0.10.1:7105");
        assert_eq!(fs::metadata(&system.secret_file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(system.data_dir.is_dir());
    }

    #[test]
    fn a_system_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let config = create(&plan(folder.path())).unwrap();
        let before = fs::read(&config).unwrap();
        let error = create(&plan(folder.path())).unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
        assert_eq!(fs::read(&config).unwrap(), before);
    }

    #[test]
    fn a_malformed_domain_is_refused_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let bad = Plan { domain: "no domain".into(), ..plan(folder.path()) };
        assert!(create(&bad).unwrap_err().to_string().contains("domain"));
        assert!(create(&plan(folder.path())).is_ok());
    }

    #[test]
    fn internal_listeners_of_a_system_with_a_public_address_stay_on_the_loopback() {
        let folder = tempfile::tempdir().unwrap();
        let public = Plan { address: "192.0.2.7".parse().unwrap(), ..plan(folder.path()) };
        assert_eq!(public.grpc(Service::Gateway), "127.0.0.1:7105");
    }
}
