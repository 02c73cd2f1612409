//! Whether a pod may be on a node by its node selector and required node affinity. Upstream:
//! `component-helpers/scheduling/corev1/nodeaffinity`.

use crate::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether the node has all labels and fields that the pod requires.
pub fn fits(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    if !spec.node_selector.iter().flatten().all(|(key, value)| label(key) == Some(value)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    match affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref()) {
        Some(required) => selects(required, node),
        None => true,
    }
}

/// Whether any term of the selector holds.
pub fn selects(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| holds(term, node))
}

/// A term without requirements selects nothing.
fn holds(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let field = |key: &str| if key == "metadata.name" { node.metadata.name.as_deref() } else { None };
    expressions.iter().all(|requirement| meets(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| meets(requirement, field(&requirement.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|known| known == value));
    let compared = || {
        let one = values.first()?.parse::<i64>().ok()?;
        Some(value?.parse::<i64>().ok()?.cmp(&one))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared() == Some(std::cmp::Ordering::Greater),
        "Lt" => compared() == Some(std::cmp::Ordering::Less),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(expressions: Value, fields: Value, expected: bool) {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "a", "labels": {"zone": "z", "cores": "8"}}})).unwrap();
        let term = json!({"matchExpressions": expressions, "matchFields": fields});
        let spec = json!({"containers": [], "affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(fits(&spec, &node), expected);
    }

    #[test]
    fn requirements_are_compared() {
        let one =
            |key: &str, operator: &str, values: &[&str]| json!([{"key": key, "operator": operator, "values": values}]);
        check(one("zone", "In", &["y", "z"]), json!([]), true);
        check(one("zone", "NotIn", &["z"]), json!([]), false);
        check(one("missing", "NotIn", &["z"]), json!([]), true);
        check(one("missing", "DoesNotExist", &[]), json!([]), true);
        check(one("cores", "Gt", &["4"]), json!([]), true);
        check(one("cores", "Lt", &["8"]), json!([]), false);
        check(json!([]), one("metadata.name", "In", &["a"]), true);
        check(json!([]), json!([]), false);
    }
}
