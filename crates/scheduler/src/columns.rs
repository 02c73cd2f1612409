//! Nodes as columns: one vector a property, one row a node. Events change single rows.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use api::core::v1::{Node, Taint};
use apimachinery::ObjectKey;

use crate::{
    intern::Interner,
    pod::{Basic, HostPort, PodInfo, normalized_image},
};

/// A row of the columns. Rows of nodes that went are used again.
pub(crate) type Row = usize;

/// All nodes and what runs on them.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    rows: HashMap<String, Row>,
    free: Vec<Row>,
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) live: Vec<bool>,
    pub(crate) labels: Vec<Arc<BTreeMap<String, String>>>,
    /// Ids into `taints`.
    pub(crate) node_taints: Vec<Vec<usize>>,
    pub(crate) unschedulable: Vec<bool>,
    pub(crate) allocatable: Vec<Basic>,
    pub(crate) allocatable_pods: Vec<i64>,
    pub(crate) requested: Vec<Basic>,
    pub(crate) scoring: Vec<Basic>,
    pub(crate) pods: Vec<i64>,
    /// One column for each other resource: (allocatable, requested) by row.
    pub(crate) extended: Vec<Vec<(i64, i64)>>,
    pub(crate) ports: Vec<HashMap<HostPort, usize>>,
    /// Sizes of images by normalised name.
    pub(crate) images: Vec<Arc<HashMap<String, i64>>>,
    /// On how many nodes an image is.
    pub(crate) image_spread: HashMap<String, usize>,
    pub(crate) taints: Interner<(String, String, String)>,
    pub(crate) resources: Interner<String>,
    placed: HashMap<ObjectKey, (String, PodInfo)>,
}

/// What an update of a node made better for pods that wait, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeChange {
    pub(crate) added: bool,
    pub(crate) allocatable: bool,
    pub(crate) labels: bool,
    pub(crate) taints: bool,
}

impl Columns {
    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows the vectors have; some may not be live.
    pub(crate) fn width(&self) -> usize {
        self.live.len()
    }

    /// A node as it is now.
    pub(crate) fn set_node(&mut self, node: &Node) -> NodeChange {
        let name = node.metadata.name.clone().unwrap_or_default();
        let known = self.rows.get(&name).copied();
        let row = known.unwrap_or_else(|| self.new_row(&name));
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let spec = node.spec.clone().unwrap_or_default();
        let taints = spec.taints.iter().flatten().map(|taint| self.taints.id(&taint_key(taint))).collect::<Vec<_>>();
        let unschedulable = spec.unschedulable.unwrap_or(false);
        let mut change = NodeChange { added: known.is_none(), ..NodeChange::default() };
        change.labels = *self.labels[row] != labels;
        change.taints = self.node_taints[row] != taints || self.unschedulable[row] != unschedulable;
        change.allocatable = self.set_allocatable(row, node);
        if change.labels {
            self.labels[row] = Arc::new(labels);
        }
        self.node_taints[row] = taints;
        self.unschedulable[row] = unschedulable;
        self.set_images(row, node);
        change
    }

    fn new_row(&mut self, name: &str) -> Row {
        let row = self.free.pop().unwrap_or_else(|| {
            self.names.push(Arc::from(""));
            self.live.push(false);
            self.labels.push(Arc::default());
            self.node_taints.push(Vec::new());
            self.unschedulable.push(false);
            self.allocatable.push(Basic::default());
            self.allocatable_pods.push(0);
            self.requested.push(Basic::default());
            self.scoring.push(Basic::default());
            self.pods.push(0);
            self.ports.push(HashMap::new());
            self.images.push(Arc::default());
            for column in &mut self.extended {
                column.push((0, 0));
            }
            self.live.len() - 1
        });
        self.names[row] = Arc::from(name);
        self.live[row] = true;
        self.rows.insert(name.to_owned(), row);
        // Pods can be known before their node is.
        let waiting: Vec<PodInfo> =
            self.placed.values().filter(|(node, _)| node == name).map(|(_, info)| info.clone()).collect();
        for info in waiting {
            self.count(row, &info, 1);
        }
        row
    }

    fn set_allocatable(&mut self, row: Row, node: &Node) -> bool {
        let mut basic = Basic::default();
        let mut pods = 0;
        let mut extended = vec![0; self.extended.len()];
        for (name, quantity) in node.status.iter().flat_map(|status| status.allocatable.iter().flatten()) {
            let quantity: apimachinery::Quantity = quantity.0.parse().unwrap_or_default();
            match name.as_str() {
                "cpu" => basic.milli_cpu = quantity.milli_value(),
                "memory" => basic.memory = quantity.value(),
                "ephemeral-storage" => basic.ephemeral_storage = quantity.value(),
                "pods" => pods = quantity.value(),
                _ => {
                    let id = self.resource(name);
                    extended.resize(self.extended.len(), 0);
                    extended[id] = quantity.value();
                }
            }
        }
        let mut changed = self.allocatable[row] != basic || self.allocatable_pods[row] != pods;
        self.allocatable[row] = basic;
        self.allocatable_pods[row] = pods;
        for (column, amount) in self.extended.iter_mut().zip(extended) {
            changed |= column[row].0 != amount;
            column[row].0 = amount;
        }
        changed
    }

    fn resource(&mut self, name: &str) -> usize {
        let id = self.resources.id(&name.to_owned());
        if id == self.extended.len() {
            self.extended.push(vec![(0, 0); self.width()]);
        }
        id
    }

    fn set_images(&mut self, row: Row, node: &Node) {
        let mut images = HashMap::new();
        for image in node.status.iter().flat_map(|status| status.images.iter().flatten()) {
            for name in image.names.iter().flatten() {
                images.insert(normalized_image(name), image.size_bytes.unwrap_or(0));
            }
        }
        if *self.images[row] != images {
            self.forget_images(row);
            for name in images.keys() {
                *self.image_spread.entry(name.clone()).or_default() += 1;
            }
            self.images[row] = Arc::new(images);
        }
    }

    fn forget_images(&mut self, row: Row) {
        let old = std::mem::take(&mut self.images[row]);
        for name in old.keys() {
            if let Some(count) = self.image_spread.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.image_spread.remove(name);
                }
            }
        }
    }

    /// A node that is gone. Its pods stay known, for the case that it comes back.
    pub(crate) fn remove_node(&mut self, name: &str) {
        let Some(row) = self.rows.remove(name) else { return };
        self.forget_images(row);
        self.live[row] = false;
        self.labels[row] = Arc::default();
        self.node_taints[row].clear();
        self.unschedulable[row] = false;
        self.allocatable[row] = Basic::default();
        self.allocatable_pods[row] = 0;
        self.requested[row] = Basic::default();
        self.scoring[row] = Basic::default();
        self.pods[row] = 0;
        self.ports[row].clear();
        for column in &mut self.extended {
            column[row] = (0, 0);
        }
        self.free.push(row);
    }

    /// A pod that is on a node, or is about to be.
    pub(crate) fn place(&mut self, info: PodInfo, node: &str) {
        self.unplace(&info.key);
        if let Some(row) = self.rows.get(node).copied() {
            self.count(row, &info, 1);
        }
        self.placed.insert(info.key.clone(), (node.to_owned(), info));
    }

    /// A pod that takes nothing any more; the node it was on.
    pub(crate) fn unplace(&mut self, key: &ObjectKey) -> Option<String> {
        let (node, info) = self.placed.remove(key)?;
        if let Some(row) = self.rows.get(&node).copied() {
            self.count(row, &info, -1);
        }
        Some(node)
    }

    fn count(&mut self, row: Row, info: &PodInfo, sign: i64) {
        let add = |to: &mut Basic, amounts: &Basic| {
            to.milli_cpu += sign * amounts.milli_cpu;
            to.memory += sign * amounts.memory;
            to.ephemeral_storage += sign * amounts.ephemeral_storage;
        };
        add(&mut self.requested[row], &info.requests);
        add(&mut self.scoring[row], &info.scoring);
        self.pods[row] += sign;
        for (name, amount) in &info.extended {
            let id = self.resource(name);
            self.extended[id][row].1 += sign * amount;
        }
        for port in &info.ports {
            if sign > 0 {
                *self.ports[row].entry(port.clone()).or_default() += 1;
            } else if let Some(count) = self.ports[row].get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.ports[row].remove(port);
                }
            }
        }
    }
}

pub(crate) fn taint_key(taint: &Taint) -> (String, String, String) {
    (taint.key.clone(), taint.value.clone().unwrap_or_default(), taint.effect.clone())
}
