//! What is to be called, as configurations say it. Upstream: `webhookutil.ClientConfig`, `admissionv1.WebhookClientConfig`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

/// Port of a Service that a reference does not name.
const DEFAULT_PORT: u16 = 443;

/// A webhook's address and whom to trust to be it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    pub target: Target,
    /// PEM. Empty: the system's authorities.
    pub ca_bundle: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Url(String),
    Service(ServiceReference),
    /// Neither was given; calling it is an error.
    Missing,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceReference {
    pub namespace: String,
    pub name: String,
    pub port: u16,
    /// With its leading `/`, or empty.
    pub path: String,
}

impl ClientConfig {
    /// Of the JSON of a `WebhookClientConfig` (`url`, `service`, `caBundle`), which was validated when it was written.
    pub fn from_json(config: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let service = &config["service"];
        let target = match config["url"].as_str() {
            _ if service.is_object() => Target::Service(ServiceReference {
                namespace: text(&service["namespace"]),
                name: text(&service["name"]),
                port: service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(DEFAULT_PORT),
                path: text(&service["path"]),
            }),
            Some(url) if !url.is_empty() => Target::Url(url.to_owned()),
            _ => Target::Missing,
        };
        let bundle = config["caBundle"].as_str().unwrap_or_default();
        // Bytes that are no base64 cannot have been stored; as a bundle they trust nobody.
        let ca_bundle = BASE64_STANDARD.decode(bundle).unwrap_or_else(|_| bundle.as_bytes().to_vec());
        Self { target, ca_bundle }
    }
}

impl ServiceReference {
    /// The name that its certificate has to carry.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_reference_has_upstreams_defaults() {
        let config = ClientConfig::from_json(&json!({"service": {"namespace": "a", "name": "b"}, "caBundle": "Yw=="}));
        let Target::Service(service) = &config.target else { panic!("{config:?}") };
        assert_eq!((service.port, service.path.as_str(), config.ca_bundle.as_slice()), (443, "", b"c".as_slice()));
        assert_eq!(service.server_name(), "b.a.svc");
        assert_eq!(ClientConfig::from_json(&json!({})).target, Target::Missing);
        assert_eq!(ClientConfig::from_json(&json!({"url": "https://x"})).target, Target::Url("https://x".to_owned()));
    }
}
