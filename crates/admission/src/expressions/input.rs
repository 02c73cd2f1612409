//! The values of the variables: borrowed from what the request has as JSON, computed when they are asked for.
//!
//! Upstream: `plugin/cel/{activation,composition}.go`, `CreateAdmissionRequest`.

use std::cell::{Cell, RefCell};

use cel::{
    Activation, EvalError, Opaque, PER_CALL_LIMIT, ResourceCheck, Value,
    admission::{NAMESPACE, REQUEST, VARIABLES},
};
use registry::admission::AdmissionRequest;
use serde_json::{Value as Json, json};

use super::{Expression, authorizer::Asker};
use crate::webhook::Invocation;

/// What an expression can see of a request.
pub(crate) struct Input<'a> {
    pub(crate) object: Option<&'a Json>,
    pub(crate) old_object: Option<&'a Json>,
    pub(crate) params: Option<&'a Json>,
    /// [`request`]
    pub(crate) request: &'a Json,
    /// [`namespace`]
    pub(crate) namespace: Option<&'a Json>,
    pub(crate) authorizer: Option<&'a Asker>,
    pub(crate) checked: &'a ResourceCheck,
}

/// A named part of a policy that expressions share.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) expression: Expression,
}

/// Variables that refer to each other may do so only so deep.
const MAX_DEPTH: u32 = 64;

/// The variables of one round of evaluations, each computed at most once.
pub(crate) struct Scope<'a, 'i> {
    input: &'i Input<'a>,
    variables: &'a [Variable],
    known: RefCell<Vec<Option<Result<Value<'a>, EvalError>>>>,
    cost: Cell<u64>,
    depth: Cell<u32>,
}

impl<'a, 'i> Scope<'a, 'i> {
    pub(crate) fn new(input: &'i Input<'a>, variables: &'a [Variable]) -> Self {
        let known = RefCell::new(vec![None; variables.len()]);
        Self { input, variables, known, cost: Cell::new(0), depth: Cell::new(0) }
    }

    /// What variables have cost since it was last asked.
    pub(crate) fn take_cost(&self) -> u64 {
        self.cost.take()
    }

    fn compute(&self, variable: &'a Variable) -> Result<Value<'a>, EvalError> {
        let name = &variable.name;
        let program = variable
            .expression
            .program()
            .map_err(|fault| EvalError::text(format!("composited variable {name:?} fails to compile: {fault}")))?;
        if self.depth.get() == MAX_DEPTH {
            return Err(EvalError::text(format!("composited variable {name:?} is nested too deeply")));
        }
        self.depth.set(self.depth.get() + 1);
        let outcome = program.eval(self, PER_CALL_LIMIT);
        self.depth.set(self.depth.get() - 1);
        self.cost.set(self.cost.get().saturating_add(outcome.cost));
        outcome
            .result
            .map_err(|error| EvalError::text(format!("composited variable {name:?} fails to evaluate: {error}")))
    }
}

fn object(json: Option<&Json>) -> Value<'_> {
    json.map_or(Value::Null, Value::json)
}

impl<'a> Activation<'a> for Scope<'a, '_> {
    fn variable(&self, name: &str) -> Option<Value<'a>> {
        let input = self.input;
        Some(match name {
            "object" => object(input.object),
            "oldObject" => object(input.old_object),
            "params" => object(input.params),
            "request" => Value::typed(input.request, Some(&REQUEST)),
            "namespaceObject" => input.namespace.map_or(Value::Null, |json| Value::typed(json, Some(&NAMESPACE))),
            "authorizer" => Value::opaque(Opaque::authorizer(input.authorizer?)),
            "authorizer.requestResource" => {
                Value::opaque(Opaque::request_resource(input.authorizer?, input.checked.clone()))
            }
            "variables" => Value::Virtual(VARIABLES),
            _ => return None,
        })
    }

    fn field(&self, _object: &'static str, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        let at = self.variables.iter().position(|variable| variable.name == name)?;
        if let Some(known) = &self.known.borrow()[at] {
            return Some(known.clone());
        }
        let value = self.compute(&self.variables[at]);
        self.known.borrow_mut()[at] = Some(value.clone());
        Some(value)
    }
}

/// The variable `request`.
pub(crate) fn request(request: &AdmissionRequest<'_>, invocation: &Invocation) -> Json {
    let (kind, resource) = (request.kind(), request.resource());
    let user = &request.cx.user;
    let mut user_info = serde_json::Map::new();
    for (key, value) in [("username", &user.name), ("uid", &user.uid)] {
        if !value.is_empty() {
            user_info.insert(key.to_owned(), value.as_str().into());
        }
    }
    if !user.groups.is_empty() {
        user_info.insert("groups".to_owned(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        user_info.insert("extra".to_owned(), json!(user.extra));
    }
    let mut value = json!({
        "kind": {"group": invocation.kind.group, "version": invocation.kind.version, "kind": invocation.kind.kind},
        "resource": {
            "group": invocation.resource.group,
            "version": invocation.resource.version,
            "resource": invocation.resource.resource,
        },
        "requestKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "requestResource": {"group": resource.group, "version": resource.version, "resource": resource.resource},
        "operation": request.operation.as_str(),
        "userInfo": user_info,
        "dryRun": request.cx.dry_run,
        "options": request.cx.options().map(|options| options.to_json(request.operation)),
    });
    for (key, text) in [
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", request.name),
        ("namespace", crate::webhook::namespace_of(request)),
    ] {
        if !text.is_empty() {
            value[key] = text.into();
        }
    }
    value
}

/// The variable `namespaceObject`, as far as expressions may see it.
pub(crate) fn namespace(request: &AdmissionRequest<'_>) -> Option<Json> {
    if request.namespace.is_empty() || request.is("", "namespaces") {
        return None;
    }
    let stored = request.cx.reader.raw("", "namespaces", "", request.namespace)?;
    serde_json::from_slice(&stored).ok()
}

/// The variable `authorizer.requestResource`.
pub(crate) fn checked(request: &AdmissionRequest<'_>) -> ResourceCheck {
    ResourceCheck {
        group: request.info.group.to_owned(),
        resource: request.info.plural.to_owned(),
        subresource: request.subresource.to_owned(),
        namespace: request.namespace.to_owned(),
        name: request.name.to_owned(),
        ..ResourceCheck::default()
    }
}
