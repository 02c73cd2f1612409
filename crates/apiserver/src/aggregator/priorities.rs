//! Which built-in group and version comes before which. Upstream: `DefaultGenericAPIServicePriorities` and
//! `cmd/kube-apiserver/app`.

/// Group, version, the group's priority, the version's.
const PRIORITIES: [(&str, &str, i32, i32); 24] = [
    ("", "v1", 18000, 1),
    ("apps", "v1", 17800, 15),
    ("events.k8s.io", "v1", 17750, 15),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v2", 17500, 30),
    ("autoscaling", "v1", 17500, 15),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("networking.k8s.io", "v1", 17200, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("storage.k8s.io", "v1", 16800, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1beta1", 16700, 12),
    ("admissionregistration.k8s.io", "v1alpha1", 16700, 9),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
    ("resource.k8s.io", "v1", 15900, 20),
    ("storagemigration.k8s.io", "v1beta1", 15800, 9),
];

/// Of a group that comes from a definition. Upstream: `crdregistration`.
pub(super) const CUSTOM: (i32, i32) = (1000, 100);

/// None: the group is not registered, as upstream has it (`apiregistration.k8s.io` itself).
pub(super) fn of(group: &str, version: &str) -> Option<(i32, i32)> {
    let known = PRIORITIES.iter().find(|(known, of, ..)| *known == group && *of == version);
    known.map(|(.., group, version)| (*group, *version))
}
