//! What the plugins' tests share: stored objects and a pod in, the pod or the error out.

use std::sync::Arc;

use api::core::v1::Pod;
use bytes::Bytes;
use futures::FutureExt as _;
use registry::{
    Info, ReadObjects, Reader, RequestCx, UserInfo, Verb,
    admission::{Admission, AdmissionRequest, Operation},
};
use serde_json::Value;

const PODS: Info = Info::namespaced("", "v1", "Pod", "pods");

struct Stored(Vec<Value>);

impl ReadObjects for Stored {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Bytes> {
        self.matching(group, plural, Some(namespace))
            .find(|object| object["metadata"]["name"] == name)
            .map(|object| object.to_string().into())
    }

    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Bytes> {
        self.matching(group, plural, namespace).map(|object| object.to_string().into()).collect()
    }
}

impl Stored {
    fn matching(&self, group: &str, plural: &str, namespace: Option<&str>) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| {
            let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
            let (object_group, _) =
                apimachinery::key::split_api_version(object["apiVersion"].as_str().unwrap_or_default());
            (plural == format!("{kind}s") || plural == format!("{kind}es"))
                && object_group == group
                && namespace
                    .is_none_or(|namespace| object["metadata"]["namespace"].as_str().unwrap_or_default() == namespace)
        })
    }
}

fn run(plugin: &dyn Admission, stored: &[&str], pod: &str) -> Result<Value, String> {
    let stored = stored.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let cx = RequestCx::new(
        Arc::new(UserInfo::new("ada", ["system:authenticated"])),
        Verb::Create,
        jiff::Timestamp::UNIX_EPOCH,
        Reader::new(Arc::new(Stored(stored))),
    );
    let mut pod: Pod = serde_json::from_str(pod).unwrap();
    let (name, namespace) = (pod.metadata.name.clone().unwrap(), pod.metadata.namespace.clone().unwrap_or_default());
    assert!(plugin.handles(&PODS, "", Operation::Create));
    let mut request = AdmissionRequest {
        namespace: &namespace,
        name: &name,
        object: Some(&mut pod),
        ..AdmissionRequest::new(&cx, &PODS, Operation::Create)
    };
    plugin.mutate(&mut request).now_or_never().unwrap().map_err(|error| error.message)?;
    plugin.validate(&request).now_or_never().unwrap().map_err(|error| error.message)?;
    Ok(serde_json::to_value(&pod).unwrap())
}

/// The pod after the plugin has admitted its creation.
pub(crate) fn check(plugin: &dyn Admission, stored: &[&str], pod: &str) -> Value {
    run(plugin, stored, pod).unwrap()
}

/// The message with which the plugin refuses the pod.
pub(crate) fn check_error(plugin: &dyn Admission, stored: &[&str], pod: &str) -> String {
    run(plugin, stored, pod).unwrap_err()
}
