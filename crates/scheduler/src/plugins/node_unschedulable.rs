//! NodeUnschedulable: cordoned nodes take no pods, unless these tolerate it.

use super::Plugin;
use crate::{columns::Columns, cycle::Verdicts, events::Events, plugins::taint_toleration::tolerates, pod::PodInfo};

pub(super) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_TAINTS)
    }

    fn filter(&self, columns: &Columns, pod: &PodInfo, verdicts: &mut Verdicts) {
        let taint = ("node.kubernetes.io/unschedulable".to_owned(), String::new(), "NoSchedule".to_owned());
        if pod.tolerations().iter().any(|toleration| tolerates(toleration, &taint)) {
            return;
        }
        for row in verdicts.rows().filter(|row| columns.unschedulable[*row]) {
            verdicts.refuse(row, "node(s) were unschedulable");
        }
    }
}
