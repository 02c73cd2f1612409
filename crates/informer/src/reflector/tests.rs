//! What a cache asks a server, and what it makes of the answers.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use expect_test::{Expect, expect};
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::*;

/// Answers by a script, a request a line: `422`, `list NAME@REVISION … =REVISION`, or the events of a watch:
/// `+NAME@REVISION` (added), `~…` (modified), `-…` (deleted), `=REVISION` (end of the initial events), `^REVISION`
/// (bookmark), `410`, `bad` (an object that cannot be decoded), `close`. A watch without `close` stays open.
/// Expected: each request and what subscribers were told until then; at the end the cache.
async fn check(script: &str, expected: Expect) {
    let answers: VecDeque<String> = script.lines().map(str::to_owned).collect();
    let state = Arc::new(Mutex::new((answers, Vec::<String>::new())));
    let cache = Cache::<ConfigMap>::unfed();
    let changes = Arc::new(Mutex::new(cache.subscribe()));
    let (done, over) = tokio::sync::oneshot::channel::<()>();
    let done = Arc::new(Mutex::new(Some(done)));
    let service = tower::service_fn({
        let (state, changes) = (state.clone(), changes.clone());
        move |request: Request<kube::client::Body>| {
            let mut state = state.lock().unwrap();
            let told = told(&mut changes.lock().unwrap());
            if !told.is_empty() {
                state.1.push(told);
            }
            let answer = state.0.pop_front();
            if let Some(answer) = &answer {
                state.1.push(asked(&request));
                let _ = answer;
            } else if let Some(done) = done.lock().unwrap().take() {
                done.send(()).unwrap();
            }
            let response = respond(answer.as_deref());
            async move { Ok::<_, Infallible>(response) }
        }
    });
    let source = Source {
        path: "/api/v1/configmaps".into(),
        fields: String::new(),
        labels: String::new(),
        metadata_only: false,
    };
    let reflector = run(Client::new(service, "default"), source, cache.clone());
    let last = script.lines().last().unwrap_or_default().to_owned();
    tokio::select! {
        () = reflector => {}
        _ = over => {}
        // A script that ends in an open watch is over once its last object is there.
        () = cache.wait_until(|cache| !last.contains("close") && state.lock().unwrap().0.is_empty() && shown(cache).contains(last_revision(&last))) => {}
    }
    let mut lines = state.lock().unwrap().1.clone();
    lines.push(told(&mut changes.lock().unwrap()));
    lines.push(format!("cache {} at {}", shown(&cache), cache.revision()));
    lines.retain(|line| !line.is_empty());
    expected.assert_eq(&lines.join("\n"));
}

fn last_revision(line: &str) -> &str {
    line.split_whitespace().rev().find_map(|word| word.split_once('@')).map_or("", |(_, revision)| revision)
}

fn asked(request: &Request<kube::client::Body>) -> String {
    let query = request.uri().query().unwrap_or_default();
    let kept: Vec<_> =
        query.split('&').filter(|pair| !pair.starts_with("timeoutSeconds") && !pair.starts_with("allow")).collect();
    format!("> {}", kept.join("&"))
}

fn told(changes: &mut crate::Changes<ConfigMap>) -> String {
    let revision = |object: &Option<Arc<ConfigMap>>| {
        object.as_ref().and_then(|object| object.metadata.resource_version.clone()).unwrap_or("-".into())
    };
    let mut told: Vec<_> = std::iter::from_fn(|| changes.try_next())
        .map(|change| format!("{} {}->{}", change.key.name, revision(&change.old), revision(&change.new)))
        .collect();
    told.sort();
    told.join(", ")
}

fn shown(cache: &Cache<ConfigMap>) -> String {
    let one = |object: &Arc<ConfigMap>| {
        let meta = &object.metadata;
        assert!(meta.managed_fields.is_none(), "managed fields are not kept");
        format!("{}@{}", meta.name.as_deref().unwrap_or(""), meta.resource_version.as_deref().unwrap_or(""))
    };
    cache.list().iter().map(one).collect::<Vec<_>>().join(" ")
}

fn object(text: &str) -> Value {
    let (name, revision) = text.split_once('@').unwrap();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "uid": name,
        "resourceVersion": revision, "managedFields": [{"manager": "m", "operation": "Apply"}]}})
}

fn respond(answer: Option<&str>) -> Response<BoxBody<Bytes, std::io::Error>> {
    let words: Vec<_> = answer.unwrap_or("500").split_whitespace().collect();
    let whole = |code: u16, value: Value| {
        let body = http_body_util::Full::new(Bytes::from(value.to_string())).map_err(|never| match never {});
        Response::builder().status(code).body(BoxBody::new(body)).unwrap()
    };
    match words[0] {
        "422" => {
            return whole(
                422,
                json!({"kind": "Status", "code": 422, "reason": "Invalid", "message": "no", "status": "Failure"}),
            );
        }
        "500" => {
            return whole(
                500,
                json!({"kind": "Status", "code": 500, "reason": "InternalError", "message": "no", "status": "Failure"}),
            );
        }
        "list" => {
            let items: Vec<_> = words[1..words.len() - 1].iter().map(|text| object(text)).collect();
            let revision = words[words.len() - 1].trim_start_matches('=');
            return whole(
                200,
                json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": items}),
            );
        }
        _ => {}
    }
    let bookmark = |revision: &str, annotations: Value| {
        json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"resourceVersion": revision, "annotations": annotations}}})
    };
    let mut lines = String::new();
    let mut open = true;
    for word in words {
        let event = match word.split_at(1) {
            ("+", text) => json!({"type": "ADDED", "object": object(text)}),
            ("~", text) => json!({"type": "MODIFIED", "object": object(text)}),
            ("-", text) => json!({"type": "DELETED", "object": object(text)}),
            ("=", text) => bookmark(text, json!({"k8s.io/initial-events-end": "true"})),
            ("^", text) => bookmark(text, json!({})),
            ("c", _) => {
                open = false;
                continue;
            }
            ("b", _) => {
                json!({"type": "ADDED", "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 7}}})
            }
            _ => {
                json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old", "status": "Failure"}})
            }
        };
        lines.push_str(&format!("{event}\n"));
    }
    let first = futures::stream::iter([Ok(http_body::Frame::data(Bytes::from(lines)))]);
    let body = if open {
        BoxBody::new(StreamBody::new(futures::StreamExt::chain(first, futures::stream::pending())))
    } else {
        BoxBody::new(StreamBody::new(first))
    };
    Response::new(body)
}

#[tokio::test(start_paused = true)]
async fn the_list_is_streamed_and_the_watch_resumed() {
    check(
        "+a@1 +b@2 =5 ~a@6 close\n-b@7 ^9 close\n+c@10",
        expect![[r#"
        > &watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=
        a -->6, b -->2
        > &watch=true&resourceVersion=6
        b 2->-
        > &watch=true&resourceVersion=9
        c -->10
        cache a@6 c@10 at 10"#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn too_old_a_revision_is_listed_again_by_difference() {
    check(
        "+a@1 +b@2 +c@3 =3 close\n410\n+a@1 +b@8 =9 +d@10",
        expect![[r#"
        > &watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=
        a -->1, b -->2, c -->3
        > &watch=true&resourceVersion=3
        > &watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=
        b 2->8, c 3->-, d -->10
        cache a@1 b@8 d@10 at 10"#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streaming_is_listed() {
    check(
        "422\nlist a@1 b@2 =4\n~a@5 close\n+c@6",
        expect![[r#"
        > &watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=
        > &limit=500
        a -->1, b -->2
        > &watch=true&resourceVersion=4
        a 1->5
        > &watch=true&resourceVersion=5
        c -->6
        cache a@5 b@2 c@6 at 6"#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_initial_list_is_not_taken() {
    check(
        "+a@1 close\n+a@1 +b@2 =2",
        expect![[r#"
        > &watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=
        > &watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=
        a -->1, b -->2
        cache a@1 b@2 at 2"#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_object_does_not_blind_the_cache() {
    check(
        "+a@1 bad =2 bad +b@3",
        expect![[r#"
            > &watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=
            a -->1, b -->3
            cache a@1 b@3 at 3"#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_waited_out_and_what_is_known_stays() {
    check(
        "+a@1 =1 close\n500\n500\n~a@2",
        expect![[r#"
        > &watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=
        a -->1
        > &watch=true&resourceVersion=1
        > &watch=true&resourceVersion=1
        > &watch=true&resourceVersion=1
        a 1->2
        cache a@2 at 2"#]],
    )
    .await;
}
