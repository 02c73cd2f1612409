//! From what a configuration names to an address that may be dialled. Upstream: `webhookutil.ServiceResolver`,
//! `util/proxy.ResolveEndpoint`, `proxyutil.IsProxyableIP`.

use std::net::{IpAddr, SocketAddr};

/// Where a Service is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Address(SocketAddr),
    /// Of an `ExternalName`: looked up when it is dialled, once.
    Name(String, u16),
}

/// Why a Service cannot be reached, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("service \"{0}\" not found")]
    NotFound(String),
    #[error("no service port {port} found for service \"{service}\"")]
    NoPort { service: String, port: u16 },
    #[error("no endpoints available for service \"{0}\"")]
    NoEndpoints(String),
    #[error("unsupported service type \"{0}\"")]
    Unsupported(String),
}

/// Finds Services. Answers from memory, at once, as the cluster is now.
pub trait ResolveService: Send + Sync {
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<Place, ResolveError>;
}

/// Which addresses may be dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressRule {
    /// All: for what only administrators configure.
    #[default]
    Any,
    /// Not the server's own, nor those that only mean something on its link: for what users name.
    Proxyable,
}

impl AddressRule {
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Proxyable => is_proxyable(address),
        }
    }
}

/// Whether the proxy may dial it: no loopback, link-local, multicast or unspecified address, in whatever spelling.
pub fn is_proxyable(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_server_reaches_is_not_for_users() {
        for address in [
            "127.0.0.1",
            "127.8.0.1",
            "::1",
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(!AddressRule::Proxyable.allows(address.parse().unwrap()), "{address}");
            assert!(AddressRule::Any.allows(address.parse().unwrap()));
        }
        for address in ["10.0.0.1", "192.0.2.7", "fd00::1", "2001:db8::1"] {
            assert!(AddressRule::Proxyable.allows(address.parse().unwrap()), "{address}");
        }
    }
}
