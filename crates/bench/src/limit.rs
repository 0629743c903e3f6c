//! What the machine can do at best: its disk, the ETag's hash, and TLS 1.3 and plain TCP on loopback.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use md5::{Digest as _, Md5};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::figure::{count, megabytes, rate};

/// Written to the disk to measure it: what its cache would hide is small beside it.
const DISK_BYTES: u64 = 512 << 20;
/// Written at once.
const PIECE_BYTES: usize = 1 << 20;
/// Flushes.
const FLUSHES: u64 = 200;
/// Sent through TLS and TCP.
const LINE_BYTES: u64 = 1 << 30;
/// Pieces of a copy that wait for their next thread.
const COPY_PIECES: usize = 4;
/// Sent at once.
const LINE_PIECE_BYTES: usize = 256 << 10;

/// Of one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// MB/s written to one file, the flush at its end included.
    pub(crate) disk: f64,
    /// Appends of 4 KiB in a second, each flushed.
    pub(crate) flushes: f64,
    /// MB/s through one TLS 1.3 connection on loopback.
    pub(crate) tls: f64,
    /// MB/s from one file to another through such a connection, the flush at its end included: both of the above at
    /// once, on the same processors.
    pub(crate) copy: f64,
}

/// Measures in `folder`, which must be on the disk that the systems use.
pub(crate) async fn measure(folder: &Path) -> anyhow::Result<Limits> {
    let (path, copied) = (folder.join("limit"), folder.join("copied"));
    let of = path.clone();
    let flushes = tokio::task::spawn_blocking(move || flushes(&of)).await??;
    let of = path.clone();
    let disk = tokio::task::spawn_blocking(move || disk(&of)).await??;
    let tls = tls().await.context("TLS on loopback")?;
    let copy = copy(&path, &copied).await.context("a copy through TLS")?;
    std::fs::remove_file(&path)?;
    std::fs::remove_file(&copied)?;
    Ok(Limits { disk, flushes, tls, copy })
}

/// What bounds large bodies at an S3 server that speaks plain HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainLimits {
    /// As in [`Limits`].
    pub(crate) disk: f64,
    /// MB/s of MD5 on one core, of which the ETag of one PUT is made.
    pub(crate) md5: f64,
    /// MB/s through one TCP connection on loopback.
    pub(crate) tcp: f64,
}

/// Measures in `folder`, which must be on the disk that the servers use.
pub(crate) async fn measure_plain(folder: &Path) -> anyhow::Result<PlainLimits> {
    let path = folder.join("limit");
    let (disk, md5) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let measured = (disk(&path)?, md5());
        std::fs::remove_file(&path)?;
        Ok(measured)
    })
    .await??;
    Ok(PlainLimits { disk, md5, tcp: tcp().await.context("TCP on loopback")? })
}

fn md5() -> f64 {
    let piece = vec![7; PIECE_BYTES];
    let (since, mut hasher) = (Instant::now(), Md5::new());
    for _ in 0..DISK_BYTES / PIECE_BYTES as u64 {
        hasher.update(&piece);
    }
    std::hint::black_box(hasher.finalize());
    rate(megabytes(DISK_BYTES), since.elapsed())
}

async fn tcp() -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let sending = tokio::spawn(async move { send(TcpStream::connect(address).await?).await });
    let (stream, _) = listener.accept().await?;
    let received = receive(stream).await?;
    sending.await??;
    Ok(received)
}

async fn send(mut stream: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
    let piece = vec![7; LINE_PIECE_BYTES];
    for _ in 0..LINE_BYTES / piece.len() as u64 {
        stream.write_all(&piece).await?;
    }
    Ok(stream.shutdown().await?)
}

/// MB/s to the end of the stream.
async fn receive(mut stream: impl AsyncRead + Unpin) -> anyhow::Result<f64> {
    let mut piece = vec![0; LINE_PIECE_BYTES];
    let (mut bytes, since) = (0, Instant::now());
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(rate(megabytes(bytes), since.elapsed())),
            some => bytes += some as u64,
        }
    }
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

/// A TLS 1.3 connection on loopback, both ends.
async fn pair() -> anyhow::Result<(client::TlsStream<TcpStream>, server::TlsStream<TcpStream>)> {
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
    let connecting = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(client));
        connector.connect(ServerName::try_from("bench").map_err(std::io::Error::other)?, stream).await
    });
    let (stream, _) = listener.accept().await?;
    let accepted = TlsAcceptor::from(Arc::new(server)).accept(stream).await?;
    Ok((connecting.await??, accepted))
}

async fn tls() -> anyhow::Result<f64> {
    let (client, server) = pair().await?;
    let sending = tokio::spawn(send(client));
    let received = receive(server).await?;
    sending.await??;
    Ok(received)
}

/// MB/s from one file through TLS to another one that is flushed at its end: the least that a copy does. Reading,
/// sending, receiving and writing have a thread each.
async fn copy(from: &Path, to: &Path) -> anyhow::Result<f64> {
    let (mut client, mut server) = pair().await?;
    let (from, to) = (from.to_owned(), to.to_owned());
    let since = Instant::now();
    let (read, mut to_send) = mpsc::channel::<Vec<u8>>(COPY_PIECES);
    let reading = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let mut file = File::open(from)?;
        loop {
            let mut piece = Vec::with_capacity(LINE_PIECE_BYTES);
            if (&mut file).take(LINE_PIECE_BYTES as u64).read_to_end(&mut piece)? == 0 {
                return Ok(());
            }
            read.blocking_send(piece)?;
        }
    });
    let sending = tokio::spawn(async move {
        while let Some(piece) = to_send.recv().await {
            client.write_all(&piece).await?;
        }
        client.shutdown().await
    });
    let (received, mut to_write) = mpsc::channel::<Vec<u8>>(COPY_PIECES);
    let writing = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let mut file = File::create(to)?;
        while let Some(piece) = to_write.blocking_recv() {
            file.write_all(&piece)?;
        }
        Ok(file.sync_all()?)
    });
    loop {
        let mut piece = Vec::with_capacity(LINE_PIECE_BYTES);
        while piece.len() < LINE_PIECE_BYTES && server.read_buf(&mut piece).await? > 0 {}
        if piece.is_empty() {
            break;
        }
        received.send(piece).await?;
    }
    drop(received);
    writing.await??;
    let took = since.elapsed();
    reading.await??;
    sending.await??;
    Ok(rate(megabytes(DISK_BYTES), took))
}
