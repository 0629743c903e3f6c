//! What the machine can do at best: its disk, and TLS 1.3 between two of its processes' sockets.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::figure::{count, megabytes, rate};

/// Written to the disk to measure it: what its cache would hide is small beside it.
const DISK_BYTES: u64 = 512 << 20;
/// Written at once.
const PIECE_BYTES: usize = 1 << 20;
/// Flushes.
const FLUSHES: u64 = 200;
/// Sent through TLS.
const TLS_BYTES: u64 = 1 << 30;

/// Of one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// MB/s written to one file, the flush at its end included.
    pub(crate) disk: f64,
    /// Appends of 4 KiB in a second, each flushed.
    pub(crate) flushes: f64,
    /// MB/s through one TLS 1.3 connection on loopback.
    pub(crate) tls: f64,
}

/// Measures in `folder`, which must be on the disk that the systems use.
pub(crate) async fn measure(folder: &Path) -> anyhow::Result<Limits> {
    let path = folder.join("limit");
    let (disk, flushes) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let measured = (disk(&path)?, flushes(&path)?);
        std::fs::remove_file(&path)?;
        Ok(measured)
    })
    .await??;
    Ok(Limits { disk, flushes, tls: tls().await.context("TLS on loopback")? })
}

fn disk(path: &Path) -> anyhow::Result<f64> {
    let mut piece = vec![0; PIECE_BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut piece);
    let since = Instant::now();
    let mut file = File::create(path)?;
    for _ in 0..DISK_BYTES / PIECE_BYTES as u64 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(rate(megabytes(DISK_BYTES), since.elapsed()))
}

fn flushes(path: &Path) -> anyhow::Result<f64> {
    let mut file = File::create(path)?;
    let since = Instant::now();
    for _ in 0..FLUSHES {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
    }
    Ok(rate(count(FLUSHES), since.elapsed()))
}

async fn tls() -> anyhow::Result<f64> {
    let key = rcgen::KeyPair::generate()?;
    let card = rcgen::CertificateParams::new(vec!["bench".to_owned()])?.self_signed(&key)?;
    let card = CertificateDer::from(card.der().to_vec());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = [&rustls::version::TLS13];
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)?
        .with_no_client_auth()
        .with_single_cert(vec![card.clone()], key)?;
    // What the client does not read resets the connection at its end.
    server.send_tls13_tickets = 0;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(card)?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let sending = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(client));
        let mut stream = connector.connect(ServerName::try_from("bench")?, stream).await?;
        let piece = vec![7; 256 << 10];
        for _ in 0..TLS_BYTES / piece.len() as u64 {
            stream.write_all(&piece).await?;
        }
        stream.shutdown().await?;
        anyhow::Ok(())
    });
    let (stream, _) = listener.accept().await?;
    let mut stream = TlsAcceptor::from(Arc::new(server)).accept(stream).await?;
    let mut piece = vec![0; 256 << 10];
    let (mut bytes, since) = (0, Instant::now());
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            some => bytes += some as u64,
        }
    }
    let took = since.elapsed();
    sending.await??;
    Ok(rate(megabytes(bytes), took))
}
