//! GET of one object, and how objects are answered.

use apimachinery::{ApiError, Gvk};
use bytes::Bytes;
use registry::{Kind, wire};
use store::Entry;

use super::freshness;
use crate::{
    encode,
    negotiate::{self, Media, Offer, Output, View},
    respond::{self, Answer},
    server::{ApiServer, Call},
    slots,
    table::{Include, Printer, metadata_only},
};

/// How the client wants what is no object of a kind.
pub(super) fn output(call: &Call) -> Result<Output, ApiError> {
    wanted(call, Offer::PLAIN)
}

/// How the client wants objects of a kind.
pub(super) fn output_of(call: &Call, kind: &Kind) -> Result<Output, ApiError> {
    output_for(call, &kind.gvk)
}

/// The same, of a kind that is only known by name.
pub(super) fn output_for(call: &Call, gvk: &Gvk) -> Result<Output, ApiError> {
    let protobuf = wire::has_protobuf(&gvk.group, &gvk.version, &gvk.kind);
    wanted(call, Offer { views: true, protobuf, stream: false })
}

/// How the client wants the frames of a watch.
pub(super) fn output_of_watch(call: &Call, kind: &Kind) -> Result<Output, ApiError> {
    let protobuf = wire::has_protobuf(&kind.gvk.group, &kind.gvk.version, &kind.gvk.kind);
    wanted(call, Offer { views: true, protobuf, stream: true })
}

fn wanted(call: &Call, offer: Offer) -> Result<Output, ApiError> {
    let headers = &call.parts.headers;
    let pretty = negotiate::is_pretty(headers, call.param("pretty"));
    let output = negotiate::negotiate(headers, pretty, offer)?;
    Ok(Output { keep: call.audit.wants().response, ..output })
}

pub(super) async fn get(server: &ApiServer, call: &Call, kind: &Kind) -> Result<Answer, ApiError> {
    let output = output_of(call, kind)?;
    freshness::for_get(server, call.param("resourceVersion")).await?;
    let entry = server.registry().get(kind, &call.info.namespace, &call.info.name)?;
    if kind.converts_outside() {
        return object(call, kind, 200, &kind.present_one(entry.bytes()).await?, None, output);
    }
    object(call, kind, 200, entry.bytes(), Some(&entry), output)
}

/// An object of a kind in the view and encoding that the client wants.
pub(super) fn object(
    call: &Call,
    kind: &Kind,
    code: u16,
    bytes: &Bytes,
    entry: Option<&Entry>,
    output: Output,
) -> Result<Answer, ApiError> {
    match output.view {
        View::Object if !kind.is_stored_as_served() => respond::object(code, kind.present(bytes)?, output),
        View::Object => {
            type Encode = fn(&[u8]) -> Result<Bytes, ApiError>;
            let shared: Option<(_, Encode)> = match output.media {
                Media::Protobuf => Some((slots::PROTOBUF, encode::protobuf)),
                Media::Cbor => Some((slots::CBOR, encode::cbor)),
                Media::Json | Media::Yaml => None,
            };
            match (entry, shared) {
                (Some(entry), Some((slot, make))) if !output.keep => {
                    let encoded = entry.encoding(slot, || make(bytes))?;
                    let content_type = respond::media_type(output.media);
                    Ok(respond::with_type(code, content_type, crate::body::Body::whole(encoded)))
                }
                _ => respond::object(code, bytes.clone(), output),
            }
        }
        View::Metadata => respond::object(code, metadata_only(bytes, output.meta_version()).into(), output),
        View::MetadataList => Err(ApiError::not_convertible(format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
            go_type(&kind.gvk, kind.resource.custom().is_some(), &kind.gvk.kind)
        ))),
        View::Table => {
            let include = Include::parse(call.param("includeObject"))?;
            let printer = Printer::new(kind, include, jiff::Timestamp::now(), output.meta_version());
            respond::object(code, printer.single(bytes, true)?.into(), output)
        }
    }
}

/// What upstream's server calls the type of an object of a kind, or of its list, in what it says to clients.
pub(super) fn go_type(gvk: &Gvk, custom: bool, name: &str) -> String {
    if custom {
        let list = if name == gvk.kind { "" } else { "List" };
        return format!("*unstructured.Unstructured{list}");
    }
    let package = match gvk.group.split('.').next().unwrap_or_default() {
        // Events of both groups are one type.
        "" | "events" => "core",
        package => package,
    };
    format!("*{package}.{name}")
}
