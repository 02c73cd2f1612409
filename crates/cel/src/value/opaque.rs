//! Values that only functions look into: quantities, addresses, versions, URLs, authorization checks.
//!
//! Upstream counterparts: `k8s.io/apiserver/pkg/cel/{quantity,url,ip,cidr,semver,format}.go` and `library/authz.go`.

use std::{fmt, net::IpAddr};

use apimachinery::Quantity;

use crate::{
    functions::{format::Format, semver::Semver, url::Url},
    types::Type,
};

#[derive(Clone, Debug)]
pub enum Opaque<'a> {
    Quantity(Quantity),
    Url(Url),
    Ip(IpAddr),
    Cidr(Cidr),
    Format(&'static Format),
    Semver(Semver),
    Authorizer(AuthorizerRef<'a>),
    PathCheck(AuthorizerRef<'a>, String),
    GroupCheck(AuthorizerRef<'a>, String),
    ResourceCheck(AuthorizerRef<'a>, ResourceCheck),
    Decision(Checked),
}

/// An address and how many of its bits are the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub bits: u8,
}

/// Answers `authorizer` checks of expressions. It must answer at once: evaluation does not wait.
pub trait Authorizer: Sync {
    /// `service_account` (namespace, name): the identity to ask for instead of the request's.
    fn check_path(&self, service_account: Option<(&str, &str)>, check: &PathCheck<'_>) -> Checked;

    fn check_resource(&self, service_account: Option<(&str, &str)>, check: &ResourceCheck, verb: &str) -> Checked;
}

/// A question about a path that is no resource.
#[derive(Clone, Copy, Debug)]
pub struct PathCheck<'c> {
    pub path: &'c str,
    pub verb: &'c str,
}

/// A question about a resource; what is `""` was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceCheck {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// Whom to ask, and for whom.
#[derive(Clone)]
pub struct AuthorizerRef<'a> {
    pub(crate) authorizer: &'a (dyn Authorizer + 'a),
    pub(crate) service_account: Option<(String, String)>,
}

impl<'a> AuthorizerRef<'a> {
    pub(crate) fn account(&self) -> Option<(&str, &str)> {
        self.service_account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()))
    }
}

impl fmt::Debug for AuthorizerRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizerRef").field("service_account", &self.service_account).finish_non_exhaustive()
    }
}

impl<'a> Opaque<'a> {
    /// The variable `authorizer`.
    pub fn authorizer(authorizer: &'a (dyn Authorizer + 'a)) -> Self {
        Self::Authorizer(AuthorizerRef { authorizer, service_account: None })
    }

    /// The variable `authorizer.requestResource`.
    pub fn request_resource(authorizer: &'a (dyn Authorizer + 'a), check: ResourceCheck) -> Self {
        Self::ResourceCheck(AuthorizerRef { authorizer, service_account: None }, check)
    }

    pub(crate) fn type_of(&self) -> Type {
        match self {
            Self::Ip(_) | Self::Cidr(_) => Type::opaque(self.type_name()),
            _ => Type::named(self.type_name()),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::PathCheck(..) => "kubernetes.authorization.PathCheck",
            Self::GroupCheck(..) => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck(..) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Self::Ip(address) => address_size(address),
            Self::Cidr(cidr) => u64::from(cidr.bits).div_ceil(8),
            _ => 1,
        }
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::Semver(a), Self::Semver(b)) => a == b,
            (Self::ResourceCheck(_, a), Self::ResourceCheck(_, b)) => a == b,
            (Self::Decision(a), Self::Decision(b)) => a == b,
            _ => false,
        }
    }
}

fn address_size(address: &IpAddr) -> u64 {
    match address {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 16,
    }
}

impl fmt::Display for Opaque<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(quantity) => write!(f, "{quantity}"),
            Self::Url(url) => f.write_str(&url.text),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Cidr(cidr) => write!(f, "{}/{}", cidr.address, cidr.bits),
            Self::Format(format) => f.write_str(format.name),
            Self::Semver(version) => write!(f, "{version}"),
            other => f.write_str(other.type_name()),
        }
    }
}
