//! What a request is about, from its method and URL. Upstream: `apiserver/pkg/endpoints/request.RequestInfoFactory`.

use http::Method;
use percent_encoding::percent_decode_str;
use registry::options::Query;

use apimachinery::ApiError;

/// Facts from method and URL, before anything is known about kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    pub(crate) is_resource: bool,
    pub(crate) path: String,
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) name: String,
    /// What follows the subresource, for those that take a path.
    pub(crate) rest: String,
    /// `/watch/` prefix of old.
    pub(crate) watch_prefix: bool,
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
}

/// Longest URL that is looked at.
const MAX_PATH: usize = 8 * 1024;

impl RequestInfo {
    pub(crate) fn parse(method: &Method, raw_path: &str, query: &Query) -> Result<Self, ApiError> {
        if raw_path.len() > MAX_PATH {
            return Err(ApiError::bad_request("the request URL is too long"));
        }
        let path = percent_decode_str(raw_path)
            .decode_utf8()
            .map_err(|_| ApiError::bad_request("the request URL is not UTF-8"))?
            .into_owned();
        let mut info = Self { verb: method_verb(method), path, ..Self::default() };
        let path = info.path.clone();
        let parts: Vec<&str> = split(&path);
        let (prefix, mut parts) = match parts.split_first() {
            Some((prefix @ (&"api" | &"apis"), rest)) if parts.len() >= 3 => (*prefix, rest),
            _ => return Ok(info),
        };
        if prefix == "apis" {
            if parts.len() < 3 {
                return Ok(info);
            }
            info.group = parts[0].to_owned();
            parts = &parts[1..];
        }
        info.is_resource = true;
        info.version = parts[0].to_owned();
        parts = &parts[1..];
        info.verb = resource_verb(method);
        if matches!(parts[0], "watch" | "proxy") {
            if parts.len() < 2 {
                return Err(ApiError::bad_request(format!("unable to determine kind and namespace from url, {path}")));
            }
            info.watch_prefix = parts[0] == "watch";
            info.verb = if info.watch_prefix { "watch" } else { "proxy" };
            parts = &parts[1..];
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace = parts[1].to_owned();
            if parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
                parts = &parts[2..];
            }
        }
        info.resource = parts[0].to_owned();
        if let Some(name) = parts.get(1) {
            info.name = (*name).to_owned();
        }
        if parts.len() >= 3 && !matches!(info.verb, "proxy" | "watch") {
            info.subresource = parts[2].to_owned();
            info.rest = parts[3..].join("/");
        }
        info.refine_verb(query);
        Ok(info)
    }

    fn refine_verb(&mut self, query: &Query) {
        let get = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if self.name.is_empty() && self.verb == "get" {
            let watch = registry::options::flag(query, "watch").unwrap_or_default();
            self.verb = if watch { "watch" } else { "list" };
            // A selector for one name is authorised as that name.
            if let Some(selector) = get("fieldSelector")
                && let Ok(selector) = apimachinery::fields::FieldSelector::parse(selector)
                && let Some(name) = selector.requires_exact_match("metadata.name")
                && apimachinery::names::is_path_segment_name(name).is_empty()
            {
                self.name = name.to_owned();
            }
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection";
        }
        if !self.watch_prefix && matches!(self.verb, "list" | "watch" | "deletecollection") {
            self.field_selector = get("fieldSelector").unwrap_or_default().to_owned();
            self.label_selector = get("labelSelector").unwrap_or_default().to_owned();
        }
    }
}

fn split(path: &str) -> Vec<&str> {
    let path = path.trim_matches('/');
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

fn resource_verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => "",
    }
}

/// Splits a query string into decoded pairs.
pub(crate) fn parse_query(query: Option<&str>) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, url: &str, expected: &str) {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let info = RequestInfo::parse(&method, path, &parse_query(Some(query))).unwrap();
        let text = format!(
            "{} {}/{} ns={} {}/{}/{} {}",
            info.verb, info.group, info.version, info.namespace, info.resource, info.name, info.subresource, info.rest
        );
        assert_eq!(text.trim_end(), expected, "{url}");
    }

    #[test]
    fn urls_read_as_upstream() {
        check(Method::GET, "/api/v1/namespaces", "list /v1 ns= namespaces//");
        check(Method::GET, "/api/v1/namespaces/a", "get /v1 ns=a namespaces/a/");
        check(Method::PUT, "/api/v1/namespaces/a/finalize", "update /v1 ns=a namespaces/a/finalize");
        check(Method::GET, "/api/v1/namespaces/a/pods?watch=1", "watch /v1 ns=a pods//");
        check(Method::POST, "/api/v1/namespaces/a/pods/b/exec?command=ls", "create /v1 ns=a pods/b/exec");
        check(Method::DELETE, "/apis/apps/v1/namespaces/a/deployments", "deletecollection apps/v1 ns=a deployments//");
        check(Method::GET, "/apis/apps/v1/deployments", "list apps/v1 ns= deployments//");
        check(Method::GET, "/api/v1/watch/pods", "watch /v1 ns= pods//");
        check(Method::GET, "/api/v1/nodes/n/proxy/a/b", "get /v1 ns= nodes/n/proxy a/b");
        check(Method::GET, "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list /v1 ns= pods/x/");
    }

    #[test]
    fn other_paths_are_no_resources() {
        for path in ["/", "/api", "/api/v1", "/apis/apps/v1", "/healthz", "/openapi/v2/x"] {
            assert!(!RequestInfo::parse(&Method::GET, path, &[]).unwrap().is_resource, "{path}");
        }
        assert!(RequestInfo::parse(&Method::GET, "/%ff", &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_url_is_survived(path: String, query: String, segments in proptest::collection::vec("[a-z/%.]{0,6}", 0..8)) {
            let query = parse_query(Some(&query));
            for method in [Method::GET, Method::POST, Method::DELETE] {
                for path in [path.as_str(), &format!("/api/v1/{}", segments.join("/")), &format!("/apis/{}", segments.join("/"))] {
                    if let Ok(info) = RequestInfo::parse(&method, path, &query) {
                        proptest::prop_assert!(!info.is_resource || !info.version.is_empty() || path.contains("//"));
                    }
                }
            }
        }
    }
}
