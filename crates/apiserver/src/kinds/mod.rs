//! Every GA kind of v1.36: those with a strategy of their own from `resources`, the others as data.
//!
//! A kind moves out of this table by getting a strategy. Upstream: `pkg/controlplane/instance.go`.

mod conversions;

use registry::{Durability, Handler, Info, NameRule, Plain, Resource, ResourceHandle, SelectableField, Subresource};

const STATUS: &[Subresource] = &[Subresource::STATUS];
const STATUS_AND_SCALE: &[Subresource] = &[Subresource::STATUS, Subresource::SCALE];

static PLAIN: &[Plain] = &[
    // core
    plain(Info::namespaced("", "v1", "ConfigMap", "configmaps").short(&["cm"])),
    plain(Info::namespaced("", "v1", "Endpoints", "endpoints").singular("endpoints").short(&["ep"])),
    plain(Info::namespaced("", "v1", "Event", "events").short(&["ev"])).durability(Durability::Relaxed).selectable(&[
        SelectableField::new("involvedObject.kind", &[&["involvedObject", "kind"]]),
        SelectableField::new("involvedObject.namespace", &[&["involvedObject", "namespace"]]),
        SelectableField::new("involvedObject.name", &[&["involvedObject", "name"]]),
        SelectableField::new("involvedObject.uid", &[&["involvedObject", "uid"]]),
        SelectableField::new("involvedObject.apiVersion", &[&["involvedObject", "apiVersion"]]),
        SelectableField::new("involvedObject.resourceVersion", &[&["involvedObject", "resourceVersion"]]),
        SelectableField::new("involvedObject.fieldPath", &[&["involvedObject", "fieldPath"]]),
        SelectableField::new("reason", &[&["reason"]]),
        SelectableField::new("reportingComponent", &[&["reportingComponent"]]),
        SelectableField::new("source", &[&["source", "component"], &["reportingComponent"]]),
        SelectableField::new("type", &[&["type"]]),
    ]),
    plain(Info::namespaced("", "v1", "LimitRange", "limitranges").short(&["limits"])),
    plain(Info::cluster("", "v1", "Namespace", "namespaces").short(&["ns"]))
        .name_rule(NameRule::DnsLabel)
        .subresources(&[Subresource::STATUS, Subresource::new("finalize", Handler::UpdateOnly)])
        .selectable(&[
            SelectableField::new("status.phase", &[&["status", "phase"]]),
            SelectableField::new("name", &[&["metadata", "name"]]),
        ]),
    plain(Info::cluster("", "v1", "Node", "nodes").short(&["no"]))
        .subresources(&[
            Subresource::STATUS,
            Subresource::new("proxy", Handler::ConnectPath).body("", "v1", "NodeProxyOptions"),
        ])
        .selectable(&[SelectableField::new("spec.unschedulable", &[&["spec", "unschedulable"]]).absent("false")]),
    plain(Info::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]))
        .subresources(STATUS),
    plain(Info::cluster("", "v1", "PersistentVolume", "persistentvolumes").short(&["pv"])).subresources(STATUS),
    plain(Info::namespaced("", "v1", "PodTemplate", "podtemplates")).with_generation(),
    plain(
        Info::namespaced("", "v1", "ReplicationController", "replicationcontrollers")
            .short(&["rc"])
            .categories(&["all"]),
    )
    .subresources(STATUS_AND_SCALE)
    .with_generation(),
    plain(Info::namespaced("", "v1", "ResourceQuota", "resourcequotas").short(&["quota"])).subresources(STATUS),
    plain(Info::namespaced("", "v1", "Secret", "secrets")).selectable(&[SelectableField::new("type", &[&["type"]])]),
    plain(Info::namespaced("", "v1", "ServiceAccount", "serviceaccounts").short(&["sa"])).subresources(&[
        Subresource::new("token", Handler::Action).body("authentication.k8s.io", "v1", "TokenRequest"),
    ]),
    plain(Info::namespaced("", "v1", "Service", "services").short(&["svc"]).categories(&["all"])).subresources(&[
        Subresource::STATUS,
        Subresource::new("proxy", Handler::ConnectPath).body("", "v1", "ServiceProxyOptions"),
    ]),
    // admissionregistration.k8s.io
    plain(admission_info("MutatingAdmissionPolicy", "mutatingadmissionpolicies")).with_generation(),
    plain(admission_info("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")).with_generation(),
    plain(admission_info("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")).with_generation(),
    plain(admission_info("ValidatingAdmissionPolicy", "validatingadmissionpolicies"))
        .subresources(STATUS)
        .with_generation(),
    plain(admission_info("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")).with_generation(),
    plain(admission_info("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")).with_generation(),
    // apps
    plain(Info::namespaced("apps", "v1", "ControllerRevision", "controllerrevisions")),
    plain(Info::namespaced("apps", "v1", "DaemonSet", "daemonsets").short(&["ds"]).categories(&["all"]))
        .subresources(STATUS)
        .with_generation(),
    plain(Info::namespaced("apps", "v1", "StatefulSet", "statefulsets").short(&["sts"]).categories(&["all"]))
        .subresources(STATUS_AND_SCALE)
        .with_generation(),
    // autoscaling
    plain(
        Info::namespaced("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
            .short(&["hpa"])
            .categories(&["all"]),
    )
    .subresources(STATUS),
    // batch
    plain(Info::namespaced("batch", "v1", "CronJob", "cronjobs").short(&["cj"]).categories(&["all"]))
        .subresources(STATUS)
        .with_generation(),
    plain(Info::namespaced("batch", "v1", "Job", "jobs").categories(&["all"]))
        .subresources(STATUS)
        .selectable(&[SelectableField::new("status.successful", &[&["status", "succeeded"]]).absent("0")])
        .with_generation(),
    // certificates.k8s.io
    plain(
        Info::cluster("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests")
            .short(&["csr"]),
    )
    .subresources(&[Subresource::STATUS, Subresource::new("approval", Handler::Update)])
    .selectable(&[SelectableField::new("spec.signerName", &[&["spec", "signerName"]])]),
    // coordination.k8s.io, discovery.k8s.io
    plain(Info::namespaced("coordination.k8s.io", "v1", "Lease", "leases")).durability(Durability::Relaxed),
    plain(Info::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")).with_generation(),
    // flowcontrol.apiserver.k8s.io
    plain(Info::cluster(FLOW, "v1", "FlowSchema", "flowschemas")).subresources(STATUS).with_generation(),
    plain(Info::cluster(FLOW, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations"))
        .subresources(STATUS)
        .with_generation(),
    // networking.k8s.io
    plain(Info::cluster(NETWORKING, "v1", "IngressClass", "ingressclasses")).with_generation(),
    plain(Info::namespaced(NETWORKING, "v1", "Ingress", "ingresses").short(&["ing"]))
        .subresources(STATUS)
        .with_generation(),
    plain(Info::cluster(NETWORKING, "v1", "IPAddress", "ipaddresses").short(&["ip"]))
        .selectable(&[SelectableField::new("spec.parentRef.resource", &[&["spec", "parentRef", "resource"]])]),
    plain(Info::namespaced(NETWORKING, "v1", "NetworkPolicy", "networkpolicies").short(&["netpol"])).with_generation(),
    plain(Info::cluster(NETWORKING, "v1", "ServiceCIDR", "servicecidrs")).subresources(STATUS),
    // node.k8s.io, policy
    plain(Info::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")),
    plain(Info::namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]))
        .subresources(STATUS)
        .with_generation(),
    // rbac.authorization.k8s.io
    plain(Info::cluster(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings")).name_rule(NameRule::PathSegment),
    plain(Info::cluster(RBAC, "v1", "ClusterRole", "clusterroles")).name_rule(NameRule::PathSegment),
    plain(Info::namespaced(RBAC, "v1", "RoleBinding", "rolebindings")).name_rule(NameRule::PathSegment),
    plain(Info::namespaced(RBAC, "v1", "Role", "roles")).name_rule(NameRule::PathSegment),
    // resource.k8s.io
    plain(Info::cluster(DEVICES, "v1", "DeviceClass", "deviceclasses")).with_generation(),
    plain(Info::namespaced(DEVICES, "v1", "ResourceClaim", "resourceclaims")).subresources(STATUS),
    plain(Info::namespaced(DEVICES, "v1", "ResourceClaimTemplate", "resourceclaimtemplates")),
    plain(Info::cluster(DEVICES, "v1", "ResourceSlice", "resourceslices")).with_generation().selectable(&[
        SelectableField::new("spec.nodeName", &[&["spec", "nodeName"]]),
        SelectableField::new("spec.driver", &[&["spec", "driver"]]),
    ]),
    // scheduling.k8s.io, storage.k8s.io
    plain(Info::cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses").short(&["pc"]))
        .with_generation(),
    plain(Info::cluster(STORAGE, "v1", "CSIDriver", "csidrivers")),
    plain(Info::cluster(STORAGE, "v1", "CSINode", "csinodes")),
    plain(Info::namespaced(STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities")),
    plain(Info::cluster(STORAGE, "v1", "StorageClass", "storageclasses").short(&["sc"])),
    plain(Info::cluster(STORAGE, "v1", "VolumeAttachment", "volumeattachments")).subresources(STATUS),
    plain(Info::cluster(STORAGE, "v1", "VolumeAttributesClass", "volumeattributesclasses").short(&["vac"])),
];

const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const DEVICES: &str = "resource.k8s.io";
const STORAGE: &str = "storage.k8s.io";

const fn plain(info: Info) -> Plain {
    Plain::new(info)
}

const fn admission_info(kind: &'static str, plural: &'static str) -> Info {
    Info::cluster("admissionregistration.k8s.io", "v1", kind, plural).categories(&["api-extensions"])
}

/// What a full API server registers.
pub fn all() -> Vec<ResourceHandle> {
    let own = resources::RESOURCES;
    let covered = |info: &Info| own.iter().any(|resource| is_same(resource.info(), info));
    let plain = PLAIN.iter().filter(|plain| !covered(&plain.info)).map(|plain| plain as &'static dyn Resource);
    let mut all: Vec<ResourceHandle> = own.iter().copied().chain(plain).map(ResourceHandle::from).collect();
    let converted = conversions::all(&all);
    all.extend(converted);
    all
}

fn is_same(a: &Info, b: &Info) -> bool {
    (a.group, a.version, a.plural) == (b.group, b.version, b.plural)
}

#[cfg(test)]
mod tests {
    use super::all;

    #[test]
    fn every_kind_is_in_the_schema() {
        for resource in all() {
            let info = resource.info();
            assert!(schema::builtin().kind(info.group, info.version, info.kind).is_some(), "{info:?}");
        }
    }

    #[test]
    fn no_kind_is_there_twice() {
        let mut seen = std::collections::HashSet::new();
        for resource in all() {
            let info = *resource.info();
            assert!(seen.insert((info.group, info.version, info.plural)), "{info:?}");
        }
    }
}
