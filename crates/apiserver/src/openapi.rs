//! OpenAPI documents, made from the schema on first demand and kept. Upstream: `k8s.io/kube-openapi/pkg/handler` and `handler3`.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use apimachinery::ApiError;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderValue, header};
use schema::openapi::{CustomKind, OpenApi as Maker, ServedResource, ServedSubresource, V2_PROTOBUF};
use sha2::Digest as _;

use crate::{
    body::Body,
    discovery,
    negotiate::{self, JSON},
    others::OtherDocument,
    respond::{self, Answer},
    server::{ApiServer, Call},
    version::GIT_VERSION,
};

/// How long documents are kept.
const KEEP: Duration = Duration::from_secs(120);

/// Documents by name, as long as the served kinds stay the same.
#[derive(Default)]
pub(crate) struct OpenApi {
    made: ArcSwapOption<Made>,
}

struct Made {
    /// What the registry and the other servers had to tell when this was made.
    generations: (u64, u64),
    resources: Vec<ServedResource>,
    /// Documents of other servers.
    others: Vec<OtherDocument>,
    /// The same in v2, with names that mean nothing else here. Made on first demand.
    fitting: OnceLock<Vec<serde_json::Value>>,
    documents: arc_swap::ArcSwap<HashMap<String, Document>>,
}

#[derive(Clone)]
struct Document {
    bytes: Bytes,
    etag: String,
}

impl OpenApi {
    pub(crate) fn v2(&self, server: &ApiServer, call: &Call) -> Result<Answer, ApiError> {
        let accept = negotiate::accept(&call.parts.headers);
        let wants_protobuf = negotiate::clauses(accept).iter().find_map(|clause| match clause.media {
            JSON | "*/*" | "application/*" => Some(false),
            media if is_v2_protobuf(media) => Some(true),
            _ => None,
        });
        let made = self.made(server);
        match wants_protobuf {
            Some(true) => {
                let document = made.document("v2 protobuf", |maker| Some(maker.v2_protobuf(&made.others_v2())));
                serve(call, document, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
            }
            Some(false) => serve(call, made.document("v2", |maker| Some(maker.v2_json(&made.others_v2()))), JSON),
            None if accept.is_empty() => {
                serve(call, made.document("v2", |maker| Some(maker.v2_json(&made.others_v2()))), JSON)
            }
            None => Err(ApiError::not_acceptable(&[JSON, V2_PROTOBUF])),
        }
    }

    pub(crate) fn v3(&self, server: &ApiServer, call: &Call, path: &str) -> Result<Answer, ApiError> {
        let made = self.made(server);
        if path.is_empty() {
            return serve(call, made.document("v3", |maker| Some(index(&maker, &made.others))), JSON);
        }
        let other = made.others.iter().find(|other| other.v3.as_ref().is_some_and(|(known, _)| known == path));
        if let Some(document) = other.and_then(|other| other.made.clone()) {
            return serve(call, Some(Document { etag: fingerprint(&document), bytes: document }), JSON);
        }
        if !made.maker().v3_paths().iter().any(|known| known == path) {
            return Ok(respond::not_found());
        }
        serve(call, made.document(&format!("v3 {path}"), |maker| maker.v3_document(path)), JSON)
    }

    fn made(&self, server: &ApiServer) -> Arc<Made> {
        let others = server.inner.others.get();
        // Before they are read: what changes meanwhile is made again.
        let generations = (server.registry().generation(), others.map_or(0, |others| others.generation()));
        if let Some(made) = self.made.load_full().filter(|made| made.generations == generations) {
            return made;
        }
        let made = Arc::new(Made {
            generations,
            resources: served(server),
            others: others.map(|others| others.documents()).unwrap_or_default(),
            fitting: OnceLock::new(),
            documents: arc_swap::ArcSwap::default(),
        });
        self.made.store(Some(Arc::clone(&made)));
        // They are large: who asks again within the time gets them at once, an idle server does not hold them.
        let keeper = server.clone();
        server.inner.supervisor.spawn("openapi documents", async move {
            tokio::time::sleep(KEEP).await;
            keeper.inner.openapi.made.store(None);
        });
        made
    }
}

/// The index of v3 documents, those of other servers too.
fn index(maker: &Maker<'_>, others: &[OtherDocument]) -> Vec<u8> {
    let own = maker.v3_index();
    if others.iter().all(|other| other.v3.is_none()) {
        return own;
    }
    let Ok(mut index) = serde_json::from_slice::<serde_json::Value>(&own) else { return own };
    for (path, url) in others.iter().filter_map(|other| other.v3.as_ref()) {
        // What this server serves itself stays its own.
        if index["paths"].get(path).is_none() {
            index["paths"][path.as_str()] = serde_json::json!({ "serverRelativeURL": url });
        }
    }
    serde_json::to_vec(&index).unwrap_or(own)
}

impl Made {
    fn others_v2(&self) -> Vec<&serde_json::Value> {
        let fitting = self.fitting.get_or_init(|| {
            let others: Vec<_> = self.others.iter().filter_map(|other| other.v2.as_deref().cloned()).collect();
            if others.is_empty() {
                return others;
            }
            let own = serde_json::from_slice(&self.maker().v2_json(&[])).unwrap_or_default();
            schema::openapi::beside(&own, others)
        });
        fitting.iter().collect()
    }

    fn maker(&self) -> Maker<'_> {
        Maker::new(schema::builtin(), &self.resources, GIT_VERSION)
    }

    fn document(&self, name: &str, make: impl FnOnce(Maker<'_>) -> Option<Vec<u8>>) -> Option<Document> {
        if let Some(document) = self.documents.load().get(name) {
            return Some(document.clone());
        }
        let bytes = make(self.maker())?;
        let document = Document { etag: fingerprint(&bytes), bytes: bytes.into() };
        self.documents.rcu(|documents| {
            let mut documents = HashMap::clone(documents);
            documents.insert(name.to_owned(), document.clone());
            documents
        });
        Some(document)
    }
}

fn is_v2_protobuf(media: &str) -> bool {
    media == V2_PROTOBUF || media == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
}

fn serve(call: &Call, document: Option<Document>, content_type: &'static str) -> Result<Answer, ApiError> {
    let Some(document) = document else { return Ok(respond::not_found()) };
    let etag = format!("\"{}\"", document.etag);
    let headers = &call.parts.headers;
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut answer = if is_known {
        respond::with_type(304, content_type, Body::empty())
    } else {
        respond::with_type(200, content_type, Body::whole(document.bytes))
    };
    let immutable = call.query.iter().any(|(key, _)| key == "hash");
    let out = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&etag) {
        out.insert(header::ETAG, value);
    }
    out.insert(header::VARY, HeaderValue::from_static("Accept"));
    if immutable {
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(answer)
}

/// What discovery says, in the words of the maker of documents.
fn served(server: &ApiServer) -> Vec<ServedResource> {
    let owned =
        |verbs: &[&'static str]| -> Vec<Cow<'static, str>> { verbs.iter().copied().map(Cow::Borrowed).collect() };
    server
        .registry()
        .kinds()
        .iter()
        .map(|kind| {
            let info = kind.info();
            ServedResource {
                group: Cow::Borrowed(info.group),
                version: Cow::Borrowed(info.version),
                kind: Cow::Borrowed(info.kind),
                plural: Cow::Borrowed(info.plural),
                namespaced: info.is_namespaced(),
                verbs: owned(&discovery::verbs(&*kind.resource)),
                returns_deleted: kind.resource.returns_deleted_object(),
                custom: kind.resource.custom().map(|custom| {
                    Arc::new(CustomKind {
                        list_kind: info.list_kind_name(),
                        schema: custom.document(),
                        keeps_unknown_fields: custom.keeps_unknown_fields(),
                        selectable: kind.resource.selectable().iter().map(|field| field.name.to_owned()).collect(),
                    })
                }),
                subresources: kind
                    .resource
                    .subresources()
                    .iter()
                    .map(|subresource| {
                        let (group, version, kind) = discovery::subresource_kind(info, subresource);
                        ServedSubresource {
                            name: Cow::Borrowed(subresource.name),
                            group: group.into(),
                            version: version.into(),
                            kind: kind.into(),
                            verbs: owned(discovery::openapi_verbs(subresource)),
                        }
                    })
                    .collect(),
            }
        })
        .collect()
}

/// A short name for a document's contents.
pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}
