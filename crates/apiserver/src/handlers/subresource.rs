//! Subresources: other views on an object, actions on it, and streams to its node.

use std::sync::Arc;

use apimachinery::{ApiError, Gvk};
use bytes::Bytes;
use futures::future::FutureExt as _;
use registry::{
    Action, ActionCall, ActionOutcome, Handler, Kind, Subresource, UpdateKind, Verb,
    options::WriteOptions,
    pipeline::{Change, ScaleChange},
};
use serde_json::json;

use super::{read, write};
use crate::{
    connect,
    respond::{self, Answer},
    server::{ApiServer, Call},
};

pub(super) async fn serve(
    server: &ApiServer,
    mut call: Call,
    kind: &Arc<Kind>,
    subresource: Subresource,
) -> Result<Answer, ApiError> {
    match (subresource.handler, call.info.verb) {
        (Handler::Status | Handler::Update, "get") => read::get(server, &call, kind).await,
        (Handler::Status | Handler::Update | Handler::UpdateOnly, "update") => {
            let options = WriteOptions::from_query(&call.query, "UpdateOptions")?;
            let (body, output) = write::receive(&mut call, &kind.gvk).await?;
            let update = update_kind(subresource);
            write::modify(server, &call, kind, update, Change::Replace(&body), &options, output).await
        }
        (Handler::Status | Handler::Update, "patch") => {
            write::patch_of(server, &mut call, kind, update_kind(subresource)).await
        }
        (Handler::Scale, _) => scale(server, call, kind).boxed().await,
        (Handler::Action, "create") => {
            let known = server.inner.actions.get(&(
                kind.gvr.group.clone(),
                kind.gvr.resource.clone(),
                subresource.name.to_owned(),
            ));
            let action = known.cloned().or_else(|| kind.resource.action(subresource.name));
            let Some(action) = action else { return Err(ApiError::path_not_found()) };
            run_action(server, call, body_gvk(kind, subresource), &*action).boxed().await
        }
        (Handler::Connect | Handler::ConnectPath | Handler::Log, _) => {
            connect::serve(server, call, kind, subresource).boxed().await
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn body_gvk(kind: &Kind, subresource: Subresource) -> Gvk {
    match subresource.body {
        Some(body) => Gvk::new(body.group, body.version, body.kind),
        None => kind.gvk.clone(),
    }
}

fn update_kind(subresource: Subresource) -> UpdateKind<'static> {
    match subresource.handler {
        Handler::Status => UpdateKind::Status,
        _ => UpdateKind::Subresource(subresource.name),
    }
}

async fn scale(server: &ApiServer, mut call: Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let output = read::output(&call)?;
    let registry = server.registry();
    let (cx, bytes) = match call.info.verb {
        "get" => {
            let bytes = registry.get_scale(kind, &call.info.namespace, &call.info.name).await?;
            return respond::object(200, bytes, output);
        }
        "update" => {
            let options = WriteOptions::from_query(&call.query, "UpdateOptions")?;
            let (body, _) = write::receive(&mut call, &Gvk::new("autoscaling", "v1", "Scale")).await?;
            let mut cx = call.context(server, Verb::Update);
            cx.dry_run = options.dry_run;
            let bytes = registry.update_scale(kind, &cx, ScaleChange::Replace(&body), &options).await;
            (cx, bytes)
        }
        "patch" => {
            let (patch, options, _) = write::receive_patch(&mut call, kind).await?;
            let mut cx = call.context(server, Verb::Patch);
            cx.dry_run = options.dry_run;
            let change = match &patch {
                write::AnyPatch::Patch(patch) => ScaleChange::Patch(patch),
                write::AnyPatch::Apply(patch) => ScaleChange::Apply(patch),
            };
            let bytes = registry.update_scale(kind, &cx, change, &options).await;
            (cx, bytes)
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    let answer = bytes.and_then(|bytes| respond::object(200, bytes, output));
    Ok(write::with_warnings(&cx, answer))
}

/// Runs an action with the request's body.
pub(super) async fn run_action(
    server: &ApiServer,
    mut call: Call,
    gvk: Gvk,
    action: &dyn Action,
) -> Result<Answer, ApiError> {
    let options = WriteOptions::from_query(&call.query, "CreateOptions")?;
    // What an action answers has no columns: a client that takes a table only is refused before anything happens.
    let output = read::output(&call)?;
    let (body, _) = write::receive(&mut call, &gvk).await?;
    let mut cx = call.context(server, Verb::Create);
    cx.dry_run = options.dry_run;
    let outcome = action
        .run(ActionCall {
            cx: &cx,
            registry: server.registry(),
            namespace: &call.info.namespace,
            name: &call.info.name,
            body,
        })
        .await;
    let answer = outcome.and_then(|outcome| match outcome {
        ActionOutcome::Created(bytes) => respond::object(201, bytes, output),
        ActionOutcome::Ok(bytes) => respond::object(200, bytes, output),
        ActionOutcome::Success => {
            let status =
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
            let bytes: Bytes = serde_json::to_vec(&status).map_err(ApiError::internal)?.into();
            respond::object(201, bytes, output)
        }
    });
    Ok(write::with_warnings(&cx, answer))
}
