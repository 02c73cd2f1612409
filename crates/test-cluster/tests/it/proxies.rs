//! The proxy subresources of pods and Services, against a server on the machine's own address. The behaviours are those
//! of upstream's `test/e2e/network/proxy.go`.

use ::http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::{
    http::Client,
    outside::{Outside, own_address},
};

const POD: &str = "/api/v1/namespaces/default/pods";
const SERVICE: &str = "/api/v1/namespaces/default/services";

async fn backend(request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path().to_owned();
    let mut answer = Response::new(Full::default());
    match path.as_str() {
        "/page" => {
            answer.headers_mut().insert(header::CONTENT_TYPE, "text/html; charset=utf-8".parse().unwrap());
            *answer.body_mut() = Full::from("<a href=\"/next\">next</a>");
        }
        "/away" => {
            *answer.status_mut() = StatusCode::FOUND;
            answer.headers_mut().insert(header::LOCATION, "/next?x=1".parse().unwrap());
        }
        _ => {
            let text = |name: &str| {
                parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
            };
            let told = json!({
                "method": parts.method.as_str(), "uri": parts.uri.to_string(), "body": String::from_utf8_lossy(&body),
                "authorization": text("authorization"), "forwarded": text("x-forwarded-uri"), "own": text("x-own"),
            });
            *answer.body_mut() = Full::from(told.to_string());
        }
    }
    answer
}

struct World {
    _cluster: TestCluster,
    client: Client,
    port: u16,
    _backend: Outside,
}

async fn world() -> World {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let backend = Outside::serve(&["backend"], None, |request, _| Box::pin(backend(request))).await;
    let port = backend.address.port();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    client.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let world = World { _cluster: cluster, client, port, _backend: backend };
    world.pod("p", &own_address().to_string()).await;
    world
}

impl World {
    async fn pod(&self, name: &str, address: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": self.port}]}]},
        });
        let answer = self.client.post(POD, &pod).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
        let merge = ("content-type", "application/merge-patch+json");
        let url = format!("{POD}/{name}/status");
        let answer = self.client.send("PATCH", &url, &[merge], status.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.message());
    }

    async fn service(&self, name: &str, target: Value) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"name": "web", "port": 443}]},
        });
        let answer = self.client.post(SERVICE, &service).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [own_address().to_string()], "targetRef": target}],
            "ports": [{"name": "web", "port": self.port, "protocol": "TCP"}],
        });
        let answer = self.client.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
    }
}

#[tokio::test]
async fn every_method_and_path_reaches_a_pod() {
    let world = world().await;
    let url = format!("{POD}/https:p:{}/proxy", world.port);
    let headers = [("authorization", "Bearer secret"), ("x-own", "kept")];
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = world.client.send(method, &format!("{url}/a/b%20c/?q=1&r=%2F"), &headers, "body").await;
        assert_eq!(answer.status, 200, "{method}: {}", String::from_utf8_lossy(&answer.body));
        let expected = json!({
            "method": method, "uri": "/a/b%20c/?q=1&r=%2F", "body": "body", "authorization": "",
            "forwarded": format!("{url}/a/b%20c/"), "own": "kept",
        });
        assert_eq!(answer.json(), expected);
    }
    assert_eq!(world.client.send("HEAD", &format!("{url}/x"), &[], "").await.status, 200);
    // No step leads out of the backend's paths.
    let answer = world.client.get(&format!("{url}/a/../../../b")).await;
    assert_eq!(answer.json()["uri"], "/b");
    let answer = world.client.get(&url).await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers["location"].to_str().unwrap()),
        (301, format!("{url}/").as_str())
    );
}

#[tokio::test]
async fn links_and_redirects_lead_through_the_proxy() {
    let world = world().await;
    let url = format!("{POD}/https:p:{}/proxy", world.port);
    let answer = world.client.get(&format!("{url}/away")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers["location"].to_str().unwrap()),
        (302, format!("{url}/next?x=1").as_str())
    );
    let answer = world.client.get(&format!("{url}/page")).await;
    assert_eq!(answer.body, format!("<a href=\"{url}/next\">next</a>"));
}

#[tokio::test]
async fn a_service_leads_to_its_pods_and_to_nobody_else() {
    let world = world().await;
    world.service("good", json!({"kind": "Pod", "name": "p", "namespace": "default"})).await;
    for name in ["https:good:web", "https:good:443"] {
        let answer = world.client.get(&format!("{SERVICE}/{name}/proxy/x")).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["uri"]), (200, &"/x".into()), "{name}");
    }
    let answer = world.client.get(&format!("{SERVICE}/https:good:80/proxy/x")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.message()),
        (503, "no service port 80 found for service \"good\"".to_owned())
    );
    // CVE-2021-25740: endpoints that are no pod's own.
    world.service("bad", json!({"kind": "Node", "name": "n"})).await;
    let answer = world.client.get(&format!("{SERVICE}/https:bad:web/proxy/x")).await;
    let expected = "no endpoints available for service \"https:bad:web\"";
    assert_eq!((answer.status.as_u16(), answer.message()), (503, expected.to_owned()));
}

/// CVE-2020-8562: the server's own addresses are nobody's pods.
#[tokio::test]
async fn what_only_the_server_reaches_is_refused() {
    let world = world().await;
    for (index, address) in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "224.0.0.1"].iter().enumerate() {
        let name = format!("own{index}");
        world.pod(&name, address).await;
        let answer = world.client.get(&format!("{POD}/https:{name}:{}/proxy/x", world.port)).await;
        assert_eq!((answer.status.as_u16(), answer.message()), (400, "address not allowed".to_owned()), "{address}");
    }
    let answer = world.client.get(&format!("{POD}/ftp:p:1/proxy/x")).await;
    assert_eq!((answer.status.as_u16(), answer.message()), (400, "invalid pod request \"ftp:p:1\"".to_owned()));
    let answer = world.client.get(&format!("{POD}/p:1/proxy/x")).await;
    let why = format!("error trying to reach service: dial tcp {}:1: connect: connection refused", own_address());
    assert_eq!((answer.status.as_u16(), answer.message()), (503, why));
}
