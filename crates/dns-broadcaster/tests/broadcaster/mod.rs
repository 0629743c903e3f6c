//! The service in a test's own process: on ports that the kernel chooses, over a real disk.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a harness that cannot go on fails the test")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use switchback_dns::access::{Primary, Secondary, UpdateTarget};
use switchback_dns::client;
use switchback_dns::config::{Config, Dnssec, Tls};
use switchback_dns::core::name::Name;
use switchback_dns::core::rate::Rate;
use switchback_dns::core::receive::Grants;
use switchback_dns::core::zone::Policy;
use switchback_dns::tsig::{Key, Keys};
use switchback_dns::{Listeners, serve};
use switchback_kit::grpc;
use switchback_kit::secret::Secret;
use switchback_proto::dns::v1::dns_service_client::DnsServiceClient;
use switchback_proto::dns::v1::{ApplyZonesRequest, NameServer, SystemZone, TenantZone};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine; no test waits for it in vain but one that says so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const FOR_EVER: Duration = Duration::from_secs(3600);

pub(crate) const POLICY: Policy =
    Policy { refresh: 30, retry: 10, expire: 1000, system_ttl: 60, negative_ttl: 5 };

/// A service whose sockets are open, so that who it serves can be told its address before it knows
/// them.
pub(crate) struct Bound {
    config: Config,
    secret: Secret,
    listeners: Listeners,
    pub(crate) dns: SocketAddr,
    /// Where DNS by TLS is answered, if it is,
    pub(crate) tls: Option<SocketAddr>,
    /// by HTTPS
    pub(crate) https: Option<SocketAddr>,
    /// and by QUIC.
    pub(crate) quic: Option<SocketAddr>,
}

impl Bound {
    /// In `folder`, on `dns`; port 0 is any.
    pub(crate) async fn at(folder: &Path, dns: SocketAddr) -> Self {
        Self::with_tls(folder, dns, None).await
    }

    /// As [`Bound::at`], and encrypted.
    pub(crate) async fn with_tls(folder: &Path, dns: SocketAddr, tls: Option<Tls>) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let path = folder.join("secret");
        let secret = Secret::load(&path).or_else(|_| Secret::create(&path)).unwrap();
        let config = Config {
            data_dir: folder.join("dns-broadcaster"),
            listen: "127.0.0.1:0".into(),
            dns_listen: vec![dns],
            hold: FOR_EVER,
            ttl: 5,
            tcp_idle: FOR_EVER,
            tls,
            keys: Keys::default(),
            secondaries: Vec::new(),
            primaries: Vec::new(),
            update_targets: Vec::new(),
            updaters: Grants::default(),
            domain: Name::parse("west.example.com").unwrap(),
            zone_files: Vec::new(),
            dnssec: None,
            rate: Rate { per_second: 0, slip: 0 },
            policy: POLICY,
        };
        let listeners = bind(&config).await;
        let dns = listeners.udp[0].local_addr().unwrap();
        assert_eq!(dns, listeners.tcp[0].local_addr().unwrap());
        let of = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap();
        let (tls, https) = (listeners.tls.first().map(of), listeners.https.first().map(of));
        let quic = listeners.quic.first().map(|socket| socket.local_addr().unwrap());
        Self { config, secret, listeners, dns, tls, https, quic }
    }

    /// Zones of links are held for so long after the start.
    pub(crate) fn hold(mut self, hold: Duration) -> Self {
        self.config.hold = hold;
        self
    }

    /// Of the system with this domain.
    pub(crate) fn domain(mut self, domain: &str) -> Self {
        self.config.domain = Name::parse(domain).unwrap();
        self
    }

    /// With zone files of the operator's own.
    pub(crate) fn zone_files(mut self, files: Vec<PathBuf>) -> Self {
        self.config.zone_files = files;
        self
    }

    /// Zones are signed.
    pub(crate) fn dnssec(mut self, dnssec: Dnssec) -> Self {
        self.config.dnssec = Some(dnssec);
        self
    }

    /// With these times in its zones.
    pub(crate) fn policy(mut self, policy: Policy) -> Self {
        self.config.policy = policy;
        self
    }

    /// So much is answered by UDP.
    pub(crate) fn rate(mut self, rate: Rate) -> Self {
        self.config.rate = rate;
        self
    }

    /// A connection may be silent for so long.
    pub(crate) fn idle(mut self, idle: Duration) -> Self {
        self.config.tcp_idle = idle;
        self
    }

    /// Who follows, and the keys that are shared with them.
    pub(crate) fn followed_by(mut self, secondary: &Secondary, key: Option<&Key>) -> Self {
        self.config.keys = Keys::new(key.cloned()).unwrap();
        self.config.secondaries = vec![secondary.clone()];
        self
    }

    /// As [`Bound::followed_by`], by several, without a key.
    pub(crate) fn followed_by_all(mut self, secondaries: Vec<Secondary>) -> Self {
        self.config.secondaries = secondaries;
        self
    }

    /// Whose zones it holds, and the keys that are shared with them.
    pub(crate) fn follows(mut self, primaries: Vec<Primary>, key: Option<&Key>) -> Self {
        self.config.keys = Keys::new(key.cloned()).unwrap();
        self.config.primaries = primaries;
        self
    }

    /// Where else names are put, and the key for it.
    pub(crate) fn updates(mut self, targets: Vec<UpdateTarget>, key: &Key) -> Self {
        self.config.keys = Keys::new([key.clone()]).unwrap();
        self.config.update_targets = targets;
        self
    }

    /// Who may change what by update, and the keys for it.
    pub(crate) fn updaters(mut self, grants: Grants, keys: &[Key]) -> Self {
        self.config.keys = Keys::new(keys.iter().cloned()).unwrap();
        self.config.updaters = grants;
        self
    }

    pub(crate) fn serve(self) -> Broadcaster {
        let Self { config, secret, listeners, dns, .. } = self;
        let channel = grpc::channel(&listeners.grpc.local_addr().unwrap().to_string(), &secret).unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let running = tokio::spawn(async move { serve(config, listeners, &secret, stop).await });
        let client = DnsServiceClient::new(channel).max_encoding_message_size(16 * 1024 * 1024);
        Broadcaster { dns, client, shutdown, running }
    }
}

/// A port that this service had before may be somebody's for a moment: clients ask from any.
async fn bind(config: &Config) -> Listeners {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match Listeners::bind(config).await {
            Ok(listeners) => return listeners,
            Err(error) => assert!(Instant::now() < give_up, "{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) struct Broadcaster {
    pub(crate) dns: SocketAddr,
    pub(crate) client: DnsServiceClient<grpc::Channel>,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Broadcaster {
    pub(crate) async fn start(folder: &Path, hold: Duration) -> Self {
        Bound::at(folder, ([127, 0, 0, 1], 0).into()).await.hold(hold).serve()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        drop(self.client);
        self.running.await.unwrap().unwrap();
    }

    /// How it ended by itself.
    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        self.running.await.unwrap()
    }

    pub(crate) async fn apply(&mut self, generation: u64, tenants: Vec<TenantZone>) -> Vec<String> {
        self.client.apply_zones(request(generation, tenants)).await.unwrap().into_inner().stale_zones
    }

    pub(crate) async fn lookup(&self, name: &str) -> Result<client::Answer, client::Error> {
        client::lookup(&[self.dns], name, PATIENCE).await
    }
}

/// Of the system in all tests but those of its end.
pub(crate) const LIFE: &str = "first";

pub(crate) fn request(generation: u64, tenants: Vec<TenantZone>) -> ApplyZonesRequest {
    request_of("west.example.com", generation, tenants)
}

/// What the link manager of the system with this domain says.
pub(crate) fn request_of(domain: &str, generation: u64, tenants: Vec<TenantZone>) -> ApplyZonesRequest {
    let system = SystemZone {
        domain: domain.into(),
        addresses: vec!["192.0.2.2".into()],
        name_server_addresses: vec!["192.0.2.53".into()],
        ..SystemZone::default()
    };
    let (run, life) = ("run".into(), LIFE.into());
    ApplyZonesRequest { generation, system: Some(system), tenants, run, life, ..ApplyZonesRequest::default() }
}

pub(crate) fn zone(name: &str, serial: u32, addresses: &[&str], link: &str) -> TenantZone {
    let server = |name: &str| NameServer { name: name.into(), addresses: vec!["192.0.2.53".into()] };
    TenantZone {
        name: name.into(),
        serial,
        addresses: addresses.iter().map(|&text| text.into()).collect(),
        name_servers: vec![server("ns1.west.example.com"), server("ns1.east.example.com")],
        ttl_seconds: 3,
        link: link.into(),
        target: "east".into(),
        epoch: if link.is_empty() { 0 } else { (serial / 64).saturating_sub(1).into() },
        generation: if link.is_empty() { 0 } else { serial % 64 },
        dnskeys: Vec::new(),
        host: String::new(),
        https: None,
    }
}
