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

pub(crate) const PODS: Info = Info::namespaced("", "v1", "Pod", "pods");

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

/// A request to one plugin.
pub(crate) struct Case<'a> {
    pub(crate) info: Info,
    pub(crate) subresource: &'a str,
    pub(crate) operation: Operation,
    pub(crate) user: UserInfo,
    pub(crate) stored: &'a [&'a str],
    pub(crate) old: Option<Value>,
    pub(crate) new: Option<Value>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) object: Result<Value, String>,
    pub(crate) warnings: Vec<String>,
}

pub(crate) fn stored(objects: &[&str]) -> Reader {
    Reader::new(Arc::new(Stored(objects.iter().map(|text| serde_json::from_str(text).unwrap()).collect())))
}

impl<'a> Case<'a> {
    pub(crate) fn create(info: Info, stored: &'a [&'a str], object: Value) -> Self {
        Self {
            info,
            subresource: "",
            operation: Operation::Create,
            user: UserInfo::new("ada", ["system:authenticated"]),
            stored,
            old: None,
            new: Some(object),
        }
    }

    pub(crate) fn update(info: Info, stored: &'a [&'a str], old: Value, new: Value) -> Self {
        Self { operation: Operation::Update, old: Some(old), ..Self::create(info, stored, new) }
    }

    pub(crate) fn run<T: registry::Object>(self, plugin: &dyn Admission) -> Outcome {
        let verb = match self.operation {
            Operation::Create | Operation::Connect => Verb::Create,
            Operation::Update => Verb::Update,
            Operation::Delete => Verb::Delete,
        };
        let mut cx = RequestCx::new(Arc::new(self.user), verb, jiff::Timestamp::UNIX_EPOCH, stored(self.stored));
        let decode = |value: Value| -> T { serde_json::from_value(value).unwrap() };
        let (mut new, old) = (self.new.map(decode), self.old.map(decode));
        let meta = new.as_ref().or(old.as_ref()).map(|object| object.metadata().clone()).unwrap_or_default();
        let (name, namespace) = (meta.name.unwrap_or_default(), meta.namespace.unwrap_or_default());
        namespace.clone_into(&mut cx.namespace);
        name.clone_into(&mut cx.name);
        self.subresource.clone_into(&mut cx.subresource);
        let handled = plugin.handles(&self.info, self.subresource, self.operation);
        let mut request = AdmissionRequest {
            object: new.as_mut().map(|object| object as &mut dyn registry::AnyObject),
            old_object: old.as_ref().map(|object| object as &dyn registry::AnyObject),
            ..AdmissionRequest::new(&cx, &self.info, self.operation)
        };
        let mut result = Ok(());
        if handled {
            result = plugin.mutate(&mut request).now_or_never().unwrap();
            if result.is_ok() {
                result = plugin.validate(&request).now_or_never().unwrap();
            }
        }
        let object = match result {
            Ok(()) => Ok(serde_json::to_value(&new).unwrap()),
            Err(error) => Err(error.message),
        };
        Outcome { object, warnings: cx.take_warnings() }
    }
}

fn run(plugin: &dyn Admission, stored: &[&str], pod: &str) -> Result<Value, String> {
    assert!(plugin.handles(&PODS, "", Operation::Create));
    Case::create(PODS, stored, serde_json::from_str(pod).unwrap()).run::<Pod>(plugin).object
}

/// The pod after the plugin has admitted its creation.
pub(crate) fn check(plugin: &dyn Admission, stored: &[&str], pod: &str) -> Value {
    run(plugin, stored, pod).unwrap()
}

/// The message with which the plugin refuses the pod.
pub(crate) fn check_error(plugin: &dyn Admission, stored: &[&str], pod: &str) -> String {
    run(plugin, stored, pod).unwrap_err()
}

/// Allows nothing.
pub(crate) struct DenyAll;

impl registry::auth::Authorizer for DenyAll {
    fn authorize<'a>(
        &'a self,
        _attributes: &'a registry::auth::Attributes,
    ) -> futures::future::BoxFuture<'a, registry::auth::Decision> {
        futures::future::ready(registry::auth::Decision::NoOpinion { reason: String::new() }).boxed()
    }

    fn rules_for<'a>(
        &'a self,
        _user: &'a UserInfo,
        _namespace: &'a str,
    ) -> futures::future::BoxFuture<'a, registry::auth::Rules> {
        futures::future::ready(registry::auth::Rules::default()).boxed()
    }
}
