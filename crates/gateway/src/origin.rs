//! Where a request comes from, for conditions of policies.
//!
//! The connection says it, unless its other end is a proxy of the operator's: then what that wrote is believed,
//! and nothing that came before it, which anybody can write.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is known of who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The address from which it came.
    pub(crate) address: IpAddr,
    /// Whether it came by TLS. The listeners speak none themselves.
    pub(crate) is_secure: bool,
}

impl Origin {
    /// Of a request with `headers` that came on a connection from `peer`.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        let is_proxy = |address: &IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
        let peer = peer.to_canonical();
        if !is_proxy(&peer) {
            return Self { address: peer, is_secure: false };
        }
        // Each proxy adds to the end from whom it had the request.
        let mut address = peer;
        for written in values(headers, &FORWARDED_FOR).into_iter().rev().map_while(written_address) {
            address = written;
            if !is_proxy(&address) {
                break;
            }
        }
        let protocol = values(headers, &FORWARDED_PROTO).pop();
        Self { address, is_secure: protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("https")) }
    }
}

/// What a header that is a list says, over all its lines.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default());
    lines.flat_map(|line| line.split(',')).map(str::trim).collect()
}

/// Some proxies write the port too.
fn written_address(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// One address, or a range of them (RFC 4632).
pub(crate) fn range(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
        let proxies = ["10.0.0.0/8", "192.0.2.1"].map(|text| range(text).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let Origin { address, is_secure } = Origin::of(peer.parse().unwrap(), &headers, &proxies);
        (address.to_string(), is_secure)
    }

    #[test]
    fn only_what_proxies_of_the_operators_write_is_believed() {
        let secure = ("x-forwarded-proto", "https");
        let from = |text| ("x-forwarded-for", text);
        let named = |address: &str, is_secure| (address.to_owned(), is_secure);
        for (peer, lines, expected) in [
            ("198.51.100.9", vec![from("203.0.113.1"), secure], named("198.51.100.9", false)),
            ("::ffff:198.51.100.9", vec![], named("198.51.100.9", false)),
            ("192.0.2.1", vec![from("203.0.113.1"), secure], named("203.0.113.1", true)),
            ("::ffff:10.1.2.3", vec![from("203.0.113.1:4711")], named("203.0.113.1", false)),
            // Whoever is in front of the proxies may have written anything before them.
            ("10.0.0.1", vec![from("127.0.0.1, 203.0.113.1, 10.0.0.2"), secure], named("203.0.113.1", true)),
            ("10.0.0.1", vec![from("127.0.0.1"), from("203.0.113.1")], named("203.0.113.1", false)),
            ("10.0.0.1", vec![from("127.0.0.1, nonsense, 10.0.0.2")], named("10.0.0.2", false)),
            ("10.0.0.1", vec![("x-forwarded-proto", "https, http")], named("10.0.0.1", false)),
            ("10.0.0.1", vec![from("[2001:db8::1]:443")], named("2001:db8::1", false)),
        ] {
            assert_eq!(origin(peer, &lines), expected, "{peer} {lines:?}");
        }
    }
}
