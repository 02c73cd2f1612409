//! What is told of requests, end to end without a server.

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, Method};
use serde_json::json;

use super::*;

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitManagedFields: true\nrules:\n- level: None\n  nonResourceURLs: ['/healthz*']\n- level: RequestResponse\n";

fn open(options: AuditOptions) -> (Auditor, tempfile::TempDir, Supervisor) {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let log = directory.path().join("audit.log").to_str().unwrap().to_owned();
    let supervisor = Supervisor::new();
    let options = AuditOptions { policy_file: Some(policy), log_path: Some(log), ..options };
    (Auditor::open(&options, &supervisor).unwrap().unwrap(), directory, supervisor)
}

fn request(auditor: &Auditor, method: Method, path: &str, body: &Value) -> Option<()> {
    let uri: http::Uri = path.parse().unwrap();
    let info = RequestInfo::parse(&method, uri.path(), &[]).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", "192.0.2.7, junk".parse().unwrap());
    let user = Arc::new(UserInfo::new("a", ["g"]));
    let arrival =
        Arrival { info: &info, user: &user, uri: &uri, headers: &headers, address: Some([127, 0, 0, 1].into()) };
    let mut record = auditor.begin(&arrival, "the-id".to_owned())?;
    record.received().now_or_never().unwrap().unwrap();
    let body = Bytes::from(body.to_string());
    record.trail.set_request(&body);
    record.trail.set_response(&body);
    record.trail.annotate("authorization.k8s.io/decision", "allow");
    record.answered(201, None);
    Some(())
}

fn lines(directory: &tempfile::TempDir) -> Vec<Value> {
    let text = std::fs::read_to_string(directory.path().join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_request_is_told_of_when_it_comes_and_when_it_ends() {
    let (auditor, directory, _supervisor) = open(AuditOptions::default());
    let map = json!({"kind": "ConfigMap", "metadata": {"name": "m", "managedFields": [{}]}, "data": {"k": "v"}});
    request(&auditor, Method::POST, "/api/v1/namespaces/n/configmaps?dryRun=All", &map).unwrap();
    assert!(request(&auditor, Method::GET, "/healthz", &json!({})).is_none());
    let events = lines(&directory);
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["stage"], &events[1]["stage"]), (&json!("RequestReceived"), &json!("ResponseComplete")));
    assert!(events[0].get("requestObject").is_none() && events[0].get("responseStatus").is_none());
    let last = &events[1];
    assert_eq!(last["objectRef"], json!({"resource": "configmaps", "namespace": "n", "name": "m", "apiVersion": "v1"}));
    assert_eq!(last["requestObject"], json!({"kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}}));
    assert_eq!(last["responseObject"], last["requestObject"]);
    assert_eq!(last["annotations"], json!({"authorization.k8s.io/decision": "allow"}));
    assert_eq!((&last["auditID"], &last["sourceIPs"]), (&json!("the-id"), &json!(["192.0.2.7", "127.0.0.1"])));
    assert_eq!(
        (&last["requestURI"], &last["verb"]),
        (&json!("/api/v1/namespaces/n/configmaps?dryRun=All"), &json!("create"))
    );
    assert_eq!(last["responseStatus"], json!({"metadata": {}, "code": 201}));
}

#[test]
fn secrets_and_tokens_are_never_told() {
    let (auditor, directory, _supervisor) = open(AuditOptions::default());
    let secret = json!({"metadata": {"name": "s"}, "data": {"k": "aGlkZGVu"}, "spec": {"token": "hidden"}});
    for path in [
        "/api/v1/namespaces/n/secrets",
        "/api/v1/namespaces/n/serviceaccounts/a/token",
        "/apis/authentication.k8s.io/v1/tokenreviews",
    ] {
        request(&auditor, Method::POST, path, &secret).unwrap();
    }
    let text = std::fs::read_to_string(directory.path().join("audit.log")).unwrap();
    assert_eq!(text.lines().count(), 6);
    assert!(!text.contains("hidden") && !text.contains("aGlkZGVu"), "{text}");
    assert_eq!(lines(&directory)[1]["objectRef"]["name"], "s");
}

#[test]
fn events_that_are_too_large_lose_their_bodies() {
    let (auditor, directory, _supervisor) = open(AuditOptions {
        log_truncation: Some(Truncation { event: 2_000, batch: 1 << 20 }),
        ..AuditOptions::default()
    });
    let map = json!({"data": {"k": "v".repeat(3_000)}});
    request(&auditor, Method::POST, "/api/v1/namespaces/n/configmaps", &map).unwrap();
    let last = lines(&directory).pop().unwrap();
    assert_eq!(last["annotations"]["audit.k8s.io/truncated"], "true");
    assert!(last.get("requestObject").is_none());
}

#[test]
fn a_strict_log_that_cannot_be_written_refuses_requests() {
    let (auditor, directory, _supervisor) = open(AuditOptions {
        log_mode: Mode::BlockingStrict,
        log_rotation: Rotation { size: 1, ..Rotation::default() },
        ..AuditOptions::default()
    });
    request(&auditor, Method::GET, "/api/v1/pods", &json!({})).unwrap();
    // Rotation needs the directory, which has gone.
    drop(directory);
    let uri: http::Uri = "/api/v1/pods".parse().unwrap();
    let info = RequestInfo::parse(&Method::GET, uri.path(), &[]).unwrap();
    let (headers, user) = (HeaderMap::new(), Arc::new(UserInfo::anonymous()));
    let arrival = Arrival { info: &info, user: &user, uri: &uri, headers: &headers, address: None };
    let record = auditor.begin(&arrival, String::new()).unwrap();
    assert_eq!(record.received().now_or_never().unwrap().unwrap_err().code, 500);
}

#[tokio::test]
async fn events_go_out_together_and_none_is_lost_at_the_end() {
    let supervisor = Supervisor::new();
    let batches: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = batches.clone();
    let batching = Batching { buffer: 5, most: 3, longest: Duration::from_secs(600) };
    let sender = Sender::start(
        "test",
        &supervisor,
        batching,
        move |events| {
            seen.lock().unwrap().push(events.len());
            async { Ok(()) }
        },
        |_| {},
    );
    for index in 0..5 {
        assert!(sender.send(json!(index)));
    }
    assert!(!sender.send(json!("too many")));
    supervisor.shutdown().await;
    assert_eq!(batches.lock().unwrap().iter().sum::<usize>(), 5);
}
