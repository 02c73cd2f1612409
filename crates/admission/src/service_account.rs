//! ServiceAccount: every pod runs as an account, which exists, and gets its token. Upstream: `plugin/pkg/admission/serviceaccount`.

use api::core::v1::{
    ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, LocalObjectReference,
    ObjectFieldSelector, Pod, ProjectedVolumeSource, ServiceAccount as Account, ServiceAccountTokenProjection, Volume,
    VolumeMount, VolumeProjection,
};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

const DEFAULT_ACCOUNT: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// An hour and seven seconds: odd, so that it is recognised as the default and may be extended.
const TOKEN_SECONDS: i64 = 3607;

pub(crate) struct ServiceAccount;

impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group.is_empty() && info.plural == "pods" && subresource.is_empty() && operation == Operation::Create
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        ready(admit(request)).boxed()
    }
}

fn admit(request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
    let (resource, name, namespace) = (gvr(request.info), request.name.to_owned(), request.namespace.to_owned());
    let reader = request.cx.reader.clone();
    let Some(pod) = request.object_mut::<Pod>() else { return Ok(()) };
    if pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR_ANNOTATION)) {
        return mirror_pod(pod).map_err(|why| ApiError::forbidden(&resource, &name, why));
    }
    let Some(spec) = pod.spec.as_mut() else { return Ok(()) };
    let account_name = spec.service_account_name.get_or_insert_default();
    if account_name.is_empty() {
        DEFAULT_ACCOUNT.clone_into(account_name);
    }
    let account_name = account_name.clone();
    // The deprecated field mirrors it; defaults are set before admission, and an update must not seem to add it.
    spec.service_account = Some(account_name.clone());
    let Some(account) = reader.get::<Account>("", "serviceaccounts", &namespace, &account_name) else {
        let why = format!(
            "error looking up service account {namespace}/{account_name}: serviceaccount {} not found",
            apimachinery::field::go_quote(&account_name)
        );
        return Err(ApiError::forbidden(&resource, &name, why));
    };
    let mounts = spec.automount_service_account_token.or(account.automount_service_account_token).unwrap_or(true);
    if mounts {
        mount_token(pod);
    }
    if let Some(spec) = pod.spec.as_mut()
        && spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty)
        && let Some(secrets) = account.image_pull_secrets.filter(|secrets| !secrets.is_empty())
    {
        spec.image_pull_secrets =
            Some(secrets.into_iter().map(|secret| LocalObjectReference { name: secret.name }).collect());
    }
    Ok(())
}

/// A mirror pod shows what a node runs by itself; it must not get at anything of the API.
fn mirror_pod(pod: &Pod) -> Result<(), &'static str> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    if spec.service_account_name.as_ref().is_some_and(|name| !name.is_empty()) {
        return Err("a mirror pod may not reference service accounts");
    }
    let projected_token = |volume: &Volume| {
        volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten())
            .any(|source| source.service_account_token.is_some())
    };
    if spec.volumes.iter().flatten().any(|volume| volume.secret.is_some()) {
        return Err("a mirror pod may not reference secrets");
    }
    if spec.volumes.iter().flatten().any(projected_token) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Adds the volume and its mounts, where no container brings its own.
fn mount_token(pod: &mut Pod) {
    let Some(spec) = pod.spec.as_mut() else { return };
    let existing = spec.volumes.iter().flatten().find(|volume| volume.name.starts_with(VOLUME_PREFIX));
    let name = match existing {
        Some(volume) => volume.name.clone(),
        None => registry::names::generate(VOLUME_PREFIX),
    };
    let mut needed = false;
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let mounts = container.volume_mounts.get_or_insert_default();
        if mounts.iter().any(|mount| mount.mount_path == MOUNT_PATH) {
            continue;
        }
        mounts.push(VolumeMount {
            name: name.clone(),
            read_only: Some(true),
            mount_path: MOUNT_PATH.to_owned(),
            ..VolumeMount::default()
        });
        needed = true;
    }
    if needed && !spec.volumes.iter().flatten().any(|volume| volume.name == name) {
        spec.volumes.get_or_insert_default().push(token_volume(name));
    }
}

fn token_volume(name: String) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            expiration_seconds: Some(TOKEN_SECONDS),
            path: "token".to_owned(),
            audience: None,
        }),
        ..VolumeProjection::default()
    };
    let authority = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".to_owned(),
            items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.namespace".to_owned(),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name,
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token, authority, namespace]),
            default_mode: Some(0o644),
        }),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_error};

    const ACCOUNT: &str = r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"ns"},
        "imagePullSecrets":[{"name":"pull"}]}"#;
    const POD: &str = r#"{"metadata":{"name":"p","namespace":"ns"},"spec":{"containers":[{"name":"c"}]}}"#;

    #[test]
    fn a_pod_gets_its_account_and_a_token() {
        let pod = check(&super::ServiceAccount, &[ACCOUNT], POD);
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
        assert_eq!(pod["spec"]["imagePullSecrets"][0]["name"], "pull");
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], super::MOUNT_PATH);
        let volume = &pod["spec"]["volumes"][0];
        assert!(volume["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-")));
        assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
        assert_eq!(volume["name"], pod["spec"]["containers"][0]["volumeMounts"][0]["name"]);
    }

    #[test]
    fn no_account_no_pod() {
        assert_eq!(
            check_error(&super::ServiceAccount, &[], POD),
            r#"pods "p" is forbidden: error looking up service account ns/default: serviceaccount "default" not found"#
        );
    }

    #[test]
    fn a_pod_may_do_without_a_token() {
        let pod = POD.replace(r#""spec":{"#, r#""spec":{"automountServiceAccountToken":false,"#);
        assert!(check(&super::ServiceAccount, &[ACCOUNT], &pod)["spec"].get("volumes").is_none());
    }

    #[test]
    fn a_mirror_pod_stays_away_from_the_api() {
        let pod = r#"{"metadata":{"name":"p","namespace":"ns","annotations":{"kubernetes.io/config.mirror":"x"}},
            "spec":{"serviceAccountName":"default","containers":[]}}"#;
        assert!(
            check_error(&super::ServiceAccount, &[ACCOUNT], pod)
                .contains("a mirror pod may not reference service accounts")
        );
    }
}
