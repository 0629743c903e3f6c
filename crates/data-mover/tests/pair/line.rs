//! A line to a system: a relay that can be cut, that counts, and that can break by itself after a
//! number of bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone)]
pub struct Line(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    is_cut: watch::Sender<bool>,
    carried: AtomicU64,
    break_at: AtomicU64,
    returned: AtomicU64,
    break_returned_at: AtomicU64,
    /// The first connection that has carried so many bytes ends.
    end_one_at: AtomicU64,
    one_ended: watch::Sender<bool>,
    /// Bytes that each connection has carried to the system.
    connections: Mutex<Vec<u64>>,
}

impl Line {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self(Arc::new(Inner {
            address: listener.local_addr().unwrap(),
            target: watch::Sender::new(None),
            is_cut: watch::Sender::new(false),
            carried: 0.into(),
            break_at: u64::MAX.into(),
            returned: 0.into(),
            break_returned_at: u64::MAX.into(),
            end_one_at: u64::MAX.into(),
            one_ended: watch::Sender::new(false),
            connections: Mutex::default(),
        }));
        tokio::spawn(line.clone().accept(listener));
        line
    }

    pub fn address(&self) -> String {
        self.0.address.to_string()
    }

    pub fn lead_to(&self, target: SocketAddr) {
        self.0.target.send_replace(Some(target));
    }

    pub fn cut(&self) {
        self.0.is_cut.send_replace(true);
    }

    pub fn heal(&self) {
        self.0.break_at.store(u64::MAX, Ordering::SeqCst);
        self.0.break_returned_at.store(u64::MAX, Ordering::SeqCst);
        self.0.is_cut.send_replace(false);
    }

    /// Bytes carried to the system.
    pub fn carried(&self) -> u64 {
        self.0.carried.load(Ordering::SeqCst)
    }

    /// Cuts the line when it has carried so many bytes more.
    pub fn break_after(&self, bytes: u64) {
        self.0.break_at.store(self.carried() + bytes, Ordering::SeqCst);
    }

    /// Bytes that the system has answered with.
    pub fn returned(&self) -> u64 {
        self.0.returned.load(Ordering::SeqCst)
    }

    /// Cuts the line when the system has answered with so many bytes more.
    pub fn break_after_returned(&self, bytes: u64) {
        self.0.break_returned_at.store(self.returned() + bytes, Ordering::SeqCst);
    }

    /// Ends the first connection that has carried so many bytes, and no other.
    pub fn end_one_after(&self, bytes: u64) {
        self.0.end_one_at.store(bytes, Ordering::SeqCst);
    }

    pub async fn until_one_ended(&self) {
        self.0.one_ended.subscribe().wait_for(|ended| *ended).await.unwrap();
    }

    /// Connections that have carried so many bytes.
    pub fn connections_over(&self, bytes: u64) -> usize {
        self.0.connections.lock().unwrap().iter().filter(|carried| **carried > bytes).count()
    }

    pub async fn until_cut(&self) {
        self.0.is_cut.subscribe().wait_for(|is_cut| *is_cut).await.unwrap();
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            let (caller, _) = listener.accept().await.unwrap();
            let target = *self.0.target.borrow();
            if *self.0.is_cut.borrow() {
                continue;
            }
            let Some(target) = target else { continue };
            let line = self.clone();
            tokio::spawn(async move {
                if let Ok(called) = TcpStream::connect(target).await {
                    line.carry(caller, called).await;
                }
            });
        }
    }

    async fn carry(self, caller: TcpStream, called: TcpStream) {
        let (from_caller, to_caller) = caller.into_split();
        let (from_called, to_called) = called.into_split();
        let mut is_cut = self.0.is_cut.subscribe();
        let place = {
            let mut connections = self.0.connections.lock().unwrap();
            connections.push(0);
            connections.len() - 1
        };
        tokio::select! {
            _ = is_cut.wait_for(|is_cut| *is_cut) => {}
            () = self.pump(from_caller, to_called, Some(place)) => {}
            () = self.pump(from_called, to_caller, None) => {}
        }
    }

    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counted: Option<usize>) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length) = from.read(&mut buffer).await
            && length > 0
        {
            if let Some(place) = counted {
                let of_this = {
                    let mut connections = self.0.connections.lock().unwrap();
                    connections[place] += length as u64;
                    connections[place]
                };
                let is_due = of_this > self.0.end_one_at.load(Ordering::SeqCst);
                if is_due && !self.0.one_ended.send_replace(true) {
                    return;
                }
                let carried = self.0.carried.fetch_add(length as u64, Ordering::SeqCst) + length as u64;
                if carried > self.0.break_at.load(Ordering::SeqCst) {
                    self.cut();
                    return;
                }
            } else {
                let returned = self.0.returned.fetch_add(length as u64, Ordering::SeqCst) + length as u64;
                if returned > self.0.break_returned_at.load(Ordering::SeqCst) {
                    self.cut();
                    return;
                }
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }
}
