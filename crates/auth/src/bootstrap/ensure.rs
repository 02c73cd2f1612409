//! Writes the default policy where it is missing, at every start.

use std::sync::Arc;

use apimachinery::ApiError;
use bytes::Bytes;
use registry::{Object, Registry, UpdateKind, UserInfo, Verb, pipeline::Change};
use serde::Serialize;
use tracing::info;

use super::{GROUP, Policy, reconcile_cluster_role, reconcile_role, reconcile_subjects};

/// Creates what is missing and adds what defaults have gained. The namespaces of its objects have to exist.
pub async fn ensure(registry: &Registry, policy: Policy) -> Result<(), ApiError> {
    let mut changed = 0;
    for role in policy.cluster_roles {
        changed += one(registry, "clusterroles", role, reconcile_cluster_role).await?;
    }
    for binding in policy.cluster_role_bindings {
        changed += one(registry, "clusterrolebindings", binding, |stored, wanted| {
            let subjects = reconcile_subjects(&stored.metadata, stored.subjects.as_ref(), wanted.subjects.as_ref())?;
            let mut stored = stored.clone();
            stored.subjects = Some(subjects);
            Some(stored)
        })
        .await?;
    }
    for role in policy.roles {
        changed += one(registry, "roles", role, reconcile_role).await?;
    }
    for binding in policy.role_bindings {
        changed += one(registry, "rolebindings", binding, |stored, wanted| {
            let subjects = reconcile_subjects(&stored.metadata, stored.subjects.as_ref(), wanted.subjects.as_ref())?;
            let mut stored = stored.clone();
            stored.subjects = Some(subjects);
            Some(stored)
        })
        .await?;
    }
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
