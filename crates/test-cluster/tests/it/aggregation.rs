//! Aggregation, with a real extension server of metrics-server's shape: it learns whom to believe from the cluster, takes
//! who asks from the front proxy's headers or a TokenReview, and asks by SubjectAccessReview what they may.

use std::{process::Command, sync::Arc, time::Duration};

use ::http::{HeaderMap, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::{
        authentication::v1::TokenReview,
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        core::v1::ConfigMap,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Api;
use registry::UserInfo;
use serde_json::{Value, json};
use test_cluster::TestCluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    http::Client,
    outside::{Counts, Outside, Shown, own_address},
};

const NODES: &str = "/apis/metrics.k8s.io/v1beta1/nodes";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const OURS: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io";

/// What the extension server knows.
struct Extension {
    client: kube::Client,
    counts: Counts,
}

/// Who asks, as the extension server found out.
struct Who {
    user: String,
    groups: Vec<String>,
}

impl Extension {
    /// The headers of the front proxy, if it is the front proxy that sends them; else a token.
    async fn authenticate(&self, headers: &HeaderMap, shown: &Shown) -> Option<Who> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-system");
        let data = maps.get("extension-apiserver-authentication").await.unwrap().data.unwrap();
        if let Some(certificate) = &shown.0 {
            // The chain was verified by TLS with the authority of the config map; the name is the server's to check.
            let (_, certificate) = x509_parser::parse_x509_certificate(certificate).unwrap();
            let name = certificate.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
            let allowed: Vec<String> = serde_json::from_str(&data["requestheader-allowed-names"]).unwrap();
            let names: Vec<String> = serde_json::from_str(&data["requestheader-username-headers"]).unwrap();
            if !allowed.contains(&name) {
                return None;
            }
            let text = |name: &str| {
                headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            return Some(Who { user: text(&names[0]).pop()?, groups: text("x-remote-group") });
        }
        let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned();
        let mut review = TokenReview::default();
        review.spec.token = token;
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = reviews.create(&Default::default(), &review).await.unwrap().status?;
        let user = status.user.filter(|_| status.authenticated == Some(true))?;
        Some(Who { user: user.username?, groups: user.groups.unwrap_or_default() })
    }

    async fn may(&self, who: &Who, verb: &str, resource: &str) -> bool {
        let review = SubjectAccessReview {
            metadata: ObjectMeta::default(),
            spec: SubjectAccessReviewSpec {
                user: Some(who.user.clone()),
                groups: Some(who.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("metrics.k8s.io".into()),
                    resource: Some(resource.into()),
                    verb: Some(verb.into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            status: None,
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        reviews.create(&Default::default(), &review).await.unwrap().status.unwrap().allowed
    }

    async fn answer(&self, mut request: Request<Incoming>, shown: Shown) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        self.counts.add(&path);
        let Some(who) = self.authenticate(request.headers(), &shown).await else {
            return status(StatusCode::UNAUTHORIZED, "Unauthorized");
        };
        let resource = json!({"name": "nodes", "singularName": "", "namespaced": false, "kind": "NodeMetrics", "verbs": ["get", "list"]});
        match path.as_str() {
            "/apis/metrics.k8s.io/v1beta1" => reply(json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1", "resources": [resource],
            })),
            NODES if !self.may(&who, "list", "nodes").await => status(
                StatusCode::FORBIDDEN,
                &format!("nodes.metrics.k8s.io is forbidden: User \"{}\" cannot list", who.user),
            ),
            NODES => reply(json!({
                "kind": "NodeMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {},
                "items": [{"metadata": {"name": "n1"}, "timestamp": "2026-01-01T00:00:00Z", "window": "10s", "usage": {"cpu": "250m", "memory": "512Mi"}}],
            })),
            "/apis/metrics.k8s.io/v1beta1/who" => reply(json!({
                "user": who.user, "groups": who.groups,
                "authorization": request.headers().contains_key(header::AUTHORIZATION),
                "extra": request.headers().get("x-remote-extra-scope").map(|value| value.to_str().unwrap().to_owned()),
            })),
            "/apis/metrics.k8s.io/v1beta1/away" => {
                let mut answer = Response::new(Full::default());
                *answer.status_mut() = StatusCode::FOUND;
                answer.headers_mut().insert(header::LOCATION, "https://elsewhere.example/".parse().unwrap());
                answer
            }
            "/apis/metrics.k8s.io/v1beta1/echo" => {
                upgrade(&mut request);
                let mut answer = Response::new(Full::default());
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                answer.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
                answer.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
                answer
            }
            "/openapi/v2" => reply(openapi()),
            _ => status(StatusCode::NOT_FOUND, "the server could not find the requested resource"),
        }
    }
}

/// Of a server from before v3: what every server has, its own group, and an older `ListMeta` than the cluster's.
fn openapi() -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
    let nodes = json!({"get": {
        "operationId": "listNodes", "produces": ["application/json"],
        "responses": {"200": {"description": "OK", "schema": reference("v1beta1.NodeMetricsList")}},
    }});
    json!({
        "swagger": "2.0", "info": {"title": "metrics-server", "version": "v0"},
        "paths": {NODES: nodes, "/version/": {"get": {"responses": {"200": {"description": "OK", "schema": reference("Unused")}}}}},
        "definitions": {
            "v1beta1.NodeMetricsList": {"type": "object", "description": "Nodes.", "properties": {"metadata": reference(meta)},
                "x-kubernetes-group-version-kind": [{"group": "metrics.k8s.io", "kind": "NodeMetricsList", "version": "v1beta1"}]},
            meta: {"type": "object", "description": "Of another time."}, "Unused": {"type": "object"},
        },
    })
}

#[expect(clippy::disallowed_methods, reason = "a test's own server has no supervisor")]
fn upgrade(request: &mut Request<Incoming>) {
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    });
}

fn reply(value: Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(value.to_string()));
    answer.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    answer
}

fn status(code: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let mut answer = reply(json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code.as_u16(),
    }));
    *answer.status_mut() = code;
    answer
}

struct World {
    cluster: TestCluster,
    admin: Client,
    server: Outside,
    counts: Counts,
}

/// A cluster, and the extension server with the rights that metrics-server gets.
async fn world() -> World {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    let account = json!({"kind": "ServiceAccount", "name": "metrics-server", "namespace": "kube-system"});
    let group = "rbac.authorization.k8s.io";
    let delegator = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "metrics-server:system:auth-delegator"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:auth-delegator"}, "subjects": [account],
    });
    let reader = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "metrics-server-auth-reader"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "extension-apiserver-authentication-reader"}, "subjects": [account],
    });
    let bindings = format!("/apis/{group}/v1/clusterrolebindings");
    assert_eq!(admin.post(&bindings, &delegator).await.status, 201);
    let bindings = format!("/apis/{group}/v1/namespaces/kube-system/rolebindings");
    assert_eq!(admin.post(&bindings, &reader).await.status, 201);
    let user = "system:serviceaccount:kube-system:metrics-server";
    let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
    let client = cluster.client_as(user, &groups);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let trust = maps.get("extension-apiserver-authentication").await.unwrap().data.unwrap();
    let counts = Counts::default();
    let extension = Arc::new(Extension { client, counts: counts.clone() });
    let server = Outside::serve(
        &["metrics-server.kube-system.svc"],
        Some(&trust["requestheader-client-ca-file"]),
        move |request, shown| {
            let extension = extension.clone();
            Box::pin(async move { extension.answer(request, shown).await })
        },
    );
    World { cluster, admin, server: server.await, counts }
}

impl World {
    async fn register(&self) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics-server"},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 10250}]},
        });
        let answer = self.admin.post("/api/v1/namespaces/kube-system/services", &service).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
        let api_service = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "service": {"name": "metrics-server", "namespace": "kube-system"}, "group": "metrics.k8s.io", "version": "v1beta1",
                "caBundle": self.server.bundle(), "groupPriorityMinimum": 100, "versionPriority": 100,
            },
        });
        let answer = self.admin.post(SERVICES, &api_service).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
        assert_eq!(answer.json()["spec"]["service"]["port"], 443);
    }

    async fn add_endpoint(&self) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "metrics-server-1", "labels": {"kubernetes.io/service-name": "metrics-server"}},
            "endpoints": [{"addresses": [own_address().to_string()]}],
            "ports": [{"name": "https", "port": self.server.address.port(), "protocol": "TCP"}],
        });
        let url = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices";
        let answer = self.admin.post(url, &slice).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
    }

    /// Waits until the API service's condition has this reason.
    async fn reason(&self, wanted: &str) -> Value {
        let mut seen = Value::Null;
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let condition = self.admin.get(OURS).await.json()["status"]["conditions"][0].clone();
                if condition["reason"] == wanted {
                    return condition;
                }
                seen = condition;
                tokio::task::yield_now().await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{wanted} was not seen, but {seen}"))
    }

    async fn ready(&self) {
        self.register().await;
        self.add_endpoint().await;
        self.reason("Passed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_server_answers_for_its_group() {
    let world = world().await;
    world.ready().await;
    let answer = world.admin.get(NODES).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["items"][0]["metadata"]["name"]), (200, &"n1".into()));
    // Who asks is told; what proves it to us is not.
    let mut ada = UserInfo::new("ada", ["system:authenticated", "dev"]);
    ada.extra.insert("scope".to_owned(), vec!["a".to_owned()]);
    let reader = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "who"},
        "rules": [{"apiGroups": ["metrics.k8s.io"], "resources": ["who"], "verbs": ["*"]}],
    });
    world.admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &reader).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "who"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "who"}, "subjects": [{"kind": "User", "name": "ada", "apiGroup": "rbac.authorization.k8s.io"}],
    });
    world.admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    let ada = Client::of(&world.cluster, ada);
    let headers = [("authorization", "Bearer secret"), ("x-remote-user", "root"), ("x-remote-group", "system:masters")];
    let who = ada.send("GET", "/apis/metrics.k8s.io/v1beta1/who", &headers, "").await.json();
    assert_eq!(
        who,
        json!({"user": "ada", "groups": ["system:authenticated", "dev"], "authorization": false, "extra": "a"})
    );
    // This server says no before the other is asked.
    let before = world.counts.of(NODES);
    assert_eq!(ada.get(NODES).await.status, 403);
    assert_eq!(world.counts.of(NODES), before);
    let local = world.admin.get(&format!("{SERVICES}/v1.apps")).await.json();
    assert_eq!(local["status"]["conditions"][0]["reason"], "Local");
}

/// What it says of itself is merged into v2; v3 is made of it, because it has none.
#[tokio::test(flavor = "multi_thread")]
async fn an_extension_servers_openapi_is_told() {
    let world = world().await;
    world.ready().await;
    let v2 = world.admin.get("/openapi/v2").await.json();
    assert_eq!(v2["paths"][NODES]["get"]["operationId"], "listNodes");
    assert_eq!(v2["paths"]["/version/"]["get"]["operationId"], "getCodeVersion");
    let list = &v2["definitions"]["v1beta1.NodeMetricsList"];
    let other = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta_v2";
    assert_eq!(list["properties"]["metadata"]["$ref"], format!("#/definitions/{other}"));
    assert_eq!(v2["definitions"][other]["description"], "Of another time.");
    assert_eq!(v2["definitions"].get("Unused"), None);
    let index = world.admin.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/metrics.k8s.io/v1beta1"]["serverRelativeURL"].as_str().unwrap();
    let answer = world.admin.get(url).await;
    assert_eq!(answer.headers["cache-control"], "public, immutable");
    let v3 = answer.json();
    let schema = &v3["paths"][NODES]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(schema["$ref"], "#/components/schemas/v1beta1.NodeMetricsList");
    assert_eq!(v3["components"]["schemas"]["v1beta1.NodeMetricsList"]["description"], "Nodes.");
}

#[tokio::test(flavor = "multi_thread")]
async fn availability_follows_service_and_endpoints() {
    let world = world().await;
    world.register().await;
    let condition = world.reason("EndpointsNotFound").await;
    assert_eq!(condition["message"], "cannot find endpointslices for service/metrics-server in \"kube-system\"");
    let answer = world.admin.get(NODES).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (503, b"service unavailable\n".as_slice()));
    world.add_endpoint().await;
    world.reason("Passed").await;
    assert_eq!(world.admin.get(NODES).await.status, 200);
    let slices = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/metrics-server-1";
    assert_eq!(world.admin.send("DELETE", slices, &[], "").await.status, 200);
    world.reason("EndpointsNotFound").await;
    assert_eq!(world.admin.get(NODES).await.status, 503);
    world.admin.send("DELETE", "/api/v1/namespaces/kube-system/services/metrics-server", &[], "").await;
    let condition = world.reason("ServiceNotFound").await;
    assert_eq!(condition["message"], "service/metrics-server in \"kube-system\" is not present");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_trusted_is_not_available() {
    let world = world().await;
    world.register().await;
    let merge = ("content-type", "application/merge-patch+json");
    let answer = world.admin.send("PATCH", OURS, &[merge], r#"{"spec":{"caBundle":null}}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.message());
    world.add_endpoint().await;
    let condition = world.reason("FailedDiscoveryCheck").await;
    let message = condition["message"].as_str().unwrap();
    assert!(message.contains("x509: certificate signed by unknown authority"), "{message}");
    let answer = world.admin.send("PATCH", OURS, &[merge], r#"{"spec":{"insecureSkipTLSVerify":true}}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.message());
    world.reason("Passed").await;
}

/// The backend's redirect would lead clients away with what they send.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_of_an_extension_server_are_refused() {
    let world = world().await;
    world.ready().await;
    let answer = world.admin.get("/apis/metrics.k8s.io/v1beta1/away").await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.body, "the backend attempted to redirect this request, which is not permitted");
    assert!(!answer.headers.contains_key(header::LOCATION));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_server_serves_is_registered_and_stays_so() {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    let list = admin.get(SERVICES).await.json();
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    for name in [
        "v1.",
        "v1.apps",
        "v2.autoscaling",
        "v1.autoscaling",
        "v1.rbac.authorization.k8s.io",
        "v1.apiextensions.k8s.io",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(!names.contains(&"v1.apiregistration.k8s.io"));
    let core = admin.get(&format!("{SERVICES}/v1.")).await.json();
    assert_eq!(core["spec"], json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}));
    assert_eq!(core["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    let map = admin.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await.json();
    assert_eq!(map["data"]["requestheader-group-headers"], "[\"X-Remote-Group\"]");
    assert!(map["data"]["client-ca-file"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_go_through() {
    let world = world().await;
    world.ready().await;
    let kubeconfig = world.cluster.https_client().await.unwrap();
    let request = Request::get("/apis/metrics.k8s.io/v1beta1/echo")
        .header("connection", "Upgrade")
        .header("upgrade", "echo")
        .body(kube::client::Body::empty())
        .unwrap();
    let mut answer = kubeconfig.send(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
}

/// As its users see it.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_it() {
    const KUBECTL: &str = "/usr/lib/google-cloud-sdk/bin/kubectl.1.33";
    if !std::path::Path::new(KUBECTL).exists() {
        return;
    }
    let world = world().await;
    world.ready().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    assert_eq!(world.admin.post("/api/v1/nodes", &node).await.status, 201);
    let merge = ("content-type", "application/merge-patch+json");
    let status = r#"{"status":{"allocatable":{"cpu":"1","memory":"1Gi"},"capacity":{"cpu":"1","memory":"1Gi"}}}"#;
    assert_eq!(world.admin.send("PATCH", "/api/v1/nodes/n1/status", &[merge], status).await.status, 200);
    let kubeconfig = world.cluster.write_kubeconfig().unwrap();
    let kubectl = async |arguments: &[&str]| {
        let mut command = Command::new(KUBECTL);
        command.arg("--kubeconfig").arg(&kubeconfig).args(arguments).env("HOME", world.cluster.directory());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        out.into_owned()
    };
    assert!(kubectl(&["get", "--raw", NODES]).await.contains("NodeMetricsList"));
    let services = kubectl(&["get", "apiservices"]).await;
    let line = services.lines().find(|line| line.starts_with("v1beta1.metrics.k8s.io")).unwrap().to_owned();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(&words[1..3], ["kube-system/metrics-server", "True"]);
    let resources = kubectl(&["api-resources", "--api-group=metrics.k8s.io"]).await;
    assert!(resources.contains("metrics.k8s.io/v1beta1") && resources.contains("NodeMetrics"), "{resources}");
    let top = kubectl(&["top", "nodes"]).await;
    let words: Vec<Vec<&str>> = top.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[1], ["n1", "250m", "25%", "512Mi", "50%"], "{top}");
}
