//! Authorization: the chain of authorizers, and the two that are built in.
//! Upstream: `k8s.io/apiserver/pkg/authorization/union` and the plugins of `plugin/pkg/auth/authorizer`.

mod abac;
mod claims;
mod config;
mod counted;
mod escalation;
mod node;
mod rbac;
mod review;
mod rules;
mod webhook;

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    UserInfo,
    auth::{Attributes, Authorizer, Decision, Rules},
};

pub use abac::{Abac, AbacError};
pub use claims::ClaimStatusCheck;
pub use config::{AuthorizationConfigError, AuthorizationConfiguration, WebhookFlags};
pub use escalation::EscalationCheck;
pub use node::NodeAuthorizer;
pub use rbac::Rbac;
pub use rules::not_covered;
pub use webhook::{WebhookAuthorizer, WebhookSettings};

/// Asks one authorizer after the other until one has an opinion. Members of `system:masters` may do everything, so
/// that an administrator's certificate works whatever the policy says.
pub struct Union(ArcSwap<Vec<Arc<dyn Authorizer>>>);

impl Union {
    /// In the order in which they are asked.
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>) -> Self {
        Self(ArcSwap::from_pointee(authorizers))
    }

    /// Asks these from now on.
    pub fn replace(&self, authorizers: Vec<Arc<dyn Authorizer>>) {
        self.0.store(Arc::new(authorizers));
    }
}

impl Authorizer for Union {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        async move {
            if attributes.user.in_group(UserInfo::MASTERS_GROUP) {
                return Decision::Allow { reason: String::new() };
            }
            let mut reasons = Vec::new();
            for authorizer in self.0.load_full().iter() {
                match authorizer.authorize(attributes).await {
                    Decision::NoOpinion { reason } if reason.is_empty() => {}
                    Decision::NoOpinion { reason } => reasons.push(reason),
                    decided => return decided,
                }
            }
            Decision::NoOpinion { reason: reasons.join("\n") }
        }
        .boxed()
    }

    fn rules_for<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> BoxFuture<'a, Rules> {
        async move {
            let (mut all, mut errors) = (Rules::default(), Vec::new());
            for authorizer in self.0.load_full().iter() {
                let rules = authorizer.rules_for(user, namespace).await;
                all.resource.extend(rules.resource);
                all.non_resource.extend(rules.non_resource);
                all.incomplete |= rules.incomplete;
                if !rules.evaluation_error.is_empty() {
                    errors.push(rules.evaluation_error);
                }
            }
            all.evaluation_error = aggregate(errors);
            all
        }
        .boxed()
    }
}

/// Several errors as one. Upstream: `utilerrors.Aggregate`.
fn aggregate(errors: Vec<String>) -> String {
    match errors.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}
