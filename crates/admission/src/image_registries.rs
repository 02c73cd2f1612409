//! ImageRegistryAllowList: images come only from registries that the operator trusts. An option of this server;
//! upstream leaves it to ImagePolicyWebhook.

use api::core::v1::{Pod, PodSpec};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::{gvr, is_pods};

/// Registries, or paths below them: `registry.example.com`, `docker.io/library`.
#[derive(Default)]
pub(crate) struct ImageRegistries {
    pub(crate) allowed: Vec<String>,
}

impl Admission for ImageRegistries {
    fn name(&self) -> &'static str {
        "ImageRegistryAllowList"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        is_pods(info)
            && matches!(subresource, "" | "ephemeralcontainers")
            && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let known = images(request.old_object());
        let foreign = images(request.object()).into_iter().find(|image| !known.contains(image) && !self.allows(image));
        ready(match foreign {
            None => Ok(()),
            Some(image) => {
                let why = format!("image {image:?} comes from a registry that is not allowed");
                Err(ApiError::forbidden(&gvr(request.info), request.name, why))
            }
        })
        .boxed()
    }
}

impl ImageRegistries {
    fn allows(&self, image: &str) -> bool {
        let full = qualified(image);
        self.allowed.iter().any(|prefix| {
            let rest = full.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
        })
    }
}

fn images(pod: Option<&Pod>) -> Vec<&str> {
    let Some(spec) = pod.and_then(|pod| pod.spec.as_ref()) else { return Vec::new() };
    all(spec).collect()
}

fn all(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let containers = containers.filter_map(|container| container.image.as_deref());
    let ephemeral = spec.ephemeral_containers.iter().flatten().filter_map(|container| container.image.as_deref());
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    containers.chain(ephemeral).chain(volumes)
}

/// With the registry that is meant when none is named.
fn qualified(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{ImageRegistries, qualified};

    #[test]
    fn prefixes_end_at_a_segment() {
        assert_eq!(qualified("nginx:1"), "docker.io/library/nginx:1");
        assert_eq!(qualified("a/b"), "docker.io/a/b");
        let list =
            ImageRegistries { allowed: vec!["registry.example.com/team".to_owned(), "docker.io/library".to_owned()] };
        for (image, allowed) in [
            ("nginx", true),
            ("a/b", false),
            ("registry.example.com/team/app:1", true),
            ("registry.example.com/teams/app", false),
            ("registry.example.com.evil.org/team/app", false),
            ("localhost:5000/app", false),
        ] {
            assert_eq!(list.allows(image), allowed, "{image}");
        }
    }
}
