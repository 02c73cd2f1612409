//! The object as the pipeline sees it: typed inside a strategy, erased outside.
//!
//! Decoding is always from a byte slice and encoding always to a `Vec<u8>`, so that each kind's (de)serialiser is
//! compiled in one form only. Must not know a kind by name.

use std::any::Any;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Serialize, de::DeserializeOwned};

/// A typed API object: any `k8s-openapi` top-level struct, or [`crate::DynamicObject`].
pub trait Object: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static {
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
}

impl<T> Object for T
where
    T: k8s_openapi::Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + PartialEq
        + Send
        + Sync
        + 'static,
{
    fn metadata(&self) -> &ObjectMeta {
        k8s_openapi::Metadata::metadata(self)
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        k8s_openapi::Metadata::metadata_mut(self)
    }
}

/// An [`Object`] whose type is known only to its strategy.
pub trait AnyObject: Any + Send + Sync {
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// Plain JSON in the order of the type's serialiser; not yet the stored form.
    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error>;
    fn clone_box(&self) -> Box<dyn AnyObject>;
    /// Becomes what the JSON says.
    fn assign_json(&mut self, json: &[u8]) -> Result<(), serde_json::Error>;
    /// Becomes the other, which is given back when it is of another type.
    fn replace(&mut self, other: Box<dyn AnyObject>) -> Result<(), Box<dyn AnyObject>>;
    /// False also when the types differ.
    fn equals(&self, other: &dyn AnyObject) -> bool;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Object> AnyObject for T {
    fn metadata(&self) -> &ObjectMeta {
        Object::metadata(self)
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        Object::metadata_mut(self)
    }

    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    fn clone_box(&self) -> Box<dyn AnyObject> {
        Box::new(self.clone())
    }

    fn assign_json(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        *self = apimachinery::json::from_bytes(json)?;
        Ok(())
    }

    fn replace(&mut self, mut other: Box<dyn AnyObject>) -> Result<(), Box<dyn AnyObject>> {
        match other.as_any_mut().downcast_mut::<T>() {
            Some(other) => {
                std::mem::swap(self, other);
                Ok(())
            }
            None => Err(other),
        }
    }

    fn equals(&self, other: &dyn AnyObject) -> bool {
        other.as_any().downcast_ref::<T>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl dyn AnyObject {
    /// The typed view, when this is a `T`.
    pub fn downcast_ref<T: Object>(&self) -> Option<&T> {
        self.as_any().downcast_ref()
    }

    pub fn downcast_mut<T: Object>(&mut self) -> Option<&mut T> {
        self.as_any_mut().downcast_mut()
    }

    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }

    pub fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }
}

/// Small things strategies do to metadata.
pub trait ObjectExt: Object {
    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }

    /// A new object starts at generation 1, when its kind counts generations at all.
    fn start_generation(&mut self) {
        self.metadata_mut().generation = Some(1);
    }

    /// `old`'s generation, one more when the wanted state `changed`.
    fn bump_generation_if(&mut self, old: &Self, changed: bool) {
        let generation = old.metadata().generation.unwrap_or_default();
        self.metadata_mut().generation = Some(if changed { generation + 1 } else { generation });
    }
}

impl<T: Object> ObjectExt for T {}
