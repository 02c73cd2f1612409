//! Who is it, and may they: the filters before the resource. Upstream: `endpoints/filters`.

mod impersonation;

use std::{sync::Arc, time::Instant};

use apimachinery::ApiError;
use http::HeaderMap;
use registry::{
    UserInfo,
    auth::{Attributes, Credentials, Decision},
};

use crate::{
    metrics,
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
    let start = Instant::now();
    let outcome = server.inner.authenticator.authenticate(credentials).await;
    metrics::authenticated(&outcome, start);
    match outcome {
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
    let attributes = attributes(info, user);
    let start = Instant::now();
    let decision = server.inner.authorizer.authorize(&attributes).await;
    metrics::authorized(&decision, start);
    answer(&attributes, &decision)
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
    answer(attributes, &server.inner.authorizer.authorize(attributes).await)
}

fn answer(attributes: &Attributes, decision: &Decision) -> Result<(), ApiError> {
    if decision.is_allowed() { Ok(()) } else { Err(attributes.forbidden(decision.reason())) }
}
