//! From a body's JSON to an object, with upstream's words when it is not one.

use apimachinery::{ApiError, scan};

use super::{Kind, Registry};
use crate::{
    RequestCx,
    object::AnyObject,
    options::FieldValidation,
    strict::{self, Source},
};

/// What a client has sent: the object, and apart from it what it says of `metadata.managedFields`.
pub(super) struct Body {
    pub(super) object: Box<dyn AnyObject>,
    /// JSON of the list; empty: nothing was said.
    pub(super) managed_fields: Vec<u8>,
}

impl Body {
    pub(super) fn clone(&self) -> Self {
        Self { object: self.object.clone_box(), managed_fields: self.managed_fields.clone() }
    }
}

impl Registry {
    /// Decodes and defaults a body.
    pub(super) fn decode(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        json: &[u8],
        validation: FieldValidation,
    ) -> Result<Body, ApiError> {
        self.decode_from(kind, cx, json, Source::Request, validation)
    }

    /// As [`Registry::decode`], refused in the words that belong to the source.
    pub(super) fn decode_from(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        json: &[u8],
        source: Source<'_>,
        validation: FieldValidation,
    ) -> Result<Body, ApiError> {
        let (mut object, managed_fields) = match kind.resource.custom() {
            Some(custom) => strict::read_custom(&kind.gvk, custom, json, source, validation, cx)?,
            None => {
                let checked = strict::check(&kind.gvk, json, source, validation, cx)?;
                let object = kind.resource.decode(&checked.json);
                (object.map_err(|error| cannot_be_handled(kind, &checked.json, &error))?, checked.managed_fields)
            }
        };
        kind.resource.set_defaults(&mut *object);
        Ok(Body { object, managed_fields })
    }
}

impl Kind {
    /// Decodes and defaults what admission has made of an object. Unknown fields go, without a word.
    pub(crate) fn decode_admitted(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, ApiError> {
        let mut object = match self.resource.custom() {
            Some(custom) => strict::reread_custom(&self.gvk, custom, json)?,
            None => self.resource.decode(json).map_err(ApiError::internal)?,
        };
        self.resource.set_defaults(&mut *object);
        Ok(object)
    }
}

/// Upstream: `handlers.transformDecodeError`.
fn cannot_be_handled(kind: &Kind, json: &[u8], error: &serde_json::Error) -> ApiError {
    let found = scan::text(json, &["kind"]).filter(|found| !found.is_empty());
    let found = found.as_deref().unwrap_or(&kind.gvk.kind);
    let (version, wanted) = (&kind.gvk.version, &kind.gvk.kind);
    ApiError::bad_request(format!("{found} in version \"{version}\" cannot be handled as a {wanted}: {error}"))
}
