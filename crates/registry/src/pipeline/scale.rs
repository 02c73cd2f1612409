//! The scale subresource: one view on every kind that counts replicas. Upstream: `ScaleREST` of each workload.

use apimachinery::{
    ApiError, Gvk,
    field::{Error, Path},
};
use bytes::Bytes;
use k8s_openapi::api::autoscaling::v1::Scale;

use super::{Change, Kind, Patch, Registry, patch};
use crate::{RequestCx, UpdateKind, object::AnyObject, options::WriteOptions};

/// How the new scale is given.
pub enum ScaleChange<'a> {
    Replace(&'a [u8]),
    Patch(&'a Patch),
}

impl Registry {
    /// JSON of the object's scale.
    pub async fn get_scale(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Bytes, ApiError> {
        let entry = self.get(kind, namespace, name)?;
        let working = kind.working_form(entry.bytes()).await?;
        let scale = scale_of(kind, &*kind.decode_bytes(&working)?)?;
        if let Some(custom) = kind.resource.custom().filter(|_| replicas_of(&scale).is_none()) {
            let path = apimachinery::field::go_quote(custom.replicas_path());
            return Err(ApiError::internal(format!("the spec replicas field {path} does not exist")));
        }
        to_json(&scale)
    }

    pub async fn update_scale(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        change: ScaleChange<'_>,
        options: &WriteOptions,
    ) -> Result<Bytes, ApiError> {
        let given: Option<Scale> = match &change {
            ScaleChange::Replace(body) => Some(decode(body)?),
            ScaleChange::Patch(_) => None,
        };
        let mutate = |object: &mut dyn AnyObject| -> Result<(), ApiError> {
            let new = match (&given, &change) {
                (Some(given), _) => given.clone(),
                (None, ScaleChange::Patch(change)) => {
                    let value = apimachinery::json::to_value(&scale_of(kind, object)?).map_err(ApiError::internal)?;
                    let patched = patch::apply(&scale_kind(), change, value)?;
                    decode(&serde_json::to_vec(&patched).map_err(ApiError::internal)?)?
                }
                (None, ScaleChange::Replace(_)) => return Err(ApiError::internal("no scale")),
            };
            validate(&cx.name, &new)?;
            let replicas = replicas_of(&new);
            if let Some(version) = new.metadata.resource_version.filter(|version| !version.is_empty()) {
                object.metadata_mut().resource_version = Some(version);
            }
            if let Some(uid) = new.metadata.uid.filter(|uid| !uid.is_empty()) {
                object.metadata_mut().uid = Some(uid);
            }
            if let (Some(custom), ScaleChange::Patch(_), None) = (kind.resource.custom(), &change, replicas) {
                let path = apimachinery::field::go_quote(custom.replicas_path());
                return Err(ApiError::bad_request(format!("the spec replicas field {path} cannot be empty")));
            }
            kind.resource.set_scale(object, replicas.unwrap_or_default());
            Ok(())
        };
        let written = self.modify(kind, cx, UpdateKind::Object, Change::Mutate(&mutate), options).await?;
        let object = kind.resource.decode_stored(&written.bytes).map_err(ApiError::internal)?;
        to_json(&scale_of(kind, &*object)?)
    }
}

/// JSON of an object's scale, for admission.
pub(crate) fn scale_json(kind: &Kind, object: &dyn AnyObject) -> Result<serde_json::Value, ApiError> {
    apimachinery::json::to_value(&scale_of(kind, object)?).map_err(ApiError::internal)
}

fn replicas_of(scale: &Scale) -> Option<i32> {
    scale.spec.as_ref().and_then(|spec| spec.replicas)
}

fn scale_kind() -> Gvk {
    Gvk::new("autoscaling", "v1", "Scale")
}

fn scale_of(kind: &Kind, object: &dyn AnyObject) -> Result<Scale, ApiError> {
    let mut scale = kind.resource.scale(object).ok_or_else(ApiError::path_not_found)?;
    let metadata = object.metadata();
    scale.metadata.name.clone_from(&metadata.name);
    scale.metadata.namespace.clone_from(&metadata.namespace);
    scale.metadata.uid.clone_from(&metadata.uid);
    scale.metadata.resource_version.clone_from(&metadata.resource_version);
    scale.metadata.creation_timestamp.clone_from(&metadata.creation_timestamp);
    Ok(scale)
}

fn validate(name: &str, scale: &Scale) -> Result<(), ApiError> {
    let given = scale.metadata.name.as_deref().unwrap_or_default();
    if given != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        let errors = Error::invalid(&path, replicas, "must be greater than or equal to 0").into();
        return Err(ApiError::invalid("autoscaling", "Scale", name, &errors));
    }
    Ok(())
}

fn decode(json: &[u8]) -> Result<Scale, ApiError> {
    apimachinery::json::from_bytes(json).map_err(|error| {
        ApiError::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {error}"))
    })
}

fn to_json(scale: &Scale) -> Result<Bytes, ApiError> {
    serde_json::to_vec(scale).map(Bytes::from).map_err(ApiError::internal)
}
