//! A request handed over to an extension server. Upstream: `kube-aggregator/pkg/apiserver/handler_proxy.go`.

use std::time::Duration;

use apimachinery::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use registry::UserInfo;

use super::Remote;
use crate::{
    connect::relay::{Redirects, Relay},
    respond::{self, Answer},
    server::{ApiServer, Call},
};

/// Clients wait for discovery before they do anything else. Upstream: `aggregatedDiscoveryTimeout`.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// What a header's name may hold besides letters and digits. Upstream: `headerKeyEscape`.
const HEADER_KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

pub(crate) async fn serve(server: &ApiServer, call: Call, remote: &Remote) -> Result<Answer, ApiError> {
    if !remote.is_available {
        return Ok(plain(503, "service unavailable"));
    }
    let client = match &remote.client {
        Ok(client) => client,
        Err(why) => return Ok(plain(500, why)),
    };
    // A Service that has lost its endpoints since the last check says so in the same words.
    if let Err(error) = server.inner.aggregator.reachable(remote) {
        tracing::debug!(service = %remote.name, %error, "extension server not resolved");
        return Ok(plain(503, "service unavailable"));
    }
    let path = call.parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri: Uri = path.parse().map_err(|error| ApiError::bad_request(format!("invalid path: {error}")))?;
    let mut headers = identity_headers(&call.user)?;
    if let Ok(id) = HeaderValue::try_from(call.audit.id()) {
        headers.insert(HeaderName::from_static("audit-id"), id);
    }
    let is_discovery = call.info.path.trim_matches('/').split('/').count() == 3;
    let timeout = (is_discovery && !call.info.is_resource).then_some(DISCOVERY_TIMEOUT);
    match (Relay { client, uri, headers, redirects: Redirects::Reject, timeout }).run(server, call).await {
        Ok(answer) => Ok(answer),
        // Upstream answers in plain words here, too.
        Err(error) => Ok(plain(503, &error.message)),
    }
}

/// `http.Error`.
fn plain(code: u16, why: &str) -> Answer {
    let mut answer = respond::text(code, format!("{why}\n"));
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Who asks, as the extension server reads it. Upstream: `transport.SetAuthProxyHeaders`.
pub(super) fn identity_headers(user: &UserInfo) -> Result<HeaderMap, ApiError> {
    let value = |text: &str| {
        HeaderValue::try_from(text).map_err(|_| ApiError::internal("the user's identity does not fit into a header"))
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-remote-user", value(&user.name)?);
    if !user.uid.is_empty() {
        headers.insert("x-remote-uid", value(&user.uid)?);
    }
    for group in &user.groups {
        headers.append("x-remote-group", value(group)?);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", utf8_percent_encode(&key.to_lowercase(), HEADER_KEY));
        let name = HeaderName::try_from(name).map_err(ApiError::internal)?;
        for text in values {
            headers.append(name.clone(), value(text)?);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_told_whole() {
        let mut user = UserInfo::new("ada", ["a", "b"]);
        user.uid = "7".to_owned();
        user.extra.insert("example.com/Scopes".to_owned(), vec!["x".to_owned(), "y".to_owned()]);
        let headers = identity_headers(&user).unwrap();
        let all = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(
            (all("x-remote-user"), all("x-remote-group"), all("x-remote-uid")),
            (vec!["ada"], vec!["a", "b"], vec!["7"])
        );
        assert_eq!(all("x-remote-extra-example.com%2fscopes"), ["x", "y"]);
        assert!(identity_headers(&UserInfo::new("a\nb", [""; 0])).is_err());
    }
}
