//! Kinds that come and go while the server runs: how their bodies are read, and how what is stored becomes what a
//! version serves.
//!
//! Everything else about such a kind is an ordinary [`crate::Resource`]. Upstream counterpart: what
//! `apiextensions-apiserver` puts between the generic registry and the store (`crdConversionRESTOptionsGetter`).

use apimachinery::ApiError;
use bytes::Bytes;
use futures::future::BoxFuture;
use store::Template;

use crate::object::AnyObject;

/// A body as its kind's schema reads it.
pub struct ReadBody {
    pub object: Box<dyn AnyObject>,
    /// Fields that the schema does not know and that were dropped, and fields that were there twice.
    pub problems: Vec<schema::StrictError>,
}

/// What a kind made at run time does that built-in kinds leave to the table of fields.
pub trait Custom: Send + Sync {
    /// Prunes a body of this version. Defaults come later, with `Resource::set_defaults`.
    fn read(&self, body: schema::Node<'_>) -> Result<ReadBody, ApiError>;

    /// Refuses new objects while the definition is being deleted.
    fn check_create(&self, name: &str) -> Result<(), ApiError>;

    /// Texts for the `Warning` headers of every answer: the version is deprecated.
    fn warnings(&self) -> &[String];

    /// Whether every stored object is, byte for byte, what this version serves.
    fn is_stored_as_served(&self) -> bool;

    /// Whether somebody outside of the process may have to convert objects: then `present` alone is not enough.
    fn converts_outside(&self) -> bool;

    /// Stored JSON as this version serves it. Leaves alone what is served JSON already.
    fn present(&self, stored: &Bytes) -> Result<Bytes, ApiError>;

    /// As `present`, for many, asking a conversion webhook where one is needed. As long as the input, in its order.
    fn present_all(&self, stored: Vec<Bytes>) -> BoxFuture<'_, Result<Vec<Bytes>, ApiError>>;

    /// Objects of any version in this one, also where what is stored would be served as it is: they come from a request.
    fn convert_all(&self, objects: Vec<Bytes>) -> BoxFuture<'_, Result<Vec<Bytes>, ApiError>>;

    /// The stored form of an object of this version.
    fn stored_form(&self, served: Template) -> BoxFuture<'_, Result<Template, ApiError>>;

    /// The version that objects are stored in.
    fn storage_version(&self) -> &str;

    /// Where the number of wanted replicas stands, dotted; empty when the kind has no scale.
    fn replicas_path(&self) -> &str;

    /// `openAPIV3Schema` of the version, for documents; none when nothing is known of its fields.
    fn document(&self) -> Option<serde_json::Value>;

    /// Whether fields that the schema does not name are kept everywhere.
    fn keeps_unknown_fields(&self) -> bool;

    /// An object was written by the rules of a definition that has been replaced meanwhile.
    fn written_by_old_rules(&self);
}
