//! Tokens that somebody else knows: asked with a TokenReview. Upstream: `plugin/pkg/authenticator/token/webhook`.

use std::{collections::BTreeMap, path::Path, time::Duration};

use futures::future::{BoxFuture, FutureExt as _};
use outbound::Client;
use registry::{
    UserInfo,
    auth::{AuthenticationError, TokenIdentity},
};
use serde_json::{Value, json};

use super::TokenAuthenticator;
use crate::outgoing::{self, WebhookConfigError};

/// Upstream's request timeout.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks a webhook.
pub struct WebhookTokens {
    client: Client,
    /// Of `authentication.k8s.io`: `v1` or `v1beta1`.
    version: String,
    /// Of the API server.
    audiences: Vec<String>,
}

impl WebhookTokens {
    /// From `--authentication-token-webhook-config-file`.
    pub fn new(kubeconfig: &Path, version: &str, audiences: Vec<String>) -> Result<Self, WebhookConfigError> {
        Ok(Self { client: outgoing::client(kubeconfig)?, version: version.to_owned(), audiences })
    }

    async fn ask(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, String> {
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        let review = json!({
            "apiVersion": format!("authentication.k8s.io/{}", self.version), "kind": "TokenReview",
            "metadata": {}, "spec": {"token": token, "audiences": wanted},
        });
        let answer = outgoing::ask(&self.client, &review, TIMEOUT).await?;
        let status = &answer["status"];
        if status["authenticated"] != true {
            return match status["error"].as_str().unwrap_or_default() {
                "" => Ok(None),
                why => Err(why.to_owned()),
            };
        }
        // One that says no audiences knows of none, and speaks for the API server's.
        let said = texts(&status["audiences"]);
        let said = if said.is_empty() { self.audiences.clone() } else { said };
        let common: Vec<String> = wanted.iter().filter(|audience| said.contains(audience)).cloned().collect();
        if common.is_empty() && !wanted.is_empty() {
            return Ok(None);
        }
        let user = &status["user"];
        let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
        let extra: BTreeMap<String, Vec<String>> =
            user["extra"].as_object().into_iter().flatten().map(|(key, values)| (key.clone(), texts(values))).collect();
        let user = UserInfo { name: text("username"), uid: text("uid"), groups: texts(&user["groups"]), extra };
        Ok(Some(TokenIdentity { user, audiences: common }))
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

impl TokenAuthenticator for WebhookTokens {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>> {
        async move {
            self.ask(token, audiences)
                .await
                .map_err(|why| AuthenticationError(format!("webhook token authentication: {why}")))
        }
        .boxed()
    }
}
