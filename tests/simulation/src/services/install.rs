//! Systems are installed: their folders, secrets and configurations, which are real files.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use switchback_kit::secret::Secret;

use crate::site::{LINK_PORT, REPLICATION_PORT, S3_PORT, Service, System};

/// Makes a new, empty system in `folder`, as `switchback system init` would, and returns the number
/// that its writes will carry: the first eight bytes of its id.
///
/// # Errors
/// The folder cannot be written.
pub fn create(system: System, folder: &Path) -> anyhow::Result<u64> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).context("create the data folder")?;
    Secret::create(&folder.join("secret")).context("create the secret")?;
    let mut id = [0; 16];
    switchback_kit::world::random::fill(&mut id).context("make an id")?;
    let grpc = |service: Service| format!("{system}:{}", service.port());
    let listen = |port: u16| format!("0.0.0.0:{port}");
    let mut text = format!(
        "[system]\nname = \"{system}\"\ndomain = \"{}\"\nid = \"{}\"\nsecret_file = \"{}\"\ndata_dir = \"{}\"\n\n[services]\n",
        system.domain(),
        hex::encode(id),
        folder.join("secret").display(),
        data.display(),
    );
    // Writing to a String cannot fail.
    for service in Service::ALL {
        let _ = writeln!(text, "{} = \"{}\"", service.name().replace('-', "_"), grpc(service));
    }
    let address = system.address();
    for service in Service::ALL {
        let section = service.name().replace('-', "_");
        let _ = writeln!(text, "\n[{section}]\nlisten = \"{}\"", listen(service.port()));
        let _ = match service {
            Service::DataMover => writeln!(text, "replication_listen = [\"{}\"]", listen(REPLICATION_PORT)),
            Service::LinkManager => writeln!(
                text,
                "peer_listen = [\"{}\"]\ngateway_addresses = [\"{address}\"]\nname_server_addresses = [\"{address}\"]\nreplication_port = {REPLICATION_PORT}\nadvertise = \"{system}:{LINK_PORT}\"",
                listen(LINK_PORT)
            ),
            Service::DnsBroadcaster => writeln!(text, "dns_listen = [\"{address}:53\"]"),
            Service::CertificateService => Ok(()),
            Service::Gateway => writeln!(text, "s3_listen = [\"{}\"]", listen(S3_PORT)),
        };
    }
    std::fs::write(folder.join("switchback.toml"), text).context("write the configuration")?;
    let [site @ .., _, _, _, _, _, _, _, _] = id;
    Ok(u64::from_be_bytes(site))
}
