//! Has a container's image on the node before it starts. Upstream: pkg/kubelet/images/image_manager.go.

use std::collections::BTreeMap;
use std::time::Instant;

use base64::Engine as _;
use cri::{AuthConfig, CriError};
use informer::EventKind::{Normal, Warning};
use k8s_openapi::api::core::v1::{Container, Secret};
use serde::Deserialize;

use super::Done;
use super::ops::Cx;
use crate::format::go_duration;
use crate::pod::{ImageFailure, ImageReady, Index, Input};
use crate::spec::ImageUser;

pub(super) async fn ensure(cx: Cx, index: Index) -> Done {
    Done::Input(Input::Image { container: index, result: have(&cx, index).await })
}

async fn have(cx: &Cx, index: Index) -> Result<ImageReady, ImageFailure> {
    let container = cx.container(index);
    let written = container.image.clone().unwrap_or_default();
    let image = with_tag(&written).map_err(|error| {
        let message =
            format!("Failed to apply default image tag {written:?}: couldn't parse image name {written:?}: {error}");
        cx.event(Some(index), Warning, "InspectFailed", &*message);
        ImageFailure { reason: "InvalidImageName", message }
    })?;
    let present = cx.shared.images.image_status(&image).await.map_err(|error| {
        let message = format!("Failed to inspect image {written:?}: {error}");
        cx.event(Some(index), Warning, "InspectFailed", &*message);
        ImageFailure { reason: "ImageInspectError", message }
    })?;
    match (container.image_pull_policy.as_deref().unwrap_or("IfNotPresent"), present) {
        ("Always", _) | ("IfNotPresent", None) => pull(cx, index, &written, &image).await,
        (_, Some(present)) => {
            let message =
                format!("Container image {written:?} already present on machine and can be accessed by the pod");
            cx.event(Some(index), Normal, "Pulled", message);
            Ok(ImageReady { reference: present.id })
        }
        (_, None) => {
            let message = format!("Container image {written:?} is not present with pull policy of Never");
            cx.event(Some(index), Warning, "ErrImageNeverPull", &*message);
            Err(ImageFailure { reason: "ErrImageNeverPull", message })
        }
    }
}

async fn pull(cx: &Cx, index: Index, written: &str, image: &str) -> Result<ImageReady, ImageFailure> {
    cx.event(Some(index), Normal, "Pulling", format!("Pulling image {written:?}"));
    let credentials = credentials(cx, index, image).await;
    let started = Instant::now();
    let mut last = None;
    // Every secret that has credentials for the registry is tried, as upstream does, and none if there is none.
    let attempts: Vec<Option<AuthConfig>> =
        if credentials.is_empty() { vec![None] } else { credentials.into_iter().map(Some).collect() };
    for auth in attempts {
        match cx.shared.images.pull_image(image, auth.as_ref()).await {
            Ok(pulled) => {
                let took =
                    jiff::SignedDuration::from_millis(i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX));
                let took = go_duration(took);
                let message = format!(
                    "Successfully pulled image {written:?} in {took} ({took} including waiting). Image size: {} bytes.",
                    pulled.size
                );
                cx.event(Some(index), Normal, "Pulled", message);
                return Ok(ImageReady { reference: pulled.image_ref });
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| CriError::Internal("no attempt was made".to_owned()));
    cx.event(Some(index), Warning, "Failed", format!("Failed to pull image {written:?}: {error}"));
    let (reason, message) = match &error {
        CriError::RegistryUnavailable(detail) => (
            "RegistryUnavailable",
            format!("image pull failed for {written} because the registry is unavailable: {detail}"),
        ),
        CriError::SignatureValidationFailed(detail) => (
            "SignatureValidationFailed",
            format!("image pull failed for {written} because the signature validation failed: {detail}"),
        ),
        other => ("ErrImagePull", other.to_string()),
    };
    Err(ImageFailure { reason, message })
}

/// The user the image names, asked only where something depends on it.
pub(super) async fn user(cx: &Cx, container: &Container, image: &str) -> Result<ImageUser, CriError> {
    let of_pod = cx
        .pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.as_ref())
        .and_then(|context| context.run_as_non_root);
    let own = container.security_context.as_ref().and_then(|context| context.run_as_non_root);
    if own.or(of_pod) != Some(true) {
        return Ok(ImageUser::default());
    }
    let image = cx.shared.images.image_status(image).await?;
    Ok(image.map(|image| ImageUser { uid: image.uid, username: image.username }).unwrap_or_default())
}

/// The name with a tag, or why it is no image's name.
fn with_tag(name: &str) -> Result<String, &'static str> {
    const BAD: &str = "invalid reference format";
    if name.is_empty() || name.len() > 1024 || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(BAD);
    }
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    if digest.is_some_and(|digest| {
        digest.split_once(':').is_none_or(|(_, hex)| hex.len() < 32 || !hex.chars().all(|c| c.is_ascii_hexdigit()))
    }) {
        return Err(BAD);
    }
    let after_slash = rest.rfind('/').map_or(0, |position| position + 1);
    let (repository, tag) = match rest[after_slash..].find(':') {
        Some(position) => (&rest[..after_slash + position], Some(&rest[after_slash + position + 1..])),
        None => (rest, None),
    };
    if tag.is_some_and(|tag| {
        tag.is_empty()
            || tag.len() > 128
            || !tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
            || tag.starts_with(['.', '-'])
    }) {
        return Err(BAD);
    }
    let mut parts = repository.split('/').peekable();
    let has_domain = repository.contains('/')
        && parts.peek().is_some_and(|first| {
            first.contains(['.', ':']) || *first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase())
        });
    if has_domain {
        parts.next();
    }
    for part in parts {
        if part.chars().any(|c| c.is_ascii_uppercase()) {
            return Err("invalid reference format: repository name must be lowercase");
        }
        let inner = part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c));
        if part.is_empty() || !inner || part.starts_with(['.', '_', '-']) || part.ends_with(['.', '_', '-']) {
            return Err(BAD);
        }
    }
    Ok(if tag.is_none() && digest.is_none() { format!("{name}:latest") } else { name.to_owned() })
}

/// Credentials for the image's registry from the pod's pull secrets.
async fn credentials(cx: &Cx, index: Index, image: &str) -> Vec<AuthConfig> {
    let mut found = Vec::new();
    let references = cx.pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    let mut missing = Vec::new();
    for reference in references {
        match cx.objects.secret(&reference.name).await {
            Ok(Some(secret)) => found.extend(of_secret(&secret, image)),
            Ok(None) | Err(_) => missing.push(reference.name.clone()),
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        cx.event(Some(index), Warning, "FailedToRetrieveImagePullSecret", message);
    }
    found
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize, Default)]
struct DockerAuth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
    #[serde(default, rename = "registrytoken")]
    registry_token: String,
}

fn of_secret(secret: &Secret, image: &str) -> Vec<AuthConfig> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let auths = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => data(".dockerconfigjson")
            .and_then(|bytes| serde_json::from_slice::<DockerConfig>(&bytes.0).ok())
            .map(|config| config.auths),
        Some("kubernetes.io/dockercfg") => data(".dockercfg").and_then(|bytes| serde_json::from_slice(&bytes.0).ok()),
        _ => None,
    };
    let mut matching: Vec<_> =
        auths.unwrap_or_default().into_iter().filter(|(key, _)| key_matches(key, image)).collect();
    // The most specific key first.
    matching.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    matching
        .into_iter()
        .map(|(_, auth)| {
            let decoded = base64::engine::general_purpose::STANDARD
                .decode(auth.auth.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let (username, password) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
                Some((username, password)) if auth.username.is_empty() => (username.to_owned(), password.to_owned()),
                _ => (auth.username, auth.password),
            };
            AuthConfig { username, password, identity_token: auth.identity_token, registry_token: auth.registry_token }
        })
        .collect()
}

/// Whether a key of a docker configuration (`https://index.docker.io/v1/`, `*.example.com/team`) is for an image.
fn key_matches(key: &str, image: &str) -> bool {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let key = key.trim_end_matches("/v1").trim_end_matches("/v2");
    let key = match key {
        "index.docker.io" => "docker.io",
        other => other,
    };
    let first = image.split('/').next().unwrap_or_default();
    let qualified = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = if qualified { image.to_owned() } else { format!("docker.io/{image}") };
    let (key_host, key_path) = key.split_once('/').unwrap_or((key, ""));
    let (host, path) = full.split_once('/').unwrap_or((full.as_str(), ""));
    let (key_labels, labels): (Vec<_>, Vec<_>) = (key_host.split('.').collect(), host.split('.').collect());
    let same_host =
        key_labels.len() == labels.len() && key_labels.iter().zip(&labels).all(|(key, own)| *key == "*" || key == own);
    same_host && (key_path.is_empty() || path.starts_with(key_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(with_tag("nginx").as_deref(), Ok("nginx:latest"));
        assert_eq!(with_tag("localhost:5000/a/b").as_deref(), Ok("localhost:5000/a/b:latest"));
        assert_eq!(with_tag("a:1.2").as_deref(), Ok("a:1.2"));
        let digest = format!("a@sha256:{}", "0".repeat(64));
        assert_eq!(with_tag(&digest).as_deref(), Ok(&*digest));
        assert_eq!(with_tag("Nginx"), Err("invalid reference format: repository name must be lowercase"));
        for bad in ["", "a b", "a:", "a/", "a@sha256:zz", "-a", "a:!"] {
            assert!(with_tag(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn registry_keys() {
        assert!(key_matches("https://index.docker.io/v1/", "nginx"));
        assert!(key_matches("registry.example.com", "registry.example.com/team/a:1"));
        assert!(key_matches("*.example.com/team", "registry.example.com/team/a:1"));
        assert!(!key_matches("example.com", "registry.example.com/a"));
        assert!(key_matches("localhost:5000", "localhost:5000/a"));
    }
}
