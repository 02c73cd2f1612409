//! Taints and tolerations. Upstream: `component-helpers/scheduling/corev1`, core/v1 `Toleration.ToleratesTaint`.

use crate::core::v1::{Node, Taint, Toleration};

/// The node does not say that it is well.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The node says nothing.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// An administrator does not want pods on it.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Its memory runs out.
pub const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
/// Its disk runs out.
pub const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
/// Its process numbers run out.
pub const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
/// It has no pod network.
pub const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";
/// An administrator says that it is off, so that its pods may be given up.
pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The taints of a node.
pub fn of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Whether a toleration covers a taint. Operators this version does not know cover nothing.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let empty_or =
        |wanted: Option<&str>, actual: &str| wanted.is_none_or(|wanted| wanted.is_empty() || wanted == actual);
    if !empty_or(toleration.effect.as_deref(), &taint.effect) || !empty_or(toleration.key.as_deref(), &taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        None | Some("" | "Equal") => {
            toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        Some("Exists") => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_values_and_effects_are_compared() {
        let taint = Taint { key: "k".into(), value: Some("v".into()), effect: "NoExecute".into(), time_added: None };
        let check = |key: &str, operator: &str, value: &str, effect: &str| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let toleration = Toleration {
                key: some(key),
                operator: some(operator),
                value: some(value),
                effect: some(effect),
                toleration_seconds: None,
            };
            tolerates(&toleration, &taint)
        };
        assert!(check("k", "", "v", ""));
        assert!(check("k", "Equal", "v", "NoExecute"));
        assert!(check("", "Exists", "", ""));
        assert!(!check("k", "Equal", "w", ""));
        assert!(!check("k", "Exists", "", "NoSchedule"));
        assert!(!check("k", "Gt", "v", ""));
    }
}
