//! Kinds that are asked and not stored: token and access reviews, and bindings. Upstream: `registry/authentication`, `registry/authorization`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    authentication::v1::{
        SelfSubjectReview, SelfSubjectReviewStatus, TokenReview, TokenReviewStatus, UserInfo as ApiUser,
    },
    authorization::v1::{
        LocalSubjectAccessReview, NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview,
        SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewStatus, SubjectRulesReviewStatus,
    },
};
use apimachinery::{
    ApiError,
    field::{Error, Path},
};
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    Action, ActionCall, ActionOutcome, AnyObject, DynamicObject, Info, Resource, UserInfo,
    auth::{Attributes, Authenticator, Authorizer, Decision},
};
use serde::{Serialize, de::DeserializeOwned};

/// A create-only kind.
struct Review {
    info: Info,
    action: Arc<dyn Action>,
}

impl Resource for Review {
    fn info(&self) -> &Info {
        &self.info
    }

    fn create_action(&self) -> Option<Arc<dyn Action>> {
        Some(Arc::clone(&self.action))
    }

    fn decode(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, serde_json::Error> {
        apimachinery::json::from_bytes::<DynamicObject>(json).map(|object| Box::new(object) as Box<dyn AnyObject>)
    }
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

pub(crate) fn resources(
    authenticator: &Arc<dyn Authenticator>,
    authorizer: &Arc<dyn Authorizer>,
) -> Vec<Arc<dyn Resource>> {
    let authorizer = || Arc::clone(authorizer);
    let review = |info: Info, action: Arc<dyn Action>| -> Arc<dyn Resource> { Arc::new(Review { info, action }) };
    vec![
        review(
            Info::cluster(AUTHENTICATION, "v1", "TokenReview", "tokenreviews"),
            Arc::new(Tokens(Arc::clone(authenticator))),
        ),
        review(Info::cluster(AUTHENTICATION, "v1", "SelfSubjectReview", "selfsubjectreviews"), Arc::new(WhoAmI)),
        review(
            Info::cluster(AUTHORIZATION, "v1", "SubjectAccessReview", "subjectaccessreviews"),
            Arc::new(Access(authorizer())),
        ),
        review(
            Info::cluster(AUTHORIZATION, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
            Arc::new(SelfAccess(authorizer())),
        ),
        review(
            Info::cluster(AUTHORIZATION, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
            Arc::new(SelfRules(authorizer())),
        ),
        review(
            Info::namespaced(AUTHORIZATION, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews"),
            Arc::new(LocalAccess(authorizer())),
        ),
        review(Info::namespaced("", "v1", "Binding", "bindings"), Arc::new(crate::actions::BindPod)),
    ]
}

pub(crate) fn decode<T: DeserializeOwned>(call: &ActionCall<'_>, kind: &str, version: &str) -> Result<T, ApiError> {
    apimachinery::json::from_bytes(&call.body).map_err(|error| {
        ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"))
    })
}

pub(crate) fn created<T: Serialize>(object: &T) -> Result<ActionOutcome, ApiError> {
    serde_json::to_vec(object).map(|bytes| ActionOutcome::Created(bytes.into())).map_err(ApiError::internal)
}

fn api_user(user: &UserInfo) -> ApiUser {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ApiUser {
        username: text(&user.name),
        uid: text(&user.uid),
        groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
    }
}

// === authentication ===

struct Tokens(Arc<dyn Authenticator>);

impl Action for Tokens {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let mut review: TokenReview = decode(&call, "TokenReview", "v1")?;
            let token = std::mem::take(&mut review.spec.token);
            if token.is_empty() {
                return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
            }
            let audiences = review.spec.audiences.clone().unwrap_or_default();
            let status = match self.0.authenticate_token(&token, &audiences).await {
                Ok(Some(identity)) => TokenReviewStatus {
                    authenticated: Some(true),
                    audiences: (!identity.audiences.is_empty()).then_some(identity.audiences),
                    user: Some(api_user(&identity.user)),
                    ..TokenReviewStatus::default()
                },
                Ok(None) => TokenReviewStatus::default(),
                Err(error) => TokenReviewStatus { error: Some(error.to_string()), ..TokenReviewStatus::default() },
            };
            review.spec.token = token;
            review.status = Some(status);
            created(&review)
        }
        .boxed()
    }
}

struct WhoAmI;

impl Action for WhoAmI {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let mut review: SelfSubjectReview = decode(&call, "SelfSubjectReview", "v1")?;
            review.metadata.creation_timestamp = Some(call.cx.time());
            review.status = Some(SelfSubjectReviewStatus { user_info: Some(api_user(&call.cx.user)) });
            created(&review)
        }
        .boxed()
    }
}

// === authorization ===

fn access_attributes(
    user: Arc<UserInfo>,
    resource: Option<&ResourceAttributes>,
    non_resource: Option<&NonResourceAttributes>,
) -> Attributes {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let base = Attributes { user, ..Attributes::default() };
    if let Some(resource) = resource {
        return Attributes {
            verb: text(&resource.verb),
            namespace: text(&resource.namespace),
            api_group: text(&resource.group),
            api_version: text(&resource.version),
            resource: text(&resource.resource),
            subresource: text(&resource.subresource),
            name: text(&resource.name),
            is_resource_request: true,
            ..base
        };
    }
    if let Some(non_resource) = non_resource {
        return Attributes { verb: text(&non_resource.verb), path: text(&non_resource.path), ..base };
    }
    base
}

async fn decide(authorizer: &dyn Authorizer, attributes: &Attributes) -> SubjectAccessReviewStatus {
    let decision = authorizer.authorize(attributes).await;
    let reason = decision.reason();
    SubjectAccessReviewStatus {
        allowed: decision.is_allowed(),
        denied: matches!(decision, Decision::Deny { .. }).then_some(true),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        evaluation_error: None,
    }
}

/// Exactly one of the two kinds of attributes. Upstream: `apis/authorization/validation`.
fn check_spec(kind: &str, resource: bool, non_resource: bool) -> Result<(), ApiError> {
    let path = Path::new("spec");
    let error = match (resource, non_resource) {
        (true, true) => Error::invalid(
            &path.child("nonResourceAttributes"),
            serde_json::Value::Null,
            "cannot be specified in combination with resourceAttributes",
        ),
        (false, false) => Error::invalid(
            &path.child("resourceAttributes"),
            serde_json::Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => return Ok(()),
    };
    Err(ApiError::invalid(AUTHORIZATION, kind, "", &error.into()))
}

fn subject(
    user: Option<&String>,
    uid: Option<&String>,
    groups: Option<&Vec<String>>,
    extra: Option<&BTreeMap<String, Vec<String>>>,
) -> Arc<UserInfo> {
    Arc::new(UserInfo {
        name: user.cloned().unwrap_or_default(),
        uid: uid.cloned().unwrap_or_default(),
        groups: groups.cloned().unwrap_or_default(),
        extra: extra.cloned().unwrap_or_default(),
    })
}

struct Access(Arc<dyn Authorizer>);

impl Action for Access {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let mut review: SubjectAccessReview = decode(&call, "SubjectAccessReview", "v1")?;
            let spec = &review.spec;
            check_spec(
                "SubjectAccessReview",
                spec.resource_attributes.is_some(),
                spec.non_resource_attributes.is_some(),
            )?;
            check_subject("SubjectAccessReview", spec.user.as_deref(), spec.groups.as_deref())?;
            let user = subject(spec.user.as_ref(), spec.uid.as_ref(), spec.groups.as_ref(), spec.extra.as_ref());
            let attributes =
                access_attributes(user, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
            review.status = Some(decide(&*self.0, &attributes).await);
            created(&review)
        }
        .boxed()
    }
}

fn check_subject(kind: &str, user: Option<&str>, groups: Option<&[String]>) -> Result<(), ApiError> {
    if user.unwrap_or_default().is_empty() && groups.unwrap_or_default().is_empty() {
        let path = Path::new("spec").child("user");
        let error = Error::invalid(&path, user.unwrap_or_default(), "at least one of user or group must be specified");
        return Err(ApiError::invalid(AUTHORIZATION, kind, "", &error.into()));
    }
    Ok(())
}

struct LocalAccess(Arc<dyn Authorizer>);

impl Action for LocalAccess {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let mut review: LocalSubjectAccessReview = decode(&call, "LocalSubjectAccessReview", "v1")?;
            let spec = &review.spec;
            check_spec("LocalSubjectAccessReview", spec.resource_attributes.is_some(), false)?;
            check_subject("LocalSubjectAccessReview", spec.user.as_deref(), spec.groups.as_deref())?;
            let namespace = spec
                .resource_attributes
                .as_ref()
                .and_then(|resource| resource.namespace.as_deref())
                .unwrap_or_default();
            if namespace != call.namespace {
                return Err(ApiError::bad_request(format!(
                    "spec.resourceAttributes.namespace must match namespace: {}",
                    call.namespace
                )));
            }
            let user = subject(spec.user.as_ref(), spec.uid.as_ref(), spec.groups.as_ref(), spec.extra.as_ref());
            let attributes = access_attributes(user, spec.resource_attributes.as_ref(), None);
            review.status = Some(decide(&*self.0, &attributes).await);
            created(&review)
        }
        .boxed()
    }
}

struct SelfAccess(Arc<dyn Authorizer>);

impl Action for SelfAccess {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let mut review: SelfSubjectAccessReview = decode(&call, "SelfSubjectAccessReview", "v1")?;
            let spec = &review.spec;
            check_spec(
                "SelfSubjectAccessReview",
                spec.resource_attributes.is_some(),
                spec.non_resource_attributes.is_some(),
            )?;
            let attributes = access_attributes(
                Arc::clone(&call.cx.user),
                spec.resource_attributes.as_ref(),
                spec.non_resource_attributes.as_ref(),
            );
            review.status = Some(decide(&*self.0, &attributes).await);
            created(&review)
        }
        .boxed()
    }
}

struct SelfRules(Arc<dyn Authorizer>);

impl Action for SelfRules {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let mut review: SelfSubjectRulesReview = decode(&call, "SelfSubjectRulesReview", "v1")?;
            let namespace = review.spec.namespace.clone().unwrap_or_default();
            if namespace.is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            let rules = self.0.rules_for(&call.cx.user, &namespace).await;
            review.status = Some(SubjectRulesReviewStatus {
                resource_rules: rules.resource,
                non_resource_rules: rules.non_resource,
                incomplete: rules.incomplete,
                evaluation_error: (!rules.evaluation_error.is_empty()).then_some(rules.evaluation_error),
            });
            created(&review)
        }
        .boxed()
    }
}
