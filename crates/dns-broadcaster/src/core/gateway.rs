//! What names lead to: addresses, or an alias of a name that somebody else keeps; and how HTTPS is spoken
//! there.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::name::Name;
use super::record::{Kind, Rdata, Set};

/// A system's gateway, as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// In order and once each.
    pub addresses: Vec<IpAddr>,
    /// A host name that somebody else keeps, such as a load balancer's.
    pub host: Option<Name>,
    /// How it is reached by HTTPS.
    pub https: Option<Https>,
}

/// What an HTTPS record says of a service (RFC 9460).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Https {
    /// The port.
    pub port: u16,
    /// Protocols beside HTTP/1.1, as ALPN names them; none is longer than 255 bytes.
    pub alpn: Vec<String>,
}

/// RFC 9460 section 9: the port of a record that names none.
const PORT: u16 = 443;

impl Gateway {
    /// One that is known by its addresses alone.
    #[must_use]
    pub fn at(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, host: None, https: None }
    }

    /// Whether names would lead nowhere.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        self.addresses.is_empty() && self.host.is_none()
    }

    /// What stands at a name that leads there and says nothing else.
    pub(super) fn sets(&self, ttl: u32) -> Vec<Set> {
        match &self.host {
            Some(host) => [Set::new(Kind::CNAME, ttl, [Rdata::name(host)])].into(),
            None => self.sets_beside(ttl),
        }
    }

    /// What stands at a name that says other things too, as where a zone begins: an alias would have to be
    /// alone (RFC 1034 section 3.6.2). There the addresses lead on, and for who asks for HTTPS so does the
    /// host (RFC 9460 section 2.4.2).
    pub(super) fn sets_beside(&self, ttl: u32) -> Vec<Set> {
        let mut sets = address_sets(&self.addresses, ttl);
        let https = match (&self.https, &self.host) {
            (None, None) => return sets,
            (None, Some(host)) => Rdata::https(0, Some(host), &[]),
            (Some(https), host) => Rdata::https(1, host.as_ref(), &https.parameters()),
        };
        sets.push(Set::new(Kind::HTTPS, ttl, [https]));
        sets
    }
}

impl Https {
    /// SvcParams, by their keys (RFC 9460 section 2.2).
    fn parameters(&self) -> Vec<(u16, Vec<u8>)> {
        const ALPN_KEY: u16 = 1;
        const PORT_KEY: u16 = 3;
        let mut parameters = Vec::new();
        if !self.alpn.is_empty() {
            let protocol = |name: &String| [&[name.len() as u8], name.as_bytes()].concat();
            parameters.push((ALPN_KEY, self.alpn.iter().flat_map(protocol).collect()));
        }
        if self.port != PORT {
            parameters.push((PORT_KEY, self.port.to_be_bytes().into()));
        }
        parameters
    }
}

pub(super) fn address_sets(addresses: &[IpAddr], ttl: u32) -> Vec<Set> {
    let mut sets: BTreeMap<Kind, Vec<Rdata>> = BTreeMap::new();
    for &address in addresses {
        let (kind, data) = Rdata::address(address);
        sets.entry(kind).or_default().push(data);
    }
    sets.into_iter().map(|(kind, data)| Set::new(kind, ttl, data)).collect()
}
