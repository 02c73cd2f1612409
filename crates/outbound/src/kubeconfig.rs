//! Kubeconfig files as the API server reads them: whom to call (authentication, authorization and audit webhooks), or
//! which credentials to show to which webhook (`WebhookAdmission.kubeConfigFile`).
//! Upstream: `clientcmd`, `webhookutil.NewDefaultAuthenticationInfoResolver`.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::HeaderName;
use serde_json::Value;

use crate::{Credentials, Identity, Token};

/// A kubeconfig has no reason to be larger.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no kubeconfig: {why}")]
    Malformed { path: PathBuf, why: String },
}

/// A parsed file. Paths in it are relative to its place.
#[derive(Clone, Debug, Default)]
pub struct Kubeconfig {
    users: HashMap<String, Credentials>,
    clusters: HashMap<String, Cluster>,
    /// Name to cluster and user.
    contexts: HashMap<String, (String, String)>,
    current: String,
}

/// A server to call.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub server: String,
    /// PEM; empty: the system's authorities.
    pub authority: Vec<u8>,
    pub tls_server_name: Option<String>,
    pub insecure_skip_tls_verify: bool,
}

impl Kubeconfig {
    pub fn read(path: &Path) -> Result<Self, KubeconfigError> {
        let failed = |source| KubeconfigError::Read { path: path.to_owned(), source };
        let malformed = |why: String| KubeconfigError::Malformed { path: path.to_owned(), why };
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
            return Err(malformed(format!("larger than {MAX_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let value: Value = serde_saphyr::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        Self::parse(&value, path.parent().unwrap_or(Path::new("."))).map_err(malformed)
    }

    fn parse(value: &Value, directory: &Path) -> Result<Self, String> {
        let mut parsed = Self { current: text(value, "current-context"), ..Self::default() };
        for (name, user) in named(value, "users", "user") {
            parsed.users.insert(name, credentials(user, directory)?);
        }
        for (name, cluster) in named(value, "clusters", "cluster") {
            parsed.clusters.insert(name, Cluster::parse(cluster, directory)?);
        }
        for (name, context) in named(value, "contexts", "context") {
            parsed.contexts.insert(name, (text(context, "cluster"), text(context, "user")));
        }
        Ok(parsed)
    }

    /// Where the current context says to call, and as whom.
    pub fn current(&self) -> Option<(Cluster, Credentials)> {
        let (cluster, user) = self.contexts.get(&self.current)?;
        Some((self.clusters.get(cluster)?.clone(), self.users.get(user).cloned().unwrap_or_default()))
    }

    /// Credentials for a host and port, by the names of users: the host and port, the same with its first labels replaced
    /// by `*`, both without the port when it is 443, `*`, and last the current context's.
    pub fn credentials_for(&self, host: &str, port: u16) -> Credentials {
        let with_port = format!("{host}:{port}");
        let mut names = candidates(&with_port);
        if port == 443 {
            names.extend(candidates(host));
        }
        names.push("*".to_owned());
        if let Some((_, user)) = self.contexts.get(&self.current) {
            names.push(user.clone());
        }
        names.iter().find_map(|name| self.users.get(name)).cloned().unwrap_or_default()
    }
}

fn candidates(target: &str) -> Vec<String> {
    let steps: Vec<&str> = target.split('.').collect();
    let wild = (1..steps.len()).map(|from| format!("*.{}", steps[from..].join(".")));
    std::iter::once(target.to_owned()).chain(wild).collect()
}

impl Cluster {
    fn parse(cluster: &Value, directory: &Path) -> Result<Self, String> {
        let authority = match bytes(cluster, "certificate-authority-data")? {
            Some(data) => data,
            None => match text(cluster, "certificate-authority").as_str() {
                "" => Vec::new(),
                path => {
                    let path = directory.join(path);
                    std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?
                }
            },
        };
        Ok(Self {
            server: text(cluster, "server"),
            authority,
            tls_server_name: Some(text(cluster, "tls-server-name")).filter(|name| !name.is_empty()),
            insecure_skip_tls_verify: cluster["insecure-skip-tls-verify"] == true,
        })
    }
}

fn credentials(user: &Value, directory: &Path) -> Result<Credentials, String> {
    for unsupported in ["exec", "auth-provider"] {
        if !user[unsupported].is_null() {
            return Err(format!("{unsupported} is not supported for the API server's own calls"));
        }
    }
    let (token, token_file) = (text(user, "token"), text(user, "tokenFile"));
    let token = match (token.is_empty(), token_file.is_empty()) {
        (_, false) => Some(Token::File(directory.join(token_file))),
        (false, true) => Some(Token::Text(token)),
        (true, true) => None,
    };
    let (name, password) = (text(user, "username"), text(user, "password"));
    let basic = (!name.is_empty() || !password.is_empty()).then_some((name, password));
    let pem = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "a certificate or key is not PEM".to_owned());
    let data = (bytes(user, "client-certificate-data")?, bytes(user, "client-key-data")?);
    let files = (text(user, "client-certificate"), text(user, "client-key"));
    let identity = match (data, files) {
        ((Some(certificate), Some(key)), _) => Some(Identity::Pem { certificate: pem(certificate)?, key: pem(key)? }),
        (_, (certificate, key)) if !certificate.is_empty() && !key.is_empty() => {
            Some(Identity::Files { certificate: directory.join(certificate), key: directory.join(key) })
        }
        _ => None,
    };
    let mut impersonate = Vec::new();
    let mut add = |header: HeaderName, value: &Value| {
        if let Some(value) = value.as_str().filter(|value| !value.is_empty()) {
            impersonate.push((header, value.to_owned()));
        }
    };
    add(HeaderName::from_static("impersonate-user"), &user["as"]);
    add(HeaderName::from_static("impersonate-uid"), &user["as-uid"]);
    for group in user["as-groups"].as_array().into_iter().flatten() {
        add(HeaderName::from_static("impersonate-group"), group);
    }
    for (key, values) in user["as-user-extra"].as_object().into_iter().flatten() {
        let header = format!("impersonate-extra-{}", key.to_ascii_lowercase());
        let header = HeaderName::try_from(header).map_err(|_| format!("as-user-extra: {key} is no header"))?;
        for value in values.as_array().into_iter().flatten() {
            add(header.clone(), value);
        }
    }
    let identity = identity.map(|identity| Arc::new(identity) as _);
    Ok(Credentials { token, basic, identity, impersonate })
}

/// The entries of a list of `{name, <what>: {…}}`.
fn named<'a>(value: &'a Value, list: &str, what: &'a str) -> impl Iterator<Item = (String, &'a Value)> {
    value[list].as_array().into_iter().flatten().map(move |entry| (text(entry, "name"), &entry[what]))
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn bytes(value: &Value, name: &str) -> Result<Option<Vec<u8>>, String> {
    match value[name].as_str().filter(|text| !text.is_empty()) {
        Some(text) => BASE64_STANDARD.decode(text).map(Some).map_err(|error| format!("{name}: {error}")),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token_for(config: &Kubeconfig, host: &str, port: u16) -> String {
        match config.credentials_for(host, port).token {
            Some(Token::Text(token)) => token,
            _ => "none".to_owned(),
        }
    }

    #[test]
    fn credentials_are_chosen_by_the_most_exact_name() {
        let user = |name: &str| json!({"name": name, "user": {"token": name}});
        let config = json!({
            "users": [user("a.b.svc:443"), user("*.b.svc"), user("c.d.svc"), user("*"), user("10.0.0.1:8443")],
        });
        let config = Kubeconfig::parse(&config, Path::new("/")).unwrap();
        assert_eq!(token_for(&config, "a.b.svc", 443), "a.b.svc:443");
        assert_eq!(token_for(&config, "z.b.svc", 443), "*.b.svc");
        assert_eq!(token_for(&config, "z.b.svc", 8443), "*");
        assert_eq!(token_for(&config, "c.d.svc", 443), "c.d.svc");
        assert_eq!(token_for(&config, "10.0.0.1", 8443), "10.0.0.1:8443");
        assert_eq!(token_for(&Kubeconfig::default(), "x", 443), "none");
    }

    #[test]
    fn the_current_context_says_whom_to_call() {
        let config = json!({
            "clusters": [{"name": "c", "cluster": {"server": "https://x/authn", "certificate-authority-data": "Yw=="}}],
            "users": [{"name": "u", "user": {"username": "me", "password": "pw", "as": "you", "as-groups": ["g"]}}],
            "contexts": [{"name": "k", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "k",
        });
        let (cluster, credentials) = Kubeconfig::parse(&config, Path::new("/")).unwrap().current().unwrap();
        assert_eq!((cluster.server.as_str(), cluster.authority.as_slice()), ("https://x/authn", b"c".as_slice()));
        let mut headers = http::HeaderMap::new();
        credentials.apply(&mut headers);
        assert_eq!(headers["authorization"], "Basic bWU6cHc=");
        assert_eq!(
            (&headers["impersonate-user"], &headers["impersonate-group"]),
            (&"you".parse().unwrap(), &"g".parse().unwrap())
        );
        let exec = json!({"users": [{"name": "u", "user": {"exec": {"command": "x"}}}]});
        assert!(Kubeconfig::parse(&exec, Path::new("/")).is_err());
    }
}
