//! What to do for a Deployment; pure. Upstream: `deployment_controller.go` `syncDeployment` and `sync.go`.

use std::sync::Arc;

use api::{
    IntOrString, LabelSelector, ObjectMeta,
    apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec},
    core::v1::Pod,
    owner::controller_reference,
    pod_template::{HASH_LABEL, equal_ignoring_hash, hash},
};
use informer::{EventKind, Next};
use jiff::Timestamp;

use super::{progress, recreate, revision, rolling, scale, status};

pub(super) struct View<'a> {
    pub(super) deployment: &'a Deployment,
    /// Those it controls.
    pub(super) replica_sets: Vec<Arc<ReplicaSet>>,
    /// The pods of these; read for Recreate only.
    pub(super) pods: Vec<Arc<Pod>>,
}

pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// The Deployment with the status and revision annotation to write; `None` if they are so already.
    pub(super) updated: Option<Box<Deployment>>,
    pub(super) next: Next,
}

#[derive(Debug)]
pub(super) enum Action {
    Create(Box<ReplicaSet>),
    Update(Arc<ReplicaSet>),
    Delete(Arc<ReplicaSet>),
    Event(EventKind, &'static str, String),
}

/// A rollout being planned: each decision is made on the world as the decisions before it leave it.
pub(super) struct Rollout {
    pub(super) deployment: Deployment,
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    /// The one with the Deployment's present template, as an index of `sets`.
    pub(super) new: Option<usize>,
    /// The others, oldest first.
    pub(super) old: Vec<usize>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) actions: Vec<Action>,
    pub(super) now: Timestamp,
}

/// What a ReplicaSet without an answer of its own is created for: it may come into being within this very plan.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfMissing {
    Create,
    Leave,
}

pub(super) fn plan(view: View<'_>, now: Timestamp) -> Plan {
    let before = view.deployment;
    let mut rollout = Rollout::new(view, now);
    let deployment = &rollout.deployment;
    if deployment.metadata.deletion_timestamp.is_some() {
        rollout.sync_revision(IfMissing::Leave);
        status::sync(&mut rollout);
        return rollout.finish(before);
    }
    progress::check_paused(&mut rollout);
    if rollout.spec().paused == Some(true) {
        rollout.sync_revision(IfMissing::Leave);
        scale::proportionally(&mut rollout);
        revision::clean_up(&mut rollout);
        status::sync(&mut rollout);
        return rollout.finish(before);
    }
    if scale::was_scaled(&rollout) {
        rollout.sync_revision(IfMissing::Leave);
        scale::proportionally(&mut rollout);
        status::sync(&mut rollout);
        return rollout.finish(before);
    }
    if is_recreate(&rollout.deployment) {
        recreate::roll_out(&mut rollout)
    } else {
        rolling::roll_out(&mut rollout)
    }
    rollout.finish(before)
}

/// The status after a ReplicaSet's name was taken: the next attempt makes another one.
pub(super) fn collided(deployment: &Deployment) -> Deployment {
    let mut updated = deployment.clone();
    let status = updated.status.get_or_insert_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
    updated
}

/// The status after the new ReplicaSet could not be created; `None` if nobody asked for progress.
pub(super) fn creation_failed(deployment: &Deployment, message: &str, now: Timestamp) -> Option<Deployment> {
    progress::deadline(deployment)?;
    let mut updated = deployment.clone();
    let status = updated.status.get_or_insert_default();
    let changed =
        status::set_condition(status, status::condition("Progressing", "False", "ReplicaSetCreateError", message, now));
    changed.then_some(updated)
}

pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// Pods a ReplicaSet is asked for.
pub(super) fn replicas(replica_set: &ReplicaSet) -> i32 {
    replica_set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Pods a ReplicaSet has.
pub(super) fn actual(replica_set: &ReplicaSet) -> i32 {
    replica_set.status.as_ref().map_or(0, |status| status.replicas)
}

pub(super) fn available(replica_set: &ReplicaSet) -> i32 {
    replica_set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

// === impl Rollout ===

impl Rollout {
    fn new(view: View<'_>, now: Timestamp) -> Self {
        let mut sets = view.replica_sets;
        sets.sort_by(|a, b| creation_order(a).cmp(&creation_order(b)));
        let deployment = view.deployment.clone();
        let template = deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        // Of several with the same template the oldest, so that the choice does not depend on the order of events.
        let new = sets.iter().position(|replica_set| {
            let own = replica_set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            own.is_some_and(|own| equal_ignoring_hash(own, &template))
        });
        let old = (0..sets.len()).filter(|index| Some(*index) != new).collect();
        Self { deployment, sets, new, old, pods: view.pods, actions: Vec::new(), now }
    }

    pub(super) fn spec(&self) -> &DeploymentSpec {
        // Validation allows no Deployment without a spec; an empty one stands in for what cannot be.
        static EMPTY: std::sync::LazyLock<DeploymentSpec> = std::sync::LazyLock::new(DeploymentSpec::default);
        self.deployment.spec.as_ref().unwrap_or(&EMPTY)
    }

    pub(super) fn wanted(&self) -> i32 {
        self.spec().replicas.unwrap_or(1)
    }

    pub(super) fn status(&mut self) -> &mut DeploymentStatus {
        self.deployment.status.get_or_insert_default()
    }

    /// All ReplicaSets as upstream orders them: the old ones, then the new one.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        self.old.iter().copied().chain(self.new).collect::<Vec<_>>().into_iter()
    }

    /// Those that are asked for pods.
    pub(super) fn active(&self, indexes: impl IntoIterator<Item = usize>) -> Vec<usize> {
        indexes.into_iter().filter(|index| replicas(&self.sets[*index]) > 0).collect()
    }

    pub(super) fn sum(&self, count: fn(&ReplicaSet) -> i32) -> i32 {
        self.all().map(|index| count(&self.sets[index])).fold(0, i32::saturating_add)
    }

    /// `maxSurge` and `maxUnavailable` as numbers of pods; both zero would stop every rollout.
    /// Upstream: `ResolveFenceposts`.
    fn fenceposts(&self) -> (i32, i32) {
        let rolling = self.spec().strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = resolve(rolling.and_then(|rolling| rolling.max_surge.as_ref()), self.wanted(), Round::Up);
        let unavailable =
            resolve(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), self.wanted(), Round::Down);
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    pub(super) fn max_surge(&self) -> i32 {
        if is_recreate(&self.deployment) { 0 } else { self.fenceposts().0 }
    }

    pub(super) fn max_unavailable(&self) -> i32 {
        if is_recreate(&self.deployment) || self.wanted() == 0 { 0 } else { self.fenceposts().1.min(self.wanted()) }
    }

    /// Scales a ReplicaSet and says so; annotations that tell of the Deployment's size are kept right.
    pub(super) fn scale(&mut self, index: usize, size: i32) -> bool {
        let before = replicas(&self.sets[index]);
        let (wanted, most) = (self.wanted(), self.wanted().saturating_add(self.max_surge()));
        let changed = {
            let replica_set = Arc::make_mut(&mut self.sets[index]);
            let annotated = revision::annotate_size(replica_set, wanted, most);
            replica_set.spec.get_or_insert_default().replicas = Some(size);
            annotated || size != before
        };
        if changed {
            self.update(index);
        }
        if size != before {
            let direction = if size > before { "up" } else { "down" };
            let name = self.name(index);
            let message = format!("Scaled {direction} replica set {name} from {before} to {size}");
            self.actions.push(Action::Event(EventKind::Normal, "ScalingReplicaSet", message));
        }
        size != before
    }

    /// Writes a ReplicaSet as it is now planned: once, whatever number of decisions changed it.
    fn update(&mut self, index: usize) {
        let planned = self.sets[index].clone();
        for action in &mut self.actions {
            match action {
                Action::Update(earlier) if earlier.metadata.name == planned.metadata.name => {
                    *earlier = planned;
                    return;
                }
                Action::Create(earlier) if earlier.metadata.name == planned.metadata.name => {
                    **earlier = (*planned).clone();
                    return;
                }
                _ => {}
            }
        }
        self.actions.push(Action::Update(planned));
    }

    /// Like [`Rollout::scale`], but does nothing at all to one of the right size.
    pub(super) fn scale_if_other(&mut self, index: usize, size: i32) -> bool {
        replicas(&self.sets[index]) != size && self.scale(index, size)
    }

    pub(super) fn name(&self, index: usize) -> String {
        self.sets[index].metadata.name.clone().unwrap_or_default()
    }

    /// Makes the new ReplicaSet's revision the highest, and the Deployment's the same; creates it if it is missing
    /// and wanted. Upstream: `getAllReplicaSetsAndSyncRevision`, `getNewReplicaSet`.
    pub(super) fn sync_revision(&mut self, if_missing: IfMissing) {
        let highest = self.old.iter().map(|index| revision::of(&self.sets[*index])).max().unwrap_or(0);
        let next = highest.saturating_add(1);
        if let Some(index) = self.new {
            let min_ready = self.spec().min_ready_seconds;
            let replica_set = Arc::make_mut(&mut self.sets[index]);
            let annotated = revision::annotate_new(replica_set, &self.deployment, next);
            let spec = replica_set.spec.get_or_insert_default();
            let outdated = spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0);
            spec.min_ready_seconds = min_ready;
            if annotated || outdated {
                self.update(index);
            }
            revision::annotate_deployment(&mut self.deployment, revision::of(&self.sets[index]));
            progress::found(self, index);
        } else if if_missing == IfMissing::Create {
            self.create_new(next);
        }
    }

    fn create_new(&mut self, next: i64) {
        let spec = self.spec().clone();
        let collisions = self.deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = hash(&spec.template, collisions);
        let mut template = spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(HASH_LABEL.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut match_labels = spec.selector.match_labels.clone().unwrap_or_default();
        match_labels.insert(HASH_LABEL.to_owned(), hash.clone());
        let deployment_name = self.deployment.metadata.name.clone().unwrap_or_default();
        let replica_set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{deployment_name}-{hash}")),
                namespace: self.deployment.metadata.namespace.clone(),
                owner_references: Some(vec![controller_reference(&self.deployment)]),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: spec.min_ready_seconds,
                selector: LabelSelector { match_labels: Some(match_labels), ..spec.selector.clone() },
                template: Some(template),
            }),
            status: None,
        };
        let index = self.sets.len();
        self.sets.push(Arc::new(replica_set));
        self.new = Some(index);
        let size = rolling::size_of_new(self, index);
        let most = self.wanted().saturating_add(self.max_surge());
        let replica_set = Arc::make_mut(&mut self.sets[index]);
        replica_set.spec.get_or_insert_default().replicas = Some(size);
        revision::annotate_new(replica_set, &self.deployment, next);
        revision::annotate_size(replica_set, spec.replicas.unwrap_or(1), most);
        self.actions.push(Action::Create(Box::new((*self.sets[index]).clone())));
        let name = self.name(index);
        if size > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {size}");
            self.actions.push(Action::Event(EventKind::Normal, "ScalingReplicaSet", message));
        }
        revision::annotate_deployment(&mut self.deployment, next);
        progress::created(self, &name);
    }

    fn finish(self, before: &Deployment) -> Plan {
        let next = progress::next_check(&self);
        let changed = self.deployment.status.as_ref().unwrap_or(&DeploymentStatus::default())
            != before.status.as_ref().unwrap_or(&DeploymentStatus::default())
            || self.deployment.metadata.annotations != before.metadata.annotations;
        Plan { actions: self.actions, updated: changed.then(|| Box::new(self.deployment)), next }
    }
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

/// A number of pods, or a share of all of them. Upstream: `intstr.GetScaledValueFromIntOrPercent`.
fn resolve(value: Option<&IntOrString>, total: i32, round: Round) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            // Validation allows percentages only.
            let percent: i64 = text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0);
            let product = percent.saturating_mul(i64::from(total));
            let scaled = match round {
                Round::Up => product.saturating_add(99) / 100,
                Round::Down => product / 100,
            };
            i32::try_from(scaled).unwrap_or(i32::MAX)
        }
    }
}

fn creation_order(replica_set: &ReplicaSet) -> (Option<&api::Time>, Option<&String>) {
    (replica_set.metadata.creation_timestamp.as_ref(), replica_set.metadata.name.as_ref())
}
