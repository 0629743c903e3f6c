//! A sample of seeds of both layers in each run of the tests. `SWITCHBACK_SEEDS` runs another number of
//! the services', and `SWITCHBACK_FIRST_SEED` begins elsewhere.

use std::process::Command;

/// Each takes some seconds in a debug build, and is run twice. `tests/run` runs more.
const SEEDS: &str = "4";

/// Of the cores, of which a second sees several.
const SEEDS_OF_CORES: &str = "50";

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

fn breaks_nothing_and_repeats(layer: &str, seeds: &str) {
    let run = Command::new(env!("CARGO_BIN_EXE_simulation"))
        .args(["--layer", layer, "--twice", "--seeds", seeds])
        .args(["--first", &setting("SWITCHBACK_FIRST_SEED", "1")])
        .output()
        .expect("the simulation is built");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("each in two processes with one trace: 0 broken"), "{said}");
}

#[test]
fn a_sample_of_seeds_breaks_nothing_and_each_repeats_event_by_event() {
    breaks_nothing_and_repeats("services", &setting("SWITCHBACK_SEEDS", SEEDS));
}

#[test]
fn a_sample_of_seeds_of_the_cores_breaks_nothing_and_each_repeats_event_by_event() {
    breaks_nothing_and_repeats("cores", SEEDS_OF_CORES);
}
