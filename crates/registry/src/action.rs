//! Creates that are not stored as such: a Binding, an Eviction, a TokenRequest, a SubjectAccessReview.
//!
//! An action gets its body as JSON and the registry to act with. Upstream: `rest.NamedCreater` and create-only storages.

use bytes::Bytes;
use futures::future::BoxFuture;

use apimachinery::ApiError;

use crate::{pipeline::Registry, request::RequestCx};

pub struct ActionCall<'a> {
    pub cx: &'a RequestCx,
    pub registry: &'a Registry,
    /// Of the parent object; empty for a top-level action.
    pub namespace: &'a str,
    pub name: &'a str,
    /// JSON of the body, its kind already checked.
    pub body: Bytes,
}

/// What to answer.
#[derive(Debug)]
pub enum ActionOutcome {
    /// 201 with this JSON object.
    Created(Bytes),
    /// 200 with this JSON object.
    Ok(Bytes),
    /// 201 with a success Status.
    Success,
}

pub trait Action: Send + Sync {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>>;
}
