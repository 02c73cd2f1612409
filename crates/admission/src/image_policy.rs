//! ImagePolicyWebhook: somebody outside of the process says which images may run. Off unless it is configured.
//! Upstream: `plugin/pkg/admission/imagepolicy`.

use std::{collections::HashMap, path::Path, time::Duration};

use api::core::v1::Pod;
use apimachinery::ApiError;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use jiff::{SignedDuration, Timestamp};
use outbound::{Client, Kubeconfig, Post};
use parking_lot::Mutex;
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};
use serde_json::{Value, json};

use crate::gvr;

const NAME: &str = "ImagePolicyWebhook";
/// Upstream's audit annotations begin so.
const ANNOTATION: &str = "imagepolicywebhook.image-policy.k8s.io/";
/// Annotations of pods that the webhook gets to see.
const SHOWN: &str = ".image-policy.k8s.io/";
/// Answers that are remembered. Upstream: `cache.NewLRUExpireCache(1024)`.
const MAX_KNOWN: usize = 1024;
/// Upstream: the REST client's default.
const TIMEOUT: Duration = Duration::from_secs(30);
const TRIES: u32 = 5;
const MAX_ANSWER: usize = 1024 * 1024;

pub struct ImagePolicy {
    client: Client,
    allow_ttl: SignedDuration,
    deny_ttl: SignedDuration,
    backoff: Duration,
    default_allow: bool,
    known: Mutex<HashMap<String, (Timestamp, Verdict)>>,
}

#[derive(Clone, Debug, Default)]
struct Verdict {
    allowed: bool,
    reason: String,
    annotations: Vec<(String, String)>,
}

impl ImagePolicy {
    /// From the plugin's own configuration: `imagePolicy`, with the kubeconfig of whom to ask.
    pub fn new(configuration: &Value) -> Result<Self, String> {
        let own = &configuration["imagePolicy"];
        let file = own["kubeConfigFile"].as_str().filter(|file| !file.is_empty());
        let file = file.ok_or("imagePolicy.kubeConfigFile: Required value")?;
        let kubeconfig = Kubeconfig::read(Path::new(file)).map_err(|error| error.to_string())?;
        let (cluster, credentials) =
            kubeconfig.current().ok_or_else(|| format!("{file}: the current context names no cluster"))?;
        let second = 1000;
        Ok(Self {
            client: Client::for_cluster(&cluster, credentials).map_err(|error| error.to_string())?,
            allow_ttl: duration(own, "allowTTL", second, 300 * second, second, 1800 * second)?,
            deny_ttl: duration(own, "denyTTL", second, 30 * second, second, 1800 * second)?,
            backoff: duration(own, "retryBackoff", 1, 500, 1, 300 * second)?.unsigned_abs(),
            default_allow: own["defaultAllow"] == true,
            known: Mutex::default(),
        })
    }

    async fn check(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let Some(pod) = request.object::<Pod>() else {
            let why = "Resource was marked with kind Pod but was unable to be converted";
            return Err(ApiError::bad_request(why));
        };
        let spec = spec(pod, request.namespace).to_string();
        let known = self.known.lock().get(&spec).filter(|(until, _)| *until > request.cx.now).cloned();
        let verdict = match known {
            Some((_, verdict)) => verdict,
            None => match self.ask(&spec).await {
                Ok(verdict) => {
                    self.remember(spec, request.cx.now, &verdict);
                    verdict
                }
                Err(why) => return self.failed(request, &why),
            },
        };
        for (key, value) in &verdict.annotations {
            request.cx.annotate(&format!("{ANNOTATION}{key}"), value.as_str());
        }
        if verdict.allowed {
            return Ok(());
        }
        let why = match verdict.reason.as_str() {
            "" => "one or more images rejected by webhook backend".to_owned(),
            reason => format!("image policy webhook backend denied one or more images: {reason}"),
        };
        Err(ApiError::forbidden(&gvr(request.info), request.name, why))
    }

    async fn ask(&self, spec: &str) -> Result<Verdict, String> {
        let body = format!(r#"{{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","spec":{spec}}}"#);
        let body = Bytes::from(body);
        let post = || Post { body: body.clone(), timeout: TIMEOUT, max_answer: MAX_ANSWER, tell_timeout: false };
        let answer = self.client.post_again(post, self.backoff, TRIES).await.map_err(|error| error.to_string())?;
        let review: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let status = &review["status"];
        let annotations = status["auditAnnotations"].as_object().into_iter().flatten();
        Ok(Verdict {
            allowed: status["allowed"] == true,
            reason: status["reason"].as_str().unwrap_or_default().to_owned(),
            annotations: annotations
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
        })
    }

    fn remember(&self, spec: String, now: Timestamp, verdict: &Verdict) {
        let ttl = if verdict.allowed { self.allow_ttl } else { self.deny_ttl };
        let Ok(until) = now.checked_add(ttl) else { return };
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            known.retain(|_, (until, _)| *until > now);
        }
        if known.len() < MAX_KNOWN {
            known.insert(spec, (until, verdict.clone()));
        }
    }

    fn failed(&self, request: &AdmissionRequest<'_>, why: &str) -> Result<(), ApiError> {
        tracing::warn!(%why, allowed = self.default_allow, "image policy webhook not reached");
        if self.default_allow {
            request.cx.annotate(&format!("{ANNOTATION}failed-open"), "true");
            return Ok(());
        }
        Err(ApiError::forbidden(&gvr(request.info), request.name, why))
    }
}

/// What is asked: `ImageReviewSpec`.
fn spec(pod: &Pod, namespace: &str) -> Value {
    let spec = pod.spec.as_ref();
    let containers =
        spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let mut images: Vec<Value> = containers.map(|container| json!({"image": container.image})).collect();
    let ephemeral = spec.into_iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    images.extend(ephemeral.map(|container| json!({"image": container.image})));
    let annotations = pod.metadata.annotations.iter().flatten().filter(|(key, _)| key.contains(SHOWN));
    let annotations: serde_json::Map<String, Value> =
        annotations.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let mut spec = json!({"containers": images, "namespace": namespace});
    if !annotations.is_empty() {
        spec["annotations"] = annotations.into();
    }
    spec
}

/// A number of milliseconds or seconds within its bounds, all in milliseconds; -1 is none at all.
/// Upstream: `normalizeConfigDuration`.
fn duration(own: &Value, name: &str, scale: i64, default: i64, min: i64, max: i64) -> Result<SignedDuration, String> {
    let value = match own[name].as_i64() {
        None | Some(0) => default,
        Some(-1) => 0,
        Some(value) => value.saturating_mul(scale),
    };
    if value != 0 && !(min..=max).contains(&value) {
        return Err(format!("valid value is between {min}ms and {max}ms, got {value}ms for {name}"));
    }
    Ok(SignedDuration::from_millis(value))
}

impl Admission for ImagePolicy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group.is_empty()
            && info.plural == "pods"
            && matches!(subresource, "" | "ephemeralcontainers")
            && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.check(request).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_how_long_it_is_remembered() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"annotations": {"a.image-policy.k8s.io/ticket": "7", "other": "x"}},
            "spec": {"containers": [{"name": "c", "image": "a"}], "initContainers": [{"name": "i", "image": "b"}]},
        }))
        .unwrap();
        let expected = json!({
            "containers": [{"image": "a"}, {"image": "b"}], "namespace": "ns",
            "annotations": {"a.image-policy.k8s.io/ticket": "7"},
        });
        assert_eq!(spec(&pod, "ns"), expected);
        let ttl = |value: i64| duration(&json!({"allowTTL": value}), "allowTTL", 1000, 300_000, 1000, 1_800_000);
        assert_eq!(ttl(0).unwrap().as_secs(), 300);
        assert_eq!(ttl(-1).unwrap().as_secs(), 0);
        assert_eq!(ttl(60).unwrap().as_secs(), 60);
        assert!(ttl(4000).is_err());
    }
}
