//! NodePorts: no two pods of a node have the same port of the host.

use super::Plugin;
use crate::{
    columns::Columns,
    cycle::Verdicts,
    events::Events,
    pod::{HostPort, PodInfo},
};

const EVERYWHERE: &str = "0.0.0.0";

pub(super) struct NodePorts;

fn conflict(one: &HostPort, other: &HostPort) -> bool {
    one.port == other.port
        && one.protocol == other.protocol
        && (one.ip == other.ip || one.ip == EVERYWHERE || other.ip == EVERYWHERE)
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::POD_GONE)
    }

    fn filter(&self, columns: &Columns, pod: &PodInfo, verdicts: &mut Verdicts) {
        if pod.ports.is_empty() {
            return;
        }
        for row in verdicts.rows() {
            let taken = columns.ports[row].keys();
            if taken.into_iter().any(|taken| pod.ports.iter().any(|wanted| conflict(wanted, taken))) {
                verdicts.refuse(row, "node(s) didn't have free ports for the requested pod ports");
            }
        }
    }
}
