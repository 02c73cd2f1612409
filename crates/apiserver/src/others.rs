//! API groups that other servers serve: merged into what this one tells of itself.
//!
//! The seam for aggregation (`APIService`); requests to such groups are routed before they reach this server's kinds.
//! Upstream counterpart: `kube-aggregator/pkg/apiserver/handler_discovery.go`, `pkg/controllers/openapi{,v3}`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// Whoever knows of other servers. Asked when documents are made; it must answer from memory.
pub trait OtherServers: Send + Sync {
    /// Grows whenever `groups` or `documents` would answer otherwise.
    fn generation(&self) -> u64;

    /// The versions of all groups, in any order.
    fn groups(&self) -> Vec<OtherVersion>;

    /// Their OpenAPI documents.
    fn documents(&self) -> Vec<OtherDocument>;
}

/// One version of a group.
#[derive(Clone, Debug)]
pub struct OtherVersion {
    pub group: String,
    pub version: String,
    /// `groupPriorityMinimum`: a group with a higher one comes first. Groups of this server come before all others.
    pub group_priority: i64,
    /// `versionPriority`: a version with a higher one comes first.
    pub version_priority: i64,
    /// Items of `APIVersionDiscovery.resources`, as the other server told them last.
    pub resources: Vec<Value>,
    /// Whether it could be asked the last time; otherwise its freshness is `Stale`.
    pub current: bool,
}

/// What another server says of itself in OpenAPI.
#[derive(Clone, Debug, Default)]
pub struct OtherDocument {
    /// A whole v2 document; paths and definitions that this server has already are left out.
    pub v2: Option<Arc<Value>>,
    /// Path of a v3 document below `/openapi/v3/` (`apis/GROUP/VERSION`), and the URL, with its hash, where it is.
    pub v3: Option<(String, String)>,
    /// That document, where this server has made it: the other one has only v2.
    pub made: Option<Bytes>,
}
