//! Objects from one version to another: by name alone, or by asking a webhook.
//!
//! Upstream: `apiserver/conversion/{nop_converter,webhook_converter}.go`.

use std::time::Duration;

use apimachinery::{
    ApiError,
    field::{Path, go_quote},
    names,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use outbound::{ClientConfig, Outbound, Post};
use resources::apiextensions::custom_resource_definition::fields::{list, text, texts};
use serde_json::{Map, Value, json};

/// Upstream gives a conversion as long as a request has.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer of a webhook: a page of the largest objects is larger than anything upstream takes.
const MAX_ANSWER: usize = 64 << 20;

/// Why objects were not converted. Upstream's messages.
#[derive(Debug, thiserror::Error)]
pub enum ConversionError {
    #[error("conversion webhook for {kind} failed: {why}")]
    Failed { kind: String, why: String },
    #[error("conversion webhook for {kind} returned {got} objects, expected {expected}")]
    Count { kind: String, got: usize, expected: usize },
    #[error("conversion webhook for {kind} returned invalid converted object at index {index}: {why}")]
    Object { kind: String, index: usize, why: String },
    #[error("conversion webhook for {kind} returned invalid metadata in object at index {index}: {why}")]
    Metadata { kind: String, index: usize, why: String },
    #[error("no supported conversion review versions")]
    Reviews,
    #[error("request to convert CR from an invalid group/version: {0}")]
    Version(String),
}

impl From<ConversionError> for ApiError {
    fn from(error: ConversionError) -> Self {
        let mut status = Self::internal(&error);
        status.message = error.to_string();
        status
    }
}

/// How webhooks are called: the one thing here that goes out of the process.
pub trait Webhooks: Send + Sync {
    /// Posts a review and gives back what was answered, or why nothing was.
    fn call<'a>(&'a self, config: &'a ClientConfig, review: Bytes) -> BoxFuture<'a, Result<Bytes, String>>;
}

impl Webhooks for Outbound {
    fn call<'a>(&'a self, config: &'a ClientConfig, review: Bytes) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            let client = self.client(config).map_err(|error| error.to_string())?;
            let post = Post { body: review, timeout: TIMEOUT, max_answer: MAX_ANSWER, tell_timeout: true };
            client.post(post).await.map_err(|error| error.to_string())
        })
    }
}

/// The strategy of a definition.
#[derive(Clone, Debug)]
pub(crate) enum Conversion {
    None,
    Webhook { config: ClientConfig, reviews: Vec<String> },
}

impl Conversion {
    pub(crate) fn of(conversion: &Value) -> Self {
        if text(conversion, "strategy") != "Webhook" {
            return Self::None;
        }
        let webhook = &conversion["webhook"];
        Self::Webhook {
            config: ClientConfig::from_json(&webhook["clientConfig"]),
            reviews: texts(webhook, "conversionReviewVersions").into_iter().map(str::to_owned).collect(),
        }
    }

    pub(crate) fn calls_out(&self) -> bool {
        matches!(self, Self::Webhook { .. })
    }
}

/// Gives every object the wanted version; those that have it stay as they are.
pub(crate) async fn convert(
    conversion: &Conversion,
    webhooks: &dyn Webhooks,
    mut objects: Vec<Value>,
    api_version: &str,
) -> Result<Vec<Value>, ConversionError> {
    let foreign: Vec<usize> = objects
        .iter()
        .enumerate()
        .filter(|(_, object)| text(object, "apiVersion") != api_version)
        .map(|(index, _)| index)
        .collect();
    let Some(first) = foreign.first() else { return Ok(objects) };
    let Conversion::Webhook { config, reviews } = conversion else {
        for index in foreign {
            objects[index]["apiVersion"] = api_version.into();
        }
        return Ok(objects);
    };
    let kind = kind_of(&objects[*first]);
    let review_version =
        reviews.iter().find(|version| matches!(version.as_str(), "v1" | "v1beta1")).ok_or(ConversionError::Reviews)?;
    let uid = uuid::Uuid::new_v4().to_string();
    let sent: Vec<&Value> = foreign.iter().map(|index| &objects[*index]).collect();
    let review = json!({
        "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{review_version}"),
        "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": sent},
    });
    let failed = |why: String| ConversionError::Failed { kind: kind.clone(), why };
    let answer = webhooks.call(config, Bytes::from(review.to_string())).await.map_err(failed)?;
    let answer: Value = serde_json::from_slice(&answer).map_err(|error| failed(error.to_string()))?;
    let converted = accepted(&answer, review_version, &uid).map_err(failed)?;
    if converted.len() != foreign.len() {
        return Err(ConversionError::Count { kind, got: converted.len(), expected: foreign.len() });
    }
    for (position, (index, object)) in foreign.into_iter().zip(converted).enumerate() {
        let original = &objects[index];
        check(original, object, api_version).map_err(|why| ConversionError::Object {
            kind: kind.clone(),
            index: position,
            why,
        })?;
        let metadata = restored_metadata(original, object).map_err(|why| ConversionError::Metadata {
            kind: kind.clone(),
            index: position,
            why,
        })?;
        let mut object = object.clone();
        object["metadata"] = Value::Object(metadata);
        objects[index] = object;
    }
    Ok(objects)
}

fn kind_of(object: &Value) -> String {
    let api_version = text(object, "apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    format!("{group}/{version}, Kind={}", text(object, "kind"))
}

/// The converted objects of an answer that says it succeeded. Upstream: `getConvertedObjectsFromResponse`.
fn accepted<'a>(answer: &'a Value, review_version: &str, uid: &str) -> Result<&'a [Value], String> {
    let response = &answer["response"];
    if review_version == "v1" {
        let (api_version, kind) = (text(answer, "apiVersion"), text(answer, "kind"));
        if api_version != "apiextensions.k8s.io/v1" || kind != "ConversionReview" {
            return Err(format!(
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {}",
                kind_of(answer)
            ));
        }
    }
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    if review_version == "v1" && text(response, "uid") != uid {
        return Err(format!("expected response.uid={}, got {}", go_quote(uid), go_quote(text(response, "uid"))));
    }
    let result = &response["result"];
    let status = text(result, "status");
    if status != "Success" {
        return Err(match text(result, "message") {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    Ok(list(response, "convertedObjects"))
}

/// Upstream: `validateConvertedObject` and the checks before it.
fn check(original: &Value, converted: &Value, api_version: &str) -> Result<(), String> {
    if !converted.is_object() {
        return Err("it is no object".to_owned());
    }
    let got = text(converted, "apiVersion");
    if got != api_version {
        return Err(format!("invalid groupVersion (expected {api_version}, received {got})"));
    }
    let (wanted, got) = (text(original, "kind"), text(converted, "kind"));
    if wanted != got {
        return Err(format!("invalid kind (expected {wanted}, received {got})"));
    }
    for (name, shown) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (wanted, got) = (text(&original["metadata"], name), text(&converted["metadata"], name));
        if wanted != got {
            return Err(format!("must have the same {shown}: {wanted} != {got}"));
        }
    }
    Ok(())
}

/// The original's metadata with the labels and annotations of the converted object. Upstream: `restoreObjectMeta`.
fn restored_metadata(original: &Value, converted: &Value) -> Result<Map<String, Value>, String> {
    let Some(answered) = converted.get("metadata") else {
        return Err("missing metadata in converted object".to_owned());
    };
    let Some(answered) = answered.as_object() else {
        return Err("invalid metadata of another type in converted object".to_owned());
    };
    let mut metadata = original["metadata"].as_object().cloned().unwrap_or_default();
    for name in ["labels", "annotations"] {
        match answered.get(name) {
            None | Some(Value::Null) => {
                metadata.remove(name);
            }
            Some(Value::Object(own)) => {
                let mut texts: Vec<(String, String)> = Vec::new();
                for (key, value) in own {
                    let Some(value) = value.as_str() else {
                        return Err(format!("metadata.{name}[{key}] must be a string in converted object"));
                    };
                    texts.push((key.clone(), value.to_owned()));
                }
                if metadata.get(name) != Some(&Value::Object(own.clone())) {
                    let path = Path::new("metadata").child(name);
                    let pairs = texts.iter().map(|(key, value)| (key, value));
                    let errors = match name {
                        "labels" => names::validate_labels(pairs, &path),
                        _ => names::validate_annotations(pairs, &path),
                    };
                    if !errors.is_empty() {
                        return Err(errors.aggregate());
                    }
                }
                metadata.insert(name.to_owned(), Value::Object(own.clone()));
            }
            Some(_) => return Err(format!("invalid metadata.{name} in converted object")),
        }
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests;
