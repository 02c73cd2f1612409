//! Who is it, and may they: the filters before the resource. Upstream: `endpoints/filters`.

use std::sync::Arc;

use apimachinery::{ApiError, Gvr};
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;
use registry::{
    UserInfo,
    auth::{Attributes, Credentials},
};

use crate::{
    request_info::RequestInfo,
    server::{ApiServer, Peer},
};

/// Authentication and impersonation.
pub(crate) async fn identify(server: &ApiServer, headers: &HeaderMap, peer: &Peer) -> Result<Arc<UserInfo>, ApiError> {
    let user = match &peer.identity {
        Some(identity) => Arc::clone(identity),
        None => authenticate(server, headers, peer).await?,
    };
    if headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return impersonate(server, headers, &user).await;
    }
    Ok(user)
}

async fn authenticate(server: &ApiServer, headers: &HeaderMap, peer: &Peer) -> Result<Arc<UserInfo>, ApiError> {
    // A certificate is looked at once a connection; anything else in the headers may change with each request.
    let by_certificate = !peer.certificates.is_empty()
        && !headers.contains_key(header::AUTHORIZATION)
        && !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    if by_certificate && let Some(user) = peer.known.get() {
        return Ok(Arc::clone(user));
    }
    let credentials = Credentials { headers, peer_certificates: &peer.certificates };
    match server.inner.authenticator.authenticate(credentials).await {
        Ok(Some(user)) => {
            let user = with_authenticated_group(user);
            if by_certificate {
                return Ok(Arc::clone(peer.known.get_or_init(|| user)));
            }
            Ok(user)
        }
        Ok(None) if server.inner.anonymous => Ok(Arc::new(UserInfo::anonymous())),
        Ok(None) => Err(ApiError::unauthorized()),
        Err(error) => {
            tracing::info!(%error, "request not authenticated");
            Err(ApiError::unauthorized())
        }
    }
}

fn with_authenticated_group(user: Arc<UserInfo>) -> Arc<UserInfo> {
    if user.in_group(UserInfo::AUTHENTICATED_GROUP) || user.in_group(UserInfo::UNAUTHENTICATED_GROUP) {
        return user;
    }
    let mut user = Arc::unwrap_or_clone(user);
    user.groups.push(UserInfo::AUTHENTICATED_GROUP.to_owned());
    Arc::new(user)
}

/// Upstream: `filters/impersonation`. Each part of the identity needs the right to impersonate it.
async fn impersonate(server: &ApiServer, headers: &HeaderMap, user: &Arc<UserInfo>) -> Result<Arc<UserInfo>, ApiError> {
    const EXTRA: &str = "impersonate-extra-";
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let name = values("impersonate-user").into_iter().next().unwrap_or_default();
    let (groups, uid) = (values("impersonate-group"), values("impersonate-uid").into_iter().next());
    if name.is_empty() {
        return Err(ApiError::internal("requested [{UserExtra impersonation}] without impersonating a user"));
    }
    let mut checks: Vec<Attributes> = Vec::new();
    let ask = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
        user: Arc::clone(user),
        verb: "impersonate".to_owned(),
        api_group: group.to_owned(),
        api_version: "v1".to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        is_resource_request: true,
        ..Attributes::default()
    };
    let mut target = UserInfo { name: name.clone(), uid: uid.clone().unwrap_or_default(), ..UserInfo::default() };
    let service_account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match service_account {
        Some((namespace, account)) => {
            checks.push(ask("", "serviceaccounts", "", namespace, account));
            if groups.is_empty() {
                target.groups =
                    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            }
        }
        None => checks.push(ask("", "users", "", "", &name)),
    }
    for group in &groups {
        checks.push(ask("", "groups", "", "", group));
        target.groups.push(group.clone());
    }
    if let Some(uid) = &uid {
        checks.push(ask("authentication.k8s.io", "uids", "", "", uid));
    }
    for key in headers.keys().filter(|key| key.as_str().starts_with(EXTRA)) {
        let name = percent_decode_str(&key.as_str()[EXTRA.len()..]).decode_utf8_lossy().to_lowercase();
        for value in values(key.as_str()) {
            checks.push(ask("authentication.k8s.io", "userextras", &name, "", &value));
            target.extra.entry(name.clone()).or_default().push(value);
        }
    }
    for check in &checks {
        decide(server, check).await?;
    }
    if target.name == UserInfo::ANONYMOUS {
        target.groups.push(UserInfo::UNAUTHENTICATED_GROUP.to_owned());
    } else if !target.in_group(UserInfo::AUTHENTICATED_GROUP) {
        target.groups.push(UserInfo::AUTHENTICATED_GROUP.to_owned());
    }
    Ok(Arc::new(target))
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
    let mut why = forbidden_message(attributes);
    if !decision.reason().is_empty() {
        why.push_str(": ");
        why.push_str(decision.reason());
    }
    let resource = Gvr::new(&attributes.api_group, &attributes.api_version, &attributes.resource);
    Err(ApiError::forbidden(&resource, &attributes.name, why))
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
