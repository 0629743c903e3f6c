//! Randomness: identifiers only, from the operating system (or a simulation).

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    switchback_world::random::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A random number other than zero, which stands for "none" wherever these are stored.
pub(crate) fn number() -> u64 {
    u64::from_be_bytes(bytes()).max(1)
}
