//! What resources the server has, asked in one request per API root. Upstream: client-go `discovery`,
//! aggregated discovery v2.

use http::{Request, header::ACCEPT};
use kube::{Client, core::ApiResource};
use serde::Deserialize;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;q=0.9";

/// One resource, in the version to be used.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

/// What the server has, and which group versions could not be asked.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    pub(crate) served: Vec<Served>,
    pub(crate) failed: Vec<String>,
}

#[derive(Deserialize)]
struct GroupList {
    kind: Option<String>,
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: GroupMeta,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
struct GroupMeta {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Resource>,
    freshness: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    #[serde(default)]
    response_kind: Option<Kind>,
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

impl Served {
    pub(crate) fn supports(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

/// Every resource in the version its group prefers; one that only another version has, in that.
pub(crate) async fn discover(client: &Client) -> Result<Resources, kube::Error> {
    let mut resources = Resources::default();
    for root in ["/api", "/apis"] {
        let request = Request::get(root).header(ACCEPT, AGGREGATED).body(Vec::new());
        let request = request.map_err(|error| kube::Error::Service(error.into()))?;
        let list: GroupList = client.request(request).await?;
        if list.kind.as_deref() != Some("APIGroupDiscoveryList") {
            return one_by_one(client).await;
        }
        list.items.into_iter().for_each(|group| resources.add(group));
    }
    Ok(resources)
}

/// From a server that cannot tell all at once.
async fn one_by_one(client: &Client) -> Result<Resources, kube::Error> {
    let discovery = kube::Discovery::new(client.clone()).run().await?;
    let mut resources = Resources::default();
    for group in discovery.groups() {
        for (resource, capabilities) in group.resources_by_stability() {
            resources.served.push(Served {
                resource,
                namespaced: capabilities.scope == kube::discovery::Scope::Namespaced,
                verbs: capabilities.operations,
            });
        }
    }
    Ok(resources)
}

impl Resources {
    /// Versions come in the server's order of preference, so the first to have a resource is the one to use.
    fn add(&mut self, group: Group) {
        let name = group.metadata.name;
        let first = self.served.len();
        for version in group.versions {
            if version.freshness.as_deref() == Some("Stale") {
                self.failed.push(apimachinery::key::join_api_version(&name, &version.version));
            }
            for resource in version.resources {
                let known = self.served[first..].iter().any(|known| known.resource.plural == resource.resource);
                if known {
                    continue;
                }
                self.served.push(Served {
                    namespaced: resource.scope == "Namespaced",
                    verbs: resource.verbs,
                    resource: ApiResource {
                        api_version: apimachinery::key::join_api_version(&name, &version.version),
                        group: name.clone(),
                        version: version.version.clone(),
                        kind: resource.response_kind.map(|kind| kind.kind).unwrap_or_default(),
                        plural: resource.resource,
                    },
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_preferred_version_wins_and_others_fill_in() {
        let resource = |name: &str| json!({"resource": name, "scope": "Namespaced", "verbs": ["list"], "responseKind": {"kind": "K"}});
        let group = serde_json::from_value(json!({"metadata": {"name": "g"}, "versions": [
            {"version": "v1", "resources": [resource("as")]},
            {"version": "v1beta1", "resources": [resource("as"), resource("bs")], "freshness": "Stale"},
        ]}))
        .unwrap();
        let mut resources = Resources::default();
        resources.add(group);
        let names: Vec<_> = resources
            .served
            .iter()
            .map(|one| format!("{}/{}", one.resource.api_version, one.resource.plural))
            .collect();
        assert_eq!(names, ["g/v1/as", "g/v1beta1/bs"]);
        assert_eq!(resources.failed, ["g/v1beta1"]);
        assert!(resources.served[0].supports("list") && !resources.served[0].supports("delete"));
    }
}
