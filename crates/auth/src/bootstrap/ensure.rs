//! Writes the default policy where it is missing, at every start.

use std::sync::Arc;

use apimachinery::ApiError;
use bytes::Bytes;
use futures::{future::try_join_all, try_join};
use registry::{Object, Registry, UpdateKind, UserInfo, Verb, pipeline::Change};
use serde::Serialize;
use tracing::info;

use super::{GROUP, Policy, reconcile_cluster_role, reconcile_role, reconcile_subjects};

/// Creates what is missing and adds what defaults have gained. The namespaces of its objects have to exist.
pub async fn ensure(registry: &Registry, policy: Policy) -> Result<(), ApiError> {
    // All at once: the store syncs them together.
    let roles =
        policy.cluster_roles.into_iter().map(|role| one(registry, "clusterroles", role, reconcile_cluster_role));
    let bindings = policy.cluster_role_bindings.into_iter().map(|binding| {
        one(registry, "clusterrolebindings", binding, |stored, wanted| {
            let subjects = reconcile_subjects(&stored.metadata, stored.subjects.as_ref(), wanted.subjects.as_ref())?;
            let mut stored = stored.clone();
            stored.subjects = Some(subjects);
            Some(stored)
        })
    });
    let namespaced = policy.roles.into_iter().map(|role| one(registry, "roles", role, reconcile_role));
    let namespaced_bindings = policy.role_bindings.into_iter().map(|binding| {
        one(registry, "rolebindings", binding, |stored, wanted| {
            let subjects = reconcile_subjects(&stored.metadata, stored.subjects.as_ref(), wanted.subjects.as_ref())?;
            let mut stored = stored.clone();
            stored.subjects = Some(subjects);
            Some(stored)
        })
    });
    let (a, b, c, d) = try_join!(
        try_join_all(roles),
        try_join_all(bindings),
        try_join_all(namespaced),
        try_join_all(namespaced_bindings)
    )?;
    let changed: usize = [a, b, c, d].into_iter().flatten().sum();
    if changed > 0 {
        info!(changed, "wrote default policy");
    }
    Ok(())
}

async fn one<T: Object + Serialize>(
    registry: &Registry,
    plural: &str,
    wanted: T,
    reconcile: impl Fn(&T, &T) -> Option<T>,
) -> Result<usize, ApiError> {
    let kind = registry
        .preferred_kind(GROUP, plural)
        .ok_or_else(|| ApiError::internal(format!("{plural} are not registered")))?;
    let meta = wanted.metadata();
    let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    let stored: Option<T> = registry.reader().get(GROUP, plural, &namespace, &name);
    let (verb, object) = match stored {
        None => (Verb::Create, wanted),
        Some(stored) => match reconcile(&stored, &wanted) {
            None => return Ok(0),
            Some(object) => (Verb::Update, object),
        },
    };
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), verb);
    cx.namespace = namespace;
    let body = Bytes::from(serde_json::to_vec(&object).map_err(ApiError::internal)?);
    let outcome = if verb == Verb::Create {
        registry.create(&kind, &cx, &body, &Default::default()).await
    } else {
        cx.name = name;
        registry.modify(&kind, &cx, UpdateKind::Object, Change::Replace(&body), &Default::default()).await
    };
    match outcome {
        Ok(_) => Ok(1),
        // Another server of the same cluster was faster; it wrote the same.
        Err(error) if error.is("AlreadyExists") || error.is("Conflict") => Ok(0),
        Err(error) => Err(error),
    }
}
