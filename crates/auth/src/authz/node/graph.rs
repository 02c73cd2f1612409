//! The graph of references: from nodes over their pods to secrets, config maps, claims and service accounts; from
//! volumes over their claims to pods; attachments and slices directly. Upstream: `graph.go` of the Node authorizer.

use std::collections::{BTreeSet, HashMap, HashSet};

use api::core::v1::{PersistentVolume, Pod};

/// Namespace and name.
type Key = (String, String);

/// A thing that a node may reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Reference {
    resource: &'static str,
    namespace: String,
    name: String,
}

/// A volume that is bound to a claim.
struct Volume {
    claim: Reference,
    secrets: BTreeSet<Reference>,
}

#[derive(Default)]
pub(super) struct Graph {
    /// Node and references of each pod.
    pods: HashMap<Key, (String, BTreeSet<Reference>)>,
    /// How many pods of a node refer to a thing.
    referrers: HashMap<Reference, HashMap<String, usize>>,
    volumes: HashMap<String, Volume>,
    /// Which volumes need a secret.
    volumes_of_secret: HashMap<Reference, HashSet<String>>,
    /// Node of each thing that belongs to one directly: attachments, slices.
    owned: HashMap<Reference, String>,
}

impl Reference {
    pub(super) fn new(resource: &'static str, namespace: &str, name: &str) -> Self {
        Self { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl Graph {
    /// A pod as it is now; `None`: it is gone.
    pub(super) fn set_pod(&mut self, namespace: &str, name: &str, pod: Option<&Pod>) {
        let wanted = pod.and_then(|pod| Some((api::pod::node_name(pod)?.to_owned(), references(namespace, name, pod))));
        let key = (namespace.to_owned(), name.to_owned());
        if self.pods.get(&key) == wanted.as_ref() {
            return;
        }
        if let Some((node, references)) = self.pods.remove(&key) {
            for reference in references {
                self.release(&reference, &node);
            }
        }
        if let Some((node, references)) = wanted {
            for reference in &references {
                *self.referrers.entry(reference.clone()).or_default().entry(node.clone()).or_default() += 1;
            }
            self.pods.insert(key, (node, references));
        }
    }

    /// A volume as it is now. One that no claim is bound to gives nobody anything.
    pub(super) fn set_volume(&mut self, name: &str, volume: Option<&PersistentVolume>) {
        if let Some(old) = self.volumes.remove(name) {
            for secret in &old.secrets {
                if let Some(volumes) = self.volumes_of_secret.get_mut(secret) {
                    volumes.remove(name);
                    if volumes.is_empty() {
                        self.volumes_of_secret.remove(secret);
                    }
                }
            }
        }
        let claim = volume.and_then(|volume| volume.spec.as_ref()?.claim_ref.as_ref());
        let (Some(volume), Some(claim)) = (volume, claim) else { return };
        let namespace = claim.namespace.as_deref().unwrap_or_default();
        let secrets = volume_secrets(volume, namespace);
        for secret in &secrets {
            self.volumes_of_secret.entry(secret.clone()).or_default().insert(name.to_owned());
        }
        let claim = Reference::new("persistentvolumeclaims", namespace, claim.name.as_deref().unwrap_or_default());
        self.volumes.insert(name.to_owned(), Volume { claim, secrets });
    }

    /// The node that a thing belongs to; `None`: it belongs to none, or is gone.
    pub(super) fn set_owner(&mut self, reference: Reference, node: Option<&str>) {
        match node.filter(|node| !node.is_empty()) {
            Some(node) => self.owned.insert(reference, node.to_owned()),
            None => self.owned.remove(&reference),
        };
    }

    /// Whether there is a way from the thing to the node.
    pub(super) fn reaches(&self, node: &str, reference: &Reference) -> bool {
        self.is_referred_to(node, reference)
            || self.owned.get(reference).is_some_and(|owner| owner == node)
            || self.volumes_of_secret.get(reference).into_iter().flatten().any(|volume| self.mounts(node, volume))
            || (reference.resource == "persistentvolumes" && self.mounts(node, &reference.name))
    }

    fn mounts(&self, node: &str, volume: &str) -> bool {
        self.volumes.get(volume).is_some_and(|volume| self.is_referred_to(node, &volume.claim))
    }

    fn is_referred_to(&self, node: &str, reference: &Reference) -> bool {
        self.referrers.get(reference).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn release(&mut self, reference: &Reference, node: &str) {
        let Some(nodes) = self.referrers.get_mut(reference) else { return };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.referrers.remove(reference);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
            && self.referrers.is_empty()
            && self.volumes.is_empty()
            && self.volumes_of_secret.is_empty()
            && self.owned.is_empty()
    }
}

/// Secrets that a kubelet needs for a volume; those of the controllers that provision and attach it are not its
/// business. Upstream: `pkg/api/v1/persistentvolume.VisitPVSecretNames`.
fn volume_secrets(volume: &PersistentVolume, claim_namespace: &str) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let Some(spec) = &volume.spec else { return found };
    let mut add = |namespace: Option<&String>, name: Option<&String>| {
        let namespace = namespace.map(String::as_str).filter(|text| !text.is_empty()).unwrap_or(claim_namespace);
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            found.insert(Reference::new("secrets", namespace, name));
        }
    };
    if let Some(source) = &spec.azure_file {
        add(source.secret_namespace.as_ref(), Some(&source.secret_name));
    }
    let csi = spec.csi.as_ref();
    let references = [
        spec.cephfs.as_ref().and_then(|source| source.secret_ref.as_ref()),
        spec.cinder.as_ref().and_then(|source| source.secret_ref.as_ref()),
        spec.flex_volume.as_ref().and_then(|source| source.secret_ref.as_ref()),
        spec.rbd.as_ref().and_then(|source| source.secret_ref.as_ref()),
        spec.scale_io.as_ref().map(|source| &source.secret_ref),
        spec.iscsi.as_ref().and_then(|source| source.secret_ref.as_ref()),
        csi.and_then(|source| source.node_publish_secret_ref.as_ref()),
        csi.and_then(|source| source.node_stage_secret_ref.as_ref()),
        csi.and_then(|source| source.node_expand_secret_ref.as_ref()),
    ];
    for secret in references.into_iter().flatten() {
        add(secret.namespace.as_ref(), secret.name.as_ref());
    }
    if let Some(secret) = spec.storageos.as_ref().and_then(|source| source.secret_ref.as_ref()) {
        add(secret.namespace.as_ref(), secret.name.as_ref());
    }
    found
}

/// The pod itself and everything its node has to read for it. Mirror pods give a node no rights to anything else: it
/// made them itself.
fn references(namespace: &str, pod_name: &str, pod: &Pod) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    found.insert(Reference::new("pods", namespace, pod_name));
    let mirror = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key("kubernetes.io/config.mirror"));
    let Some(spec) = pod.spec.as_ref().filter(|_| !mirror) else { return found };
    let mut add = |resource, name: &str| {
        if !name.is_empty() {
            found.insert(Reference::new(resource, namespace, name));
        }
    };
    add("serviceaccounts", spec.service_account_name.as_deref().unwrap_or_default());
    for secret in spec.image_pull_secrets.iter().flatten() {
        add("secrets", &secret.name);
    }
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let environments = containers.map(|container| (&container.env, &container.env_from));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| (&container.env, &container.env_from));
    for (env, env_from) in environments.chain(ephemeral) {
        for source in env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            source.config_map_key_ref.iter().for_each(|key| add("configmaps", &key.name));
            source.secret_key_ref.iter().for_each(|key| add("secrets", &key.name));
        }
        for source in env_from.iter().flatten() {
            source.config_map_ref.iter().for_each(|reference| add("configmaps", &reference.name));
            source.secret_ref.iter().for_each(|reference| add("secrets", &reference.name));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        volume.config_map.iter().for_each(|source| add("configmaps", &source.name));
        volume.secret.iter().for_each(|source| add("secrets", source.secret_name.as_deref().unwrap_or_default()));
        volume.persistent_volume_claim.iter().for_each(|source| add("persistentvolumeclaims", &source.claim_name));
        if volume.ephemeral.is_some() {
            add("persistentvolumeclaims", &format!("{pod_name}-{}", volume.name));
        }
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            source.config_map.iter().for_each(|source| add("configmaps", &source.name));
            source.secret.iter().for_each(|source| add("secrets", &source.name));
        }
        for secret in [
            volume.cephfs.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.cinder.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.scale_io.as_ref().map(|source| &source.secret_ref),
            volume.csi.as_ref().and_then(|source| source.node_publish_secret_ref.as_ref()),
            volume.flex_volume.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.iscsi.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.rbd.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.storageos.as_ref().and_then(|source| source.secret_ref.as_ref()),
        ]
        .into_iter()
        .flatten()
        {
            add("secrets", &secret.name);
        }
        volume.azure_file.iter().for_each(|source| add("secrets", &source.secret_name));
    }
    for status in pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten()) {
        add("resourceclaims", status.resource_claim_name.as_deref().unwrap_or_default());
    }
    let extended = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
    extended.into_iter().for_each(|claim| add("resourceclaims", &claim.resource_claim_name));
    for claim in spec.resource_claims.iter().flatten() {
        add("resourceclaims", claim.resource_claim_name.as_deref().unwrap_or_default());
    }
    found
}
