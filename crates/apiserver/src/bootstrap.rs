//! Objects that every cluster has from its start: system namespaces, and the Service of the API itself.
//! Upstream: `controlplane/controller/systemnamespaces`, `controlplane/controller/kubernetesservice`, `controlplane/reconcilers`.

use std::{net::IpAddr, sync::Arc};

use apimachinery::ApiError;
use bytes::Bytes;
use futures::future::{try_join, try_join_all};
use registry::{
    Registry, RequestCx, UpdateKind, UserInfo, Verb,
    options::WriteOptions,
    pipeline::{Change, Patch, PatchKind},
};
use serde_json::{Value, json};
use store::{Filter, WatchError};
use supervisor::Supervisor;

use crate::masters;

/// Namespaces that must be there before anything else.
pub const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

const TOKEN_TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";

/// Where the API answers.
#[derive(Clone, Debug)]
pub struct ApiEndpoint {
    /// The `kubernetes` Service's address: the first of the service range.
    pub service_address: IpAddr,
    /// Where this server listens, as pods can reach it.
    pub address: IpAddr,
    pub port: u16,
}

/// Creates the system namespaces that are missing.
pub async fn namespaces(registry: &Registry) -> Result<(), ApiError> {
    // All at once: the store syncs them together.
    let writes = SYSTEM_NAMESPACES.iter().map(|name| async move {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        create(registry, "", "namespaces", "", &namespace).await
    });
    try_join_all(writes).await.map(drop)
}

/// Makes the statuses of the parts of the control plane, which are well when anybody can ask.
pub async fn component_statuses(registry: &Registry) -> Result<(), ApiError> {
    let writes = ["scheduler", "controller-manager", "etcd-0"].map(|name| async move {
        let status = json!({
            "apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name},
            "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
        });
        create(registry, "", "componentstatuses", "", &status).await
    });
    try_join_all(writes).await.map(drop)
}

/// Makes the `kubernetes` Service, its Endpoints and its EndpointSlice say where the API servers are: this one, and
/// the others of a store that is shared.
pub async fn kubernetes_service(registry: &Registry, endpoint: &ApiEndpoint) -> Result<(), ApiError> {
    if registry.store().is_shared() {
        masters::appear(registry, endpoint.address).await.map_err(ApiError::internal)?;
        return kubernetes_service_at(registry, endpoint, &masters::present(registry, endpoint.address)).await;
    }
    kubernetes_service_at(registry, endpoint, &[endpoint.address]).await
}

pub(crate) async fn kubernetes_service_at(
    registry: &Registry,
    endpoint: &ApiEndpoint,
    servers: &[IpAddr],
) -> Result<(), ApiError> {
    let family = if endpoint.service_address.is_ipv4() { "IPv4" } else { "IPv6" };
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "sessionAffinity": "None",
            "clusterIP": endpoint.service_address, "clusterIPs": [endpoint.service_address],
            "ipFamilies": [family], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": endpoint.port}],
        },
    });
    create(registry, "", "services", "default", &service).await?;
    let ports =
        json!({"spec": {"ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": endpoint.port}]}});
    merge(registry, ("", "services"), ("default", "kubernetes"), ports).await?;
    endpoints(registry, endpoint, servers).await
}

/// Of the `kubernetes` Service: these servers, at the port of this one.
pub(crate) async fn endpoints(registry: &Registry, endpoint: &ApiEndpoint, servers: &[IpAddr]) -> Result<(), ApiError> {
    let addresses: Vec<Value> = servers.iter().map(|address| json!({ "ip": address })).collect();
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let subsets = json!([{
        "addresses": addresses,
        "ports": [{"name": "https", "port": endpoint.port, "protocol": "TCP"}],
    }]);
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels}, "subsets": subsets,
    });
    let ports = json!([{"name": "https", "port": endpoint.port, "protocol": "TCP"}]);
    let ready = |address: &IpAddr| json!({"addresses": [address], "conditions": {"ready": true}});
    let addresses: Vec<Value> = servers.iter().map(ready).collect();
    let family = if endpoint.address.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family, "endpoints": addresses, "ports": ports,
    });
    let endpoints = async {
        create(registry, "", "endpoints", "default", &endpoints).await?;
        merge(registry, ("", "endpoints"), ("default", "kubernetes"), json!({ "subsets": subsets })).await
    };
    let slices = async {
        create(registry, "discovery.k8s.io", "endpointslices", "default", &slice).await?;
        merge(
            registry,
            ("discovery.k8s.io", "endpointslices"),
            ("default", "kubernetes"),
            json!({"endpoints": addresses, "ports": ports}),
        )
        .await
    };
    try_join(endpoints, slices).await.map(drop)
}

/// Puts the `kubernetes` Service back when somebody deletes it or its endpoints, as upstream's reconciler does.
pub fn keep_kubernetes_service(registry: &Registry, endpoint: ApiEndpoint, supervisor: &Supervisor) {
    if registry.store().is_shared() {
        masters::keep(registry, endpoint, supervisor);
        return;
    }
    let registry = registry.clone();
    supervisor.spawn("kubernetes service", async move {
        let filter = || Filter::in_namespace("default").named("kubernetes");
        let store = registry.store().clone();
        let resources = ["services", "endpoints", "endpointslices.discovery.k8s.io"].map(|name| store.resource(name));
        loop {
            if let Err(error) = kubernetes_service(&registry, &endpoint).await {
                tracing::warn!(%error, "kubernetes service not written");
            }
            let from = store.revision();
            let watches: Result<Vec<_>, _> = resources.iter().map(|resource| resource.watch(from, filter())).collect();
            let Ok(mut watches) = watches else { return };
            let next = futures::future::select_all(watches.iter_mut().map(|watch| Box::pin(watch.next())));
            if let (Err(WatchError::Closed), ..) = next.await {
                return;
            }
        }
    });
}

/// Says since when the uses of tokens in Secrets are written down, and keeps it said: without it nobody can tell a token
/// that was not used from one of which nothing is known. Upstream: `controlplane/controller/legacytokentracking`.
pub fn keep_legacy_token_tracking(registry: &Registry, supervisor: &Supervisor) {
    let registry = registry.clone();
    supervisor.spawn("legacy token tracking", async move {
        let filter = || Filter::in_namespace("kube-system").named(TOKEN_TRACKING);
        let (store, maps) = (registry.store().clone(), registry.store().resource("configmaps"));
        loop {
            let from = store.revision();
            if let Err(error) = legacy_token_tracking(&registry).await {
                tracing::warn!(%error, "{TOKEN_TRACKING} not written");
            }
            let Ok(mut watch) = maps.watch(from, filter()) else { return };
            if let Err(WatchError::Closed) = watch.next().await {
                return;
            }
        }
    });
}

async fn legacy_token_tracking(registry: &Registry) -> Result<(), ApiError> {
    const FORMAT: &str = "%Y-%m-%d";
    let is_day = |text: &String| jiff::civil::Date::strptime(FORMAT, text).is_ok();
    let data = json!({"since": jiff::Timestamp::now().strftime(FORMAT).to_string()});
    let map = registry.reader().get::<api::core::v1::ConfigMap>("", "configmaps", "kube-system", TOKEN_TRACKING);
    let Some(map) = map else {
        let metadata = json!({"name": TOKEN_TRACKING, "namespace": "kube-system"});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        return create(registry, "", "configmaps", "kube-system", &map).await;
    };
    if map.data.as_ref().and_then(|data| data.get("since")).is_some_and(is_day) {
        return Ok(());
    }
    merge(registry, ("", "configmaps"), ("kube-system", TOKEN_TRACKING), json!({ "data": data })).await
}

fn context(registry: &Registry, verb: Verb, namespace: &str) -> RequestCx {
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), verb);
    namespace.clone_into(&mut cx.namespace);
    cx
}

/// An object that is there already is left as it is.
async fn create(
    registry: &Registry,
    group: &str,
    plural: &str,
    namespace: &str,
    object: &Value,
) -> Result<(), ApiError> {
    let kind = registry
        .preferred_kind(group, plural)
        .ok_or_else(|| ApiError::internal(format!("{plural} are not registered")))?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if registry.get(&kind, namespace, name).is_ok() {
        return Ok(());
    }
    let cx = context(registry, Verb::Create, namespace);
    let body = Bytes::from(object.to_string());
    match registry.create(&kind, &cx, &body, &WriteOptions::default()).await {
        Err(error) if error.is("AlreadyExists") => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn merge(
    registry: &Registry,
    (group, plural): (&str, &str),
    (namespace, name): (&str, &str),
    patch: Value,
) -> Result<(), ApiError> {
    let kind = registry
        .preferred_kind(group, plural)
        .ok_or_else(|| ApiError::internal(format!("{plural} are not registered")))?;
    let mut cx = context(registry, Verb::Patch, namespace);
    name.clone_into(&mut cx.name);
    let patch = Patch::new(PatchKind::Merge, patch);
    let change = Change::Patch(&patch);
    registry.modify(&kind, &cx, UpdateKind::Object, change, &WriteOptions::default()).await.map(|_| ())
}
