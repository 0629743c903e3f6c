//! A few cuts in every run; `cargo run --release -p power-cut` makes as many as one likes.

use power_cut::mount::{FileSystem, lacking};
use power_cut::round::{self, Fault};

/// True when power can be cut here; where it cannot that is said, and in CI it is a failure.
fn is_possible() -> bool {
    let Some(why) = lacking() else { return true };
    eprintln!("!!!! SKIPPED: power cuts: {why}");
    assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI: {why}");
    false
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    if is_possible() {
        let outcome = round::run(1, 60, FileSystem::Ext4, Fault::None).unwrap();
        assert_eq!(outcome.wrong, [] as [String; 0]);
        assert!(outcome.open > 0, "some writes were left to chance");
    }
}

#[test]
fn a_write_that_failed_once_is_never_acknowledged_nor_built_upon() {
    if is_possible() {
        for seed in 1..=4 {
            let outcome = round::run(seed, 12, FileSystem::Ext4, Fault::OneWriteFails).unwrap();
            assert_eq!(outcome.wrong, [] as [String; 0], "seed {seed}");
        }
    }
}
