//! `ValidatingAdmissionPolicy`: refuses, warns, and notes for the audit log. Upstream: `policy/validating`.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use apimachinery::{ApiError, Gvr, status::Cause};
use cel::{OBJECT_BUDGET, Type, Value};
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
    auth::Authorizer,
};
use serde_json::{Value as Json, json};

use super::{
    Objects, Versions,
    definition::{Policy, Validations},
    metrics, params, refused_name,
    source::{Hook, Source},
};
use crate::{
    expressions::{
        OUT_OF_BUDGET,
        authorizer::Asker,
        input::{self, Input, Scope},
    },
    webhook::{Invocation, is_exempt},
};

const MAX_MESSAGE: usize = 5 * 1024;
const MAX_ANNOTATION: usize = 10 * 1024;
const MAX_FAILURES: usize = 50;
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";

pub struct ValidatingPolicies {
    source: Source<Validations>,
    authorizer: Arc<dyn Authorizer>,
}

/// One answer of a policy.
struct Decision {
    verdict: Verdict,
    /// What kind of error led to it, in the words of metrics; none: it was evaluated.
    error: Option<&'static str>,
    elapsed: Duration,
}

enum Verdict {
    Admit,
    Deny { message: String, reason: String },
}

/// What one evaluation of a policy gave.
#[derive(Default)]
struct Outcome {
    /// By number of the expression.
    decisions: Vec<Decision>,
    annotations: Vec<(String, String)>,
    /// Annotations that failed, where failures refuse.
    failed_annotations: Vec<String>,
}

struct Denial {
    policy: String,
    binding: Option<String>,
    message: String,
    reason: String,
}

/// What one request has come to so far.
#[derive(Default)]
struct Tally {
    denials: Vec<Denial>,
    failures: Vec<Json>,
}

impl ValidatingPolicies {
    pub(crate) fn new(source: Source<Validations>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { source, authorizer }
    }

    async fn dispatch(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let hooks = self.source.hooks();
        let mut tally = Tally::default();
        let mut versions = Versions::default();
        let mut namespace = None;
        for hook in hooks.iter() {
            let invocation = match hook.policy.constraints.matches(request) {
                Ok(Some(invocation)) => invocation,
                Ok(None) => continue,
                Err(error) => {
                    tally.misconfigured(&hook.policy, None, &error.message);
                    continue;
                }
            };
            self.policy(hook, request, &invocation, &mut versions, &mut namespace, &mut tally).await?;
        }
        tally.finish(request)
    }

    async fn policy(
        &self,
        hook: &Hook<Validations>,
        request: &AdmissionRequest<'_>,
        invocation: &Invocation,
        versions: &mut Versions,
        namespace: &mut Option<Option<Json>>,
        tally: &mut Tally,
    ) -> Result<(), ApiError> {
        let policy = &hook.policy;
        let param_kind = match policy.param_kind.as_ref().map(|kind| params::kind(kind, request)).transpose() {
            Ok(kind) => kind,
            Err(error) => {
                tally.misconfigured(policy, None, &error);
                return Ok(());
            }
        };
        let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for binding in &hook.bindings {
            match binding.matches.as_ref().map_or(Ok(true), |matches| matches.matches(request).map(|m| m.is_some())) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    tally.misconfigured(policy, Some(&binding.name), &error.message);
                    continue;
                }
            }
            let params = match params::collect(param_kind.as_ref(), binding.param_ref.as_ref(), request).await {
                Ok(params) => params,
                Err(error) => {
                    tally.misconfigured(policy, Some(&binding.name), &error);
                    continue;
                }
            };
            if params.is_empty() {
                continue;
            }
            let objects = match versions.get(request, invocation).await {
                Ok(objects) => objects,
                Err(error) => {
                    let message = format!("failed to convert object version: {error}");
                    tally.misconfigured(policy, Some(&binding.name), &message);
                    continue;
                }
            };
            let namespace = namespace.get_or_insert_with(|| input::namespace(request)).as_ref();
            if namespace.is_none() && !request.namespace.is_empty() && !request.is("", "namespaces") {
                return Err(ApiError::not_found(&Gvr::new("", "v1", "namespaces"), request.namespace));
            }
            for param in &params {
                let outcome = self.evaluate(policy, request, invocation, &objects, param.as_ref(), namespace);
                tally.decisions(request, policy, binding, outcome.decisions);
                for (key, value) in outcome.annotations {
                    let values = annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                for message in outcome.failed_annotations {
                    metrics::check(&policy.name, &binding.name, "invalid_error", "deny", Duration::ZERO);
                    tally.deny(policy, Some(&binding.name), message, String::new());
                }
            }
        }
        for (key, values) in annotations {
            request.cx.annotate(&format!("{}/{key}", policy.name), values.join(", "));
        }
        Ok(())
    }

    fn evaluate(
        &self,
        policy: &Policy<Validations>,
        request: &AdmissionRequest<'_>,
        invocation: &Invocation,
        (object, old_object): &Objects,
        params: Option<&Json>,
        namespace: Option<&Json>,
    ) -> Outcome {
        let described = input::request(request, invocation);
        let asker = Asker { authorizer: Arc::clone(&self.authorizer), user: Arc::clone(&request.cx.user) };
        let checked = input::checked(request);
        let mut input = Input {
            object: object.as_deref(),
            old_object: old_object.as_deref(),
            params,
            request: &described,
            namespace: None,
            authorizer: Some(&asker),
            checked: &checked,
        };
        // Conditions do not see the namespace.
        match policy.conditions.hold(request.operation, &input, &policy.variables) {
            Ok(true) => {}
            Ok(false) => return Outcome::default(),
            Err(error) => return Outcome::failed(policy, error),
        }
        input.namespace = namespace;
        policy.validate(&input)
    }
}

impl Outcome {
    /// The policy as a whole could not be evaluated.
    fn failed(policy: &Policy<Validations>, message: String) -> Self {
        let error = if message.contains(OUT_OF_BUDGET) { "out_of_budget" } else { "invalid_error" };
        Self { decisions: vec![policy.on_error(message, error, Duration::ZERO)], ..Self::default() }
    }
}

impl Policy<Validations> {
    fn on_error(&self, message: String, error: &'static str, elapsed: Duration) -> Decision {
        let verdict = if self.fails { Verdict::Deny { message, reason: String::new() } } else { Verdict::Admit };
        Decision { verdict, error: Some(error), elapsed }
    }

    fn validate<'a>(&'a self, input: &Input<'a>) -> Outcome {
        let scope = Scope::new(input, &self.variables);
        let mut budget = OBJECT_BUDGET;
        let mut results = Vec::with_capacity(self.rules.validations.len());
        for validation in &self.rules.validations {
            let start = Instant::now();
            match validation.expression.evaluate(&scope, &mut budget) {
                Ok(result) => results.push((result, start.elapsed())),
                Err(_) => return Outcome::failed(self, OUT_OF_BUDGET.to_owned()),
            }
        }
        let denied = |(result, _): &(Result<Value<'_>, String>, Duration)| matches!(result, Ok(value) if !matches!(value, Value::Bool(true)));
        let mut messages: Vec<Option<String>> = vec![None; results.len()];
        let mut messages_failed = false;
        if results.iter().any(denied) {
            // Each round of expressions computes variables anew, and pays for them.
            let scope = Scope::new(input, &self.variables);
            for (index, validation) in self.rules.validations.iter().enumerate() {
                let Some(expression) = &validation.message_expression else { continue };
                match expression.evaluate(&scope, &mut budget) {
                    Ok(Ok(value)) => messages[index] = usable_message(&value),
                    Ok(Err(error)) => tracing::debug!(policy = %self.name, %error, "messageExpression failed"),
                    Err(_) => {
                        messages_failed = true;
                        break;
                    }
                }
            }
        }
        let decisions = results.into_iter().zip(&self.rules.validations).zip(messages);
        let decisions = decisions.map(|(((result, elapsed), validation), message)| match result {
            Err(error) => {
                let kind = validation.expression.error_type(Some(&error));
                self.on_error(error, kind, elapsed)
            }
            Ok(_) if messages_failed => {
                self.on_error(format!("failed messageExpression: {OUT_OF_BUDGET}"), "out_of_budget", elapsed)
            }
            Ok(Value::Bool(true)) => Decision { verdict: Verdict::Admit, error: None, elapsed },
            Ok(_) => {
                let custom = Some(validation.message.trim().to_owned()).filter(|message| !message.is_empty());
                let message = message
                    .or(custom)
                    .unwrap_or_else(|| format!("failed expression: {}", validation.expression.text.trim()));
                let verdict = Verdict::Deny { message, reason: validation.reason.clone() };
                Decision { verdict, error: None, elapsed }
            }
        });
        let mut outcome = Outcome { decisions: decisions.collect(), ..Outcome::default() };
        if let Err(message) = self.annotate(input, &mut outcome) {
            return Outcome::failed(self, message);
        }
        outcome
    }

    fn annotate<'a>(&'a self, input: &Input<'a>, outcome: &mut Outcome) -> Result<(), String> {
        let scope = Scope::new(input, &self.variables);
        let mut budget = OBJECT_BUDGET;
        for annotation in &self.rules.annotations {
            let result = annotation.expression.evaluate(&scope, &mut budget).map_err(|_| OUT_OF_BUDGET.to_owned())?;
            match result {
                Ok(Value::String(text)) => {
                    let text = text.trim();
                    if !text.is_empty() {
                        outcome.annotations.push((annotation.key.clone(), cut(text, MAX_ANNOTATION).to_owned()));
                    }
                }
                Ok(Value::Null) => {}
                Ok(other) => {
                    let (text, ty): (_, Type) = (&annotation.expression.text, other.type_of());
                    outcome.failed_annotations.push(format!(
                        "valueExpression '{text}' resulted in unsupported return type: {ty}. Return type must be either string or null."
                    ));
                }
                Err(error) if self.fails => outcome.failed_annotations.push(error),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length.min(text.len()))]
}

/// One line, and not too long.
fn usable_message(value: &Value<'_>) -> Option<String> {
    let message = value.as_str()?.trim();
    (!message.is_empty() && message.len() <= MAX_MESSAGE && !message.contains('\n')).then(|| message.to_owned())
}

impl Tally {
    fn deny(&mut self, policy: &Policy<Validations>, binding: Option<&str>, message: String, reason: String) {
        let (policy, binding) = (policy.name.clone(), binding.map(str::to_owned));
        self.denials.push(Denial { policy, binding, message, reason });
    }

    fn misconfigured(&mut self, policy: &Policy<Validations>, binding: Option<&str>, error: &str) {
        if policy.fails {
            let what = if binding.is_some() { "binding" } else { "policy" };
            self.deny(policy, binding, format!("failed to configure {what}: {error}"), String::new());
        }
    }

    fn decisions(
        &mut self,
        request: &AdmissionRequest<'_>,
        policy: &Policy<Validations>,
        binding: &super::definition::Binding,
        decisions: Vec<Decision>,
    ) {
        for (index, decision) in decisions.into_iter().enumerate() {
            let Decision { verdict, error, elapsed } = decision;
            let count = |action| {
                metrics::check(&policy.name, &binding.name, error.unwrap_or("no_error"), action, elapsed);
            };
            let Verdict::Deny { message, reason } = verdict else {
                // What is admitted in spite of an error is worth knowing.
                if error.is_some() {
                    count("allow");
                }
                continue;
            };
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => count("deny"),
                    "Audit" => count("audit"),
                    "Warn" => count("warn"),
                    _ => {}
                }
                match action.as_str() {
                    "Deny" => self.deny(policy, Some(&binding.name), message.clone(), reason.clone()),
                    "Audit" => self.failures.push(json!({
                        "message": message,
                        "policy": policy.name,
                        "binding": binding.name,
                        "expressionIndex": index,
                        "validationActions": binding.actions,
                    })),
                    "Warn" => request.cx.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                        policy.name, binding.name
                    )),
                    _ => {}
                }
            }
        }
    }

    fn finish(mut self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        if !self.failures.is_empty() {
            self.failures.truncate(MAX_FAILURES);
            request.cx.annotate(FAILURES, Json::Array(self.failures).to_string());
        }
        let Some(denial) = self.denials.into_iter().next() else { return Ok(()) };
        let Denial { policy, binding, message, reason } = denial;
        let message = match binding {
            Some(binding) => {
                format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}")
            }
            None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
        };
        let mut error = ApiError::forbidden(&request.resource(), &refused_name(request), &message);
        error.code = match reason.as_str() {
            "Forbidden" => 403,
            "Unauthorized" => 401,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        error.reason = if reason.is_empty() { "Invalid".to_owned() } else { reason };
        Err(error.with_cause(Cause { message, ..Cause::default() }))
    }
}

impl Admission for ValidatingPolicies {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, info: &Info, _subresource: &str, _operation: Operation) -> bool {
        !self.source.is_empty() && !is_exempt(info)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.dispatch(request).boxed()
    }
}
