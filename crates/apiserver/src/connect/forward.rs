//! One request passed on over a connection to a kubelet that is already made.

use apimachinery::ApiError;
use http::{HeaderValue, Request, Version, header};
use hyper_util::rt::TokioIo;

use super::{
    NodeStream,
    relay::{self, Redirects},
};
use crate::{
    respond::Answer,
    server::{ApiServer, Call},
};

pub(super) async fn forward(
    server: &ApiServer,
    mut call: Call,
    stream: Box<dyn NodeStream>,
    authority: &str,
    path: &str,
    query: &str,
    redirects: &Redirects,
) -> Result<Answer, ApiError> {
    let upgrade = relay::is_upgrade(&call.parts.headers);
    let ours = call.parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut request = Request::builder().method(call.parts.method.clone()).uri(uri).version(Version::HTTP_11);
    if let Some(headers) = request.headers_mut() {
        relay::copy_headers(&call.parts.headers, headers);
        if let Redirects::Rewrite(rewriter) = redirects {
            rewriter.announce(headers);
        }
        let host = HeaderValue::from_str(authority).map_err(ApiError::internal)?;
        headers.insert(header::HOST, host);
        if upgrade {
            relay::keep_upgrade(&call.parts.headers, headers);
        }
    }
    let request = request.body(call.take_body()).map_err(|error| ApiError::bad_request(error.to_string()))?;

    let broken = |error: hyper::Error| ApiError::internal(format!("error sending request: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    server.inner.supervisor.spawn("node connection", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "node connection ended");
        }
    });
    let response = sender.send_request(request).await.map_err(broken)?;
    relay::finish(server, ours, upgrade, response, redirects).await
}
