//! NodeName: a pod that names its node goes there or nowhere.

use super::Plugin;
use crate::{columns::Columns, cycle::Verdicts, events::Events, pod::PodInfo};

pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn helped_by(&self) -> Events {
        Events::NODE_ADDED
    }

    fn filter(&self, columns: &Columns, pod: &PodInfo, verdicts: &mut Verdicts) {
        let Some(wanted) = api::pod::node_name(&pod.pod) else { return };
        for row in verdicts.rows().filter(|row| &*columns.names[*row] != wanted) {
            verdicts.refuse(row, "node(s) didn't match the requested node name");
        }
    }
}
