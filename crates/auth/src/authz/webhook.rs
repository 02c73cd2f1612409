//! Asks somebody else, with a SubjectAccessReview, about the requests that its conditions let through.
//! Upstream: `plugin/pkg/authorizer/webhook`.

use std::time::Duration;

use cel::{Env, MATCH_CONDITIONS_BUDGET, Mode, Program, Type, Value as CelValue};
use futures::future::{BoxFuture, FutureExt as _};
use outbound::Client;
use registry::{
    UserInfo,
    auth::{Attributes, Authorizer, Decision, Rules},
};
use serde_json::{Value, json};

use super::review;
use crate::{
    cache::{Digest, ExpiringMap},
    outgoing,
};

/// Answers that are remembered. Upstream: `NewLRUExpireCache(8192)`.
const MAX_ENTRIES: usize = 8192;
/// Longest key that is remembered. Upstream: `maxControllerAttrCacheSize`.
const MAX_TEXT: usize = 10_000;

/// How to ask, and what to do when there is no answer.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    pub name: String,
    /// Of `authorization.k8s.io`: `v1` or `v1beta1`.
    pub version: String,
    pub timeout: Duration,
    /// How long a yes and a no are remembered; `None`: not at all.
    pub authorized: Option<Duration>,
    pub unauthorized: Option<Duration>,
    /// Whether no answer is a no that ends the search.
    pub fail_closed: bool,
}

/// The authorizer `Webhook`.
pub struct WebhookAuthorizer {
    client: Client,
    settings: WebhookSettings,
    conditions: Vec<(String, Program)>,
    known: ExpiringMap<Decision>,
}

impl WebhookAuthorizer {
    pub(super) fn new(client: Client, settings: WebhookSettings, conditions: Vec<(String, Program)>) -> Self {
        Self { client, settings, conditions, known: ExpiringMap::new(MAX_ENTRIES) }
    }

    fn failure(&self, why: String) -> Decision {
        tracing::error!(webhook = self.settings.name, why, "webhook authorizer");
        if self.settings.fail_closed {
            Decision::Deny { reason: String::new() }
        } else {
            Decision::NoOpinion { reason: String::new() }
        }
    }

    async fn decide(&self, attributes: &Attributes) -> Decision {
        match self.matches(attributes) {
            Ok(true) => {}
            Ok(false) => return Decision::NoOpinion { reason: String::new() },
            Err(why) => return self.failure(why),
        }
        let mut spec = review::spec(attributes);
        let key = spec.to_string();
        let digest = Digest::of(&[key.as_bytes()]);
        if let Some(known) = self.known.get(&digest) {
            return known;
        }
        // The old version calls groups otherwise.
        if self.settings.version == "v1beta1"
            && let Some(groups) = spec.as_object_mut().and_then(|spec| spec.remove("groups"))
        {
            spec["group"] = groups;
        }
        let question = json!({
            "apiVersion": format!("authorization.k8s.io/{}", self.settings.version), "kind": "SubjectAccessReview",
            "metadata": {}, "spec": spec,
        });
        let answer = match outgoing::ask(&self.client, &question, self.settings.timeout).await {
            Ok(answer) => answer,
            Err(why) => return self.failure(why),
        };
        let decision = decision_of(&answer["status"]);
        let lifetime = if decision.is_allowed() { self.settings.authorized } else { self.settings.unauthorized };
        if let Some(lifetime) = lifetime.filter(|_| key.len() <= MAX_TEXT) {
            self.known.insert(digest, decision.clone(), lifetime);
        }
        decision
    }

    /// All conditions have to hold; one that is false decides, whatever the others come to.
    fn matches(&self, attributes: &Attributes) -> Result<bool, String> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let request = review::for_expressions(attributes);
        let mut errors = Vec::new();
        let mut budget = MATCH_CONDITIONS_BUDGET;
        for (text, program) in &self.conditions {
            let variables = [("request", CelValue::json(&request))];
            let outcome = program.eval(&variables.as_slice(), budget);
            budget = budget.saturating_sub(outcome.cost);
            match outcome.result {
                Ok(value) => match value.as_bool() {
                    Some(true) => {}
                    Some(false) => return Ok(false),
                    None => errors.push(format!("expression '{text}' is not a boolean")),
                },
                Err(error) => {
                    errors.push(format!("cel evaluation error: expression '{text}' resulted in error: {error}"))
                }
            }
        }
        if errors.is_empty() { Ok(true) } else { Err(errors.join(", ")) }
    }
}

fn decision_of(status: &Value) -> Decision {
    let reason = status["reason"].as_str().unwrap_or_default().to_owned();
    match (status["denied"] == true, status["allowed"] == true) {
        (true, _) => Decision::Deny { reason },
        (false, true) => Decision::Allow { reason },
        (false, false) => Decision::NoOpinion { reason },
    }
}

/// Compiles a condition; the error as API errors have it.
pub(super) fn compile_condition(text: &str) -> Result<Program, String> {
    let texts = || Type::list(Type::String);
    let requirement = || {
        Type::object(
            "kubernetes.SelectorRequirement",
            [("key", Type::String), ("operator", Type::String), ("values", texts())],
        )
    };
    let selector =
        |name: &str| Type::object(name, [("rawSelector", Type::String), ("requirements", Type::list(requirement()))]);
    let names = ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
    let resource = names.into_iter().map(|name| (name, Type::String)).chain([
        ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
        ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
    ]);
    let request = Type::object(
        "kubernetes.SubjectAccessReviewSpec",
        [
            ("resourceAttributes", Type::object("kubernetes.ResourceAttributes", resource)),
            (
                "nonResourceAttributes",
                Type::object("kubernetes.NonResourceAttributes", [("path", Type::String), ("verb", Type::String)]),
            ),
            ("user", Type::String),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
            ("uid", Type::String),
        ],
    );
    let env = Env::new(Mode::StoredExpressions).with("request", request);
    let program = env.compile(text).map_err(|error| error.detail())?;
    if !matches!(program.output_type(), Type::Bool) {
        return Err(format!("must evaluate to bool but got {}", program.output_type()));
    }
    Ok(program)
}

impl Authorizer for WebhookAuthorizer {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        self.decide(attributes).boxed()
    }

    fn rules_for<'a>(&'a self, _user: &'a UserInfo, _namespace: &'a str) -> BoxFuture<'a, Rules> {
        let why = "webhook authorizer does not support user rule resolution";
        let rules = Rules { incomplete: true, evaluation_error: why.to_owned(), ..Rules::default() };
        futures::future::ready(rules).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn attributes() -> Attributes {
        Attributes {
            user: Arc::new(UserInfo::new("ada", ["dev"])),
            verb: "list".into(),
            resource: "pods".into(),
            is_resource_request: true,
            field_selector: "spec.nodeName=a,status.phase!=Failed".into(),
            label_selector: "app in (x, y),!old,tier".into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn a_question_says_what_is_asked_and_no_more() {
        let expected = json!({
            "user": "ada", "groups": ["dev"],
            "resourceAttributes": {
                "verb": "list", "resource": "pods",
                "fieldSelector": {"requirements": [
                    {"key": "spec.nodeName", "operator": "In", "values": ["a"]},
                    {"key": "status.phase", "operator": "NotIn", "values": ["Failed"]},
                ]},
                "labelSelector": {"requirements": [
                    {"key": "app", "operator": "In", "values": ["x", "y"]},
                    {"key": "old", "operator": "DoesNotExist"},
                    {"key": "tier", "operator": "Exists"},
                ]},
            },
        });
        assert_eq!(review::spec(&attributes()), expected);
        let path = Attributes { verb: "get".into(), path: "/metrics".into(), ..Attributes::default() };
        assert_eq!(review::spec(&path), json!({"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}));
    }

    #[test]
    fn conditions() {
        let holds = |text: &str| {
            let program = compile_condition(text).unwrap();
            let request = review::for_expressions(&attributes());
            let outcome = program.eval(&[("request", CelValue::json(&request))].as_slice(), 100_000).result;
            outcome.map(|value| value.as_bool().unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(holds("request.user == 'ada' && 'dev' in request.groups"), Ok(true));
        assert_eq!(holds("has(request.resourceAttributes) && request.resourceAttributes.namespace == ''"), Ok(true));
        assert_eq!(holds("has(request.nonResourceAttributes)"), Ok(false));
        assert!(holds("request.nonResourceAttributes.path == '/x'").is_err());
        assert_eq!(holds("request.resourceAttributes.labelSelector.requirements.exists(r, r.key == 'app')"), Ok(true));
        assert!(compile_condition("request.user").unwrap_err().contains("must evaluate to bool"));
        assert!(compile_condition("request.usr == ''").unwrap_err().contains("undefined field"));
    }

    #[test]
    fn answers() {
        let of = |status: Value| decision_of(&status);
        assert!(of(json!({"allowed": true})).is_allowed());
        assert!(matches!(of(json!({"allowed": true, "denied": true})), Decision::Deny { .. }));
        assert_eq!(of(json!({"reason": "x"})), Decision::NoOpinion { reason: "x".into() });
        assert_eq!(of(Value::Null), Decision::NoOpinion { reason: String::new() });
    }
}
