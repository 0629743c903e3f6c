//! Other S3 servers for the same clients: those that are installed, each a process or a few, in a folder of its
//! own. What each flushes before it answers is said with its name, because that is most of a small PUT.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

use crate::client::{Client, Place};
use crate::peer::has;

/// Until a server answers.
const PATIENCE: Duration = Duration::from_secs(60);
const BUCKET: &str = "copies";
/// Bytes of the disk that is a file of Ceph's.
const CEPH_BYTES: u64 = 16 << 30;
/// The only disk there is.
const CEPH_DISK: &str = "5f0c2a8e-1111-4222-8333-944455566677";

/// An S3 server that answers.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// End with this, in this order.
    _processes: Vec<Child>,
}

/// All that are installed.
pub(crate) async fn start(folder: &Path) -> anyhow::Result<Vec<Server>> {
    let mut servers = Vec::new();
    for (name, commands) in [
        ("moto", &["moto_server"][..]),
        ("s3s-fs", &["s3s-fs"]),
        ("garage", &["garage"]),
        ("radosgw", &["ceph-mon", "ceph-osd", "radosgw"]),
    ] {
        if let Some(lacks) = commands.iter().find(|command| !has(command)) {
            eprintln!("{name} is not compared: {lacks} is not installed");
            continue;
        }
        let home = folder.join(name);
        std::fs::create_dir_all(&home)?;
        let started = match name {
            "moto" => moto(&home),
            "s3s-fs" => s3s_fs(&home),
            "garage" => garage(&home).await,
            _ => radosgw(&home).await,
        };
        let server = started.with_context(|| format!("start {name}"))?;
        server.make_bucket().await.with_context(|| format!("{name}; see {}", home.display()))?;
        servers.push(server);
    }
    Ok(servers)
}

impl Server {
    async fn make_bucket(&self) -> anyhow::Result<()> {
        let since = Instant::now();
        loop {
            let made = async { Client::connect(&self.place).await?.create_bucket().await };
            match made.await {
                Ok(()) => return Ok(()),
                // Garage's bucket was made when its key was given the right to it.
                Err(error) if error.to_string().contains("BucketAlready") => return Ok(()),
                Err(error) if since.elapsed() > PATIENCE => return Err(error).context("it does not answer"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// `pip install moto[server]`: in Python, in memory; flushes nothing.
fn moto(home: &Path) -> anyhow::Result<Server> {
    let port = free()?;
    let child = running(home, "moto_server", &["-H", "127.0.0.1", "-p", &port.to_string()])?;
    Ok(Server { name: "moto", place: place(port, "us-east-1", "bench", "bench"), _processes: vec![child] })
}

/// `cargo install s3s-fs --features binary`: a file an object; flushes nothing.
fn s3s_fs(home: &Path) -> anyhow::Result<Server> {
    let (port, files) = (free()?, home.join("files"));
    std::fs::create_dir_all(&files)?;
    let port_text = port.to_string();
    let arguments =
        ["--host", "127.0.0.1", "--port", &port_text, "--access-key", "bench", "--secret-key", "bench"];
    let child = running(home, "s3s-fs", &[&arguments[..], &[text(&files)?]].concat())?;
    Ok(Server { name: "s3s-fs", place: place(port, "us-east-1", "bench", "bench"), _processes: vec![child] })
}

/// `cargo install garage`, one node; told to flush what it writes, which it does not by itself.
async fn garage(home: &Path) -> anyhow::Result<Server> {
    let (rpc, port, admin) = (free()?, free()?, free()?);
    let config = home.join("garage.toml");
    let words = format!(
        "metadata_dir = {:?}\ndata_dir = {:?}\ndb_engine = \"lmdb\"\nmetadata_fsync = true\ndata_fsync = true\n\
         replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
         rpc_secret = \"{}\"\n[s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{port}\"\n\
         [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\n",
        home.join("meta"),
        home.join("data"),
        "1".repeat(64),
    );
    std::fs::write(&config, words)?;
    let config = text(&config)?;
    let child = running(home, "garage", &["-c", config, "server"])?;
    let since = Instant::now();
    let node = loop {
        match said("garage", &["-c", config, "node", "id", "-q"]).await {
            Ok(said) => break said.split('@').next().unwrap_or_default().to_owned(),
            Err(error) if since.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    };
    let (access_key, secret_key) = (format!("GK{}", "a".repeat(24)), "b".repeat(64));
    let steps: [&[&str]; 5] = [
        &["layout", "assign", "-z", "here", "-c", "100G", &node],
        &["layout", "apply", "--version", "1"],
        &["key", "import", "--yes", "-n", "bench", &access_key, &secret_key],
        &["bucket", "create", BUCKET],
        &["bucket", "allow", "--read", "--write", "--owner", BUCKET, "--key", &access_key],
    ];
    for step in steps {
        said("garage", &[&["-c", config], step].concat()).await?;
    }
    Ok(Server {
        name: "garage",
        place: place(port, "garage", &access_key, &secret_key),
        _processes: vec![child],
    })
}

/// Ceph with one disk that is a file, and its gateway (`ceph-mon`, `ceph-osd`, `radosgw`, `ceph-common`): flushes
/// what it answers.
async fn radosgw(home: &Path) -> anyhow::Result<Server> {
    let (mon, port) = (free()?, free()?);
    let (config, map) = (home.join("ceph.conf"), home.join("map"));
    let path = home.display();
    let words = format!(
        "[global]\nfsid = 6ba7b810-9dad-11d1-80b4-00c04fd430c8\nmon host = [v1:127.0.0.1:{mon}]\n\
         mon initial members = a\nauth cluster required = none\nauth service required = none\n\
         auth client required = none\nosd pool default size = 1\nosd pool default min size = 1\n\
         osd pool default pg num = 8\nosd pool default pgp num = 8\nosd crush chooseleaf type = 0\n\
         mon allow pool size one = true\nrun dir = {path}\nlog file = {path}/$name.log\nmon data = {path}/mon\n\
         osd data = {path}/osd\nosd objectstore = bluestore\nbluestore block size = {CEPH_BYTES}\n\
         bluestore block create = true\npublic addr = 127.0.0.1\nadmin socket = {path}/$name.asok\n\
         rgw frontends = beast endpoint=127.0.0.1:{port}\n",
    );
    std::fs::write(&config, words)?;
    for folder in ["mon", "osd"] {
        std::fs::create_dir_all(home.join(folder))?;
    }
    let (config, map, here) = (text(&config)?, text(&map)?, format!("[v1:127.0.0.1:{mon}]"));
    let fsid = ["--create", "--clobber", "--fsid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"];
    said("monmaptool", &[&fsid[..], &["--addv", "a", &here, map]].concat()).await?;
    said("ceph-mon", &["-c", config, "--mkfs", "-i", "a", "--monmap", map]).await?;
    let mut processes = vec![running(home, "ceph-mon", &["-c", config, "-i", "a", "-f"])?];
    said("ceph", &["-c", config, "--connect-timeout", "30", "osd", "new", CEPH_DISK]).await?;
    said("ceph-osd", &["-c", config, "-i", "0", "--mkfs", "--osd-uuid", CEPH_DISK]).await?;
    processes.push(running(home, "ceph-osd", &["-c", config, "-i", "0", "-f"])?);
    let user = ["user", "create", "--uid=bench", "--display-name=bench"];
    let keys = ["--access-key=bench", "--secret-key=bench"];
    said("radosgw-admin", &[&["-c", config], &user[..], &keys].concat()).await?;
    processes.push(running(home, "radosgw", &["-c", config, "-n", "client.rgw", "-f"])?);
    // The gateway first, the disk's monitor last.
    processes.reverse();
    Ok(Server { name: "radosgw", place: place(port, "default", "bench", "bench"), _processes: processes })
}

fn place(port: u16, region: &str, access_key: &str, secret_key: &str) -> Place {
    Place {
        url: format!("http://127.0.0.1:{port}"),
        region: region.into(),
        bucket: BUCKET.into(),
        access_key: access_key.into(),
        secret_key: secret_key.into(),
    }
}

fn free() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a folder with a plain name is needed")
}

fn running(home: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<Child> {
    let path: PathBuf = home.join(format!("{program}.out"));
    let log = std::fs::File::create(&path)?;
    Command::new(program)
        .args(arguments)
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run {program}"))
}

/// What a command that ends prints.
async fn said(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(PATIENCE, command.output())
        .await
        .with_context(|| format!("{program} does not end"))??;
    ensure!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}
