//! Who calls the HTTPS server and what they may. Certificates are checked by TLS; tokens and permissions are asked of
//! the API. Upstream: pkg/kubelet/server/auth.go and `server.InstallAuthFilter`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;

/// A caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
}

/// Decides about callers of the HTTPS server.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Whose bearer token it is.
    async fn authenticate(&self, token: &str) -> Option<User>;
    /// Whether the user may use a subresource of the node (`proxy`, `stats`, `metrics`, …) with a verb.
    async fn authorize(&self, user: &User, verb: &str, subresource: &str) -> bool;
}

/// Who asked for which verb on which subresource.
type Question = (User, String, String);

/// Asks the API, and remembers its answers for a while.
pub struct ApiAuthorizer {
    client: Client,
    node: String,
    answers: Mutex<HashMap<Question, (bool, Instant)>>,
}

const REMEMBER_YES: Duration = Duration::from_secs(300);
const REMEMBER_NO: Duration = Duration::from_secs(30);
/// How many answers are remembered.
const MAX_ANSWERS: usize = 1024;

impl ApiAuthorizer {
    pub fn new(client: Client, node: impl Into<String>) -> Self {
        ApiAuthorizer { client, node: node.into(), answers: Mutex::default() }
    }
}

#[async_trait]
impl Authorizer for ApiAuthorizer {
    async fn authenticate(&self, token: &str) -> Option<User> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let answer = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let status = match answer {
            Ok(answer) => answer.status?,
            Err(error) => {
                tracing::warn!(%error, "token not reviewed");
                return None;
            }
        };
        let user = status.user.filter(|_| status.authenticated == Some(true))?;
        Some(User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        })
    }

    async fn authorize(&self, user: &User, verb: &str, subresource: &str) -> bool {
        let key = (user.clone(), verb.to_owned(), subresource.to_owned());
        if let Some((allowed, until)) = self.answers.lock().get(&key)
            && *until > Instant::now()
        {
            return *allowed;
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = Api::<SubjectAccessReview>::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let allowed = match answer {
            Ok(answer) => answer.status.is_some_and(|status| status.allowed),
            Err(error) => {
                // No answer is no permission, and is not remembered.
                tracing::warn!(%error, "access not reviewed");
                return false;
            }
        };
        let mut answers = self.answers.lock();
        if answers.len() >= MAX_ANSWERS {
            answers.clear();
        }
        answers.insert(key, (allowed, Instant::now() + if allowed { REMEMBER_YES } else { REMEMBER_NO }));
        allowed
    }
}

/// What a request needs: the operation decides, not the HTTP method (an exec that comes as a GET is a create).
pub(super) fn needed(method: &http::Method, path: &str) -> (&'static str, &'static str) {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let verb = match (first, method.as_str()) {
        ("exec" | "attach" | "run" | "portForward", _) => "create",
        (_, "POST") => "create",
        (_, "PUT") => "update",
        (_, "PATCH") => "patch",
        (_, "DELETE") => "delete",
        _ => "get",
    };
    let subresource = match first {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "pods" => "pods",
        "healthz" => "healthz",
        _ => "proxy",
    };
    (verb, subresource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn the_operation_decides() {
        assert_eq!(needed(&Method::GET, "/exec/ns/p/c"), ("create", "proxy"));
        assert_eq!(needed(&Method::GET, "/containerLogs/ns/p/c"), ("get", "proxy"));
        assert_eq!(needed(&Method::GET, "/stats/summary"), ("get", "stats"));
    }
}
