//! A sample of seeds in each run of the tests. `SWITCHBACK_SEEDS` runs another number of them, and
//! `SWITCHBACK_FIRST_SEED` begins elsewhere.

use std::process::Command;

/// Each takes some seconds in a debug build, and is run twice. `tests/run` runs more.
const SEEDS: &str = "4";

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

#[test]
fn a_sample_of_seeds_breaks_nothing_and_each_repeats_event_by_event() {
    let run = Command::new(env!("CARGO_BIN_EXE_simulation"))
        .args(["--twice", "--seeds", &setting("SWITCHBACK_SEEDS", SEEDS)])
        .args(["--first", &setting("SWITCHBACK_FIRST_SEED", "1")])
        .output()
        .expect("the simulation is built");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("each in two processes with one trace: 0 broken"), "{said}");
}
