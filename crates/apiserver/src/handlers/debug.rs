//! What operators look at: `/statusz`, `/flagz`, `/debug/api_priority_and_fairness`. Upstream: `component-base/zpages`.

use std::collections::BTreeMap;

use apimachinery::ApiError;
use http::header;
use jiff::Timestamp;
use serde_json::json;

use crate::{
    flow,
    negotiate::{self, Media, Output},
    respond::{self, Answer},
    server::{ApiServer, Call},
    version,
};

const GROUP: &str = "config.k8s.io";
const NOT_PARSEABLE: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";

/// How `/statusz` or `/flagz` is wanted.
enum Page {
    Text,
    /// As an object of this version of [`GROUP`], in this form.
    Object(&'static str, Media),
}

/// Text for whoever takes it, else what names the object. Upstream: `zpages/httputil`, `negotiation`.
fn page(call: &Call, kind: &str) -> Result<Page, ApiError> {
    let accept = call.parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.is_empty() {
        return Ok(Page::Text);
    }
    for clause in negotiate::clauses(accept) {
        let media = match clause.media {
            "text/plain" | "text/*" | "*/*" => return Ok(Page::Text),
            negotiate::JSON => Media::Json,
            negotiate::YAML => Media::Yaml,
            negotiate::CBOR => Media::Cbor,
            _ => continue,
        };
        let version = match clause.get("v") {
            Some("v1alpha1") => "v1alpha1",
            Some("v1beta1") => "v1beta1",
            _ => continue,
        };
        if clause.get("g") == Some(GROUP) && clause.get("as") == Some(kind) {
            return Ok(Page::Object(version, media));
        }
    }
    let of = |version: &str| format!("application/json;as={kind};g={GROUP};v={version}");
    Err(ApiError::not_acceptable(&["text/plain", &of("v1beta1"), &of("v1alpha1")]))
}

fn as_object(version: &str, kind: &str, fields: serde_json::Value, media: Media) -> Result<Answer, ApiError> {
    let mut object = json!({
        "kind": kind, "apiVersion": format!("{GROUP}/{version}"), "metadata": {"name": "kube-apiserver"},
    });
    if let (Some(object), serde_json::Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    respond::object(200, object.to_string().into(), Output { media, ..Output::JSON })
}

pub(super) fn statusz(server: &ApiServer, call: &Call) -> Result<Answer, ApiError> {
    let info = serde_json::to_value(version::info()).unwrap_or_default();
    let text = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
    let started = server.inner.started;
    let up = Timestamp::now().as_second() - started.as_second();
    let emulated = format!("{}.{}", text("emulationMajor"), text("emulationMinor"));
    let least = format!("{}.{}", text("minCompatibilityMajor"), text("minCompatibilityMinor"));
    let paths = ["/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version"];
    if let Page::Object(version, media) = page(call, "Statusz")? {
        let fields = json!({
            "startTime": started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "uptimeSeconds": up,
            "goVersion": text("goVersion"),
            "binaryVersion": format!("{}.{}", text("major"), text("minor")),
            "emulationVersion": emulated,
            "minimumCompatibilityVersion": least,
            "paths": paths,
        });
        return as_object(version, "Statusz", fields, media);
    }
    let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
    Ok(respond::text(
        200,
        format!(
            "\nkube-apiserver statusz\n{NOT_PARSEABLE}\n\nStarted: {}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\nCompiler version: {}\nBinary version: {}\nEmulation version: {emulated}\nMinimum Compatibility version: {least}\nPaths: {}\n",
            started.strftime("%a %b %e %H:%M:%S UTC %Y"),
            text("goVersion"),
            text("gitVersion"),
            paths.join(" "),
        ),
    ))
}

pub(super) fn flagz(server: &ApiServer, call: &Call) -> Result<Answer, ApiError> {
    let flags: BTreeMap<&String, &String> =
        server.inner.options.flags.iter().map(|(name, value)| (name, value)).collect();
    if let Page::Object(version, media) = page(call, "Flagz")? {
        return as_object(version, "Flagz", json!({ "flags": flags }), media);
    }
    let mut out = format!("\nkube-apiserver flagz\n{NOT_PARSEABLE}\n\n");
    for (name, value) in flags {
        out.push_str(&format!("{name}={value}\n"));
    }
    Ok(respond::text(200, out))
}

pub(super) fn flow(server: &ApiServer, call: &Call, what: &str) -> Answer {
    let Some(flow) = &server.inner.flow else { return respond::not_found() };
    match what {
        "dump_priority_levels" => respond::text(200, flow::dump_levels(flow)),
        "dump_queues" => respond::text(200, flow::dump_queues(flow)),
        "dump_requests" => {
            respond::text(200, flow::dump_requests(flow, !call.param("includeRequestDetails").is_empty()))
        }
        _ => respond::not_found(),
    }
}
