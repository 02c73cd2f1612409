//! How versions are converted. Paths are those of upstream's internal version.

use apimachinery::{
    field::{Error, ErrorList, Path},
    names,
};
use base64::Engine as _;
use serde_json::Value;

use super::super::fields;
use super::{old::Forgiven, one_of};

const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

pub(super) fn check(conversion: &Value, forgiven: &Forgiven, path: &Path) -> ErrorList {
    if conversion.is_null() {
        return ErrorList::new();
    }
    let strategy = fields::text(conversion, "strategy");
    let mut errors = one_of(&path.child("strategy"), strategy, &["None", "Webhook"]);
    let webhook = conversion.get("webhook").unwrap_or(&Value::Null);
    let (config_path, reviews_path) = (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    let config = fields::there(webhook, "clientConfig");
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.push(Error::forbidden(&config_path, why));
        }
        if !fields::list(webhook, "conversionReviewVersions").is_empty() {
            errors.push(Error::forbidden(&reviews_path, why));
        }
        return errors;
    }
    match config {
        None => errors.push(Error::required(&config_path, "required when strategy is set to Webhook")),
        Some(config) => {
            match (fields::there(config, "url"), fields::there(config, "service")) {
                (Some(url), None) => {
                    errors.append(check_url(url.as_str().unwrap_or_default(), &config_path.child("url")))
                }
                (None, Some(service)) => errors.append(check_service(service, &config_path.child("service"))),
                _ => errors.push(Error::required(&config_path, "exactly one of url or service is required")),
            }
            if !forgiven.ca_bundle
                && let Some(why) = bad_bundle(config)
            {
                errors.push(Error::invalid(&config_path.child("caBundle"), config["caBundle"].clone(), why));
            }
        }
    }
    errors.append(check_reviews(webhook, forgiven, &reviews_path));
    errors
}

fn check_reviews(webhook: &Value, forgiven: &Forgiven, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let versions = fields::texts(webhook, "conversionReviewVersions");
    if versions.is_empty() {
        return Error::required(path, "").into();
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            errors.push(Error::invalid(&path.index(index), *version, "duplicate version"));
            continue;
        }
        for message in names::is_dns1035_label(version) {
            errors.push(Error::invalid(&path.index(index), *version, message));
        }
    }
    if !forgiven.review_versions && !versions.iter().any(|version| REVIEWS.contains(version)) {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(Error::invalid(path, webhook["conversionReviewVersions"].clone(), why));
    }
    errors
}

/// Whether a stored definition names a version that this server speaks, or none at all.
pub(super) fn reviews_are_known(conversion: &Value) -> bool {
    let versions = fields::texts(conversion.get("webhook").unwrap_or(&Value::Null), "conversionReviewVersions");
    versions.is_empty() || versions.iter().any(|version| REVIEWS.contains(version))
}

pub(super) fn has_bad_bundle(conversion: &Value) -> bool {
    conversion.pointer("/webhook/clientConfig").is_some_and(|config| bad_bundle(config).is_some())
}

/// Why a CA bundle is none. An absent one is fine.
fn bad_bundle(config: &Value) -> Option<&'static str> {
    let text = fields::text(config, "caBundle");
    if text.is_empty() {
        return None;
    }
    const WHY: &str = "unable to load root certificates: unable to parse bytes as PEM block";
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text) else { return Some(WHY) };
    let text = String::from_utf8_lossy(&bytes);
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let body = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(body, _)| body);
    let is_base64 = |body: &str| {
        let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        !body.is_empty() && base64::engine::general_purpose::STANDARD.decode(body).is_ok()
    };
    (!body.is_some_and(is_base64)).then_some(WHY)
}

/// Upstream: `webhook.ValidateWebhookURL`.
fn check_url(url: &str, path: &Path) -> ErrorList {
    const FORM: &str = "; desired format: https://host[/path]";
    let mut errors = ErrorList::new();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        errors.push(Error::invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}")));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        errors.push(Error::invalid(path, "", format!("host must be specified{FORM}")));
    }
    if let Some(user) = user {
        errors.push(Error::invalid(path, user, "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        errors.push(Error::invalid(path, fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errors.push(Error::invalid(path, query, "query parameters are not permitted in the URL"));
    }
    errors
}

/// Upstream: `webhook.ValidateWebhookService`.
fn check_service(service: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in ["name", "namespace"] {
        if fields::text(service, name).is_empty() {
            errors.push(Error::required(&path.child(name), ""));
        }
    }
    let port = service.get("port").and_then(Value::as_i64).unwrap_or_default();
    let found = names::is_valid_port_number(port);
    if !found.is_empty() {
        let why = format!("port is not valid: {}", found.join(", "));
        errors.push(Error::invalid(&path.child("port"), port, why));
    }
    let (url_path, place) = (fields::text(service, "path"), path.child("path"));
    if url_path.is_empty() || url_path == "/" {
        return errors;
    }
    if url_path == "//" {
        errors.push(Error::invalid(&place, url_path, "segment[0] may not be empty"));
        return errors;
    }
    if !url_path.starts_with('/') {
        errors.push(Error::invalid(&place, url_path, "must start with a '/'"));
    }
    let mut characters = url_path.chars();
    characters.next();
    let rest = characters.as_str();
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            errors.push(Error::invalid(&place, url_path, format!("segment[{index}] may not be empty")));
            continue;
        }
        for message in names::is_dns1123_subdomain(step) {
            errors.push(Error::invalid(&place, url_path, format!("segment[{index}]: {message}")));
        }
    }
    errors
}
