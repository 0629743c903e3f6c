//! Randomness: the operating system's, or a simulation's from its seed.

/// Fills `bytes` at random. Good enough for keys in production.
///
/// # Errors
/// The operating system gives no random bytes.
pub fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    if let Some(world) = crate::simulated() {
        world.fill(bytes);
        return Ok(());
    }
    getrandom::fill(bytes)
}

/// A random number.
///
/// # Errors
/// As [`fill`].
pub fn number() -> Result<u64, getrandom::Error> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
