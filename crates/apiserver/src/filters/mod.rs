//! Who is it, and may they: the filters before the resource. Upstream: `endpoints/filters`.

mod impersonation;

use std::sync::Arc;

use apimachinery::{ApiError, Gvr};
use http::HeaderMap;
use registry::{
    UserInfo,
    auth::{Attributes, Credentials},
};

use crate::{
    request_info::RequestInfo,
    server::{ApiServer, Peer},
};

/// Who a request is answered as.
pub(crate) struct Identity {
    pub(crate) user: Arc<UserInfo>,
    /// Who sent it, where that is somebody else, and the verb that allowed it (empty: `impersonate` itself). For the
    /// audit log.
    pub(crate) requestor: Option<(Arc<UserInfo>, String)>,
}

/// Who sent the request.
pub(crate) async fn authenticate(
    server: &ApiServer,
    headers: &HeaderMap,
    info: &RequestInfo,
    peer: &Peer,
) -> Result<Arc<UserInfo>, ApiError> {
    if let Some(identity) = &peer.identity {
        return Ok(Arc::clone(identity));
    }
    let credentials = Credentials { headers, path: &info.path, peer_certificates: &peer.certificates };
    match server.inner.authenticator.authenticate(credentials).await {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(ApiError::unauthorized()),
        Err(error) => {
            tracing::info!(%error, "request not authenticated");
            Err(ApiError::unauthorized())
        }
    }
}

/// Whom the request is made as.
pub(crate) async fn impersonate(
    server: &ApiServer,
    headers: &HeaderMap,
    info: &RequestInfo,
    user: Arc<UserInfo>,
) -> Result<Identity, ApiError> {
    match impersonation::impersonate(server, headers, &attributes(info, &user)).await? {
        None => Ok(Identity { user, requestor: None }),
        Some(impersonated) => {
            Ok(Identity { user: impersonated.user, requestor: Some((user, impersonated.constraint)) })
        }
    }
}

pub(crate) async fn authorize(server: &ApiServer, info: &RequestInfo, user: &Arc<UserInfo>) -> Result<(), ApiError> {
    decide(server, &attributes(info, user)).await
}

pub(crate) fn attributes(info: &RequestInfo, user: &Arc<UserInfo>) -> Attributes {
    let mut attributes = Attributes {
        user: Arc::clone(user),
        verb: info.verb.to_owned(),
        path: info.path.clone(),
        is_resource_request: info.is_resource,
        ..Attributes::default()
    };
    if info.is_resource {
        attributes.api_group.clone_from(&info.group);
        attributes.api_version.clone_from(&info.version);
        attributes.resource.clone_from(&info.resource);
        attributes.subresource.clone_from(&info.subresource);
        attributes.namespace.clone_from(&info.namespace);
        attributes.name.clone_from(&info.name);
        attributes.label_selector.clone_from(&info.label_selector);
        attributes.field_selector.clone_from(&info.field_selector);
    }
    attributes
}

/// Asks the authorizer, and says no in upstream's words.
pub(crate) async fn decide(server: &ApiServer, attributes: &Attributes) -> Result<(), ApiError> {
    let decision = server.inner.authorizer.authorize(attributes).await;
    if decision.is_allowed() {
        return Ok(());
    }
    Err(forbidden(attributes, decision.reason()))
}

/// Upstream: `responsewriters.ForbiddenStatusError`.
fn forbidden(attributes: &Attributes, reason: &str) -> ApiError {
    let mut why = forbidden_message(attributes);
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    let resource = Gvr::new(&attributes.api_group, &attributes.api_version, &attributes.resource);
    ApiError::forbidden(&resource, &attributes.name, why)
}

/// Upstream: `responsewriters.forbiddenMessage`, with its escaping of what could read as HTML.
fn forbidden_message(attributes: &Attributes) -> String {
    let quote = apimachinery::field::go_quote;
    let (user, verb) = (quote(&attributes.user.name), &attributes.verb);
    let message = if !attributes.is_resource_request {
        format!("User {user} cannot {verb} path {}", quote(&attributes.path))
    } else {
        let resource = match attributes.subresource.as_str() {
            "" => attributes.resource.clone(),
            subresource => format!("{}/{subresource}", attributes.resource),
        };
        let what = format!(
            "User {user} cannot {verb} resource {} in API group {}",
            quote(&resource),
            quote(&attributes.api_group)
        );
        if attributes.namespace.is_empty() {
            format!("{what} at the cluster scope")
        } else {
            format!("{what} in the namespace {}", quote(&attributes.namespace))
        }
    };
    message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
