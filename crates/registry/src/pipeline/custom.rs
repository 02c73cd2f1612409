//! Kinds made at run time inside the pipeline: what is stored is presented before it is looked at, and what is written
//! takes the stored form. For every other kind all of this is nothing.

use std::sync::Arc;

use apimachinery::ApiError;
use bytes::Bytes;
use store::{Entry, Template};

use super::{Kind, Registry, Selection, check_size};
use crate::{canonical, object::AnyObject};

impl Registry {
    /// A write by rules that have been replaced while it ran leaves an object that the new ones have not seen.
    pub(super) fn check_rules(&self, kind: &Kind) {
        if kind.resource.custom().is_none() || !*kind.retired.borrow() {
            return;
        }
        for current in self.kinds() {
            if current.gvr.group == kind.gvr.group
                && current.gvr.resource == kind.gvr.resource
                && let Some(custom) = current.resource.custom()
            {
                custom.written_by_old_rules();
            }
        }
    }
}

impl Kind {
    /// Stored objects as the kind's clients see them, for as many as there are, in their order.
    pub async fn present_all(&self, stored: Vec<Bytes>) -> Result<Vec<Bytes>, ApiError> {
        match self.resource.custom() {
            Some(custom) if custom.converts_outside() => custom.present_all(stored).await,
            _ => stored.iter().map(|stored| self.present(stored)).collect(),
        }
    }

    /// One stored object as the kind's clients see it.
    pub async fn present_one(&self, stored: &Bytes) -> Result<Bytes, ApiError> {
        match self.resource.custom() {
            Some(custom) if custom.converts_outside() => {
                let mut all = custom.present_all(vec![stored.clone()]).await?;
                all.pop().ok_or_else(|| ApiError::internal("conversion gave no object"))
            }
            _ => self.present(stored),
        }
    }

    /// Whether presenting an object may take a call to a webhook, so that [`Kind::present`] is not enough.
    pub fn converts_outside(&self) -> bool {
        self.resource.custom().is_some_and(|custom| custom.converts_outside())
    }

    /// Whether a selection has to look at what the kind's clients see, because what is stored may be something else: of
    /// another version, or from before a default.
    pub fn selects_presented(&self, selection: &Selection) -> bool {
        self.resource.custom().is_some_and(|custom| !custom.is_stored_as_served()) && selection.looks_inside()
    }

    /// Ends once the kind is not served any more, or by other rules. None: it is for as long as the process.
    pub fn retirement(&self) -> Option<futures::future::BoxFuture<'static, ()>> {
        self.resource.custom()?;
        let mut retired = self.retired.subscribe();
        Some(Box::pin(async move {
            // The sender lives as long as the kind; when it is gone, so is the kind.
            retired.wait_for(|retired| *retired).await.ok();
        }))
    }

    /// What the pipeline works on in the place of stored bytes: for a kind made at run time what its version serves,
    /// for others the bytes themselves, which are in the spelling of the hub.
    pub(super) async fn working_form(&self, stored: &Bytes) -> Result<Bytes, ApiError> {
        match self.resource.custom() {
            Some(_) => self.present_one(stored).await,
            None => Ok(stored.clone()),
        }
    }

    /// Bytes of [`Kind::working_form`] as an object.
    pub(super) fn decode_bytes(&self, bytes: &[u8]) -> Result<Box<dyn AnyObject>, ApiError> {
        let (bytes, _) = crate::ownership::split(bytes);
        self.resource.decode_stored(&bytes).map_err(|error| {
            tracing::error!(kind = %self.gvk.kind, %error, "stored object does not decode");
            ApiError::internal("stored object does not decode")
        })
    }

    /// What is stored of an encoded object.
    pub(crate) async fn stored_form(&self, served: &Template) -> Result<Template, ApiError> {
        match self.resource.custom() {
            Some(custom) => custom.stored_form(served.clone()).await,
            None => Ok(served.clone()),
        }
    }

    /// An object as its clients see it, in JSON that is not yet canonical.
    pub(super) fn served_json(&self, object: &dyn AnyObject) -> Result<Bytes, ApiError> {
        let json = Bytes::from(object.to_json().map_err(ApiError::internal)?);
        match self.resource.hub() {
            Some(converted) => converted.present(&json),
            None => Ok(json),
        }
    }

    /// An object as it is served and as it is stored. One that is too large only with the owners of its fields goes
    /// without them.
    pub(super) async fn encoded(
        &self,
        object: &mut dyn AnyObject,
        owned: &[u8],
    ) -> Result<(Template, Template), ApiError> {
        let served = canonical::encode(object, owned)?;
        let stored = self.stored_form(&served).await?;
        match check_size(&stored) {
            Err(_) if !owned.is_empty() => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok((served, stored)),
        }
        let served = canonical::encode(object, b"")?;
        let stored = self.stored_form(&served).await?;
        check_size(&stored)?;
        Ok((served, stored))
    }

    /// The written object as its writer sees it.
    pub(super) fn written(&self, entry: &Arc<Entry>, served: &Template) -> Bytes {
        match self.resource.custom() {
            Some(_) => canonical::at(served, entry.mod_revision().0),
            None => entry.bytes().clone(),
        }
    }
}
