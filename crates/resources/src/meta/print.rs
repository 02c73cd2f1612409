//! Cells that several kinds print alike. Upstream: helpers of `pkg/printers/internalversion/printers.go`.

use std::collections::BTreeMap;

use apimachinery::Selector;
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::{Value, json};

use crate::optional::Text;

/// `a=1,b=2`, or `<none>`.
pub(crate) fn labels(labels: Option<&BTreeMap<String, String>>) -> String {
    let pairs: Vec<String> = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A selector as text, `<none>` when absent or empty, `<error>` when malformed (`FormatLabelSelector`).
pub(crate) fn selector(selector: Option<&LabelSelector>) -> String {
    match Selector::from_label_selector(selector) {
        Err(_) => "<error>".to_owned(),
        Ok(selector) => {
            let text = selector.to_string();
            if text.is_empty() { "<none>".to_owned() } else { text }
        }
    }
}

/// The names of a template's containers.
pub(crate) fn container_names(template: Option<&PodTemplateSpec>) -> Value {
    join(pod_spec(template), |container| &container.name)
}

/// The images of a template's containers.
pub(crate) fn container_images(template: Option<&PodTemplateSpec>) -> Value {
    join(pod_spec(template), |container| container.image.text())
}

fn pod_spec(template: Option<&PodTemplateSpec>) -> Option<&PodSpec> {
    template.and_then(|template| template.spec.as_ref())
}

fn join(spec: Option<&PodSpec>, text: fn(&k8s_openapi::api::core::v1::Container) -> &str) -> Value {
    let parts: Vec<&str> = spec.into_iter().flat_map(|spec| &spec.containers).map(text).collect();
    json!(parts.join(","))
}

/// The first three, and how many more; `<unset>` for none.
pub(crate) fn first_three<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    const MAX: usize = 3;
    let items: Vec<&str> = items.into_iter().collect();
    match items.len() {
        0 => "<unset>".to_owned(),
        1..=MAX => items.join(","),
        count => format!("{} + {} more...", items[..MAX].join(","), count - MAX),
    }
}

/// A selector of plain labels as a query writes it.
pub(crate) fn set_selector(labels: Option<&BTreeMap<String, String>>) -> String {
    labels.map_or_else(String::new, |labels| Selector::from_set(labels).to_string())
}

/// `RWO,ROX,RWX,RWOP`: each mode once, in this order.
pub(crate) fn access_modes(modes: &[String]) -> String {
    let known =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let present = known.iter().filter(|(mode, _)| modes.iter().any(|other| other == mode));
    present.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The name, marked where an annotation makes the object the default of its kind.
pub(crate) fn name_with_default(meta: &ObjectMeta, annotations: &[&str]) -> String {
    let set = |key: &&str| meta.annotations.as_ref().and_then(|map| map.get(*key)).is_some_and(|value| value == "true");
    let mark = if annotations.iter().any(set) { " (default)" } else { "" };
    format!("{}{mark}", meta.name.text())
}
