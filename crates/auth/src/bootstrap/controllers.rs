//! Table of the controllers' roles; each is bound to the service account of the same name in `kube-system`.
//! The facts are those of upstream's `controller_policy.go`: what they watch, they watch as
//! `system:kube-controller-manager`. `service-lb-controller` is the one of our own: it
//! gives LoadBalancer Services an address, as a cloud provider would.

use super::RoleRow;

const EVENTS: &str = "create patch update | core events.k8s.io | events";

const fn row(name: &'static str, rules: &'static [&'static str]) -> RoleRow {
    RoleRow { name, labels: &[], rules }
}

pub(super) const ROLES: &[RoleRow] = &[
    row(
        "system:controller:attachdetach-controller",
        &[
            "list watch | core | persistentvolumes persistentvolumeclaims",
            "get list watch | core | nodes",
            "patch update | core | nodes/status",
            "list watch | core | pods",
            EVENTS,
            "create delete get list watch | storage.k8s.io | volumeattachments",
            "get list watch | storage.k8s.io | csidrivers",
            "get list watch | storage.k8s.io | csinodes",
        ],
    ),
    row(
        "system:controller:clusterrole-aggregation-controller",
        &["escalate get list patch update watch | rbac.authorization.k8s.io | clusterroles"],
    ),
    row(
        "system:controller:cronjob-controller",
        &[
            "get list update watch | batch | cronjobs",
            "create delete get list patch update watch | batch | jobs",
            "update | batch | cronjobs/status",
            "update | batch | cronjobs/finalizers",
            "delete list | core | pods",
            EVENTS,
        ],
    ),
    row(
        "system:controller:daemon-set-controller",
        &[
            "get list watch | apps extensions | daemonsets",
            "update | apps extensions | daemonsets/status",
            "update | apps extensions | daemonsets/finalizers",
            "list watch | core | nodes",
            "create delete list patch watch | core | pods",
            "create | core | pods/binding",
            "create delete get list patch update watch | apps | controllerrevisions",
            EVENTS,
        ],
    ),
    row(
        "system:controller:deployment-controller",
        &[
            "get list update watch | apps extensions | deployments",
            "update | apps extensions | deployments/status",
            "update | apps extensions | deployments/finalizers",
            "create delete get list patch update watch | apps extensions | replicasets",
            "get list update watch | core | pods",
            EVENTS,
        ],
    ),
    row(
        "system:controller:disruption-controller",
        &[
            "get list watch | apps extensions | deployments",
            "get list watch | apps extensions | replicasets",
            "get list watch | core | replicationcontrollers",
            "get list watch | policy | poddisruptionbudgets",
            "get list watch | apps | statefulsets",
            "update | policy | poddisruptionbudgets/status",
            "patch update | core | pods/status",
            "get | * | */scale",
            EVENTS,
        ],
    ),
    row(
        "system:controller:endpoint-controller",
        &[
            "get list watch | core | pods services",
            "create delete get list update | core | endpoints",
            "create | core | endpoints/restricted",
            EVENTS,
        ],
    ),
    row(
        "system:controller:endpointslice-controller",
        &[
            "get list watch | core | nodes pods services",
            "update | core | services/finalizers",
            "create delete get list update | discovery.k8s.io | endpointslices",
            EVENTS,
        ],
    ),
    row(
        "system:controller:endpointslicemirroring-controller",
        &[
            "get list watch | core | endpoints services",
            "update | core | services/finalizers",
            "update | core | endpoints/finalizers",
            "create delete get list update | discovery.k8s.io | endpointslices",
            EVENTS,
        ],
    ),
    row(
        "system:controller:expand-controller",
        &[
            "get list patch update watch | core | persistentvolumes",
            "patch update | core | persistentvolumeclaims/status",
            "get list watch | core | persistentvolumeclaims",
            "get list watch | storage.k8s.io | storageclasses",
            "get | core | services endpoints",
            "get | core | secrets",
            EVENTS,
        ],
    ),
    row(
        "system:controller:ephemeral-volume-controller",
        &[
            "get list watch | core | pods",
            "update | core | pods/finalizers",
            "create get list watch | core | persistentvolumeclaims",
            EVENTS,
        ],
    ),
    row(
        "system:controller:resource-claim-controller",
        &[
            "get list watch | core | pods",
            "update | core | pods/finalizers",
            "create delete get list watch | resource.k8s.io | resourceclaims",
            "patch update | resource.k8s.io | resourceclaims resourceclaims/status resourceclaims/binding",
            "patch update | core | pods/status",
            EVENTS,
        ],
    ),
    row(
        "system:controller:device-taint-eviction-controller",
        &[
            "delete get list watch | core | pods",
            "patch update | core | pods/status",
            "get list watch | resource.k8s.io | resourceclaims",
            "get list watch | resource.k8s.io | resourceslices",
            "get list watch | resource.k8s.io | deviceclasses",
            EVENTS,
        ],
    ),
    row("system:controller:generic-garbage-collector", &["delete get list patch update watch | * | *", EVENTS]),
    row(
        "system:controller:horizontal-pod-autoscaler",
        &[
            "get list watch | autoscaling | horizontalpodautoscalers",
            "update | autoscaling | horizontalpodautoscalers/status",
            "get update | * | */scale",
            "list | core | pods",
            "list | metrics.k8s.io | pods",
            "get list | custom.metrics.k8s.io | *",
            "get list | external.metrics.k8s.io | *",
            EVENTS,
        ],
    ),
    row(
        "system:controller:job-controller",
        &[
            "get list patch update watch | batch | jobs",
            "update | batch | jobs/status",
            "update | batch | jobs/finalizers",
            "create delete list patch watch | core | pods",
            EVENTS,
        ],
    ),
    row(
        "system:controller:namespace-controller",
        &[
            "delete get list watch | core | namespaces",
            "update | core | namespaces/finalize namespaces/status",
            "delete deletecollection get list | * | *",
        ],
    ),
    row(
        "system:controller:node-controller",
        &[
            "delete get list patch update | core | nodes",
            "patch update | core | nodes/status",
            "patch update | core | pods/status",
            "delete get list | core | pods",
            EVENTS,
        ],
    ),
    row(
        "system:controller:persistent-volume-binder",
        &[
            "create delete get list update watch | core | persistentvolumes",
            "update | core | persistentvolumes/status",
            "get list update watch | core | persistentvolumeclaims",
            "update | core | persistentvolumeclaims/status",
            "create delete get list watch | core | pods",
            "get list watch | storage.k8s.io | storageclasses",
            "create delete get update | core | endpoints",
            "create delete get | core | services",
            "get | core | secrets",
            "get list | core | nodes",
            "watch | core | events",
            EVENTS,
        ],
    ),
    row(
        "system:controller:pod-garbage-collector",
        &["delete list watch | core | pods", "get list | core | nodes", "patch | core | pods/status"],
    ),
    row(
        "system:controller:replicaset-controller",
        &[
            "get list update watch | apps extensions | replicasets",
            "update | apps extensions | replicasets/status",
            "update | apps extensions | replicasets/finalizers",
            "create delete list patch watch | core | pods",
            EVENTS,
        ],
    ),
    row(
        "system:controller:replication-controller",
        &[
            "get list update watch | core | replicationcontrollers",
            "update | core | replicationcontrollers/status",
            "update | core | replicationcontrollers/finalizers",
            "create delete list patch watch | core | pods",
            EVENTS,
        ],
    ),
    row(
        "system:controller:resourcequota-controller",
        &["list watch | * | *", "update | core | resourcequotas/status", EVENTS],
    ),
    row("system:controller:route-controller", &["list watch | core | nodes", "patch | core | nodes/status", EVENTS]),
    row("system:controller:service-account-controller", &["create | core | serviceaccounts", EVENTS]),
    row(
        "system:controller:service-controller",
        &[
            "get list watch | core | services",
            "patch update | core | services/status",
            "list watch | core | nodes",
            EVENTS,
        ],
    ),
    row(
        "system:controller:service-cidrs-controller",
        &[
            "get list patch update watch | networking.k8s.io | servicecidrs",
            "patch update | networking.k8s.io | servicecidrs/finalizers",
            "patch update | networking.k8s.io | servicecidrs/status",
            "get list watch | networking.k8s.io | ipaddresses",
            EVENTS,
        ],
    ),
    row(
        "system:controller:service-lb-controller",
        &["get list watch | core | services nodes", "patch update | core | services/status", EVENTS],
    ),
    row(
        "system:controller:statefulset-controller",
        &[
            "list watch | core | pods",
            "get list watch | apps | statefulsets",
            "update | apps | statefulsets/status",
            "update | apps | statefulsets/finalizers",
            "create delete get patch update | core | pods",
            "create delete get list patch update watch | apps | controllerrevisions",
            "create get | core | persistentvolumeclaims",
            "delete update | core | persistentvolumeclaims",
            EVENTS,
        ],
    ),
    row("system:controller:ttl-controller", &["list patch update watch | core | nodes", EVENTS]),
    row("system:controller:ttl-after-finished-controller", &["delete get list watch | batch | jobs", EVENTS]),
    row(
        "system:controller:certificate-controller",
        &[
            "delete get list watch | certificates.k8s.io | certificatesigningrequests",
            "update | certificates.k8s.io | certificatesigningrequests/approval certificatesigningrequests/status",
            "approve | certificates.k8s.io | signers | kubernetes.io/kube-apiserver-client-kubelet",
            "sign | certificates.k8s.io | signers | kubernetes.io/legacy-unknown kubernetes.io/kubelet-serving \
         kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet",
            "create | authorization.k8s.io | subjectaccessreviews",
            EVENTS,
        ],
    ),
    row(
        "system:controller:pvc-protection-controller",
        &["get list update watch | core | persistentvolumeclaims", "get list watch | core | pods", EVENTS],
    ),
    row("system:controller:pv-protection-controller", &["get list update watch | core | persistentvolumes", EVENTS]),
    row(
        "system:controller:volumeattributesclass-protection-controller",
        &[
            "get list watch | core | persistentvolumeclaims",
            "get list watch | core | persistentvolumes",
            "get list update watch | storage.k8s.io | volumeattributesclasses",
            EVENTS,
        ],
    ),
    row("system:controller:root-ca-cert-publisher", &["create update | core | configmaps", EVENTS]),
    row(
        "system:controller:validatingadmissionpolicy-status-controller",
        &[
            "get list watch | admissionregistration.k8s.io | validatingadmissionpolicies",
            "get patch update | admissionregistration.k8s.io | validatingadmissionpolicies/status",
            EVENTS,
        ],
    ),
    row(
        "system:controller:legacy-service-account-token-cleaner",
        &[
            "get | core | configmaps | kube-apiserver-legacy-service-account-token-tracking",
            "delete patch | core | secrets",
        ],
    ),
    row(
        "system:controller:selinux-warning-controller",
        &[
            "get list watch | core | persistentvolumes persistentvolumeclaims pods",
            "get list watch | storage.k8s.io | csidrivers",
            EVENTS,
        ],
    ),
    row(
        "system:controller:storage-version-migrator-controller",
        &["create list patch | * | *", "update | storagemigration.k8s.io | storageversionmigrations/status"],
    ),
];
