//! DefaultTolerationSeconds: pods stay five minutes on a node that is lost. Upstream: `plugin/pkg/admission/defaulttolerationseconds`.

use api::core::v1::{Pod, Toleration};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

/// How long pods stay that do not say. Flags of upstream: `--default-not-ready-toleration-seconds`,
/// `--default-unreachable-toleration-seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TolerationSeconds {
    pub not_ready: i64,
    pub unreachable: i64,
}

impl Default for TolerationSeconds {
    fn default() -> Self {
        Self { not_ready: 300, unreachable: 300 }
    }
}

pub(crate) struct DefaultTolerationSeconds(pub(crate) TolerationSeconds);

impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group.is_empty()
            && info.plural == "pods"
            && subresource.is_empty()
            && matches!(operation, Operation::Create | Operation::Update)
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        if let Some(spec) = request.object_mut::<Pod>().and_then(|pod| pod.spec.as_mut()) {
            let tolerations = spec.tolerations.get_or_insert_default();
            for (key, seconds) in [
                ("node.kubernetes.io/not-ready", self.0.not_ready),
                ("node.kubernetes.io/unreachable", self.0.unreachable),
            ] {
                if !tolerations.iter().any(|toleration| tolerates(toleration, key)) {
                    tolerations.push(Toleration {
                        key: Some(key.to_owned()),
                        operator: Some("Exists".to_owned()),
                        effect: Some("NoExecute".to_owned()),
                        toleration_seconds: Some(seconds),
                        value: None,
                    });
                }
            }
        }
        ready(Ok(())).boxed()
    }
}

fn tolerates(toleration: &Toleration, taint: &str) -> bool {
    let is =
        |field: &Option<String>, wanted: &str| field.as_deref().is_none_or(|text| text.is_empty() || text == wanted);
    is(&toleration.key, taint) && is(&toleration.effect, "NoExecute")
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn only_what_is_missing_is_added() {
        let pod = check(
            &super::DefaultTolerationSeconds(super::TolerationSeconds::default()),
            &[],
            r#"{"metadata":{"name":"p"},"spec":{"containers":[],"tolerations":[
                {"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":1}]}}"#,
        );
        let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
        assert_eq!(tolerations.len(), 2);
        assert_eq!(tolerations[0]["tolerationSeconds"], 1);
        assert_eq!(tolerations[1]["key"], "node.kubernetes.io/unreachable");
        assert_eq!(tolerations[1]["tolerationSeconds"], 300);
    }
}
