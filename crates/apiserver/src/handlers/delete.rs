//! DELETE of one object and of collections.

use std::sync::Arc;

use apimachinery::{ApiError, Gvk};
use registry::{
    Kind, Verb,
    options::{DeleteOptions, ListOptions},
    pipeline::{Deleted, Selection},
};

use super::{list, read, write::with_warnings};
use crate::{
    body, encode, negotiate,
    respond::{self, Answer},
    server::{ApiServer, Call},
};

/// Options from the body, if there is one, else from the query.
async fn options(call: &mut Call) -> Result<DeleteOptions, ApiError> {
    let bytes = body::read(call.take_body()).await?;
    if bytes.is_empty() {
        return DeleteOptions::from_query(&call.query);
    }
    let media = negotiate::input(&call.parts.headers)?;
    let json = encode::to_json(media, bytes, Some(&Gvk::new("", "v1", "DeleteOptions")))?;
    let value: serde_json::Value = serde_json::from_slice(&json)
        .map_err(|error| ApiError::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?;
    let kind = value["kind"].as_str().unwrap_or_default();
    if !kind.is_empty() && kind != "DeleteOptions" {
        return Err(ApiError::bad_request(format!("decoded object cannot be converted to DeleteOptions: {kind}")));
    }
    let mut options = DeleteOptions::from_json(&value)?;
    options.dry_run |= DeleteOptions::from_query(&call.query)?.dry_run;
    Ok(options)
}

pub(super) async fn delete(server: &ApiServer, mut call: Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let output = read::output_of(&call, kind)?;
    let options = options(&mut call).await?;
    let mut cx = call.context(server, Verb::Delete);
    cx.dry_run = options.dry_run;
    let deleted = match server.registry().delete(kind, &cx, &options).await {
        Ok(Deleted::Pending { bytes }) => kind.present_one(&bytes).await.map(|bytes| Deleted::Pending { bytes }),
        other => other,
    };
    let answer = deleted.and_then(|deleted| match deleted {
        Deleted::Gone { bytes, .. } if kind.resource.returns_deleted_object() => {
            read::object(&call, kind, 200, &bytes, None, output)
        }
        Deleted::Gone { uid, .. } => {
            let status = apimachinery::status::success(&kind.gvr, &call.info.name, &uid);
            respond::object(200, status.to_json().into(), output)
        }
        Deleted::Pending { bytes } => {
            let code = if options.orphan_dependents == Some(false) { 202 } else { 200 };
            read::object(&call, kind, code, &bytes, None, output)
        }
    });
    Ok(with_warnings(&cx, answer))
}

pub(super) async fn delete_collection(
    server: &ApiServer,
    mut call: Call,
    kind: &Arc<Kind>,
) -> Result<Answer, ApiError> {
    let output = read::output_of(&call, kind)?;
    let list_options = ListOptions::from_query(&call.query)?;
    let selection = Selection::new(kind, list_options.labels.clone(), list_options.fields.clone())?;
    let options = options(&mut call).await?;
    let mut cx = call.context(server, Verb::DeleteCollection);
    cx.name.clear();
    cx.dry_run = options.dry_run;
    let deleted = server.registry().delete_collection(kind, &mut cx, &selection, &list_options, &options).await;
    let deleted = match deleted {
        Ok(items) if kind.resource.custom().is_some() => kind.present_all(items).await,
        other => other,
    };
    let answer = deleted.and_then(|items| {
        let revision = server.registry().store().revision().0;
        respond::object(200, list::whole(kind, revision, &items), output)
    });
    Ok(with_warnings(&cx, answer))
}
