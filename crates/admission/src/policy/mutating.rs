//! `MutatingAdmissionPolicy`: changes the object. Upstream: `policy/mutating`.

use std::{collections::HashSet, sync::Arc, time::Instant};

use apimachinery::{ApiError, Gvr, field::go_quote, status::Cause};
use cel::OBJECT_BUDGET;
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
    auth::Authorizer,
};
use serde_json::Value as Json;

use super::{
    Objects,
    definition::{Mutations, PatchForm, Policy},
    metrics, params, patch, refused_name,
    source::Source,
};
use crate::{
    expressions::{
        OUT_OF_BUDGET,
        authorizer::Asker,
        input::{self, Input, Scope},
    },
    webhook::{self, Invocation, is_exempt},
};

const NAME: &str = "MutatingAdmissionPolicy";

pub struct MutatingPolicies {
    source: Source<Mutations>,
    authorizer: Arc<dyn Authorizer>,
}

/// A policy, a binding and a parameter (namespace and name) that has acted on the request.
type Key = (String, String, Option<(String, String)>);

/// What is remembered from the first round to the second. Upstream: `policyReinvokeContext`.
#[derive(Default)]
struct Memory {
    /// The object as the policies left it.
    last: Option<Arc<Json>>,
    asked: HashSet<Key>,
    again: HashSet<Key>,
}

impl Memory {
    fn changed(&mut self) {
        self.again.extend(self.asked.drain());
    }
}

/// Why a policy refuses the request.
struct Refusal {
    message: String,
    reason: &'static str,
}

/// One policy with one binding and one parameter, about to act.
struct Step {
    policy: Arc<Policy<Mutations>>,
    binding: String,
    invocation: Invocation,
    params: Option<Json>,
}

impl MutatingPolicies {
    pub(crate) fn new(source: Source<Mutations>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { source, authorizer }
    }

    async fn dispatch(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        let mut refusals = Vec::new();
        let steps = self.steps(request, &mut refusals).await;
        if !steps.is_empty() {
            self.run(request, steps, &mut refusals).await?;
        }
        refuse(request, refusals)
    }

    /// Everything that is to act on the request, in order.
    async fn steps(&self, request: &AdmissionRequest<'_>, refusals: &mut Vec<Refusal>) -> Vec<Step> {
        let mut steps = Vec::new();
        for hook in self.source.hooks().iter() {
            let policy = &hook.policy;
            let mut misconfigured = |binding: Option<&str>, error: &str| {
                if policy.fails {
                    refusals.push(Refusal { message: misconfigured(&policy.name, binding, error), reason: "" });
                }
            };
            let invocation = match policy.constraints.matches(request) {
                Ok(Some(invocation)) => invocation,
                Ok(None) => continue,
                Err(error) => {
                    misconfigured(None, &error.message);
                    continue;
                }
            };
            let kind = match policy.param_kind.as_ref().map(|kind| params::kind(kind, request)).transpose() {
                Ok(kind) => kind,
                Err(error) => {
                    misconfigured(None, &error);
                    continue;
                }
            };
            for binding in &hook.bindings {
                let matches = binding
                    .matches
                    .as_ref()
                    .map_or(Ok(true), |matches| matches.matches(request).map(|invocation| invocation.is_some()));
                match matches {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => {
                        misconfigured(Some(&binding.name), &error.message);
                        continue;
                    }
                }
                match params::collect(kind.as_ref(), binding.param_ref.as_ref(), request).await {
                    Ok(params) => steps.extend(params.into_iter().map(|params| Step {
                        policy: Arc::clone(policy),
                        binding: binding.name.clone(),
                        invocation: invocation.clone(),
                        params,
                    })),
                    Err(error) => misconfigured(Some(&binding.name), &error),
                }
            }
        }
        steps
    }

    async fn run(
        &self,
        request: &mut AdmissionRequest<'_>,
        steps: Vec<Step>,
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), ApiError> {
        let again = request.reinvocation.again;
        if again {
            let now = request.object_json()?;
            let memory = request.reinvocation.memory::<Memory>(NAME);
            if memory.last != now {
                memory.changed();
            }
        }
        let namespace = input::namespace(request);
        if namespace.is_none() && !request.namespace.is_empty() && !request.is("", "namespaces") {
            return Err(ApiError::not_found(&Gvr::new("", "v1", "namespaces"), request.namespace));
        }
        for step in steps {
            let Step { policy, binding, invocation, params } = &step;
            let refused = |message: String| Refusal {
                message: format!("policy '{}' with binding '{binding}' denied request: {message}", policy.name),
                reason: "Invalid",
            };
            let objects = webhook::objects(request, invocation).await?;
            match self.conditions(request, &step, &objects) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    if policy.fails {
                        refusals.push(refused(error));
                    }
                    continue;
                }
            }
            let key = (policy.name.clone(), binding.clone(), params.as_ref().map(key_of));
            if again && !request.reinvocation.memory::<Memory>(NAME).again.contains(&key) {
                continue;
            }
            let before = request.object_json()?;
            for index in 0..policy.rules.mutations.len() {
                let objects = webhook::objects(request, invocation).await?;
                let Some(live) = objects.0.clone() else { continue };
                let start = Instant::now();
                let outcome = self.patched(request, &step, index, &objects, namespace.as_ref());
                let error = policy.rules.mutations[index].expression.error_type(outcome.as_ref().err());
                metrics::mutation(&policy.name, binding, error, start.elapsed());
                match outcome {
                    Ok(patched) if patched == *live => {}
                    Ok(patched) => set(request, invocation, patched).await?,
                    Err(error) => {
                        if policy.fails {
                            refusals.push(refused(error));
                        }
                    }
                }
            }
            let changed = before != request.object_json()?;
            let memory = request.reinvocation.memory::<Memory>(NAME);
            if changed {
                memory.changed();
            }
            if policy.rules.reinvoke {
                memory.asked.insert(key);
            }
            if changed {
                request.reinvocation.request();
            }
        }
        let last = request.object_json()?;
        request.reinvocation.memory::<Memory>(NAME).last = last;
        Ok(())
    }

    fn conditions(&self, request: &AdmissionRequest<'_>, step: &Step, objects: &Objects) -> Result<bool, String> {
        if step.policy.conditions.is_empty() {
            return Ok(true);
        }
        self.with_input(request, step, objects, None, |policy, input| {
            policy.conditions.hold(request.operation, input, &policy.variables)
        })
    }

    /// The object as a mutation, by its number, makes it.
    fn patched(
        &self,
        request: &AdmissionRequest<'_>,
        step: &Step,
        index: usize,
        objects: &Objects,
        namespace: Option<&Json>,
    ) -> Result<Json, String> {
        let live = objects.0.as_deref().unwrap_or(&Json::Null);
        self.with_input(request, step, objects, namespace, |policy, input| {
            let mutation = &policy.rules.mutations[index];
            if let Some(fault) = mutation.expression.fault() {
                return Err(fault.to_owned());
            }
            let scope = Scope::new(input, &policy.variables);
            let mut budget = OBJECT_BUDGET;
            let value = mutation.expression.evaluate(&scope, &mut budget).map_err(|_| OUT_OF_BUDGET.to_owned())??;
            match mutation.form {
                PatchForm::JsonPatch => patch::json_patch(live, &value),
                PatchForm::ApplyConfiguration => patch::apply(request, &step.invocation, live, &value),
            }
        })
    }

    fn with_input<T>(
        &self,
        request: &AdmissionRequest<'_>,
        step: &Step,
        (object, old_object): &Objects,
        namespace: Option<&Json>,
        use_it: impl for<'a> FnOnce(&'a Policy<Mutations>, &Input<'a>) -> T,
    ) -> T {
        let described = input::request(request, &step.invocation);
        let asker = Asker { authorizer: Arc::clone(&self.authorizer), user: Arc::clone(&request.cx.user) };
        let checked = input::checked(request);
        let input = Input {
            object: object.as_deref(),
            old_object: old_object.as_deref(),
            params: step.params.as_ref(),
            request: &described,
            namespace,
            authorizer: Some(&asker),
            checked: &checked,
        };
        use_it(&step.policy, &input)
    }
}

fn key_of(params: &Json) -> (String, String) {
    let member = |name: &str| params["metadata"][name].as_str().unwrap_or_default().to_owned();
    (member("namespace"), member("name"))
}

/// The patched object becomes the request's.
async fn set(request: &mut AdmissionRequest<'_>, invocation: &Invocation, patched: Json) -> Result<(), ApiError> {
    let patched = match (request.place, &invocation.equivalent) {
        (Some(place), Some(equivalent)) => request.convert(equivalent, place.kind, &patched).await?,
        _ => patched,
    };
    request.set_object_json(&patched)
}

fn misconfigured(policy: &str, binding: Option<&str>, error: &str) -> String {
    match binding {
        Some(binding) => {
            format!("policy '{policy}' with binding '{binding}' denied request: failed to configure binding: {error}")
        }
        None => format!("policy {} denied request: failed to configure policy: {error}", go_quote(policy)),
    }
}

fn refuse(request: &AdmissionRequest<'_>, refusals: Vec<Refusal>) -> Result<(), ApiError> {
    let Some(first) = refusals.first() else { return Ok(()) };
    let mut error = ApiError::forbidden(&request.resource(), &refused_name(request), "");
    error.message.clone_from(&first.message);
    if !first.reason.is_empty() {
        first.reason.clone_into(&mut error.reason);
    }
    Err(refusals
        .into_iter()
        .fold(error, |error, refusal| error.with_cause(Cause { message: refusal.message, ..Cause::default() })))
}

impl Admission for MutatingPolicies {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, info: &Info, _subresource: &str, operation: Operation) -> bool {
        operation != Operation::Delete && !self.source.is_empty() && !is_exempt(info)
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.dispatch(request).boxed()
    }
}
