//! One version of a definition as a resource of the registry.
//!
//! Upstream: `registry/customresource` and the decoders and converters of `apiserver/customresource_handler.go`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use apimachinery::{
    ApiError, Gvr,
    field::{Error, ErrorList, ErrorType, Path},
    json, names, scan,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use registry::{
    AnyObject, ColumnHeader, Custom, DynamicObject, Filter, Info, ReadBody, RequestCx, Resource, SelectableField,
    Subresource, UpdateKind, intern, intern_all, intern_path, reset_metadata,
};
use resources::apiextensions::custom_resource_definition::fields::{text, texts};
use schema::{
    Node, StrictError,
    structural::{
        self, MetaError, apply_defaults, check_embedded, check_lists, coerce_embedded, drop_nulls, metadata, prune,
    },
};
use serde_json::Value;
use store::Template;

use crate::{
    convert::{ConversionError, Webhooks, convert},
    definition::{Definition, Version},
    object, paths,
};

/// A served version.
pub(crate) struct CustomKind {
    definition: Arc<Definition>,
    /// Place in the definition's versions.
    index: usize,
    info: Info,
    subresources: Vec<Subresource>,
    selectable: Vec<SelectableField>,
    webhooks: Arc<dyn Webhooks>,
    /// One more than the epoch in which every stored object was found to be what this version serves.
    clean: AtomicU64,
    /// Counts writes by rules that were replaced while they ran.
    epoch: AtomicU64,
}

impl CustomKind {
    pub(crate) fn new(definition: Arc<Definition>, index: usize, webhooks: Arc<dyn Webhooks>) -> Self {
        let names = &definition.names;
        let info = Info::new(
            intern(&definition.group),
            intern(definition.versions.get(index).map_or("", |version| version.name.as_str())),
            intern(text(names, "kind")),
            intern(text(names, "plural")),
            definition.scope,
        )
        .singular(intern(text(names, "singular")))
        .list_kind(intern(text(names, "listKind")))
        .short(intern_all(texts(names, "shortNames")))
        .categories(intern_all(texts(names, "categories")));
        let version = definition.versions.get(index);
        let mut subresources = Vec::new();
        if version.is_some_and(|version| version.scale.is_some()) {
            subresources.push(Subresource::SCALE);
        }
        if version.is_some_and(|version| version.has_status) {
            subresources.push(Subresource::STATUS);
        }
        let selectable = version
            .into_iter()
            .flat_map(|version| &version.selectable)
            .map(|path| SelectableField::new(intern(path), intern_path(path.split('.'))))
            .collect();
        Self {
            definition,
            index,
            info,
            subresources,
            selectable,
            webhooks,
            clean: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
        }
    }

    /// Before the stored objects are looked at.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The objects that were stored in the epoch are what is served.
    pub(crate) fn set_clean(&self, epoch: u64) {
        self.clean.store(epoch + 1, Ordering::Release);
    }

    pub(crate) fn is_storage(&self) -> bool {
        self.version().name == self.definition.storage
    }

    fn version(&self) -> &Version {
        &self.definition.versions[self.index]
    }

    fn api_version(&self) -> String {
        self.definition.api_version(&self.version().name)
    }

    fn gvr(&self) -> Gvr {
        Gvr::new(self.info.group, self.info.version, self.info.plural)
    }

    /// The version that a stored object was written in.
    fn version_of(&self, object: &Value) -> Result<&Version, ConversionError> {
        let api_version = text(object, "apiVersion");
        let name = api_version.strip_prefix(&self.definition.group).and_then(|rest| rest.strip_prefix('/'));
        name.and_then(|name| self.definition.version(name))
            .ok_or_else(|| ConversionError::Version(api_version.to_owned()))
    }

    /// Drops what a version's schema does not know.
    fn coerce(&self, object: &mut Value, version: &Version) {
        if !self.definition.preserve_unknown {
            prune(object, &version.tree, true);
            drop_nulls(object, &version.tree);
        }
        let mut unseen = Vec::new();
        if let Err(error) = coerce_embedded(object, &version.tree, true, &mut unseen) {
            tracing::debug!(%error, "embedded metadata of a stored object stays as it is");
        }
    }

    /// What reading from the store does before conversion.
    fn read_stored(&self, stored: &[u8]) -> Result<Value, ApiError> {
        let mut object: Value = serde_json::from_slice(stored).map_err(ApiError::internal)?;
        let version = self.version_of(&object)?;
        self.coerce(&mut object, version);
        apply_defaults(&mut object, &version.tree);
        // Objects from before there were generations.
        if object["metadata"].get("generation").and_then(Value::as_i64).unwrap_or_default() == 0 {
            object["metadata"]["generation"] = 1.into();
        }
        Ok(object)
    }

    /// JSON of an object of this version; one that was converted is pruned by it.
    fn served(&self, mut object: Value, was_foreign: bool) -> Bytes {
        if was_foreign {
            self.coerce(&mut object, self.version());
        }
        object::to_bytes(&object)
    }

    /// JSON of objects of any version in this one.
    async fn converted(&self, objects: Vec<Value>) -> Result<Vec<Bytes>, ApiError> {
        let api_version = self.api_version();
        let foreign: Vec<bool> = objects.iter().map(|object| text(object, "apiVersion") != api_version).collect();
        let converted = convert(&self.definition.conversion, &*self.webhooks, objects, &api_version).await?;
        Ok(converted.into_iter().zip(foreign).map(|(object, foreign)| self.served(object, foreign)).collect())
    }

    /// What `present` says of one stored object, when no webhook has to be asked.
    pub(crate) fn present_here(&self, stored: &Bytes) -> Result<Bytes, ApiError> {
        let mut object = self.read_stored(stored)?;
        let api_version = self.api_version();
        let foreign = text(&object, "apiVersion") != api_version;
        if foreign {
            if self.definition.conversion.calls_out() {
                return Err(ApiError::internal("the object was not converted"));
            }
            object["apiVersion"] = api_version.into();
        }
        Ok(self.served(object, foreign))
    }

    fn is_as_served(&self) -> bool {
        self.is_storage() && self.clean.load(Ordering::Acquire) == self.epoch() + 1
    }

    /// Whether an object needs its metadata as JSON to be checked.
    fn looks_at_metadata(&self) -> bool {
        let tree = &self.version().tree;
        tree.has_rules || tree.properties.contains_key("metadata")
    }

    fn check(&self, cx: &RequestCx, new: &DynamicObject, old: Option<&DynamicObject>, status_only: bool) -> ErrorList {
        let mut errors = self.check_type(new);
        if !errors.is_empty() {
            return errors;
        }
        let version = self.version();
        let with_metadata = self.looks_at_metadata();
        let value = object::to_value(new, with_metadata);
        let old_value = old.map(|old| object::to_value(old, with_metadata));
        if status_only {
            if let (Some(status), Some(tree)) = (value.get("status"), version.tree.properties.get("status")) {
                let root = Path::new("status");
                let was = old_value.as_ref().and_then(|old| old.get("status"));
                errors.append(match was {
                    Some(was) => structural::validate_update(status, was, tree, &root).errors,
                    None => structural::validate(status, tree, &root).errors,
                });
            }
        } else {
            let root = Path::root();
            errors.append(match &old_value {
                Some(old) => structural::validate_update(&value, old, &version.tree, &root).errors,
                None => structural::validate(&value, &version.tree, &root).errors,
            });
            errors.append(self.check_spec_replicas(new));
        }
        errors.append(self.check_status_replicas(new));
        if !status_only {
            errors.append(check_embedded(&value, &version.tree, &Path::root(), false));
        }
        let lists = check_lists(&value, &version.tree, &Path::root());
        let was_wrong =
            || old_value.as_ref().is_some_and(|old| !check_lists(old, &version.tree, &Path::root()).is_empty());
        if !lists.is_empty() && !was_wrong() {
            errors.append(lists);
        }
        let Some(rules) = &version.rules else { return errors };
        if blocks_rules(&errors) {
            errors.push(Error::invalid(
                &Path::root(),
                Value::Null,
                "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
            ));
            return errors;
        }
        let run = rules.validate(&value, old_value.as_ref(), old.is_some(), &Path::root());
        run.warnings.into_iter().for_each(|warning| cx.warn(warning));
        errors.append(run.errors);
        errors
    }

    fn check_type(&self, object: &DynamicObject) -> ErrorList {
        let mut errors = ErrorList::new();
        if object.kind != self.info.kind {
            let why = format!("must be {}", self.info.kind);
            errors.push(Error::invalid(&Path::new("kind"), object.kind.as_str(), why));
        }
        let api_version = self.api_version();
        if object.api_version != api_version {
            let why = format!("must be {api_version}");
            errors.push(Error::invalid(&Path::new("apiVersion"), object.api_version.as_str(), why));
        }
        errors
    }

    fn check_spec_replicas(&self, object: &DynamicObject) -> ErrorList {
        match &self.version().scale {
            Some(scale) => check_replicas(object, &scale.spec),
            None => ErrorList::new(),
        }
    }

    fn check_status_replicas(&self, object: &DynamicObject) -> ErrorList {
        let Some(scale) = &self.version().scale else { return ErrorList::new() };
        let mut errors = check_replicas(object, &scale.status);
        if !scale.selector.is_empty()
            && let Err(why) = paths::text(&object.fields, &scale.selector)
        {
            errors.push(Error::invalid(&Path::new(&scale.selector), "", why));
        }
        errors
    }
}

fn check_replicas(object: &DynamicObject, path: &str) -> ErrorList {
    let place = Path::new(path);
    match paths::integer(&object.fields, path) {
        Err(why) => Error::invalid(&place, 0, why).into(),
        Ok(Some(replicas)) if replicas < 0 => {
            Error::invalid(&place, replicas, "should be a non-negative integer").into()
        }
        Ok(Some(replicas)) if replicas > i64::from(i32::MAX) => {
            Error::invalid(&place, replicas, format!("should be less than or equal to {}", i32::MAX)).into()
        }
        Ok(_) => ErrorList::new(),
    }
}

/// Rules are not run over an object whose shape they could not rely on. Upstream: `hasBlockingErr`.
fn blocks_rules(errors: &ErrorList) -> bool {
    errors.iter().any(|error| {
        matches!(
            error.kind,
            ErrorType::NotSupported
                | ErrorType::Required
                | ErrorType::TooLong
                | ErrorType::TooMany
                | ErrorType::TypeInvalid
        )
    })
}

fn dynamic(object: &dyn AnyObject) -> Option<&DynamicObject> {
    object.downcast_ref()
}

impl Resource for CustomKind {
    fn info(&self) -> &Info {
        &self.info
    }

    fn subresources(&self) -> &[Subresource] {
        &self.subresources
    }

    fn selectable(&self) -> &[SelectableField] {
        &self.selectable
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn reset_fields(&self, subresource: &str) -> Filter {
        match subresource {
            "status" => reset_metadata(subresource).unwrap_or_default(),
            _ if self.version().has_status => Filter::exclude([["status"].as_slice()]),
            _ => Filter::Everything,
        }
    }

    fn custom(&self) -> Option<&dyn Custom> {
        Some(self)
    }

    fn schema_type(&self) -> Option<schema::Type<'_>> {
        let (group, kind) = (&self.definition.group, self.definition.kind());
        self.version().typed(group, kind).kind(group, &self.version().name, kind)
    }

    fn decode(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, serde_json::Error> {
        let mut object: DynamicObject = json::from_bytes(json)?;
        object.api_version = self.api_version();
        if object.kind.is_empty() {
            object.kind = self.info.kind.to_owned();
        }
        Ok(Box::new(object))
    }

    /// The version that it is stored in stays with it, until it is presented.
    fn decode_stored(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, serde_json::Error> {
        let object: DynamicObject = json::from_bytes(json)?;
        Ok(Box::new(object))
    }

    fn set_defaults(&self, object: &mut dyn AnyObject) {
        let version = self.version();
        let Some(object) = object.downcast_mut::<DynamicObject>().filter(|_| version.tree.has_defaults) else { return };
        let mut fields = Value::Object(std::mem::take(&mut object.fields));
        apply_defaults(&mut fields, &version.tree);
        if let Value::Object(fields) = fields {
            object.fields = fields;
        }
        // Defaults of what names an object are not for its fields.
        for name in ["apiVersion", "kind", "metadata"] {
            object.fields.remove(name);
        }
    }

    fn warnings(&self, _cx: &RequestCx, new: &dyn AnyObject, old: Option<&dyn AnyObject>) -> Vec<String> {
        let known = old.and_then(|old| old.metadata().finalizers.as_deref()).unwrap_or_default();
        let mut added: Vec<&String> =
            new.metadata().finalizers.iter().flatten().filter(|name| !known.contains(name)).collect();
        added.sort();
        added.into_iter().flat_map(|name| finalizer_warnings(name)).collect()
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut dyn AnyObject) {
        let Some(object) = object.downcast_mut::<DynamicObject>() else { return };
        if self.version().has_status {
            object.fields.remove("status");
        }
        object.metadata.generation = Some(1);
    }

    fn validate(&self, cx: &RequestCx, object: &dyn AnyObject) -> ErrorList {
        dynamic(object).map(|object| self.check(cx, object, None, false)).unwrap_or_default()
    }

    fn prepare_for_update(&self, kind: UpdateKind<'_>, _cx: &RequestCx, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        let (Some(new), Some(old)) = (new.downcast_mut::<DynamicObject>(), dynamic(old)) else { return };
        if kind == UpdateKind::Status {
            let status = new.fields.remove("status");
            let resource_version = new.metadata.resource_version.take();
            let managed_fields = new.metadata.managed_fields.take();
            *new = old.clone();
            new.metadata.resource_version = resource_version;
            new.metadata.managed_fields = managed_fields;
            match status {
                Some(status) => new.fields.insert("status".to_owned(), status),
                None => new.fields.remove("status"),
            };
            return;
        }
        if self.version().has_status {
            match old.fields.get("status") {
                Some(status) => new.fields.insert("status".to_owned(), status.clone()),
                None => new.fields.remove("status"),
            };
        }
        let generation = old.metadata.generation.unwrap_or_default();
        new.metadata.generation = Some(if new.fields == old.fields { generation } else { generation + 1 });
    }

    fn validate_update(
        &self,
        kind: UpdateKind<'_>,
        cx: &RequestCx,
        new: &dyn AnyObject,
        old: &dyn AnyObject,
    ) -> ErrorList {
        match (dynamic(new), dynamic(old)) {
            (Some(new), Some(old)) => self.check(cx, new, Some(old), kind == UpdateKind::Status),
            _ => ErrorList::new(),
        }
    }

    fn scale(&self, object: &dyn AnyObject) -> Option<Scale> {
        let (scale, object) = (self.version().scale.as_ref()?, dynamic(object)?);
        let count = |path: &str| {
            let replicas = paths::integer(&object.fields, path).ok().flatten();
            replicas.and_then(|replicas| i32::try_from(replicas).ok())
        };
        let selector = match scale.selector.as_str() {
            "" => None,
            path => paths::text(&object.fields, path).ok().flatten().filter(|text| !text.is_empty()),
        };
        Some(Scale {
            spec: Some(ScaleSpec { replicas: count(&scale.spec) }),
            status: Some(ScaleStatus {
                replicas: count(&scale.status).unwrap_or_default(),
                selector: selector.map(str::to_owned),
            }),
            ..Scale::default()
        })
    }

    fn set_scale(&self, object: &mut dyn AnyObject, replicas: i32) {
        if let (Some(scale), Some(object)) = (&self.version().scale, object.downcast_mut::<DynamicObject>()) {
            paths::put(&mut object.fields, &scale.spec, replicas.into());
        }
    }

    fn columns(&self) -> Vec<ColumnHeader> {
        self.version().columns.headers()
    }

    fn cells(&self, object: &dyn AnyObject, now: Timestamp) -> Vec<Value> {
        let Some(object) = dynamic(object) else { return Vec::new() };
        let name = object.metadata.name.as_deref().unwrap_or_default();
        self.version().columns.cells(name, &object::to_value(object, true), now)
    }
}

/// Upstream: `validateKubeFinalizerName` of custom resources, which only warns.
fn finalizer_warnings(finalizer: &str) -> Vec<String> {
    let quoted = apimachinery::field::go_quote(finalizer);
    let mut out: Vec<String> = names::is_qualified_name(finalizer)
        .into_iter()
        .map(|message| format!("metadata.finalizers: {quoted}: {message}"))
        .collect();
    if !finalizer.contains('/') && !["orphan", "foregroundDeletion", "kubernetes"].contains(&finalizer) {
        let path = if finalizer.contains('.') { " including a path (/)" } else { "" };
        out.push(format!(
            "metadata.finalizers: {quoted}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    out
}

impl Custom for CustomKind {
    fn read(&self, body: Node<'_>) -> Result<ReadBody, ApiError> {
        let refuse = |why: &dyn std::fmt::Display| {
            let (kind, version) = (self.info.kind, self.info.version);
            ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
        };
        let mut problems = Vec::new();
        duplicates(&body, &mut String::new(), &mut problems);
        let Node::Object(mut members) = body else {
            return Err(refuse(&"json: cannot unmarshal into Go value of type map[string]interface {}"));
        };
        let given = members.get_mut("metadata").map(|node| std::mem::replace(node, Node::Null));
        let typed = match given {
            None | Some(Node::Null) => None,
            Some(node) => Some(metadata(node, "", &mut problems).map_err(|error| refuse(&error))?),
        };
        members.0.retain(|(name, _)| name != "metadata");
        let mut value = Node::Object(members).into_value();
        object::normalise(&mut value);
        let tree = &self.version().tree;
        if !self.definition.preserve_unknown {
            problems.extend(prune(&mut value, tree, true).into_iter().map(StrictError::Unknown));
            drop_nulls(&mut value, tree);
        }
        coerce_embedded(&mut value, tree, false, &mut problems).map_err(|error| match error {
            MetaError::Field(error) => refuse(&error),
            MetaError::Decode(error) => refuse(&error),
        })?;
        let Value::Object(mut fields) = value else { return Err(refuse(&"the body is no object")) };
        fields.remove("apiVersion");
        let kind = match fields.remove("kind") {
            Some(Value::String(kind)) if !kind.is_empty() => kind,
            _ => self.info.kind.to_owned(),
        };
        let metadata = match typed {
            Some(typed) => json::from_value(&typed).map_err(|error| refuse(&error))?,
            None => Default::default(),
        };
        let object = DynamicObject { api_version: self.api_version(), kind, metadata, fields };
        Ok(ReadBody { object: Box::new(object), problems })
    }

    fn check_create(&self, name: &str) -> Result<(), ApiError> {
        if self.definition.is_terminating() {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(ApiError::forbidden(&self.gvr(), name, why));
        }
        Ok(())
    }

    fn warnings(&self) -> &[String] {
        &self.version().warnings
    }

    fn is_stored_as_served(&self) -> bool {
        self.is_as_served()
    }

    fn converts_outside(&self) -> bool {
        self.definition.conversion.calls_out() && !self.is_as_served()
    }

    fn present(&self, stored: &Bytes) -> Result<Bytes, ApiError> {
        if self.is_as_served() { Ok(stored.clone()) } else { self.present_here(stored) }
    }

    fn present_all(&self, stored: Vec<Bytes>) -> BoxFuture<'_, Result<Vec<Bytes>, ApiError>> {
        Box::pin(async move {
            if self.is_as_served() {
                return Ok(stored);
            }
            self.converted(stored.iter().map(|stored| self.read_stored(stored)).collect::<Result<_, _>>()?).await
        })
    }

    fn convert_all(&self, objects: Vec<Bytes>) -> BoxFuture<'_, Result<Vec<Bytes>, ApiError>> {
        Box::pin(async move {
            let read = |object: &Bytes| serde_json::from_slice(object).map_err(ApiError::internal);
            self.converted(objects.iter().map(read).collect::<Result<_, _>>()?).await
        })
    }

    fn stored_form(&self, served: Template) -> BoxFuture<'_, Result<Template, ApiError>> {
        Box::pin(async move {
            if self.is_storage() {
                return Ok(served);
            }
            let whole = [&served.head, b"0".as_slice(), &served.tail].concat();
            let object: Value = serde_json::from_slice(&whole).map_err(ApiError::internal)?;
            let api_version = self.definition.api_version(&self.definition.storage);
            let mut converted =
                convert(&self.definition.conversion, &*self.webhooks, vec![object], &api_version).await?;
            let mut object = converted.pop().ok_or_else(|| ApiError::internal("conversion gave no object"))?;
            let version = self.version_of(&object)?;
            self.coerce(&mut object, version);
            object["metadata"]["resourceVersion"] = "".into();
            let bytes = object::to_bytes(&object);
            const HOLE: &[u8] = b"\"resourceVersion\":\"";
            let at = bytes.windows(HOLE.len()).position(|window| window == HOLE);
            let at = at.ok_or_else(|| ApiError::internal("converted object has no place for its revision"))?;
            Ok(Template::split(bytes, at + HOLE.len()))
        })
    }

    fn written_by_old_rules(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn storage_version(&self) -> &str {
        &self.definition.storage
    }

    fn replicas_path(&self) -> &str {
        self.version().scale.as_ref().map_or("", |scale| scale.spec.as_str())
    }

    fn document(&self) -> Option<Value> {
        serde_json::from_slice(self.version().schema.as_deref()?).ok()
    }

    fn keeps_unknown_fields(&self) -> bool {
        self.definition.preserve_unknown
    }
}

/// Members that are there twice: the last one counts, and strict clients are told.
fn duplicates(node: &Node<'_>, path: &mut String, out: &mut Vec<StrictError>) {
    const MOST: usize = 100;
    match node {
        Node::Object(members) => {
            let mut seen = std::collections::HashSet::with_capacity(members.0.len());
            for (name, value) in &members.0 {
                let length = path.len();
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                // Metadata reports its own.
                if !seen.insert(name) && out.len() < MOST {
                    out.push(StrictError::Duplicate(path.clone()));
                }
                if path != "metadata" {
                    duplicates(value, path, out);
                }
                path.truncate(length);
            }
        }
        Node::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                duplicates(item, path, out);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Whether stored bytes are what the kind would serve of them, byte for byte.
pub(crate) fn is_served_as_it_is(kind: &CustomKind, stored: &Bytes) -> bool {
    // Another version needs no look inside.
    let own = scan::text(stored, &["apiVersion"]).is_some_and(|version| *version == kind.api_version());
    own && kind.present_here(stored).is_ok_and(|served| same_json(&served, stored))
}

fn same_json(left: &[u8], right: &[u8]) -> bool {
    left == right
        || match (serde_json::from_slice::<Value>(left), serde_json::from_slice::<Value>(right)) {
            (Ok(left), Ok(right)) => left == right,
            _ => false,
        }
}
