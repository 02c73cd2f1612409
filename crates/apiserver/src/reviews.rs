//! Kinds that are asked and not stored: token and access reviews, and bindings. Upstream: `registry/authentication`, `registry/authorization`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    ObjectMeta,
    authentication::v1::{
        SelfSubjectReview, SelfSubjectReviewStatus, TokenReview, TokenReviewStatus, UserInfo as ApiUser,
    },
    authorization::v1::{
        FieldSelectorAttributes, LabelSelectorAttributes, LocalSubjectAccessReview, NonResourceAttributes,
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
        SubjectAccessReviewStatus, SubjectRulesReviewStatus,
    },
};
use apimachinery::{
    ApiError,
    field::{Error, ErrorList, Path},
};
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    Action, ActionCall, ActionOutcome, AnyObject, DynamicObject, Info, Resource, UserInfo,
    auth::{Attributes, Authenticator, Authorizer, Decision},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

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

/// A question that admission gets to see before it is answered.
struct Admitted {
    info: Info,
    inner: Arc<dyn Action>,
}

impl Action for Admitted {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let Info { group, version, kind, plural, .. } = &self.info;
            let registered = call.registry.kind(group, version, plural).ok_or_else(ApiError::path_not_found)?;
            let mut object: Value = decode(&call, kind, version)?;
            if let Some(fields) = object.as_object_mut() {
                fields.entry("apiVersion").or_insert_with(|| self.info.api_version().into());
                fields.entry("kind").or_insert_with(|| (*kind).into());
            }
            let mut object: DynamicObject =
                serde_json::from_value(object).map_err(|error| cannot_be_handled(kind, version, &error))?;
            crate::actions::admit(&call, &registered, &mut object).await?;
            let body = serde_json::to_vec(&object).map_err(ApiError::internal)?.into();
            self.inner.run(ActionCall { body, ..call }).await
        }
        .boxed()
    }
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

pub(crate) fn resources(
    authenticator: &Arc<dyn Authenticator>,
    authorizer: &Arc<dyn Authorizer>,
) -> Vec<Arc<dyn Resource>> {
    let authorizer = || Arc::clone(authorizer);
    let action = |info: Info, action: Arc<dyn Action>| -> Arc<dyn Resource> { Arc::new(Review { info, action }) };
    let review = |info: Info, inner: Arc<dyn Action>| {
        let admitted = Arc::new(Admitted { info, inner });
        action(info, admitted)
    };
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
        action(Info::namespaced("", "v1", "Binding", "bindings"), Arc::new(crate::actions::BindPod)),
    ]
}

pub(crate) fn decode<T: DeserializeOwned>(call: &ActionCall<'_>, kind: &str, version: &str) -> Result<T, ApiError> {
    apimachinery::json::from_bytes(&call.body).map_err(|error| cannot_be_handled(kind, version, &error))
}

fn cannot_be_handled(kind: &str, version: &str, error: &serde_json::Error) -> ApiError {
    ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"))
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
                Ok(None) => {
                    TokenReviewStatus { error: Some("invalid bearer token".to_owned()), ..TokenReviewStatus::default() }
                }
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

/// What is asked, and which parts of it could not be read and count as not said.
fn access_attributes(
    user: Arc<UserInfo>,
    resource: Option<&ResourceAttributes>,
    non_resource: Option<&NonResourceAttributes>,
) -> (Attributes, Vec<&'static str>) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let base = Attributes { user, ..Attributes::default() };
    if let Some(resource) = resource {
        let mut ignored = Vec::new();
        let field_selector = resource.field_selector.as_ref().map_or_else(String::new, |selector| {
            field_selector(selector).unwrap_or_else(|| {
                ignored.push("spec.resourceAttributes.fieldSelector ignored due to parse error");
                String::new()
            })
        });
        let label_selector = resource.label_selector.as_ref().map_or_else(String::new, |selector| {
            label_selector(selector).unwrap_or_else(|| {
                ignored.push("spec.resourceAttributes.labelSelector ignored due to parse error");
                String::new()
            })
        });
        let attributes = Attributes {
            verb: text(&resource.verb),
            namespace: text(&resource.namespace),
            api_group: text(&resource.group),
            api_version: text(&resource.version),
            resource: text(&resource.resource),
            subresource: text(&resource.subresource),
            name: text(&resource.name),
            is_resource_request: true,
            field_selector,
            label_selector,
            ..base
        };
        return (attributes, ignored);
    }
    if let Some(non_resource) = non_resource {
        let attributes = Attributes { verb: text(&non_resource.verb), path: text(&non_resource.path), ..base };
        return (attributes, Vec::new());
    }
    (base, Vec::new())
}

/// As in a URL; what is not understood is left out, so that more is asked for than is wanted, never less.
fn field_selector(selector: &FieldSelectorAttributes) -> Option<String> {
    if let Some(raw) = selector.raw_selector.as_ref().filter(|raw| !raw.is_empty()) {
        return apimachinery::fields::FieldSelector::parse(raw).is_ok().then(|| raw.clone());
    }
    let escape = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
    let terms = selector.requirements.iter().flatten().filter_map(|requirement| {
        let [value] = requirement.values.as_deref()? else { return None };
        match requirement.operator.as_str() {
            "In" => Some(format!("{}={}", escape(&requirement.key), escape(value))),
            "NotIn" => Some(format!("{}!={}", escape(&requirement.key), escape(value))),
            _ => None,
        }
    });
    Some(terms.collect::<Vec<_>>().join(","))
}

fn label_selector(selector: &LabelSelectorAttributes) -> Option<String> {
    if let Some(raw) = selector.raw_selector.as_ref().filter(|raw| !raw.is_empty()) {
        return apimachinery::Selector::parse(raw).is_ok().then(|| raw.clone());
    }
    let terms = selector.requirements.iter().flatten().filter_map(|requirement| {
        let (key, values) = (&requirement.key, requirement.values.as_deref().unwrap_or_default().join(","));
        match requirement.operator.as_str() {
            "In" => Some(format!("{key} in ({values})")),
            "NotIn" => Some(format!("{key} notin ({values})")),
            "Exists" => Some(key.clone()),
            "DoesNotExist" => Some(format!("!{key}")),
            _ => None,
        }
    });
    let text = terms.collect::<Vec<_>>().join(",");
    apimachinery::Selector::parse(&text).is_ok().then_some(text)
}

async fn decide(
    authorizer: &dyn Authorizer,
    (attributes, ignored): (Attributes, Vec<&'static str>),
) -> SubjectAccessReviewStatus {
    let decision = authorizer.authorize(&attributes).await;
    let reason = decision.reason();
    SubjectAccessReviewStatus {
        allowed: decision.is_allowed(),
        denied: matches!(decision, Decision::Deny { .. }).then_some(true),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        evaluation_error: (!ignored.is_empty()).then(|| ignored.join(", ")),
    }
}

/// What is wrong with a review. Upstream: `apis/authorization/validation`.
#[derive(Default)]
struct Mistakes(ErrorList);

impl Mistakes {
    /// Exactly one of the two kinds of attributes.
    fn attributes(&mut self, resource: Option<&ResourceAttributes>, non_resource: Option<&NonResourceAttributes>) {
        let path = Path::new("spec");
        match (resource, non_resource) {
            (Some(_), Some(non_resource)) => self.0.push(Error::invalid(
                &path.child("nonResourceAttributes"),
                json!(non_resource),
                "cannot be specified in combination with resourceAttributes",
            )),
            (None, None) => self.0.push(Error::invalid(
                &path.child("resourceAttributes"),
                serde_json::Value::Null,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )),
            _ => {}
        }
        let Some(resource) = resource else { return };
        let path = path.child("resourceAttributes");
        if let Some(selector) = &resource.field_selector {
            let some = selector.requirements.as_ref().is_some_and(|requirements| !requirements.is_empty());
            self.selector(selector.raw_selector.as_deref(), some, &path.child("fieldSelector"));
        }
        if let Some(selector) = &resource.label_selector {
            let some = selector.requirements.as_ref().is_some_and(|requirements| !requirements.is_empty());
            self.selector(selector.raw_selector.as_deref(), some, &path.child("labelSelector"));
        }
    }

    fn selector(&mut self, raw: Option<&str>, requirements: bool, path: &Path) {
        match (raw.unwrap_or_default(), requirements) {
            ("", false) => {
                let why = format!("when {path} is specified, requirements or rawSelector is required");
                self.0.push(Error::required(&path.child("requirements"), why));
            }
            (raw, true) if !raw.is_empty() => {
                let why = "may not specified at the same time as requirements";
                self.0.push(Error::invalid(&path.child("rawSelector"), raw, why));
            }
            _ => {}
        }
    }

    fn subject(&mut self, user: Option<&str>, groups: Option<&[String]>) {
        if user.unwrap_or_default().is_empty() && groups.unwrap_or_default().is_empty() {
            let path = Path::new("spec").child("user");
            self.0.push(Error::invalid(
                &path,
                user.unwrap_or_default(),
                "at least one of user or group must be specified",
            ));
        }
    }

    /// A review is not stored, so there is nothing to say about it as an object.
    fn metadata(&mut self, metadata: &ObjectMeta, why: &str) {
        let mut rest = metadata.clone();
        rest.managed_fields = None;
        if rest != ObjectMeta::default() {
            self.0.push(Error::invalid(&Path::new("metadata"), json!(metadata), why));
        }
    }

    fn into_result(self, kind: &str) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::invalid(AUTHORIZATION, kind, "", &self.0)) }
    }
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
            let mut mistakes = Mistakes::default();
            mistakes.attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
            mistakes.subject(spec.user.as_deref(), spec.groups.as_deref());
            mistakes.metadata(&review.metadata, "must be empty");
            mistakes.into_result("SubjectAccessReview")?;
            let user = subject(spec.user.as_ref(), spec.uid.as_ref(), spec.groups.as_ref(), spec.extra.as_ref());
            let question =
                access_attributes(user, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
            review.status = Some(decide(&*self.0, question).await);
            created(&review)
        }
        .boxed()
    }
}

struct LocalAccess(Arc<dyn Authorizer>);

impl Action for LocalAccess {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let mut review: LocalSubjectAccessReview = decode(&call, "LocalSubjectAccessReview", "v1")?;
            // What the URL says goes without saying.
            let own = review.metadata.namespace.get_or_insert_with(|| call.namespace.to_owned()).clone();
            let spec = &review.spec;
            let mut mistakes = Mistakes::default();
            mistakes.attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
            mistakes.subject(spec.user.as_deref(), spec.groups.as_deref());
            let rest = ObjectMeta { namespace: None, ..review.metadata.clone() };
            mistakes.metadata(&rest, "must be empty except for namespace");
            let path = Path::new("spec");
            if let Some(resource) = &spec.resource_attributes {
                let namespace = resource.namespace.as_deref().unwrap_or_default();
                if namespace != own {
                    let path = path.child("resourceAttributes").child("namespace");
                    mistakes.0.push(Error::invalid(&path, namespace, "must match metadata.namespace"));
                }
            }
            if let Some(non_resource) = &spec.non_resource_attributes {
                let path = path.child("nonResourceAttributes");
                mistakes.0.push(Error::invalid(&path, json!(non_resource), "disallowed on this kind of request"));
            }
            mistakes.into_result("LocalSubjectAccessReview")?;
            if own != call.namespace {
                return Err(ApiError::bad_request(format!(
                    "spec.resourceAttributes.namespace must match namespace: {}",
                    call.namespace
                )));
            }
            let user = subject(spec.user.as_ref(), spec.uid.as_ref(), spec.groups.as_ref(), spec.extra.as_ref());
            let question = access_attributes(user, spec.resource_attributes.as_ref(), None);
            review.status = Some(decide(&*self.0, question).await);
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
            let mut mistakes = Mistakes::default();
            mistakes.attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
            mistakes.metadata(&review.metadata, "must be empty");
            mistakes.into_result("SelfSubjectAccessReview")?;
            let question = access_attributes(
                Arc::clone(&call.cx.user),
                spec.resource_attributes.as_ref(),
                spec.non_resource_attributes.as_ref(),
            );
            review.status = Some(decide(&*self.0, question).await);
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
