//! What authorizers decide, counted by kind and name. Upstream: `apiserver/pkg/authorization/metrics`.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use metrics::{Counter, Family, Stability};
use registry::{
    UserInfo,
    auth::{Attributes, Authorizer, Decision, Rules},
};

static DECISIONS: Family<Counter, 3> = Family::new(
    "apiserver_authorization_decisions_total",
    Stability::Alpha,
    "Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision.",
    ["decision", "name", "type"],
);

/// Another authorizer, with its decisions counted.
pub(super) struct Counted {
    inner: Arc<dyn Authorizer>,
    allowed: Arc<Counter>,
    denied: Arc<Counter>,
}

impl Counted {
    pub(super) fn new(kind: &str, name: &str, inner: Arc<dyn Authorizer>) -> Self {
        Self { inner, allowed: DECISIONS.with(["allowed", name, kind]), denied: DECISIONS.with(["denied", name, kind]) }
    }
}

impl Authorizer for Counted {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        async move {
            let decision = self.inner.authorize(attributes).await;
            match decision {
                Decision::Allow { .. } => self.allowed.inc(),
                Decision::Deny { .. } => self.denied.inc(),
                // Not the end of it.
                Decision::NoOpinion { .. } => {}
            }
            decision
        }
        .boxed()
    }

    fn rules_for<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> BoxFuture<'a, Rules> {
        self.inner.rules_for(user, namespace)
    }
}
