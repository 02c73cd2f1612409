//! Answers the `authorizer` checks of expressions from the server's authorizer, which may have to wait.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use apimachinery::Selector;
use cel::{AuthorizerAnswer, PathCheck, ResourceCheck};
use registry::{
    UserInfo,
    auth::{Attributes, Authorizer},
};
use tokio::runtime::{Handle, RuntimeFlavor};

/// The request's user, and whom to ask about them.
pub(crate) struct Asker {
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) user: Arc<UserInfo>,
}

impl Asker {
    fn user(&self, service_account: Option<(&str, &str)>) -> Arc<UserInfo> {
        match service_account {
            None => Arc::clone(&self.user),
            Some((namespace, name)) => {
                let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
                Arc::new(UserInfo::new(format!("system:serviceaccount:{namespace}:{name}"), groups))
            }
        }
    }

    fn ask(&self, attributes: &Attributes) -> AuthorizerAnswer {
        let mut asked = self.authorizer.authorize(attributes);
        // Most authorizers answer at once.
        let decision = match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decision) => decision,
            Poll::Pending => match Handle::try_current() {
                Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
                    tokio::task::block_in_place(|| handle.block_on(asked))
                }
                _ => {
                    let error = Some("the authorizer cannot be waited for here".to_owned());
                    return AuthorizerAnswer { error, ..AuthorizerAnswer::default() };
                }
            },
        };
        AuthorizerAnswer { allowed: decision.is_allowed(), reason: decision.reason().to_owned(), error: None }
    }
}

impl cel::Authorizer for Asker {
    fn check_path(&self, service_account: Option<(&str, &str)>, check: &PathCheck<'_>) -> AuthorizerAnswer {
        self.ask(&Attributes {
            user: self.user(service_account),
            verb: check.verb.to_owned(),
            path: check.path.to_owned(),
            ..Attributes::default()
        })
    }

    fn check_resource(
        &self,
        service_account: Option<(&str, &str)>,
        check: &ResourceCheck,
        verb: &str,
    ) -> AuthorizerAnswer {
        // A selector that does not parse does not narrow the question.
        let selector = |text: &str| if Selector::parse(text).is_ok() { text.to_owned() } else { String::new() };
        self.ask(&Attributes {
            user: self.user(service_account),
            verb: verb.to_owned(),
            namespace: check.namespace.clone(),
            api_group: check.group.clone(),
            api_version: "*".to_owned(),
            resource: check.resource.clone(),
            subresource: check.subresource.clone(),
            name: check.name.clone(),
            is_resource_request: true,
            field_selector: check.field_selector.clone(),
            label_selector: selector(&check.label_selector),
            ..Attributes::default()
        })
    }
}
