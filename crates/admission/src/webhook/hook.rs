//! One webhook as its configuration says it, ready to be matched. Upstream: `webhook.WebhookAccessor`.

use std::{sync::Arc, time::Duration};

use apimachinery::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use outbound::ClientConfig;
use registry::auth::Authorizer;
use serde_json::Value;

use super::{conditions::Conditions, rules::Rule};
use crate::expressions::conditions::Owner;

/// Upstream's default, and what validation refuses to exceed.
const DEFAULT_TIMEOUT: u64 = 10;
const MAX_TIMEOUT: u64 = 30;

pub(crate) struct Hook {
    pub(crate) configuration: String,
    pub(crate) name: String,
    /// Tells apart webhooks that share a name.
    pub(crate) id: String,
    pub(crate) client: ClientConfig,
    pub(crate) rules: Vec<Rule>,
    pub(crate) is_equivalent: bool,
    pub(crate) namespaces: Result<Selector, String>,
    pub(crate) objects: Result<Selector, String>,
    pub(crate) conditions: Conditions,
    pub(crate) ignores_failures: bool,
    pub(crate) timeout: Duration,
    pub(crate) side_effects: Option<SideEffects>,
    pub(crate) review: Option<ReviewVersion>,
    pub(crate) reinvoke: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SideEffects {
    /// Safe on a dry run.
    None,
    Some,
}

/// Which form of the question it understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReviewVersion {
    V1,
    V1beta1,
}

impl Hook {
    /// `step`: `admit` or `validate`.
    pub(crate) fn parse(
        configuration: &str,
        id: String,
        webhook: &Value,
        step: &'static str,
        authorizer: &Arc<dyn Authorizer>,
    ) -> Self {
        let text = |name: &str| webhook[name].as_str().unwrap_or_default();
        let fails = text("failurePolicy") != "Ignore";
        let versions = webhook["admissionReviewVersions"].as_array().into_iter().flatten();
        Self {
            configuration: configuration.to_owned(),
            name: text("name").to_owned(),
            id,
            client: ClientConfig::from_json(&webhook["clientConfig"]),
            rules: webhook["rules"].as_array().into_iter().flatten().map(Rule::parse).collect(),
            is_equivalent: text("matchPolicy") != "Exact",
            namespaces: selector(&webhook["namespaceSelector"]),
            objects: selector(&webhook["objectSelector"]),
            conditions: {
                let owner = Owner { kind: "webhook", name: text("name").to_owned(), step };
                Conditions::compile(owner, &webhook["matchConditions"], fails, authorizer)
            },
            ignores_failures: !fails,
            timeout: Duration::from_secs(
                webhook["timeoutSeconds"].as_u64().unwrap_or(DEFAULT_TIMEOUT).clamp(1, MAX_TIMEOUT),
            ),
            side_effects: match text("sideEffects") {
                "" => None,
                "None" | "NoneOnDryRun" => Some(SideEffects::None),
                _ => Some(SideEffects::Some),
            },
            // The first one that is known, in the order of the webhook's wishes.
            review: versions.filter_map(Value::as_str).find_map(|version| match version {
                "v1" => Some(ReviewVersion::V1),
                "v1beta1" => Some(ReviewVersion::V1beta1),
                _ => None,
            }),
            reinvoke: text("reinvocationPolicy") == "IfNeeded",
        }
    }
}

/// An absent selector has been defaulted to the empty one, which selects everything.
pub(crate) fn selector(value: &Value) -> Result<Selector, String> {
    if value.is_null() {
        return Ok(Selector::everything());
    }
    let selector: LabelSelector = apimachinery::json::from_value(value).map_err(|error| error.to_string())?;
    Selector::from_label_selector(Some(&selector)).map_err(|error| error.to_string())
}
