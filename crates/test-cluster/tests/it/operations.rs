//! What operators and monitoring ask: health, metrics, priority and fairness, audit, time limits.

use std::time::Duration;

use apiserver::{
    ServerOptions,
    options::{AuditOptions, Rotation},
};
use registry::UserInfo;
use serde_json::{Value, json};
use test_cluster::{Options, TestCluster};

use crate::http::Client;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A streaming list that ends with it.
const LISTING: &str =
    "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";

async fn with(server: ServerOptions) -> TestCluster {
    TestCluster::start_with(Options { server, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn every_health_check_can_be_asked_alone() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    for endpoint in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(client.get(endpoint).await.body, "ok");
        let verbose = client.get(&format!("{endpoint}?verbose")).await;
        let text = String::from_utf8(verbose.body.to_vec()).unwrap();
        let name = endpoint.trim_start_matches('/');
        assert!(text.contains("[+]ping ok\n") && text.ends_with(&format!("{name} check passed\n")), "{text}");
        // What upstream's suite wants to see, of each kind one.
        for check in ["start-apiextensions-informers", "bootstrap-controller", "rbac/bootstrap-roles"] {
            assert!(text.contains(&format!("[+]poststarthook/{check} ok\n")), "{text}");
        }
        assert!(text.contains("[+]autoregister-completion ok\n"), "{text}");
        for line in text.lines().filter_map(|line| line.strip_prefix("[+]")) {
            let check = line.strip_suffix(" ok").unwrap();
            assert_eq!(client.get(&format!("{endpoint}/{check}")).await.body, "ok", "{check}");
        }
        assert_eq!(client.get(&format!("{endpoint}/nonsense")).await.status, 404);
    }
    cluster.server().begin_leaving();
    let leaving = client.get("/readyz").await;
    assert_eq!(leaving.status, 500);
    assert!(String::from_utf8_lossy(&leaving.body).contains("[-]shutdown failed: reason withheld\n"));
    let excluded = client.get("/readyz?verbose&exclude=shutdown&exclude=nonsense").await;
    assert_eq!(excluded.status, 200);
    let text = String::from_utf8_lossy(&excluded.body).into_owned();
    assert!(
        text.contains(
            "[+]shutdown excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"nonsense\"\n"
        ),
        "{text}"
    );
    assert_eq!(client.get("/livez").await.status, 200);
}

#[tokio::test]
async fn metrics_have_the_names_that_dashboards_know() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    client.post(MAPS, &json!({"metadata": {"name": "m"}})).await;
    client.get(MAPS).await;
    client.get(&format!("{MAPS}/none")).await;
    client.get("/api/v1/namespaces/default/endpoints").await;
    client.get("/readyz").await;
    let list = client.open("GET", &format!("{MAPS}?{LISTING}"), &[], "").await;
    http_body_util::BodyExt::collect(list.into_body()).await.unwrap();
    Client::nobody(&cluster).get("/version").await;
    let watch = client.open("GET", &format!("{MAPS}?watch=1"), &[], "").await;
    // The server has some of its own.
    let maps = client.get("/api/v1/configmaps").await.json()["items"].as_array().unwrap().len();
    let stored = format!("apiserver_storage_objects{{resource=\"configmaps\"}} {maps}\n");
    let answer = client.get("/metrics").await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for line in [
        "# TYPE apiserver_request_total counter",
        "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} 1",
        "apiserver_request_total{code=\"404\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\"} 1",
        "apiserver_request_duration_seconds_bucket{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\",le=\"60\"} 1",
        "# HELP apiserver_response_sizes [STABLE]",
        "apiserver_longrunning_requests{component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"WATCH\",version=\"v1\"} 1",
        "apiserver_current_inflight_requests{request_kind=\"mutating\"} 0",
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1",
        &stored,
        "apiserver_flowcontrol_dispatched_requests_total{priority_level=",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"catch-all\"}",
        "apiserver_admission_step_admission_duration_seconds_bucket{operation=\"CREATE\",rejected=\"false\",type=\"admit\",",
        "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"} 1",
        "apiserver_flowcontrol_current_executing_seats{priority_level=",
        "apiserver_watch_list_duration_seconds_count{group=\"\",resource=\"configmaps\",scope=\"namespace\",version=\"v1\"} 1",
        "apiserver_resource_objects{group=\"apps\",resource=\"deployments\"} 0",
        "authentication_attempts{result=\"success\"}",
        "authorization_duration_seconds_bucket{result=\"allowed\",",
        "kubernetes_feature_enabled{name=\"WatchList\",stage=\"BETA\"} 1",
        "kubernetes_build_info{",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    drop(watch);
    let slis = String::from_utf8(client.get("/metrics/slis").await.body.to_vec()).unwrap();
    for line in [
        "# TYPE kubernetes_healthcheck gauge",
        "kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1",
        "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"readyz\"} 1",
    ] {
        assert!(slis.contains(line), "{line} is not in\n{slis}");
    }
    assert_eq!(Client::nobody(&cluster).get("/metrics/slis").await.status, 403);
}

#[tokio::test]
async fn answers_name_their_priority_level_and_their_audit_id() {
    let cluster = TestCluster::start().await.unwrap();
    let nobody = Client::nobody(&cluster);
    let answer = nobody.send("GET", "/version", &[("audit-id", "mine")], "").await;
    assert!(answer.headers.contains_key("x-kubernetes-pf-flowschema-uid"));
    assert!(answer.headers.contains_key("x-kubernetes-pf-prioritylevel-uid"));
    assert_eq!(answer.headers["audit-id"], "mine");
    assert_eq!(nobody.get("/version").await.headers["audit-id"].len(), 36);
    let dump = Client::admin(&cluster).get("/debug/api_priority_and_fairness/dump_priority_levels").await;
    let text = String::from_utf8(dump.body.to_vec()).unwrap();
    assert!(
        text.starts_with("PriorityLevelName,") && text.contains("\ncatch-all,") && text.contains("\nexempt,"),
        "{text}"
    );
    assert_eq!(nobody.get("/debug/api_priority_and_fairness/dump_queues").await.status, 403);
}

#[tokio::test]
async fn flow_control_follows_its_objects() {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let schema = json!({
        "metadata": {"name": "mine"},
        "spec": {
            "matchingPrecedence": 5, "priorityLevelConfiguration": {"name": "mine"},
            "rules": [{
                "subjects": [{"kind": "Group", "group": {"name": "system:unauthenticated"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }],
        },
    });
    let created = admin.post(&format!("{GROUP}/flowschemas"), &schema).await;
    assert_eq!(created.status, 201, "{}", created.json());
    let condition = || async {
        let schema = admin.get(&format!("{GROUP}/flowschemas/mine")).await.json();
        schema["status"]["conditions"][0]["status"].as_str().unwrap_or_default().to_owned()
    };
    wait_until(|| async { condition().await == "True" }).await;
    let level = json!({
        "metadata": {"name": "mine"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 10, "limitResponse": {"type": "Reject"}}},
    });
    let created = admin.post(&format!("{GROUP}/prioritylevelconfigurations"), &level).await;
    assert_eq!(created.status, 201, "{}", created.json());
    wait_until(|| async { condition().await == "False" }).await;
    let uid = |value: Value| value["metadata"]["uid"].as_str().unwrap().to_owned();
    let schema_uid = uid(admin.get(&format!("{GROUP}/flowschemas/mine")).await.json());
    let answer = Client::nobody(&cluster).get("/version").await;
    assert_eq!(answer.headers["x-kubernetes-pf-flowschema-uid"], schema_uid);
    assert_eq!(answer.headers["x-kubernetes-pf-prioritylevel-uid"], uid(created.json()));
}

async fn wait_until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never came");
}

#[tokio::test]
async fn audit_tells_who_did_what() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    std::fs::write(
        &policy,
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {level: None, users: ['system:apiserver']}\n- {level: RequestResponse, verbs: [create, get, delete, list], resources: [{group: '', resources: [configmaps, secrets]}]}\n- {level: Metadata}\n",
    )
    .unwrap();
    let log = directory.path().join("audit.log");
    let audit = AuditOptions {
        policy_file: Some(policy),
        log_path: Some(log.to_str().unwrap().to_owned()),
        log_rotation: Rotation::default(),
        ..AuditOptions::default()
    };
    let cluster = with(ServerOptions { audit, ..ServerOptions::default() }).await;
    let client = Client::admin(&cluster);
    client.post(MAPS, &json!({"metadata": {"name": "m"}, "data": {"k": "v"}})).await;
    client
        .post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}, "stringData": {"k": "hidden"}}))
        .await;
    client.send("GET", MAPS, &[("accept", "application/vnd.kubernetes.protobuf")], "").await;
    let user = Client::of(&cluster, UserInfo::new("jane", ["g"]));
    user.send("DELETE", &format!("{MAPS}/m"), &[("user-agent", "test/1")], "").await;
    let as_jane = [("impersonate-user", "joe")];
    client.send("GET", &format!("{MAPS}/m"), &as_jane, "").await;
    client.open("GET", &format!("{MAPS}?watch=1&timeoutSeconds=1"), &[], "").await;

    let text = std::fs::read_to_string(&log).unwrap();
    assert!(!text.contains("hidden") && !text.contains("aGlkZGVu"), "{text}");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |verb: &str, resource: &str, stage: &str| {
        events
            .iter()
            .find(|event| {
                event["verb"] == verb && event["objectRef"]["resource"] == resource && event["stage"] == stage
            })
            .unwrap_or_else(|| panic!("no {verb} {resource} {stage} in {text}"))
    };
    let created = find("create", "configmaps", "ResponseComplete");
    assert_eq!((&created["user"]["username"], &created["responseStatus"]["code"]), (&json!("admin"), &json!(201)));
    assert_eq!(created["requestObject"]["data"]["k"], "v");
    assert!(created["responseObject"]["metadata"]["uid"].is_string());
    assert_eq!(created["annotations"]["authorization.k8s.io/decision"], "allow");
    let listed = find("list", "configmaps", "ResponseComplete");
    assert_eq!(listed["responseObject"]["items"][0]["metadata"]["name"], "m");
    let refused = find("delete", "configmaps", "ResponseComplete");
    assert_eq!(
        (&refused["user"]["username"], &refused["responseStatus"]["reason"]),
        (&json!("jane"), &json!("Forbidden"))
    );
    assert_eq!(
        (&refused["annotations"]["authorization.k8s.io/decision"], &refused["userAgent"]),
        (&json!("forbid"), &json!("test/1"))
    );
    let impersonated = find("get", "configmaps", "ResponseComplete");
    assert_eq!(
        (&impersonated["user"]["username"], &impersonated["impersonatedUser"]["username"]),
        (&json!("admin"), &json!("joe"))
    );
    let watched = find("watch", "configmaps", "ResponseStarted");
    assert_eq!(watched["responseStatus"]["code"], 200);
    assert!(find("create", "secrets", "ResponseComplete").get("requestObject").is_none());
}

#[tokio::test]
async fn requests_have_a_time_and_may_ask_for_less() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let wrong = client.get(&format!("{MAPS}?timeout=soon")).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.message()),
        (400, "invalid timeout specified in the request URL - time: invalid duration \"soon\"".to_owned())
    );
    assert_eq!(client.get(&format!("{MAPS}?timeout=32s")).await.status, 200);
    // A body that never comes.
    let pending = futures::stream::pending::<Result<hyper::body::Frame<bytes::Bytes>, apiserver::BoxError>>();
    let body = http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(pending));
    let request = ::http::Request::builder().method("POST").uri(format!("{MAPS}?timeout=50ms"));
    let request = request.header("content-type", "application/json").body(body).unwrap();
    let peer = apiserver::Peer::inside(UserInfo::new("admin", [UserInfo::MASTERS_GROUP]));
    let late = cluster.server().handle(request, peer).await;
    assert_eq!(late.status(), 504);
}

#[tokio::test]
async fn versions_are_kept_to() {
    let cluster = TestCluster::start().await.unwrap();
    let client = &Client::admin(&cluster);
    for name in ["a", "b", "c"] {
        client.post(MAPS, &json!({"metadata": {"name": name}})).await;
    }
    let first = client.get(&format!("{MAPS}?limit=1")).await.json();
    let version = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    assert_eq!((first["items"].as_array().unwrap().len(), &first["metadata"]["remainingItemCount"]), (1, &json!(2)));
    client.post(MAPS, &json!({"metadata": {"name": "d"}})).await;
    let count = |query: String| async move {
        let list = client.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(list.status, 200, "{query}: {}", list.message());
        list.json()["items"].as_array().unwrap().len()
    };
    assert_eq!(count("resourceVersion=0&limit=1".to_owned()).await, 4, "any version comes in one piece");
    assert_eq!(count(format!("resourceVersion={version}&resourceVersionMatch=Exact")).await, 3);
    assert_eq!(count(format!("resourceVersion={version}&resourceVersionMatch=NotOlderThan")).await, 4);
    assert_eq!(count(format!("resourceVersion={version}&limit=500")).await, 3, "a limit without a match is exact");
    let token = first["metadata"]["continue"].as_str().unwrap();
    assert_eq!(count(format!("continue={token}&limit=10")).await, 2, "pages are of one version");

    let future = cluster.server().registry().store().revision().0 + 1_000;
    for query in [format!("{MAPS}?resourceVersion={future}"), format!("{MAPS}/a?resourceVersion={future}")] {
        let refused = client.get(&query).await;
        assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (504, &"1".parse().unwrap()));
        let status = refused.json();
        assert!(
            status["message"]
                .as_str()
                .unwrap()
                .starts_with(&format!("Timeout: Too large resource version: {future}, current: "))
        );
        assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
        assert_eq!(status["details"]["retryAfterSeconds"], 1);
    }
    // Not yet there, but soon.
    let next = cluster.server().registry().store().revision().0 + 1;
    let url = format!("{MAPS}?resourceVersion={next}");
    let waiting = client.get(&url);
    futures::pin_mut!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    client.post(MAPS, &json!({"metadata": {"name": "e"}})).await;
    assert_eq!(waiting.await.json()["items"].as_array().unwrap().len(), 5);

    for (query, field) in [
        ("watch=1&sendInitialEvents=true", "resourceVersionMatch"),
        ("watch=1&resourceVersionMatch=NotOlderThan", "resourceVersionMatch"),
        ("resourceVersionMatch=Exact", "resourceVersionMatch"),
        ("resourceVersion=0&resourceVersionMatch=Exact", "resourceVersionMatch"),
        ("sendInitialEvents=true", "sendInitialEvents"),
    ] {
        let refused = client.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(refused.status, 422, "{query}");
        assert_eq!(refused.json()["details"]["causes"][0]["field"], field, "{query}");
    }
}

#[tokio::test]
async fn people_get_indented_json_and_flags_can_be_seen() {
    let flags = vec![("secure-port".to_owned(), "6443".to_owned())];
    let cluster = with(ServerOptions { flags, ..ServerOptions::default() }).await;
    let client = Client::admin(&cluster);
    let text = |answer: crate::http::Answer| String::from_utf8(answer.body.to_vec()).unwrap();
    let by_curl = client.send("GET", "/api/v1/namespaces/default", &[("user-agent", "curl/8")], "").await;
    assert!(text(by_curl).starts_with("{\n  \"apiVersion\""));
    let plain = client.send("GET", "/api/v1/namespaces/default?pretty=false", &[("user-agent", "curl/8")], "").await;
    assert!(text(plain).starts_with("{\"apiVersion\""));
    assert!(text(client.get("/flagz").await).contains("\nsecure-port=6443\n"));
    assert!(text(client.get("/statusz").await).contains("Binary version: v1.36.0"));
    let accept = |kind: &str| format!("application/json;as={kind};v=v1beta1;g=config.k8s.io, text/plain;q=0.1");
    let page = async |path: &str, kind: &str| client.send("GET", path, &[("accept", &accept(kind))], "").await.json();
    let status = page("/statusz", "Statusz").await;
    assert_eq!((&status["apiVersion"], &status["kind"]), (&json!("config.k8s.io/v1beta1"), &json!("Statusz")));
    assert_eq!((&status["binaryVersion"], &status["emulationVersion"]), (&json!("1.36"), &json!("1.36")));
    assert_eq!(page("/flagz", "Flagz").await["flags"], json!({"secure-port": "6443"}));
    assert_eq!(client.send("GET", "/flagz", &[("accept", "application/json")], "").await.status, 406);
    let version = client.get("/version").await.json();
    assert_eq!((&version["emulationMinor"], &version["minCompatibilityMinor"]), (&json!("36"), &json!("35")));
    assert!(text(client.get("/debug/pprof/threads").await).starts_with("tid\t"));
    let unacceptable = client.send("GET", "/api/v1/namespaces", &[("accept", "text/html")], "").await;
    assert_eq!(unacceptable.status, 406);
    assert!(text(unacceptable).starts_with("{\n"), "what cannot be had is said in indented JSON");
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(client.send("POST", MAPS, &packed, "x").await.status, 415);
}

#[tokio::test]
async fn who_comes_at_the_end_is_told_to_come_again() {
    let cluster = with(ServerOptions { shutdown_send_retry_after: true, ..ServerOptions::default() }).await;
    let nobody = Client::nobody(&cluster);
    assert_eq!(nobody.get("/version").await.status, 200);
    cluster.server().begin_shutdown();
    let refused = nobody.get("/version").await;
    assert_eq!((refused.status.as_u16(), refused.headers["retry-after"].to_str().unwrap()), (429, "5"));
    assert_eq!(refused.headers["connection"], "close");
    assert_eq!(refused.body, "The apiserver is shutting down, please try again later.\n");
    // Those who look after the server, and its own parts, are answered to the end.
    assert_eq!(nobody.get("/livez").await.status, 200);
    assert_eq!(Client::admin(&cluster).get(MAPS).await.status, 200);
}
