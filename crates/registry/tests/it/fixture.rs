//! A registry with ConfigMaps (a typed kind) and Gadgets (a plain one).

use std::sync::Arc;

use apimachinery::{
    ApiError,
    field::{Error, ErrorList, Path},
};
use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use registry::{
    Info, Kind, Plain, Registry, RequestCx, Strategy, UpdateKind, UserInfo, Verb, Written,
    options::{DeleteOptions, ListOptions, WriteOptions},
    pipeline::{Change, Deleted, Patch, PatchKind, Selection},
};
use serde_json::{Value, json};
use store::{Store, StoreOptions};

pub(crate) struct ConfigMaps;

impl Strategy for ConfigMaps {
    type Object = ConfigMap;
    const INFO: Info = Info::namespaced("", "v1", "ConfigMap", "configmaps").short(&["cm"]);

    fn graceful_deletion(&self, _cx: &RequestCx, object: &mut ConfigMap, requested: Option<i64>) -> Option<i64> {
        let slow = object.data.as_ref().is_some_and(|data| data.contains_key("slow"));
        slow.then_some(requested.unwrap_or(30))
    }

    fn validate(&self, _cx: &RequestCx, object: &ConfigMap) -> ErrorList {
        let bad = object.data.as_ref().is_some_and(|data| data.contains_key("bad key"));
        let mut errors = ErrorList::new();
        if bad {
            errors.push(Error::invalid(&Path::new("data").key("bad key"), "bad key", "a valid config key is needed"));
        }
        errors
    }
}

pub(crate) struct Fixture {
    pub(crate) registry: Registry,
    pub(crate) maps: Arc<Kind>,
    user: Arc<UserInfo>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    pub(crate) fn with(options: StoreOptions) -> Self {
        let store = Store::open(engine::memory::Memory::new(), options).unwrap();
        let gadgets =
            Plain::new(Info::namespaced("example.com", "v1", "Gadget", "gadgets")).with_status().with_generation();
        let registry = Registry::builder(store).resource(Arc::new(ConfigMaps)).resource(Arc::new(gadgets)).build();
        let maps = registry.kind("", "v1", "configmaps").unwrap();
        Self { registry, maps, user: Arc::new(UserInfo::loopback()) }
    }

    pub(crate) fn gadgets(&self) -> Arc<Kind> {
        self.registry.kind("example.com", "v1", "gadgets").unwrap()
    }

    pub(crate) fn cx(&self, name: &str) -> RequestCx {
        let mut cx = self.registry.context(Arc::clone(&self.user), Verb::Create);
        cx.namespace = "default".to_owned();
        cx.name = name.to_owned();
        cx
    }

    pub(crate) async fn create(&self, object: Value) -> Result<Value, ApiError> {
        self.create_in(&self.maps, object).await
    }

    pub(crate) async fn create_in(&self, kind: &Kind, object: Value) -> Result<Value, ApiError> {
        let body = Bytes::from(object.to_string());
        self.registry.create(kind, &self.cx(""), &body, &WriteOptions::default()).await.map(|written| parse(&written))
    }

    pub(crate) async fn update(&self, name: &str, object: Value) -> Result<Value, ApiError> {
        self.update_in(&self.maps, UpdateKind::Object, name, object).await
    }

    pub(crate) async fn update_in(
        &self,
        kind: &Kind,
        update: UpdateKind<'_>,
        name: &str,
        object: Value,
    ) -> Result<Value, ApiError> {
        let body = Bytes::from(object.to_string());
        let change = Change::Replace(&body);
        let written = self.registry.modify(kind, &self.cx(name), update, change, &WriteOptions::default()).await;
        written.map(|written| parse(&written))
    }

    pub(crate) async fn patch(&self, name: &str, kind: PatchKind, body: Value) -> Result<Value, ApiError> {
        let patch = Patch::new(kind, body);
        let change = Change::Patch(&patch);
        let written = self
            .registry
            .modify(&self.maps, &self.cx(name), UpdateKind::Object, change, &WriteOptions::default())
            .await;
        written.map(|written| parse(&written))
    }

    pub(crate) async fn delete(&self, name: &str, options: DeleteOptions) -> Result<Deleted, ApiError> {
        self.registry.delete(&self.maps, &self.cx(name), &options).await
    }

    pub(crate) fn get(&self, name: &str) -> Result<Value, ApiError> {
        let entry = self.registry.get(&self.maps, "default", name)?;
        Ok(serde_json::from_slice(entry.bytes()).unwrap())
    }

    pub(crate) fn selection(&self, query: &str) -> (Selection, ListOptions) {
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once(": "))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let options = ListOptions::from_query(&pairs).unwrap();
        let selection = Selection::new(&self.maps, options.labels.clone(), options.fields.clone()).unwrap();
        (selection, options)
    }
}

pub(crate) fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn parse(written: &Written) -> Value {
    serde_json::from_slice(&written.bytes).unwrap()
}
