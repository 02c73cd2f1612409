//! GET of one object.

use apimachinery::ApiError;
use bytes::Bytes;
use registry::{Kind, options::parse_resource_version};
use store::Entry;

use crate::{
    encode,
    negotiate::{self, Media, Output, View},
    respond::{self, Answer},
    server::{ApiServer, Call},
    slots,
    table::{Include, Printer, metadata_only},
};

pub(super) fn output(call: &Call) -> Result<Output, ApiError> {
    negotiate::output(&call.parts.headers, call.flag("pretty"))
}

pub(super) async fn get(server: &ApiServer, call: &Call, kind: &Kind) -> Result<Answer, ApiError> {
    let output = output(call)?;
    let version = call.param("resourceVersion");
    if !version.is_empty() {
        let wanted = parse_resource_version(version)?;
        let current = server.registry().store().revision().0;
        if wanted.0 > current {
            return Err(ApiError::too_large_resource_version(wanted.0, current));
        }
    }
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
        View::Object => match (entry, output.media) {
            (Some(entry), Media::Protobuf) => {
                let encoded = entry.encoding(slots::PROTOBUF, || encode::protobuf(bytes))?;
                Ok(respond::with_type(code, negotiate::PROTOBUF, crate::body::Body::whole(encoded)))
            }
            _ => respond::object(code, bytes.clone(), output),
        },
        View::Metadata => respond::object(code, metadata_only(bytes).into(), output),
        View::Table => {
            let include = Include::parse(call.param("includeObject"))?;
            let table = Printer::new(kind, include, jiff::Timestamp::now()).single(bytes, true)?;
            respond::object(code, table.into(), output)
        }
    }
}
