//! Plain requests against a test cluster, for what a typed client would hide.

use ::http::{Request, Response, StatusCode};
use apiserver::{ApiServer, Peer};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use registry::UserInfo;
use serde_json::Value;
use test_cluster::TestCluster;

/// One answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: ::http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends requests as one user, through all filters.
pub(crate) struct Client {
    server: ApiServer,
    peer: Peer,
}

impl Client {
    pub(crate) fn admin(cluster: &TestCluster) -> Self {
        Self::of(cluster, UserInfo::new("admin", [UserInfo::MASTERS_GROUP, UserInfo::AUTHENTICATED_GROUP]))
    }

    pub(crate) fn of(cluster: &TestCluster, user: UserInfo) -> Self {
        Self { server: cluster.server().clone(), peer: Peer::inside(user) }
    }

    pub(crate) fn nobody(cluster: &TestCluster) -> Self {
        Self { server: cluster.server().clone(), peer: Peer::default() }
    }

    /// The response before its body is read.
    pub(crate) async fn open(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<apiserver::Body> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
        self.server.handle(request.body(body).unwrap(), self.peer.clone()).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (parts, body) = self.open(method, url, headers, body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, url: &str) -> Answer {
        self.send("GET", url, &[], "").await
    }

    pub(crate) async fn post(&self, url: &str, body: &Value) -> Answer {
        self.send("POST", url, &[("content-type", "application/json")], body.to_string()).await
    }
}
