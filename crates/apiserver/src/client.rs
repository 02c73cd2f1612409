//! `kube::Client` inside the process: requests go straight into the filters, with an identity and without a socket.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use registry::UserInfo;

use crate::{
    body::{Body, BoxError},
    server::{ApiServer, Peer},
};

/// The transport of an in-process client.
#[derive(Clone)]
pub struct InProcess {
    server: ApiServer,
    peer: Peer,
    /// Under what name the client's fields are owned, where a request does not say.
    user_agent: HeaderValue,
}

impl ApiServer {
    /// A client that acts as `user`. The same authorization and admission hold for it as for any other.
    pub fn client(&self, user: UserInfo) -> kube::Client {
        kube::Client::new(self.transport(user), "default")
    }

    /// The transport alone, for clients of another make.
    pub fn transport(&self, mut user: UserInfo) -> InProcess {
        if !user.in_group(UserInfo::AUTHENTICATED_GROUP) {
            user.groups.push(UserInfo::AUTHENTICATED_GROUP.to_owned());
        }
        let user_agent = HeaderValue::from_str(component(&user.name)).unwrap_or(HeaderValue::from_static("tiphys"));
        InProcess { server: self.clone(), peer: Peer::inside(user), user_agent }
    }
}

/// The program that upstream's component of this identity is.
fn component(user: &str) -> &str {
    match user.strip_prefix("system:").unwrap_or(user) {
        "apiserver" => "kube-apiserver",
        node if node.starts_with("node:") => "kubelet",
        // Controllers each with an account of their own.
        account if account.starts_with("serviceaccount:kube-system:") => "kube-controller-manager",
        other => other,
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (server, peer) = (self.server.clone(), self.peer.clone());
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        Box::pin(async move { Ok(server.handle(request, peer).await) })
    }
}
