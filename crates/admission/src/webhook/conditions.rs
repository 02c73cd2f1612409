//! `matchConditions`: expressions that all have to hold before a webhook is asked. Upstream: `webhook/matchconditions`.

use apimachinery::ApiError;
use registry::admission::AdmissionRequest;
use serde_json::Value;

use super::selectors::Invocation;

/// The conditions of one webhook.
pub(crate) struct Conditions {
    names: Vec<String>,
    fails: bool,
}

impl Conditions {
    /// `fails`: what cannot be evaluated refuses the request, else the webhook is not asked.
    pub(crate) fn compile(conditions: &Value, fails: bool) -> Self {
        let names = conditions.as_array().into_iter().flatten();
        Self {
            names: names.map(|condition| condition["name"].as_str().unwrap_or_default().to_owned()).collect(),
            fails,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn hold(
        &self,
        request: &AdmissionRequest<'_>,
        _invocation: &Invocation,
        _object: Option<&Value>,
        _old_object: Option<&Value>,
    ) -> Result<bool, ApiError> {
        if self.fails {
            return Err(ApiError::forbidden(&request.resource(), request.name, "match conditions cannot be evaluated"));
        }
        Ok(false)
    }
}
