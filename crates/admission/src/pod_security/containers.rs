//! All containers of a pod as one kind of thing, in the order in which upstream visits them.

use api::core::v1::{Container, ContainerPort, EphemeralContainer, Lifecycle, Pod, PodSpec, Probe, SecurityContext};

/// What the checks look at.
pub(super) struct View<'a> {
    pub(super) name: &'a str,
    pub(super) image: &'a str,
    pub(super) context: Option<&'a SecurityContext>,
    pub(super) ports: &'a [ContainerPort],
    pub(super) probes: [Option<&'a Probe>; 3],
    pub(super) lifecycle: Option<&'a Lifecycle>,
}

impl<'a> From<&'a Container> for View<'a> {
    fn from(container: &'a Container) -> Self {
        Self {
            name: &container.name,
            image: container.image.as_deref().unwrap_or_default(),
            context: container.security_context.as_ref(),
            ports: container.ports.as_deref().unwrap_or_default(),
            probes: [
                container.liveness_probe.as_ref(),
                container.readiness_probe.as_ref(),
                container.startup_probe.as_ref(),
            ],
            lifecycle: container.lifecycle.as_ref(),
        }
    }
}

impl<'a> From<&'a EphemeralContainer> for View<'a> {
    fn from(container: &'a EphemeralContainer) -> Self {
        Self {
            name: &container.name,
            image: container.image.as_deref().unwrap_or_default(),
            context: container.security_context.as_ref(),
            ports: container.ports.as_deref().unwrap_or_default(),
            probes: [
                container.liveness_probe.as_ref(),
                container.readiness_probe.as_ref(),
                container.startup_probe.as_ref(),
            ],
            lifecycle: container.lifecycle.as_ref(),
        }
    }
}

pub(super) fn all(spec: &PodSpec) -> impl Iterator<Item = View<'_>> {
    let init = spec.init_containers.iter().flatten().map(View::from);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(View::from);
    init.chain(spec.containers.iter().map(View::from)).chain(ephemeral)
}

/// Whether an update changes anything that a check looks at (`isSignificantPodUpdate`).
pub(super) fn changed(new: &Pod, old: &Pod) -> bool {
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else { return true };
    let fixed = |spec: &PodSpec| -> Vec<Option<String>> {
        let containers = spec.containers.iter().map(|container| container.image.clone());
        let init = spec.init_containers.iter().flatten().map(|container| container.image.clone());
        // The separator keeps one list from passing for a part of the other.
        containers.chain([None]).chain(init).collect()
    };
    let ephemeral = |spec: &PodSpec, name: &str| {
        let mut all = spec.ephemeral_containers.iter().flatten();
        all.find(|container| container.name == name).map(|container| View::from(container).image.to_owned())
    };
    fixed(new) != fixed(old)
        || new
            .ephemeral_containers
            .iter()
            .flatten()
            .any(|container| ephemeral(old, &container.name).as_deref() != Some(View::from(container).image))
}
