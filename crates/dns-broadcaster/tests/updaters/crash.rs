//! A service that is killed has what it said it has.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

use hickory_proto::rr::RecordType;
use switchback_kit::secret::Secret;

use super::peer::{eventually, question, require};
use super::{REVERSE, SECRET, SERVERS, reverse, run};

const KILLS: usize = 5;

/// The service as a process of its own; killed when dropped.
struct Process(Child);

impl Process {
    async fn start(folder: &Path, dns: SocketAddr) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_switchback-dns-broadcaster"))
            .args(["--config", "config.toml"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let started = Self(child);
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        eventually("it answers", log, async || {
            let answer = question(dns, REVERSE, RecordType::SOA).await?;
            (!answer.answers.is_empty()).then_some(())
        })
        .await;
        started
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_a_kill() {
    if !require(&["nsupdate"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let address = Ipv4Addr::new(127, 79, SERVERS.fetch_add(1, Ordering::Relaxed), 1);
    let dns = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap();
    let path = |file: &str| folder.path().join(file);
    Secret::create(&path("secret")).unwrap();
    let clause = format!("key \"hosts.key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
    write_private(&path("hosts.key"), &clause);
    fs::write(path("reverse.zone"), reverse(7, "")).unwrap();
    let config = format!(
        "[system]
name = \"west\"
domain = \"west.example.com\"
id = \"6b1f0c7e94d24a31b5d0c2a97e5f8d03\"
secret_file = \"secret\"
data_dir = \"state\"

[dns_broadcaster]
listen = \"127.0.0.1:0\"
dns_listen = [\"{dns}\"]
tsig_key_files = [\"hosts.key\"]
zone_files = [\"reverse.zone\"]
updaters = [{{ key = \"hosts.key\", zone = \"{REVERSE}\", names = [\"*.{REVERSE}\"], types = [\"PTR\"] }}]
"
    );
    fs::write(path("config.toml"), config).unwrap();
    for number in 0..KILLS {
        let process = Process::start(folder.path(), dns).await;
        let line = format!("update add {number}.{REVERSE}. 60 PTR host-{number}.west.example.com.");
        run("nsupdate", &[], dns, "hosts.key", REVERSE, &[&line]).await.unwrap();
        drop(process);
        let _process = Process::start(folder.path(), dns).await;
        for number in 0..=number {
            let answer = question(dns, &format!("{number}.{REVERSE}"), RecordType::PTR).await.unwrap();
            assert_eq!(answer.answers[0].data.to_string(), format!("host-{number}.west.example.com."));
        }
        let start = question(dns, REVERSE, RecordType::SOA).await.unwrap();
        let serial = format!(" {} 30 10 ", 8 + number);
        assert!(start.answers[0].data.to_string().contains(&serial), "{start}");
    }
}
