//! AlwaysPullImages: who starts a pod must be allowed to pull its images, also where a node has them already.
//! Upstream: `plugin/pkg/admission/alwayspullimages`.

use std::collections::BTreeSet;

use api::core::v1::{Pod, PodSpec};
use apimachinery::{
    ApiError,
    field::{Error, Path},
};
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::{gvr, is_pods};

const ALWAYS: &str = "Always";

pub(crate) struct AlwaysPullImages;

impl Admission for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        is_pods(info) && subresource.is_empty() && matches!(operation, Operation::Create | Operation::Update)
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        if !is_update_without_new_images(request)
            && let Some(spec) = request.object_mut::<Pod>().and_then(|pod| pod.spec.as_mut())
        {
            let init = spec.init_containers.iter_mut().flatten();
            for container in spec.containers.iter_mut().chain(init) {
                container.image_pull_policy = Some(ALWAYS.to_owned());
            }
            for container in spec.ephemeral_containers.iter_mut().flatten() {
                container.image_pull_policy = Some(ALWAYS.to_owned());
            }
            for image in spec.volumes.iter_mut().flatten().filter_map(|volume| volume.image.as_mut()) {
                image.pull_policy = Some(ALWAYS.to_owned());
            }
        }
        ready(Ok(())).boxed()
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let spec = request.object::<Pod>().and_then(|pod| pod.spec.as_ref());
        let wrong = match spec.filter(|_| !is_update_without_new_images(request)) {
            Some(spec) => policies(spec).into_iter().find(|(_, policy)| policy != ALWAYS),
            None => None,
        };
        ready(match wrong {
            None => Ok(()),
            Some((path, policy)) => {
                let why = Error::not_supported(&path, policy, &[ALWAYS]);
                Err(ApiError::forbidden(&gvr(request.info), request.name, why))
            }
        })
        .boxed()
    }
}

fn policies(spec: &PodSpec) -> Vec<(Path, String)> {
    let path = Path::new("spec");
    let text = |policy: &Option<String>| policy.clone().unwrap_or_default();
    let mut all = Vec::new();
    for (field, containers) in
        [("containers", Some(&spec.containers)), ("initContainers", spec.init_containers.as_ref())]
    {
        for (index, container) in containers.into_iter().flatten().enumerate() {
            all.push((path.child(field).index(index).child("imagePullPolicy"), text(&container.image_pull_policy)));
        }
    }
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = path.child("ephemeralContainers").index(index).child("imagePullPolicy");
        all.push((path, text(&container.image_pull_policy)));
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        if let Some(image) = &volume.image {
            let path = path.child("volumes").index(index).child("image").child("pullPolicy");
            all.push((path, text(&image.pull_policy)));
        }
    }
    all
}

fn images(pod: &Pod) -> BTreeSet<&str> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let init = spec.init_containers.iter().flatten();
    let containers = spec.containers.iter().chain(init).filter_map(|container| container.image.as_deref());
    let ephemeral = spec.ephemeral_containers.iter().flatten().filter_map(|container| container.image.as_deref());
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    containers.chain(ephemeral).chain(volumes).collect()
}

fn is_update_without_new_images(request: &AdmissionRequest<'_>) -> bool {
    match (request.object::<Pod>(), request.old_object::<Pod>()) {
        (Some(new), Some(old)) => images(new).is_subset(&images(old)),
        _ => false,
    }
}
