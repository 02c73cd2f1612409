//! What a cache must know about an object: its metadata, and what of it is not worth keeping.

use apimachinery::ObjectKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// An object that a cache can hold.
pub trait Object: DeserializeOwned + Clone + Send + Sync + 'static {
    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;

    /// The object's metadata, to be trimmed before it is cached.
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// The object as a server shows it, already without what no reader of a cache wants and would cost most to read.
    fn decode(json: &RawValue) -> Result<Self, serde_json::Error> {
        apimachinery::json::without_owners(json.get().as_bytes())
    }

    /// Drops what no reader of a cache wants. Managed fields are often larger than the object.
    fn trim(&mut self) {
        self.meta_mut().managed_fields = None;
    }

    /// Namespace and name.
    fn key(&self) -> ObjectKey {
        let meta = self.meta();
        ObjectKey::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

/// The object's revision as a number; 0 when it has none. Revisions of one cluster are comparable (KEP-5504).
pub fn revision_of(object: &impl Object) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The object's UID, empty when it has none yet.
pub fn uid_of(object: &impl Object) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

impl<K> Object for K
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta> + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn meta(&self) -> &ObjectMeta {
        k8s_openapi::Metadata::metadata(self)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        k8s_openapi::Metadata::metadata_mut(self)
    }
}

/// Only the metadata of an object of any kind. Upstream: meta/v1 `PartialObjectMetadata`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PartialObject {
    /// Owners, finalizers, UID, timestamps; labels and annotations are dropped when it is cached.
    #[serde(default)]
    pub metadata: ObjectMeta,
}

impl Object for PartialObject {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn trim(&mut self) {
        let meta = &mut self.metadata;
        meta.managed_fields = None;
        meta.annotations = None;
        meta.labels = None;
        meta.generate_name = None;
    }
}
