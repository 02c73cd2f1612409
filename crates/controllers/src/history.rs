//! ControllerRevisions: the templates that DaemonSets and StatefulSets had. Upstream: `pkg/controller/history`.

use std::sync::Arc;

use api::{ObjectMeta, OwnerReference, apps::v1::ControllerRevision, core::v1::PodTemplateSpec, pod_template};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

/// The label of a pod that says which revision it is of. Upstream: `ControllerRevisionHashLabelKey`.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";

/// What is kept of a template: a patch that brings it back.
pub(crate) fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision brings back.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.get("spec")?.get("template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// The hash by which pods are told apart.
pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(HASH_LABEL)).map(String::as_str).unwrap_or_default()
}

/// A revision for a template, with the number after the highest there is.
pub(crate) fn new_revision(
    owner: &ObjectMeta,
    reference: OwnerReference,
    spec_template: &PodTemplateSpec,
    collisions: Option<i32>,
    number: i64,
) -> ControllerRevision {
    let hash = pod_template::hash(spec_template, collisions);
    let mut labels = spec_template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", owner.name.as_deref().unwrap_or_default())),
            namespace: owner.namespace.clone(),
            labels: Some(labels),
            annotations: owner.annotations.clone(),
            owner_references: Some(vec![reference]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data(spec_template))),
        revision: number,
    }
}

/// What to do so that the newest revision is that of the template.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is; the revision.
    Current(Arc<ControllerRevision>),
    /// An older one is the same, as after a rollback: it becomes the newest.
    Renumber(Box<ControllerRevision>),
    Create(Box<ControllerRevision>),
}

/// Compares a template with the revisions there are, oldest first.
pub(crate) fn step(
    owner: &ObjectMeta,
    reference: OwnerReference,
    spec_template: &PodTemplateSpec,
    collisions: Option<i32>,
    revisions: &[Arc<ControllerRevision>],
) -> Step {
    let highest = revisions.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let wanted = data(spec_template);
    let same = |revision: &&Arc<ControllerRevision>| {
        // Compared as templates: what was written by another version may leave out what is empty.
        revision.data.as_ref().is_some_and(|data| data.0 == wanted)
            || template(revision).as_ref() == Some(spec_template)
    };
    match revisions.iter().rev().find(same) {
        Some(revision) if revision.revision == highest => Step::Current(revision.clone()),
        Some(revision) => {
            Step::Renumber(Box::new(ControllerRevision { revision: highest + 1, ..(**revision).clone() }))
        }
        None => Step::Create(Box::new(new_revision(owner, reference, spec_template, collisions, highest + 1))),
    }
}

/// The oldest revisions beyond the limit that no pod is of.
pub(crate) fn surplus(
    revisions: &[Arc<ControllerRevision>],
    limit: Option<i32>,
    in_use: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Arc<ControllerRevision>> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let unused: Vec<_> = revisions.iter().filter(|revision| !in_use(revision)).cloned().collect();
    let excess = unused.len().saturating_sub(limit);
    unused.into_iter().take(excess).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(
            json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": image}]}}),
        )
        .unwrap()
    }

    #[test]
    fn a_rollback_renumbers_and_nothing_is_made_twice() {
        let owner = ObjectMeta { name: Some("d".into()), ..ObjectMeta::default() };
        let go = |image: &str, revisions: &[Arc<ControllerRevision>]| {
            step(&owner, OwnerReference::default(), &spec_template(image), None, revisions)
        };
        let Step::Create(one) = go("1", &[]) else { panic!("the first is created") };
        let one = Arc::new(*one);
        assert_eq!(template(&one), Some(spec_template("1")));
        let Step::Create(two) = go("2", std::slice::from_ref(&one)) else { panic!("another is created") };
        let both = [one, Arc::new(*two)];
        assert!(matches!(go("2", &both), Step::Current(revision) if revision.revision == 2));
        assert!(matches!(go("1", &both), Step::Renumber(revision) if revision.revision == 3));
        assert_eq!(surplus(&both, Some(0), |revision| revision.revision == 2).len(), 1);
        assert_eq!(surplus(&both, Some(1), |revision| revision.revision == 2).len(), 0);
    }
}
