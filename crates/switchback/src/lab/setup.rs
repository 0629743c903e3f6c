//! Makes a lab: its systems, trust between them, and something to begin with. Each part is what an
//! operator would do, by the same calls.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use switchback_kit::secret::Secret;
use switchback_proto::certificate::v1::{GetServerCertificateRequest, UploadCertificateRequest};
use switchback_proto::link::v1 as link;
use switchback_proto::store::v1 as store;
use tonic::Code;

use super::layout::{Lab, NAMESPACE, Place, SYSTEMS, TENANT};
use super::supervise::{self, Tie};
use crate::cli::tenant;
use crate::client::{Error, Operator, request_id};
use crate::system::init::{self, DATA_DIR, Plan, Ports};
use crate::system::service::Service;

/// Where DNS is expected by everybody, and where it is put when that takes a right we lack.
const DNS_PORTS: [u16; 2] = [53, 5353];

/// How long a command may be refused because another service has not yet heard of the one before.
const EARLY_TIME: Duration = Duration::from_secs(15);

/// The first copy of an empty tenant takes a moment; on a busy machine a longer one.
const SYNC_TIME: Duration = Duration::from_secs(60);

/// Port 53 where it can be had on the lab's addresses, else 5353.
#[must_use]
pub fn dns_port(subnet: u8) -> u16 {
    let address = std::net::Ipv4Addr::new(127, subnet, 10, 1);
    let privileged = UdpSocket::bind((address, DNS_PORTS[0]));
    // In use is not ours to solve here: the service will say so by name.
    match privileged {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => DNS_PORTS[1],
        Ok(_) | Err(_) => DNS_PORTS[0],
    }
}

/// Creates the lab and its systems; nothing runs yet.
///
/// # Errors
/// There is a lab already, or the folder cannot be written.
pub fn create(place: &Place) -> anyhow::Result<Lab> {
    if place.dir.join(super::layout::FILE).exists() {
        bail!("there is a lab in {} already; `switchback lab down --wipe` removes it", place.dir.display());
    }
    fs::create_dir_all(&place.dir).with_context(|| format!("create {}", place.dir.display()))?;
    let dir = place.dir.canonicalize().context("resolve the lab's folder")?;
    let mut lab = Lab::new(&Place { dir, ..place.clone() });
    for name in SYSTEMS {
        create_system(&mut lab, name, place.ports)?;
    }
    lab.save()?;
    Ok(lab)
}

/// Creates the system `name` in its folder of the lab.
fn create_system(lab: &mut Lab, name: &str, ports: Ports) -> anyhow::Result<()> {
    // The other system reaches us where the relay listens for it.
    let other = SYSTEMS.into_iter().find(|other| *other != name).context("a lab has two systems")?;
    let advertise = lab.system(other)?.peer.clone();
    let system = lab.system_mut(name)?;
    init::create(&Plan {
        dir: system.dir.clone(),
        name: name.into(),
        domain: system.domain.clone(),
        address: system.address.into(),
        ports,
        advertise: Some(advertise),
    })?;
    let secret = Secret::load(&system.dir.join(init::SECRET_FILE)).context("read the new secret")?;
    secret.reveal().clone_into(&mut system.admin.password);
    Ok(())
}

/// Makes `name` a rebuilt, empty system: same name, domain, addresses and ports, and nothing else:
/// a new id, a new secret, no data, nobody trusted. Its processes must have ended.
///
/// # Errors
/// The folder cannot be changed.
pub fn wipe(lab: &mut Lab, name: &str) -> anyhow::Result<()> {
    let ports = ports(lab, name)?;
    let system = lab.system(name)?;
    for file in [init::CONFIG_FILE, init::SECRET_FILE] {
        fs::remove_file(system.dir.join(file)).with_context(|| format!("remove {file} of {name}"))?;
    }
    fs::remove_dir_all(system.dir.join(DATA_DIR)).with_context(|| format!("remove the data of {name}"))?;
    create_system(lab, name, ports)?;
    lab.save()
}

/// The ports of a lab, from its addresses.
fn ports(lab: &Lab, name: &str) -> anyhow::Result<Ports> {
    let system = lab.system(name)?;
    let port = |address: &str| -> anyhow::Result<u16> {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.with_context(|| format!("lab.json: {address} has no port"))
    };
    let mut outer = lab.relay.routes.iter().filter(|route| route.to == name);
    let (Some(link), Some(replication)) = (outer.next(), outer.next()) else {
        bail!("lab.json lists no routes to {name}");
    };
    Ok(Ports {
        s3: port(&system.s3.url)?,
        link: port(&link.target)?,
        replication: port(&replication.target)?,
        dns: port(&system.dns)?,
        grpc_base: port(&system.process(Service::DataMover)?.grpc)?,
    })
}

/// Starts everything and waits until it is well.
///
/// # Errors
/// Something does not start.
pub async fn start(lab: &mut Lab, tie: &mut Tie<'_>) -> anyhow::Result<()> {
    supervise::start_relay(lab, tie).await?;
    for name in SYSTEMS {
        supervise::start_services(lab, name, &Service::ALL, tie).await?;
    }
    Ok(())
}

/// Each system is given the other's replication server certificate.
///
/// # Errors
/// A system does not answer or refuses.
pub async fn exchange_certificates(lab: &Lab) -> anyhow::Result<()> {
    for (name, other) in [(SYSTEMS[0], SYSTEMS[1]), (SYSTEMS[1], SYSTEMS[0])] {
        let (from, to) =
            (Operator::open(&lab.system(name)?.config)?, Operator::open(&lab.system(other)?.config)?);
        let shown =
            from.ask(from.certificates().get_server_certificate(GetServerCertificateRequest {})).await?;
        let pem = shown.certificate.unwrap_or_default().pem;
        let request_id = request_id();
        let request = UploadCertificateRequest { request_id: request_id.clone(), pem };
        to.command(&request_id, to.certificates().upload_certificate(request))
            .await
            .with_context(|| format!("give {other} the certificate of {name}"))?;
    }
    Ok(())
}

/// The lab's tenant on east, with a credential and a bucket; noted in `lab.json`.
///
/// # Errors
/// East does not answer or refuses.
pub async fn create_tenant(lab: &mut Lab) -> anyhow::Result<()> {
    let operator = Operator::open(&lab.system(SYSTEMS[0])?.config)?;
    let id = request_id();
    let request = store::CreateContentRequest {
        request_id: id.clone(),
        kind: crate::cli::Kind::Tenant.into(),
        name: TENANT.into(),
        description: "of the lab".into(),
        ..Default::default()
    };
    operator.command(&id, operator.store().create_content(request)).await?;
    let request = store::CreateCredentialRequest {
        content: Some(tenant(TENANT)),
        description: "of the lab".into(),
        ..Default::default()
    };
    let credential = operator.ask(operator.store().create_credential(request)).await?.credential;
    let credential = credential.context("east made no credential")?;
    let request = store::CreateNamespaceRequest {
        content: Some(tenant(TENANT)),
        name: NAMESPACE.into(),
        ..Default::default()
    };
    operator.ask(operator.store().create_namespace(request)).await?;
    let domain = lab.system(SYSTEMS[0])?.domain.clone();
    for system in lab.systems.values_mut() {
        let port = system.s3.url.rsplit_once(':').map_or("", |(_, port)| port).to_owned();
        system.s3.tenant_url = format!("http://{TENANT}.{domain}:{port}");
        system.s3.tenant = TENANT.into();
        system.s3.bucket = NAMESPACE.into();
        system.s3.access_key.clone_from(&credential.access_key);
        system.s3.secret_key.clone_from(&credential.secret_key);
    }
    lab.save()
}

/// The lab's link, from east to west, with DNS failover.
///
/// # Errors
/// East does not answer or refuses.
pub async fn create_link(lab: &Lab) -> anyhow::Result<()> {
    let east = lab.system(SYSTEMS[0])?;
    let operator = Operator::open(&east.config)?;
    let id = request_id();
    let request = link::CreateLinkRequest {
        request_id: id.clone(),
        plan: false,
        name: TENANT.into(),
        peer_address: east.peer.clone(),
        contents: vec![tenant(TENANT)],
        settings: Some(link::LinkSettings {
            dns_failover: true,
            description: "of the lab".into(),
            ..Default::default()
        }),
    };
    // The link manager learns of the new tenant, and the other side's listener of our certificate,
    // by watches: the first tries may come a moment too early.
    let since = Instant::now();
    while let Err(error) = operator.command(&id, operator.links().create_link(request.clone())).await {
        let early = matches!(
            &error,
            Error::Refused {
                code: Code::NotFound | Code::FailedPrecondition | Code::Unavailable | Code::DeadlineExceeded,
                ..
            }
        );
        if !early || since.elapsed() > EARLY_TIME {
            return Err(error).context("create the lab's link");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until both systems say that they hold the same.
///
/// # Errors
/// They do not within a minute.
pub async fn wait_for_sync(lab: &Lab) -> anyhow::Result<()> {
    let operator = Operator::open(&lab.system(SYSTEMS[0])?.config)?;
    wait_for_link(&operator, TENANT, "in sync", SYNC_TIME, |link| link.in_sync && link.healthy)
        .await
        .map(drop)
}

/// Waits until the link `name` is as wanted, as the operator's system sees it.
///
/// # Errors
/// It does not become so within `patience`; the error says how it is instead.
pub async fn wait_for_link(
    operator: &Operator,
    name: &str,
    wanted: &str,
    patience: Duration,
    is: impl Fn(&link::Link) -> bool,
) -> anyhow::Result<link::Link> {
    let since = Instant::now();
    loop {
        let request = link::GetLinkRequest { link: name.into() };
        let said = operator.ask(operator.links().get_link(request)).await;
        let link = said.as_ref().ok().and_then(|answer| answer.link.as_ref());
        if let Some(link) = link.filter(|link| is(link)) {
            return Ok(link.clone());
        }
        if since.elapsed() > patience {
            let instead = match (link, said.as_ref().err()) {
                (Some(link), _) => {
                    let view = crate::view::link::LinkView::from(link.clone());
                    format!("it is {}; {}", view.state_line(), view.troubles.join("; "))
                }
                (None, Some(error)) => error.to_string(),
                (None, None) => "there is none".into(),
            };
            bail!("link {name} is not {wanted} after {} s: {instead}", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Removes the lab's folder. Everything in it must have ended.
///
/// # Errors
/// It is no lab's folder, or cannot be removed.
pub fn remove(dir: &Path) -> anyhow::Result<()> {
    let lab = Lab::load(dir)?;
    for part in SYSTEMS.into_iter().chain(["log"]) {
        let path = lab.dir.join(part);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    for file in [super::layout::FILE, "lab.lock", "relay.sock", "resolv.conf"] {
        let path = lab.dir.join(file);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    // Not ours to remove when somebody keeps other things in it.
    let _ = fs::remove_dir(&lab.dir);
    Ok(())
}
