//! Admission plugins: what may be written beyond what a kind's own rules say, and what is filled in on the way.
//!
//! One file a plugin, named as upstream's (`plugin/pkg/admission`). [`PLUGINS`] is the list in the order in which they
//! run. They see the cluster through the request's snapshot reader and keep no state of their own, but for rates.

mod always;
mod always_pull_images;
mod anti_affinity_topology;
mod certificates;
pub mod configuration;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod deny_service_external_ips;
pub mod event_rate_limit;
pub mod expressions;
mod extended_resource_toleration;
pub mod image_policy;
mod image_registries;
mod limit_ranger;
mod namespace_lifecycle;
mod namespaces;
mod node_restriction;
mod owner_references;
mod persistent_volume_claim_resize;
mod pod_node_selector;
pub mod pod_security;
mod pod_toleration_restriction;
mod pod_topology_labels;
pub mod policy;
mod priority;
pub mod resource_quota;
mod restricted_endpoints;
mod runtime_class;
mod service_account;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;
#[cfg(test)]
mod testing;
pub mod webhook;

use std::sync::Arc;

use ipnet::IpNet;
use registry::{Info, admission::Admission, auth::Authorizer};

pub use configuration::Configuration;
pub use default_toleration_seconds::TolerationSeconds;

/// What plugins are made from.
pub struct Options {
    /// Who says whether a user may do what a plugin asks about.
    pub authorizer: Arc<dyn Authorizer>,
    /// Addresses of pods and Services.
    pub cluster_ranges: Vec<IpNet>,
    /// Plugins to switch on beside those that are. Upstream: `--enable-admission-plugins`.
    pub enable: Vec<String>,
    /// Plugins to switch off. Upstream: `--disable-admission-plugins`.
    pub disable: Vec<String>,
    /// What the plugins' own settings are. Upstream: `--admission-control-config-file`.
    pub configuration: Configuration,
    /// How long pods stay on nodes that are lost.
    pub toleration_seconds: TolerationSeconds,
    /// Plugins that are made elsewhere, as they call out or follow policies; on by default, in the order in which they
    /// run. What they admit is charged to quotas after them.
    pub callers: Vec<Arc<dyn Admission>>,
}

impl Options {
    /// Everything as it is when nobody says anything.
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            authorizer,
            cluster_ranges: Vec::new(),
            enable: Vec::new(),
            disable: Vec::new(),
            configuration: Configuration::default(),
            toleration_seconds: TolerationSeconds::default(),
            callers: Vec::new(),
        }
    }
}

/// A plugin, before it is made.
pub struct Entry {
    /// Upstream's name.
    pub name: &'static str,
    /// Whether it runs when nobody says anything.
    pub on: bool,
    make: fn(&Options) -> Arc<dyn Admission>,
}

impl Entry {
    const fn on(name: &'static str, make: fn(&Options) -> Arc<dyn Admission>) -> Self {
        Self { name, on: true, make }
    }

    const fn off(name: &'static str, make: fn(&Options) -> Arc<dyn Admission>) -> Self {
        Self { name, on: false, make }
    }
}

/// A name that is no plugin's, or a plugin that is both switched on and off.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownPlugin {
    #[error("enable-admission-plugins plugin \"{0}\" is unknown")]
    Enabled(String),
    #[error("disable-admission-plugins plugin \"{0}\" is unknown")]
    Disabled(String),
    #[error("[{0}] in enable-admission-plugins and disable-admission-plugins overlapped")]
    Both(String),
}

/// Every plugin in upstream's order (`pkg/kubeapiserver/options.AllOrderedPlugins`). Those that call out come last, and
/// quotas after them, so that nothing is charged that is refused.
pub static PLUGINS: &[Entry] = &[
    Entry::off("AlwaysAdmit", |_| Arc::new(always::AlwaysAdmit)),
    Entry::off("NamespaceAutoProvision", |_| Arc::new(namespaces::NamespaceAutoProvision)),
    Entry::on("NamespaceLifecycle", |_| Arc::new(namespace_lifecycle::NamespaceLifecycle)),
    Entry::off("NamespaceExists", |_| Arc::new(namespaces::NamespaceExists)),
    Entry::off("LimitPodHardAntiAffinityTopology", |_| {
        Arc::new(anti_affinity_topology::LimitPodHardAntiAffinityTopology)
    }),
    Entry::on("LimitRanger", |_| Arc::new(limit_ranger::LimitRanger)),
    Entry::on("ServiceAccount", |_| Arc::new(service_account::ServiceAccount)),
    Entry::on("NodeRestriction", |options| {
        Arc::new(node_restriction::NodeRestriction::new(Arc::clone(&options.authorizer)))
    }),
    Entry::on("TaintNodesByCondition", |_| Arc::new(taint_nodes_by_condition::TaintNodesByCondition)),
    Entry::off("AlwaysPullImages", |_| Arc::new(always_pull_images::AlwaysPullImages)),
    Entry::off("ImageRegistryAllowList", |options| {
        Arc::new(image_registries::ImageRegistries { allowed: options.configuration.image_registries.clone() })
    }),
    Entry::on("PodSecurity", |options| {
        Arc::new(pod_security::PodSecurity::new(options.configuration.pod_security.clone()))
    }),
    Entry::off("PodNodeSelector", |options| {
        let selectors = options.configuration.pod_node_selectors.clone();
        Arc::new(pod_node_selector::PodNodeSelector { selectors })
    }),
    Entry::on("Priority", |_| Arc::new(priority::Priority)),
    Entry::on("DefaultTolerationSeconds", |options| {
        Arc::new(default_toleration_seconds::DefaultTolerationSeconds(options.toleration_seconds))
    }),
    Entry::off("PodTolerationRestriction", |options| {
        let configuration = &options.configuration;
        Arc::new(pod_toleration_restriction::PodTolerationRestriction {
            defaults: configuration.default_tolerations.clone(),
            allowed: configuration.allowed_tolerations.clone(),
        })
    }),
    Entry::off("EventRateLimit", |options| {
        Arc::new(event_rate_limit::EventRateLimit::new(&options.configuration.event_rate_limits))
    }),
    Entry::off("ExtendedResourceToleration", |_| Arc::new(extended_resource_toleration::ExtendedResourceToleration)),
    Entry::on("DefaultStorageClass", |_| Arc::new(default_storage_class::DefaultStorageClass)),
    Entry::on("StorageObjectInUseProtection", |_| {
        Arc::new(storage_object_in_use_protection::StorageObjectInUseProtection)
    }),
    Entry::off("OwnerReferencesPermissionEnforcement", |options| {
        Arc::new(owner_references::OwnerReferences { authorizer: Arc::clone(&options.authorizer) })
    }),
    Entry::on("PersistentVolumeClaimResize", |_| Arc::new(persistent_volume_claim_resize::PersistentVolumeClaimResize)),
    Entry::on("RuntimeClass", |_| Arc::new(runtime_class::RuntimeClass)),
    Entry::on("CertificateApproval", |options| signer(options, certificates::Act::Approve)),
    Entry::on("CertificateSigning", |options| signer(options, certificates::Act::Sign)),
    Entry::on("ClusterTrustBundleAttest", |options| signer(options, certificates::Act::Attest)),
    Entry::on("CertificateSubjectRestriction", |_| Arc::new(certificates::CertificateSubjectRestriction)),
    Entry::on("DefaultIngressClass", |_| Arc::new(default_ingress_class::DefaultIngressClass)),
    Entry::on("DenyServiceExternalIPs", |_| Arc::new(deny_service_external_ips::DenyServiceExternalIPs)),
    Entry::on("RestrictedEndpoints", |options| {
        let authorizer = Arc::clone(&options.authorizer);
        Arc::new(restricted_endpoints::RestrictedEndpoints::new(options.cluster_ranges.clone(), authorizer))
    }),
    Entry::on("PodTopologyLabels", |_| Arc::new(pod_topology_labels::PodTopologyLabels)),
    Entry::on("ResourceQuota", |options| {
        let limited = options.configuration.limited_resources.clone();
        Arc::new(resource_quota::ResourceQuota { limited })
    }),
    Entry::off("AlwaysDeny", |_| Arc::new(always::AlwaysDeny)),
];

/// The first of the plugins that run behind those that call out.
const BEHIND_CALLERS: &str = "ResourceQuota";

fn signer(options: &Options, act: certificates::Act) -> Arc<dyn Admission> {
    Arc::new(certificates::SignerPermission { act, authorizer: Arc::clone(&options.authorizer) })
}

/// The plugins that are on, in the order of [`PLUGINS`].
pub fn plugins(options: &Options) -> Result<Vec<Arc<dyn Admission>>, UnknownPlugin> {
    let known = |name: &&String| {
        let callers = options.callers.iter().map(|plugin| plugin.name());
        PLUGINS.iter().map(|entry| entry.name).chain(callers).any(|known| known == **name) || name.is_empty()
    };
    if let Some(name) = options.enable.iter().find(|name| !known(name)) {
        return Err(UnknownPlugin::Enabled(name.clone()));
    }
    if let Some(name) = options.disable.iter().find(|name| !known(name)) {
        return Err(UnknownPlugin::Disabled(name.clone()));
    }
    let both: Vec<&str> =
        options.enable.iter().filter(|name| options.disable.contains(name)).map(String::as_str).collect();
    if !both.is_empty() {
        return Err(UnknownPlugin::Both(both.join(" ")));
    }
    let listed = |list: &[String], name: &str| list.iter().any(|item| item == name);
    let mut running = Vec::new();
    for entry in PLUGINS {
        if entry.name == BEHIND_CALLERS {
            let callers = options.callers.iter().filter(|plugin| !listed(&options.disable, plugin.name()));
            running.extend(callers.cloned());
        }
        if listed(&options.enable, entry.name) || (entry.on && !listed(&options.disable, entry.name)) {
            running.push((entry.make)(options));
        }
    }
    Ok(running)
}

/// The resource as errors name it.
fn gvr(info: &Info) -> apimachinery::Gvr {
    apimachinery::Gvr::new(info.group, info.version, info.plural)
}

fn is_pods(info: &Info) -> bool {
    info.group.is_empty() && info.plural == "pods"
}

#[cfg(test)]
mod tests {
    use registry::auth::AlwaysAllow;

    use super::*;

    #[test]
    fn plugins_are_named_and_chosen() {
        let names = |enable: &[&str], disable: &[&str]| {
            let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            let options =
                Options { enable: list(enable), disable: list(disable), ..Options::new(Arc::new(AlwaysAllow)) };
            plugins(&options).map(|all| all.iter().map(|plugin| plugin.name()).collect::<Vec<_>>())
        };
        let default = names(&[], &[]).unwrap();
        let on: Vec<_> = PLUGINS.iter().filter(|entry| entry.on).map(|entry| entry.name).collect();
        assert_eq!(default, on, "entries are called as their plugins");
        let all: Vec<_> = PLUGINS.iter().map(|entry| entry.name).collect();
        assert_eq!(names(&all, &[]).unwrap(), all);
        assert!(!names(&[], &["PodSecurity"]).unwrap().contains(&"PodSecurity"));
        assert_eq!(names(&["Nothing"], &[]).unwrap_err(), UnknownPlugin::Enabled("Nothing".to_owned()));
        assert!(matches!(names(&["PodSecurity"], &["PodSecurity"]), Err(UnknownPlugin::Both(_))));
    }
}
