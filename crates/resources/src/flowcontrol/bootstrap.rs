//! The flow schemas and priority levels every cluster has. Upstream: `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap`.
//!
//! Mandatory objects are fixed; suggested ones follow this table until somebody takes the annotation away that says so.

use std::sync::LazyLock;

use k8s_openapi::api::flowcontrol::v1::{FlowSchemaSpec, PriorityLevelConfigurationSpec};
use serde_json::{Value, json};

/// `true`: the object follows what this program thinks best.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// A default object. `spec` is complete: it has every default filled in.
#[derive(Clone, Debug)]
pub struct Default {
    pub name: &'static str,
    pub spec: Value,
    /// Written back whatever is in the store.
    pub mandatory: bool,
}

/// `(name, nominal shares, lendable percent, queues and hand size)`.
const LEVELS: &[(&str, i32, i32, (i32, i32))] = &[
    ("system", 30, 33, (64, 6)),
    ("node-high", 40, 25, (64, 6)),
    ("leader-election", 10, 0, (16, 4)),
    ("workload-high", 40, 50, (128, 6)),
    ("workload-low", 100, 90, (128, 6)),
    ("global-default", 20, 50, (128, 6)),
];
const QUEUE_LENGTH: i32 = 50;

/// Priority levels, those that flow schemas name first.
pub fn priority_levels() -> Vec<Default> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let catch_all = json!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
    }});
    let mut levels = vec![
        Default { name: "catch-all", spec: catch_all, mandatory: true },
        Default { name: "exempt", spec: exempt, mandatory: true },
    ];
    levels.extend(LEVELS.iter().map(|(name, shares, lendable, (queues, hand))| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH});
        let limited = json!({
            "nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing},
        });
        Default { name, spec: json!({"type": "Limited", "limited": limited}), mandatory: false }
    }));
    levels
}

pub fn flow_schemas() -> Vec<Default> {
    let masters = groups(&["system:masters"]);
    let everyone = groups(&[UNAUTHENTICATED, AUTHENTICATED]);
    let nodes = groups(&["system:nodes"]);
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let leaders = [users(&[manager, scheduler]), system_accounts()].concat();
    let leases = resources(&["get", "create", "update"], &["coordination.k8s.io"], &["leases"], false);
    let node_objects = resources(&["*"], &[""], &["nodes", "nodes/status"], true);
    let node_leases = resources(&["*"], &["coordination.k8s.io"], &["leases"], false);
    let probes = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]});
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let limited = |subjects: Vec<Value>, rules: Vec<Value>| json!([{"subjects": subjects, "resourceRules": rules}]);
    vec![
        schema("exempt", "exempt", 1, None, everything(masters), true),
        schema("catch-all", "catch-all", 10_000, by_user, everything(everyone.clone()), true),
        schema("system-nodes", "system", 500, by_user, everything(nodes.clone()), false),
        schema("system-node-high", "node-high", 400, by_user, limited(nodes, vec![node_objects, node_leases]), false),
        schema("probes", "exempt", 2, None, json!([{"subjects": everyone, "nonResourceRules": [probes]}]), false),
        schema("system-leader-election", "leader-election", 100, by_user, limited(leaders, vec![leases]), false),
        schema("kube-controller-manager", "workload-high", 800, by_namespace, everything(users(&[manager])), false),
        schema("kube-scheduler", "workload-high", 800, by_namespace, everything(users(&[scheduler])), false),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            by_namespace,
            everything(system_accounts()),
            false,
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            by_user,
            everything(groups(&["system:serviceaccounts"])),
            false,
        ),
        schema("global-default", "global-default", 9900, by_user, everything(everyone), false),
    ]
}

/// The only spec a mandatory flow schema may have.
pub(crate) fn mandatory_flow_schema(name: &str) -> Option<FlowSchemaSpec> {
    static FIXED: LazyLock<Vec<(&'static str, FlowSchemaSpec)>> = LazyLock::new(|| fixed(flow_schemas()));
    FIXED.iter().find(|(own, _)| *own == name).map(|(_, spec)| spec.clone())
}

pub(crate) fn mandatory_priority_level(name: &str) -> Option<PriorityLevelConfigurationSpec> {
    static FIXED: LazyLock<Vec<(&'static str, PriorityLevelConfigurationSpec)>> =
        LazyLock::new(|| fixed(priority_levels()));
    FIXED.iter().find(|(own, _)| *own == name).map(|(_, spec)| spec.clone())
}

fn fixed<T: serde::de::DeserializeOwned>(all: Vec<Default>) -> Vec<(&'static str, T)> {
    let mandatory = all.into_iter().filter(|object| object.mandatory);
    let typed = mandatory.filter_map(|object| {
        let bytes = object.spec.to_string();
        apimachinery::json::from_bytes(bytes.as_bytes()).ok().map(|spec| (object.name, spec))
    });
    typed.collect()
}

fn schema(
    name: &'static str,
    level: &str,
    precedence: i32,
    distinguisher: Option<&str>,
    rules: Value,
    mandatory: bool,
) -> Default {
    let mut spec =
        json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules});
    if let Some(method) = distinguisher {
        spec["distinguisherMethod"] = json!({ "type": method });
    }
    Default { name, spec, mandatory }
}

/// Rules by which the subjects' every request matches.
fn everything(subjects: Vec<Value>) -> Value {
    let resources = resources(&["*"], &["*"], &["*"], true);
    json!([{
        "subjects": subjects, "resourceRules": [resources],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }])
}

fn resources(verbs: &[&str], groups: &[&str], resources: &[&str], cluster_scope: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": ["*"]});
    if cluster_scope {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn system_accounts() -> Vec<Value> {
    vec![json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}})]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mandatory_objects_decode() {
        for name in ["exempt", "catch-all"] {
            assert!(mandatory_flow_schema(name).is_some(), "{name}");
            assert!(mandatory_priority_level(name).is_some(), "{name}");
        }
        assert!(mandatory_flow_schema("probes").is_none());
    }

    #[test]
    fn every_flow_schema_names_a_level() {
        let levels = priority_levels();
        for schema in flow_schemas() {
            let named = schema.spec["priorityLevelConfiguration"]["name"].as_str().expect("a name");
            assert!(levels.iter().any(|level| level.name == named), "{}", schema.name);
        }
    }
}
