//! Runs seeds.
fn main() -> anyhow::Result<()> {
    let seed: u64 = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let ending = simulation::run::run(seed, &Default::default(), std::env::args().nth(2).is_some())?;
    println!("{}", serde_json::to_string_pretty(&ending)?);
    Ok(())
}
