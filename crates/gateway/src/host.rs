//! What the `Host` of a request means.
//!
//! `<tenant>.<domain>` is a tenant in path style, `<bucket>.<tenant>.<domain>` is one of its
//! buckets. The domain is this system's or that of a linked system, since names move here after a
//! failover. Any other host, and every IP address, is path style and names no tenant. The
//! signature covers the `Host` as the client sent it and is checked against that.

use std::sync::{Arc, RwLock};

use http::Request;
use http::header::HOST;
use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// What a host name says, relative to the domains known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// The tenant whose name it is, if it is one's.
    pub(crate) tenant: Option<String>,
    /// The bucket, in virtual-host style.
    pub(crate) bucket: Option<String>,
}

/// The domains whose names are served here: this system's first, then those of its peers.
#[derive(Clone, Debug)]
pub(crate) struct Domains(Arc<RwLock<Vec<String>>>);

impl Domains {
    pub(crate) fn new(own: &str) -> Self {
        Self(Arc::new(RwLock::new(vec![normal(own)])))
    }

    /// Replaces the peers' domains; this system's stays.
    pub(crate) fn set_peers<'a>(&self, peers: impl Iterator<Item = &'a str>) {
        let mut domains = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        domains.truncate(1);
        for peer in peers.map(normal).filter(|peer| !peer.is_empty()) {
            if !domains.contains(&peer) {
                domains.push(peer);
            }
        }
    }

    /// What `host`, which may end in a port, says.
    pub(crate) fn named(&self, host: &str) -> Named {
        let host = normal(without_port(host));
        let domains = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The longest match: one system's domain may lie beneath another's.
        let labels = domains
            .iter()
            .filter_map(|domain| Some((domain.len(), host.strip_suffix(domain.as_str())?.strip_suffix('.')?)))
            .max_by_key(|(length, _)| *length);
        if domains.contains(&host) {
            return Named::default();
        }
        match labels.map(|(_, labels)| labels.rsplit_once('.').ok_or(labels)) {
            None => Named::default(),
            Some(Err(tenant)) => Named { tenant: Some(tenant.into()), bucket: None },
            Some(Ok((bucket, tenant))) => Named { tenant: Some(tenant.into()), bucket: Some(bucket.into()) },
        }
    }
}

/// The host that a request is for: what HTTP/1.1 says in a header HTTP/2 may say in the address.
pub(crate) fn host_of<B>(request: &Request<B>) -> Option<&str> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    host.or_else(|| request.uri().host())
}

impl S3Host for Domains {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let plain = VirtualHost::new(host);
        Ok(match self.named(host).bucket {
            Some(bucket) => plain.with_bucket(bucket),
            None => plain,
        })
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str) -> (Option<String>, Option<String>) {
        let domains = Domains::new("east.example.com");
        domains.set_peers(["west.example.com", "West.example.com.", ""].into_iter());
        let Named { tenant, bucket } = domains.named(host);
        (tenant, bucket)
    }

    #[test]
    fn a_tenants_name_is_path_style_and_a_name_beneath_it_is_a_bucket() {
        assert_eq!(named("acme.east.example.com"), (Some("acme".into()), None));
        assert_eq!(named("acme.east.example.com:9000"), (Some("acme".into()), None));
        assert_eq!(named("photos.acme.east.example.com"), (Some("acme".into()), Some("photos".into())));
        assert_eq!(
            named("my.photos.Acme.EAST.example.com."),
            (Some("acme".into()), Some("my.photos".into()))
        );
    }

    #[test]
    fn a_name_of_the_peers_domain_is_served_after_a_failover() {
        assert_eq!(named("photos.acme.west.example.com"), (Some("acme".into()), Some("photos".into())));
    }

    #[test]
    fn any_other_host_is_path_style_and_names_no_tenant() {
        for host in [
            "127.0.0.1:9000",
            "[::1]:9000",
            "localhost",
            "east.example.com",
            "north.example.com",
            "feast.example.com",
        ] {
            assert_eq!(named(host), (None, None), "{host}");
        }
    }

    #[test]
    fn a_domain_beneath_another_is_its_own() {
        let domains = Domains::new("example.com");
        domains.set_peers(["west.example.com"].into_iter());
        assert_eq!(domains.named("acme.west.example.com").tenant.as_deref(), Some("acme"));
        assert_eq!(domains.named("west.example.com"), Named::default());
    }
}
