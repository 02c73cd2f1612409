//! Warnings about pods and pod templates: allowed, but probably not meant.
//!
//! Upstream counterpart: `pkg/api/pod/warnings.go`.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field::Path;
use apimachinery::names;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, NodeSelectorTerm, Pod, PodAffinityTerm, PodSpec, PodTemplateSpec, Volume,
    VolumeProjection, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::validation;
use crate::core::{persistent_volume_claim, volume};
use crate::meta::addresses::ip_warning;
use crate::meta::quantity;
use crate::optional::{Items, Text};

const DEPRECATED_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        r#"non-functional in v1.16+; use the "priorityClassName" field instead"#,
    ),
    ("security.alpha.kubernetes.io/sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
    ("security.alpha.kubernetes.io/unsafe-sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
];
const DEPRECATED_VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
// Upstream escapes these quotes once too often.
const USE_SECCOMP_FIELD: &str = r#"non-functional in v1.27+; use the \"seccompProfile\" field instead"#;
const USE_APP_ARMOR_FIELD: &str = r#"deprecated since v1.30; use the \"appArmorProfile\" field instead"#;

/// Warnings about a new pod.
pub(crate) fn pod(pod: &Pod) -> Vec<String> {
    let mut warnings = Vec::new();
    let messages = names::is_dns1123_label(pod.metadata.name.text());
    if !messages.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        ));
    }
    if let Some(spec) = &pod.spec {
        Writer { base: None, warnings: &mut warnings }.spec(spec, &pod.metadata);
    }
    warnings
}

/// Warnings about addresses in the status of a pod.
pub(crate) fn status(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let path = Path::new("status");
    let pods = status.pod_ips.items().iter().map(|ip| ip.ip.as_str()).enumerate();
    let pods = pods.filter_map(|(index, ip)| ip_warning(ip, &path.child("podIPs").index(index).child("ip")));
    let hosts = status.host_ips.items().iter().map(|ip| ip.ip.as_str()).enumerate();
    let hosts = hosts.filter_map(|(index, ip)| ip_warning(ip, &path.child("hostIPs").index(index).child("ip")));
    pods.chain(hosts).collect()
}

/// The warning about the name of what makes pods: their hostnames begin with it.
pub(crate) fn controller_name(meta: &ObjectMeta) -> Option<String> {
    let messages = names::is_dns1123_label(meta.name.text());
    (!messages.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        )
    })
}

/// Warnings about a template at `path`.
pub(crate) fn template(template: Option<&PodTemplateSpec>, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(template) = template
        && let Some(spec) = &template.spec
    {
        let empty = ObjectMeta::default();
        let meta = template.metadata.as_ref().unwrap_or(&empty);
        Writer { base: Some(path), warnings: &mut warnings }.spec(spec, meta);
    }
    warnings
}

/// What replaces a node label, for labels that were replaced.
pub(crate) fn node_label(key: &str) -> Option<String> {
    let replacement = match key {
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        _ => return None,
    };
    let since = if key.starts_with("beta.kubernetes.io/") && !key.ends_with("type") { "v1.14" } else { "v1.17" };
    Some(format!(r#"deprecated since {since}; use "{replacement}" instead"#))
}

struct Writer<'a> {
    /// Of the template; none for a pod, whose paths start at the object.
    base: Option<&'a Path>,
    warnings: &'a mut Vec<String>,
}

impl Writer<'_> {
    fn path(&self, field: &str) -> Path {
        self.base.map_or_else(|| Path::new(field), |base| base.child(field))
    }

    fn warn(&mut self, path: &Path, message: &str) {
        self.warnings.push(format!("{path}: {message}"));
    }

    fn spec(&mut self, spec: &PodSpec, meta: &ObjectMeta) {
        let path = self.path("spec");
        self.node_labels(spec, &path);
        let annotations = self.path("metadata").child("annotations");
        for (key, message) in DEPRECATED_ANNOTATIONS {
            if has_annotation(meta, key) {
                self.warn(&annotations.key(key), message);
            }
        }
        self.volumes(spec, &path);
        self.duplicates(spec, &path);
        for name in ["memory", "ephemeral-storage"] {
            self.fraction(spec.overhead.as_ref(), name, &path.child("overhead"));
        }
        let pod_seccomp = spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
        if pod_seccomp.is_none() && has_annotation(meta, SECCOMP_POD) {
            self.warn(&annotations.key(SECCOMP_POD), USE_SECCOMP_FIELD);
        }
        let mut ports = BTreeMap::new();
        for (container, path) in containers(spec, &path) {
            self.container(&container, spec, meta, &path, &annotations);
            self.ports(container.ports.items(), &path, &mut ports);
        }
        if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
            let message = "must be >= 0; negative values are invalid and will be treated as 1";
            self.warn(&path.child("terminationGracePeriodSeconds"), message);
        }
        if let Some(affinity) = &spec.affinity {
            let path = path.child("affinity");
            if let Some(pods) = &affinity.pod_affinity {
                self.terms(
                    pods.required_during_scheduling_ignored_during_execution.items(),
                    pods.preferred_during_scheduling_ignored_during_execution.items(),
                    &path.child("podAffinity"),
                );
            }
            if let Some(pods) = &affinity.pod_anti_affinity {
                self.terms(
                    pods.required_during_scheduling_ignored_during_execution.items(),
                    pods.preferred_during_scheduling_ignored_during_execution.items(),
                    &path.child("podAntiAffinity"),
                );
            }
        }
    }

    fn node_labels(&mut self, spec: &PodSpec, path: &Path) {
        for key in spec.node_selector.iter().flatten().map(|(key, _)| key) {
            if let Some(message) = node_label(key) {
                self.warn(&path.child("nodeSelector").key(key), &message);
            }
        }
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        if let Some(affinity) = affinity {
            let path = path.child("affinity").child("nodeAffinity");
            if let Some(selector) = &affinity.required_during_scheduling_ignored_during_execution {
                let path = path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
                for (index, term) in selector.node_selector_terms.iter().enumerate() {
                    self.node_term(term, &path.index(index));
                }
            }
            let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
            let preferred = affinity.preferred_during_scheduling_ignored_during_execution.items();
            for (index, term) in preferred.iter().enumerate() {
                self.node_term(&term.preference, &path.index(index).child("preference"));
            }
        }
        for (index, constraint) in spec.topology_spread_constraints.items().iter().enumerate() {
            let path = path.child("topologySpreadConstraints").index(index);
            if let Some(message) = node_label(&constraint.topology_key) {
                let message = format!("{} is {message}", constraint.topology_key);
                self.warn(&path.child("topologyKey"), &message);
            }
            if constraint.label_selector.is_none() {
                self.warn(&path.child("labelSelector"), "a null labelSelector results in matching no pod");
            }
        }
    }

    fn node_term(&mut self, term: &NodeSelectorTerm, path: &Path) {
        for (index, expression) in term.match_expressions.items().iter().enumerate() {
            let path = path.child("matchExpressions").index(index).child("key");
            if let Some(message) = node_label(&expression.key) {
                self.warn(&path, &format!("{} is {message}", expression.key));
            }
        }
    }

    fn terms(&mut self, required: &[PodAffinityTerm], preferred: &[WeightedPodAffinityTerm], path: &Path) {
        let message = "a null labelSelector results in matching no pod";
        let required_path = path.child("requiredDuringSchedulingIgnoredDuringExecution");
        for (index, _) in required.iter().enumerate().filter(|(_, term)| term.label_selector.is_none()) {
            self.warn(&required_path.index(index).child("labelSelector"), message);
        }
        let preferred_path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
        for (index, term) in preferred.iter().enumerate() {
            if term.pod_affinity_term.label_selector.is_none() {
                let path = preferred_path.index(index).child("podAffinityTerm").child("labelSelector");
                self.warn(&path, message);
            }
        }
    }

    fn volumes(&mut self, spec: &PodSpec, path: &Path) {
        let volumes = spec.volumes.items();
        for (index, volume) in volumes.iter().enumerate() {
            for (name, _) in volume::sources(volume) {
                if let Some((_, spelling, message)) = DEPRECATED_VOLUMES.iter().find(|(known, _, _)| *known == name) {
                    self.warn(&path.child("volumes").index(index).child(spelling), message);
                }
            }
            let claim = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref());
            if let Some(claim) = claim {
                let path = path.child("volumes").index(index).child("ephemeral").child("volumeClaimTemplate");
                self.warnings.extend(persistent_volume_claim::spec_warnings(&claim.spec, &path.child("spec")));
            }
        }
        for volume in volumes {
            self.overlaps(volume);
        }
    }

    /// Files of a volume at the same path, or one below another: the later wins, or the volume fails.
    fn overlaps(&mut self, volume: &Volume) {
        let name = &volume.name;
        if let Some(map) = &volume.config_map {
            let what = format!("volume {name:?} (ConfigMap {:?})", map.name);
            self.overlapping(map.items.items().iter().map(|item| item.path.as_str()), &what);
        }
        if let Some(secret) = &volume.secret {
            let what = format!("volume {name:?} (Secret {:?})", secret.secret_name.text());
            self.overlapping(secret.items.items().iter().map(|item| item.path.as_str()), &what);
        }
        if let Some(api) = &volume.downward_api {
            let what = format!("volume {name:?} (DownwardAPI)");
            self.overlapping(api.items.items().iter().map(|item| item.path.as_str()), &what);
        }
        let mut before = BTreeSet::new();
        for source in volume.projected.iter().flat_map(|projected| projected.sources.items()) {
            if *source == VolumeProjection::default() {
                self.warnings.push(format!("volume {name:?} (Projected) has no sources provided"));
                continue;
            }
            let (paths, what) = projected(source);
            let what = format!("volume {name:?} (Projected {what})");
            self.overlapping(paths.iter().copied(), &what);
            let own: BTreeSet<&str> = paths.into_iter().collect();
            if own.is_empty() {
                continue;
            }
            // Sorted, and with what both have twice.
            let mut all: Vec<&str> = own.iter().chain(&before).copied().collect();
            all.sort_unstable();
            self.overlapping(all.into_iter(), &what);
            before.extend(own);
        }
    }

    fn overlapping<'p>(&mut self, paths: impl Iterator<Item = &'p str>, what: &str) {
        let mut seen = BTreeSet::new();
        for path in paths {
            let path = path.trim_end_matches('/');
            let meets = |other: &&&str| {
                !other.is_empty()
                    && !path.is_empty()
                    && (format!("{other}/").starts_with(path) || format!("{path}/").starts_with(**other))
            };
            if let Some(other) = seen.iter().find(meets) {
                self.warnings.push(format!("{what}: overlapping paths: {path:?} with {other:?}"));
            }
            seen.insert(path);
        }
    }

    fn duplicates(&mut self, spec: &PodSpec, path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, alias) in spec.host_aliases.items().iter().enumerate() {
            if !seen.insert(&alias.ip) {
                let path = path.child("hostAliases").index(index).child("ip");
                self.warn(&path, &format!("duplicate ip {:?}", alias.ip));
            }
        }
        let secrets = spec.image_pull_secrets.items();
        let mut seen = BTreeSet::new();
        for (index, secret) in secrets.iter().enumerate() {
            if !seen.insert(&secret.name) {
                let path = path.child("imagePullSecrets").index(index).child("name");
                self.warn(&path, &format!("duplicate name {:?}", secret.name));
            }
        }
        for (index, _) in secrets.iter().enumerate().filter(|(_, secret)| secret.name.is_empty()) {
            self.warn(&path.child("imagePullSecrets").index(index).child("name"), r#"invalid empty name """#);
        }
    }

    fn fraction(&mut self, list: Option<&BTreeMap<String, Quantity>>, name: &str, path: &Path) {
        let Some(amount) = list.and_then(|list| list.get(name)).and_then(quantity::parse) else { return };
        if amount.milli_value() % 1000 != 0 {
            let message = format!(r#"fractional byte value "{amount}" is invalid, must be an integer"#);
            self.warn(&path.key(name), &message);
        }
    }

    fn container(&mut self, container: &Container, spec: &PodSpec, meta: &ObjectMeta, path: &Path, annotations: &Path) {
        let context = container.security_context.as_ref();
        let key = format!("{SECCOMP_CONTAINER}{}", container.name);
        if context.is_none_or(|context| context.seccomp_profile.is_none()) && has_annotation(meta, &key) {
            self.warn(&annotations.key(&key), USE_SECCOMP_FIELD);
        }
        let of_pod = spec.security_context.as_ref().is_some_and(|context| context.app_armor_profile.is_some());
        let has_field = of_pod || context.is_some_and(|context| context.app_armor_profile.is_some());
        let key = format!("{APP_ARMOR}{}", container.name);
        // For pods the warning comes with copying the annotation to the field.
        if self.base.is_some() && !has_field && has_annotation(meta, &key) {
            self.warn(&annotations.key(&key), USE_APP_ARMOR_FIELD);
        }
        if let Some(resources) = &container.resources {
            let path = path.child("resources");
            for name in ["memory", "ephemeral-storage"] {
                self.fraction(resources.limits.as_ref(), name, &path.child("limits"));
                self.fraction(resources.requests.as_ref(), name, &path.child("requests"));
            }
        }
        self.env(container.env.items(), path);
    }

    fn env(&mut self, vars: &[EnvVar], path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, var) in vars.iter().enumerate() {
            if seen.insert(&var.name) {
                continue;
            }
            // `X=$(X)more` builds on the earlier value; everything else loses it.
            let reference = format!("$({})", var.name);
            let value = var.value.text();
            if var.value_from.is_some() || value == reference || !value.contains(&reference) {
                let message =
                    format!("hides previous definition of {:?}, which may be dropped when using apply", var.name);
                self.warn(&path.child("env").index(index), &message);
            }
        }
    }

    fn ports(&mut self, ports: &[ContainerPort], path: &Path, all: &mut BTreeMap<String, Vec<(Path, ContainerPort)>>) {
        for (index, port) in ports.iter().enumerate() {
            let path = path.child("ports").index(index);
            let (host_ip, host_port) = (port.host_ip.text(), port.host_port.unwrap_or(0));
            if !host_ip.is_empty() && host_port == 0 {
                let message = format!(
                    "hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{host_ip}}}",
                    port.name.text(),
                    port.container_port,
                    port.protocol.text()
                );
                self.warn(&path, &message);
            }
            let others = all.entry(format!("{}/{}", port.container_port, port.protocol.text())).or_default();
            for (other_path, other) in others.iter() {
                let (other_ip, other_port) = (other.host_ip.text(), other.host_port.unwrap_or(0));
                let message = if host_ip == other_ip && host_port == other_port {
                    "duplicate port definition with"
                } else if host_port == 0 || other_port == 0 {
                    "overlapping port definition with"
                } else if host_port == other_port && (host_ip.is_empty() != other_ip.is_empty()) {
                    "dangerously ambiguous port definition with"
                } else {
                    continue;
                };
                self.warnings.push(format!("{path}: {message} {other_path}"));
            }
            others.push((path, port.clone()));
        }
    }
}

fn has_annotation(meta: &ObjectMeta, key: &str) -> bool {
    meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(key))
}

/// The paths of one source of a projected volume, and what the source is.
fn projected(source: &VolumeProjection) -> (Vec<&str>, String) {
    if let Some(map) = &source.config_map {
        let paths = map.items.items().iter().map(|item| item.path.as_str()).collect();
        return (paths, format!("ConfigMap {:?}", map.name));
    }
    if let Some(secret) = &source.secret {
        let paths = secret.items.items().iter().map(|item| item.path.as_str()).collect();
        return (paths, format!("Secret {:?}", secret.name));
    }
    if let Some(api) = &source.downward_api {
        return (api.items.items().iter().map(|item| item.path.as_str()).collect(), "DownwardAPI".to_owned());
    }
    if let Some(token) = &source.service_account_token {
        return (vec![&token.path], "ServiceAccountToken".to_owned());
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        let name = bundle.name.as_deref().unwrap_or(bundle.signer_name.text());
        return (vec![&bundle.path], format!("ClusterTrustBundle {name:?}"));
    }
    (Vec::new(), String::new())
}

/// All containers as regular ones, with their paths.
fn containers(spec: &PodSpec, path: &Path) -> Vec<(Container, Path)> {
    let mut all = Vec::new();
    for (field, list) in [("initContainers", spec.init_containers.items()), ("containers", &spec.containers[..])] {
        let path = path.child(field);
        all.extend(list.iter().enumerate().map(|(index, container)| (container.clone(), path.index(index))));
    }
    let path = path.child("ephemeralContainers");
    let ephemeral = spec.ephemeral_containers.items().iter().enumerate();
    all.extend(ephemeral.map(|(index, container)| (validation::as_container(container), path.index(index))));
    all
}
