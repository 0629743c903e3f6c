//! DNS cookies (RFC 7873): a client that shows what this server gave to its address is no forger.
//!
//! Server cookies are those of RFC 9018 section 4. Nothing is kept of them; the secret is this
//! process's own, and a client whose cookie is of an earlier one is given another.

use core::hash::Hasher;
use core::net::IpAddr;

use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq;

/// RFC 7873 section 4.
const CLIENT_BYTES: usize = 8;
/// RFC 9018 section 4.
const SERVER_BYTES: usize = 16;
const HASH_BYTES: usize = 8;
const VERSION: u8 = 1;
/// RFC 9018 section 4.3: older ones are not taken, seconds.
const AGE_MAX: u32 = 3600;
/// RFC 9018 section 4.3: nor those from so far ahead.
const AHEAD_MAX: u32 = 300;

/// What a client shows of cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    client: [u8; CLIENT_BYTES],
    /// What it has of this server; empty for nothing.
    server: &'a [u8],
}

/// The option's value in an answer: the client's cookie and this server's.
pub type Given = [u8; CLIENT_BYTES + SERVER_BYTES];

impl<'a> Shown<'a> {
    /// The value of a COOKIE option; `None` when it is malformed (RFC 7873 section 5.2.2).
    #[must_use]
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let (client, server) = value.split_first_chunk()?;
        (server.is_empty() || (8..=32).contains(&server.len())).then_some(Self { client: *client, server })
    }
}

/// What this server's cookies are made with.
#[derive(Clone)]
pub struct Secret([u8; 16]);

impl Secret {
    /// From random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Whether `shown` has a cookie that this server gave to `client`, and the cookies to answer with.
    #[must_use]
    pub fn judge(&self, shown: Shown<'_>, client: IpAddr, now_seconds: u32) -> (bool, Given) {
        let is_ours = <&[u8; SERVER_BYTES]>::try_from(shown.server).is_ok_and(|cookie| {
            let &[VERSION, _, _, _, a, b, c, d, ref hash @ ..] = cookie else { return false };
            let age = now_seconds.wrapping_sub(u32::from_be_bytes([a, b, c, d]));
            let in_time = age <= AGE_MAX || age.wrapping_neg() <= AHEAD_MAX;
            let mut head = [0; SERVER_BYTES - HASH_BYTES];
            head.copy_from_slice(&cookie[..SERVER_BYTES - HASH_BYTES]);
            in_time && bool::from(self.hash(shown.client, head, client).ct_eq(hash))
        });
        let [a, b, c, d] = now_seconds.to_be_bytes();
        let head = [VERSION, 0, 0, 0, a, b, c, d];
        let mut given = [0; CLIENT_BYTES + SERVER_BYTES];
        given[..8].copy_from_slice(&shown.client);
        given[8..16].copy_from_slice(&head);
        given[16..].copy_from_slice(&self.hash(shown.client, head, client));
        (is_ours, given)
    }

    fn hash(&self, client: [u8; CLIENT_BYTES], head: [u8; 8], address: IpAddr) -> [u8; HASH_BYTES] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&client);
        hasher.write(&head);
        match address.to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        hasher.finish().to_le_bytes()
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        core::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    /// RFC 9018 appendix A.1 to A.4.
    #[test]
    fn the_examples_of_the_rfc() {
        let secret = Secret::new(bytes("e5e973e5a6b2a43f48e7dc849e37bfcf"));
        let client: IpAddr = "198.51.100.100".parse().unwrap();
        let mine: [u8; 8] = bytes("2464c4abcf10c957");
        let (is_ours, given) = secret.judge(Shown::read(&mine).unwrap(), client, 1_559_731_985);
        assert!(!is_ours);
        assert_eq!(given, bytes("2464c4abcf10c957010000005cf79f111f8130c3eee29480"));
        // A second client, whose cookie is fifteen minutes old.
        let client: IpAddr = "203.0.113.203".parse().unwrap();
        let old: Given = bytes("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let (is_ours, _) = secret.judge(Shown::read(&old).unwrap(), client, 1_559_727_985 + 900);
        assert!(is_ours);
        // An IPv6 client, before and after the secret is another.
        let client: IpAddr = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let old: Given = bytes("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let secret = Secret::new(bytes("dd3bdf9344b678b185a6f5cb60fca715"));
        assert!(secret.judge(Shown::read(&old).unwrap(), client, 1_559_741_961).0);
        let secret = Secret::new(bytes("445536bcd2513298075a5d379663c962"));
        let (_, given) =
            secret.judge(Shown::read(&bytes::<8>("22681ab97d52c298")).unwrap(), client, 1_559_741_961);
        assert_eq!(given, bytes("22681ab97d52c298010000005cf7c609a6bb79d16625507a"));
    }

    #[test]
    fn a_cookie_is_for_one_address_one_client_and_one_hour() {
        let secret = Secret::new([7; 16]);
        let [client, other]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let (_, given) = secret.judge(Shown::read(&[1; 8]).unwrap(), client, 10_000);
        let judged = |given: &Given, client, now| secret.judge(Shown::read(given).unwrap(), client, now).0;
        assert!(
            judged(&given, client, 10_000) && judged(&given, client, 13_600) && judged(&given, client, 9_700)
        );
        assert!(!judged(&given, client, 13_601) && !judged(&given, client, 9_699));
        assert!(!judged(&given, other, 10_000));
        for at in 0..given.len() {
            let mut bent = given;
            bent[at] ^= 1;
            assert!(!judged(&bent, client, 10_000), "byte {at}");
        }
        assert!(!Secret::new([8; 16]).judge(Shown::read(&given).unwrap(), client, 10_000).0);
    }

    #[test]
    fn what_is_no_cookie_is_refused() {
        for length in 0..50 {
            let value = [0; 50];
            let is_one = length == 8 || (16..=40).contains(&length);
            assert_eq!(Shown::read(&value[..length]).is_some(), is_one, "{length}");
        }
    }
}
