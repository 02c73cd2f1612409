//! Tables of the default roles and bindings. The facts are those of upstream's `policy.go` and `namespace_policy.go`, with
//! the feature gates that are on by default in v1.36.

use super::RoleRow;

const TO_ADMIN: &[(&str, &str)] = &[("rbac.authorization.k8s.io/aggregate-to-admin", "true")];
const TO_EDIT: &[(&str, &str)] = &[("rbac.authorization.k8s.io/aggregate-to-edit", "true")];
const TO_VIEW: &[(&str, &str)] = &[("rbac.authorization.k8s.io/aggregate-to-view", "true")];

/// Roles made of all roles with a label.
pub(super) const AGGREGATED: &[(&str, &str)] = &[
    ("admin", "rbac.authorization.k8s.io/aggregate-to-admin"),
    ("edit", "rbac.authorization.k8s.io/aggregate-to-edit"),
    ("view", "rbac.authorization.k8s.io/aggregate-to-view"),
];

const fn row(name: &'static str, rules: &'static [&'static str]) -> RoleRow {
    RoleRow { name, labels: &[], rules }
}

const fn labelled(
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
    rules: &'static [&'static str],
) -> RoleRow {
    RoleRow { name, labels, rules }
}

/// ClusterRoles.
pub(super) const ROLES: &[RoleRow] = &[
    row("cluster-admin", &["* | * | *", "* | *"]),
    row(
        "system:discovery",
        &["get | /livez /readyz /healthz /version /version/ /openapi /openapi/* /api /api/* /apis /apis/*"],
    ),
    row(
        "system:monitoring",
        &[
            "get | /metrics /metrics/slis /livez /readyz /healthz /livez/* /readyz/* /healthz/*",
            "get | /flagz",
            "get | /statusz",
        ],
    ),
    row(
        "system:basic-user",
        &[
            "create | authorization.k8s.io | selfsubjectaccessreviews selfsubjectrulesreviews",
            "create | authentication.k8s.io | selfsubjectreviews",
        ],
    ),
    row("system:public-info-viewer", &["get | /livez /readyz /healthz /version /version/"]),
    row(
        "system:service-account-issuer-discovery",
        &[
            "get | /.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        ],
    ),
    labelled(
        "system:aggregate-to-admin",
        TO_ADMIN,
        &[
            "create | authorization.k8s.io | localsubjectaccessreviews",
            "create delete deletecollection get list patch update watch | rbac.authorization.k8s.io | roles rolebindings",
        ],
    ),
    labelled(
        "system:aggregate-to-edit",
        TO_EDIT,
        &[
            "get list watch | core | pods/attach pods/proxy pods/exec pods/portforward secrets services/proxy",
            "impersonate | core | serviceaccounts",
            "create delete deletecollection patch update | core | pods pods/attach pods/proxy pods/exec pods/portforward",
            "create | core | pods/eviction",
            "create delete deletecollection patch update | core | replicationcontrollers replicationcontrollers/scale \
             serviceaccounts services services/proxy persistentvolumeclaims configmaps secrets events",
            "create | core | serviceaccounts/token",
            "create delete deletecollection patch update | apps | statefulsets statefulsets/scale daemonsets deployments \
             deployments/scale deployments/rollback replicasets replicasets/scale",
            "create delete deletecollection patch update | autoscaling | horizontalpodautoscalers",
            "create delete deletecollection patch update | batch | jobs cronjobs",
            "create delete deletecollection patch update | extensions | daemonsets deployments deployments/scale \
             deployments/rollback ingresses replicasets replicasets/scale replicationcontrollers/scale networkpolicies",
            "create delete deletecollection patch update | policy | poddisruptionbudgets",
            "create delete deletecollection patch update | networking.k8s.io | networkpolicies ingresses",
            "create delete deletecollection get list patch update watch | coordination.k8s.io | leases",
            "create delete deletecollection patch update | resource.k8s.io | resourceclaims resourceclaimtemplates",
        ],
    ),
    labelled(
        "system:aggregate-to-view",
        TO_VIEW,
        &[
            "get list watch | core | pods replicationcontrollers replicationcontrollers/scale serviceaccounts services \
             services/status endpoints persistentvolumeclaims persistentvolumeclaims/status configmaps",
            "get list watch | core | limitranges resourcequotas bindings events pods/status resourcequotas/status \
             namespaces/status replicationcontrollers/status pods/log",
            "get list watch | core | namespaces",
            "get list watch | discovery.k8s.io | endpointslices",
            "get list watch | apps | controllerrevisions statefulsets statefulsets/status statefulsets/scale daemonsets \
             daemonsets/status deployments deployments/status deployments/scale replicasets replicasets/status replicasets/scale",
            "get list watch | autoscaling | horizontalpodautoscalers horizontalpodautoscalers/status",
            "get list watch | batch | jobs cronjobs cronjobs/status jobs/status",
            "get list watch | extensions | daemonsets daemonsets/status deployments deployments/scale deployments/status \
             ingresses ingresses/status replicasets replicasets/scale replicasets/status replicationcontrollers/scale networkpolicies",
            "get list watch | policy | poddisruptionbudgets poddisruptionbudgets/status",
            "get list watch | networking.k8s.io | networkpolicies ingresses ingresses/status",
            "get list watch | resource.k8s.io | resourceclaims resourceclaims/status resourceclaimtemplates",
        ],
    ),
    row(
        "system:node",
        &[
            "create | authentication.k8s.io | tokenreviews",
            "create | authorization.k8s.io | localsubjectaccessreviews subjectaccessreviews",
            "get list watch | core | services",
            "create get list watch | core | nodes",
            "patch update | core | nodes/status",
            "patch update | core | nodes",
            "create patch update | core | events",
            "get list watch | core | pods",
            "create delete | core | pods",
            "patch update | core | pods/status",
            "create | core | pods/eviction",
            "get list watch | core | configmaps secrets",
            "get | core | persistentvolumeclaims persistentvolumes",
            "get | core | endpoints",
            "create get list watch | certificates.k8s.io | certificatesigningrequests",
            "create delete get patch update | coordination.k8s.io | leases",
            "get | storage.k8s.io | volumeattachments",
            "create | core | serviceaccounts/token",
            "get patch update | core | persistentvolumeclaims/status",
            "get list watch | storage.k8s.io | csidrivers",
            "create delete get patch update | storage.k8s.io | csinodes",
            "get list watch | node.k8s.io | runtimeclasses",
            "get | resource.k8s.io | resourceclaims",
            "deletecollection | resource.k8s.io | resourceslices",
            "get | core | serviceaccounts",
        ],
    ),
    row(
        "system:node-problem-detector",
        &["get | core | nodes", "patch | core | nodes/status", "create patch update | core events.k8s.io | events"],
    ),
    row(
        "system:kubelet-api-admin",
        &[
            "get list watch | core | nodes",
            "proxy | core | nodes",
            "* | core | nodes/proxy nodes/metrics nodes/stats nodes/log",
            "* | core | nodes/configz nodes/healthz nodes/pods",
        ],
    ),
    row("system:node-bootstrapper", &["create get list watch | certificates.k8s.io | certificatesigningrequests"]),
    row(
        "system:auth-delegator",
        &["create | authentication.k8s.io | tokenreviews", "create | authorization.k8s.io | subjectaccessreviews"],
    ),
    row("system:kube-aggregator", &["get list watch | core | endpoints services"]),
    row(
        "system:heapster",
        &["get list watch | core | events pods nodes namespaces", "get list watch | extensions | deployments"],
    ),
    row("system:kube-dns", &["list watch | core | endpoints services"]),
    row(
        "system:kube-controller-manager",
        &[
            "create patch update | core events.k8s.io | events",
            "create | coordination.k8s.io | leases",
            "get update | coordination.k8s.io | leases | kube-controller-manager",
            "create | core | secrets serviceaccounts",
            "delete | core | secrets",
            "get | core | configmaps namespaces secrets serviceaccounts",
            "update | core | secrets serviceaccounts",
            "create | authentication.k8s.io | tokenreviews",
            "create | authorization.k8s.io | subjectaccessreviews",
            "list watch | * | *",
            "create | core | serviceaccounts/token",
        ],
    ),
    row(
        "system:kube-scheduler",
        &[
            "create patch update | core events.k8s.io | events",
            "create | coordination.k8s.io | leases",
            "get update | coordination.k8s.io | leases | kube-scheduler",
            "get list watch | core | nodes",
            "delete get list watch | core | pods",
            "create | core | bindings pods/binding",
            "patch update | core | pods/status",
            "get list watch | core | replicationcontrollers services",
            "get list watch | apps extensions | replicasets",
            "get list watch | apps | statefulsets",
            "get list watch | policy | poddisruptionbudgets",
            "get list watch | core | persistentvolumeclaims persistentvolumes",
            "create | authentication.k8s.io | tokenreviews",
            "create | authorization.k8s.io | subjectaccessreviews",
            "get list watch | storage.k8s.io | csinodes",
            "get list watch | storage.k8s.io | volumeattachments",
            "get list watch | core | namespaces",
            "get list watch | storage.k8s.io | csidrivers",
            "get list watch | storage.k8s.io | csistoragecapacities",
            "get list watch | resource.k8s.io | deviceclasses",
            "get list patch update watch | resource.k8s.io | resourceclaims",
            "get list patch update watch | resource.k8s.io | resourceclaims/status",
            "get list patch update watch | core | pods/finalizers",
            "get list watch | resource.k8s.io | resourceslices",
            // `DRAExtendedResource` and `DRAResourceClaimGranularStatusAuthorization`, on since v1.36.
            "create delete | resource.k8s.io | resourceclaims",
            "patch update | resource.k8s.io | resourceclaims/binding",
        ],
    ),
    row(
        "system:persistent-volume-provisioner",
        &[
            "create delete get list watch | core | persistentvolumes",
            "get list update watch | core | persistentvolumeclaims",
            "get list watch | storage.k8s.io | storageclasses",
            "watch | core | events",
            "create patch update | core events.k8s.io | events",
        ],
    ),
    row(
        "system:volume-scheduler",
        &[
            "get list patch update watch | core | persistentvolumes",
            "get list watch | storage.k8s.io | storageclasses",
            "get list patch update watch | core | persistentvolumeclaims",
        ],
    ),
    row(
        "system:node-proxier",
        &[
            "list watch | core | endpoints services",
            "get list watch | core | nodes",
            "create patch update | core events.k8s.io | events",
            "list watch | networking.k8s.io | servicecidrs",
            "list watch | discovery.k8s.io | endpointslices",
        ],
    ),
    row(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["create | certificates.k8s.io | certificatesigningrequests/nodeclient"],
    ),
    row(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["create | certificates.k8s.io | certificatesigningrequests/selfnodeclient"],
    ),
    row(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &["approve | certificates.k8s.io | signers | kubernetes.io/legacy-unknown"],
    ),
    row(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &["approve | certificates.k8s.io | signers | kubernetes.io/kubelet-serving"],
    ),
    row(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &["approve | certificates.k8s.io | signers | kubernetes.io/kube-apiserver-client"],
    ),
    row(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &["approve | certificates.k8s.io | signers | kubernetes.io/kube-apiserver-client-kubelet"],
    ),
];

/// ClusterRoleBindings, each named as its role.
pub(super) const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["Group system:masters"]),
    ("system:monitoring", &["Group system:monitoring"]),
    ("system:discovery", &["Group system:authenticated"]),
    ("system:basic-user", &["Group system:authenticated"]),
    ("system:public-info-viewer", &["Group system:authenticated", "Group system:unauthenticated"]),
    ("system:node-proxier", &["User system:kube-proxy"]),
    ("system:kube-controller-manager", &["User system:kube-controller-manager"]),
    ("system:kube-dns", &["ServiceAccount kube-system/kube-dns"]),
    ("system:kube-scheduler", &["User system:kube-scheduler"]),
    ("system:volume-scheduler", &["User system:kube-scheduler"]),
    ("system:service-account-issuer-discovery", &["Group system:serviceaccounts"]),
    // Nodes are authorised by the Node authorizer, so nobody is bound here.
    ("system:node", &[]),
];

/// Roles of system namespaces: namespace, name, rules.
pub(super) const NAMESPACED_ROLES: &[(&str, &str, &[&str])] = &[
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        &["get list watch | core | configmaps | extension-apiserver-authentication"],
    ),
    ("kube-system", "system:controller:bootstrap-signer", &["get list watch | core | secrets"]),
    ("kube-system", "system:controller:cloud-provider", &["create get list watch | core | configmaps"]),
    (
        "kube-system",
        "system:controller:token-cleaner",
        &["delete get list watch | core | secrets", "create patch update | core events.k8s.io | events"],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        &["watch | core | configmaps", "get update | core | configmaps | kube-controller-manager"],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        &["watch | core | configmaps", "get update | core | configmaps | kube-scheduler"],
    ),
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        &[
            "get list watch | core | configmaps",
            "update | core | configmaps | cluster-info",
            "create patch update | core events.k8s.io | events",
        ],
    ),
];

/// RoleBindings of system namespaces: namespace, name, role, subjects.
pub(super) const NAMESPACED_BINDINGS: &[(&str, &str, &str, &[&str])] = &[
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &["User system:kube-controller-manager", "ServiceAccount kube-system/kube-controller-manager"],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &["User system:kube-scheduler", "ServiceAccount kube-system/kube-scheduler"],
    ),
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &["User system:kube-controller-manager", "User system:kube-scheduler"],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &["ServiceAccount kube-system/bootstrap-signer"],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &["ServiceAccount kube-system/cloud-provider"],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &["ServiceAccount kube-system/token-cleaner"],
    ),
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &["ServiceAccount kube-system/bootstrap-signer"],
    ),
];
