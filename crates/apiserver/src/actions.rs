//! Subresources that act on a stored object: binding and eviction of pods, tokens of service accounts.
//! Upstream: `registry/core/pod/storage`, `registry/core/serviceaccount/storage`.

use std::sync::Arc;

use api::{
    authentication::v1::{TokenRequest, TokenRequestStatus},
    core::v1::{Binding, Node, Pod, PodCondition, Secret, ServiceAccount},
    policy::v1::{Eviction, PodDisruptionBudget},
};
use apimachinery::{
    ApiError, Gvr, Selector,
    field::{Error, ErrorList, Path},
    status::Cause,
};
use futures::future::{BoxFuture, FutureExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions as ApiDeleteOptions, Time};
use registry::{
    Action, ActionCall, ActionOutcome, AnyObject, Kind, Object, UpdateKind,
    admission::{AdmissionRequest, Operation},
    auth::{TokenClaims, TokenIssuer},
    options::{DeleteOptions, Propagation},
};

use crate::reviews::{created, decode};

/// Admission of what an action is asked to do; its body is the object. Upstream: `rest.Create` of the storage.
pub(crate) async fn admit<T: Object>(call: &ActionCall<'_>, kind: &Kind, body: &mut T) -> Result<(), ApiError> {
    admit_around(call, kind, body, |_| Ok(())).await
}

/// What is done `between` is seen by those who validate, not by those who change things.
async fn admit_around<T: Object>(
    call: &ActionCall<'_>,
    kind: &Kind,
    body: &mut T,
    between: impl FnOnce(&mut T) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    call.registry.admit(&mut admission(call, kind, body)).await?;
    between(body)?;
    call.registry.validate_admission(&admission(call, kind, body)).await
}

fn admission<'a, T: Object>(call: &ActionCall<'a>, kind: &'a Kind, body: &'a mut T) -> AdmissionRequest<'a> {
    AdmissionRequest {
        namespace: call.namespace,
        name: call.name,
        object: Some(body),
        ..AdmissionRequest::at(call.registry, kind, call.cx, Operation::Create)
    }
}

type Entry = (&'static str, &'static str, &'static str, Arc<dyn Action>);

pub(crate) fn all(issuer: Option<&Arc<dyn TokenIssuer>>) -> Vec<Entry> {
    let mut all: Vec<Entry> =
        vec![("", "pods", "binding", Arc::new(BindPod)), ("", "pods", "eviction", Arc::new(EvictPod))];
    if let Some(issuer) = issuer {
        all.push(("", "serviceaccounts", "token", Arc::new(IssueToken(Arc::clone(issuer)))));
    }
    all
}

fn pods(call: &ActionCall<'_>) -> Result<Arc<Kind>, ApiError> {
    call.registry.kind("", "v1", "pods").ok_or_else(ApiError::path_not_found)
}

fn not_a(what: &str) -> ApiError {
    ApiError::internal(format!("stored object is not a {what}"))
}

// === binding ===

pub(crate) struct BindPod;

impl Action for BindPod {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let mut binding: Binding = decode(&call, "Binding", "v1")?;
            let pods = pods(&call)?;
            admit(&call, &pods, &mut binding).await?;
            let name = binding.metadata.name.as_deref().unwrap_or_default();
            // Posted to the namespace's `bindings`, the URL names no pod.
            if !call.name.is_empty() && name != call.name {
                return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
            }
            let mut errors = ErrorList::new();
            let path = Path::new("target");
            let kind = binding.target.kind.as_deref().unwrap_or_default();
            if !matches!(kind, "" | "Node") {
                errors.push(Error::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
            }
            let node = binding.target.name.as_deref().unwrap_or_default();
            if node.is_empty() {
                errors.push(Error::required(&path.child("name"), ""));
            }
            if !errors.is_empty() {
                return Err(ApiError::invalid("", "Binding", name, &errors));
            }
            let bind = |object: &mut dyn AnyObject| bind(&pods.gvr, object, &binding, node, call.cx.time());
            let mut cx = call.registry.context(Arc::clone(&call.cx.user), call.cx.verb);
            call.namespace.clone_into(&mut cx.namespace);
            name.clone_into(&mut cx.name);
            cx.dry_run = call.cx.dry_run;
            "binding".clone_into(&mut cx.subresource);
            call.registry.mutate(&pods, &cx, UpdateKind::Subresource("binding"), &bind).await?;
            Ok(ActionOutcome::Success)
        }
        .boxed()
    }
}

/// Upstream: `BindingREST.setPodHostAndAnnotations`.
fn bind(pods: &Gvr, object: &mut dyn AnyObject, binding: &Binding, node: &str, now: Time) -> Result<(), ApiError> {
    let pod = object.downcast_mut::<Pod>().ok_or_else(|| not_a("pod"))?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let conflict = |why: String| Err(ApiError::conflict(pods, &name, why));
    let wanted = binding.metadata.uid.as_deref().unwrap_or_default();
    let own = pod.metadata.uid.as_deref().unwrap_or_default();
    if !wanted.is_empty() && wanted != own {
        return conflict(format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {own}"));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let Some(spec) = pod.spec.as_mut() else { return conflict(format!("pod {name} has no spec")) };
    if let Some(assigned) = spec.node_name.as_deref().filter(|assigned| !assigned.is_empty()) {
        return conflict(format!("pod {name} is already assigned to node \"{assigned}\""));
    }
    if spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    spec.node_name = Some(node.to_owned());
    if let Some(annotations) = &binding.metadata.annotations {
        pod.metadata.annotations.get_or_insert_default().extend(annotations.clone());
    }
    // The zone of the node, for example, which admission knows.
    if let Some(labels) = &binding.metadata.labels {
        pod.metadata.labels.get_or_insert_default().extend(labels.clone());
    }
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(now),
        ..PodCondition::default()
    });
    Ok(())
}

// === eviction ===

struct EvictPod;

impl Action for EvictPod {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        async move {
            let mut eviction: Eviction = decode(&call, "Eviction", "v1")?;
            let name = eviction.metadata.name.as_deref().unwrap_or_default();
            if !name.is_empty() && name != call.name {
                return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
            }
            let pods = pods(&call)?;
            let Some(pod) = call.cx.reader.get::<Pod>("", "pods", call.namespace, call.name) else {
                return Err(ApiError::not_found(&pods.gvr, call.name));
            };
            admit(&call, &pods, &mut eviction).await?;
            if needs_budget(&pod) {
                take_from_budget(&call, &pod).await?;
            }
            let options = delete_options(eviction.delete_options.as_ref());
            call.registry.delete(&pods, call.cx, &options).await?;
            Ok(ActionOutcome::Success)
        }
        .boxed()
    }
}

/// Pods that do not run, or go anyway, are not protected. Upstream: `canIgnorePDB`.
fn needs_budget(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && pod.metadata.deletion_timestamp.is_none()
}

async fn take_from_budget(call: &ActionCall<'_>, pod: &Pod) -> Result<(), ApiError> {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let budgets: Vec<PodDisruptionBudget> = call
        .cx
        .reader
        .list::<PodDisruptionBudget>("policy", "poddisruptionbudgets", Some(call.namespace))
        .into_iter()
        .filter(|budget| {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            Selector::from_label_selector(selector).is_ok_and(|selector| selector.matches(&labels))
        })
        .collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [budget] => budget,
        _ => {
            return Err(ApiError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let name = budget.metadata.name.clone().unwrap_or_default();
    let kind = call.registry.kind("policy", "v1", "poddisruptionbudgets").ok_or_else(ApiError::path_not_found)?;
    let mut cx = call.registry.context(Arc::clone(&call.cx.user), call.cx.verb);
    call.namespace.clone_into(&mut cx.namespace);
    cx.name.clone_from(&name);
    cx.dry_run = call.cx.dry_run;
    let take = |object: &mut dyn AnyObject| spend(object, call.name, call.cx.time());
    call.registry.mutate(&kind, &cx, UpdateKind::Status, &take).await.map(|_| ())
}

/// Upstream: `EvictionREST.checkAndDecrement`.
fn spend(object: &mut dyn AnyObject, pod: &str, now: Time) -> Result<(), ApiError> {
    let budget = object.downcast_mut::<PodDisruptionBudget>().ok_or_else(|| not_a("pod disruption budget"))?;
    let name = budget.metadata.name.clone().unwrap_or_default();
    let generation = budget.metadata.generation.unwrap_or_default();
    let status = budget.status.get_or_insert_default();
    let refuse = |message: String, seconds: u32| {
        Err(ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", seconds)
            .with_cause(Cause { reason: "DisruptionBudget".to_owned(), message, field: String::new() }))
    };
    if status.observed_generation.unwrap_or_default() < generation {
        return refuse(format!("The disruption budget {name} is still being processed by the server."), 10);
    }
    let allowed = status.disruptions_allowed.unwrap_or_default();
    if allowed <= 0 {
        return refuse(
            format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                status.desired_healthy.unwrap_or_default(),
                status.current_healthy.unwrap_or_default()
            ),
            0,
        );
    }
    status.disruptions_allowed = Some(allowed - 1);
    status.disrupted_pods.get_or_insert_default().insert(pod.to_owned(), now);
    Ok(())
}

fn delete_options(options: Option<&ApiDeleteOptions>) -> DeleteOptions {
    let Some(options) = options else { return DeleteOptions::default() };
    DeleteOptions {
        dry_run: options.dry_run.as_ref().is_some_and(|values| !values.is_empty()),
        grace_period_seconds: options.grace_period_seconds,
        propagation: match options.propagation_policy.as_deref() {
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            _ => None,
        },
        orphan_dependents: options.orphan_dependents,
        uid: options.preconditions.as_ref().and_then(|preconditions| preconditions.uid.clone()),
        resource_version: options
            .preconditions
            .as_ref()
            .and_then(|preconditions| preconditions.resource_version.clone()),
    }
}

// === token ===

struct IssueToken(Arc<dyn TokenIssuer>);

const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
const DEFAULT_SECONDS: i64 = 3600;
/// What the admission plugin `ServiceAccount` asks for in pods' volumes: an hour and a mark to know it by. Upstream:
/// `WarnOnlyBoundTokenExpirationSeconds`.
const MARKED_SECONDS: i64 = 3607;
/// What pods get instead, so that those who do not read their token again still work. Upstream:
/// `ExpirationExtensionSeconds`.
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

impl Action for IssueToken {
    fn run<'a>(&'a self, call: ActionCall<'a>) -> BoxFuture<'a, Result<ActionOutcome, ApiError>> {
        self.issue(call).boxed()
    }
}

impl IssueToken {
    /// Upstream: `TokenREST.Create`.
    async fn issue(&self, call: ActionCall<'_>) -> Result<ActionOutcome, ApiError> {
        let mut request: TokenRequest = decode(&call, "TokenRequest", "v1")?;
        let kind = call.registry.kind("", "v1", "serviceaccounts").ok_or_else(ApiError::path_not_found)?;
        check_names(&call, &request)?;
        let account: ServiceAccount = call
            .cx
            .reader
            .get("", "serviceaccounts", call.namespace, call.name)
            .ok_or_else(|| ApiError::not_found(&kind.gvr, call.name))?;
        let uid = account.metadata.uid.unwrap_or_default();
        let wanted = request.metadata.uid.take().unwrap_or_default();
        if !wanted.is_empty() && wanted != uid {
            let why = format!(
                "the UID in the token request ({wanted}) does not match the UID of the service account ({uid})"
            );
            return Err(ApiError::conflict(&kind.gvr, call.name, why));
        }
        request.metadata.name = Some(call.name.to_owned());
        request.metadata.namespace = Some(call.namespace.to_owned());
        request.metadata.creation_timestamp = Some(call.cx.time());
        request.status = None;
        request.spec.get_or_insert_default().expiration_seconds.get_or_insert(DEFAULT_SECONDS);
        // For whom a token is that names nobody is said only after plugins have seen that it names nobody.
        admit_around(&call, &kind, &mut request, |request| {
            self.set_defaults(request);
            check_seconds(seconds(request))
        })
        .await?;

        let (bound_to, node) = match request.spec.as_ref().and_then(|spec| spec.bound_object_ref.as_ref()) {
            None => (None, None),
            Some(reference) => bound(&call, reference)?,
        };
        let policy = self.0.policy();
        let mut asked = seconds(&request);
        if let Some(most) = policy.max_seconds.filter(|most| *most > 0 && asked > *most) {
            call.cx.warn(format!("requested expiration of {asked} seconds shortened to {most} seconds"));
            asked = most;
            request.spec.get_or_insert_default().expiration_seconds = Some(most);
        }
        let audiences = request.spec.as_ref().and_then(|spec| spec.audiences.clone()).unwrap_or_default();
        let own = self.0.default_audiences();
        let for_pod = bound_to.as_ref().is_some_and(|(kind, ..)| kind == "Pod");
        let extended = policy.extends
            && for_pod
            && asked == MARKED_SECONDS
            && audiences.len() == own.len()
            && audiences.iter().all(|audience| own.contains(audience));
        let issued = self.0.issue(TokenClaims {
            namespace: call.namespace.to_owned(),
            service_account: call.name.to_owned(),
            service_account_uid: uid,
            audiences,
            expiration_seconds: if extended { EXTENDED_SECONDS } else { asked },
            warn_after_seconds: extended.then_some(asked),
            bound_to,
            node,
        })?;
        call.cx.annotate("authentication.kubernetes.io/issued-credential-id", format!("JTI={}", issued.id));
        let expires = call.cx.now.saturating_add(jiff::SignedDuration::from_secs(asked)).unwrap_or(issued.expires);
        request.status =
            Some(TokenRequestStatus { token: Some(issued.token), expiration_timestamp: Some(Time(expires)) });
        created(&request)
    }

    fn set_defaults(&self, request: &mut TokenRequest) {
        let spec = request.spec.get_or_insert_default();
        spec.expiration_seconds.get_or_insert(DEFAULT_SECONDS);
        let audiences = spec.audiences.get_or_insert_default();
        if audiences.is_empty() {
            *audiences = self.0.default_audiences();
        }
    }
}

fn seconds(request: &TokenRequest) -> i64 {
    request.spec.as_ref().and_then(|spec| spec.expiration_seconds).unwrap_or(DEFAULT_SECONDS)
}

const AUTHENTICATION: &str = "authentication.k8s.io";

/// The body may leave out what the URL says, but not say another.
fn check_names(call: &ActionCall<'_>, request: &TokenRequest) -> Result<(), ApiError> {
    let path = Path::new("metadata");
    for (field, said, own) in [
        ("name", request.metadata.name.as_deref().unwrap_or_default(), call.name),
        ("namespace", request.metadata.namespace.as_deref().unwrap_or_default(), call.namespace),
    ] {
        if !said.is_empty() && said != own {
            let why = format!("must match the service account {field} if specified");
            let error = Error::invalid(&path.child(field), said, why);
            return Err(ApiError::invalid(AUTHENTICATION, "TokenRequest", call.name, &error.into()));
        }
    }
    Ok(())
}

/// Upstream: `ValidateTokenRequest`.
fn check_seconds(seconds: i64) -> Result<(), ApiError> {
    let why = match seconds {
        ..MIN_SECONDS => "may not specify a duration less than 10 minutes",
        MIN_SECONDS..=MAX_SECONDS => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let path = Path::new("spec").child("expirationSeconds");
    Err(ApiError::invalid(AUTHENTICATION, "TokenRequest", "", &Error::invalid(&path, seconds, why).into()))
}

type Bound = (Option<(String, String, String)>, Option<(String, String)>);

/// The object a token shall die with, which must be there and be the one that is meant.
fn bound(call: &ActionCall<'_>, reference: &api::authentication::v1::BoundObjectReference) -> Result<Bound, ApiError> {
    let (kind, name) = (reference.kind.as_deref().unwrap_or_default(), reference.name.as_deref().unwrap_or_default());
    let reader = &call.cx.reader;
    let missing = |plural: &str| ApiError::not_found(&Gvr::new("", "v1", plural), name);
    let mut node = None;
    let core = !reference.api_version.as_deref().unwrap_or_default().contains('/');
    let uid = match kind {
        "Pod" if core => {
            let pod: Pod = reader.get("", "pods", call.namespace, name).ok_or_else(|| missing("pods"))?;
            let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or_default();
            if account != call.name {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
                    call.name
                )));
            }
            if let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
                // A node that is not there yet is only named.
                let uid = reader.get::<Node>("", "nodes", "", &name).and_then(|node| node.metadata.uid);
                node = Some((name, uid.unwrap_or_default()));
            }
            pod.metadata.uid
        }
        "Secret" if core => {
            reader.get::<Secret>("", "secrets", call.namespace, name).ok_or_else(|| missing("secrets"))?.metadata.uid
        }
        "Node" if core => reader.get::<Node>("", "nodes", "", name).ok_or_else(|| missing("nodes"))?.metadata.uid,
        other => {
            let version = reference.api_version.as_deref().unwrap_or_default();
            let kind = if version.contains('/') {
                format!("{version}, Kind={other}")
            } else {
                format!("/{version}, Kind={other}")
            };
            return Err(ApiError::bad_request(format!("cannot bind token to object of type {kind}")));
        }
    }
    .unwrap_or_default();
    let wanted = reference.uid.as_deref().unwrap_or_default();
    if !wanted.is_empty() && wanted != uid {
        return Err(ApiError::conflict(
            &Gvr::new("", "v1", kind),
            name,
            format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
            ),
        ));
    }
    Ok((Some((kind.to_owned(), name.to_owned(), uid)), node))
}
