//! Questions and answers, and changes, beside the name servers that people run.
//!
//! `cargo bench -p switchback-dns --bench servers [-- --starts N] [--rounds N] [--changes N] [--only SERVERS]
//! [--beside PROGRAM]`
//!
//! This server as it is shipped, BIND, NSD, Knot and PowerDNS hold the same zone, which they take from it,
//! once unsigned and once signed; plain hickory holds the unsigned one. Each has one core, the questions
//! come from another; the servers take turns, medians of the rounds are compared, and every answer is
//! looked at. Two processes of one program differ by more than their rounds do, by where their memory lies: so all
//! are started several times. Then a name is changed, again and again, here and in a Knot of its own, and everybody who
//! follows is asked until it answers so. Needs two cores and the servers' packages; those that are not
//! installed are named and left out. With `--beside` another build of this server is compared too, with
//! `--only` some of the others (`nsd,knot`).
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

#[path = "../../tests/broadcaster/mod.rs"]
mod broadcaster;
mod change;
mod hickory;
mod load;
mod notice;
#[path = "../../tests/peer/mod.rs"]
mod peer;
mod server;

use load::{Comparison, Load};
use nix::unistd::Pid;
use server::{CLIENT_CORE, Signed, pin, start};

const ZONE: &str = "bench.test";

fn main() {
    if let Some(address) = argument("--hickory") {
        return hickory::serve(address.parse().unwrap(), number("--names", 0));
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        println!("two cores are needed: one for the server, one for the questions");
        return;
    }
    let (starts, rounds, changes) = (number("--starts", 3), number("--rounds", 3), number("--changes", 20));
    // A new thread runs where the one runs that starts it.
    std::thread::spawn(move || answers(starts, rounds)).join().unwrap();
    if changes > 0 {
        change::compare(changes);
    }
}

fn answers(starts: usize, rounds: usize) {
    if starts * rounds == 0 {
        return;
    }
    pin(Pid::from_raw(0), CLIENT_CORE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "{:<12} {:<9} {:>7} {:>7} {:>9} {:>7} {:>8} {:>8} {:>6} {:>7} {:>6}",
        "names",
        "server",
        "k/s",
        "ours/it",
        "us CPU",
        "it/ours",
        "p50 us",
        "p99 us",
        "B/name",
        "s load",
        "lost"
    );
    for names in [1_000, 100_000] {
        let unsigned = [("plain", Load::plain(names)), ("mixed", Load::mixed(names))];
        let signed = [("signed", Load::plain(names).signed())];
        for (is_signed, loads) in [(Signed::No, &unsigned[..]), (Signed::Yes, &signed)] {
            let mut all: Vec<_> = loads.iter().map(|_| Comparison::default()).collect();
            for _ in 0..starts {
                let folder = tempfile::tempdir().unwrap();
                let servers = runtime.block_on(start(folder.path(), names, is_signed));
                for ((_, load), comparison) in loads.iter().zip(&mut all) {
                    comparison.go_on(&servers, load, rounds);
                }
            }
            for ((label, _), comparison) in loads.iter().zip(&all) {
                comparison.print(names, label);
            }
        }
    }
}

/// What stands behind a flag.
fn argument(flag: &str) -> Option<String> {
    let words: Vec<_> = std::env::args().collect();
    words.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1].clone())
}

fn number(flag: &str, default: usize) -> usize {
    argument(flag).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{flag} N")))
}
