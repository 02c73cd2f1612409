//! PodNodeSelector: a namespace says on which nodes its pods may run. Upstream: `plugin/pkg/admission/podnodeselector`.

use std::collections::BTreeMap;

use api::core::v1::{Namespace, Pod};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::{gvr, is_pods};

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// The key in the configuration of what holds where a namespace says nothing.
const CLUSTER_DEFAULT: &str = "clusterDefaultNodeSelector";

type Labels = BTreeMap<String, String>;

/// Selectors by namespace, as text.
#[derive(Default)]
pub(crate) struct PodNodeSelector {
    pub(crate) selectors: BTreeMap<String, String>,
}

impl Admission for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        is_pods(info) && subresource.is_empty() && operation == Operation::Create
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let wanted = self.of_namespace(request);
        let (resource, name) = (gvr(request.info), request.name);
        let outcome = wanted.and_then(|wanted| {
            let Some(spec) = request.object_mut::<Pod>().and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
            if conflicts(&wanted, spec.node_selector.as_ref()) {
                let why = "pod node label selector conflicts with its namespace node label selector";
                return Err(ApiError::forbidden(&resource, name, why));
            }
            if !wanted.is_empty() {
                spec.node_selector.get_or_insert_default().extend(wanted);
            }
            Ok(())
        });
        ready(outcome).boxed()
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        ready(self.check(request)).boxed()
    }
}

impl PodNodeSelector {
    fn check(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let wanted = self.of_namespace(request)?;
        let empty = Labels::new();
        let given = request.object::<Pod>().and_then(|pod| pod.spec.as_ref()?.node_selector.as_ref()).unwrap_or(&empty);
        let refuse = |why: &str| Err(ApiError::forbidden(&gvr(request.info), request.name, why));
        if conflicts(&wanted, Some(given)) {
            return refuse("pod node label selector conflicts with its namespace node label selector");
        }
        let Some(text) = self.selectors.get(request.namespace).filter(|text| !text.is_empty()) else { return Ok(()) };
        let allowed = parse(text).map_err(ApiError::internal)?;
        if given.iter().any(|(key, value)| allowed.get(key) != Some(value)) {
            return refuse("pod node label selector labels conflict with its namespace whitelist");
        }
        Ok(())
    }

    fn of_namespace(&self, request: &AdmissionRequest<'_>) -> Result<Labels, ApiError> {
        let namespace: Option<Namespace> = request.cx.reader.get("", "namespaces", "", request.namespace);
        let namespace = namespace
            .ok_or_else(|| ApiError::forbidden(&gvr(request.info), request.name, "namespace does not exist"))?;
        let annotated = namespace.metadata.annotations.and_then(|annotations| annotations.get(ANNOTATION).cloned());
        let text = annotated.or_else(|| self.selectors.get(CLUSTER_DEFAULT).cloned()).unwrap_or_default();
        parse(&text).map_err(ApiError::internal)
    }
}

fn conflicts(wanted: &Labels, given: Option<&Labels>) -> bool {
    given.into_iter().flatten().any(|(key, value)| wanted.get(key).is_some_and(|other| other != value))
}

/// `a=b,c=d`.
fn parse(text: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            return Err(format!("couldn't parse the selector string {text:?}"));
        };
        labels.insert(key.trim().to_owned(), value.trim_start_matches('=').trim().to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::PodNodeSelector;
    use crate::testing::{check, check_error};

    const NAMESPACE: &str = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"ns","annotations":{"scheduler.alpha.kubernetes.io/node-selector":"zone=a"}}}"#;

    fn pod(selector: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"p","namespace":"ns"}},"spec":{{"containers":[],"nodeSelector":{selector}}}}}"#
        )
    }

    #[test]
    fn the_namespace_chooses_nodes() {
        let plugin = PodNodeSelector::default();
        assert_eq!(check(&plugin, &[NAMESPACE], &pod(r#"{"disk":"ssd"}"#))["spec"]["nodeSelector"]["zone"], "a");
        assert!(
            check_error(&plugin, &[NAMESPACE], &pod(r#"{"zone":"b"}"#))
                .ends_with("conflicts with its namespace node label selector")
        );
        let listed = PodNodeSelector { selectors: BTreeMap::from([("ns".to_owned(), "zone=a".to_owned())]) };
        assert!(check_error(&listed, &[NAMESPACE], &pod(r#"{"disk":"ssd"}"#)).ends_with("namespace whitelist"));
    }
}
