//! ResourceQuota: what a namespace may hold and ask for in all. Upstream: `k8s.io/apiserver/pkg/admission/plugin/resourcequota`.
//!
//! What an object adds is written into the quota's status before the object is stored, by compare and swap, so that two
//! requests cannot both take the last of it. What is freed, and what was charged for writes that failed later, the
//! quota controller finds.

use std::{collections::BTreeSet, sync::Arc};

use api::{
    core::v1::{
        PersistentVolumeClaim, Pod, ResourceQuota as Quota, ResourceQuotaSpec, ScopeSelector,
        ScopedResourceSelectorRequirement, Service,
    },
    quota::{self, Scoped},
    requests::Amounts,
    resource::v1::ResourceClaim,
};
use apimachinery::{ApiError, Quantity};
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    AnyObject, Info, UpdateKind, UserInfo, Verb,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

#[derive(Default)]
pub(crate) struct ResourceQuota {
    pub(crate) limited: Vec<LimitedResource>,
}

/// Something that may be used only where a quota covers it. Upstream: `LimitedResource`.
#[derive(Clone, Debug)]
pub struct LimitedResource {
    pub group: String,
    pub plural: String,
    /// Parts of the names of what is counted.
    pub contains: Vec<String>,
    /// Objects in one of these scopes need a quota of that scope.
    pub scopes: Vec<ScopedResourceSelectorRequirement>,
}

/// What is asked for, and of what.
struct Demand<'a> {
    scoped: Scoped<'a>,
    /// All that the object counts for.
    usage: Amounts,
    added: Amounts,
    /// Names the object counts for, also where it adds nothing.
    names: BTreeSet<String>,
}

impl Admission for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        let resize = is(info, "", "pods") && subresource == "resize";
        let recounts = is(info, "", "services")
            || is(info, "", "persistentvolumeclaims")
            || is(info, "resource.k8s.io", "resourceclaims");
        info.is_namespaced()
            && info.plural != "events"
            && match operation {
                Operation::Create => subresource.is_empty() && !info.plural.ends_with("reviews"),
                Operation::Update => resize || (subresource.is_empty() && recounts),
                Operation::Delete | Operation::Connect => false,
            }
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        async move {
            let quotas: Vec<Quota> = request.cx.reader.list("", "resourcequotas", Some(request.namespace));
            if quotas.is_empty() && self.limited.is_empty() {
                return Ok(());
            }
            check(request, &self.limited, quotas).await
        }
        .boxed()
    }
}

fn is(info: &Info, group: &str, plural: &str) -> bool {
    info.group == group && info.plural == plural
}

async fn check(
    request: &AdmissionRequest<'_>,
    limited: &[LimitedResource],
    quotas: Vec<Quota>,
) -> Result<(), ApiError> {
    let demand = demand(request);
    check_covered(request, limited, &demand, &quotas)?;
    let forbidden = |why: String| ApiError::forbidden(&gvr(request.info), request.name, why);
    let mut charged = Vec::new();
    for quota in quotas {
        let name = quota.metadata.name.clone().unwrap_or_default();
        let hard = api::quota::amounts(quota.status.as_ref().and_then(|status| status.hard.as_ref()));
        let is_pod = matches!(demand.scoped, Scoped::Pod(_));
        let counts = |name: &&String| demand.names.contains(*name) || (is_pod && quota::is_of_pods(name));
        let names: BTreeSet<String> = hard.keys().filter(counts).cloned().collect();
        if names.is_empty() || !quota::in_scope(&quota, demand.scoped) {
            continue;
        }
        if let Scoped::Pod(pod) = demand.scoped
            && request.operation == Operation::Create
            && let Some(why) = quota::unstated(pod, &names)
        {
            return Err(forbidden(format!("failed quota: {name}: {why}")));
        }
        let used = api::quota::amounts(quota.status.as_ref().and_then(|status| status.used.as_ref()));
        let added: Amounts =
            demand.added.iter().filter(|(name, _)| names.contains(*name)).map(|(n, a)| (n.clone(), *a)).collect();
        if added.is_empty() {
            continue;
        }
        let unknown: Vec<&str> = names.iter().filter(|name| !used.contains_key(*name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            return Err(forbidden(format!("status unknown for quota: {name}, resources: {}", unknown.join(","))));
        }
        exceeded(&name, &added, &used, &hard).map_err(forbidden)?;
        charged.push((name, added));
    }
    if request.cx.dry_run {
        return Ok(());
    }
    for (name, added) in charged {
        charge(request, &name, &added).await?;
    }
    Ok(())
}

/// Whether there is a quota for everything that may only be used with one.
fn check_covered(
    request: &AdmissionRequest<'_>,
    limited: &[LimitedResource],
    demand: &Demand<'_>,
    quotas: &[Quota],
) -> Result<(), ApiError> {
    if limited.is_empty() || demand.added.is_empty() {
        return Ok(());
    }
    let here =
        |limited: &&LimitedResource| limited.group == request.info.group && limited.plural == request.info.plural;
    let parts: Vec<&String> = limited.iter().filter(here).flat_map(|limited| &limited.contains).collect();
    let covering: Vec<&Quota> = quotas.iter().filter(|quota| quota::in_scope(quota, demand.scoped)).collect();
    let is_covered = |name: &String| {
        let hard = |quota: &&&Quota| {
            quota.status.as_ref().and_then(|status| status.hard.as_ref()).is_some_and(|hard| hard.contains_key(name))
        };
        covering.iter().any(|quota| hard(&quota))
    };
    let used = demand.usage.iter().filter(|(_, amount)| amount.sign() > 0).map(|(name, _)| name);
    let uncovered: Vec<&str> = used
        .filter(|name| parts.iter().any(|part| name.contains(part.as_str())) && !is_covered(name))
        .map(String::as_str)
        .collect();
    if !uncovered.is_empty() {
        let why = format!("insufficient quota to consume: {}", uncovered.join(","));
        return Err(ApiError::forbidden(&gvr(request.info), request.name, why));
    }
    let mine = |requirement: &&ScopedResourceSelectorRequirement| {
        let selector = ScopeSelector { match_expressions: Some(vec![(*requirement).clone()]) };
        let spec = ResourceQuotaSpec { scope_selector: Some(selector), ..ResourceQuotaSpec::default() };
        quota::in_scope(&Quota { spec: Some(spec), ..Quota::default() }, demand.scoped)
    };
    let quota_scopes: Vec<String> = quotas
        .iter()
        .flat_map(scopes)
        .filter(|requirement| mine(&requirement))
        .map(|requirement| requirement.scope_name)
        .collect();
    let uncovered: Vec<String> = limited
        .iter()
        .flat_map(|limited| &limited.scopes)
        .filter(mine)
        .filter(|requirement| !quota_scopes.contains(&requirement.scope_name))
        .map(|requirement| {
            let values = requirement.values.as_deref().unwrap_or_default().join(" ");
            format!("{{{} {} [{values}]}}", requirement.scope_name, requirement.operator)
        })
        .collect();
    if uncovered.is_empty() {
        return Ok(());
    }
    // Upstream says it without saying that it is forbidden.
    let mut error = ApiError::internal("");
    error.message = format!("insufficient quota to match these scopes: [{}]", uncovered.join(" "));
    error.reason.clear();
    Err(error)
}

/// All scopes of a quota, those that it says without an operator too.
fn scopes(quota: &Quota) -> Vec<ScopedResourceSelectorRequirement> {
    let Some(spec) = &quota.spec else { return Vec::new() };
    let plain = spec.scopes.iter().flatten().map(|scope| ScopedResourceSelectorRequirement {
        scope_name: scope.clone(),
        operator: "Exists".to_owned(),
        values: None,
    });
    let selected = spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten().cloned());
    plain.chain(selected).collect()
}

/// What the request adds to what is there already; nothing that it frees.
fn demand<'a>(request: &'a AdmissionRequest<'_>) -> Demand<'a> {
    let now = request.cx.now;
    let (scoped, usage, before) = match (request.info.group, request.info.plural) {
        ("", "pods") => match request.object::<Pod>() {
            Some(pod) => (
                Scoped::Pod(pod),
                quota::pod_usage(pod, now),
                request.old_object::<Pod>().map(|old| quota::pod_usage(old, now)),
            ),
            None => (Scoped::Other, Amounts::new(), None),
        },
        ("", "persistentvolumeclaims") => match request.object::<PersistentVolumeClaim>() {
            Some(claim) => (
                Scoped::Claim(claim),
                quota::claim_usage(claim),
                request.old_object::<PersistentVolumeClaim>().map(quota::claim_usage),
            ),
            None => (Scoped::Other, Amounts::new(), None),
        },
        ("", "services") => (
            Scoped::Other,
            request.object::<Service>().map(quota::service_usage).unwrap_or_default(),
            request.old_object::<Service>().map(quota::service_usage),
        ),
        ("resource.k8s.io", "resourceclaims") => (
            Scoped::Other,
            request.object::<ResourceClaim>().map(quota::device_claim_usage).unwrap_or_default(),
            request.old_object::<ResourceClaim>().map(quota::device_claim_usage),
        ),
        (group, plural) => (Scoped::Other, quota::object_usage(group, plural), None),
    };
    let before = before.unwrap_or_default();
    let names = usage.keys().cloned().collect();
    let added = usage.iter().filter_map(|(name, amount)| {
        let more = before.get(name).map_or(*amount, |before| amount.minus(before));
        (more.sign() > 0).then(|| (name.clone(), more))
    });
    Demand { scoped, added: added.collect(), names, usage }
}

fn exceeded(name: &str, added: &Amounts, used: &Amounts, hard: &Amounts) -> Result<(), String> {
    let zero = Quantity::ZERO;
    let over: Vec<&String> = added
        .iter()
        .filter(|(name, more)| {
            hard.get(*name).is_some_and(|limit| used.get(*name).unwrap_or(&zero).plus(more) > *limit)
        })
        .map(|(name, _)| name)
        .collect();
    if over.is_empty() {
        return Ok(());
    }
    let print = |amounts: &Amounts| {
        over.iter().map(|name| format!("{name}={}", amounts.get(*name).unwrap_or(&zero))).collect::<Vec<_>>().join(",")
    };
    Err(format!("exceeded quota: {name}, requested: {}, used: {}, limited: {}", print(added), print(used), print(hard)))
}

/// Adds to what is used, unless meanwhile others have taken too much.
async fn charge(request: &AdmissionRequest<'_>, name: &str, added: &Amounts) -> Result<(), ApiError> {
    // Tried alone, the plugin has nowhere to write.
    let Some(place) = request.place else { return Ok(()) };
    let registry = place.registry;
    let kind = registry
        .preferred_kind("", "resourcequotas")
        .ok_or_else(|| ApiError::internal("resourcequotas are not registered"))?;
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), Verb::Update);
    request.namespace.clone_into(&mut cx.namespace);
    name.clone_into(&mut cx.name);
    "status".clone_into(&mut cx.subresource);
    let resource = gvr(request.info);
    let change = |object: &mut dyn AnyObject| {
        let Some(quota) = object.downcast_mut::<Quota>() else {
            return Err(ApiError::internal("stored object is not a quota"));
        };
        let status = quota.status.get_or_insert_default();
        let (hard, mut used) = (quota::amounts(status.hard.as_ref()), quota::amounts(status.used.as_ref()));
        exceeded(name, added, &used, &hard).map_err(|why| ApiError::forbidden(&resource, request.name, why))?;
        for (name, more) in added {
            let sum = used.get(name).unwrap_or(&Quantity::ZERO).plus(more);
            used.insert(name.clone(), sum);
        }
        status.used = Some(quota::texts(&used));
        Ok(())
    };
    match registry.mutate(&kind, &cx, UpdateKind::Status, &change).await {
        // Who is gone restricts nobody.
        Err(error) if error.is("NotFound") => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::{LimitedResource, ResourceQuota};
    use crate::testing::{Case, PODS, check_error};
    use api::core::v1::Pod;

    fn quota(status: &str) -> String {
        format!(
            r#"{{"apiVersion":"v1","kind":"ResourceQuota","metadata":{{"name":"q","namespace":"ns"}},"spec":{{"hard":{{"cpu":"1","pods":"2"}}}},"status":{status}}}"#
        )
    }

    fn pod(cpu: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"p","namespace":"ns"}},"spec":{{"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
        )
    }

    #[test]
    fn what_is_too_much_is_said_as_upstream_says_it() {
        let plugin = ResourceQuota::default();
        let used = quota(r#"{"hard":{"cpu":"1","pods":"2"},"used":{"cpu":"800m","pods":"1"}}"#);
        assert_eq!(
            check_error(&plugin, &[&used], &pod("300m")),
            r#"pods "p" is forbidden: exceeded quota: q, requested: cpu=300m, used: cpu=800m, limited: cpu=1"#
        );
        let stored = [used.as_str()];
        let fits = Case::create(PODS, &stored, serde_json::from_str(&pod("200m")).unwrap());
        assert!(fits.run::<Pod>(&plugin).object.is_ok());
        assert_eq!(
            check_error(
                &plugin,
                &[&used],
                r#"{"metadata":{"name":"p","namespace":"ns"},"spec":{"containers":[{"name":"c"}]}}"#
            ),
            r#"pods "p" is forbidden: failed quota: q: must specify cpu for: c"#
        );
        assert_eq!(
            check_error(&plugin, &[&quota(r#"{"hard":{"cpu":"1","pods":"2"}}"#)], &pod("1m")),
            r#"pods "p" is forbidden: status unknown for quota: q, resources: cpu,pods"#
        );
    }

    #[test]
    fn what_is_limited_needs_a_quota() {
        let limited = |contains: &[&str], scopes: &[&str]| ResourceQuota {
            limited: vec![LimitedResource {
                group: String::new(),
                plural: "pods".to_owned(),
                contains: contains.iter().map(ToString::to_string).collect(),
                scopes: scopes
                    .iter()
                    .map(|class| api::core::v1::ScopedResourceSelectorRequirement {
                        scope_name: "PriorityClass".to_owned(),
                        operator: "In".to_owned(),
                        values: Some(vec![(*class).to_owned()]),
                    })
                    .collect(),
            }],
        };
        assert_eq!(
            check_error(&limited(&["cpu"], &[]), &[], &pod("1m")),
            r#"pods "p" is forbidden: insufficient quota to consume: cpu,requests.cpu"#
        );
        let memory = r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"ns"},"spec":{"hard":{"memory":"1"}},"status":{"hard":{"memory":"1"},"used":{"memory":"0"}}}"#;
        assert!(
            check_error(&limited(&["requests.cpu"], &[]), &[memory], &pod("1m")).ends_with("consume: requests.cpu")
        );
        let covered = quota(r#"{"hard":{"cpu":"1","requests.cpu":"1"},"used":{"cpu":"0","requests.cpu":"0"}}"#);
        let stored = [covered.as_str()];
        let run = |plugin: &ResourceQuota, pod: &str| {
            Case::create(PODS, &stored, serde_json::from_str(pod).unwrap()).run::<Pod>(plugin).object.map(|_| ())
        };
        assert_eq!(run(&limited(&["cpu"], &[]), &pod("1m")), Ok(()));
        let of_class =
            |class: &str| pod("1m").replacen(r#""spec":{"#, &format!(r#""spec":{{"priorityClassName":"{class}","#), 1);
        assert_eq!(
            run(&limited(&[], &["high"]), &of_class("high")).unwrap_err(),
            "insufficient quota to match these scopes: [{PriorityClass In [high]}]"
        );
        assert_eq!(run(&limited(&[], &["high"]), &of_class("low")), Ok(()));
        let scoped = r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"ns"},"spec":{"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In","values":["high"]}]}},"status":{"hard":{"pods":"1"},"used":{"pods":"0"}}}"#;
        let stored = [scoped];
        let pod = serde_json::from_str(&of_class("high")).unwrap();
        assert!(Case::create(PODS, &stored, pod).run::<Pod>(&limited(&[], &["high"])).object.is_ok());
    }
}
