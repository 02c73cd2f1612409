//! What an operator sets up around the program: who says who somebody is and what they may do, where it is told what was
//! done, how what is kept is encrypted. All of it with processes and files as they are in a data centre, and changed while
//! the server runs.

#![expect(clippy::unwrap_used, reason = "servers of a test end with it")]

mod admission;
mod identity;
mod kms;
mod reload;
mod server;
mod told;

use std::{future::Future, path::Path};

use kube::{Client, config::AuthInfo};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE};

/// A client that shows this token and nothing else; `None`: nothing at all.
pub(super) async fn client_with(cluster: &Cluster, token: Option<&str>) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(cluster.kubeconfig()).expect("read the kubeconfig");
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
    config.default_retry = false;
    config.auth_info = AuthInfo { token: token.map(|token| token.to_owned().into()), ..AuthInfo::default() };
    Client::try_from(config).expect("a client")
}

/// Code and body of an answer.
pub(super) async fn ask(client: &Client, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let (code, _, text) = ask_for_text(client, method, path, body).await;
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (code, value)
}

pub(super) async fn ask_for_text(
    client: &Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, http::HeaderMap, String) {
    let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = request.body(kube::client::Body::from(body.into_bytes())).expect("a request");
    let (head, body) = client.send(request).await.expect("an answer").into_parts();
    let bytes = http_body_util::BodyExt::collect(body).await.expect("a body").to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8_lossy(&bytes).into_owned())
}

/// Who the server says the client is: name and groups.
pub(super) async fn who_am_i(client: &Client) -> Option<(String, Vec<String>)> {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (code, review) = ask(client, "POST", path, Some(&json!({}))).await;
    let user = &review["status"]["userInfo"];
    let groups = user["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    (code == 201).then(|| (user["username"].as_str().unwrap_or_default().to_owned(), groups.collect()))
}

/// Asks again until it is so.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what}: it did not come about"));
}

/// Replaces a file as careful programs do.
pub(super) fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("write");
    std::fs::rename(&beside, path).expect("rename");
}
