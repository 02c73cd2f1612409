//! Users that a proxy in front has authenticated: it shows a certificate of its own authority, and says in headers whom
//! it speaks for. Upstream: `k8s.io/apiserver/pkg/authentication/request/headerrequest`.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use pki::ClientAuthorities;
use registry::{UserInfo, auth::AuthenticationError};

use super::certificate;

/// Whom to believe, and where it says what. Flags `--requestheader-*`.
#[derive(Clone, Debug)]
pub struct RequestHeaderOptions {
    pub authorities: Arc<ClientAuthorities>,
    /// Common names of the proxies; empty: whoever the authority has signed.
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_header_prefixes: Vec<String>,
}

impl RequestHeaderOptions {
    /// With the headers that upstream's aggregation uses.
    pub fn new(authorities: Arc<ClientAuthorities>) -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            authorities,
            allowed_names: Vec::new(),
            username_headers: one("x-remote-user"),
            uid_headers: one("x-remote-uid"),
            group_headers: one("x-remote-group"),
            extra_header_prefixes: one("x-remote-extra-"),
        }
    }

    /// `Ok(None)`: not a proxy, or it says nobody.
    pub(super) fn user(
        &self,
        headers: &HeaderMap,
        chain: &[Vec<u8>],
        now: SystemTime,
    ) -> Result<Option<UserInfo>, AuthenticationError> {
        let Some(leaf) = chain.first() else { return Ok(None) };
        // Who says nothing is most likely no proxy: no signature is checked for him.
        let Some(name) = self.username_headers.iter().find_map(|name| values(headers, name).next()) else {
            return Ok(None);
        };
        certificate::verify(&self.authorities, chain, now)?;
        let proxy = certificate::common_name(leaf).unwrap_or_default();
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&proxy) {
            return Err(AuthenticationError(format!("x509: subject with cn={proxy} is not in the allowed list")));
        }
        let all = |names: &[String]| -> Vec<String> {
            names.iter().flat_map(|name| values(headers, name)).map(str::to_owned).collect()
        };
        let mut extra = BTreeMap::<String, Vec<String>>::new();
        for prefix in &self.extra_header_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for name in headers.keys() {
                let Some(key) = name.as_str().strip_prefix(&prefix) else { continue };
                let key = percent_decode_str(key).decode_utf8().map_or_else(|_| key.to_owned(), Into::into);
                let found = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned);
                extra.entry(key).or_default().extend(found);
            }
        }
        Ok(Some(UserInfo {
            name: name.to_owned(),
            uid: all(&self.uid_headers).into_iter().next().unwrap_or_default(),
            groups: all(&self.group_headers),
            extra,
        }))
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name.to_ascii_lowercase())
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use pki::{Authority, CertificateSpec};

    use super::*;

    #[test]
    fn only_the_proxy_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(&directory.path().join("proxy"), "ca", "front-proxy").unwrap();
        let users = Authority::open(&directory.path().join("users"), "ca", "kubernetes").unwrap();
        let chain = |authority: &Authority, name: &str| -> Vec<Vec<u8>> {
            let (certificate, key) = authority.issue("x", &CertificateSpec::client(name, None)).unwrap();
            pki::client_identity(&certificate, &key).unwrap().0.iter().map(|der| der.to_vec()).collect()
        };
        let mut options = RequestHeaderOptions::new(ClientAuthorities::new(authority.certificate()).unwrap());
        options.allowed_names = vec!["aggregator".into()];
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "ada"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-uid", "7"),
            ("x-remote-extra-scopes", "one"),
            ("x-remote-extra-scopes", "two"),
            ("x-remote-extra-example.com%2fproject", "p"),
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value));
        }
        let now = SystemTime::now();
        let user = options.user(&headers, &chain(&authority, "aggregator"), now).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("ada", "7"));
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.extra["scopes"], ["one", "two"]);
        assert_eq!(user.extra["example.com/project"], ["p"]);
        assert!(options.user(&headers, &chain(&authority, "other"), now).is_err(), "a name that is not allowed");
        assert!(options.user(&headers, &chain(&users, "aggregator"), now).is_err(), "a user of the cluster");
        assert!(options.user(&headers, &[], now).unwrap().is_none(), "no certificate");
        assert!(options.user(&HeaderMap::new(), &chain(&authority, "aggregator"), now).unwrap().is_none());
    }
}
