//! Acting as somebody else: whom a request wants to be, and whether whoever sent it may.
//!
//! Five ways are tried. The first four are constrained: the right to impersonate (`impersonate:<mode>`) holds only for
//! what may be done with it (`impersonate-on:<mode>:<verb>`). The last is the old one: whoever may impersonate somebody
//! may do everything as him.
//! Upstream: `k8s.io/apiserver/pkg/endpoints/filters/impersonation`, KEP-5284.

use std::{collections::BTreeMap, sync::Arc};

use apimachinery::ApiError;
use auth::service_account;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use registry::{UserInfo, auth::Attributes};

use super::decide;
use crate::server::ApiServer;

const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// From so many checks of one kind on, one for all of them is tried first. Upstream: `manyAuthorizationChecksInLoop`.
const MANY: usize = 4;
/// Most values of one request that are checked at all.
const MOST: usize = 1024;

/// A constrained way.
struct Mode {
    name: &'static str,
    applies: fn(&UserInfo, &UserInfo) -> bool,
}

const MODES: &[Mode] = &[
    Mode {
        name: "associated-node",
        applies: |wanted, requestor| {
            let own = requestor.extra.get("authentication.kubernetes.io/node-name").map(Vec::as_slice);
            is_bare(wanted)
                && service_account::split_user_name(&requestor.name).is_some()
                && node_name(&wanted.name).is_some_and(|node| matches!(own, Some([only]) if only == node))
        },
    },
    Mode { name: "arbitrary-node", applies: |wanted, _| is_bare(wanted) && node_name(&wanted.name).is_some() },
    Mode {
        name: "serviceaccount",
        applies: |wanted, _| is_bare(wanted) && service_account::split_user_name(&wanted.name).is_some(),
    },
    Mode {
        name: "user-info",
        applies: |wanted, _| {
            node_name(&wanted.name).is_none() && service_account::split_user_name(&wanted.name).is_none()
        },
    },
];

/// Whom the request acts as, and the verb that allowed it, which is empty for the old way.
pub(super) struct Impersonated {
    pub(super) user: Arc<UserInfo>,
    pub(super) constraint: String,
}

/// `None`: the request acts as who it comes from. `request` is what is to be done.
pub(super) async fn impersonate(
    server: &ApiServer,
    headers: &HeaderMap,
    request: &Attributes,
) -> Result<Option<Impersonated>, ApiError> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let mut first = None;
    for mode in MODES.iter().filter(|mode| (mode.applies)(&wanted, &request.user)) {
        match constrained(server, mode, &wanted, request).await {
            Ok(user) => {
                return Ok(Some(Impersonated {
                    user: Arc::new(user),
                    constraint: format!("impersonate:{}", mode.name),
                }));
            }
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    match (Checks { server, requestor: &request.user, mode: None }).all(&wanted).await {
        Ok(user) => Ok(Some(Impersonated { user: Arc::new(user), constraint: String::new() })),
        Err(refusal) => Err(first.unwrap_or(refusal)),
    }
}

async fn constrained(
    server: &ApiServer,
    mode: &Mode,
    wanted: &UserInfo,
    request: &Attributes,
) -> Result<UserInfo, ApiError> {
    let mut requestor = Arc::clone(&request.user);
    if mode.name == "associated-node" {
        // What may be done as one's own node does not depend on which node that is.
        let keys = requestor.extra.keys().cloned().collect();
        let mut plain = UserInfo::clone(&requestor);
        plain.extra = BTreeMap::from([("authentication.kubernetes.io/associated-node-keys".to_owned(), keys)]);
        requestor = Arc::new(plain);
    }
    let on = Attributes {
        user: Arc::clone(&requestor),
        verb: format!("impersonate-on:{}:{}", mode.name, request.verb),
        ..request.clone()
    };
    decide(server, &on).await?;
    Checks { server, requestor: &requestor, mode: Some(mode.name) }.all(wanted).await
}

/// The questions whether somebody may be each part of somebody else.
struct Checks<'a> {
    server: &'a ApiServer,
    requestor: &'a Arc<UserInfo>,
    /// `None`: the old way.
    mode: Option<&'static str>,
}

impl Checks<'_> {
    async fn all(&self, wanted: &UserInfo) -> Result<UserInfo, ApiError> {
        let mut actual = wanted.clone();
        self.name(wanted, &mut actual).await?;
        if !wanted.uid.is_empty() {
            self.ask(AUTHENTICATION, "uids", "", "", &wanted.uid).await?;
        }
        self.groups(&wanted.groups).await?;
        self.extra(&wanted.extra).await?;
        let wanted_group = if actual.name == UserInfo::ANONYMOUS {
            Some(UserInfo::UNAUTHENTICATED_GROUP)
        } else if actual.in_group(UserInfo::UNAUTHENTICATED_GROUP) {
            None
        } else {
            Some(UserInfo::AUTHENTICATED_GROUP)
        };
        if let Some(group) = wanted_group
            && !actual.in_group(group)
        {
            actual.groups.push(group.to_owned());
        }
        Ok(actual)
    }

    async fn name(&self, wanted: &UserInfo, actual: &mut UserInfo) -> Result<(), ApiError> {
        let group = self.group();
        if let (Some(mode), Some(node)) = (self.mode, node_name(&wanted.name)) {
            actual.groups = vec!["system:nodes".to_owned()];
            let node = if mode == "associated-node" { "*" } else { node };
            return self.ask(group, "nodes", "", "", node).await;
        }
        if let Some((namespace, name)) = service_account::split_user_name(&wanted.name) {
            if wanted.groups.is_empty() {
                actual.groups = service_account::groups(namespace);
            }
            return self.ask(group, "serviceaccounts", "", namespace, name).await;
        }
        self.ask(group, "users", "", "", &wanted.name).await
    }

    async fn groups(&self, groups: &[String]) -> Result<(), ApiError> {
        let api_group = self.group();
        if self.mode.is_some() {
            if groups.iter().any(String::is_empty) {
                return Err(self.refuse(
                    api_group,
                    "groups",
                    "",
                    "impersonating the empty string group is not allowed",
                ));
            }
            if groups.iter().any(|group| group == UserInfo::MASTERS_GROUP) {
                let why = "impersonating the system:masters group is not allowed";
                return Err(self.refuse(api_group, "groups", UserInfo::MASTERS_GROUP, why));
            }
            if groups.len() >= MANY && self.ask(api_group, "groups", "", "", "*").await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.ask(api_group, "groups", "", "", group).await?;
        }
        Ok(())
    }

    async fn extra(&self, extra: &BTreeMap<String, Vec<String>>) -> Result<(), ApiError> {
        if self.mode.is_some() {
            if let Some(why) = bad_extra(extra) {
                return Err(self.refuse(AUTHENTICATION, "userextras", "", &why));
            }
            let values: usize = extra.values().map(Vec::len).sum();
            if extra.len().max(values) >= MANY && self.ask(AUTHENTICATION, "userextras", "*", "", "*").await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.ask(AUTHENTICATION, "userextras", key, "", value).await?;
            }
        }
        Ok(())
    }

    /// The API group of users and groups: the old way has them in the core's.
    fn group(&self) -> &'static str {
        if self.mode.is_some() { AUTHENTICATION } else { "" }
    }

    fn attributes(&self, group: &str, resource: &str, subresource: &str, namespace: &str, name: &str) -> Attributes {
        Attributes {
            user: Arc::clone(self.requestor),
            verb: self.mode.map_or_else(|| "impersonate".to_owned(), |mode| format!("impersonate:{mode}")),
            api_group: group.to_owned(),
            api_version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            is_resource_request: true,
            ..Attributes::default()
        }
    }

    async fn ask(
        &self,
        group: &str,
        resource: &str,
        subresource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        decide(self.server, &self.attributes(group, resource, subresource, namespace, name)).await
    }

    fn refuse(&self, group: &str, resource: &str, name: &str, why: &str) -> ApiError {
        self.attributes(group, resource, "", "", name).forbidden(why)
    }
}

/// Nothing but a name.
fn is_bare(user: &UserInfo) -> bool {
    user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty()
}

fn node_name(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|name| apimachinery::names::is_dns1123_subdomain(name).is_empty())
}

/// Upstream: `validateExtra`.
fn bad_extra(extra: &BTreeMap<String, Vec<String>>) -> Option<String> {
    for (key, values) in extra {
        if key.is_empty() {
            return Some("impersonating the empty string key in extra is not allowed".to_owned());
        }
        let (domain, path) = key.split_once('/').unwrap_or((key, ""));
        if path.is_empty() || !apimachinery::names::is_dns1123_subdomain(domain).is_empty() {
            return Some(format!(
                "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {}: must be a \
                 domain-prefixed path (such as \"acme.io/foo\")",
                apimachinery::field::go_quote(key)
            ));
        }
        if *key != key.to_lowercase() {
            let key = apimachinery::field::go_quote(key);
            return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key}"));
        }
        if values.is_empty() {
            return Some("impersonating empty values in extra is not allowed".to_owned());
        }
        if values.iter().any(String::is_empty) {
            return Some("impersonating the empty string value in extra is not allowed".to_owned());
        }
    }
    None
}

/// The headers as a user; `None`: there are none. Upstream: `processImpersonationHeaders`.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, ApiError> {
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(None);
    }
    let unreadable = || ApiError::bad_request("a header of the impersonation is not text");
    let values = |name: &str| -> Result<Vec<String>, ApiError> {
        let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned).map_err(|_| unreadable());
        headers.get_all(name).iter().map(text).collect()
    };
    let first = |name: &str| values(name).map(|values| values.into_iter().next().unwrap_or_default());
    let mut user = UserInfo {
        name: first("impersonate-user")?,
        uid: first("impersonate-uid")?,
        groups: values("impersonate-group")?,
        extra: BTreeMap::new(),
    };
    let mut count = user.groups.len();
    for header in headers.keys() {
        let Some(key) = header.as_str().strip_prefix(EXTRA_PREFIX) else { continue };
        let key = percent_decode_str(key).decode_utf8().map_or_else(|_| key.to_owned(), Into::into);
        let values = values(header.as_str())?;
        count += values.len();
        user.extra.entry(key).or_default().extend(values);
    }
    if count > MOST {
        return Err(ApiError::bad_request("too many groups and extra values to impersonate"));
    }
    if user.name.is_empty() {
        if is_bare(&user) {
            return Ok(None);
        }
        return Err(ApiError::bad_request(format!("requested {} without impersonating a user name", go_syntax(&user))));
    }
    Ok(Some(user))
}

/// As Go prints a `*user.DefaultInfo` with `%#v`.
fn go_syntax(user: &UserInfo) -> String {
    let quote = apimachinery::field::go_quote;
    let list = |values: &[String]| values.iter().map(|value| quote(value)).collect::<Vec<_>>().join(", ");
    let groups = if user.groups.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", list(&user.groups)) };
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{}:[]string{{{}}}", quote(key), list(values))).collect();
    let extra = if extra.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", extra.join(", ")) };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:[]string{groups}, Extra:map[string][]string{extra}}}",
        quote(&user.name),
        quote(&user.uid)
    )
}
