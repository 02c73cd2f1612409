//! From a path to the extension server behind it. Read from the store when it has changed. Upstream: `handler_proxy.go`.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use outbound::{Client, Protocols, ResolveService, ServiceReference, Settings, Trust};
use serde_json::Value;
use store::{Resource, Revision};

use super::{Aggregation, Documents};

/// A group in a version, and who serves it.
pub(crate) struct Remote {
    /// Of the API service: `v1beta1.metrics.k8s.io`.
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) service: ServiceReference,
    /// What the availability check has last found.
    pub(crate) is_available: bool,
    pub(crate) group_priority: i64,
    pub(crate) version_priority: i64,
    /// Why it cannot be called, where the configuration itself is wrong.
    pub(crate) client: Result<Client, String>,
    /// The group's resources as the server last listed them (`APIResourceList`).
    pub(crate) resources: Arc<ArcSwapOption<Bytes>>,
    /// Its OpenAPI, asked for whenever it has become available.
    pub(crate) documents: Arc<ArcSwapOption<Documents>>,
    trust: Trust,
}

pub(super) struct Routes {
    resource: Resource,
    aggregation: Option<Aggregation>,
    known: ArcSwapOption<Known>,
}

struct Known {
    changed: Revision,
    remotes: Arc<[Arc<Remote>]>,
}

impl Remote {
    /// Where the server says what it has: what it is asked to see whether it is there.
    pub(crate) fn discovery_path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
}

impl Routes {
    pub(super) fn new(resource: Resource, aggregation: Option<Aggregation>) -> Self {
        Self { resource, aggregation, known: ArcSwapOption::empty() }
    }

    pub(super) fn all(&self) -> Arc<[Arc<Remote>]> {
        let changed = self.resource.changed();
        let known = self.known.load();
        match known.as_deref() {
            Some(known) if known.changed == changed => Arc::clone(&known.remotes),
            before => self.read(before.map(|known| &*known.remotes).unwrap_or_default()),
        }
    }

    pub(super) fn changed(&self) -> Revision {
        self.resource.changed()
    }

    pub(super) fn resolver(&self) -> Option<&Arc<dyn ResolveService>> {
        self.aggregation.as_ref().map(|aggregation| aggregation.outbound.resolver())
    }

    pub(super) fn route(&self, path: &str) -> Option<Arc<Remote>> {
        let remotes = self.all();
        if remotes.is_empty() {
            return None;
        }
        let mut segments = path.trim_start_matches('/').split('/').peekable();
        // Its OpenAPI, where it told that it has one.
        let is_openapi = segments.next_if_eq(&"openapi").is_some();
        if is_openapi && segments.next() != Some("v3") {
            return None;
        }
        let (group, version) = match segments.next()? {
            "apis" => (segments.next()?, segments.next()?),
            "api" => ("", segments.next()?),
            _ => return None,
        };
        let remote = remotes.iter().find(|remote| remote.group == group && remote.version == version)?;
        let describes = || {
            let known = remote.documents.load();
            known.as_ref().is_some_and(|documents| documents.v3.is_some() && documents.made.is_none())
        };
        (!is_openapi || describes()).then(|| Arc::clone(remote))
    }

    fn read(&self, before: &[Arc<Remote>]) -> Arc<[Arc<Remote>]> {
        // Read before the snapshot, so that what changes in between is read again.
        let changed = self.resource.changed();
        let snapshot = self.resource.snapshot();
        let objects = snapshot.iter().filter_map(|entry| serde_json::from_slice::<Value>(entry.bytes()).ok());
        let mut remotes: Vec<Arc<Remote>> =
            objects.filter_map(|object| self.remote(&object, before).map(Arc::new)).collect();
        remotes.sort_by_key(|remote| (-remote.group_priority, remote.group.clone(), -remote.version_priority));
        let remotes: Arc<[Arc<Remote>]> = remotes.into();
        self.known.store(Some(Arc::new(Known { changed, remotes: Arc::clone(&remotes) })));
        remotes
    }

    /// None: this server serves it itself.
    fn remote(&self, object: &Value, before: &[Arc<Remote>]) -> Option<Remote> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let spec = &object["spec"];
        if !spec["service"].is_object() {
            return None;
        }
        let service = ServiceReference {
            namespace: text(&spec["service"]["namespace"]),
            name: text(&spec["service"]["name"]),
            port: spec["service"]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
            path: String::new(),
        };
        let trust = if spec["insecureSkipTLSVerify"] == true {
            Trust::Anybody
        } else {
            Trust::bundle(&BASE64_STANDARD.decode(text(&spec["caBundle"])).unwrap_or_default())
        };
        let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let name = text(&object["metadata"]["name"]);
        let known = before.iter().find(|known| known.name == name);
        let same = known.filter(|known| known.service == service && known.trust == trust);
        // Connections outlive a change of status.
        let client = match same {
            Some(known) => known.client.clone(),
            None => self.client(service.clone(), trust.clone()),
        };
        Some(Remote {
            name,
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            service,
            is_available: conditions.any(|condition| condition["type"] == "Available" && condition["status"] == "True"),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            version_priority: spec["versionPriority"].as_i64().unwrap_or_default(),
            client,
            documents: known.map(|known| Arc::clone(&known.documents)).unwrap_or_default(),
            resources: known.map(|known| Arc::clone(&known.resources)).unwrap_or_default(),
            trust,
        })
    }

    fn client(&self, service: ServiceReference, trust: Trust) -> Result<Client, String> {
        let Some(aggregation) = &self.aggregation else {
            return Err("this API server does not call extension servers".to_owned());
        };
        let settings = Settings {
            trust,
            protocols: Protocols::Http1AndHttp2,
            credentials: aggregation.credentials.clone(),
            ..Settings::default()
        };
        aggregation.outbound.service(service, settings).map_err(|error| error.to_string())
    }
}
