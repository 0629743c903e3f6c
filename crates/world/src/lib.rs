//! What a service asks of the machine it runs on: wall time, randomness, sockets, disks, and
//! threads for work that blocks. In production each of these is the machine's, after one look at a
//! flag of the thread. A simulation hands in its own [`World`] and so decides all of them from a
//! seed, under the very code that is shipped.
//!
//! Why chosen at run time and not by a feature of cargo: features of a package are united over
//! everything that one build builds, so a simulated clock could end up in a shipped binary without
//! anybody's having asked for it. Why by thread and not by a parameter: a simulation runs whole
//! systems on one thread and nothing else on it, while a parameter would have to pass through every
//! function between a service's start and its last use of the clock. No shipped code calls
//! [`enter`].
//!
//! Time that passes is tokio's (`tokio::time::Instant`), which a simulation pauses by itself.
//!
//! What it is not: it simulates nothing.

pub mod disk;
pub mod net;
pub mod random;
pub mod time;
mod work;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

pub use work::aside;

/// A future that a simulation gives.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a simulation gives instead of the machine. It knows by itself which of its hosts asks.
pub trait World {
    /// What the host's clock on the wall shows.
    fn wall(&self) -> SystemTime;
    /// Fills `bytes` at random, from the seed.
    fn fill(&self, bytes: &mut [u8]);
    /// Listens on `address` (`host:port`) of the host.
    fn listen(&self, address: &str) -> Pending<io::Result<Box<dyn net::Accept>>>;
    /// Connects the host to `address` (`host:port`).
    fn dial(&self, address: &str) -> Pending<io::Result<Box<dyn net::Duplex>>>;
    /// The table of records in `folder` of the host's disk, empty if there was none.
    ///
    /// # Errors
    /// The disk fails.
    fn table(&self, folder: &Path) -> io::Result<Arc<dyn disk::Table>>;
}

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Until the returned guard is dropped, this thread is in `world`. For simulations only.
#[must_use]
pub fn enter(world: Rc<dyn World>) -> Entered {
    SIMULATED.set(true);
    Entered(WORLD.replace(Some(world)))
}

/// Leaves the world that was entered when it is dropped.
pub struct Entered(Option<Rc<dyn World>>);

impl Drop for Entered {
    fn drop(&mut self) {
        SIMULATED.set(self.0.is_some());
        WORLD.replace(self.0.take());
    }
}

/// True on a thread of a simulation.
#[must_use]
pub fn is_simulated() -> bool {
    SIMULATED.get()
}

/// The world of a simulation; none in production.
#[must_use]
pub fn simulated() -> Option<Rc<dyn World>> {
    if is_simulated() { WORLD.with_borrow(Clone::clone) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    struct Still;

    impl World for Still {
        fn wall(&self) -> SystemTime {
            UNIX_EPOCH + Duration::from_secs(7)
        }
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
        fn listen(&self, _: &str) -> Pending<io::Result<Box<dyn net::Accept>>> {
            Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
        }
        fn dial(&self, _: &str) -> Pending<io::Result<Box<dyn net::Duplex>>> {
            Box::pin(async { Ok(Box::new(io_pair()) as Box<dyn net::Duplex>) })
        }
        fn table(&self, _: &Path) -> io::Result<Arc<dyn disk::Table>> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn io_pair() -> tokio::io::DuplexStream {
        let (near, mut far) = tokio::io::duplex(64);
        tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut far, b"hello").await });
        near
    }

    #[test]
    fn a_thread_is_in_the_world_it_entered_until_it_leaves_and_no_other_thread_is() {
        let machine = time::wall();
        let entered = enter(Rc::new(Still));
        assert_eq!(time::wall(), UNIX_EPOCH + Duration::from_secs(7));
        let mut bytes = [0; 3];
        random::fill(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 3]);
        assert!(!std::thread::spawn(is_simulated).join().unwrap());
        drop(entered);
        assert!(!is_simulated() && time::wall() >= machine);
    }

    #[test]
    fn work_aside_and_dials_stay_inside_the_simulation() {
        let _entered = enter(Rc::new(Still));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let here = std::thread::current().id();
            assert_eq!(aside(move || std::thread::current().id()).await.unwrap(), here);
            let stream = net::Stream::connect("anywhere:1").await.unwrap();
            let mut stream = stream;
            assert!(stream.spoke().await.unwrap());
            let mut heard = [0; 5];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut heard).await.unwrap();
            assert_eq!(&heard, b"hello", "what was looked at is still there to be read");
        });
    }
}
