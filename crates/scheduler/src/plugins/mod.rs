//! The plugins. [`defaults`] is the list, in the order in which they filter, with the weights of their scores.
//! Upstream: `pkg/scheduler/framework/plugins` and `apis/config/v1.getDefaultPlugins`.

mod image_locality;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod taint_toleration;

use crate::{
    columns::{Columns, Row},
    cycle::Verdicts,
    events::Events,
    pod::PodInfo,
};

/// A plugin; every extension point has a default that does nothing.
pub(crate) trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;

    /// What can make a pod fit that this plugin refused.
    fn helped_by(&self) -> Events {
        Events::NONE
    }

    /// Excludes nodes.
    fn filter(&self, _columns: &Columns, _pod: &PodInfo, _verdicts: &mut Verdicts) {}

    /// Scores `rows` from 0 to 100; `false`: it has no opinion on this pod.
    fn score(&self, _columns: &Columns, _pod: &PodInfo, _rows: &[Row], _scores: &mut [i64]) -> bool {
        false
    }
}

/// All of them.
pub(crate) fn defaults() -> Vec<(&'static dyn Plugin, i64)> {
    vec![
        (&node_unschedulable::NodeUnschedulable, 0),
        (&node_name::NodeName, 0),
        (&taint_toleration::TaintToleration, 3),
        (&node_affinity::Affinity, 2),
        (&node_ports::NodePorts, 0),
        (&node_resources::Fit, 1),
        (&node_resources::BalancedAllocation, 1),
        (&image_locality::ImageLocality, 1),
    ]
}
