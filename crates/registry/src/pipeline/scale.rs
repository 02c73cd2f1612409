//! The scale subresource: one view on every kind that counts replicas. Upstream: `ScaleREST` of each workload.

use apimachinery::{
    ApiError, Gvk,
    field::{Error, Path},
};
use bytes::Bytes;
use k8s_openapi::api::autoscaling::v1::Scale;

use fieldmanager::{Filter, Operation, TypeRef, TypedValue, Versions};
use schema::Node;

use super::{ApplyPatch, Change, Kind, Patch, Registry, patch};
use crate::{
    RequestCx, UpdateKind,
    object::AnyObject,
    options::WriteOptions,
    ownership::{self, Owned},
};

/// How the new scale is given.
pub enum ScaleChange<'a> {
    Replace(&'a [u8]),
    Patch(&'a Patch),
    Apply(&'a ApplyPatch),
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
        let written = self.modify(kind, cx, UpdateKind::Object, Change::Scale(&change), options).await?;
        let object = kind.resource.decode_stored(&written.bytes).map_err(ApiError::internal)?;
        to_json(&scale_of(kind, &*object)?)
    }

    /// Changes the object's replicas as its scale is to be changed, and tells who owns what then.
    pub(super) async fn scaled(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        change: &ScaleChange<'_>,
        object: &mut dyn AnyObject,
        list: &[u8],
    ) -> Result<Owned, ApiError> {
        let parent = ownership::entries(list);
        let paths = ownership::replicas_paths(self, kind, &parent);
        let paths = |version: &str| paths.get(version).cloned();
        let shown = fieldmanager::scale::to_scale(&parent, &paths);
        let live = to_json(&scale_of(kind, object)?)?;
        let scales = ScaleVersions::default();
        let now = ownership::stamp(cx.now);
        let operation = Operation {
            manager: &cx.field_manager,
            subresource: &cx.subresource,
            api_version: SCALE_VERSION,
            now: &now,
            versions: &scales,
        };
        let live_scale = scales.typed(parse(&live)?)?;
        let (new, managed) = match change {
            ScaleChange::Apply(patch) => {
                check_scale_kind(&patch.config)?;
                let applied = operation.apply(&live_scale, &patch.config, &shown, patch.force);
                let applied = applied.map_err(ownership::apply_error)?;
                let json = applied.object.map_or_else(|| live.to_vec(), |object| object.to_json());
                (decode(&json)?, applied.managed)
            }
            ScaleChange::Replace(_) | ScaleChange::Patch(_) => {
                let new = match change {
                    ScaleChange::Patch(change) => {
                        let value = serde_json::from_slice(&live).map_err(ApiError::internal)?;
                        let patched = patch::apply(&scale_kind(), change, value)?;
                        decode(&serde_json::to_vec(&patched).map_err(ApiError::internal)?)?
                    }
                    ScaleChange::Replace(body) => decode(body)?,
                    ScaleChange::Apply(_) => return Err(ApiError::internal("no scale")),
                };
                let json = to_json(&new)?;
                let new_scale = scales.typed(parse(&json)?)?;
                let mut compare = |version: &str| match version {
                    SCALE_VERSION => live_scale.compare(&new_scale).map(Some),
                    _ => Ok(None),
                };
                let managed = operation.update(shown.clone(), false, &mut compare).map_err(ApiError::internal)?;
                (new, managed)
            }
        };
        validate(&cx.name, &new)?;
        let replicas = replicas_of(&new);
        if let Some(version) = new.metadata.resource_version.filter(|version| !version.is_empty()) {
            object.metadata_mut().resource_version = Some(version);
        }
        if let Some(uid) = new.metadata.uid.filter(|uid| !uid.is_empty()) {
            object.metadata_mut().uid = Some(uid);
        }
        if let (Some(custom), ScaleChange::Patch(_) | ScaleChange::Apply(_), None) =
            (kind.resource.custom(), change, replicas)
        {
            let path = apimachinery::field::go_quote(custom.replicas_path());
            return Err(ApiError::bad_request(format!("the spec replicas field {path} cannot be empty")));
        }
        kind.resource.set_scale(object, replicas.unwrap_or_default());
        let version = kind.gvk.api_version();
        let owned = fieldmanager::scale::to_parent(&parent, managed, &version, &paths);
        let only_times = owned.same_but_times(&parent);
        Ok(Owned { list: owned.to_json(), only_times })
    }
}

const SCALE_VERSION: &str = "autoscaling/v1";

/// The scale has one version and nothing that is reset.
#[derive(Default)]
struct ScaleVersions {
    filter: Filter,
}

impl ScaleVersions {
    fn typed<'n>(&self, node: Node<'n>) -> Result<TypedValue<'n>, ApiError> {
        let kind = schema::builtin()
            .kind("autoscaling", "v1", "Scale")
            .ok_or_else(|| ApiError::internal("the table of fields has no Scale"))?;
        Ok(TypedValue::of_struct(TypeRef::Named(kind), node))
    }
}

impl Versions for ScaleVersions {
    fn kind_in(&self, version: &str) -> Option<TypeRef<'_>> {
        let kind = schema::builtin().kind("autoscaling", "v1", "Scale")?;
        (version == SCALE_VERSION).then_some(TypeRef::Named(kind))
    }

    fn literal(&self) -> bool {
        false
    }

    fn convert(&self, _object: &Node<'_>, _from: &str, to: &str) -> Result<Node<'static>, String> {
        Err(format!("a scale has no version {to}"))
    }

    fn filter_in(&self, _version: &str) -> &Filter {
        &self.filter
    }
}

fn parse(json: &[u8]) -> Result<Node<'_>, ApiError> {
    schema::json::parse(json, &schema::Limits::TRUSTED).map_err(ApiError::internal)
}

fn check_scale_kind(config: &Node<'_>) -> Result<(), ApiError> {
    let text = |name: &str| config.get(name).and_then(Node::as_str).unwrap_or_default();
    if (text("apiVersion"), text("kind")) == (SCALE_VERSION, "Scale") {
        return Ok(());
    }
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    Err(ApiError::bad_request(format!("invalid object type: {group}/{version}, Kind={}", text("kind"))))
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
