//! Where an object is kept in a store that others read: the keys of etcd, the same as upstream's, which are also what
//! an encrypted value is bound to.
//!
//! Upstream counterpart: `pkg/kubeapiserver/default_storage_factory_builder.go` (`specialDefaultResourcePrefixes`) and
//! `genericregistry.NamespaceKeyFunc`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Between the store's names (`deployments.apps`, `default/web`) and keys (`/registry/deployments/default/web`).
#[derive(Debug)]
pub struct Layout {
    /// Without a slash at its end.
    prefix: String,
    directories: HashMap<Arc<str>, String>,
    resources: HashMap<String, Arc<str>>,
    /// Names of resources that came later, kept once each.
    others: Mutex<HashMap<String, Arc<str>>>,
}

/// Kinds whose directory is not their name.
const SPECIAL: [(&str, &str); 8] = [
    ("replicationcontrollers", "controllers"),
    ("endpoints", "services/endpoints"),
    ("services", "services/specs"),
    ("nodes", "minions"),
    ("ingresses.networking.k8s.io", "ingress"),
    ("masterleases", "masterleases"),
    // Of this program alone: which Service has a node port.
    ("tiphysnodeports", "tiphysnodeports"),
    // And with what key its servers encrypt, where they have made one for themselves.
    ("tiphyskeys", "tiphyskeys"),
];

/// Groups that servers behind the API server bring with them: their kinds are kept below the group's name.
const SERVED_APART: [&str; 2] = ["apiextensions.k8s.io", "apiregistration.k8s.io"];

// === impl Layout ===

impl Layout {
    /// Upstream's default of `--etcd-prefix`.
    pub const DEFAULT_PREFIX: &str = "/registry";

    /// `builtin` are the resources that are no custom ones, by the store's name.
    #[must_use]
    pub fn new(prefix: &str, builtin: impl IntoIterator<Item = String>) -> Layout {
        let prefix = format!("/{}", prefix.trim_matches('/'));
        let (mut directories, mut resources) = (HashMap::new(), HashMap::new());
        let special = SPECIAL.iter().map(|(name, _)| (*name).to_owned());
        for name in special.chain(builtin) {
            let (plural, group) = name.split_once('.').unwrap_or((&name, ""));
            let directory = match SPECIAL.iter().find(|(special, _)| *special == name) {
                Some((_, directory)) => (*directory).to_owned(),
                None if SERVED_APART.contains(&group) => format!("{group}/{plural}"),
                None => plural.to_owned(),
            };
            let resource: Arc<str> = Arc::from(name);
            // Two groups with a kind of the same name: the first one has the short directory.
            if !resources.contains_key(&directory) {
                resources.insert(directory.clone(), Arc::clone(&resource));
                directories.insert(resource, directory);
            }
        }
        Layout { prefix, directories, resources, others: Mutex::default() }
    }

    /// What every key begins with: the prefix and a slash.
    #[must_use]
    pub fn root(&self) -> String {
        format!("{}/", self.prefix)
    }

    #[must_use]
    pub fn key(&self, resource: &str, path: &str) -> String {
        match (self.directories.get(resource), resource.split_once('.')) {
            (Some(directory), _) => format!("{}/{directory}/{path}", self.prefix),
            (None, Some((plural, group))) => format!("{}/{group}/{plural}/{path}", self.prefix),
            (None, None) => format!("{}/{resource}/{path}", self.prefix),
        }
    }

    /// The resource and path of a key. `None` for one that is not an object of the API.
    #[must_use]
    pub fn parse<'k>(&self, key: &'k str) -> Option<(Arc<str>, &'k str)> {
        let rest = key.strip_prefix(&*self.prefix)?.strip_prefix('/')?;
        let (first, rest) = rest.split_once('/')?;
        if let Some(resource) = self.resources.get(first) {
            return path(rest).map(|path| (Arc::clone(resource), path));
        }
        let (second, rest) = rest.split_once('/')?;
        let directory = format!("{first}/{second}");
        if let Some(resource) = self.resources.get(&directory) {
            return path(rest).map(|path| (Arc::clone(resource), path));
        }
        // Of a custom resource: only groups have dots.
        if !first.contains('.') {
            return None;
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let resource = others.entry(directory).or_insert_with(|| Arc::from(format!("{second}.{first}")));
        path(rest).map(|path| (Arc::clone(resource), path))
    }
}

/// `name` or `namespace/name`.
fn path(path: &str) -> Option<&str> {
    let mut segments = path.split('/');
    let sound = segments.by_ref().take(2).all(|segment| !segment.is_empty());
    (sound && segments.next().is_none()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_upstream() {
        let builtin = ["pods", "services", "endpoints", "nodes", "deployments.apps", "ingresses.networking.k8s.io"];
        let apart = ["customresourcedefinitions.apiextensions.k8s.io", "apiservices.apiregistration.k8s.io"];
        let layout = Layout::new("registry/", builtin.into_iter().chain(apart).map(str::to_owned));
        for (resource, path, key) in [
            ("pods", "default/web", "/registry/pods/default/web"),
            ("deployments.apps", "default/web", "/registry/deployments/default/web"),
            ("services", "default/kubernetes", "/registry/services/specs/default/kubernetes"),
            ("endpoints", "default/kubernetes", "/registry/services/endpoints/default/kubernetes"),
            ("nodes", "a", "/registry/minions/a"),
            ("ingresses.networking.k8s.io", "x/y", "/registry/ingress/x/y"),
            (
                "customresourcedefinitions.apiextensions.k8s.io",
                "a.b",
                "/registry/apiextensions.k8s.io/customresourcedefinitions/a.b",
            ),
            ("apiservices.apiregistration.k8s.io", "v1.", "/registry/apiregistration.k8s.io/apiservices/v1."),
            ("widgets.example.com", "ns/w", "/registry/example.com/widgets/ns/w"),
            ("masterleases", "10.0.0.1", "/registry/masterleases/10.0.0.1"),
        ] {
            assert_eq!(layout.key(resource, path), key);
            assert_eq!(layout.parse(key), Some((Arc::from(resource), path)));
        }
        for key in [
            "/registry/pods/",
            "/registry/pods",
            "/registry/ranges/serviceips",
            "/other/pods/a/b",
            "/registry/pods/a/b/c",
            "compact_rev_key",
        ] {
            assert_eq!(layout.parse(key), None, "{key}");
        }
    }
}
