//! `matchConditions` of webhooks. Upstream: `webhook/matchconditions`.

use std::sync::Arc;

use apimachinery::ApiError;
use registry::{admission::AdmissionRequest, auth::Authorizer};
use serde_json::Value;

use super::selectors::Invocation;
use crate::expressions::{
    authorizer::Asker,
    conditions::{MatchConditions, Owner},
    input::{self, Input},
};

/// The conditions of one webhook.
pub(crate) struct Conditions {
    conditions: MatchConditions,
    authorizer: Arc<dyn Authorizer>,
}

impl Conditions {
    /// `fails`: what cannot be evaluated refuses the request, else the webhook is not asked.
    pub(crate) fn compile(owner: Owner, conditions: &Value, fails: bool, authorizer: &Arc<dyn Authorizer>) -> Self {
        Self { conditions: MatchConditions::of_webhook(owner, conditions, fails), authorizer: Arc::clone(authorizer) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    pub(crate) fn hold(
        &self,
        request: &AdmissionRequest<'_>,
        invocation: &Invocation,
        object: Option<&Value>,
        old_object: Option<&Value>,
    ) -> Result<bool, ApiError> {
        let described = input::request(request, invocation);
        let asker = Asker { authorizer: Arc::clone(&self.authorizer), user: Arc::clone(&request.cx.user) };
        let checked = input::checked(request);
        let input = Input {
            object,
            old_object,
            params: None,
            request: &described,
            namespace: None,
            authorizer: Some(&asker),
            checked: &checked,
        };
        self.conditions
            .hold(request.operation, &input, &[])
            .map_err(|error| ApiError::forbidden(&request.resource(), request.name, error))
    }
}
