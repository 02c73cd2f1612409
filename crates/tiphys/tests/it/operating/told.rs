//! Audit events to a webhook and spans to a collector, each a server of its own.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use super::{
    ask, ask_for_text,
    server::{Server, text},
    until,
};
use crate::cluster::Cluster;

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: None, nonResourceURLs: ['/livez*', '/readyz*']}\n- {level: RequestResponse, resources: [{group: '', resources: [configmaps]}]}\n- {level: Metadata}\n";

struct Told {
    events: Arc<Mutex<Vec<Value>>>,
    /// How many came together at most.
    most: Arc<Mutex<usize>>,
    refuses: Arc<AtomicBool>,
    server: Server,
}

impl Told {
    async fn start() -> Self {
        let (events, most, refuses) =
            (Arc::new(Mutex::new(Vec::new())), Arc::default(), Arc::new(AtomicBool::new(false)));
        let (log, largest, refused): (_, Arc<Mutex<usize>>, _) = (events.clone(), Arc::clone(&most), refuses.clone());
        let server = Server::https(move |_, _, body| {
            if refused.load(Ordering::SeqCst) {
                return (500, String::new());
            }
            let list: Value = serde_json::from_slice(body).unwrap();
            assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
            let items = list["items"].as_array().unwrap();
            let mut largest = largest.lock().unwrap();
            *largest = items.len().max(*largest);
            log.lock().unwrap().extend(items.iter().cloned());
            (200, String::new())
        })
        .await;
        Self { events, most, refuses, server }
    }

    fn about(&self, name: &str, stage: &str) -> Option<Value> {
        let events = self.events.lock().unwrap();
        events.iter().find(|event| event["objectRef"]["name"] == name && event["stage"] == stage).cloned()
    }
}

fn map(name: &str, size: usize) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "x".repeat(size)}})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_hears_of_requests_and_a_collector_of_their_times() {
    let told = Told::start().await;
    let spans = Arc::new(Mutex::new(Vec::<Value>::new()));
    let log = spans.clone();
    let collector = Server::http(move |path, headers, body| {
        assert_eq!((path, headers["content-type"].to_str().unwrap()), ("/v1/traces", "application/json"));
        let value: Value = serde_json::from_slice(body).unwrap();
        for resource in value["resourceSpans"].as_array().unwrap() {
            for scope in resource["scopeSpans"].as_array().unwrap() {
                log.lock().unwrap().extend(scope["spans"].as_array().unwrap().iter().cloned());
            }
        }
        (200, "{}".to_owned())
    })
    .await;
    let kubeconfig = told.server.kubeconfig("audit", "/audit", &json!({"token": "t"}));
    let policy = told.server.file("policy.yaml", POLICY);
    let tracing = told.server.file(
        "tracing.yaml",
        &format!("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: localhost:{}\nsamplingRatePerMillion: 1000000\n", collector.port),
    );
    let mut cluster = Cluster::control_plane();
    cluster.flags([
        format!("--audit-policy-file={}", text(&policy)),
        format!("--audit-webhook-config-file={}", text(&kubeconfig)),
        "--audit-webhook-batch-max-wait=200ms".to_owned(),
        "--audit-webhook-batch-max-size=50".to_owned(),
        "--audit-webhook-truncate-enabled".to_owned(),
        "--audit-webhook-truncate-max-event-size=20000".to_owned(),
        format!("--tracing-config-file={}", text(&tracing)),
    ]);
    cluster.start();
    let client = cluster.client().await;
    let (code, headers, _) = ask_for_text(&client, "POST", MAPS, Some(&map("small", 10))).await;
    assert_eq!(code, 201);
    let id = headers["audit-id"].to_str().unwrap().to_owned();
    assert_eq!(ask(&client, "POST", MAPS, Some(&map("large", 30_000))).await.0, 201);
    until("the webhook hears of both", || async {
        told.about("small", "ResponseComplete").is_some() && told.about("large", "ResponseComplete").is_some()
    })
    .await;
    let small = told.about("small", "ResponseComplete").unwrap();
    assert_eq!((&small["auditID"], &small["requestObject"]["data"]["k"]), (&json!(id), &json!("x".repeat(10))));
    assert_eq!(small["sourceIPs"], json!(["127.0.0.1"]));
    let large = told.about("large", "ResponseComplete").unwrap();
    assert_eq!((&large["annotations"]["audit.k8s.io/truncated"], large.get("requestObject")), (&json!("true"), None));
    let span_of = |id: &str| {
        let wanted = json!({"key": "audit-id", "value": {"stringValue": id}});
        let spans = spans.lock().unwrap();
        spans.iter().find(|span| span["attributes"].as_array().unwrap().contains(&wanted)).cloned()
    };
    until("the collector hears of it", || async { span_of(&id).is_some() }).await;
    let span = span_of(&id).unwrap();
    let number = |name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
    assert_eq!((&span["name"], &span["kind"]), (&json!("HTTP POST"), &json!(2)));
    assert!(number("startTimeUnixNano") < number("endTimeUnixNano"));

    // What is under way at the end is still told.
    assert_eq!(ask(&client, "POST", MAPS, Some(&map("last", 10))).await.0, 201);
    assert!(cluster.terminate().success());
    assert!(told.about("last", "ResponseComplete").is_some(), "the last event is told before the server ends");
    assert!(*told.most.lock().unwrap() > 1, "events are sent together");
    let unique: BTreeSet<String> =
        told.events.lock().unwrap().iter().map(|e| format!("{}{}", e["auditID"], e["stage"])).collect();
    assert_eq!(unique.len(), told.events.lock().unwrap().len(), "each is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_refused_where_that_is_wanted() {
    let told = Told::start().await;
    let kubeconfig = told.server.kubeconfig("audit", "/audit", &json!({}));
    let policy = told.server.file(
        "policy.yaml",
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Metadata, resources: [{group: '', resources: [configmaps]}], users: [kubernetes-admin]}\n",
    );
    let mut cluster = Cluster::control_plane();
    cluster.flags([
        format!("--audit-policy-file={}", text(&policy)),
        format!("--audit-webhook-config-file={}", text(&kubeconfig)),
        "--audit-webhook-mode=blocking-strict".to_owned(),
        "--audit-webhook-initial-backoff=1ms".to_owned(),
    ]);
    cluster.start();
    let client = cluster.client().await;
    assert_eq!(ask(&client, "POST", MAPS, Some(&map("a", 1))).await.0, 201);
    assert!(told.events.lock().unwrap().iter().any(|event| event["stage"] == "RequestReceived"), "before the answer");
    told.refuses.store(true, Ordering::SeqCst);
    let (code, status) = ask(&client, "POST", MAPS, Some(&map("b", 1))).await;
    assert_eq!(code, 500, "{status}");
    told.refuses.store(false, Ordering::SeqCst);
    assert_eq!(ask(&client, "GET", &format!("{MAPS}/b"), None).await.0, 404, "it was not written");
    assert_eq!(ask(&client, "POST", MAPS, Some(&map("b", 1))).await.0, 201);
}
